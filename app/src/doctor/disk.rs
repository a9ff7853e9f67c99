//! Checks of the disk under the data folder: free space against what the options allow and what grows,
//! inodes, and the kind of the file system.

use std::path::{Path, PathBuf};

use skytide_core::config::Config;

use super::finding::{Finding, bytes};
use super::folder::existing;
use super::metrics::Metrics;
use crate::cli::doctor::Service;
use crate::flight::client::FlightRecord;

const CHECK: &str = "disk";
/// With less free space than this the view store and the log soon fail.
const FREE_BYTES_MIN: u64 = 1 << 30;
/// With fewer free inodes than this, creating files soon fails.
const FREE_INODES_MIN: u64 = 1_000;
/// Time within which the disk must not become full, in hours.
const HOURS_MIN: f64 = 24.0;
/// Maximum number of files that are counted in a folder.
const FILES_MAX: usize = 100_000;

/// Names and meanings of file systems by their magic number
/// (<https://man7.org/linux/man-pages/man2/statfs.2.html>).
const NETWORK: [(u64, &str); 7] = [
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x00c3_6400, "Ceph"),
    (0x0102_1997, "9P"),
    (0x6573_5546, "FUSE"),
    (0x4750_4653, "GPFS"),
];
const TEMPORARY: [(u64, &str); 2] = [
    (0x0102_1994, "tmpfs, in memory"),
    (0x794c_7630, "overlayfs, the layer of a container"),
];

/// What the service stores in the data folder.
#[derive(Clone, Debug)]
pub struct Wanted {
    folder: PathBuf,
    /// The limit of the log in the folder; `None` if the service writes none there.
    log_bytes_max: Option<u64>,
    /// Whether checkpoints are in the folder.
    has_checkpoints: bool,
    /// Bytes that the log grows by in a second, from the running services.
    log_bytes_per_second: Option<f64>,
}

impl Wanted {
    /// What this service stores.
    pub fn of(config: &Config, service: Service, running: &[FlightRecord]) -> Self {
        let is_any = |services: &[Service]| services.contains(&service);
        let log_in_folder = config.nats.url.is_empty();
        let writes_log = is_any(&[Service::Up, Service::Ingest]);
        Self {
            folder: config.store.dir.clone(),
            log_bytes_max: (log_in_folder && writes_log).then_some(config.store.log_bytes_max.0),
            has_checkpoints: is_any(&[Service::Up, Service::Index]) && !config.cluster.follows(),
            log_bytes_per_second: running.iter().find_map(growth),
        }
    }
}

/// The rate at which ingest reads bytes, over the samples of its flight record.
fn growth(record: &FlightRecord) -> Option<f64> {
    const BYTES: &str = "skytide_ingest_frame_bytes_total";
    const INTERVAL_SECONDS: f64 = 10.0;
    let samples = Metrics::all_of(record);
    let values: Vec<f64> = samples
        .iter()
        .filter_map(|(_, it)| it.value(BYTES))
        .collect();
    let (first, last) = (values.first()?, values.last()?);
    let seconds = (values.len() - 1) as f64 * INTERVAL_SECONDS;
    (seconds > 0.0).then(|| (last - first) / seconds)
}

/// Checks the disk.
pub fn check(wanted: &Wanted) -> Vec<Finding> {
    let place = existing(&wanted.folder);
    let space = match rustix::fs::statvfs(&place) {
        Ok(space) => space,
        Err(why) => {
            let found = format!("cannot read the free space of {}: {why}", place.display());
            let fix = "check that the file system is mounted and readable";
            return vec![Finding::problem(CHECK, found, fix)];
        }
    };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let mut findings = vec![free_space(wanted, free)];
    // Some file systems have no fixed number of inodes and report 0.
    if space.f_files > 0 && space.f_favail < FREE_INODES_MIN {
        let found = format!("{} has {} free inodes", place.display(), space.f_favail);
        let fix = "remove small files, or move STORE_DIR to another file system";
        findings.push(Finding::problem(CHECK, found, fix));
    }
    findings.extend(file_system(&place));
    findings
}

fn free_space(wanted: &Wanted, free: u64) -> Finding {
    let shown = wanted.folder.display();
    let log = size(&wanted.folder.join("log"));
    let log_left = wanted
        .log_bytes_max
        .map_or(0, |limit| limit.saturating_sub(log));
    let checkpoint = match wanted.has_checkpoints {
        // While a checkpoint is written, the previous ones are still there.
        true => newest_checkpoint(&wanted.folder.join("checkpoints")),
        false => 0,
    };
    let needed = log_left.saturating_add(checkpoint);
    let facts = format!("{} free for {shown}", bytes(free));
    if free < FREE_BYTES_MIN.max(checkpoint) {
        let fix = "free some space, or move STORE_DIR to a larger disk";
        return Finding::problem(CHECK, facts, fix);
    }
    let hours = wanted.log_bytes_per_second.filter(|rate| *rate > 0.0);
    let hours = hours.map(|rate| free as f64 / rate / 3_600.0);
    if free < needed {
        let hours = hours.map_or(String::new(), |hours| {
            format!("; without checkpoints it is full in {hours:.0} h at the present rate")
        });
        let found = format!(
            "{facts}, but the log may grow by {} up to STORE_LOG_BYTES_MAX, and a checkpoint needs \
             {}{hours}",
            bytes(log_left),
            bytes(checkpoint)
        );
        let limit = (log + free.saturating_sub(checkpoint + FREE_BYTES_MIN)) >> 30;
        let fix = format!(
            "set STORE_LOG_BYTES_MAX to {}GiB or less: at its limit ingest waits, on a full disk the \
             service stops",
            limit.max(1)
        );
        return Finding::warning(CHECK, found, fix);
    }
    if let Some(hours) = hours.filter(|hours| *hours < HOURS_MIN && wanted.log_bytes_max.is_some())
    {
        let found =
            format!("{facts}, full in {hours:.0} h at the present rate if nothing is trimmed");
        let fix = "check that checkpoints are made: the log is trimmed after each";
        return Finding::warning(CHECK, found, fix);
    }
    Finding::ok(CHECK, format!("{facts}, at most {} needed", bytes(needed)))
}

fn file_system(place: &Path) -> Option<Finding> {
    let kind = rustix::fs::statfs(place).ok()?;
    let magic = kind.f_type as u64 & 0xffff_ffff;
    let named = |list: &[(u64, &'static str)]| {
        list.iter()
            .find(|(number, _)| *number == magic)
            .map(|(_, name)| *name)
    };
    let place = place.display();
    if let Some(name) = named(&NETWORK) {
        let found = format!("{place} is on {name}");
        let fix = "use a local disk: locks and syncs of network file systems are not reliable";
        return Some(Finding::warning(CHECK, found, fix));
    }
    let name = named(&TEMPORARY)?;
    let found = format!("{place} is on {name}");
    let fix = "mount a volume there if the data must survive a restart";
    Some(Finding::warning(CHECK, found, fix))
}

/// Bytes of the newest complete checkpoint.
fn newest_checkpoint(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names: Vec<_> = entries
        .filter_map(|it| it.file_name().into_string().ok())
        .collect();
    let manifests = names
        .iter()
        .filter_map(|name| name.strip_suffix(".manifest"));
    let Some(newest) = manifests
        .filter_map(|it| it.parse::<u64>().ok().map(|n| (n, it)))
        .max()
    else {
        return 0;
    };
    let start = format!("{}.", newest.1);
    let of_newest = names.iter().filter(|name| name.starts_with(&start));
    let sizes = of_newest.filter_map(|name| std::fs::metadata(folder.join(name)).ok());
    sizes.map(|metadata| metadata.len()).sum()
}

/// Bytes of the files in a folder.
fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries
        .take(FILES_MAX)
        .filter_map(|entry| entry.metadata().ok());
    files
        .filter(std::fs::Metadata::is_file)
        .map(|it| it.len())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn wanted(folder: &Path, log_bytes_max: u64) -> Wanted {
        Wanted {
            folder: folder.to_owned(),
            log_bytes_max: Some(log_bytes_max),
            has_checkpoints: true,
            log_bytes_per_second: Some(1_000_000.0),
        }
    }

    #[test]
    fn free_space_is_compared_with_the_limit_of_the_log_and_the_newest_checkpoint() {
        const GIB: u64 = 1 << 30;
        let folder = tempfile::tempdir().expect("a folder");
        let checkpoints = folder.path().join("checkpoints");
        std::fs::create_dir(&checkpoints).expect("a folder");
        for (name, kib) in [
            ("9.a.section", 4),
            ("10.a.section", 3),
            ("10.manifest", 1),
            ("9.manifest", 1),
        ] {
            std::fs::write(checkpoints.join(name), vec![0; kib << 10]).expect("written");
        }
        assert_eq!(newest_checkpoint(&checkpoints), 4 << 10);
        let free = |log_max, free| free_space(&wanted(folder.path(), log_max), free);
        let plenty = free(64 * GIB, 1_000 * GIB);
        assert_eq!(plenty.level, Level::Ok, "{plenty:?}");
        let scarce = free(64 * GIB, 20 * GIB);
        assert_eq!(scarce.level, Level::Warning);
        let fix = scarce.fix.expect("a remedy");
        assert!(fix.contains("STORE_LOG_BYTES_MAX to 18GiB"), "{fix}");
        assert!(scarce.found.contains("full in 6 h"), "{}", scarce.found);
        assert_eq!(free(64 * GIB, GIB / 2).level, Level::Problem);
        assert_eq!(free(GIB, 20 * GIB).level, Level::Warning, "full in 6 h");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn memory_file_systems_are_reported() {
        let finding = file_system(Path::new("/dev/shm"));
        if std::fs::read_to_string("/proc/mounts").is_ok_and(|it| it.contains(" /dev/shm tmpfs")) {
            assert!(finding.is_some_and(|it| it.found.contains("tmpfs")));
        }
        assert_eq!(file_system(Path::new("/proc")), None);
    }
}
