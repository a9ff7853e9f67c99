//! The command line: commands, and the options of `core::config` on each of them.

pub mod simnet;

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use skytide_core::config::{Config, OptionDoc, Span, masked, options};

use crate::environment::{self, Environment};
use crate::failure::Failure;
use crate::secrets::Secrets;
use crate::terminal::note;

/// Exact live aggregates of the Bluesky firehose.
#[derive(Debug, Parser)]
#[command(
    name = "skytide",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run all services in one process: read the relay, count, serve the API and the start page.
    Up(Box<Up>),
    /// Run one service: read the relay, write the log.
    Ingest(Box<Config>),
    /// Run one service: read the log, count, write the views.
    Index(Box<Config>),
    /// Run one service: the jobs.
    Schedule(Box<Schedule>),
    /// Run one service: the API and the start page.
    Serve(Box<Config>),
    /// Send recordings through ingest, log, dataflow and store as fast as the machine can.
    Replay(Box<Replay>),
    /// Record a relay's frames to a file, for `replay`.
    Record(Box<Record>),
    /// Write every view of a store as files.
    Export(Box<Export>),
    /// Serve or record a simulated network: real bytes from a seed, for trying out and testing.
    Simnet(Box<simnet::Simnet>),
    /// Ask a service on this machine whether it is ready: exits with 0 if so, else with 1.
    Probe(Box<Probe>),
    /// Print what is in force and where each value comes from.
    Config(Box<Show>),
}

/// All services.
#[derive(Debug, Args)]
pub struct Up {
    /// The demo.
    #[command(flatten)]
    pub demo: simnet::Demo,

    /// The options.
    #[command(flatten)]
    pub config: Config,
}

/// The jobs.
#[derive(Debug, Args)]
pub struct Schedule {
    /// Run this job once, now, and end.
    #[arg(long, value_name = "JOB")]
    pub run: Option<String>,

    /// Print what each job did last and when it is due, and end.
    #[arg(long, conflicts_with = "run")]
    pub list: bool,

    /// The options.
    #[command(flatten)]
    pub config: Config,
}

/// What to replay.
#[derive(Debug, Args)]
pub struct Replay {
    /// Recordings, plain or zstd, in their order: together they are one stream. `-` is standard input; a pipe or a FIFO is read,
    /// too.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Write every view to this folder afterwards.
    #[arg(long, value_name = "DIR")]
    pub export: Option<PathBuf>,

    /// Write CSV instead of NDJSON.
    #[arg(long, requires = "export")]
    pub csv: bool,

    /// Keep log and store in this folder, and go on with what is in it; without it they live in
    /// a scratch folder and are removed.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// The options.
    #[command(flatten)]
    pub config: Config,
}

/// What to record.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("until").required(true).multiple(true))]
pub struct Record {
    /// The file, zstd. If it is there and unfinished, recording goes on behind its last frame.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// End after this time, as 90s, 10m or 36h.
    #[arg(long = "for", value_name = "TIME", group = "until")]
    pub time_max: Option<Span>,

    /// End when the file holds so many frames.
    #[arg(long, value_name = "FRAMES", group = "until")]
    pub frames: Option<u64>,

    /// The options.
    #[command(flatten)]
    pub config: Config,
}

/// What to export.
#[derive(Debug, Args)]
pub struct Export {
    /// Where to write; made if it is not there.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,

    /// Write CSV instead of NDJSON.
    #[arg(long)]
    pub csv: bool,

    /// The options.
    #[command(flatten)]
    pub config: Config,
}

/// What to ask.
#[derive(Debug, Args)]
pub struct Probe {
    /// Ask only whether the process is alive (`/healthz`), not whether it is ready (`/readyz`).
    #[arg(long)]
    pub live: bool,

    /// How long an answer may take.
    #[arg(long, value_name = "TIME", default_value = "3s")]
    pub timeout: Span,

    /// The options.
    #[command(flatten)]
    pub config: Config,
}

/// How to print the options.
#[derive(Debug, Args)]
pub struct Show {
    /// Print the reference page of all options instead.
    #[arg(long)]
    pub markdown: bool,

    /// The options.
    #[command(flatten)]
    pub config: Config,
}

/// The options that matter to a command, by the beginnings of their names; the rest is accepted
/// all the same, but `--help` does not show it.
const SHOWN: &[(&str, &[&str])] = &[
    ("ingest", &["SKYTIDE_", "STORE_", "FIREHOSE_"]),
    ("index", &["SKYTIDE_", "STORE_", "INDEXER_"]),
    ("schedule", &["SKYTIDE_", "STORE_", "SCHEDULER_"]),
    ("serve", &["SKYTIDE_", "STORE_", "API_"]),
    ("replay", &["SKYTIDE_", "FIREHOSE_", "INDEXER_"]),
    ("record", &["SKYTIDE_", "FIREHOSE_"]),
    ("export", &["SKYTIDE_", "STORE_"]),
    ("probe", &["SKYTIDE_PROBE_", "API_ADDRESS"]),
];

/// What was asked for, and with which options.
pub struct Invocation {
    /// The command with its options.
    pub command: Command,
    /// The command's matches, which know where each value comes from.
    pub matches: ArgMatches,
    /// What was found around the command line.
    pub environment: Environment,
    /// Options whose value was read from a file of its own.
    pub secrets: Vec<String>,
}

impl Invocation {
    /// The options.
    pub fn config(&self) -> &Config {
        self.command.config()
    }

    /// Whether an option was set, by whatever means.
    pub fn is_set(&self, name: &str) -> bool {
        let source = self.matches.value_source(name);
        source.is_some_and(|source| source != ValueSource::DefaultValue)
    }
}

impl Command {
    /// The options.
    pub fn config(&self) -> &Config {
        match self {
            Self::Up(up) => &up.config,
            Self::Ingest(config) | Self::Index(config) | Self::Serve(config) => config,
            Self::Schedule(schedule) => &schedule.config,
            Self::Replay(replay) => &replay.config,
            Self::Record(record) => &record.config,
            Self::Export(export) => &export.config,
            Self::Simnet(simnet) => simnet.config(),
            Self::Probe(probe) => &probe.config,
            Self::Config(show) => &show.config,
        }
    }

    /// Whether it does one thing and ends.
    pub fn is_tool(&self) -> bool {
        matches!(
            self,
            Self::Replay(_)
                | Self::Record(_)
                | Self::Export(_)
                | Self::Simnet(_)
                | Self::Probe(_)
                | Self::Config(_)
        )
    }
}

/// Reads `.env`, the environment and the command line.
///
/// # Errors
/// A name or a value is not right.
pub fn read() -> Result<Invocation, Failure> {
    let environment = environment::load(".env".as_ref())?;
    let secrets = Secrets::read()?;
    let mut matches = secrets
        .apply(command())
        .try_get_matches()
        .map_err(|error| with_origin(error, &environment, &secrets))?;
    let cli = Cli::from_arg_matches_mut(&mut matches.clone())?;
    // A command may have commands of its own: the innermost has the options.
    while let Some((_, inner)) = matches.remove_subcommand() {
        matches = inner;
    }
    Ok(Invocation {
        command: cli.command,
        matches,
        environment,
        secrets: secrets.names(),
    })
}

fn command() -> clap::Command {
    let command = SHOWN.iter().fold(Cli::command(), |command, (name, shown)| {
        command.mut_subcommand(name, |command| showing(command, shown))
    });
    command.mut_subcommand("simnet", |command| {
        ["serve", "record"].iter().fold(command, |command, name| {
            command.mut_subcommand(name, |command| showing(command, &["SKYTIDE_"]))
        })
    })
}

/// Hides the options that do not begin so.
fn showing(command: clap::Command, shown: &[&str]) -> clap::Command {
    command.mut_args(|arg| {
        let id = arg.get_id().as_str().to_owned();
        let option = arg.get_env().is_some();
        let matters = shown.iter().any(|prefix| id.starts_with(prefix));
        let hidden = arg.is_hide_set() || (option && !matters);
        arg.hide(hidden)
    })
}

/// Reports where a bad value came from if it was no flag. Shows no secret, and suggests no flag that the command ignores.
fn with_origin(mut error: clap::Error, environment: &Environment, secrets: &Secrets) -> Failure {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    if error.kind() == ErrorKind::UnknownArgument {
        without_hidden(&mut error, &command(), std::env::args().skip(1));
        return error.into();
    }
    let Some(ContextValue::String(arg)) = error.get(ContextKind::InvalidArg) else {
        return error.into();
    };
    let flag = arg.split(' ').next().unwrap_or_default().to_owned();
    let option = options().into_iter().find(|option| option.flag == flag);
    let Some(OptionDoc { name, secret, .. }) = option else {
        return error.into();
    };
    if let (true, Some(ContextValue::String(value))) =
        (secret, error.get(ContextKind::InvalidValue))
    {
        let shown = ContextValue::String(masked(value));
        error.insert(ContextKind::InvalidValue, shown);
    }
    let is_flag = std::env::args().any(|it| it == flag || it.starts_with(&format!("{flag}=")));
    let file = secrets
        .names()
        .contains(&name)
        .then(|| format!("the file that {name}_FILE names"));
    let origin = file.or_else(|| environment.origin(&name).map(str::to_owned));
    if let Some(origin) = origin
        && !is_flag
    {
        note(&format!("the value of {name} comes from {origin}"));
    }
    error.into()
}

/// Removes the suggestion of a flag that the command accepts but does not use: `--help` does not show it either.
fn without_hidden(
    error: &mut clap::Error,
    command: &clap::Command,
    words: impl Iterator<Item = String>,
) {
    use clap::error::{ContextKind, ContextValue};
    let Some(ContextValue::String(flag)) = error.get(ContextKind::SuggestedArg) else {
        return;
    };
    let innermost = words.fold(command, |command, word| {
        command.find_subcommand(&word).unwrap_or(command)
    });
    let long = flag.trim_start_matches('-');
    let suggested = innermost
        .get_arguments()
        .find(|arg| arg.get_long() == Some(long));
    if suggested.is_some_and(clap::Arg::is_hide_set) {
        error.remove(ContextKind::SuggestedArg);
    }
}
