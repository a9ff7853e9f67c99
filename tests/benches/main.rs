//! All benchmarks: `cargo bench -p skytide-tests`. A single one:
//! `cargo bench -p skytide-tests -- NAME`, for example `decode` or `mongo`.

mod api;
mod args;
mod clients;
mod cluster;
mod days;
mod decode;
mod instructions;
mod latency;
mod memory;
mod mongo;
mod nats;
mod observe;
mod pipeline;
mod restart;
mod scale;
mod simnet;
mod six;
mod stores;
mod stream;
mod whole;

use std::process::ExitCode;

fn main() -> ExitCode {
    let is_child = cluster::counts()
        || restart::restarts()
        || memory::measures()
        || six::computes()
        || scale::measures();
    if is_child {
        return ExitCode::SUCCESS;
    }
    if whole::is_child() {
        return skytide::main();
    }
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    for (name, run) in [
        ("decode", decode::run as fn()),
        ("nats", nats::run),
        ("mongo", mongo::run),
        ("pipeline", pipeline::run),
        ("restart", restart::run),
        ("memory", memory::run),
        ("six", six::run),
        ("scale", scale::run),
        ("cluster", cluster::run),
        ("simnet", simnet::run),
        ("stores", stores::run),
        ("latency", latency::embedded),
        ("servers", latency::on_servers),
        ("days", days::run),
        ("observe", observe::run),
        ("instructions", instructions::run),
        ("api", api::run),
        ("clients", clients::run),
    ] {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            run();
        }
    }
    ExitCode::SUCCESS
}
