//! Writes a recording for `tests/simnet/check.mjs`. `record FILE FRAMES SEED` writes the frames
//! without compression, and `FILE.identities.json` with what the network's servers know about each
//! account.

use std::fs::File;
use std::io::{BufWriter, Write};

use skytide_simnet::{Network, Options, identities};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("which file?")?;
    let frames = args.next().ok_or("how many frames?")?.parse()?;
    let seed = args.next().ok_or("which seed?")?.parse()?;
    let mut network = Network::new(Options {
        seed,
        accounts: 400,
        rate: 20.0,
        events_max: Some(frames),
        ..Options::default()
    });
    let mut file = BufWriter::new(File::create(&path)?);
    while let Some(frame) = network.next_frame() {
        file.write_all(&(frame.bytes.len() as u32).to_be_bytes())?;
        file.write_all(&frame.bytes)?;
    }
    file.flush()?;
    let mut json = serde_json::to_vec_pretty(&identities(&mut network))?;
    json.push(b'\n');
    std::fs::write(format!("{path}.identities.json"), json)?;
    Ok(())
}
