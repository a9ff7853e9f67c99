//! Exports of a store that another process has open: that process writes them.
//!
//! ```text
//! skytide export ─▶ data/export-ID.request ─▶ the process with the store: reads one commit, writes DIR
//!                ◀─ data/export-ID.answer  ◀─
//! ```
//!
//! Files, because they work everywhere and whoever may write to the data folder may ask. They are
//! written aside and moved into place; a request is taken by one process, by taking it away.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::interval;

use crate::embedded::EmbeddedStore;
use crate::export::{Format, export};
use crate::failure::chain;

/// How often requests and answers are looked for.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What is to be exported.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// Where to, absolute.
    pub folder: PathBuf,
    /// CSV instead of NDJSON.
    pub csv: bool,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The export is whole; what to tell of it.
    Written(String),
    /// It could not be written, and why.
    Failed(String),
}

/// A request that waits for its answer; taken back when this is dropped.
pub struct Asked {
    request: PathBuf,
    answer: PathBuf,
}

impl Asked {
    /// Asks the process that has the store of this data folder open.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn new(data: &Path, request: &Request) -> io::Result<Self> {
        let id = std::process::id();
        let asked = Self {
            request: data.join(format!("export-{id}.request")),
            answer: data.join(format!("export-{id}.answer")),
        };
        take_away(&asked.answer)?;
        put(&asked.request, request)?;
        Ok(asked)
    }

    /// The answer, if it is there.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn answer(&self) -> io::Result<Option<Answer>> {
        take(&self.answer)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        for path in [&self.request, &self.answer] {
            if let Err(error) = take_away(path) {
                tracing::warn!(%error, ?path, "a request could not be taken back");
            }
        }
    }
}

/// Writes exports for others, one after the other, for as long as this is awaited.
///
/// # Errors
/// The data folder cannot be read or written.
pub async fn serve(data: PathBuf, store: Arc<EmbeddedStore>) -> io::Result<()> {
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        for path in requests(&data)? {
            let Some(request) = take::<Request>(&path)? else {
                continue;
            };
            let answer = write(&request, &store).await;
            tracing::info!(folder = ?request.folder, ?answer, "export for another process");
            put(&path.with_extension("answer"), &answer)?;
        }
    }
}

async fn write(request: &Request, store: &EmbeddedStore) -> Answer {
    let format = if request.csv {
        Format::Csv
    } else {
        Format::Ndjson
    };
    match export(&store.still(), &request.folder, format).await {
        Ok(summary) => Answer::Written(summary.told(&request.folder)),
        Err(error) => Answer::Failed(chain(&error)),
    }
}

fn requests(data: &Path) -> io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(data)?.map(|entry| Ok(entry?.path()));
    let paths = paths.collect::<io::Result<Vec<_>>>()?;
    let is_request = |path: &PathBuf| path.extension().is_some_and(|it| it == "request");
    Ok(paths.into_iter().filter(is_request).collect())
}

/// Writes a file wholly or not at all.
fn put<T: Serialize>(path: &Path, content: &T) -> io::Result<()> {
    let aside = path.with_extension("partial");
    fs::write(&aside, serde_json::to_vec(content)?)?;
    fs::rename(&aside, path)
}

/// Reads a file and takes it away; `None` if it is not there.
fn take<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => {
            take_away(path)?;
            Ok(Some(serde_json::from_slice(&bytes)?))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn take_away(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
