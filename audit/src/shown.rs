//! Keys and rows as text, for people.

use serde::Serialize;
use serde::de::DeserializeOwned;
use skytide_core::id::{Did, PostKey};
use skytide_core::view::{
    AccountRow, ActivityKey, ActivityRow, ActorRow, CounterRow, CoverageKey, CoverageRow,
    HandleKey, HandleRow, InteractionKey, InteractionRow, Key, ListKey, ListRow, PostRow, RowKind,
    TrendKey, TrendRow, ViewId, ViewKey, decode_row,
};

/// The key as an address, a DID, a text or JSON.
pub fn key(view: ViewId, key: &Key) -> Box<str> {
    let text = match view.row_kind() {
        RowKind::Post => key.decode::<PostKey>().ok().map(|it| it.to_string()),
        RowKind::Actor | RowKind::Account => key.decode::<Did>().ok().map(|it| it.to_string()),
        RowKind::Counter => key.decode::<String>().ok(),
        RowKind::Trend => key_json::<TrendKey>(key),
        RowKind::List => key_json::<ListKey>(key),
        RowKind::Interaction => key_json::<InteractionKey>(key),
        RowKind::Activity => key_json::<ActivityKey>(key),
        RowKind::Handle => key_json::<HandleKey>(key),
        RowKind::Coverage => key_json::<CoverageKey>(key),
    };
    text.unwrap_or_else(|| key.shown()).into()
}

/// The columns as JSON.
pub fn row(view: ViewId, row: &[u8]) -> Box<str> {
    let text = match view.row_kind() {
        RowKind::Post => row_json::<PostRow>(row),
        RowKind::Trend => row_json::<TrendRow>(row),
        RowKind::List => row_json::<ListRow>(row),
        RowKind::Interaction => row_json::<InteractionRow>(row),
        RowKind::Actor => row_json::<ActorRow>(row),
        RowKind::Activity => row_json::<ActivityRow>(row),
        RowKind::Account => row_json::<AccountRow>(row),
        RowKind::Handle => row_json::<HandleRow>(row),
        RowKind::Counter => row_json::<CounterRow>(row),
        RowKind::Coverage => row_json::<CoverageRow>(row),
    };
    let unreadable = || serde_json::json!({ "unreadable": row.escape_ascii().to_string() });
    text.unwrap_or_else(|| unreadable().to_string()).into()
}

fn key_json<K: ViewKey + Serialize>(key: &Key) -> Option<String> {
    serde_json::to_string(&key.decode::<K>().ok()?).ok()
}

fn row_json<R: DeserializeOwned + Serialize>(row: &[u8]) -> Option<String> {
    serde_json::to_string(&decode_row::<R>(row).ok()?).ok()
}
