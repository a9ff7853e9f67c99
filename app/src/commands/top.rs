//! `skytide top`: what the dataflow of a running process does, in the terminal.
//!
//! ```text
//! every interval ─▶ GET /v1/dataflow ─▶ answer ─▶ view ─▶ lines ─▶ screen, or standard output
//! keys ────────────────────────────────────────────▲
//! ```
//!
//! Rates, shares and the cause of a wait come from the server, so this command and the page
//! `/dataflow` show the same numbers.

mod answer;
mod client;
mod line;
mod screen;
mod view;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cli::Top;
use crate::failure::Failure;
use crate::terminal::say;

use answer::Answer;
use client::Client;
use screen::{Key, Screen};
use view::View;

/// How often the screen is drawn at least: it shows the age of the numbers, and its size may change.
const REDRAW: Duration = Duration::from_secs(1);
/// How long `--once` waits between its two requests: workers report once a second.
const ONCE_PAUSE: Duration = Duration::from_millis(1_200);

/// The shortest time between two requests.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Shows the dataflow until the user quits, or prints it once.
///
/// # Errors
///
/// The address or the key cannot be used, the terminal cannot be used, or, with `--once`, the
/// server does not answer.
pub async fn run(top: &Top, stop: CancellationToken) -> Result<ExitCode, Failure> {
    let client = Client::new(top).await?;
    let is_interactive = cfg!(unix) && io::stdout().is_terminal() && io::stdin().is_terminal();
    if top.once || !is_interactive {
        let Some(shown) = stop.run_until_cancelled(once(&client)).await else {
            return Ok(ExitCode::SUCCESS);
        };
        say(&shown?);
        return Ok(ExitCode::SUCCESS);
    }
    let screen = Screen::open().map_err(|why| Failure::because("cannot use the terminal", why))?;
    let shown = show(&client, top.interval.0.max(INTERVAL_MIN), &screen, &stop).await;
    drop(screen);
    shown.map_err(|why| Failure::because("cannot write to the terminal", why))?;
    Ok(ExitCode::SUCCESS)
}

/// Reads the numbers, and returns all lines as plain text. If nobody has asked the server lately, a
/// second request gives the rates of the time in between.
async fn once(client: &Client) -> Result<String, Failure> {
    let mut answer = client.read().await.map_err(Failure::new)?;
    if answer.recent.is_whole_run {
        tokio::time::sleep(ONCE_PAUSE).await;
        answer = client.read().await.map_err(Failure::new)?;
    }
    let mut view = View::new(client.address());
    view.receive(answer, Instant::now());
    let lines = view.lines(Instant::now(), None);
    let text: Vec<String> = lines.into_iter().map(|line| line.text).collect();
    Ok(text.join("\n"))
}

/// Updates the screen at each interval and after each key.
async fn show(
    client: &Client,
    interval: Duration,
    screen: &Screen,
    stop: &CancellationToken,
) -> io::Result<()> {
    let mut view = View::new(client.address());
    let (sender, mut answers) = mpsc::channel::<Result<Answer, String>>(1);
    let reading = async {
        let mut due = tokio::time::interval(interval);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            if sender.send(client.read().await).await.is_err() {
                return;
            }
        }
    };
    tokio::pin!(reading);
    let mut keys = screen.keys();
    loop {
        let size = screen.size();
        screen.draw(&view.frame(Instant::now(), size.0, size.1))?;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = &mut reading => return Ok(()),
            () = tokio::time::sleep(REDRAW) => {}
            Some(answer) = answers.recv() => match answer {
                Ok(answer) => view.receive(answer, Instant::now()),
                Err(problem) => view.fail(problem),
            },
            key = keys.recv() => match key {
                None | Some(Key::Quit) => return Ok(()),
                Some(key) => view.press(key, size),
            },
        }
    }
}
