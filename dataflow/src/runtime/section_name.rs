//! The names of the sections of a checkpoint.

/// The name of the section with a worker's part of a shard.
pub(crate) fn shard_name(shard: u16, worker: usize) -> String {
    format!("shard{shard:02}-w{worker}")
}

/// The name of the section with a worker's accumulators.
pub(crate) fn accumulators_name(worker: usize) -> String {
    format!("sums-w{worker}")
}

/// The shard of the section with this name; `None` for a section of accumulators.
pub(crate) fn shard_of(name: &str) -> Option<u16> {
    number_after("shard", name).or_else(|| run_shard(name))
}

/// The shard of the run with this name; `None` for a section that is not a run.
pub(crate) fn run_shard(name: &str) -> Option<u16> {
    number_after("run", name)
}

fn number_after(prefix: &str, name: &str) -> Option<u16> {
    let number = name.strip_prefix(prefix)?.split('-').next()?;
    number.parse().ok()
}
