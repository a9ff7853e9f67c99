//! Requests the flight records of the running processes of a data folder.

use std::io;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use super::archive::{Entry, read};
use super::place;
use super::recorder::{ARCHIVE_BYTES_MAX, Process};
use super::server::REQUEST;
use crate::export_server::connect;

/// How long a process may take to send its record.
const RECEIVE_MAX: Duration = Duration::from_secs(8);
/// Maximum number of processes that are asked.
const PROCESSES_MAX: usize = 16;

/// The flight record of a running process.
#[derive(Clone, Debug)]
pub struct FlightRecord {
    /// The process.
    pub process: Process,
    /// The files of the record.
    pub entries: Vec<Entry>,
}

impl FlightRecord {
    /// The content of a file as text.
    pub fn file(&self, path: &str) -> Option<String> {
        let entry = self.entries.iter().find(|entry| entry.path == path)?;
        Some(String::from_utf8_lossy(&entry.content).into_owned())
    }

    /// The samples of a part, such as `metrics`, oldest first: path and content.
    pub fn samples(&self, part: &str) -> Vec<&Entry> {
        let start = format!("{part}/");
        let of_part = self.entries.iter().filter(|it| it.path.starts_with(&start));
        let mut samples: Vec<&Entry> = of_part.collect();
        samples.sort_by(|a, b| a.path.cmp(&b.path));
        samples
    }
}

/// The records of all processes that use this data folder, and for each process that sent none, the
/// reason. `time_max`: how long listing the folder may take.
pub async fn records(data: &Path, time_max: Duration) -> (Vec<FlightRecord>, Vec<String>) {
    let folder = place::folder(data);
    let listed = folder.clone();
    let names = spawn_blocking(move || place::names(&listed, "", ".sock"));
    let Ok(names) = timeout(time_max, names).await else {
        let why = format!("{} cannot be listed in time", folder.display());
        return (Vec::new(), vec![why]);
    };
    let mut requests = JoinSet::new();
    for name in names.unwrap_or_default().into_iter().take(PROCESSES_MAX) {
        let folder = folder.clone();
        requests.spawn(async move {
            let received = timeout(RECEIVE_MAX, receive(&folder, &name)).await;
            let received = received.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            (name, received)
        });
    }
    // A panic of a task has already been reported.
    let mut answers = Vec::new();
    while let Some(joined) = requests.join_next().await {
        answers.extend(joined.ok());
    }
    answers.sort_by(|(a, _), (b, _)| a.cmp(b));
    let (mut records, mut failures) = (Vec::new(), Vec::new());
    for (name, received) in answers {
        match received {
            Ok(record) => records.push(record),
            // The socket of a process that was killed.
            Err(why) if why.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(why) => failures.push(format!("{name}: {why}")),
        }
    }
    (records, failures)
}

async fn receive(folder: &Path, name: &str) -> io::Result<FlightRecord> {
    let mut stream = connect(folder, name).await?;
    stream.write_u8(REQUEST).await?;
    let bytes = stream.read_u64().await?;
    if bytes > ARCHIVE_BYTES_MAX as u64 {
        return Err(io::Error::other("the record is too large"));
    }
    let mut archive = vec![0; bytes as usize];
    stream.read_exact(&mut archive).await?;
    let entries = read(&archive)?;
    let process = entries.iter().find(|entry| entry.path == "process.json");
    let process = process.ok_or_else(|| io::Error::other("the record has no process.json"))?;
    Ok(FlightRecord {
        process: serde_json::from_slice(&process.content)?,
        entries,
    })
}
