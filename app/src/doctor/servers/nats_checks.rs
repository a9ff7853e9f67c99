//! Checks of the log on NATS: versions, JetStream, and the stream against the options.

use std::time::Duration;

use skytide_core::config::Nats;
use skytide_nats::{Inspection, JetStream, SERVER_MIN, StreamInspection, inspect};

use crate::doctor::clock::{ClockQuestion, ClockReading};
use crate::doctor::finding::{Finding, bytes};
use crate::failure::chain;

const CHECK: &str = "nats";
/// A message of the server smaller than this divides many events into parts, in bytes.
const MESSAGE_BYTES_MIN: usize = 64 << 10;
/// Share of the stream above which a warning is given, in percent.
const FULL_PERCENT: u64 = 80;

/// Checks the server and its stream.
pub async fn check(options: &Nats, clocks: &mut Vec<ClockReading>) -> Vec<Finding> {
    let question = ClockQuestion::start();
    let inspection = match inspect(options).await {
        Ok(inspection) => inspection,
        Err(why) => {
            let fix = "check NATS_URL, that the server runs, and user and password";
            return vec![Finding::problem(CHECK, chain(&why), fix)];
        }
    };
    let mut findings = vec![server(&inspection)];
    let jetstream = match inspection.jetstream {
        Ok(jetstream) => jetstream,
        Err(why) => {
            let fix = "enable JetStream in the configuration of the server and for the account, and \
                       allow the user the subjects in docs/nats.md";
            findings.push(Finding::problem(CHECK, why, fix));
            return findings;
        }
    };
    findings.extend(account(&jetstream));
    match &jetstream.stream {
        None => {
            let found = format!(
                "the stream {} does not exist yet: the first start creates it, with {}",
                options.stream,
                bytes(jetstream.wanted_bytes)
            );
            findings.push(Finding::ok(CHECK, found));
        }
        Some(found) => {
            findings.extend(stream(found, options));
            // Connecting and earlier requests are a part of the time, so it is less precise.
            let time = found.server_time;
            let resolution = Duration::from_millis(1);
            clocks.extend(time.map(|time| question.end("NATS", time, resolution)));
        }
    }
    findings
}

fn server(inspection: &Inspection) -> Finding {
    let version = &inspection.version;
    if !inspection.is_supported {
        let [major, minor] = SERVER_MIN;
        let found = format!("the server is NATS {version}");
        return Finding::problem(
            CHECK,
            found,
            format!("upgrade it to {major}.{minor} or later"),
        );
    }
    let message = inspection.message_bytes_max;
    let found = format!(
        "NATS {version}, messages of at most {}",
        bytes(message as u64)
    );
    match message < MESSAGE_BYTES_MIN {
        true => Finding::warning(CHECK, found, "raise max_payload of the server to 1 MiB"),
        false => Finding::ok(CHECK, found),
    }
}

fn account(jetstream: &JetStream) -> Option<Finding> {
    let room = jetstream
        .bytes_max?
        .saturating_sub(jetstream.reserved_bytes);
    let is_new = jetstream.stream.is_none();
    let has_room = !is_new || room >= jetstream.wanted_bytes;
    let streams_left = jetstream
        .streams_max
        .is_none_or(|most| (jetstream.streams as u64) < most);
    if has_room && (streams_left || !is_new) {
        return None;
    }
    let found = format!(
        "the account may reserve {} more, and has {} streams of {}",
        bytes(room),
        jetstream.streams,
        jetstream
            .streams_max
            .map_or("any number".to_owned(), |it| it.to_string())
    );
    let fix = "raise the limits of the account, or lower NATS_BYTES_MAX";
    Some(Finding::problem(CHECK, found, fix))
}

fn stream(found: &StreamInspection, options: &Nats) -> Vec<Finding> {
    let name = &options.stream;
    let mut findings = Vec::new();
    for is_serious in [true, false] {
        let of_kind = found
            .deviations
            .iter()
            .filter(|it| it.is_serious == is_serious);
        let texts: Vec<&str> = of_kind.map(|it| it.what.as_str()).collect();
        if texts.is_empty() {
            continue;
        }
        let text = format!("the stream {name}: {}", texts.join("; "));
        findings.push(match is_serious {
            true => {
                let fix = "set NATS_STREAM to another name, or change the stream (`nats stream edit`) \
                           as docs/nats.md describes: it can lose events as it is";
                Finding::problem(CHECK, text, fix)
            }
            false => {
                let fix = "the next start of ingest changes size, replicas and compression if the \
                           server has room; set other options to what you intend";
                Finding::warning(CHECK, text, fix)
            }
        });
    }
    let limit = u64::try_from(found.bytes_max).unwrap_or(u64::MAX);
    let text = format!(
        "the stream {name} holds {} of {}",
        bytes(found.bytes),
        bytes(limit)
    );
    findings.push(match found.bytes > limit / 100 * FULL_PERCENT {
        true => {
            let fix = "check that index runs and makes checkpoints: the log is trimmed after each; \
                       or raise NATS_BYTES_MAX";
            Finding::warning(CHECK, text, fix)
        }
        false => Finding::ok(CHECK, text),
    });
    findings
}
