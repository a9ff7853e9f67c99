//! The command line: the commands, each with the options of `core::config`.

mod audit;
pub mod doctor;
pub mod keys;
#[cfg(feature = "demo")]
pub mod simnet;

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use skytide_core::config::{Config, OptionDoc, Span, effective_settings, masked, options};

use crate::environment::{self, Environment};
use crate::failure::Failure;
use crate::secrets::Secrets;
use crate::terminal::note;
pub use audit::Audit;

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

/// A command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run all services in one process: read the relay, count, serve the API and the start page.
    Up(Box<Up>),
    /// Run one service: read the relay, write the log.
    Ingest(Box<Config>),
    /// Run one service: read the log, count, write the views.
    Index(Box<Config>),
    /// Run one service: run the jobs.
    Schedule(Box<Schedule>),
    /// Run one service: serve the API and the start page.
    Serve(Box<Config>),
    /// Send recordings through ingest, log, dataflow and store as fast as possible.
    Replay(Box<Replay>),
    /// Record the frames of a relay to a file, for `replay`.
    Record(Box<Record>),
    /// Write every view of a store to files.
    Export(Box<Export>),
    /// Count rows again, from live records, and report those that differ: exits with 0 if there are
    /// none, 1 if there are some, 2 if no audit was possible. Also beside a running Skytide.
    Audit(Box<Audit>),
    /// Serve or record a simulated network for tests and trials: real frames, generated from a
    /// seed.
    #[cfg(feature = "demo")]
    Simnet(Box<simnet::Simnet>),
    /// Add, list and revoke keys of the API.
    Keys(Box<keys::Keys>),
    /// Check whether a service on this machine is ready: exits with 0 if it is, else with 1.
    Probe(Box<Probe>),
    /// Check configuration, servers, disk, clock, permissions and memory, and say what to fix:
    /// exits with 0 if no problem was found, else with 1.
    Doctor(Box<doctor::Doctor>),
    /// Show in the terminal what the dataflow of a running process does, and what holds it up.
    Top(Box<Top>),
    /// Print the value of every option and where it comes from.
    Config(Box<Show>),
}

/// Arguments of `up`.
#[derive(Debug, Args)]
pub struct Up {
    /// The demo.
    #[cfg(feature = "demo")]
    #[command(flatten)]
    pub demo: simnet::Demo,

    /// The options.
    #[command(flatten)]
    pub config: Config,
}

/// Arguments of `schedule`.
#[derive(Debug, Args)]
pub struct Schedule {
    /// Run this job once, now, print its report, and exit: with 0 if it succeeded, 1 if it failed,
    /// 3 if it already runs. If another process has the embedded store open, that process runs it.
    #[arg(long, value_name = "JOB")]
    pub run: Option<String>,

    /// Print when each job is due and the result of its last run, and exit.
    #[arg(long, conflicts_with_all = ["run", "history"])]
    pub list: bool,

    /// Print the newest runs of this job, newest first, and exit.
    #[arg(long, value_name = "JOB", conflicts_with = "run")]
    pub history: Option<String>,

    /// The options.
    #[command(flatten)]
    pub config: Config,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// Recordings, plain or zstd, in the order of the stream that they form together. `-` is
    /// standard input; a pipe or a FIFO works, too.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Write every view to this folder afterwards.
    #[arg(long, value_name = "DIR")]
    pub export: Option<PathBuf>,

    /// Write CSV instead of NDJSON.
    #[arg(long, requires = "export")]
    pub csv: bool,

    /// Store log and views in this folder, and continue with what it holds. Without this option
    /// they are in a scratch folder, which is removed at the end.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,

    /// The options.
    #[command(flatten)]
    pub config: Config,
}

/// Arguments of `record`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("until").required(true).multiple(true))]
pub struct Record {
    /// The file (zstd). If it exists, recording continues after its last frame.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Stop after this time, such as 90s, 10m or 36h.
    #[arg(long = "for", value_name = "TIME", group = "until")]
    pub time_max: Option<Span>,

    /// Stop when the file holds this many frames.
    #[arg(long, value_name = "FRAMES", group = "until")]
    pub frames: Option<u64>,

    /// The options.
    #[command(flatten)]
    pub config: Config,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
pub struct Export {
    /// The folder to write to. It is created if it does not exist.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,

    /// Write CSV instead of NDJSON.
    #[arg(long)]
    pub csv: bool,

    /// The options.
    #[command(flatten)]
    pub config: Config,
}

/// Arguments of `probe`.
#[derive(Debug, Args)]
pub struct Probe {
    /// Check only whether the process is alive (`/healthz`), not whether it is ready (`/readyz`).
    #[arg(long)]
    pub live: bool,

    /// How long a response may take.
    #[arg(long, value_name = "TIME", default_value = "3s")]
    pub timeout: Span,

    /// The options.
    #[command(flatten)]
    pub config: Config,
}

/// Arguments of `top`.
#[derive(Debug, Args)]
pub struct Top {
    /// The API to ask, such as http://server:7780. By default the one on this machine, on the port
    /// of API_ADDRESS.
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,

    /// A key with the scope `read`, for an API that wants one. Other users of this machine can see
    /// arguments, so the variable or --key-file is safer.
    #[arg(
        id = "SKYTIDE_KEY",
        long = "key",
        value_name = "KEY",
        env = "SKYTIDE_KEY"
    )]
    #[arg(hide_env_values = true)]
    pub key: Option<String>,

    /// A file with the key. It is used instead of SKYTIDE_KEY.
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// Time between two updates, at least 1s.
    #[arg(long, value_name = "TIME", default_value = "1s")]
    pub interval: Span,

    /// Print everything once, as plain text, and exit. So it does if standard input or output is no
    /// terminal.
    #[arg(long)]
    pub once: bool,

    /// The options.
    #[command(flatten)]
    pub config: Config,
}

/// Arguments of `config`.
#[derive(Debug, Args)]
pub struct Show {
    /// Print the reference page of all options instead.
    #[arg(long)]
    pub markdown: bool,

    /// The options.
    #[command(flatten)]
    pub config: Config,
}

/// The options that a command uses, by prefixes of their names. A command accepts the other
/// options, too, but its `--help` does not show them.
const SHOWN: &[(&str, &[&str])] = &[
    ("ingest", &["SKYTIDE_", "STORE_", "FIREHOSE_"]),
    ("index", &["SKYTIDE_", "STORE_", "INDEXER_"]),
    ("schedule", &["SKYTIDE_", "STORE_", "SCHEDULER_"]),
    ("serve", &["SKYTIDE_", "STORE_", "API_"]),
    ("replay", &["SKYTIDE_", "FIREHOSE_", "INDEXER_"]),
    ("record", &["SKYTIDE_", "FIREHOSE_"]),
    ("export", &["SKYTIDE_", "STORE_"]),
    ("audit", &["SKYTIDE_", "STORE_"]),
    ("probe", &["SKYTIDE_PROBE_", "API_ADDRESS"]),
    ("top", &["SKYTIDE_KEY", "API_ADDRESS"]),
];

/// The parsed command line.
pub struct Invocation {
    /// The command with its options.
    pub command: Command,
    /// The matches of the command, which contain the source of each value.
    pub matches: ArgMatches,
    /// What the environment and `.env` contain, besides the values of options.
    pub environment: Environment,
    /// The options whose value was read from a secret file.
    pub secrets: Vec<String>,
}

impl Invocation {
    /// The options.
    pub fn config(&self) -> &Config {
        self.command.config()
    }

    /// Whether an option was set by a flag, the environment or a file.
    pub fn is_set(&self, name: &str) -> bool {
        let source = self.matches.value_source(name);
        source.is_some_and(|source| source != ValueSource::DefaultValue)
    }

    /// The value of every option and where it comes from, one per line. Secrets are masked.
    pub fn settings_table(&self) -> String {
        let settings =
            effective_settings(&self.matches, &self.environment.from_file, &self.secrets);
        let rows: Vec<[String; 3]> = settings
            .into_iter()
            .map(|it| {
                let value = it.value.unwrap_or_else(|| "(unset)".to_owned());
                [it.name, value, it.source.to_owned()]
            })
            .collect();
        let width = |column: usize| {
            let widths = rows.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or_default()
        };
        let (names, values) = (width(0), width(1));
        rows.iter()
            .map(|[name, value, source]| format!("{name:names$}  {value:values$}  {source}\n"))
            .collect()
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
            Self::Audit(audit) => &audit.config,
            #[cfg(feature = "demo")]
            Self::Simnet(simnet) => simnet.config(),
            Self::Keys(keys) => keys.config(),
            Self::Probe(probe) => &probe.config,
            Self::Doctor(doctor) => &doctor.config,
            Self::Top(top) => &top.config,
            Self::Config(show) => &show.config,
        }
    }

    /// The name of the command.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Up(_) => "up",
            Self::Ingest(_) => "ingest",
            Self::Index(_) => "index",
            Self::Schedule(_) => "schedule",
            Self::Serve(_) => "serve",
            Self::Replay(_) => "replay",
            Self::Record(_) => "record",
            Self::Export(_) => "export",
            Self::Audit(_) => "audit",
            #[cfg(feature = "demo")]
            Self::Simnet(_) => "simnet",
            Self::Keys(_) => "keys",
            Self::Probe(_) => "probe",
            Self::Doctor(_) => "doctor",
            Self::Top(_) => "top",
            Self::Config(_) => "config",
        }
    }

    /// Whether the command runs a dataflow.
    pub fn runs_dataflow(&self) -> bool {
        matches!(self, Self::Up(_) | Self::Index(_) | Self::Replay(_))
    }

    /// Whether the command does one thing and exits, unlike a service.
    pub fn is_tool(&self) -> bool {
        match self {
            Self::Up(_) | Self::Ingest(_) | Self::Index(_) | Self::Serve(_) | Self::Schedule(_) => {
                false
            }
            Self::Replay(_)
            | Self::Record(_)
            | Self::Export(_)
            | Self::Audit(_)
            | Self::Keys(_)
            | Self::Probe(_)
            | Self::Doctor(_)
            | Self::Top(_)
            | Self::Config(_) => true,
            #[cfg(feature = "demo")]
            Self::Simnet(_) => true,
        }
    }
}

/// Reads `.env`, the environment, the secret files and the command line.
///
/// # Errors
///
/// A name or a value is not valid.
pub fn read() -> Result<Invocation, Failure> {
    let environment = environment::load(".env".as_ref())?;
    let secrets = Secrets::read()?;
    let mut matches = secrets
        .apply(command())
        .try_get_matches()
        .map_err(|error| with_origin(error, &environment, &secrets))?;
    let cli = Cli::from_arg_matches_mut(&mut matches.clone())?;
    // A command can have subcommands. The innermost one has the options.
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

/// The command line as clap parses it: in each command, the options that it does not use are
/// hidden.
fn command() -> clap::Command {
    let command = SHOWN.iter().fold(Cli::command(), |command, (name, shown)| {
        command.mut_subcommand(name, |command| hide_unused(command, shown))
    });
    let command = command.mut_subcommand("keys", |command| {
        ["add", "list", "revoke"]
            .iter()
            .fold(command, |command, name| {
                command.mut_subcommand(name, |command| {
                    hide_unused(command, &["SKYTIDE_LOG", "STORE_DIR", "MONGODB_"])
                })
            })
    });
    #[cfg(feature = "demo")]
    let command = command.mut_subcommand("simnet", |command| {
        ["serve", "record"].iter().fold(command, |command, name| {
            command.mut_subcommand(name, |command| hide_unused(command, &["SKYTIDE_"]))
        })
    });
    command
}

/// Hides the options whose names have none of these prefixes.
fn hide_unused(command: clap::Command, shown: &[&str]) -> clap::Command {
    command.mut_args(|arg| {
        let id = arg.get_id().as_str().to_owned();
        let is_option = arg.get_env().is_some();
        let is_used = shown.iter().any(|prefix| id.starts_with(prefix));
        let hidden = arg.is_hide_set() || (is_option && !is_used);
        arg.hide(hidden)
    })
}

/// Converts an error of clap. Prints where an invalid value came from, unless it came from a flag.
/// Masks secrets, and removes the suggestion of a flag that the command ignores.
fn with_origin(mut error: clap::Error, environment: &Environment, secrets: &Secrets) -> Failure {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    if error.kind() == ErrorKind::UnknownArgument {
        remove_hidden_suggestion(&mut error, &command(), std::env::args().skip(1));
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

/// Removes the suggestion of a flag that the command accepts and does not use. Its `--help` does
/// not show the flag, either.
fn remove_hidden_suggestion(
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
