//! Where the job `profiles` fetches profiles of accounts.
//!
//! ```text
//! scheduler ─ fetch ─▶ AppView (HTTP)          scheduler ─ put ─▶ profile store ─▶ api
//! ```

mod appview;

pub use appview::{AppView, AppViewError, PAUSE_MS_MAX, retry_at};
