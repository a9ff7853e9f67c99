//! Where the lines go, as JSON: to standard error with the other lines of the log, or to a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use prometheus_client::metrics::counter::Counter;
use skytide_core::config;
use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, filter::filter_fn, fmt};

use super::is_target;
use crate::failure::Failure;
use crate::log_queue::LogLine;

/// Size of a file at which it is renamed.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The output of this process; unset: the lines are off.
static OUTPUT: OnceLock<Output> = OnceLock::new();
/// Lines that were dropped since the process started.
static DROPPED: OnceLock<Counter> = OnceLock::new();

/// The number of lines that a file did not accept, for the metrics. Those that standard error did
/// not accept are counted with the other lines of the log.
pub fn dropped() -> Counter {
    DROPPED.get_or_init(Counter::default).clone()
}

/// Where the lines go.
#[derive(Clone)]
pub enum Output {
    /// Standard error, through the queue of the log.
    Stderr,
    /// This file.
    File(Arc<Mutex<LineFile>>),
}

/// Opens the output for this process; `None` if it is off.
///
/// # Errors
///
/// The file cannot be opened.
pub fn open(option: &config::DataflowLog) -> Result<Option<Output>, Failure> {
    let output = match option {
        config::DataflowLog::Off => return Ok(None),
        config::DataflowLog::Stderr => Output::Stderr,
        config::DataflowLog::File(path) => {
            let file = LineFile::open(path, FILE_BYTES_MAX).map_err(|why| {
                let path = path.display();
                let what = format!("cannot open {path} for appending (INDEXER_DATAFLOW_LOG)");
                Failure::because(what, why)
            })?;
            Output::File(Arc::new(Mutex::new(file)))
        }
    };
    // A second call keeps the output of the first.
    Ok(Some(OUTPUT.get_or_init(|| output).clone()))
}

/// Whether this process writes lines about the dataflow.
pub(super) fn is_open() -> bool {
    OUTPUT.get().is_some()
}

/// Why the last line was dropped; `None` if it was written.
pub(super) fn failure() -> Option<String> {
    match OUTPUT.get()? {
        Output::Stderr => None,
        Output::File(file) => lock(file).failure.clone(),
    }
}

/// The layer that writes the lines as JSON, and no other events.
pub fn layer<S: Subscriber + for<'s> LookupSpan<'s>>(output: Output) -> impl Layer<S> {
    let json = fmt::layer().json().flatten_event(true);
    let json = json.with_current_span(false).with_span_list(false);
    let json = json.with_writer(output);
    json.with_filter(filter_fn(|event| is_target(event.target())))
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        match self {
            Self::Stderr => LineWriter::Stderr(LogLine::default()),
            Self::File(file) => LineWriter::File(Vec::new(), file.clone()),
        }
    }
}

/// One line. It is written, or added to the queue, when it is dropped.
pub enum LineWriter {
    /// To standard error.
    Stderr(LogLine),
    /// To this file.
    File(Vec<u8>, Arc<Mutex<LineFile>>),
}

impl Write for LineWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stderr(line) => line.write(bytes),
            Self::File(line, _) => line.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        if let Self::File(line, file) = self {
            let mut file = lock(file);
            let written = file.write(line);
            if written.is_err() {
                dropped().inc();
            }
            file.failure = written.err().map(|why| why.to_string());
        }
    }
}

fn lock(file: &Mutex<LineFile>) -> MutexGuard<'_, LineFile> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file of lines. When it has reached its size, it is renamed to its name with `.1` appended, and
/// a new one is begun. So two files exist at most.
pub struct LineFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
    /// Why the last line was dropped.
    failure: Option<String>,
}

impl LineFile {
    /// Opens the file, and creates it if there is none.
    fn open(path: &Path, bytes_max: u64) -> io::Result<Self> {
        let file = append(path)?;
        Ok(Self {
            path: path.to_owned(),
            bytes: file.metadata()?.len(),
            file,
            bytes_max,
            failure: None,
        })
    }

    /// Appends a line.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.bytes_max {
            let mut previous = self.path.clone().into_os_string();
            previous.push(".1");
            match std::fs::rename(&self.path, previous) {
                // Another program has moved or removed the file, or it could not be opened again
                // after the last renaming.
                Err(why) if why.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed?,
            }
            *self = Self::open(&self.path, self.bytes_max)?;
        }
        let written = self.file.write_all(line);
        match written {
            Ok(()) => self.bytes += line.len() as u64,
            // A full disk may have taken a part of the line, which no reader could parse.
            Err(_) => self.file.set_len(self.bytes)?,
        }
        written
    }
}

/// An output into a file, for tests.
#[cfg(test)]
pub(super) fn at(path: &Path) -> Output {
    let file = LineFile::open(path, FILE_BYTES_MAX).expect("the file opens");
    Output::File(Arc::new(Mutex::new(file)))
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_has_reached_its_size_is_renamed_and_a_new_one_begun() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lines.ndjson");
        let text = |name: &str| std::fs::read_to_string(folder.path().join(name));
        let mut file = LineFile::open(&path, 20).expect("it opens");
        for line in [b"one 34567\n", b"two 34567\n"] {
            file.write(line).expect("written");
        }
        assert!(text("lines.ndjson.1").is_err(), "it is not too large yet");
        drop(file);
        let mut file = LineFile::open(&path, 20).expect("it opens again");
        file.write(b"three\n").expect("written");
        let old = text("lines.ndjson.1").expect("the previous file");
        assert_eq!(old, "one 34567\ntwo 34567\n");
        assert_eq!(text("lines.ndjson").expect("the file"), "three\n");
        // A line that is longer than the limit has a file of its own.
        file.write(&[b'x'; 50]).expect("written");
        file.write(b"four\n").expect("written");
        assert_eq!(text("lines.ndjson.1").expect("a file").len(), 50);
        assert_eq!(text("lines.ndjson").expect("the file"), "four\n");
    }

    #[test]
    fn a_file_that_was_removed_is_created_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("logs");
        std::fs::create_dir(&inner).expect("a folder");
        let path = inner.join("lines.ndjson");
        let mut file = LineFile::open(&path, 10).expect("it opens");
        file.write(b"one 34567\n").expect("written");
        std::fs::remove_dir_all(&inner).expect("removed");
        assert!(file.write(b"two 34567\n").is_err(), "there is no folder");
        std::fs::create_dir(&inner).expect("a folder");
        file.write(b"three\n").expect("written");
        let text = std::fs::read_to_string(&path).expect("the file");
        assert_eq!(text, "three\n");
    }

    #[test]
    fn an_output_that_cannot_be_opened_is_refused_with_the_option() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = config::DataflowLog::File(folder.path().to_owned());
        let why = open(&file).err().expect("a folder is no file");
        assert!(why.to_string().contains("INDEXER_DATAFLOW_LOG"), "{why}");
    }
}
