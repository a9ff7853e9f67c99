//! The Dockerfile, as text: what it copies is there and sent, its dependency layer can be built, its toolchain is the pinned
//! one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::{known, read, root};

/// Sources and target of each COPY of the first stage, before and after the first `cargo build`.
fn copied() -> [Vec<(Vec<String>, String)>; 2] {
    let text = read("Dockerfile");
    let (build, _) = text
        .split_once("\nFROM gcr.io/distroless/")
        .expect("two stages");
    let (before, after) = build
        .split_once("\nRUN cargo build")
        .expect("a layer of dependencies");
    [before, after].map(|part| {
        let lines = part.lines().filter_map(|line| line.strip_prefix("COPY "));
        let copy = |line: &str| {
            let mut paths: Vec<_> = line.split(' ').map(str::to_owned).collect();
            let to = paths.pop().expect("a target");
            (paths, to)
        };
        lines.map(copy).collect()
    })
}

/// Copies a file or folder as COPY does.
fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        for entry in fs::read_dir(from).expect("a folder") {
            let entry = entry.expect("an entry");
            copy(&entry.path(), &to.join(entry.file_name()));
        }
        return;
    }
    fs::create_dir_all(to.parent().expect("a folder")).expect("made");
    fs::copy(from, to).expect("copied");
}

fn lay_out(copies: &[(Vec<String>, String)], into: &Path) {
    for (sources, target) in copies {
        for source in sources {
            let from = root().join(source);
            assert!(
                from.exists(),
                "the Dockerfile copies {source}, which is not there"
            );
            let name = from.file_name().expect("a name").to_owned();
            let to = into.join(target);
            copy(
                &from,
                &if target.ends_with('/') {
                    to.join(name)
                } else {
                    to
                },
            );
        }
    }
}

#[test]
fn the_layer_of_dependencies_resolves_from_the_manifests_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let [manifests, sources] = copied();
    lay_out(&manifests, folder.path());
    let text = read("Dockerfile").replace("\\\n", " ");
    let lines = text.lines().filter_map(|line| line.strip_prefix("RUN "));
    let stubs = lines.clone().next().expect("the empty crates");
    let made = Command::new("sh")
        .args(["-ec", stubs])
        .current_dir(folder.path())
        .status();
    assert!(made.expect("sh runs").success(), "{stubs}");
    let resolves = || {
        // Packages of other platforms are in the lock file, but were not downloaded for the tests.
        let platform = format!(
            "--filter-platform={}-unknown-linux-gnu",
            std::env::consts::ARCH
        );
        let args = [
            "metadata",
            "--offline",
            "--locked",
            "--format-version=1",
            "--quiet",
        ];
        let ran = Command::new(env!("CARGO"))
            .args(args)
            .arg(platform)
            .current_dir(folder.path())
            .output();
        let ran = ran.expect("cargo runs");
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
        String::from_utf8(ran.stdout).expect("text")
    };
    let members = |metadata: &str| {
        let metadata: serde_json::Value = serde_json::from_str(metadata).expect("JSON");
        metadata["workspace_members"]
            .as_array()
            .expect("members")
            .len()
    };
    assert_eq!(members(&resolves()), 13);
    lay_out(&sources, folder.path());
    resolves();
    includes_are_there(folder.path());
}

/// Files that the sources include lie where they look for them.
fn includes_are_there(folder: &Path) {
    let mut found = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            for part in text.split("include_str!(\"").skip(1) {
                let name = part.split('"').next().expect("a name");
                let included = path.parent().expect("a folder").join(name);
                assert!(
                    included.exists(),
                    "{path:?} includes {name}, which is not copied"
                );
                found += 1;
            }
        }
    }
    assert!(found >= 5, "{found} files are included");
}

#[test]
fn what_is_copied_is_sent_and_nothing_else() {
    let ignored = read(".dockerignore");
    let lines: Vec<_> = ignored
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert_eq!(lines[0], "*", "everything is left out first");
    let sent: BTreeSet<_> = lines[1..]
        .iter()
        .map(|line| line.strip_prefix('!').expect("an exception"))
        .collect();
    let copies = copied()
        .concat()
        .into_iter()
        .flat_map(|(sources, _)| sources);
    let copies: BTreeSet<_> = copies
        .map(|source| match source.split_once('/') {
            Some((_, "Cargo.toml")) => "*/Cargo.toml".to_owned(),
            _ => source,
        })
        .collect();
    assert_eq!(sent, copies.iter().map(String::as_str).collect());
}

#[test]
fn the_image_is_built_by_the_pinned_toolchain_and_sets_options_that_there_are() {
    let text = read("Dockerfile");
    let pinned = read("rust-toolchain.toml");
    let lines = pinned.lines();
    let channel = lines
        .filter_map(|line| line.strip_prefix("channel = \""))
        .next();
    let minor: Vec<_> = channel
        .expect("a channel")
        .split(['.', '"'])
        .take(2)
        .collect();
    let from = format!("FROM rust:{}-", minor.join("."));
    assert!(text.contains(&from), "the pinned toolchain");
    let set = text.lines().filter_map(|line| line.strip_prefix("ENV "));
    let words = set.flat_map(|line| line.split(' '));
    known(
        "Dockerfile",
        words.filter_map(|word| word.split('=').next()),
    );
}
