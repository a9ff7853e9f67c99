//! The destination of the files of an export.

use async_trait::async_trait;

use super::{ExportError, ExportReport};

/// Receives the files of one export, one after the other. The export is complete only after
/// [`Output::complete`].
#[async_trait]
pub trait Output: Send {
    /// Starts an export. An earlier export to the same destination is then incomplete.
    ///
    /// # Errors
    ///
    /// The destination cannot be written.
    async fn begin(&mut self) -> Result<(), ExportError>;

    /// Starts a file. The previous file is then complete.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    async fn file(&mut self, name: &str) -> Result<(), ExportError>;

    /// Appends bytes to the current file.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), ExportError>;

    /// Completes the export. The last file was the summary.
    ///
    /// # Errors
    ///
    /// The export is incomplete.
    async fn complete(&mut self, report: &ExportReport) -> Result<(), ExportError>;
}
