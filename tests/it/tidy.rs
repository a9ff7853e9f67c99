//! Rules of the house that a machine can check (`STYLE.md`), and pages that must say what is so.

mod cycles;
mod words;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use expect_test::expect_file;

/// Lines of a source file, tests included.
const FILE_LINES_MAX: usize = 500;
/// Columns of a line that rustfmt leaves alone: comments and texts. Code has 100, by rustfmt.
const COLUMNS_MAX: usize = 130;
/// Words that mark what is not finished. Cut in two, so that this file has none of them.
const LEFTOVERS: [&str; 6] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("dbg", "!("),
    concat!("#[ig", "nore"),
    concat!("#[al", "low("),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Files that git knows or would add, below the root, with this ending.
fn files(ending: &str) -> Vec<String> {
    let list = [
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
    ];
    let output = Command::new("git").args(list).current_dir(root()).output();
    let listed = match output {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8(output.stdout).expect("names are UTF-8");
            text.split('\0').map(str::to_owned).collect()
        }
        // A copy without its history.
        _ => walk(&root(), Path::new("")),
    };
    let wanted = |name: &String| {
        let ours = !name.contains("/fixtures/") && !name.contains("/vendor/");
        ours && name.ends_with(ending) && root().join(name).is_file()
    };
    let files: Vec<_> = listed.into_iter().filter(wanted).collect();
    assert!(!files.is_empty(), "no files end in {ending}");
    files
}

fn walk(root: &Path, below: &Path) -> Vec<String> {
    let entries = fs::read_dir(root.join(below)).expect("a folder");
    let paths = entries.map(|entry| below.join(entry.expect("an entry").file_name()));
    paths
        .filter(|path| !path.starts_with("target") && !path.starts_with(".git"))
        .flat_map(|path| match root.join(&path).is_dir() {
            true => walk(root, &path),
            false => vec![path.to_string_lossy().into_owned()],
        })
        .collect()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[track_caller]
fn none(what: &str, found: Vec<String>) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn files_are_short_enough_to_be_read() {
    let long = files(".rs").into_iter().filter_map(|name| {
        let lines = read(&name).lines().count();
        (lines > FILE_LINES_MAX).then(|| format!("{name} has {lines} lines"))
    });
    none("files have at most 500 lines", long.collect());
}

#[test]
fn lines_fit() {
    let long = files(".rs").into_iter().flat_map(|name| {
        let text = read(&name);
        let lines = text.lines().enumerate();
        let long = lines.filter(|(_, line)| line.chars().count() > COLUMNS_MAX);
        let places = long.map(|(number, _)| format!("{name}:{}", number + 1));
        places.collect::<Vec<_>>()
    });
    none("lines have at most 130 columns", long.collect());
}

#[test]
fn nothing_is_left_over() {
    let marked = files(".rs").into_iter().flat_map(|name| {
        let text = read(&name);
        let lines = text.lines().enumerate();
        let marked = lines.filter(|(_, line)| LEFTOVERS.iter().any(|mark| line.contains(mark)));
        let places = marked.map(|(number, line)| format!("{name}:{} {line}", number + 1));
        places.collect::<Vec<_>>()
    });
    none("marks of something unfinished or hidden", marked.collect());
}

/// The names in a table of a manifest.
fn dependencies(manifest: &str, table: &str) -> BTreeSet<String> {
    manifest
        .lines()
        .skip_while(|line| line.trim() != table)
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', '=', ' ']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn crates_know_only_what_they_may() {
    let app = [
        "skytide-core",
        "skytide-ingest",
        "skytide-dataflow",
        "skytide-audit",
        "skytide-scheduler",
        "skytide-api",
        "skytide-simnet",
        "skytide-embedded",
        "skytide-nats",
        "skytide-mongodb",
    ];
    let ours = [
        ("core", [].as_slice()),
        ("ingest", &["skytide-core"]),
        ("dataflow", &["skytide-core", "skytide-state"]),
        ("state", &["skytide-core"]),
        ("audit", &["skytide-core"]),
        ("scheduler", &["skytide-core"]),
        ("api", &["skytide-core"]),
        ("simnet", &["skytide-core"]),
        ("adapters/embedded", &["skytide-core"]),
        ("adapters/nats", &["skytide-core"]),
        ("adapters/mongodb", &["skytide-core"]),
        ("app", &app),
    ];
    for (name, allowed) in ours {
        let manifest = read(&format!("{name}/Cargo.toml"));
        let known = dependencies(&manifest, "[dependencies]");
        let known: Vec<_> = known
            .iter()
            .filter(|it| it.starts_with("skytide"))
            .collect();
        let forbidden = known.iter().filter(|it| !allowed.contains(&it.as_str()));
        let forbidden = forbidden.map(|it| format!("{name} knows {it}")).collect();
        none(
            "services meet in the log and the store, never in code",
            forbidden,
        );
    }
}

#[test]
fn heavy_libraries_stay_where_they_belong() {
    let homes = [
        ("timely", "dataflow"),
        ("differential-dataflow", "dataflow"),
        ("axum", "api"),
        ("tokio-tungstenite", "ingest"),
        ("cron", "scheduler"),
        ("async-nats", "adapters/nats"),
        ("mongodb", "adapters/mongodb"),
        ("reqwest", "app"),
        ("fjall", "adapters/embedded"),
        ("indicatif", "app"),
    ];
    for name in [
        "core",
        "ingest",
        "dataflow",
        "audit",
        "scheduler",
        "api",
        "adapters/embedded",
        "adapters/nats",
        "adapters/mongodb",
        "app",
        "state",
    ] {
        let known = dependencies(&read(&format!("{name}/Cargo.toml")), "[dependencies]");
        let strangers = homes
            .iter()
            .filter(|(library, home)| known.contains(*library) && *home != name);
        let strangers = strangers
            .map(|(library, home)| format!("{name} knows {library}, which belongs to {home}"));
        none("each library has one home", strangers.collect());
    }
}

#[test]
fn only_app_reads_the_clock_and_the_environment() {
    let readers = ["SystemTime::now", "env::var", "env::vars", "set_var"];
    let services = [
        "core/src",
        "ingest/src",
        "dataflow/src",
        "scheduler/src",
        "api/src",
        "state/src",
    ];
    let found = files(".rs").into_iter().filter(|name| {
        let service = services.iter().any(|folder| name.starts_with(folder));
        service && readers.iter().any(|reader| read(name).contains(reader))
    });
    none("time and environment enter through app", found.collect());
}

#[test]
fn pages_that_are_referred_to_are_there() {
    let pages = files(".md").into_iter().chain(files(".rs"));
    let missing = pages.flat_map(|name| {
        let text = read(&name);
        let words =
            text.split(|letter: char| !(letter.is_ascii_alphanumeric() || "/-_.".contains(letter)));
        let pages = words.map(|word| word.trim_end_matches('.'));
        let pages = pages.filter(|word| word.starts_with("docs/") && word.ends_with(".md"));
        let missing = pages.filter(|page| !root().join(page).exists());
        let missing = missing.map(|page| format!("{name} refers to {page}"));
        missing.collect::<Vec<_>>()
    });
    none("pages that do not exist", missing.collect());
}

#[test]
fn files_that_pages_name_are_there() {
    let tops = [
        "adapters/",
        "api/",
        "app/",
        "core/",
        "dataflow/",
        "deploy/",
        "ingest/",
        "scheduler/",
        "simnet/",
        "state/",
        "tests/",
    ];
    // History names the files of its time.
    let history = ["CHANGELOG.md", "docs/benchmarks/", "docs/decisions/"];
    let pages = files(".md").into_iter();
    let pages = pages.filter(|name| !history.iter().any(|it| name.starts_with(it)));
    let missing = pages.flat_map(|name| {
        let text = read(&name);
        // Only code spans: `core/src/view.rs`, and `core/src/event*` for several files.
        let spans = text.split('`').skip(1).step_by(2);
        let paths = spans.filter(|span| tops.iter().any(|top| span.starts_with(top)));
        let paths = paths.filter(|path| !path.contains([' ', '*', '{', '\n']));
        let is_there = |path: &str| {
            let path = root().join(path);
            path.exists() || path.with_extension("rs").exists()
        };
        let missing = paths.filter(|path| !is_there(path));
        let missing = missing.map(|path| format!("{name} names {path}"));
        missing.collect::<Vec<_>>()
    });
    none("files that do not exist", missing.collect());
}

#[test]
fn the_page_of_options_is_what_the_declarations_say() {
    let page = root().join("docs/config.md");
    expect_file![page].assert_eq(&skytide_core::config::markdown());
}

#[test]
fn the_example_of_dotenv_names_every_option_with_its_default() {
    let example = read(".env.example");
    let options = skytide_core::config::options();
    let missing = options.into_iter().filter_map(|option| {
        let default = option.default.unwrap_or_default();
        let quote = if default.contains([' ', '*']) {
            "\""
        } else {
            ""
        };
        let line = format!("#{}={quote}{default}{quote}", option.name);
        (!example.lines().any(|it| it == line)).then_some(line)
    });
    none(".env.example lacks", missing.collect());
}

#[test]
fn the_readme_and_ci_run_the_same_test_command() {
    let command = "cargo test --workspace";
    assert!(read("README.md").contains(&format!("\n{command}\n")));
    assert!(read(".ci/run").contains(&format!("{command} --locked")));
}
