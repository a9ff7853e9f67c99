//! Divides accounts among requests, which are bounded by their number of accounts and their bytes.

use skytide_core::id::Did;
use skytide_core::port::profile::{PROFILES_PER_REQUEST, StreamProfile};

/// An account to be fetched, with its profile in the stream at that time.
#[derive(Clone, Debug)]
pub(super) struct PendingProfile {
    pub(super) did: Did,
    pub(super) stream: StreamProfile,
    /// Whether the stream knows the account. If neither it nor the source does, nothing is stored.
    pub(super) is_known: bool,
}

/// Maximum length of the accounts in the URL of a request, in bytes. Servers accept 8,000 bytes and
/// more (<https://www.rfc-editor.org/rfc/rfc9110#section-4.1-5>).
const URL_BYTES_MAX: usize = 6_000;

/// The accounts of each request, that of the next request last.
pub(super) type Calls<'a> = Vec<&'a [PendingProfile]>;

/// Divides accounts among requests, in their order.
pub(super) fn of(mut pending: &[PendingProfile]) -> Calls<'_> {
    let mut calls = Calls::new();
    while !pending.is_empty() {
        let (call, rest) = pending.split_at(first_call(pending));
        calls.push(call);
        pending = rest;
    }
    calls.reverse();
    calls
}

/// Number of accounts in the first request: at least 1.
fn first_call(pending: &[PendingProfile]) -> usize {
    let mut bytes = 0;
    let fits = |it: &&PendingProfile| {
        bytes += url_bytes(&it.did);
        bytes <= URL_BYTES_MAX
    };
    let accounts = pending.iter().take(PROFILES_PER_REQUEST);
    accounts.take_while(fits).count().max(1)
}

/// Length of `&actors=DID`, in which `:` and `%` take three bytes each.
fn url_bytes(did: &Did) -> usize {
    did.with_str(|did| {
        let escaped = did.bytes().filter(|byte| matches!(byte, b':' | b'%'));
        "&actors=".len() + did.len() + 2 * escaped.count()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(dids: impl Iterator<Item = String>) -> Vec<usize> {
        let pending: Vec<PendingProfile> = dids
            .map(|did| PendingProfile {
                did: did.parse().expect("a DID"),
                stream: StreamProfile::default(),
                is_known: true,
            })
            .collect();
        let calls = of(&pending);
        let order = calls.iter().rev().flat_map(|call| call.iter());
        assert!(order.map(|it| &it.did).eq(pending.iter().map(|it| &it.did)));
        calls.iter().rev().map(|call| call.len()).collect()
    }

    #[test]
    fn a_request_is_bounded_by_its_accounts_and_its_bytes() {
        let short = (0..60).map(|number| format!("did:web:n{number}.test"));
        assert_eq!(sizes(short), [25, 25, 10]);
        // Each takes 8 + 248 + 4 bytes.
        let long = (0..50).map(|number| format!("did:web:{number:a>240}"));
        assert_eq!(sizes(long), [23, 23, 4]);
        let longest = (0..2).map(|number| format!("did:web:{number}{}", "%3A".repeat(670)));
        assert_eq!(sizes(longest), [1, 1], "at least one account");
        assert_eq!(sizes(std::iter::empty()), []);
    }
}
