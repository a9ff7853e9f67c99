//! A disk that fails: at any operation the disk may be full or the machine may stop.
//!
//! ```text
//! names ──▶ files: current content │ durable content
//!                               └─ sync of a file, or of the folder for names ─▶ durable
//! ```
//!
//! After a power cut, each file that was not synced has its durable content, all of its content, or
//! a part of it. Each change of a name that was not synced may have taken effect or not.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skytide_core::port::checkpoint::SectionFile;
use skytide_embedded::Files;
use skytide_tests::world::Random;

/// A simulated disk; clones share it.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    files: Vec<File>,
    /// Number of changing operations so far.
    operations: u64,
    /// The number of the operation that fails, and whether all later ones also fail.
    fault: Option<(u64, Fault)>,
    /// Number of faults that have happened.
    faults: u64,
}

#[derive(Clone, Default)]
struct File {
    now: Vec<u8>,
    durable: Vec<u8>,
}

/// The kind of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// One operation fails; later ones succeed.
    Once,
    /// One operation and all later ones fail: the disk is full, or the machine has stopped.
    FromHereOn,
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of changing operations so far.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Number of faults that have happened.
    pub fn faults(&self) -> u64 {
        self.state().faults
    }

    /// Lets an operation fail, after this many more operations; `None`: no operation fails from now
    /// on.
    pub fn fail(&self, fault: Option<(u64, Fault)>) {
        let mut state = self.state();
        let from = state.operations;
        state.fault = fault.map(|(after, fault)| (from + after, fault));
    }

    /// Simulates a power cut and a restart.
    pub fn cut_power(&self, random: &mut Random) {
        let state = &mut *self.state();
        for file in &mut state.files {
            if file.now != file.durable {
                let part = random.below(file.now.len() as u64 + 1) as usize;
                file.durable = match random.below(3) {
                    0 => file.durable.clone(),
                    1 => file.now.clone(),
                    _ => file.now[..part].to_vec(),
                };
                file.now = file.durable.clone();
            }
        }
        let all: Vec<PathBuf> = {
            let both = state.names.keys().chain(state.durable_names.keys());
            both.cloned().collect()
        };
        for name in all {
            let survivors = if random.chance(50) {
                &state.names
            } else {
                &state.durable_names
            };
            let file = survivors.get(&name).copied();
            for names in [&mut state.names, &mut state.durable_names] {
                match file {
                    Some(file) => names.insert(name.clone(), file),
                    None => names.remove(&name),
                };
            }
        }
        state.fault = None;
    }
}

impl State {
    fn operation(&mut self) -> io::Result<()> {
        let number = self.operations;
        self.operations += 1;
        let fails = self
            .fault
            .is_some_and(|(at, fault)| number == at || number > at && fault == Fault::FromHereOn);
        if fails {
            self.faults += 1;
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) -> io::Result<&mut File> {
        let number = *self.names.get(path).ok_or(ErrorKind::NotFound)?;
        Ok(&mut self.files[number])
    }
}

/// A file that is open for reading.
struct OpenFile(Vec<u8>);

impl SectionFile for OpenFile {
    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let part = self.0.get(offset as usize..offset as usize + buffer.len());
        buffer.copy_from_slice(part.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl Files for Disk {
    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        let state = &mut *self.state();
        let fits = state.operation();
        let mut now = parts.concat();
        if fits.is_err() {
            now.truncate(now.len() / 2);
        }
        let number = state.files.len();
        state.files.push(File {
            now,
            durable: Vec::new(),
        });
        state.names.insert(path.to_owned(), number);
        fits
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let state = &mut *self.state();
        state.operation()?;
        if state.names.keys().any(|name| name.parent() == Some(path))
            || !path.to_string_lossy().contains('.')
        {
            state.durable_names = state.names.clone();
            return Ok(());
        }
        let file = state.file(path)?;
        file.durable = file.now.clone();
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let state = &mut *self.state();
        state.operation()?;
        let number = state.names.remove(from).ok_or(ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), number);
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let state = &mut *self.state();
        state.operation()?;
        let number = *state.names.get(from).ok_or(ErrorKind::NotFound)?;
        if state.names.contains_key(to) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        state.names.insert(to.to_owned(), number);
        Ok(())
    }

    fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        let bytes = self.read(from)?;
        self.write(to, &[&bytes])
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn SectionFile>> {
        Ok(Arc::new(OpenFile(self.read(path)?)))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let names = state
            .names
            .keys()
            .filter(|name| name.parent() == Some(folder));
        let names = names.filter_map(|name| name.file_name());
        Ok(names
            .map(|name| name.to_string_lossy().into_owned())
            .collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.state().file(path)?.now.clone())
    }

    fn bytes(&self, path: &Path) -> io::Result<u64> {
        Ok(self.state().file(path)?.now.len() as u64)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let state = &mut *self.state();
        state.operation()?;
        state.names.remove(path);
        Ok(())
    }
}
