//! Metrics of the places where the data are: the log, the disk, the servers.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use skytide_core::event::Tick;
use skytide_core::id::Seq;
use skytide_core::port::log::{Bounds, Log, LogError, LogReader, LogWriter};

use crate::data::{ConnectionState, Data, ServerConnection};

/// Registers the metrics of the data folder and of the connections to servers.
///
/// # Panics
/// If there is a data folder, outside of a tokio runtime.
pub fn register_data(registry: &mut Registry, data: &Data) {
    if let Some(folder) = &data.folder {
        let folder = folder.path().to_owned();
        let size = DiskSize::measured(&folder);
        tokio::spawn(measure(folder, Arc::downgrade(&size.0)));
        registry.register_collector(Box::new(size));
    }
    let connections = data.connections();
    if !connections.is_empty() {
        registry.register_collector(Box::new(ServerCollector(connections)));
    }
}

/// Registers the same metrics with made-up values, for the reference page of metrics.
pub fn register_data_examples(registry: &mut Registry) {
    registry.register_collector(Box::new(DiskSize::measured(Path::new("."))));
    let example = |server| -> ConnectionState {
        Arc::new(move || ServerConnection {
            server,
            connected: true,
            reconnects: 0,
        })
    };
    let connections = vec![example("nats"), example("mongodb")];
    registry.register_collector(Box::new(ServerCollector(connections)));
    let size = LogSize::default();
    *size.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((0, 0));
    registry.register_collector(Box::new(size));
}

/// The size of the log, as it last answered.
#[derive(Clone, Debug, Default)]
pub struct LogSize(Arc<Mutex<Option<(u64, u64)>>>);

impl LogSize {
    /// A log that records its size here whenever it is asked for its bounds.
    pub fn measure(&self, log: Arc<dyn Log>) -> Arc<dyn Log> {
        let size = self.clone();
        Arc::new(MeasuredLog { log, size })
    }

    fn set(&self, bounds: &Bounds) {
        let size = Some((bounds.bytes, bounds.bytes_max));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = size;
    }

    fn get(&self) -> Option<(u64, u64)> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for LogSize {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some((bytes, bytes_max)) = self.get() else {
            return Ok(());
        };
        let metrics = [
            (
                "skytide_log",
                "Bytes of the log, as it last answered",
                bytes,
            ),
            (
                "skytide_log_limit",
                "Bytes of the log at which ingest waits until it is trimmed",
                bytes_max,
            ),
        ];
        encode_bytes(&mut encoder, metrics)
    }
}

/// A log that records its size.
pub struct MeasuredLog {
    log: Arc<dyn Log>,
    size: LogSize,
}

#[async_trait]
impl Log for MeasuredLog {
    async fn bounds(&self) -> Result<Bounds, LogError> {
        let bounds = self.log.bounds().await?;
        self.size.set(&bounds);
        Ok(bounds)
    }

    async fn newest_tick(&self) -> Result<Option<(Seq, Tick)>, LogError> {
        self.log.newest_tick().await
    }

    async fn writer(&self) -> Result<Box<dyn LogWriter>, LogError> {
        self.log.writer().await
    }

    async fn reader(&self, from: Seq) -> Result<Box<dyn LogReader>, LogError> {
        self.log.reader(from).await
    }

    async fn trim(&self, below: Seq) -> Result<(), LogError> {
        self.log.trim(below).await
    }
}

/// The free bytes and all bytes of a disk.
type DiskBytes = Mutex<Option<(u64, u64)>>;

/// The disk of the data folder, as it was last measured. `/metrics` does not measure it: a disk
/// that does not answer would block a thread that serves other requests.
#[derive(Debug)]
struct DiskSize(Arc<DiskBytes>);

impl DiskSize {
    fn measured(folder: &Path) -> Self {
        Self(Arc::new(Mutex::new(disk(folder))))
    }
}

/// Time between two measurements of the disk.
const DISK_INTERVAL: Duration = Duration::from_secs(1);

/// Measures the disk of a folder until nobody shows it.
async fn measure(folder: PathBuf, shown: Weak<DiskBytes>) {
    loop {
        tokio::time::sleep(DISK_INTERVAL).await;
        if shown.strong_count() == 0 {
            return;
        }
        let folder = folder.clone();
        let measured = tokio::task::spawn_blocking(move || disk(&folder)).await;
        // An error means that the runtime shuts down.
        let (Ok(measured), Some(shown)) = (measured, shown.upgrade()) else {
            return;
        };
        *shown.lock().unwrap_or_else(PoisonError::into_inner) = measured;
    }
}

impl Collector for DiskSize {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let measured = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((free, size)) = measured else {
            return Ok(());
        };
        let metrics = [
            (
                "skytide_disk_free",
                "Bytes that this process may still write to the file system of STORE_DIR",
                free,
            ),
            (
                "skytide_disk_size",
                "Bytes of the file system of STORE_DIR",
                size,
            ),
        ];
        encode_bytes(&mut encoder, metrics)
    }
}

/// The free bytes for unprivileged processes, and all bytes, of the file system of a folder.
#[cfg(unix)]
fn disk(folder: &Path) -> Option<(u64, u64)> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Some((bytes(disk.f_bavail), bytes(disk.f_blocks)))
}

#[cfg(not(unix))]
fn disk(_folder: &Path) -> Option<(u64, u64)> {
    None
}

fn encode_bytes(
    encoder: &mut DescriptorEncoder<'_>,
    metrics: [(&str, &str, u64); 2],
) -> fmt::Result {
    for (name, help, bytes) in metrics {
        let gauge = encoder.encode_descriptor(name, help, Some(&Unit::Bytes), MetricType::Gauge)?;
        ConstGauge::new(bytes).encode(gauge)?;
    }
    Ok(())
}

/// The connections to servers.
struct ServerCollector(Vec<ConnectionState>);

impl fmt::Debug for ServerCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCollector").finish_non_exhaustive()
    }
}

impl Collector for ServerCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let connections: Vec<_> = self.0.iter().map(|connection| connection()).collect();
        let help = "1 while the connection to a server is usable, by server";
        let name = "skytide_server_connected";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for it in &connections {
            let connected = i64::from(it.connected);
            ConstGauge::new(connected).encode(family.encode_family(&[("server", it.server)])?)?;
        }
        let help = "Times that the connection to a server was lost and established again";
        let name = "skytide_server_reconnects";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for it in &connections {
            let labels = [("server", it.server)];
            ConstCounter::new(it.reconnects).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use skytide_core::memory::MemoryLog;
    use skytide_tests::world;

    use super::*;

    fn samples(registry: &Registry) -> Vec<String> {
        let mut text = String::new();
        encode(&mut text, registry).expect("text");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn the_size_of_the_log_is_that_of_its_last_answer() {
        let (size, mut registry) = (LogSize::default(), Registry::default());
        registry.register_collector(Box::new(size.clone()));
        let log = size.measure(Arc::new(MemoryLog::new(1)));
        assert_eq!(samples(&registry), Vec::<String>::new(), "it was not asked");
        let mut writer = log.writer().await.expect("a writer");
        let messages = world::log(1, world::Options::default());
        writer.append(messages).await.expect("appended");
        writer.flush().await.expect("flushed");
        let Bounds {
            bytes, bytes_max, ..
        } = log.bounds().await.expect("bounds");
        let expected = [
            format!("skytide_log_bytes {bytes}"),
            format!("skytide_log_limit_bytes {bytes_max}"),
        ];
        assert!(bytes > 0);
        assert_eq!(samples(&registry), expected);
    }

    /// `df` computes the size by itself.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_size_of_the_disk_is_that_of_df() {
        let folder = tempfile::tempdir().expect("a folder");
        let df = std::process::Command::new("df")
            .args(["--block-size=1", "--output=size"])
            .arg(folder.path())
            .output();
        let text = String::from_utf8(df.expect("df runs").stdout).expect("text");
        let size: u64 = text
            .lines()
            .nth(1)
            .expect("a line")
            .trim()
            .parse()
            .expect("a number");
        let (free, found) = disk(folder.path()).expect("a disk");
        assert_eq!(found, size);
        assert!(0 < free && free <= size, "{free} of {size}");
    }

    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn the_disk_is_measured_again_while_it_is_shown() {
        let folder = tempfile::tempdir().expect("a folder");
        let size = DiskSize(Arc::default());
        let measuring = tokio::spawn(measure(folder.path().to_owned(), Arc::downgrade(&size.0)));
        let shown = || size.0.lock().expect("not poisoned").is_some();
        while !shown() {
            tokio::time::sleep(DISK_INTERVAL).await;
        }
        drop(size);
        measuring.await.expect("it ends");
    }

    #[test]
    fn each_connection_has_its_server_as_label() {
        let mut registry = Registry::default();
        let connection = |server, connected, reconnects| -> ConnectionState {
            Arc::new(move || ServerConnection {
                server,
                connected,
                reconnects,
            })
        };
        let connections = vec![connection("nats", true, 0), connection("mongodb", false, 3)];
        registry.register_collector(Box::new(ServerCollector(connections)));
        let expected = [
            r#"skytide_server_connected{server="nats"} 1"#,
            r#"skytide_server_connected{server="mongodb"} 0"#,
            r#"skytide_server_reconnects_total{server="nats"} 0"#,
            r#"skytide_server_reconnects_total{server="mongodb"} 3"#,
        ];
        assert_eq!(samples(&registry), expected);
    }
}
