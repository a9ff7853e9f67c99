//! `data/admin.key`: the key of the person who runs the server, in plain text, readable by its
//! owner only. The first process that serves the API creates it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use skytide_core::port::key::KeyText;

use super::folder::make_folder;
use super::private::{publish_private, read_bounded};

/// Maximum length of the file in bytes. A key has 62.
const BYTES_MAX: u64 = 1_024;

/// The file with the admin key.
#[derive(Clone, Debug)]
pub struct AdminKeyFile(PathBuf);

impl AdminKeyFile {
    /// The file in this data folder.
    pub fn new(folder: &Path) -> Self {
        Self(folder.join("admin.key"))
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes this key if there is no file, and creates the folder if necessary. Returns whether it
    /// was written: of several processes that start at once, one writes its key.
    ///
    /// # Errors
    /// The folder or the file cannot be written.
    pub fn create(&self, key: &KeyText) -> io::Result<bool> {
        if fs::symlink_metadata(&self.0).is_ok() {
            return Ok(false);
        }
        if let Some(folder) = self.0.parent() {
            make_folder(folder)?;
        }
        publish_private(&self.0, |file| writeln!(file, "{}", key.reveal()))
    }

    /// The text of the file without the spaces around it; `None` if there is no file.
    ///
    /// # Errors
    /// The file cannot be read, is no regular file, or is too long to be a key.
    pub fn read(&self) -> io::Result<Option<String>> {
        let Some(content) = read_bounded(&self.0, BYTES_MAX)? else {
            return Ok(None);
        };
        let text = String::from_utf8(content);
        let text = text.map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
        Ok(Some(text.trim().to_owned()))
    }

    /// Whether other users of this machine may read or change the file. Always false on systems
    /// without such permissions.
    pub fn is_exposed(&self) -> bool {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let metadata = fs::metadata(&self.0);
            metadata.is_ok_and(|it| it.permissions().mode() & 0o077 != 0)
        }
        #[cfg(not(unix))]
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skytide_core::port::key::KeyId;

    #[test]
    fn the_first_start_writes_a_key_that_only_the_owner_may_read_and_later_starts_keep_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = AdminKeyFile::new(&folder.path().join("a/data"));
        assert_eq!(file.read().expect("no file"), None);
        let keys = [1, 2].map(|byte| KeyText::new(&KeyId::admin(), [byte; 32]));
        assert!(file.create(&keys[0]).expect("written"));
        assert!(!file.create(&keys[1]).expect("kept"));
        let text = file.read().expect("read").expect("a file");
        assert_eq!(text, keys[0].reveal());
        assert!(!file.is_exposed());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let open = fs::Permissions::from_mode(0o640);
            fs::set_permissions(file.path(), open).expect("set");
            assert!(file.is_exposed());
        }
        fs::write(file.path(), "x".repeat(2_000)).expect("written");
        assert!(file.read().is_err());
    }
}
