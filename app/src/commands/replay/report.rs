//! The tables that a replay prints at its end.

use std::fmt::Write;
use std::time::Duration;

use indicatif::HumanCount;
use skytide_core::port::store::ViewReader;
use skytide_core::view::{Key, ListEntry, ListKey, ListRow, Measure, ViewId, Window, decode_row};

use super::ReplayResult;
use crate::export::Summary;
use crate::failure::Failure;
use crate::terminal::say;

/// Number of entries shown of each list.
const ENTRIES: usize = 5;
/// The lists shown: each of all time and all languages.
const LISTS: [(ViewId, Measure, &str); 4] = [
    (ViewId::TopPosts, Measure::Likes, "most liked posts"),
    (ViewId::TopHashtags, Measure::Count, "hashtags by posts"),
    (ViewId::TopDomains, Measure::Count, "domains by posts"),
    (ViewId::TopMentions, Measure::Count, "mentions by posts"),
];

/// Prints what was counted and how fast.
///
/// # Errors
///
/// The lists cannot be read.
pub async fn print(
    summary: &Summary,
    replayed: &ReplayResult,
    reader: &dyn ViewReader,
) -> Result<(), Failure> {
    let mut text = head(summary, replayed);
    text += &operations(summary);
    text += &dropped(summary);
    for (view, measure, title) in LISTS {
        let entries = top(reader, view, measure).await?;
        text += &list(title, &entries);
    }
    text += &stages(replayed);
    say(text.trim_end());
    Ok(())
}

fn head(summary: &Summary, replayed: &ReplayResult) -> String {
    let seconds = replayed.duration.as_secs_f64();
    let frames = match summary.frames {
        Some(0) => return format!("\nno frames, in {seconds:.1} s\n"),
        Some(frames) => format!("{} frames", HumanCount(frames)),
        None => "an unknown number of frames (INDEXER_VIEWS leaves counters out)".to_owned(),
    };
    match (&summary.since, &summary.time) {
        (Some(since), Some(time)) => {
            format!("\n{frames} from {since} to {time}, in {seconds:.1} s\n")
        }
        _ => format!("\n{frames}, none with a readable time, in {seconds:.1} s\n"),
    }
}

fn operations(summary: &Summary) -> String {
    let mut rows = vec![["", "created", "updated", "deleted", "live"].map(str::to_owned)];
    let Some(all) = &summary.ops else {
        return String::new(); // not computed
    };
    for (collection, ops) in all {
        let live = summary.live_records.as_ref();
        let live = live.and_then(|live| live.get(collection).copied());
        let counts = [ops.create, ops.update, ops.delete, live.unwrap_or_default()];
        let [create, update, delete, live] = counts.map(|it| HumanCount(it).to_string());
        rows.push([collection.clone(), create, update, delete, live]);
    }
    for (event, count) in summary.events.iter().flatten() {
        let count = HumanCount(*count).to_string();
        rows.push([
            format!("#{event}"),
            count,
            String::new(),
            String::new(),
            String::new(),
        ]);
    }
    table("operations and live records", &rows)
}

fn dropped(summary: &Summary) -> String {
    let rows = summary.dropped.iter().flatten();
    let rows: Vec<_> = rows
        .map(|(reason, count)| [reason.clone(), HumanCount(*count).to_string()])
        .collect();
    table("dropped, in whole or in part", &rows)
}

async fn top(
    reader: &dyn ViewReader,
    view: ViewId,
    measure: Measure,
) -> Result<Vec<ListEntry>, Failure> {
    let failed = |why| Failure::because("cannot read the top lists", why);
    let key = ListKey {
        window: Window::All,
        measure,
        lang: Box::default(),
    };
    let rows = reader.get(view, &[Key::of(&key)]).await;
    let rows = rows.map_err(|why| Failure::because("cannot read the top lists", why))?;
    let Some(Some(row)) = rows.into_iter().next() else {
        return Ok(Vec::new());
    };
    let list: ListRow = decode_row(&row.row).map_err(failed)?;
    Ok(list.entries)
}

fn list(title: &str, entries: &[ListEntry]) -> String {
    let entries = entries.iter().take(ENTRIES);
    let rows: Vec<_> = entries
        .map(|entry| {
            [
                entry.key.to_string(),
                HumanCount(entry.value.into()).to_string(),
            ]
        })
        .collect();
    table(title, &rows)
}

/// The rate of each stage by itself. Ingest and dataflow run concurrently.
fn stages(replayed: &ReplayResult) -> String {
    let (read, flow) = (&replayed.ingest, &replayed.dataflow);
    let seconds = |busy: f64| Duration::try_from_secs_f64(busy).unwrap_or_default();
    let count = match replayed.workers {
        1 => "count (1 worker)".to_owned(),
        workers => format!("count ({workers} workers)"),
    };
    let stages = [
        ("decode and check frames", read.counts.events, read.decode),
        ("write the log", read.counts.events, read.log),
        (
            count.as_str(),
            flow.events.get(),
            seconds(flow.step_seconds.get()),
        ),
        (
            "commit the views",
            flow.events.get(),
            seconds(flow.commit_seconds.get()),
        ),
        ("all together", flow.events.get(), replayed.duration),
    ];
    let rows: Vec<_> = stages
        .into_iter()
        .map(|(stage, events, busy)| {
            let rate = events as f64 / busy.as_secs_f64().max(0.001);
            let rate = format!("{} events/s", HumanCount(rate as u64));
            [
                stage.to_owned(),
                rate,
                format!("{:.2} s busy", busy.as_secs_f64()),
            ]
        })
        .collect();
    table("rates by stage", &rows)
}

/// Formats rows in columns. The first column is aligned to the left, the others to the right.
/// Returns an empty text if there are no rows.
fn table<const COLUMNS: usize>(title: &str, rows: &[[String; COLUMNS]]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default()
    };
    let mut text = format!("\n{title}\n");
    for row in rows {
        let _ = write!(text, "  {:1$}", row[0], width(0));
        for (column, cell) in row.iter().enumerate().skip(1) {
            let _ = write!(text, "  {cell:>0$}", width(column));
        }
        text.push('\n');
    }
    text
}
