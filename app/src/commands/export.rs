//! `skytide export`: the views of a data folder as files.

use tokio_util::sync::CancellationToken;

use crate::cli::Export;
use crate::data::{Data, Use};
use crate::export::{Format, Summary};
use crate::failure::Failure;
use crate::terminal::say;

/// Exports the views of `STORE_DIR`.
///
/// # Errors
/// The folder cannot be used or read, or the files cannot be written.
pub async fn run(export: &Export, stop: CancellationToken) -> Result<(), Failure> {
    let config = &export.config;
    let data = Data::open(&config.store.dir, None, Use::Views, config, true)?;
    let store = data.store();
    let format = format(export.csv);
    let writing = crate::export::export(store.as_ref(), &export.folder, format);
    let summary = tokio::select! {
        summary = writing => summary.map_err(|why| failed(&export.folder, why))?,
        () = stop.cancelled() => return Err(Failure::new("stopped: the export is not whole")),
    };
    tell(&export.folder, &summary);
    Ok(())
}

/// The format that was asked for.
pub fn format(csv: bool) -> Format {
    if csv { Format::Csv } else { Format::Ndjson }
}

/// Says what could not be done.
pub fn failed(folder: &std::path::Path, why: crate::export::ExportError) -> Failure {
    let what = format!("the views could not be exported to {}", folder.display());
    Failure::because(what, why)
}

/// Says what was written.
pub fn tell(folder: &std::path::Path, summary: &Summary) {
    let rows: i64 = summary.rows.values().sum();
    let (folder, views) = (folder.display(), summary.rows.len());
    say(&format!(
        "exported {rows} rows of {views} views to {folder}, exact at epoch {} ({})",
        summary.epoch, summary.time
    ));
}
