//! Checks of the data folder: that it is one, that this user may write to it, and that nobody else
//! may read its keys.

use std::io::Write;
use std::path::{Path, PathBuf};

use skytide_embedded::DataDir;

use super::finding::Finding;
use crate::failure::chain;

const CHECK: &str = "folder";
/// Files that only their owner may read.
const PRIVATE_FILES: [&str; 3] = ["admin.key", "keys.json", "keys.used.json"];

/// Checks this data folder.
pub fn check(folder: &Path) -> Vec<Finding> {
    let mut findings = vec![state(folder)];
    if let Some(finding) = writable(folder) {
        findings.push(finding);
    }
    findings.extend(owner(folder));
    findings.extend(private_files(folder));
    findings
}

/// Whether it is a data folder.
fn state(folder: &Path) -> Finding {
    let shown = folder.display();
    if !folder.join("skytide.toml").exists() {
        let found = match folder.exists() {
            true => format!("{shown} holds no data yet"),
            false => format!("{shown} does not exist yet; the first start creates it"),
        };
        return match foreign_entry(folder) {
            None => Finding::ok(CHECK, found),
            Some(entry) => {
                let found = format!("{shown} holds {entry:?} and no skytide.toml");
                let fix = "choose an empty or new folder (STORE_DIR)";
                Finding::problem(CHECK, found, fix)
            }
        };
    }
    match DataDir::open(folder, None).and_then(|dir| dir.source()) {
        Ok(source) => Finding::ok(CHECK, format!("{shown} holds the data of {source}")),
        Err(why) => {
            let fix = "choose another folder (STORE_DIR), or the program that wrote it";
            Finding::problem(CHECK, chain(&why), fix)
        }
    }
}

/// An entry because of which a start would refuse the folder.
fn foreign_entry(folder: &Path) -> Option<String> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
    names.sort_unstable();
    let foreign = names.iter().find(|name| !DataDir::may_precede_data(name));
    foreign.map(|name| name.to_string_lossy().into_owned())
}

/// Writes a file and removes it. `None`: it succeeded.
fn writable(folder: &Path) -> Option<Finding> {
    let existing = existing(folder);
    let trial = existing.join(format!(".skytide-doctor-{}", std::process::id()));
    let mut options = std::fs::File::options();
    let written = options
        .write(true)
        .create_new(true)
        .open(&trial)
        .and_then(|mut file| {
            file.write_all(&[0; 4_096])?;
            file.sync_all()
        });
    // Nothing to remove if it could not be created.
    let _removed = std::fs::remove_file(&trial);
    let why = written.err()?;
    let found = format!("cannot write to {}: {why}", existing.display());
    let fix = "make the folder writable for the user of the service (chown, chmod, or a mount that \
               is not read-only), or choose another one (STORE_DIR)";
    Some(Finding::problem(CHECK, found, fix))
}

/// The folder, or its nearest parent that exists.
pub fn existing(folder: &Path) -> PathBuf {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let mut ancestors = absolute.ancestors();
    let found = ancestors.find(|path| path.exists());
    found.unwrap_or(Path::new("/")).to_owned()
}

/// Whether this process runs as another user than the one who owns the folder.
#[cfg(unix)]
fn owner(folder: &Path) -> Option<Finding> {
    use std::os::unix::fs::MetadataExt;
    let owner = std::fs::metadata(folder).ok()?.uid();
    let ours = std::fs::metadata("/proc/self").ok()?.uid();
    let found = format!(
        "{} belongs to user {owner}, and this is user {ours}",
        folder.display()
    );
    let fix = "run doctor as the user of the service: what this user may do, that one may not";
    (owner != ours).then(|| Finding::warning(CHECK, found, fix))
}

#[cfg(not(unix))]
fn owner(_folder: &Path) -> Option<Finding> {
    None
}

/// Files with keys that other users of this machine may read.
#[cfg(unix)]
fn private_files(folder: &Path) -> Vec<Finding> {
    use std::os::unix::fs::PermissionsExt;
    let exposed = PRIVATE_FILES.iter().filter_map(|name| {
        let path = folder.join(name);
        let mode = std::fs::metadata(&path).ok()?.permissions().mode() & 0o777;
        let found = format!(
            "{} has mode {mode:o}: others may read or change it",
            path.display()
        );
        let fix = format!("chmod 600 {}", path.display());
        (mode & 0o077 != 0).then(|| Finding::problem("keys", found, fix))
    });
    exposed.collect()
}

#[cfg(not(unix))]
fn private_files(_folder: &Path) -> Vec<Finding> {
    let _ = PRIVATE_FILES;
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn worst(folder: &Path) -> (Level, String) {
        let findings = check(folder);
        let worst = findings
            .into_iter()
            .max_by_key(|it| it.level)
            .expect("findings");
        (worst.level, worst.found)
    }

    #[test]
    fn a_new_folder_and_a_folder_with_data_are_fine() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("a/data");
        assert_eq!(worst(&folder).0, Level::Ok);
        assert!(!folder.exists(), "doctor creates nothing");
        DataDir::open(&folder, Some("relay.example")).expect("created");
        let (level, found) = worst(&folder);
        assert_eq!(level, Level::Ok, "{found}");
        let names: Vec<_> = std::fs::read_dir(&folder).expect("a folder").collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn each_fault_of_a_folder_is_a_problem() {
        let (level, found) = worst(Path::new("/proc/skytide"));
        assert_eq!(level, Level::Problem);
        assert!(found.contains("cannot write to /proc"), "{found}");

        let home = tempfile::tempdir().expect("a folder");
        std::fs::write(home.path().join("diary.txt"), "x").expect("written");
        let (level, found) = worst(home.path());
        assert_eq!(level, Level::Problem);
        assert!(found.contains("\"diary.txt\""), "{found}");

        let folder = home.path().join("data");
        DataDir::open(&folder, Some("relay.example")).expect("created");
        let about = folder.join("skytide.toml");
        let text = std::fs::read_to_string(&about).expect("text");
        std::fs::write(&about, text.replace("format = 1", "format = 99")).expect("written");
        assert!(worst(&folder).1.contains("format 99"));
        std::fs::write(&about, text).expect("written");

        use std::os::unix::fs::PermissionsExt;
        let key = folder.join("admin.key");
        std::fs::write(&key, "x").expect("written");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).expect("set");
        let (level, found) = worst(&folder);
        assert_eq!(level, Level::Problem);
        assert!(found.contains("mode 640"), "{found}");
    }
}
