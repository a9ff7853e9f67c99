//! Compares an export with `pds.expected.json`, which two other implementations computed.
//! Definitions: `tests/fixtures/frames/README.md`.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::process::recording;

const TALLIES: [&str; 5] = ["likes", "reposts", "replies", "root_replies", "quotes"];
/// The names of interactions in the expected numbers and in the export.
const KINDS: [(&str, &str); 4] = [
    ("like", "likes"),
    ("repost", "reposts"),
    ("reply", "replies"),
    ("quote", "quotes"),
];

/// Compares every number.
#[track_caller]
pub fn compare(folder: &Path, policy: &str) {
    compare_some(folder, policy, true);
}

/// Compares every number of the views, not how many frames and events were read for them.
#[track_caller]
pub fn compare_views(folder: &Path, policy: &str) {
    compare_some(folder, policy, false);
}

#[track_caller]
fn compare_some(folder: &Path, policy: &str, summary: bool) {
    let text = std::fs::read_to_string(recording("pds.expected.json")).expect("the numbers");
    let expected: Value = serde_json::from_str(&text).expect("JSON");
    let wanted = &expected["final"][policy];
    let export = Export { folder, policy };
    if summary {
        export.summary(&expected, wanted);
    }
    export.posts(wanted);
    let (tags, domains) = (&wanted["hashtags"], &wanted["link_domains"]);
    export.counts("hashtags", "key", "count", tags);
    export.counts("domains", "key", "count", domains);
    let languages = counts(&export.rows("languages"), "key", "count");
    export.same("languages", json!(languages), &wanted["posts_per_language"]);
    let columns = [
        "followers",
        "follow_records",
        "blockers",
        "block_records",
        "likes_received",
    ];
    for column in columns {
        export.counts("actors", "did", column, &wanted[column]);
    }
    export.interactions(&wanted["interactions"]);
}

struct Export<'a> {
    folder: &'a Path,
    policy: &'a str,
}

impl Export<'_> {
    #[track_caller]
    fn same(&self, name: &str, found: Value, wanted: &Value) {
        assert_eq!(&found, wanted, "{name}, {}", self.policy);
    }

    fn rows(&self, view: &str) -> Vec<Value> {
        let path = self.folder.join(format!("{view}.ndjson"));
        let text = std::fs::read_to_string(path).expect(view);
        let rows = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("a row"));
        rows.collect()
    }

    #[track_caller]
    fn summary(&self, expected: &Value, wanted: &Value) {
        let text = std::fs::read_to_string(self.folder.join("summary.json")).expect("a summary");
        let summary: Value = serde_json::from_str(&text).expect("JSON");
        let missing = &expected["commit_facts"]["record_blocks_missing"];
        let dropped = json!({ "record_missing": missing });
        self.same("drops", summary["dropped"].clone(), &dropped);
        self.same(
            "frames",
            summary["frames"].clone(),
            &expected["frames"]["total"],
        );
        let ops = without_zeros(&summary["ops"]);
        self.same("ops", ops, &without_zeros(&expected["ops"]));
        for kind in ["account", "identity", "sync"] {
            let total = &expected["events"][kind]["total"];
            self.same(kind, summary["events"][kind].clone(), total);
        }
        let live = without_zeros(&summary["live_records"]);
        self.same("live records", live, &wanted["live_records"]);
    }

    #[track_caller]
    fn posts(&self, wanted: &Value) {
        let tally = |row: &Value, name: &str| row[name].as_u64().expect("a count");
        let rows = self.rows("posts");
        let referenced: BTreeMap<&str, &Value> = rows
            .iter()
            .filter(|row| TALLIES.iter().any(|name| tally(row, name) > 0))
            .map(|row| (row["uri"].as_str().expect("a URI"), row))
            .collect();
        let live = |row: &Value| row["live"] == true;
        let mut totals = json!({
            "referenced": referenced.len(),
            "referenced_and_live": referenced.values().filter(|row| live(row)).count(),
        });
        for name in TALLIES {
            let sum: u64 = referenced.values().map(|row| tally(row, name)).sum();
            totals[name] = json!(sum);
        }
        self.same("post totals", totals, &wanted["post_tally_totals"]);

        let mut lines = String::new();
        for (uri, row) in &referenced {
            let _ = write!(lines, "{uri}");
            for name in TALLIES {
                let _ = write!(lines, " {}", tally(row, name));
            }
            let _ = writeln!(lines, " {}", u8::from(live(row)));
        }
        let hash = Sha256::digest(lines.as_bytes());
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        self.same("post tallies", json!(hash), &wanted["post_tallies_sha256"]);

        for name in ["likes", "reposts", "root_replies", "quotes"] {
            let counts = counts(&rows, "uri", name);
            let top = &wanted[format!("top20_posts_by_{name}")];
            self.same(name, ranked(&counts, top), top);
        }
    }

    /// Compares the number of distinct keys, their sum, and the first keys.
    #[track_caller]
    fn counts(&self, view: &str, key: &str, column: &str, wanted: &Value) {
        let counts = counts(&self.rows(view), key, column);
        let found = json!({
            "distinct": counts.len(),
            "total": counts.values().sum::<u64>(),
            "top": ranked(&counts, &wanted["top"]),
        });
        self.same(column, found, wanted);
    }

    #[track_caller]
    fn interactions(&self, wanted: &Value) {
        let mut pairs: Vec<_> = self
            .rows("interactions")
            .into_iter()
            .map(|row| {
                let mut counts = serde_json::Map::new();
                let mut total = 0;
                for (kind, column) in KINDS {
                    total += row[column].as_u64().expect("a count");
                    counts.insert(kind.to_owned(), row[column].clone());
                }
                counts.insert("total".to_owned(), json!(total));
                let of = |name: &str| row[name].as_str().expect("a DID").to_owned();
                (
                    Reverse(total),
                    of("author"),
                    of("subject"),
                    Value::Object(counts),
                )
            })
            .collect();
        pairs.retain(|(total, author, subject, _)| total.0 > 0 && author != subject);
        pairs.sort_by(|a, b| (&a.0, &a.1, &a.2).cmp(&(&b.0, &b.1, &b.2)));
        let total: u64 = pairs.iter().map(|pair| pair.0.0).sum();
        let length = wanted["top"].as_array().expect("a list").len();
        let top: Vec<_> = pairs
            .iter()
            .take(length)
            .map(|(_, author, subject, counts)| json!([author, subject, counts]))
            .collect();
        self.same("pairs", json!(pairs.len()), &wanted["pairs"]);
        self.same("acts", json!(total), &wanted["total"]);
        self.same("top pairs", json!(top), &wanted["top"]);
    }
}

/// A column by key, without zeros; every key must occur once.
#[track_caller]
fn counts(rows: &[Value], key: &str, column: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for row in rows {
        let name = row[key].as_str().expect("a key").to_owned();
        let count = row[column].as_u64().expect("a count");
        assert!(
            counts.insert(name, count).is_none(),
            "a repeated key: {row}"
        );
    }
    counts.retain(|_, count| *count > 0);
    counts
}

/// The first keys, by descending count and then by the bytes of the key, as many as `like` has.
fn ranked(counts: &BTreeMap<String, u64>, like: &Value) -> Value {
    let mut ranked: Vec<_> = counts
        .iter()
        .map(|(key, count)| (Reverse(count), key))
        .collect();
    ranked.sort();
    ranked.truncate(like.as_array().expect("a list").len());
    let ranked = ranked.into_iter().map(|(count, key)| json!([key, count.0]));
    Value::Array(ranked.collect())
}

/// The tree without numbers that are 0 and without empty branches.
fn without_zeros(tree: &Value) -> Value {
    let Value::Object(branches) = tree else {
        return tree.clone();
    };
    let kept = branches
        .iter()
        .map(|(name, branch)| (name.clone(), without_zeros(branch)))
        .filter(|(_, branch)| *branch != json!(0) && *branch != json!({}));
    Value::Object(kept.collect())
}
