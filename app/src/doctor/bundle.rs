//! The bundle of `skytide doctor --bundle`: one file for those who help.
//!
//! ```text
//! README.txt, manifest.json       what is in it, and what was cut
//! doctor.txt, doctor.json         the findings
//! config.txt, machine/            options, masked; processors, memory, mounts
//! up-123/                         a running service: log/, metrics/, graph/, health/, config.txt, ...
//! failed/                         the newest flight records of services that failed
//! ```
//!
//! Each part has a budget. When it is exhausted, the oldest files are left out, and the manifest says
//! so.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use skytide_core::time::Timestamp;

use super::finding::Report;
use crate::flight::archive::{Archive, Entry};
use crate::flight::client::FlightRecord;
use crate::flight::failed_records;
use crate::flight::masks::Masks;

/// Maximum size of a bundle, in bytes: 5 MB.
pub const BUNDLE_BYTES_MAX: usize = 5_000_000;
/// Bytes that are reserved for the files at the top.
const TOP_BYTES: usize = 200_000;
/// Bytes for the records of failures.
const FAILED_BYTES: usize = 800_000;
/// Maximum size of a record of a failure that is read, in bytes.
const FAILED_FILE_BYTES_MAX: u64 = 5_000_000;
/// The parts of a flight record, and the share of its budget in percent.
const SHARES: [(&str, usize); 4] = [("log", 45), ("metrics", 30), ("graph", 15), ("health", 5)];
/// The share of all its other files.
const OTHER_SHARE: usize = 5;
/// Files that describe the machine.
const MACHINE: [&str; 7] = [
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/loadavg",
    "/proc/pressure/cpu",
    "/proc/pressure/io",
    "/proc/pressure/memory",
    "/proc/version",
];
/// Maximum size of one of these files, in bytes. The rest is left out.
const MACHINE_BYTES_MAX: usize = 16 << 10;

/// What a bundle is made of.
pub struct Contents<'a> {
    /// The findings.
    pub report: &'a Report,
    /// The flight records of the running services.
    pub running: &'a [FlightRecord],
    /// The options of this process, masked.
    pub settings: String,
    /// The secrets in them.
    pub masks: &'a Masks,
    /// The records of failures, from [`failed`].
    pub failed: Vec<Entry>,
    /// The time of the bundle.
    pub now: Timestamp,
}

/// The bundle: at most [`BUNDLE_BYTES_MAX`] bytes.
pub fn bundle(contents: &Contents<'_>) -> Vec<u8> {
    let Contents {
        report, running, ..
    } = contents;
    let mut archive = Archive::new(BUNDLE_BYTES_MAX - TOP_BYTES, contents.now);
    let top = [
        Entry::new("doctor.txt", report.text() + "\n"),
        Entry::new("doctor.json", report.json()),
        Entry::new("config.txt", contents.masks.apply(&contents.settings)),
    ];
    archive.add_part("findings", archive.room(), &top);
    archive.add_part("machine", archive.room(), &machine());
    let each = (archive.room() - FAILED_BYTES.min(archive.room())) / running.len().max(1);
    for record in *running {
        add_record(&mut archive, record, each, contents.masks);
    }
    archive.add_part("failed", archive.room(), &contents.failed);
    finish(archive, contents)
}

/// Adds the files of a flight record, the newest of each part first.
fn add_record(archive: &mut Archive, record: &FlightRecord, bytes_max: usize, masks: &Masks) {
    let name = format!("{}-{}", record.process.service, record.process.pid);
    let in_folder = |entry: &Entry| {
        let content = masks.apply_bytes(&entry.content);
        Entry::new(format!("{name}/{}", entry.path), content)
    };
    let is_other = |entry: &&Entry| !entry.path.contains('/');
    let others: Vec<Entry> = record
        .entries
        .iter()
        .filter(is_other)
        .map(in_folder)
        .collect();
    archive.add_part(&name, bytes_max / 100 * OTHER_SHARE, &others);
    for (part, share) in SHARES {
        let samples = record.samples(part).into_iter().rev();
        let entries: Vec<Entry> = samples.map(in_folder).collect();
        archive.add_part(&format!("{name}/{part}"), bytes_max / 100 * share, &entries);
    }
}

/// Files that describe the machine.
fn machine() -> Vec<Entry> {
    let read = |path: &&str| {
        let mut content = std::fs::read(path).ok()?;
        content.truncate(MACHINE_BYTES_MAX);
        let name = path.trim_start_matches("/proc/").replace('/', "-");
        Some(Entry::new(format!("machine/{name}.txt"), content))
    };
    MACHINE.iter().filter_map(read).collect()
}

/// The records of failures in this data folder, newest first. They contain no secrets: those were
/// removed when they were written.
pub fn failed(data: &Path) -> Vec<Entry> {
    let entry = |path: std::path::PathBuf| {
        let name = path.file_name()?.to_string_lossy().into_owned();
        let content = read_record(&path).ok()?;
        Some(Entry::new(format!("failed/{name}"), content))
    };
    failed_records(data).into_iter().filter_map(entry).collect()
}

/// Reads a regular file of a bounded size. Symbolic links are not followed.
fn read_record(path: &Path) -> io::Result<Vec<u8>> {
    let mut options = File::options();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        // Without NONBLOCK, opening a named pipe waits for a writer.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.bits() as i32);
    }
    let file = options.open(path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.len() > FAILED_FILE_BYTES_MAX {
        return Err(io::Error::other("it is not a file, or too large"));
    }
    let mut content = Vec::new();
    file.take(FAILED_FILE_BYTES_MAX).read_to_end(&mut content)?;
    Ok(content)
}

/// Adds the files that describe the bundle.
fn finish(archive: Archive, contents: &Contents<'_>) -> Vec<u8> {
    let parts = archive.parts().to_vec();
    let manifest = serde_json::json!({
        "made": contents.now.rfc3339(),
        "version": env!("CARGO_PKG_VERSION"),
        "bytes_max": BUNDLE_BYTES_MAX,
        "services": contents.running.iter().map(|it| &it.process).collect::<Vec<_>>(),
        "parts": parts,
    });
    let manifest = serde_json::to_vec_pretty(&manifest).unwrap_or_default();
    let cut: Vec<String> = parts
        .iter()
        .filter(|part| part.cut_files > 0)
        .map(|part| {
            let kept = part.kept_files;
            format!(
                "- {}: {} oldest files left out, {kept} kept",
                part.part, part.cut_files
            )
        })
        .collect();
    let cut = match cut.is_empty() {
        true => "Nothing was left out.".to_owned(),
        false => format!("Left out, to stay within 5 MB:\n{}", cut.join("\n")),
    };
    let readme = format!(
        "A bundle of `skytide doctor`, made at {}.\n\n\
         doctor.txt has the findings. Each running service has a folder with its newest log lines \
         and, every 10 s for ten minutes, its metrics, graph and health. failed/ has the records of \
         services that failed. Secrets in the options are replaced by ***; account identifiers of \
         the network and host names are not.\n\n{cut}\n",
        contents.now.rfc3339()
    );
    // The bound without the room for these files.
    let mut whole = archive.with_bytes_max(BUNDLE_BYTES_MAX);
    whole.add(&Entry::new("README.txt", readme));
    whole.add(&Entry::new("manifest.json", manifest));
    whole.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::Service;
    use crate::flight::Process;
    use crate::flight::archive::read;

    /// A record whose parts are each larger than a bundle.
    fn flood(pid: u32) -> FlightRecord {
        let mut state = u64::from(pid) + 1;
        let mut noise = || {
            let next = || {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                (state >> 56) as u8
            };
            std::iter::repeat_with(next)
                .take(100_000)
                .collect::<Vec<u8>>()
        };
        let mut entries = vec![Entry::new("process.json", "{}")];
        for (part, _) in SHARES {
            entries
                .extend((0..60).map(|number| Entry::new(format!("{part}/{number:02}"), noise())));
        }
        FlightRecord {
            process: Process {
                service: "up".to_owned(),
                pid,
                version: "1".to_owned(),
                started: "now".to_owned(),
            },
            entries,
        }
    }

    #[test]
    fn a_bundle_has_at_most_5_mb_with_the_newest_files_and_says_what_it_lacks() {
        let report = Report::new(Service::Up, Timestamp(0), vec![]);
        let running = [flood(1), flood(2)];
        let bytes = bundle(&Contents {
            report: &report,
            running: &running,
            settings: "NATS_URL nats://***@h".to_owned(),
            masks: &Masks::default(),
            failed: Vec::new(),
            now: Timestamp(1_800_000_000_000),
        });
        assert!(bytes.len() <= BUNDLE_BYTES_MAX, "{}", bytes.len());
        assert!(bytes.len() > BUNDLE_BYTES_MAX / 2, "{}", bytes.len());
        let entries = read(&bytes).expect("an archive");
        let has = |path: &str| entries.iter().any(|entry| entry.path == path);
        for path in [
            "README.txt",
            "manifest.json",
            "doctor.json",
            "config.txt",
            "up-1/process.json",
        ] {
            assert!(has(path), "{path}");
        }
        assert!(has("up-2/log/59") && has("up-1/metrics/59") && !has("up-2/log/00"));
        let manifest = entries.iter().find(|it| it.path == "manifest.json");
        let manifest: serde_json::Value =
            serde_json::from_slice(&manifest.expect("a manifest").content).expect("JSON");
        let parts = manifest["parts"].as_array().expect("parts");
        let log = parts
            .iter()
            .find(|part| part["part"] == "up-2/log")
            .expect("the log");
        let files = entries
            .iter()
            .filter(|it| it.path.starts_with("up-2/log/"))
            .count();
        assert_eq!(log["kept_files"].as_u64(), Some(files as u64));
        assert_eq!(log["cut_files"].as_u64(), Some(60 - files as u64));
    }

    #[cfg(unix)]
    #[test]
    fn only_regular_files_are_records_of_failures() {
        let data = tempfile::tempdir().expect("a folder");
        let folder = data.path().join("flight");
        std::fs::create_dir(&folder).expect("created");
        let path = |number: u32| folder.join(format!("failed-{number}-up-1.tar.gz"));
        std::fs::write(path(1), "a record").expect("written");
        let other = data.path().join("other");
        std::fs::write(&other, "x").expect("written");
        std::os::unix::fs::symlink(&other, path(2)).expect("linked");
        let socket = std::os::unix::net::UnixListener::bind(path(3)).expect("bound");
        std::fs::create_dir(path(4)).expect("created");
        let large = File::create(path(5)).expect("created");
        large.set_len(FAILED_FILE_BYTES_MAX + 1).expect("set");
        let expected = Entry::new("failed/failed-1-up-1.tar.gz", "a record");
        assert_eq!(failed(data.path()), [expected]);
        drop(socket);
    }
}
