//! All benchmarks: `cargo bench -p skytide-tests`, one of them: `cargo bench -p skytide-tests -- decode|pipeline|restart|stores`.

mod decode;
mod pipeline;
mod restart;
mod stores;

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    for (name, run) in [
        ("decode", decode::run as fn()),
        ("pipeline", pipeline::run),
        ("restart", restart::run),
        ("stores", stores::run),
    ] {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            run();
        }
    }
}
