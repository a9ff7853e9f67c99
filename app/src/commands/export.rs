//! `skytide export`: the views of a data folder as files.
//!
//! Where another process has the store open, that one sends the rows ([`export_server`]) and this one writes the files.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::cli::Export;
use crate::data::{Data, Use, Views};
use crate::export::{ExportError, Folder, Format, Outline, Output, SUMMARY, export_live};
use crate::export_server::{self, Message, Request};
use crate::failure::Failure;
use crate::terminal::{note, say};
use skytide_embedded::{DataDir, DataDirError, Part};

/// How often it is looked whether the process that has the store open listens, or has ended.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Exports the views of `STORE_DIR`.
///
/// # Errors
/// The folder cannot be used or read, or the files cannot be written.
pub async fn run(export: &Export, stop: CancellationToken) -> Result<(), Failure> {
    let writing = async {
        if let Some(outline) = from_holder(export).await? {
            return Ok(outline);
        }
        let config = &export.config;
        let data = Data::open(&config.store.dir, None, Use::Views, config, true).await?;
        let (folder, format) = (&export.folder, format(export.csv));
        let summary = match data.views() {
            Views::Embedded(store) => crate::export::export(store.as_ref(), folder, format).await,
            Views::Mongo(store) => export_live(store, folder, format).await,
        };
        let summary = summary.map_err(|why| failed(&export.folder, why))?;
        Ok::<_, Failure>(summary.outline())
    };
    tokio::select! {
        outline = writing => say(&outline?.line(&export.folder)),
        () = stop.cancelled() => return Err(Failure::new("stopped: the export is not whole")),
    }
    Ok(())
}

/// Writes what the process sends that has the store open; `None` if there is none.
async fn from_holder(export: &Export) -> Result<Option<Outline>, Failure> {
    let path = &export.config.store.dir;
    if export.config.mongo.uri.is_some() {
        return Ok(None);
    }
    let Ok(dir) = DataDir::open(path, None) else {
        // Opening it for ourselves says what is wrong.
        return Ok(None);
    };
    let mut waits = false;
    loop {
        let holder = match dir.hold(Part::Store) {
            Err(DataDirError::Held { holder, .. }) => holder,
            _ => return Ok(None),
        };
        match export_server::connect(path).await {
            Ok(stream) => {
                note(&format!("{holder} has the store open and sends the export"));
                return receive(stream, export, &holder).await.map(Some);
            }
            // It is about to listen or to end, or it is a tool that serves no exports.
            Err(error) if is_absence(&error) => {
                if !waits {
                    note(&format!(
                        "{holder} has the store open and does not serve exports now: waiting until it does, or ends"
                    ));
                }
                waits = true;
                sleep(LOOK_EVERY).await;
            }
            Err(error) => {
                let shown = path.display();
                let what = format!("{holder} cannot be asked for an export of {shown}");
                return Err(Failure::because(what, error));
            }
        }
    }
}

fn is_absence(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionRefused, NotFound, WouldBlock};
    matches!(error.kind(), NotFound | ConnectionRefused | WouldBlock)
}

/// Asks for an export and writes it.
async fn receive(
    mut stream: UnixStream,
    export: &Export,
    holder: &str,
) -> Result<Outline, Failure> {
    let request = Message::Request(Request {
        version: export_server::VERSION,
        csv: export.csv,
    });
    let sent = export_server::send(&mut stream, &request).await;
    sent.map_err(|why| incomplete(holder, why))?;
    let mut folder = Folder::new(&export.folder);
    let write = |why| failed(&export.folder, why);
    let mut begun = false;
    loop {
        let received = export_server::receive(&mut stream).await;
        match received.map_err(|why| incomplete(holder, why))? {
            Message::File(name) if is_file_name(&name) => {
                if !begun {
                    folder.begin().await.map_err(write)?;
                    begun = true;
                }
                folder.file(&name).await.map_err(write)?;
            }
            Message::Data(bytes) if begun => folder.write(bytes).await.map_err(write)?,
            Message::Complete(outline) if begun => {
                folder.complete(&outline).await.map_err(write)?;
                return Ok(outline);
            }
            Message::Failed(why) => {
                let folder = export.folder.display();
                let what = format!("the views could not be exported to {folder}");
                return Err(Failure::because(what, why));
            }
            other => {
                let what = format!("unexpected: {}", other.kind());
                return Err(incomplete(
                    holder,
                    io::Error::new(ErrorKind::InvalidData, what),
                ));
            }
        }
    }
}

/// The name of a file of an export, in no other folder.
fn is_file_name(name: &str) -> bool {
    let is_letter = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_';
    let is_view = |view: &str| !view.is_empty() && view.bytes().all(is_letter);
    let ending = name.split_once('.');
    name == SUMMARY
        || ending.is_some_and(|(view, ending)| is_view(view) && ["ndjson", "csv"].contains(&ending))
}

fn incomplete(holder: &str, why: io::Error) -> Failure {
    let what = format!("the export is not whole: {holder} stopped sending it; call it again");
    Failure::because(what, why)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_an_export_is_in_its_folder() {
        for name in ["posts.ndjson", "top_posts.csv", "summary.json"] {
            assert!(is_file_name(name), "{name}");
        }
        for name in [
            "../posts.csv",
            "/posts.csv",
            ".csv",
            "posts",
            "posts.sh",
            "a/b.csv",
            "",
        ] {
            assert!(!is_file_name(name), "{name}");
        }
    }
}
