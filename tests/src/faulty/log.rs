//! A log that crashes or fails as planned.

use std::sync::Arc;

use async_trait::async_trait;
use skytide_core::event::{Message, Tick};
use skytide_core::id::Seq;
use skytide_core::port::BoxError;
use skytide_core::port::log::{Bounds, Log, LogError, LogReader, LogWriter};

use super::Plan;

/// A [`Log`] with the faults of a [`Plan`].
pub struct FaultyLog {
    /// The plan.
    pub plan: Plan,
    /// The wrapped log.
    pub log: Arc<dyn Log>,
}

struct Writer(Plan, Box<dyn LogWriter>);

struct Reader(Plan, Box<dyn LogReader>);

fn failed(operation: &'static str) -> impl Fn(BoxError) -> LogError {
    move |source| LogError::Failed { operation, source }
}

#[async_trait]
impl Log for FaultyLog {
    async fn bounds(&self) -> Result<Bounds, LogError> {
        let bounds = self.log.bounds();
        self.plan
            .around("log.bounds", bounds, failed("read its bounds"))
            .await
    }

    async fn newest_tick(&self) -> Result<Option<(Seq, Tick)>, LogError> {
        let tick = self.log.newest_tick();
        self.plan
            .around("log.newest_tick", tick, failed("find its newest tick"))
            .await
    }

    async fn writer(&self) -> Result<Box<dyn LogWriter>, LogError> {
        let writer = self.log.writer();
        let writer = self
            .plan
            .around("log.writer", writer, failed("take the writer"))
            .await?;
        Ok(Box::new(Writer(self.plan.clone(), writer)))
    }

    async fn reader(&self, from: Seq) -> Result<Box<dyn LogReader>, LogError> {
        let reader = self.log.reader(from);
        let reader = self
            .plan
            .around("log.reader", reader, failed("begin to read"))
            .await?;
        Ok(Box::new(Reader(self.plan.clone(), reader)))
    }

    async fn trim(&self, below: Seq) -> Result<(), LogError> {
        let trim = self.log.trim(below);
        self.plan.around("log.trim", trim, failed("trim")).await
    }
}

#[async_trait]
impl LogWriter for Writer {
    async fn append(&mut self, messages: Vec<Message>) -> Result<(), LogError> {
        let append = self.1.append(messages);
        self.0.around("log.append", append, failed("append")).await
    }

    async fn flush(&mut self) -> Result<Seq, LogError> {
        let flush = self.1.flush();
        self.0.around("log.flush", flush, failed("flush")).await
    }
}

#[async_trait]
impl LogReader for Reader {
    async fn next(&mut self, messages_max: usize) -> Result<Vec<(Seq, Message)>, LogError> {
        let next = self.1.next(messages_max);
        self.0.around("log.read", next, failed("read")).await
    }
}
