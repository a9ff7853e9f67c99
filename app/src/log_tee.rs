//! Copies log lines to a second reader, the flight record. The queue of log lines does not know who
//! reads them.

use std::sync::OnceLock;

/// A reader of log lines.
type Reader = Box<dyn Fn(&[u8]) + Send + Sync>;

static READER: OnceLock<Reader> = OnceLock::new();

/// From now on passes each log line to this reader. It must not log, and must not block for long. A
/// second call keeps the reader of the first.
pub fn set(reader: impl Fn(&[u8]) + Send + Sync + 'static) {
    let _set = READER.set(Box::new(reader));
}

/// Passes a log line on.
pub fn line(line: &[u8]) {
    if let Some(reader) = READER.get() {
        reader(line);
    }
}
