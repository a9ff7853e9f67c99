//! CPU seconds and memory, as proc(5) tells them.

use std::path::Path;

/// CPU seconds since the process or thread began.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Used {
    /// In the program.
    pub user: f64,
    /// In the system, for the program: to clear memory, to read files.
    pub system: f64,
}

impl Used {
    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            user: self.user + other.user,
            system: self.system + other.system,
        }
    }

    /// What came since then.
    pub fn since(self, before: Self) -> Self {
        Self {
            user: self.user - before.user,
            system: self.system - before.system,
        }
    }

    /// All of it.
    pub fn seconds(self) -> f64 {
        self.user + self.system
    }

    /// Of one core, in percent, since then.
    pub fn percent_since(self, before: Self, seconds: f64) -> f64 {
        self.since(before).seconds() / seconds * 100.0
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
    named.fold(Used::default(), |sum, path| sum.plus(read(&path)))
}

/// Resident memory of a process, in bytes.
pub fn rss_bytes(id: u32) -> u64 {
    status(id, "VmRSS:")
}

/// The most that it ever was.
pub fn peak_bytes(id: u32) -> u64 {
    status(id, "VmHWM:")
}

fn status(id: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1_024
}

fn read(folder: &Path) -> Used {
    let stat = std::fs::read_to_string(folder.join("stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, tail)| tail);
    // utime and stime, fields 14 and 15, in hundredths of a second on every Linux of today.
    let ticks = fields.split(' ').skip(11).map(str::parse::<f64>);
    let mut seconds = ticks.map(|ticks| ticks.unwrap_or(0.0) / 100.0);
    Used {
        user: seconds.next().unwrap_or(0.0),
        system: seconds.next().unwrap_or(0.0),
    }
}
