//! Words of a private language that must not come back: an outside engineer reads each of them twice.
//!
//! The check covers comments, docs and string literals alike, because it reads whole lines. Identifiers
//! are lines, too. History keeps its words: `CHANGELOG.md`, `docs/decisions` and `docs/benchmarks`.

use super::{files, none, read};

/// A word or phrase in lower case, and what to write in its place.
const PLAIN: [(&str, &str); 22] = [
    (
        concat!("to", "ld"),
        "reported, recorded, logged, emitted or sent",
    ),
    (
        concat!("tel", "ls"),
        "reports, records, logs, emits or sends",
    ),
    (
        concat!("who", "ever"),
        "the process, writer or reader that is meant",
    ),
    (concat!("an", "ew"), "again"),
    (concat!("men", "ded"), "fixed"),
    (concat!("can be", " had"), "is available"),
    (concat!("cannot be", " had"), "is not available"),
    (concat!("taken", " in"), "restored or loaded"),
    (concat!("passed", " over"), "skipped"),
    (
        concat!("the one", " before"),
        "the previous one, with its noun",
    ),
    (concat!("beh", "ind it"), "after it"),
    (concat!("beh", "ind the tick"), "after the tick"),
    (concat!("beh", "ind a tick"), "after a tick"),
    (concat!("beh", "ind an epoch"), "after an epoch"),
    (concat!("beh", "ind the epoch"), "after the epoch"),
    (concat!("beh", "ind the cut"), "after the cut"),
    (concat!("beh", "ind the checkpoint"), "after the checkpoint"),
    (concat!("beh", "ind a checkpoint"), "after a checkpoint"),
    (concat!("beh", "ind its"), "after its"),
    (concat!("beh", "ind that"), "after that"),
    (concat!("beh", "ind them"), "after them"),
    (concat!("is", " owed"), "is pending"),
];

#[test]
fn texts_are_in_plain_technical_english() {
    let history = ["CHANGELOG.md", "docs/decisions/", "docs/benchmarks/"];
    let pages = files(".md").into_iter().chain(files(".rs"));
    let pages = pages.filter(|name| !history.iter().any(|it| name.starts_with(it)));
    let found = pages.flat_map(|name| {
        let text = read(&name);
        let lines = text.lines().enumerate();
        let found = lines.filter_map(|(number, line)| {
            let (word, plain) = private_word(line)?;
            Some(format!("{name}:{}: \"{word}\": write {plain}", number + 1))
        });
        found.collect::<Vec<_>>()
    });
    none("words that a newcomer reads twice", found.collect());
}

/// The name of a stored field, which keeps its name: where code and pages name it.
const STORED: [&str; 2] = [concat!("rename = \"to", "ld\""), concat!("`to", "ld`")];

/// The first listed word of a line. A word ends where letters end, so `_` ends one as well.
fn private_word(line: &str) -> Option<(&'static str, &'static str)> {
    let line = STORED
        .iter()
        .fold(line.to_lowercase(), |line, it| line.replace(it, ""));
    let is_letter = |letter: Option<char>| letter.is_some_and(char::is_alphabetic);
    PLAIN.into_iter().find(|(word, _)| {
        line.match_indices(word).any(|(start, _)| {
            let before = line[..start].chars().next_back();
            let after = line[start + word.len()..].chars().next();
            !is_letter(before) && !is_letter(after)
        })
    })
}

#[test]
fn a_word_is_found_whole_and_nowhere_else() {
    let word = PLAIN[0].0;
    assert!(private_word(&format!("what a tick {word} us")).is_some());
    assert!(private_word(&format!("let {word}_at = 1;")).is_some());
    assert!(private_word(&format!("untouched: s{word}")).is_none());
}
