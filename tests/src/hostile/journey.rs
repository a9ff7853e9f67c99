//! Frames on their way to rows, measured, and compared with the naive recount; then once more, over a restart.

use std::sync::Arc;

use bytes::Bytes;
use prometheus_client::registry::Registry;
use skytide_core::event::{Body, Event, Message, Tick};
use skytide_core::memory::{MemoryCheckpoints, MemoryLog};
use skytide_core::port::checkpoint::CheckpointStore as _;
use skytide_core::port::log::Log as _;
use skytide_dataflow::{CheckpointOptions, Metrics, Options, Ports};
use skytide_ingest::assemble::filter::Filter;
use skytide_ingest::assemble::{Assembler, Setup};
use skytide_ingest::frame::Verify;

use crate::allocated::{Counting, Used};
use crate::checkers::{Recorder, difference};
use crate::model::{Model, Policy, Rows};

/// Events of an epoch, at most.
const EPOCH_EVENTS_MAX: usize = 500;
/// Bytes held at once for each byte of the frames: a live record of 50 bytes has state in each view that counts it.
const PEAK_PER_BYTE: usize = 24;
/// Bytes asked for in all for each byte of the frames: whatever is done with a byte, it is done so often at most.
const TOTAL_PER_BYTE: usize = 200;
/// Bytes of a dataflow without records, and of what it asks for with every epoch.
const EMPTY: usize = 16 << 20;
const EPOCH: usize = 2 << 20;
/// Facts of an operation and what is counted with it: the record that comes, the one that goes, that it was seen; who was
/// active when; operations by collection and in all, each by minute, hour and since the start.
const FACTS_PER_EVENT: u64 = 12;

/// Frames, and the log that ingest makes of them.
#[derive(Debug)]
pub struct Journey {
    bytes: usize,
    /// Two stretches of the stream, each with its last tick.
    messages: [Vec<Message>; 2],
    /// What ingest used.
    assembled: Used,
}

impl Journey {
    /// Assembles the frames, in two stretches.
    pub fn of(frames: Vec<Bytes>, allocated: &Counting) -> Self {
        let bytes = frames.iter().map(Bytes::len).sum();
        let (first, second) = frames.split_at(frames.len() / 2);
        let (messages, assembled) = allocated.measure(|| {
            let (first, tick) = assemble(first, None);
            let (second, _) = assemble(second, tick.as_ref());
            [first, second]
        });
        Self {
            bytes,
            messages,
            assembled,
        }
    }

    /// Goes all the way, without and with a restart in between.
    ///
    /// # Panics
    /// If it costs too much, or a row is not what the recount says.
    pub fn check(&self, allocated: &Counting) {
        let epochs = self.events().1;
        self.bounded("assembling", self.assembled, 0);
        let whole = Life::default();
        let messages = self.messages.concat();
        let (metrics, used) = allocated.measure(|| whole.live(&messages));
        self.bounded("counting", used, epochs);
        let (facts, facts_max) = (metrics.facts.get(), self.facts_max());
        assert!(
            facts <= facts_max,
            "{facts} facts, at most {facts_max} expected"
        );

        let parted = Life::default();
        parted.live(&self.messages[0]);
        assert!(parted.has_checkpoint(), "no checkpoint was made");
        let (metrics, used) = allocated.measure(|| parted.live(&self.messages[1]));
        self.bounded("restarting", used, epochs);
        assert!(metrics.restore_seconds.get() > 0.0, "nothing was restored");

        let expected = recount(&messages);
        for (life, name) in [(whole, "at once"), (parted, "over a restart")] {
            if let Some(text) = difference(&expected, &life.store.rows_of_all()) {
                panic!("{name}: {text}");
            }
        }
    }

    #[track_caller]
    fn bounded(&self, what: &str, used: Used, epochs: usize) {
        let Self { bytes, .. } = self;
        let peak_max = PEAK_PER_BYTE * bytes + EMPTY;
        let total_max = TOTAL_PER_BYTE * bytes + EMPTY + EPOCH * epochs;
        let Used { peak, total } = used;
        println!("{what}: {bytes} bytes in {epochs} epochs, {peak} held, {total} asked for");
        assert!(
            peak <= peak_max,
            "{what} {bytes} bytes held {peak} at once, at most {peak_max}"
        );
        assert!(
            total <= total_max,
            "{what} {bytes} bytes asked for {total}, at most {total_max}"
        );
    }

    /// Events and epochs.
    fn events(&self) -> (usize, usize) {
        let all = self.messages.iter().flatten();
        let (ticks, events): (Vec<_>, Vec<_>) = all.partition(|it| matches!(it, Message::Tick(_)));
        (events.len(), ticks.len())
    }

    /// So many for each event; and in an epoch in which an account announces its status, one for each record there may be.
    fn facts_max(&self) -> u64 {
        let (mut facts, mut events, mut announced) = (0, 0, false);
        for message in self.messages.iter().flatten() {
            match message {
                Message::Event(Event { body, .. }) => {
                    events += 1;
                    announced |= matches!(body, Body::Account { .. });
                    facts += FACTS_PER_EVENT;
                }
                Message::Tick(tick) => {
                    facts += tick.counts.len() as u64;
                    facts += u64::from(std::mem::take(&mut announced)) * events;
                }
            }
        }
        facts
    }
}

/// All rows at the end, from scratch.
fn recount(messages: &[Message]) -> Rows {
    let mut model = Model::new(crate::model::Options {
        policy: Policy::ActiveAccountsOnly,
        interactions_days: None,
    });
    for message in messages {
        model.read(message);
    }
    model.rows()
}

/// The messages that ingest makes of some frames after a tick, and their own last tick.
fn assemble(frames: &[Bytes], newest: Option<&Tick>) -> (Vec<Message>, Option<Tick>) {
    let setup = Setup {
        host: "relay.example".into(),
        former_hosts: Vec::new(),
        cursor_reset: false,
        verify: Verify::Records,
        filter: Filter::default(),
        tick_events_max: EPOCH_EVENTS_MAX,
        pause_ticks: 3,
        live: false,
    };
    let mut assembler = Assembler::new(setup, newest);
    for frame in frames {
        assembler.frame(frame.clone());
    }
    assembler.tick(true);
    let cuts = assembler.take_cuts();
    let tick = cuts.last().map(|cut| cut.tick.clone());
    let messages = cuts.into_iter().flat_map(|cut| cut.messages);
    (messages.collect(), tick.or(newest.cloned()))
}

/// What outlives a process.
#[derive(Debug)]
struct Life {
    log: MemoryLog,
    store: Arc<Recorder>,
    checkpoints: MemoryCheckpoints,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            log: MemoryLog::new(7),
            store: Arc::new(Recorder::without_copies()),
            checkpoints: MemoryCheckpoints::new(),
        }
    }
}

impl Life {
    /// Appends messages and counts them, an epoch a commit.
    fn live(&self, messages: &[Message]) -> Arc<Metrics> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime.expect("a runtime").block_on(async {
            let mut writer = self.log.writer().await.expect("nobody else writes");
            let written = writer.append(messages.to_vec()).await;
            written.expect("memory takes it");
            writer.flush().await.expect("memory keeps it");
            let ports = Ports {
                log: Arc::new(self.log.clone()),
                store: self.store.clone(),
                checkpoints: Some(Arc::new(self.checkpoints.clone())),
            };
            let metrics = Metrics::register(&mut Registry::default(), 1);
            let newest = self.log.newest_tick().await.expect("memory answers");
            let stop = self.store.until(newest.expect("a tick").1.epoch);
            let counted = skytide_dataflow::run(options(), ports, metrics.clone(), stop).await;
            counted.expect("nothing of the stream stops it");
            metrics
        })
    }

    fn has_checkpoint(&self) -> bool {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let listed = runtime
            .expect("a runtime")
            .block_on(self.checkpoints.list());
        !listed.expect("memory answers").is_empty()
    }
}

fn options() -> Options {
    Options {
        interactions_days: None,
        batch_epochs_max: 1,
        checkpoint: CheckpointOptions {
            interval: None,
            events: Some(0),
            shards_per_cut: Some(64),
            ..CheckpointOptions::default()
        },
        ..Options::default()
    }
}
