//! The one binary of Skytide as a library: the only place that knows the embedded database, the environment and the
//! clock.

pub mod embedded;
