//! A section of a checkpoint as the file of a run.

use std::io;
use std::sync::Arc;

use skytide_core::port::checkpoint::SectionFile;
use skytide_state::ReadFile;

/// A section that contains a run.
pub(crate) struct RunFile(pub Arc<dyn SectionFile>);

impl ReadFile for RunFile {
    fn length(&self) -> u64 {
        self.0.bytes()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buffer, offset)
    }
}
