//! The memory that this process may use: that of its control group
//! (<https://www.kernel.org/doc/html/latest/admin-guide/cgroup-v2.html#memory-interface-files>), or of
//! the machine.

/// The memory that this process may use in bytes, and what limits it; `None` where the system has no
/// `/proc/meminfo`.
pub fn memory_limit() -> Option<(u64, &'static str)> {
    let total = meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    let group = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = group.lines().find_map(|line| line.strip_prefix("0::"));
    let path = path.unwrap_or("/").trim_end_matches('/');
    let files = [
        format!("/sys/fs/cgroup{path}/memory.max"),
        "/sys/fs/cgroup/memory.max".to_owned(),
        "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned(),
    ];
    let limits = files
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok());
    let limit = limits
        .filter_map(|text| text.trim().parse::<u64>().ok())
        .min();
    match limit {
        Some(limit) if limit < total => Some((limit, "limit of the control group")),
        _ => Some((total, "memory of the machine")),
    }
}

/// `MemTotal` in bytes.
fn meminfo(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_the_machine_is_read() {
        let text = "MemTotal:    2048 kB\nMemFree: 1 kB\n";
        assert_eq!(meminfo(text), Some(2 << 20));
    }
}
