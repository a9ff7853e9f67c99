//! Where the files of an export go.

use async_trait::async_trait;

use super::{ExportError, Outline};

/// Takes the files of one export, one after the other. Until [`Output::complete`] nothing counts as exported.
#[async_trait]
pub trait Output: Send {
    /// Begins an export: what an earlier one wrote here does not count as whole any more.
    ///
    /// # Errors
    /// Nothing can be written here.
    async fn begin(&mut self) -> Result<(), ExportError>;

    /// Begins a file; the previous one is whole.
    ///
    /// # Errors
    /// It cannot be written.
    async fn file(&mut self, name: &str) -> Result<(), ExportError>;

    /// Appends to the file.
    ///
    /// # Errors
    /// It cannot be written.
    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), ExportError>;

    /// All files are whole; the last one was the summary.
    ///
    /// # Errors
    /// The export does not count as whole.
    async fn complete(&mut self, outline: &Outline) -> Result<(), ExportError>;
}
