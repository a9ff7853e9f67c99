//! Reads the whole content of a view store or of a log.

use skytide_core::event::Message;
use skytide_core::port::log::{Log, LogError};
use skytide_core::port::store::{Order, Range, StoreError, ViewReader};
use skytide_core::view::{Key, ViewId};

use crate::model::Rows;

/// All rows of all views.
///
/// # Errors
/// Fails if the store cannot be read.
pub async fn rows_of(reader: &dyn ViewReader) -> Result<Rows, StoreError> {
    let mut all = Rows::new();
    for &view in ViewId::ALL {
        let range = Range {
            order: Order::First,
            from: Key::from([].as_slice()),
            to: None,
            limit: usize::MAX,
        };
        let rows = reader.scan(view, range).await?;
        all.insert(
            view,
            rows.into_iter().map(|row| (row.key, row.row)).collect(),
        );
    }
    Ok(all)
}

/// All messages up to the newest tick.
///
/// # Errors
/// Fails if the log cannot be read.
pub async fn messages_of(log: &dyn Log) -> Result<Vec<Message>, LogError> {
    let mut messages = Vec::new();
    let Some((newest, _)) = log.newest_tick().await? else {
        return Ok(messages);
    };
    let mut reader = log.reader(log.bounds().await?.first).await?;
    loop {
        for (seq, message) in reader.next(1_000).await? {
            let is_end = seq == newest && matches!(message, Message::Tick(_));
            messages.push(message);
            if is_end {
                return Ok(messages);
            }
        }
    }
}
