//! `docs/mongodb.md` shows the documents that are stored, and each of its recipes runs with an
//! index.

use std::collections::BTreeSet;
use std::path::Path;

use mongodb::bson::{Bson, Document, doc};
use skytide_core::port::store::ViewStore;
use skytide_core::view::{Change, ViewId};
use skytide_tests::contract_store::commit;

use super::rows::full_row;
use super::{Own, connect, own_database};

fn page() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/mongodb.md");
    std::fs::read_to_string(page).expect("the page")
}

/// The text between this fence and the next one.
fn fenced<'a>(text: &'a str, fence: &str) -> &'a str {
    let (_, after) = text.split_once(fence).expect("a fence");
    after.split_once("```").expect("its end").0
}

/// A database with one row in each view.
async fn sample() -> Option<Own> {
    let (options, own) = own_database()?;
    let store = connect(&options).await;
    let term = store.lead().await.unwrap().term;
    let row = |view: &ViewId| {
        let (key, row) = full_row(*view);
        (
            *view,
            vec![Change {
                key,
                row: Some(row),
            }],
        )
    };
    commit(&store, term, 1, ViewId::ALL.iter().map(row).collect()).await;
    Some(own)
}

/// The names of all fields; those of inner documents include their path.
fn fields(document: &Document, path: &str, names: &mut BTreeSet<String>) {
    for (name, value) in document {
        let name = format!("{path}{name}");
        let inner = match value {
            Bson::Document(inner) => Some(inner),
            Bson::Array(items) => items.first().and_then(Bson::as_document),
            _ => None,
        };
        if let Some(inner) = inner {
            fields(inner, &format!("{name}."), names);
        }
        names.insert(name);
    }
}

#[tokio::test]
async fn the_page_shows_the_documents_of_every_view() {
    let Some(own) = sample().await else { return };
    let page = page();
    for &view in ViewId::ALL {
        let name = format!("`{}`", view.name());
        let mut sections = page.split("\n### ");
        let section =
            sections.find(|it| it.lines().next().is_some_and(|head| head.contains(&name)));
        let section = section.unwrap_or_else(|| panic!("docs/mongodb.md does not describe {name}"));
        let shown: Document = serde_json::from_str(fenced(section, "```json\n")).expect("JSON");
        let row = doc! { "epoch": 1_i64, "removed": { "$exists": false } };
        let there = own
            .documents(view)
            .await
            .find_one(row)
            .await
            .unwrap()
            .unwrap();
        let [mut on_page, mut stored] = [BTreeSet::new(), BTreeSet::new()];
        fields(&shown, "", &mut on_page);
        fields(&there, "", &mut stored);
        assert_eq!(on_page, stored, "{name}");
    }
}

#[tokio::test]
async fn every_recipe_of_the_page_uses_an_index() {
    let Some(own) = sample().await else { return };
    let page = page();
    let recipes = fenced(&page, "```js\n");
    let lines = recipes.lines().filter(|line| !line.starts_with("//"));
    let recipes = lines.collect::<String>();
    let recipes: Vec<&str> = recipes
        .split(';')
        .filter(|it| !it.trim().is_empty())
        .collect();
    assert!(recipes.len() > 15, "{recipes:?}");
    let database = own.database().await;
    for recipe in recipes {
        let command = command(recipe.trim());
        let done = database.run_command(command.clone()).await;
        done.unwrap_or_else(|error| panic!("{recipe}: {error}"));
        let explained = doc! { "explain": command, "verbosity": "queryPlanner" };
        let plan = database.run_command(explained).await.unwrap().to_string();
        assert!(
            !plan.contains("COLLSCAN"),
            "{recipe} scans the whole collection"
        );
    }
}

/// `db.collection.method(argument).method(argument)` as a command.
fn command(recipe: &str) -> Document {
    let mut calls = calls(recipe).into_iter();
    let (path, argument) = calls.next().expect("a call");
    let (collection, method) = path
        .strip_prefix("db.")
        .and_then(|it| it.split_once('.'))
        .expect(recipe);
    let mut command = match method {
        "aggregate" => doc! { "aggregate": collection, "pipeline": value(argument), "cursor": {} },
        "find" => doc! { "find": collection, "filter": value(argument) },
        "findOne" => doc! { "find": collection, "filter": value(argument), "limit": 1 },
        other => panic!("the recipes do not use {other}"),
    };
    for (method, argument) in calls {
        command.insert(method.trim_start_matches('.'), value(argument));
    }
    command
}

/// The calls in a recipe: each name with the text in the parentheses after it.
fn calls(recipe: &str) -> Vec<(&str, &str)> {
    let (mut calls, mut rest) = (Vec::new(), recipe);
    while let Some((name, after)) = rest.split_once('(') {
        let mut depth = 1;
        let end = after.find(|it| {
            depth += i32::from(it == '(') - i32::from(it == ')');
            depth == 0
        });
        let end = end.expect("an end");
        calls.push((name, &after[..end]));
        rest = &after[end + 1..];
    }
    calls
}

/// A value in the syntax of `mongosh`: names need no quotes, and `ISODate("...")` is a date.
fn value(script: &str) -> Bson {
    let script = script
        .replace("ISODate(", "{\"$date\": ")
        .replace("\")", "\"}");
    let (mut json, mut word, mut quoted) = (String::new(), String::new(), false);
    for letter in script.chars() {
        if !quoted && (letter.is_alphanumeric() || "_$".contains(letter)) {
            word.push(letter);
            continue;
        }
        match letter {
            ':' if !word.is_empty() => json.push_str(&format!("\"{word}\"")),
            _ => json.push_str(&word),
        }
        word.clear();
        quoted ^= letter == '"';
        json.push(letter);
    }
    json.push_str(&word);
    let read = serde_json::from_str::<Bson>(&json);
    read.unwrap_or_else(|error| panic!("{json}: {error}"))
}
