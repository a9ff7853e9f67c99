//! CPU time and memory, from proc(5).

use std::path::Path;

/// CPU seconds since the start of the process or thread.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Used {
    /// Seconds in user mode.
    pub user: f64,
    /// Seconds in the kernel on behalf of the program, for example to clear memory or to read
    /// files.
    pub system: f64,
}

impl Used {
    /// The sum of both.
    pub fn plus(self, other: Self) -> Self {
        Self {
            user: self.user + other.user,
            system: self.system + other.system,
        }
    }

    /// The difference to an earlier measurement.
    pub fn since(self, before: Self) -> Self {
        Self {
            user: self.user - before.user,
            system: self.system - before.system,
        }
    }

    /// User and system time together.
    pub fn seconds(self) -> f64 {
        self.user + self.system
    }

    /// The CPU use since an earlier measurement, in percent of one core.
    pub fn percent_since(self, before: Self, seconds: f64) -> f64 {
        self.since(before).seconds() / seconds * 100.0
    }
}

/// The use of a process with all its threads; zero if there is no such process.
pub fn of_process(id: u32) -> Used {
    read(format!("/proc/{id}").as_ref())
}

/// The use of all children of this process that have ended and were waited for.
pub fn of_children() -> Used {
    // cutime and cstime, fields 16 and 17.
    fields(Path::new("/proc/self"), 13)
}

/// The use of the threads of this process whose names begin with `name`.
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

/// Peak resident memory of a process, in bytes.
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
    // utime and stime, fields 14 and 15.
    fields(folder, 11)
}

/// Two fields of `stat`, counted from the one after the name, in hundredths of a second on every
/// current Linux.
fn fields(folder: &Path, first: usize) -> Used {
    let stat = std::fs::read_to_string(folder.join("stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, tail)| tail);
    let ticks = fields.split(' ').skip(first).map(str::parse::<f64>);
    let mut seconds = ticks.map(|ticks| ticks.unwrap_or(0.0) / 100.0);
    Used {
        user: seconds.next().unwrap_or(0.0),
        system: seconds.next().unwrap_or(0.0),
    }
}
