//! Runs a process under a limit of memory.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// Runs a command to its end, with at most this many bytes of memory.
pub fn run(command: Command, bytes: Option<u64>) -> ExitStatus {
    let Some(bytes) = bytes else {
        return wait(command, None);
    };
    match Group::create(bytes) {
        Ok(group) => {
            println!(
                "limit: {bytes} bytes by the control group {}",
                group.folder.display()
            );
            let status = wait(command, Some(&group));
            if let Some(peak) = group.peak() {
                println!(
                    "peak memory of the control group: {:.1} MB",
                    peak as f64 / 1e6
                );
            }
            status
        }
        Err(error) => {
            // Reserved memory counts as well, so this limit has to be larger.
            println!("limit: {bytes} bytes of address space (no control group: {error})");
            let mut limited = Command::new("sh");
            let script = format!("ulimit -v {} && exec \"$0\" \"$@\"", bytes >> 10);
            limited
                .args(["-c", &script])
                .arg(command.get_program())
                .args(command.get_args());
            let changes = command.get_envs();
            limited.envs(changes.filter_map(|(name, value)| Some((name, value?))));
            wait(limited, None)
        }
    }
}

fn wait(mut command: Command, group: Option<&Group>) -> ExitStatus {
    let mut child = command.spawn().expect("the child starts");
    if let Some(group) = group {
        let added = group.add(child.id());
        added.expect("a process can be added to a control group that was created");
    }
    child.wait().expect("the child ends")
}

/// A control group for one process
/// (<https://docs.kernel.org/admin-guide/cgroup-v2.html>, <https://docs.kernel.org/admin-guide/cgroup-v1/memory.html>).
struct Group {
    folder: PathBuf,
    is_v2: bool,
}

impl Group {
    fn create(bytes: u64) -> io::Result<Self> {
        let root = Path::new("/sys/fs/cgroup");
        let is_v2 = root.join("cgroup.controllers").exists();
        let parent = if is_v2 {
            root.to_owned()
        } else {
            root.join("memory")
        };
        let folder = parent.join(format!("skytide-bench-{}", std::process::id()));
        std::fs::create_dir(&folder)?;
        let group = Self { folder, is_v2 };
        let limit = if is_v2 {
            "memory.max"
        } else {
            "memory.limit_in_bytes"
        };
        std::fs::write(group.folder.join(limit), bytes.to_string())?;
        // Without swap. A machine without swap may not have this file.
        let swap = if is_v2 {
            "memory.swap.max"
        } else {
            "memory.memsw.limit_in_bytes"
        };
        let swap_bytes = if is_v2 { 0 } else { bytes };
        let _without = std::fs::write(group.folder.join(swap), swap_bytes.to_string());
        Ok(group)
    }

    fn add(&self, process: u32) -> io::Result<()> {
        std::fs::write(self.folder.join("cgroup.procs"), process.to_string())
    }

    fn peak(&self) -> Option<u64> {
        let file = if self.is_v2 {
            "memory.peak"
        } else {
            "memory.max_usage_in_bytes"
        };
        let text = std::fs::read_to_string(self.folder.join(file)).ok()?;
        text.trim().parse().ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _removed = std::fs::remove_dir(&self.folder);
    }
}
