//! The file that describes a network, so that a restarted process continues the same one.

use std::io::{self, Write};
use std::path::Path;

use indicatif::HumanCount;
use serde::{Deserialize, Serialize};
use skytide_core::time::Timestamp;
use skytide_simnet::{Options, malformed};

use crate::cli::simnet as cli;
use crate::failure::Failure;

/// All that determines a network and its position in time, except the malformed input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The version of the program. Another version may make other frames from the same seed.
    pub version: String,
    /// The seed.
    pub seed: u64,
    /// Accounts at the start.
    pub accounts: u32,
    /// Mean frames per second of network time over a day.
    pub rate: f64,
    /// Network time of the first frame, in milliseconds since 1970.
    pub start_ms: u64,
    /// Network time that had already passed at `began_ms`, in milliseconds.
    pub backlog_ms: u64,
    /// When the network was first served, in milliseconds since 1970.
    pub began_ms: u64,
    /// Number of frames until the network ends.
    pub events_max: Option<u64>,
    /// Maximum number of live records of an account.
    pub records_max: Option<u32>,
    /// The share of what is about one story that never ends. Files of earlier versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hot_percent: Option<u8>,
    /// Whether commits are signed.
    pub signed: bool,
}

impl Origin {
    /// The network that the flags describe, which starts at `start` and is served from `now` on.
    pub fn new(requested: &cli::Network, start: Timestamp, now: Timestamp) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            seed: requested.seed,
            accounts: requested.accounts,
            rate: requested.rate,
            start_ms: start.0,
            backlog_ms: 0,
            began_ms: now.0,
            events_max: requested.events_max,
            records_max: requested.records_max,
            hot_percent: requested.hot_percent,
            signed: !requested.unsigned,
        }
    }

    /// The options of the network.
    pub fn network(&self, malformed: malformed::Rates) -> Options {
        Options {
            seed: self.seed,
            accounts: self.accounts,
            rate: self.rate,
            start: Timestamp(self.start_ms),
            events_max: self.events_max,
            records_max: self.records_max,
            hot_percent: self.hot_percent,
            signed: self.signed,
            malformed,
            ..Options::default()
        }
    }

    /// A description for people.
    pub fn description(&self) -> String {
        format!(
            "of seed {} with {} accounts and about {} frames a second, started at {}",
            self.seed,
            HumanCount(self.accounts.into()),
            self.rate,
            Timestamp(self.start_ms).rfc3339(),
        )
    }
}

/// Returns the network that the file describes. If the file does not exist, writes `new` to it and
/// returns that; the file is then durable.
///
/// # Errors
///
/// The file cannot be read or written, was written by another version, or describes another network
/// than the requested one.
pub fn load_or_create(file: &Path, new: Origin) -> Result<Origin, Failure> {
    let shown = file.display();
    match std::fs::read(file) {
        Ok(bytes) => {
            let stored: Origin = serde_json::from_slice(&bytes).map_err(|why| {
                Failure::because(
                    format!("cannot parse {shown}: it does not describe a network"),
                    why,
                )
            })?;
            check_same(&stored, &new, file)?;
            Ok(stored)
        }
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            let failed = |why| Failure::because(format!("cannot write {shown}"), why);
            write(file, &new).map_err(failed)?;
            Ok(new)
        }
        Err(why) => Err(Failure::because(format!("cannot read {shown}"), why)),
    }
}

/// Refuses to continue another network than the requested one. Its start may differ.
fn check_same(stored: &Origin, requested: &Origin, file: &Path) -> Result<(), Failure> {
    let shown = file.display();
    if stored.version != requested.version {
        return Err(Failure::new(format!(
            "cannot continue the network in {shown}: version {} of this program wrote it, and version {} \
             may make other frames; remove the folder or the file to start a new network, or use that \
             version",
            stored.version, requested.version
        )));
    }
    let expected = Origin {
        start_ms: stored.start_ms,
        backlog_ms: stored.backlog_ms,
        began_ms: stored.began_ms,
        ..requested.clone()
    };
    if *stored != expected {
        return Err(Failure::new(format!(
            "{shown} holds another network: {}. Use the same flags, remove the folder or the file to \
             start a new network, or choose another one",
            stored.description()
        )));
    }
    Ok(())
}

/// Writes the file atomically and durably.
fn write(file: &Path, origin: &Origin) -> io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let unfinished = file.with_file_name(name);
    let mut text = serde_json::to_vec_pretty(origin)?;
    text.push(b'\n');
    skytide_embedded::replace_file(file, &unfinished, |opened| opened.write_all(&text)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(seed: u64, began_ms: u64) -> Origin {
        Origin {
            version: "1.2.3".to_owned(),
            seed,
            accounts: 5_000,
            rate: 200.0,
            start_ms: began_ms - 60_000,
            backlog_ms: 60_000,
            began_ms,
            events_max: None,
            records_max: Some(400),
            hot_percent: None,
            signed: true,
        }
    }

    #[test]
    fn a_stored_network_is_continued_and_another_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("demo.json");
        let first = load_or_create(&file, origin(1, 100_000)).unwrap();
        assert_eq!(load_or_create(&file, origin(1, 900_000)).unwrap(), first);
        let refused = |requested| load_or_create(&file, requested).unwrap_err().to_string();
        assert!(refused(origin(2, 100_000)).contains("of seed 1 "));
        let newer = Origin {
            version: "1.2.4".to_owned(),
            ..origin(1, 1_000_000)
        };
        assert!(refused(newer).contains("version 1.2.3"));
    }

    #[test]
    fn an_incomplete_file_of_a_killed_start_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("demo.json");
        std::fs::write(folder.path().join("demo.json.new"), "{\"ver").unwrap();
        let first = load_or_create(&file, origin(1, 100_000)).unwrap();
        assert_eq!(load_or_create(&file, origin(1, 200_000)).unwrap(), first);
        std::fs::write(&file, "{\"ver").unwrap();
        let refused = load_or_create(&file, first).unwrap_err().to_string();
        assert!(refused.contains("does not describe a network"), "{refused}");
    }
}
