//! Profiles of accounts: where they are kept, and whom to ask for them.
//!
//! ```text
//! scheduler ─ asks ─▶ AppView (HTTP)          scheduler ─ keeps ─▶ EmbeddedProfiles ─▶ api
//! ```

mod appview;

pub use appview::{AppView, AppViewError};
