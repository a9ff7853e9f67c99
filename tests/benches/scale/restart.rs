//! Starts again on the data of the process that was killed, and reads the stream to its end.

use std::time::{Duration, Instant};

use prometheus_client::registry::Registry;
use skytide_core::id::PostKey;
use skytide_core::view::{Key, ViewId};
use skytide_dataflow::Metrics;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::{Setting, result};
use crate::stream::Stream;
use crate::whole::peak_bytes;

/// Restarts and prints the results.
pub fn run(setting: &Setting) {
    let threads = Runtime::new().expect("the runtime starts");
    threads.block_on(restart(setting));
    // The store is closed as in a normal stop: it is compared next.
    drop(threads);
}

async fn restart(setting: &Setting) {
    let began = Instant::now();
    let log = setting.log();
    let ports = setting.ports(log);
    let options = setting.options();
    let control = ports.store.control().await.expect("the store answers");
    let committed = control.committed.expect("rows were committed").epoch.0;
    let did = Stream::did(setting.stream.written(0).author);
    let key = PostKey::new(&did, &setting.stream.rkey(0).into());
    let row = ports.store.get(ViewId::Posts, &[Key::of(&key)]).await;
    row.expect("the store answers");
    let answered = began.elapsed().as_secs_f64();

    // As `skytide index` does until it has caught up with the log.
    skytide::memory::keep_free_memory(true);
    let metrics = Metrics::register(&mut Registry::default(), options.workers);
    let stop = CancellationToken::new();
    let run = skytide_dataflow::run(options, ports, metrics.clone(), stop.clone());
    let run = tokio::spawn(run);
    let mut look = tokio::time::interval(Duration::from_millis(2));
    let mut counted = None;
    while metrics.epoch.get() < setting.stream.epochs() as i64 {
        look.tick().await;
        assert!(!run.is_finished(), "the dataflow ended: {:?}", run.await);
        if metrics.epoch.get() > committed as i64 && counted.is_none() {
            counted = Some((began.elapsed().as_secs_f64(), metrics.events.get()));
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let peak = peak_bytes(std::process::id()) as f64;
    let (counting, replayed) = counted.unwrap_or((seconds, metrics.events.get()));
    println!("restart");
    result("first answers", format!("{answered:.2} s"), "3 s");
    result(
        "checkpoint restored",
        format!("{:.2} s", metrics.restore_seconds.get()),
        "",
    );
    let target = "3 s and the log since the checkpoint at 250,000 events/s";
    result("counting again", format!("{counting:.2} s"), target);
    result("  events of the log until then", format!("{replayed}"), "");
    result("end of the log", format!("{seconds:.2} s"), "");
    result(
        "peak RSS of the restart",
        format!("{:.2} GB", peak / 1e9),
        "",
    );
    stop.cancel();
    run.await.expect("no panic").expect("the dataflow ends");
}
