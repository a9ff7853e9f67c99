//! The memory that this process may use: that of its control group
//! (<https://www.kernel.org/doc/html/latest/admin-guide/cgroup-v2.html#memory-interface-files>), or of
//! the machine.

use std::path::{Path, PathBuf};

/// The memory that this process may use in bytes, and what limits it; `None` where the system has no
/// `/proc/meminfo`.
pub fn memory_limit() -> Option<(u64, &'static str)> {
    let total = meminfo(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    let group = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = group.lines().find_map(|line| line.strip_prefix("0::"));
    let limits = limit_files(path.unwrap_or("/"))
        .into_iter()
        .filter_map(|file| std::fs::read_to_string(file).ok());
    let limit = limits
        .filter_map(|text| text.trim().parse::<u64>().ok())
        .min();
    match limit {
        Some(limit) if limit < total => Some((limit, "limit of the control group")),
        _ => Some((total, "memory of the machine")),
    }
}

/// The files with the limits of a control group and of all groups that contain it: each of them
/// holds for its processes.
fn limit_files(path: &str) -> Vec<PathBuf> {
    let groups = Path::new(path.trim_start_matches('/')).ancestors();
    let files = groups.map(|group| Path::new("/sys/fs/cgroup").join(group).join("memory.max"));
    let first_version = PathBuf::from("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    files.chain([first_version]).collect()
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
    fn a_limit_of_each_containing_group_is_read() {
        let files = |path: &str| {
            let files = limit_files(path).into_iter();
            files
                .map(|file| file.display().to_string())
                .collect::<Vec<_>>()
        };
        let (root, first) = ("/sys/fs/cgroup", "memory/memory.limit_in_bytes");
        let nested = files("/system.slice/skytide.service/worker");
        let groups = [
            "system.slice/skytide.service/worker/memory.max",
            "system.slice/skytide.service/memory.max",
            "system.slice/memory.max",
            "memory.max",
            first,
        ];
        assert_eq!(nested, groups.map(|file| format!("{root}/{file}")));
        let outermost = ["memory.max", first].map(|file| format!("{root}/{file}"));
        assert_eq!(files("/"), outermost);
    }

    #[test]
    fn the_memory_of_the_machine_is_read() {
        let text = "MemTotal:    2048 kB\nMemFree: 1 kB\n";
        assert_eq!(meminfo(text), Some(2 << 20));
    }
}
