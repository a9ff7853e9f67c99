//! Where a network comes from, in a file: whoever starts again goes on with the same one.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use indicatif::HumanCount;
use serde::{Deserialize, Serialize};
use skytide_core::time::Timestamp;
use skytide_simnet::{Options, bad};

use crate::cli::simnet as cli;
use crate::failure::Failure;

/// All that a network and its place in time follow from, but what is wrong with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The program that makes it: another version may make other frames of the same seed.
    pub version: String,
    /// The seed.
    pub seed: u64,
    /// Accounts that were there when it started.
    pub accounts: u32,
    /// Frames per second of network time, as a mean over a day.
    pub rate: f64,
    /// Network time of the first frame, in milliseconds since 1970.
    pub start_ms: u64,
    /// Network time that had passed at `began_ms`, in milliseconds.
    pub backlog_ms: u64,
    /// When it was first served, in milliseconds since 1970.
    pub began_ms: u64,
    /// Frames after which it ends.
    pub events_max: Option<u64>,
    /// Live records of an account, at most.
    pub records_max: Option<u32>,
    /// Whether commits are signed.
    pub signed: bool,
}

impl Origin {
    /// The network that flags describe, which begins at `start` and is served from `now` on.
    pub fn new(asked: &cli::Network, start: Timestamp, now: Timestamp) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            seed: asked.seed,
            accounts: asked.accounts,
            rate: asked.rate,
            start_ms: start.0,
            backlog_ms: 0,
            began_ms: now.0,
            events_max: asked.events_max,
            records_max: asked.records_max,
            signed: !asked.unsigned,
        }
    }

    /// The network.
    pub fn network(&self, bad: bad::Rates) -> Options {
        Options {
            seed: self.seed,
            accounts: self.accounts,
            rate: self.rate,
            start: Timestamp(self.start_ms),
            events_max: self.events_max,
            records_max: self.records_max,
            signed: self.signed,
            bad,
            ..Options::default()
        }
    }

    /// For people.
    pub fn in_words(&self) -> String {
        format!(
            "of seed {}, {} accounts and about {} frames a second, and began at {}",
            self.seed,
            HumanCount(self.accounts.into()),
            self.rate,
            Timestamp(self.start_ms).rfc3339(),
        )
    }
}

/// The network that the file names; if it is not there, `made`, which is durable in it when this returns.
///
/// # Errors
/// The file cannot be read or written, was made by another version, or names another network than the one that is asked for.
pub fn begin(file: &Path, made: Origin) -> Result<Origin, Failure> {
    let shown = file.display();
    match std::fs::read(file) {
        Ok(bytes) => {
            let kept: Origin = serde_json::from_slice(&bytes).map_err(|why| {
                Failure::because(format!("{shown} does not describe a network"), why)
            })?;
            same(&kept, &made, file)?;
            Ok(kept)
        }
        Err(why) if why.kind() == io::ErrorKind::NotFound => {
            let failed = |why| Failure::because(format!("{shown} could not be written"), why);
            write(file, &made).map_err(failed)?;
            Ok(made)
        }
        Err(why) => Err(Failure::because(format!("{shown} could not be read"), why)),
    }
}

/// Refuses to go on with a network that is another one; when it began does not matter.
fn same(kept: &Origin, asked: &Origin, file: &Path) -> Result<(), Failure> {
    let shown = file.display();
    if kept.version != asked.version {
        return Err(Failure::new(format!(
            "the network of {shown} was begun by version {} of this program, and {} may make other frames: remove the \
             folder or the file to begin anew, or use that version",
            kept.version, asked.version
        )));
    }
    let expected = Origin {
        start_ms: kept.start_ms,
        backlog_ms: kept.backlog_ms,
        began_ms: kept.began_ms,
        ..asked.clone()
    };
    if *kept != expected {
        return Err(Failure::new(format!(
            "{shown} holds another network: {}. Give the same flags, remove the folder or the file to begin anew, or use another \
             one",
            kept.in_words()
        )));
    }
    Ok(())
}

/// Whole or not at all, and durable.
fn write(file: &Path, origin: &Origin) -> io::Result<()> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let unfinished = file.with_file_name(name);
    let mut text = serde_json::to_vec_pretty(origin)?;
    text.push(b'\n');
    let mut opened = File::create(&unfinished)?;
    opened.write_all(&text)?;
    opened.sync_all()?;
    std::fs::rename(&unfinished, file)?;
    let parent = file.parent().filter(|it| !it.as_os_str().is_empty());
    File::open(parent.map_or_else(|| PathBuf::from("."), Path::to_owned))?.sync_all()
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
            signed: true,
        }
    }

    #[test]
    fn what_was_begun_goes_on_and_what_is_another_network_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("demo.json");
        let first = begin(&file, origin(1, 100_000)).unwrap();
        assert_eq!(begin(&file, origin(1, 900_000)).unwrap(), first);
        let refused = |asked| begin(&file, asked).unwrap_err().to_string();
        assert!(refused(origin(2, 100_000)).contains("of seed 1,"));
        let newer = Origin {
            version: "1.2.4".to_owned(),
            ..origin(1, 1_000_000)
        };
        assert!(refused(newer).contains("version 1.2.3"));
    }

    #[test]
    fn a_half_written_file_of_a_start_that_was_killed_does_not_matter() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("demo.json");
        std::fs::write(folder.path().join("demo.json.new"), "{\"ver").unwrap();
        let first = begin(&file, origin(1, 100_000)).unwrap();
        assert_eq!(begin(&file, origin(1, 200_000)).unwrap(), first);
        std::fs::write(&file, "{\"ver").unwrap();
        let refused = begin(&file, first).unwrap_err().to_string();
        assert!(refused.contains("does not describe a network"), "{refused}");
    }
}
