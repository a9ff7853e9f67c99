//! Exports of a store that another process has open: that process writes them.
//!
//! ```text
//! skytide export ─▶ data/export-ID.request ─▶ the process with the store: reads one commit, writes DIR
//!                ◀─ data/export-ID.answer  ◀─
//! ```
//!
//! Files, because they work everywhere and whoever may write to the data folder may ask. They are
//! written aside and moved into place; a request is taken by one process, by taking it away.
//!
//! The process that answers does something else by profession: whatever fails here is told, and tried again, and ends
//! nothing. While an answer cannot be written, as on a full disk, no other request is taken.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

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
        let bytes = take(&self.answer)?;
        let answer = bytes.map(|bytes| serde_json::from_slice(&bytes));
        Ok(answer.transpose()?)
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
pub async fn serve(data: PathBuf, store: Arc<EmbeddedStore>) {
    let mut desk = Desk {
        data,
        store,
        unanswered: None,
        failing: false,
    };
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        desk.look().await;
    }
}

/// Where requests are answered.
struct Desk {
    data: PathBuf,
    store: Arc<EmbeddedStore>,
    /// An answer that could not be written yet, and where it belongs.
    unanswered: Option<(PathBuf, Answer)>,
    /// The last look met an error, which was told.
    failing: bool,
}

impl Desk {
    /// Answers what there is to be answered.
    async fn look(&mut self) {
        let looked = self.answer_all().await;
        if let Err(error) = &looked
            && !self.failing
        {
            let data = &self.data;
            tracing::warn!(%error, ?data, "a request for an export could not be served, trying again");
        }
        self.failing = looked.is_err();
    }

    async fn answer_all(&mut self) -> io::Result<()> {
        self.put_answer()?;
        let mut unusable = Ok(());
        for path in requests(&self.data)? {
            match take(&path) {
                Ok(Some(bytes)) => {
                    let answer = answer(&bytes, &self.store).await;
                    self.unanswered = Some((path.with_extension("answer"), answer));
                    self.put_answer()?;
                }
                Ok(None) => {}
                Err(error) => unusable = Err(error),
            }
        }
        unusable
    }

    fn put_answer(&mut self) -> io::Result<()> {
        if let Some((path, answer)) = &self.unanswered {
            put(path, answer)?;
            self.unanswered = None;
        }
        Ok(())
    }
}

/// Does what a request says, if it can be understood.
async fn answer(request: &[u8], store: &EmbeddedStore) -> Answer {
    let answer = match serde_json::from_slice::<Request>(request) {
        Ok(request) => write(&request, store).await,
        Err(why) => Answer::Failed(format!(
            "the request cannot be read, is it of another version of skytide? ({why})"
        )),
    };
    tracing::info!(?answer, "export for another process");
    answer
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
    let is_request = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("export-") && name.ends_with(".request"))
    };
    Ok(paths.into_iter().filter(is_request).collect())
}

/// Writes a file wholly or not at all.
fn put<T: Serialize>(path: &Path, content: &T) -> io::Result<()> {
    let aside = path.with_extension("partial");
    let written = fs::write(&aside, serde_json::to_vec(content)?);
    let put = written.and_then(|()| fs::rename(&aside, path));
    if put.is_err() {
        // What is told is why it could not be put.
        let _ = take_away(&aside);
    }
    put
}

/// Reads a file and takes it away; `None` if it is not there.
fn take(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => take_away(path).map(|()| Some(bytes)),
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
