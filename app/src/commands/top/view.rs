//! The lines that `top` shows: header, workers, operators, structures in memory.

use std::time::{Duration, Instant};

use indicatif::{HumanBytes, HumanCount};

use super::answer::{Answer, Operator, StateSize};
use super::line::{Line, Style};
use super::screen::Key;

/// An answer of this age is marked as old.
const OLD: Duration = Duration::from_secs(5);
/// The width of the column of names.
const NAME_WIDTH: usize = 28;

/// The column by which operators are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sort {
    #[default]
    Time,
    RecordsIn,
    RecordsOut,
    Skew,
    Arranged,
    Name,
}

impl Sort {
    fn next(self) -> Self {
        match self {
            Self::Time => Self::RecordsIn,
            Self::RecordsIn => Self::RecordsOut,
            Self::RecordsOut => Self::Skew,
            Self::Skew => Self::Arranged,
            Self::Arranged => Self::Name,
            Self::Name => Self::Time,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::RecordsIn => "records in",
            Self::RecordsOut => "records out",
            Self::Skew => "skew",
            Self::Arranged => "arranged",
            Self::Name => "name",
        }
    }
}

/// What is shown, and how.
#[derive(Debug)]
pub struct View {
    address: String,
    answer: Option<(Answer, Instant)>,
    /// Why the newest request failed.
    problem: Option<String>,
    sort: Sort,
    is_paused: bool,
    /// The lines below the header that are above the screen.
    scrolled: usize,
}

impl View {
    /// Shows nothing yet. `address`: that of the server.
    pub fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
            answer: None,
            problem: None,
            sort: Sort::default(),
            is_paused: false,
            scrolled: 0,
        }
    }

    /// Shows an answer, unless the view is paused.
    pub fn receive(&mut self, answer: Answer, now: Instant) {
        self.problem = None;
        if !self.is_paused || self.answer.is_none() {
            self.answer = Some((answer, now));
        }
    }

    /// Shows that the server does not answer, beside its last answer.
    pub fn fail(&mut self, problem: String) {
        self.problem = Some(problem);
    }

    /// Does what a key means on a screen of this size.
    pub fn press(&mut self, key: Key, (width, height): (usize, usize)) {
        let header = self.wrapped_header(Instant::now(), Some(width)).len();
        let page = height.saturating_sub(header + 1).max(1);
        match key {
            Key::Quit => {}
            Key::Sort => self.sort = self.sort.next(),
            Key::Pause => self.is_paused = !self.is_paused,
            Key::Scroll(lines) => self.scrolled = self.scrolled.saturating_add_signed(lines),
            Key::Page(pages) => {
                let lines = isize::try_from(page).unwrap_or(isize::MAX);
                self.scrolled = self.scrolled.saturating_add_signed(lines * pages);
            }
            Key::Home => self.scrolled = 0,
        }
        let last = self.body().len().saturating_sub(page);
        self.scrolled = self.scrolled.min(last);
    }

    /// The lines that fit into a screen.
    pub fn frame(&self, now: Instant, width: usize, height: usize) -> Vec<Line> {
        let mut lines = self.lines(now, Some(width));
        let header = self.wrapped_header(now, Some(width)).len();
        let end = (header + self.scrolled).min(lines.len());
        lines.drain(header.min(end)..end);
        lines.truncate(height.saturating_sub(1));
        let help = format!(
            "q quit  s sort (by {})  p {}  arrows scroll",
            self.sort.text(),
            if self.is_paused { "continue" } else { "pause" }
        );
        lines.push(line(help, Style::Bold));
        for shown in &mut lines {
            shown.text = shown.text.chars().take(width).collect();
        }
        lines
    }

    /// All lines. With a width, long sentences take several lines.
    pub fn lines(&self, now: Instant, width: Option<usize>) -> Vec<Line> {
        let mut lines = self.wrapped_header(now, width);
        lines.extend(self.body());
        lines
    }

    fn wrapped_header(&self, now: Instant, width: Option<usize>) -> Vec<Line> {
        let header = self.header(now);
        let Some(width) = width else { return header };
        header
            .into_iter()
            .flat_map(|line| wrap(&line, width.max(20)))
            .collect()
    }

    /// Who answers, how it is, and how far.
    fn header(&self, now: Instant) -> Vec<Line> {
        let mut lines = Vec::new();
        let Some((answer, received)) = &self.answer else {
            lines.push(line(format!("skytide top  {}", self.address), Style::Bold));
            let waiting = format!("waiting for {}", self.address);
            lines.push(line(self.problem.clone().unwrap_or(waiting), Style::Bold));
            return lines;
        };
        let age = now.saturating_duration_since(*received);
        let state = match (&self.problem, self.is_paused, age > OLD) {
            (None, false, false) => String::new(),
            (_, true, _) => format!("  paused {} s ago", age.as_secs()),
            (..) => format!("  {} s old", age.as_secs()),
        };
        let rates = match answer.recent.is_whole_run {
            true => "rates since the start".to_owned(),
            false => format!("rates over {:.0} s", answer.recent.seconds),
        };
        let title = format!("skytide top  {}  {rates}{state}", self.address);
        lines.push(line(title, Style::Bold));
        if let Some(problem) = &self.problem {
            lines.push(line(format!("{problem}; trying again"), Style::Bold));
        }
        if let Some(waits) = answer.waits_for.as_ref().filter(|it| it.is_wait()) {
            lines.push(line(waits.text(), Style::Bold));
        }
        for (place, finding) in answer.findings.iter().enumerate() {
            let style = if place == 0 {
                Style::Bold
            } else {
                Style::Plain
            };
            lines.push(line(
                format!("{}: {}", finding.kind, finding.sentence),
                style,
            ));
        }
        lines.extend(progress(answer));
        lines.extend(memory(answer));
        lines
    }

    /// The tables.
    fn body(&self) -> Vec<Line> {
        let Some((answer, _)) = &self.answer else {
            return Vec::new();
        };
        let mut lines = workers(answer);
        lines.extend(self.operators(answer));
        lines.extend(structures(&answer.state));
        lines
    }

    fn operators(&self, answer: &Answer) -> Vec<Line> {
        let mut operators: Vec<&Operator> = answer.operators.iter().collect();
        let by = |value: fn(&Operator) -> f64| {
            move |a: &&Operator, b: &&Operator| value(b).total_cmp(&value(a))
        };
        match self.sort {
            Sort::Time => operators.sort_by(by(|it| it.recent.share)),
            Sort::RecordsIn => operators.sort_by(by(|it| it.recent.input_records_per_second)),
            Sort::RecordsOut => operators.sort_by(by(|it| it.recent.output_records_per_second)),
            Sort::Skew => operators.sort_by(by(|it| it.skew().unwrap_or(0.0))),
            Sort::Arranged => {
                operators.sort_by_key(|it| {
                    std::cmp::Reverse(
                        it.arrangement
                            .as_ref()
                            .map(|arrangement| arrangement.records),
                    )
                });
            }
            Sort::Name => operators.sort_by(|a, b| a.name.cmp(&b.name)),
        }
        let busy: f64 = operators.iter().map(|it| it.recent.share).sum();
        let causes: Vec<&Vec<usize>> = answer
            .findings
            .iter()
            .filter_map(|it| it.operator.as_ref())
            .collect();
        let head = format!(
            "{:<NAME_WIDTH$} {:>8} {:>8} {:>10} {:>10} {:>9} {:>6} {:>10}",
            "OPERATOR", "TIME", "OF BUSY", "IN/s", "OUT/s", "SCHED/s", "SKEW", "ARRANGED"
        );
        let mut lines = vec![line(String::new(), Style::Plain), line(head, Style::Head)];
        for operator in operators {
            let recent = &operator.recent;
            let of_busy = if busy > 0.0 { recent.share / busy } else { 0.0 };
            let skew = operator
                .skew()
                .map_or_else(none, |skew| format!("{skew:.1}x"));
            let arranged = operator.arrangement.as_ref();
            let arranged = arranged.map_or_else(none, |it| count(it.records.max(0) as f64));
            let text = format!(
                "{:<NAME_WIDTH$} {:>8} {:>8} {:>10} {:>10} {:>9} {skew:>6} {arranged:>10}",
                shortened(&operator.name),
                percent(recent.share),
                percent(of_busy),
                count(recent.input_records_per_second),
                count(recent.output_records_per_second),
                count(recent.activations_per_second),
            );
            let style = match causes.contains(&&operator.address) {
                true => Style::Bold,
                false => Style::Plain,
            };
            lines.push(line(text, style));
        }
        lines
    }
}

fn progress(answer: &Answer) -> Option<Line> {
    let progress = answer.progress.as_ref()?;
    let rates = &progress.recent;
    let lag = progress
        .lag_ms
        .map_or_else(none, |ms| format!("{:.1} s", ms as f64 / 1e3));
    let text = format!(
        "epoch {}  lag {lag}  events {}/s  rows {}/s  commits {:.1}/s  in commits {}  pending {} \
         batches",
        HumanCount(progress.epoch),
        count(rates.events_per_second),
        count(rates.rows_per_second),
        rates.commits_per_second,
        percent(rates.commit_share),
        progress.batches_pending,
    );
    Some(line(text, Style::Plain))
}

fn memory(answer: &Answer) -> Option<Line> {
    let memory = answer.memory.as_ref()?;
    let resident = memory.resident_bytes?;
    let rest = memory.unaccounted_bytes.unwrap_or_default();
    let sign = if rest < 0 { "-" } else { "" };
    let limit = memory.limit_bytes.map(HumanBytes);
    let limit = limit.map_or_else(String::new, |limit| format!(" of {limit}"));
    let text = format!(
        "memory {}{limit}  accounted {} ({})  unaccounted {sign}{}",
        HumanBytes(resident),
        HumanBytes(memory.accounted_bytes),
        percent(memory.accounted_bytes as f64 / resident.max(1) as f64),
        HumanBytes(rest.unsigned_abs()),
    );
    Some(line(text, Style::Plain))
}

fn workers(answer: &Answer) -> Vec<Line> {
    let head = format!(
        "{:<8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "WORKER", "BUSY", "OTHERS", "STORE", "BATCH", "FEED", "STEP", "ROWS", "CUT", "OTHER"
    );
    let mut lines = vec![line(String::new(), Style::Plain), line(head, Style::Head)];
    for worker in &answer.workers {
        let it = &worker.recent;
        let shares = [
            it.busy,
            it.parked,
            it.commit_wait,
            it.batch_wait,
            it.feed,
            it.step,
            it.consolidate,
            it.cut,
            it.other,
        ];
        let shares = shares.map(|share| format!(" {:>8}", percent(share)));
        let mut causes = answer.findings.iter().filter_map(|it| it.worker);
        let style = match causes.any(|cause| cause == worker.worker) {
            true => Style::Bold,
            false => Style::Plain,
        };
        lines.push(line(
            format!("{:<8}{}", worker.worker, shares.concat()),
            style,
        ));
    }
    lines
}

fn structures(state: &[StateSize]) -> Vec<Line> {
    let mut sums: Vec<StateSize> = Vec::new();
    for size in state {
        match sums.iter_mut().find(|sum| sum.name == size.name) {
            Some(sum) => {
                sum.entries += size.entries;
                sum.bytes += size.bytes;
            }
            None => sums.push(size.clone()),
        }
    }
    if sums.is_empty() {
        return Vec::new();
    }
    sums.sort_by_key(|size| std::cmp::Reverse(size.bytes));
    let head = format!(
        "{:<NAME_WIDTH$} {:>12} {:>12}  OPTION",
        "STRUCTURE", "BYTES", "ENTRIES"
    );
    let mut lines = vec![line(String::new(), Style::Plain), line(head, Style::Head)];
    for size in sums {
        let text = format!(
            "{:<NAME_WIDTH$} {:>12} {:>12}  {}",
            shortened(&size.name),
            HumanBytes(size.bytes).to_string(),
            count(size.entries as f64),
            size.option.unwrap_or_default()
        );
        lines.push(line(text, Style::Plain));
    }
    lines
}

fn none() -> String {
    "-".to_owned()
}

fn line(text: String, style: Style) -> Line {
    let text = text.replace(char::is_control, " ").trim_end().to_owned();
    Line { text, style }
}

/// Breaks a line at spaces, so that no part is longer than `width` characters if its words are not.
fn wrap(long: &Line, width: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut text = String::new();
    for word in long.text.split(' ') {
        let length = text.chars().count() + 1 + word.chars().count();
        if !text.is_empty() && length > width {
            lines.push(line(std::mem::take(&mut text), long.style));
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
    }
    lines.push(line(text, long.style));
    lines
}

fn shortened(name: &str) -> String {
    match name.chars().count() > NAME_WIDTH {
        true => name.chars().take(NAME_WIDTH - 1).chain(['~']).collect(),
        false => name.to_owned(),
    }
}

fn percent(share: f64) -> String {
    let value = share * 100.0;
    match value {
        0.0 => "0 %".to_owned(),
        value if value < 0.1 => "<0.1 %".to_owned(),
        value if value < 10.0 => format!("{value:.1} %"),
        value => format!("{value:.0} %"),
    }
}

/// A number of at most seven characters.
fn count(n: f64) -> String {
    match n {
        0.0 => "0".to_owned(),
        n if n < 10.0 => format!("{n:.1}"),
        n if n < 99_999.5 => HumanCount(n.round() as u64).to_string(),
        n if n < 9_999_500.0 => format!("{:.0}k", n / 1e3),
        n => format!("{:.0}M", n / 1e6),
    }
}

#[cfg(test)]
mod tests;
