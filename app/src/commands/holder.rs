//! The process that has the embedded store open. It serves the requests of commands that cannot
//! open the store themselves ([`export_server`]).

use std::io::{self, ErrorKind};
use std::time::Duration;

use skytide_core::config::Config;
use tokio::net::UnixStream;
use tokio::time::sleep;

use crate::export_server::{self, SOCKET};
use crate::failure::Failure;
use crate::terminal::note;
use skytide_embedded::{DataDir, DataDirError, Part};

/// Interval between two checks whether the process that has the store open accepts requests or has
/// exited.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// A connection to the process that has the store open.
pub struct Holder {
    /// Its name: `process 123`.
    pub name: String,
    /// The connection.
    pub stream: UnixStream,
}

/// Connects to the process that has the store open. Returns `None` if there is no such process, or
/// the views are on MongoDB. Waits while the process starts, stops or is a tool, which accepts no
/// requests.
///
/// # Errors
///
/// The process does not accept the connection.
pub async fn connect(config: &Config) -> Result<Option<Holder>, Failure> {
    let path = &config.store.dir;
    if config.mongo.uri.is_some() {
        return Ok(None);
    }
    let Ok(dir) = DataDir::open(path, None) else {
        // The caller opens the folder again and reports the error.
        return Ok(None);
    };
    let mut is_reported = false;
    loop {
        let name = match dir.hold(Part::Store) {
            Err(DataDirError::Held { holder, .. }) => holder,
            _ => return Ok(None),
        };
        match export_server::connect(path, SOCKET).await {
            Ok(stream) => return Ok(Some(Holder { name, stream })),
            Err(error) if is_absence(&error) => {
                if !is_reported {
                    note(&format!(
                        "{name} has the store open and accepts no requests now: waiting until it \
                         does or exits"
                    ));
                }
                is_reported = true;
                sleep(POLL_INTERVAL).await;
            }
            Err(error) => {
                let shown = path.display();
                let what = format!("cannot connect to {name}, which has the store in {shown} open");
                return Err(Failure::because(what, error));
            }
        }
    }
}

fn is_absence(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionRefused, NotFound, WouldBlock};
    matches!(error.kind(), NotFound | ConnectionRefused | WouldBlock)
}
