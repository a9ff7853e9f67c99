//! Files of spilled state in memory.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::port::scratch::{SpillFile, SpillFiles};

/// Files of spilled state in memory. Clones share the files.
#[derive(Clone, Debug, Default)]
pub struct MemoryScratch(Arc<Mutex<Folder>>);

#[derive(Debug, Default)]
struct Folder {
    files: BTreeMap<String, Vec<u8>>,
    created: u64,
    bytes_max: Option<usize>,
    written: u64,
}

impl MemoryScratch {
    /// Limits the sum of the sizes of all files. A write beyond it fails with `StorageFull`.
    pub fn limit(&self, bytes_max: Option<usize>) {
        self.folder().bytes_max = bytes_max;
    }

    /// The names and bytes of all files.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.folder().files.clone()
    }

    /// The number of bytes that were written so far, also to files that are removed.
    pub fn written(&self) -> u64 {
        self.folder().written
    }

    /// Flips a bit of a file.
    ///
    /// # Panics
    /// If the file does not exist or is shorter.
    pub fn flip_bit(&self, name: &str, bit: usize) {
        let mut folder = self.folder();
        let bytes = folder.files.get_mut(name).expect("the file exists");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }

    fn folder(&self) -> MutexGuard<'_, Folder> {
        // A thread that panics leaves no half of a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SpillFiles for MemoryScratch {
    fn create(&self, name: &str) -> io::Result<Arc<dyn SpillFile>> {
        let mut folder = self.folder();
        folder.created += 1;
        let name = format!("{name}-{}", folder.created);
        folder.files.insert(name.clone(), Vec::new());
        Ok(Arc::new(MemoryFile {
            name,
            scratch: self.clone(),
        }))
    }
}

#[derive(Debug)]
struct MemoryFile {
    name: String,
    scratch: MemoryScratch,
}

impl SpillFile for MemoryFile {
    fn name(&self) -> &str {
        &self.name
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut folder = self.scratch.folder();
        let used: usize = folder.files.values().map(Vec::len).sum();
        let bytes_max = folder.bytes_max;
        let file = folder.files.get_mut(&self.name);
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let end = start + bytes.len();
        let added = end.saturating_sub(file.len());
        if bytes_max.is_some_and(|most| used + added > most) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.resize(file.len() + added, 0);
        file[start..end].copy_from_slice(bytes);
        folder.written += bytes.len() as u64;
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let folder = self.scratch.folder();
        let file = folder.files.get(&self.name);
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.checked_add(buffer.len());
        let part = end.and_then(|end| file.get(start..end));
        buffer.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        self.scratch.folder().files.remove(&self.name);
    }
}
