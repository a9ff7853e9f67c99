//! `skytide export`: writes the views of a store to files.
//!
//! If another process has the embedded store open, that process sends the rows ([`export_server`])
//! and this process writes the files.

use std::io::{self, ErrorKind};
use std::path::Path;

use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::holder::{self, Holder};
use crate::cli::Export;
use crate::data::{Data, Role};
use crate::export::{ExportError, ExportReport, Folder, Format, Output, SUMMARY};
use crate::export_server::{self, Message, Request};
use crate::failure::Failure;
use crate::terminal::{note, say};

/// Exports the views that the options name.
///
/// # Errors
///
/// The views cannot be opened or read, or the files cannot be written.
pub async fn run(export: &Export, stop: CancellationToken) -> Result<(), Failure> {
    let writing = async {
        if let Some(report) = from_other_process(export).await? {
            return Ok(report);
        }
        let config = &export.config;
        let data = Data::open(&config.store.dir, None, Role::Views, config, true).await?;
        let exported = data
            .views()
            .export(&export.folder, format(export.csv))
            .await;
        let summary = exported.map_err(|why| failed(&export.folder, why))?;
        Ok::<_, Failure>(summary.report())
    };
    tokio::select! {
        report = writing => say(&report?.line(&export.folder)),
        () = stop.cancelled() => return Err(Failure::new("stopped: the export is incomplete")),
    }
    Ok(())
}

/// Requests the export from the process that has the store open, and writes the files. Returns
/// `None` if there is no such process.
async fn from_other_process(export: &Export) -> Result<Option<ExportReport>, Failure> {
    let Some(Holder { name, stream }) = holder::connect(&export.config).await? else {
        return Ok(None);
    };
    note(&format!("{name} has the store open and sends the export"));
    receive(stream, export, &name).await.map(Some)
}

/// Requests an export, receives it and writes the files.
async fn receive(
    mut stream: UnixStream,
    export: &Export,
    holder: &str,
) -> Result<ExportReport, Failure> {
    let request = Message::Request(Request {
        version: export_server::VERSION,
        csv: export.csv,
    });
    let sent = export_server::send(&mut stream, &request).await;
    sent.map_err(|why| incomplete(holder, why))?;
    let mut folder = Folder::new(&export.folder);
    let write = |why| failed(&export.folder, why);
    let mut started = false;
    loop {
        let received = export_server::receive(&mut stream).await;
        match received.map_err(|why| incomplete(holder, why))? {
            Message::File(name) if is_file_name(&name) => {
                if !started {
                    folder.begin().await.map_err(write)?;
                    started = true;
                }
                folder.file(&name).await.map_err(write)?;
            }
            Message::Data(bytes) if started => folder.write(bytes).await.map_err(write)?,
            Message::Complete(report) if started => {
                folder.complete(&report).await.map_err(write)?;
                return Ok(report);
            }
            Message::Failed(why) => {
                let folder = export.folder.display();
                let what = format!("cannot export the views to {folder}");
                return Err(Failure::because(what, why));
            }
            other => {
                let what = format!("unexpected message: {}", other.kind());
                return Err(incomplete(
                    holder,
                    io::Error::new(ErrorKind::InvalidData, what),
                ));
            }
        }
    }
}

/// Whether this is the name of a file of an export, without a path to another folder.
fn is_file_name(name: &str) -> bool {
    let is_letter = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_';
    let is_view = |view: &str| !view.is_empty() && view.bytes().all(is_letter);
    let ending = name.split_once('.');
    name == SUMMARY
        || ending.is_some_and(|(view, ending)| is_view(view) && ["ndjson", "csv"].contains(&ending))
}

fn incomplete(holder: &str, why: io::Error) -> Failure {
    let what =
        format!("the export is incomplete: {holder} stopped sending it; run the export again");
    Failure::because(what, why)
}

/// The requested format.
pub fn format(csv: bool) -> Format {
    if csv { Format::Csv } else { Format::Ndjson }
}

/// The failure of an export to a folder.
pub fn failed(folder: &Path, why: ExportError) -> Failure {
    let what = format!("cannot export the views to {}", folder.display());
    Failure::because(what, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_files_of_an_export_are_accepted() {
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
