//! Saves a few dropped frames of each reason as files, for inspection by a person.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use skytide_core::event::DropReason;
use tracing::warn;

use crate::assemble::SAMPLES_MAX;

/// Largest number of bytes that are saved of a frame.
const SAMPLE_BYTES_MAX: usize = 64 << 10;

/// The folder of samples. It holds files `<reason>-<n>.frame`, with n from 0, and at most
/// [`SAMPLES_MAX`] of each reason, also across restarts.
#[derive(Debug)]
pub(crate) struct Samples {
    folder: Option<PathBuf>,
    saved: [u8; DropReason::ALL.len()],
}

impl Samples {
    /// Opens the folder and counts the files in it.
    pub(crate) fn open(folder: Option<&Path>) -> Self {
        let count_files = |reason: &DropReason| {
            let names = (0..SAMPLES_MAX).map(|n| name(*reason, n));
            let exists = |name: &String| folder.is_some_and(|folder| folder.join(name).exists());
            names.take_while(exists).count() as u8
        };
        let mut saved = [0; DropReason::ALL.len()];
        for (saved, reason) in saved.iter_mut().zip(DropReason::ALL) {
            *saved = count_files(reason);
        }
        Self {
            folder: folder.map(Path::to_owned),
            saved,
        }
    }

    /// Saves a frame if fewer than [`SAMPLES_MAX`] of its reason are saved. An error is logged once
    /// and ends saving.
    pub(crate) fn save(&mut self, reason: DropReason, frame: &[u8]) {
        let saved = &mut self.saved[reason as usize];
        let Some(folder) = self.folder.as_deref().filter(|_| *saved < SAMPLES_MAX) else {
            return;
        };
        match write(folder, &name(reason, *saved), frame) {
            Ok(()) => *saved += 1,
            Err(error) => {
                let folder = folder.display();
                warn!(%error, %folder, "could not save a dropped frame, no more are saved");
                self.folder = None;
            }
        }
    }
}

fn name(reason: DropReason, n: u8) -> String {
    format!("{}-{n}.frame", reason.as_str())
}

fn write(folder: &Path, name: &str, frame: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(
        folder.join(name),
        &frame[..frame.len().min(SAMPLE_BYTES_MAX)],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_bounded_in_number_and_size_and_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dropped");
        for _restart in 0..3 {
            let mut samples = Samples::open(Some(&path));
            for n in 0..7_u8 {
                samples.save(DropReason::FrameCbor, &vec![n; SAMPLE_BYTES_MAX + 5]);
                samples.save(DropReason::Did, &[n]);
            }
        }
        let files: Vec<_> = fs::read_dir(&path).unwrap().map(Result::unwrap).collect();
        assert_eq!(files.len(), 2 * usize::from(SAMPLES_MAX));
        let sizes = files.iter().map(|file| file.metadata().unwrap().len());
        assert_eq!(sizes.max(), Some(SAMPLE_BYTES_MAX as u64));
        assert_eq!(fs::read(path.join("did-9.frame")).unwrap(), [2]);
    }
}
