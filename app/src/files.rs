//! How many files and sockets the process may have open.
//!
//! Many systems allow 1,024 unless a program asks for more, and as many connections of the API are allowed. Log, store and
//! checkpoints must never be without a file because of them.

/// Files and sockets that are kept for everything but connections of the API.
const FOR_THE_REST: u64 = 512;
/// Connections that the API gets however few files there may be.
const CONNECTIONS_MIN: usize = 16;

/// Raises the limit to what the system allows without a privilege, and answers it.
pub fn raise_limit() -> u64 {
    let raised = rlimit::increase_nofile_limit(u64::MAX);
    raised.unwrap_or_else(|error| {
        tracing::debug!(%error, "the limit of open files stays");
        rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(1_024, |(soft, _)| soft)
    })
}

/// As many of the connections that are wanted as leave enough files for the rest.
pub fn connections(wanted: usize, limit: u64) -> usize {
    let room = usize::try_from(limit.saturating_sub(FOR_THE_REST)).unwrap_or(usize::MAX);
    wanted.min(room.max(CONNECTIONS_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_log_and_store() {
        assert_eq!(connections(1_024, 65_536), 1_024);
        assert_eq!(connections(1_024, 1_024), 512);
        assert_eq!(connections(100_000, 65_536), 65_024);
        assert_eq!(connections(1_024, 64), 16);
        assert_eq!(connections(4, 1_024), 4);
    }

    #[test]
    fn the_limit_is_never_lowered() {
        let (before, _) = rlimit::getrlimit(rlimit::Resource::NOFILE).expect("a limit");
        assert!(raise_limit() >= before);
    }
}
