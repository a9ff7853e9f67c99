//! Bytes on disk, and bytes that this process wrote.

use std::path::Path;

/// The size of all files in a folder, in bytes; 0 if there is none.
pub fn folder_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => folder_bytes(&entry.path()),
            Ok(data) => data.len(),
            // Files of the store come and go.
            Err(_) => 0,
        })
        .sum()
}

/// Bytes that this process passed to write calls (`wchar` in proc(5)).
pub fn written_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("wchar:"));
    line.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
