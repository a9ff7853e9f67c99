//! The limit on open files and sockets of the process.
//!
//! Many systems allow 1,024 unless a program raises the limit, and the API allows as many
//! connections by default. Connections must never use up the files that log, store and checkpoints
//! need.

/// Files and sockets that are reserved for everything except connections of the API.
const RESERVED: u64 = 512;
/// Connections that the API always gets, however low the limit is.
const CONNECTIONS_MIN: usize = 16;

/// Raises the limit to the highest value that needs no privilege, and returns it.
pub fn raise_limit() -> u64 {
    let raised = rlimit::increase_nofile_limit(u64::MAX);
    raised.unwrap_or_else(|error| {
        tracing::debug!(%error, "cannot raise the limit of open files");
        rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(1_024, |(soft, _)| soft)
    })
}

/// The number of connections, at most `wanted`, that leaves enough files for everything else.
pub fn connections(wanted: usize, limit: u64) -> usize {
    let room = usize::try_from(limit.saturating_sub(RESERVED)).unwrap_or(usize::MAX);
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
