//! `skytide export`: the views of a data folder as files.
//!
//! Where another process has the store open, that one writes them ([`handover`]).

use std::path::{Path, absolute};

use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::cli::Export;
use crate::data::{Data, Use, Views};
use crate::embedded::{DataDir, DataDirError, Part};
use crate::export::{ExportError, Format, export_live};
use crate::failure::Failure;
use crate::handover::{Answer, Asked, LOOK_EVERY, Request};
use crate::terminal::{note, say};

/// Exports the views of `STORE_DIR`.
///
/// # Errors
/// The folder cannot be used or read, or the files cannot be written.
pub async fn run(export: &Export, stop: CancellationToken) -> Result<(), Failure> {
    let writing = async {
        if let Some(told) = by_holder(export).await? {
            return Ok(told);
        }
        let config = &export.config;
        let data = Data::open(&config.store.dir, None, Use::Views, config, true).await?;
        let (folder, format) = (&export.folder, format(export.csv));
        let summary = match data.views() {
            Views::Embedded(store) => crate::export::export(store.as_ref(), folder, format).await,
            Views::Mongo(store) => export_live(store, folder, format).await,
        };
        let summary = summary.map_err(|why| failed(&export.folder, why))?;
        Ok::<_, Failure>(summary.told(&export.folder))
    };
    tokio::select! {
        told = writing => say(&told?),
        () = stop.cancelled() => return Err(Failure::new("stopped: the export is not whole")),
    }
    Ok(())
}

/// Lets the process that has the store open write the export; `None` if there is none.
async fn by_holder(export: &Export) -> Result<Option<String>, Failure> {
    let path = &export.config.store.dir;
    if export.config.mongo.uri.is_some() {
        return Ok(None);
    }
    let Ok(dir) = DataDir::open(path, None) else {
        // Opening it for ourselves says what is wrong.
        return Ok(None);
    };
    let Err(DataDirError::Held { holder, .. }) = dir.hold(Part::Store) else {
        return Ok(None);
    };
    let unusable = |why| {
        let what = format!(
            "{holder} cannot be asked for an export of {}",
            path.display()
        );
        Failure::because(what, why)
    };
    let request = Request {
        folder: absolute(&export.folder).map_err(unusable)?,
        csv: export.csv,
    };
    let asked = Asked::new(path, &request).map_err(unusable)?;
    note(&format!(
        "{holder} has the store open and writes the export"
    ));
    let mut look = interval(LOOK_EVERY);
    loop {
        look.tick().await;
        match asked.answer().map_err(unusable)? {
            Some(Answer::Written(told)) => return Ok(Some(told)),
            Some(Answer::Failed(why)) => {
                let folder = export.folder.display();
                let what = format!("the views could not be exported to {folder}");
                return Err(Failure::because(what, why));
            }
            // It ended without an answer: the store is free.
            None if dir.hold(Part::Store).is_ok() => return Ok(None),
            None => {}
        }
    }
}

/// The format that was asked for.
pub fn format(csv: bool) -> Format {
    if csv { Format::Csv } else { Format::Ndjson }
}

/// Says what could not be done.
pub fn failed(folder: &Path, why: ExportError) -> Failure {
    let what = format!("the views could not be exported to {}", folder.display());
    Failure::because(what, why)
}
