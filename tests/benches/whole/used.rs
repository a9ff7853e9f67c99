//! CPU seconds and memory, as proc(5) tells them.

use std::path::Path;

/// CPU seconds since the process or thread began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Used(pub f64);

impl Used {
    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// Of one core, in percent, since then.
    pub fn percent_since(self, before: Self, seconds: f64) -> f64 {
        (self.0 - before.0) / seconds * 100.0
    }
}

/// Of a process, all its threads; nothing if there is none.
pub fn of_process(id: u32) -> Used {
    read(format!("/proc/{id}").as_ref())
}

/// Of this process's threads whose names begin so.
pub fn of_threads(name: &str) -> Used {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let paths = tasks.flatten().map(|task| task.path());
    let named = paths.filter(|path| {
        let comm = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        comm.starts_with(name)
    });
    Used(named.map(|path: std::path::PathBuf| read(&path).0).sum())
}

/// Resident memory of a process, in bytes.
pub fn rss_bytes(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1_024
}

fn read(folder: &Path) -> Used {
    let stat = std::fs::read_to_string(folder.join("stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map(|(_, tail)| tail.split(' '));
    // utime and stime, fields 14 and 15, in hundredths of a second on every Linux of today.
    let ticks = fields.map(|fields| {
        fields
            .skip(11)
            .take(2)
            .filter_map(|it| it.parse::<f64>().ok())
    });
    Used(ticks.map_or(0.0, |ticks| ticks.sum::<f64>() / 100.0))
}
