//! Logs that are derived from another log.

use skytide_core::event::{Body, Event, Message};
use skytide_core::id::Epoch;
use skytide_tests::world::Random;

/// The messages after one epoch up to the end of another one.
pub fn between(messages: &[Message], after: usize, through: usize) -> &[Message] {
    let end_of = |epoch: usize| {
        let end = |message: &Message| matches!(message, Message::Tick(tick) if tick.epoch.0 as usize == epoch);
        messages.iter().position(end).map_or(0, |place| place + 1)
    };
    &messages[end_of(after)..end_of(through)]
}

/// The same log after many interruptions. Most epochs contain a part of their events several times,
/// and commits of earlier epochs are repeated.
pub fn delivered_again(messages: &[Message], seed: u64) -> Vec<Message> {
    let mut random = Random::new(!seed);
    let mut former: Vec<&Event> = Vec::new();
    let mut again = Vec::new();
    for epoch in messages.split_inclusive(|message| matches!(message, Message::Tick(_))) {
        let (tick, events) = epoch.split_last().expect("an epoch has a tick");
        let at = |event: &Message| {
            let (Message::Event(event), Message::Tick(tick)) = (event, tick) else {
                unreachable!("events precede the tick");
            };
            Message::Event(Event {
                time: tick.time,
                ..event.clone()
            })
        };
        again.extend_from_slice(events);
        let part = random.below(events.len() as u64 + 1) as usize;
        again.extend(events[..part].iter().map(at));
        again.extend(events.iter().rev().take(part).map(at));
        for _ in 0..random.below(4).min(former.len() as u64) {
            let picked = *random.pick(&former);
            let frame = former.iter().filter(|event| event.seq == picked.seq);
            again.extend(frame.map(|event| at(&Message::Event((*event).clone()))));
        }
        again.push(tick.clone());
        former.extend(events.iter().filter_map(|message| match message {
            Message::Event(event) if matches!(event.body, Body::Op(_)) => Some(event),
            _ => None,
        }));
    }
    again
}

/// The same log with all of it at one moment: only idle ticks update lists, and the last tick is
/// idle. Also returns the epochs with idle ticks.
pub fn at_once(messages: &[Message]) -> (Vec<Message>, Vec<Epoch>) {
    let mut settled = Vec::new();
    let mut at_once = messages.to_vec();
    let (mut first, mut open) = (None, 0);
    for message in &mut at_once {
        match message {
            Message::Event(event) => event.time = *first.get_or_insert(event.time),
            Message::Tick(tick) => {
                tick.time = *first.get_or_insert(tick.time);
                open += 1;
                tick.idle |= tick.last || open % 7 == 0;
                tick.last = false;
                settled.extend(tick.idle.then_some(tick.epoch));
            }
        }
    }
    (at_once, settled)
}
