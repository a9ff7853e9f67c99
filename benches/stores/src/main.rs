//! Compares embedded databases on Skytide's write pattern.
//!
//! ```text
//! cargo run --release -- [ENGINE]...      fjall, fjall-one, redb, sqlite
//!                                         without arguments all, each in its own process
//! ```
//!
//! Each engine is measured with 5,000 and with 100,000 rows per commit, once with every commit
//! durable and once handed to the operating system. The results are: rows per second, bytes on
//! disk, bytes written by the process per byte of rows, latency of point reads and of scans of 100
//! rows by another thread meanwhile, time to open the database again, and memory.

mod engines;
mod pattern;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use engines::Reader;
use pattern::{Pattern, Random};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [engine, rows, total, sync] = &arguments[..] {
        let number = |text: &String| text.parse().expect("a number");
        measure(engine, number(rows), number(total), sync == "durable");
        return;
    }
    let all = ["fjall", "fjall-one", "redb", "sqlite"].map(String::from);
    println!(
        "engine     commit  mode     rows/s   disk MB  written/row-byte  get us p50/p99  \
         scan us p50/p99  commit ms p50/p99  open ms  peak RSS MB"
    );
    let chosen = if arguments.is_empty() {
        &all[..]
    } else {
        &arguments
    };
    for (rows, total) in [("5000", "2000000"), ("100000", "10000000")] {
        for sync in ["durable", "handed"] {
            for engine in chosen {
                let program = std::env::current_exe().unwrap();
                let status = Command::new(program)
                    .args([engine, rows, total, sync])
                    .status();
                assert!(status.unwrap().success());
            }
        }
    }
}

/// Measures one engine in this process and prints its line.
fn measure(name: &str, rows: usize, total: usize, sync: bool) {
    let folder = tempfile::tempdir_in(std::env::temp_dir()).unwrap();
    let mut pattern = Pattern::new();
    let mut engine = engines::open(name, folder.path());
    engine.commit(pattern.commit(1_000), sync);

    let posts = Arc::new(AtomicU64::new(pattern.posts()));
    let readers = {
        let (posts, reader) = (posts.clone(), engine.reader());
        std::thread::spawn(move || read(reader, &posts))
    };
    let (mut written, mut bytes, mut spent) = (0, 0, Vec::new());
    let before = bytes_written();
    while written < total {
        let commit = pattern.commit(rows);
        written += commit.len();
        bytes += commit
            .iter()
            .map(|row| row.1.len() + row.2.len())
            .sum::<usize>();
        let start = Instant::now();
        engine.commit(commit, sync);
        spent.push(start.elapsed());
        posts.store(pattern.posts(), Ordering::Relaxed);
    }
    posts.store(0, Ordering::Relaxed);
    let (gets, scans) = readers.join().unwrap();
    let rate = written as f64 / spent.iter().sum::<Duration>().as_secs_f64();
    drop(engine);
    let amplification = (bytes_written() - before) as f64 / bytes as f64;
    let disk = folder_bytes(folder.path()) as f64 / 1e6;
    let start = Instant::now();
    let engine = engines::open(name, folder.path());
    assert!(engine.reader().scan(1, &[]) > 0);
    let opened = start.elapsed().as_secs_f64() * 1e3;
    println!(
        "{name:9} {rows:7}  {:7} {rate:8.0} {disk:8.0} {amplification:12.1} {:>19} {:>16} {:>17} \
         {opened:9.0} {:9.0}",
        if sync { "durable" } else { "handed" },
        percentiles(gets, 1e6),
        percentiles(scans, 1e6),
        percentiles(spent, 1e3),
        peak_memory_bytes() as f64 / 1e6,
    );
}

/// Reads rows of posts, about 1,000 per second with a scan after every 10, until writing has ended.
fn read(mut reader: Box<dyn Reader>, posts: &AtomicU64) -> (Vec<Duration>, Vec<Duration>) {
    let (mut gets, mut scans, mut random) = (Vec::new(), Vec::new(), Random(3));
    loop {
        let count = posts.load(Ordering::Relaxed);
        if count == 0 {
            return (gets, scans);
        }
        let (table, key) = Pattern::some_post(&mut random, count);
        let start = Instant::now();
        reader.get(table, &key);
        gets.push(start.elapsed());
        if gets.len() % 10 == 0 {
            let start = Instant::now();
            reader.scan(table, &key);
            scans.push(start.elapsed());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn percentiles(mut times: Vec<Duration>, unit: f64) -> String {
    times.sort_unstable();
    let at = |share: f64| times[(times.len() as f64 * share) as usize].as_secs_f64() * unit;
    format!("{:.0}/{:.0}", at(0.5), at(0.99))
}

fn folder_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let about = entry.metadata().unwrap();
            if about.is_dir() {
                folder_bytes(&entry.path())
            } else {
                use std::os::unix::fs::MetadataExt;
                about.blocks() * 512
            }
        })
        .sum()
}

/// Number of bytes that this process has written to the disk so far (Linux;
/// <https://man7.org/linux/man-pages/man5/proc_pid_io.5.html>).
fn bytes_written() -> u64 {
    field("/proc/self/io", "write_bytes:")
}

fn peak_memory_bytes() -> u64 {
    field("/proc/self/status", "VmHWM:") * 1_024
}

fn field(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap()
}
