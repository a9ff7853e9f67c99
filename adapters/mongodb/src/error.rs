//! What the server's errors mean, and how they become errors of the store.

use mongodb::error::{Error, ErrorKind, WriteFailure};
use skytide_core::port::BoxError;
use skytide_core::port::store::StoreError;

/// The error code for a unique key that already exists
/// (<https://www.mongodb.com/docs/manual/reference/error-codes/>).
pub const DUPLICATE_KEY: i32 = 11_000;

/// The messages of an error and its causes, without the server's answer in hexadecimal.
pub fn error_chain(why: &Error) -> String {
    let all = std::iter::successors(Some(why), |why| cause(why));
    let all: Vec<_> = all.map(|why| why.kind.to_string()).collect();
    all.join(": ")
}

fn cause(why: &Error) -> Option<&Error> {
    std::error::Error::source(why)?.downcast_ref()
}

/// Whether the server refused because the key already exists.
pub fn is_duplicate_key(error: &Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Write(WriteFailure::WriteError(error)) => error.code == DUPLICATE_KEY,
        ErrorKind::Command(error) => error.code == DUPLICATE_KEY,
        _ => false,
    }
}

/// Builds the error of a failed operation of the store.
pub fn failed<E: Into<BoxError>>(operation: &'static str) -> impl Fn(E) -> StoreError {
    move |source| StoreError::Failed {
        operation,
        source: source.into(),
    }
}
