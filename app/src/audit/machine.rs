//! The memory that an audit of all rows may use.

use std::fs::read_to_string;

/// An audit of all rows uses at least this much, in bytes.
const MIN: u64 = 512 << 20;

/// Half of the memory that is free, and at least 512 MiB, in bytes.
pub fn memory_for_audit() -> u64 {
    let text = read_to_string("/proc/meminfo").unwrap_or_default();
    let machine = available(&text);
    let group = control_group();
    let free = [machine, group].into_iter().flatten().min();
    (free.unwrap_or_default() / 2).max(MIN)
}

/// `MemAvailable` of `/proc/meminfo`
/// (<https://www.kernel.org/doc/html/latest/filesystems/proc.html#meminfo>), in bytes.
fn available(text: &str) -> Option<u64> {
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// What the control group of a container may still use
/// (<https://www.kernel.org/doc/html/latest/admin-guide/cgroup-v2.html#memory-interface-files>).
fn control_group() -> Option<u64> {
    let read = |name: &str| {
        let text = read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    Some(read("memory.max")?.saturating_sub(read("memory.current")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_available_memory_of_the_machine_is_read() {
        let text = "MemTotal:       16384000 kB\nMemFree:  1 kB\nMemAvailable:    8192000 kB\n";
        assert_eq!(available(text), Some(8_192_000 << 10));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
        assert!(memory_for_audit() >= MIN);
    }
}
