//! The command line: what a person types and reads.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use kringle_runtime::{Fs, Host, RealOptions};
use nix::sys::signal::{SigSet, Signal};

use crate::broker::{self, Started};
use crate::config::{BrokerConfig, Loaded, Notice, list_settings};

/// A Kafka broker on io_uring.
#[derive(Parser)]
#[command(name = "kringle", version, about, long_about = None)]
struct Arguments {
    /// A Kafka server.properties; without one: a broker on 127.0.0.1:9092 with its data in ./data
    properties: Option<PathBuf>,

    /// Replaces a setting of the file
    #[arg(long = "override", value_name = "KEY=VALUE", value_parser = key_value)]
    overrides: Vec<(String, String)>,

    /// Prints every setting and what it does here, as docs/settings.md has it, and ends
    #[arg(long)]
    list_settings: bool,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected key=value")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// Runs the broker; the exit code is 0 after an ordered stop and 1 after anything else.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list_settings {
        say(std::io::stdout(), list_settings().trim_end());
        return ExitCode::SUCCESS;
    }
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .with_target(false)
        .with_max_level(level())
        // It would panic where nobody listens to the standard error any more.
        .log_internal_errors(false)
        .init();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(std::io::stderr(), &format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Says a line to a person, who may be gone: a closed pipe must not end a broker, nor keep it from stopping.
fn say(mut to: impl Write, line: &str) {
    if writeln!(to, "{line}").and_then(|()| to.flush()).is_err() {
        tracing::debug!("nobody listens: {line}");
    }
}

/// `KRINGLE_LOG=debug` shows why connections end, and more.
fn level() -> tracing::Level {
    std::env::var("KRINGLE_LOG").ok().and_then(|level| level.parse().ok()).unwrap_or(tracing::Level::INFO)
}

fn run(arguments: &Arguments) -> Result<(), String> {
    // Blocked before any thread starts, so that only the wait below sees them.
    let stop_signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    stop_signals.thread_block().map_err(|error| format!("signals cannot be blocked: {error}"))?;

    let mut config = load(arguments, &Fs::real())?;
    let options = RealOptions { driver: config.io_driver, busy_poll: config.busy_poll, ..RealOptions::default() };
    let host = Host::real(options).map_err(|unsupported| unsupported.to_string())?;
    if let Some(unsupported) = host.instead_of_ring() {
        tracing::warn!("{unsupported}. Until then epoll and threads do its work (kringle.io.driver=auto)");
    }
    config.set_hostname(|| host.canonical_name());
    let mut broker = broker::start(&host, config).map_err(|error| error.to_string())?;
    let started = kringle_runtime::block_on(broker.started()).map_err(|error| error.to_string())?;
    say(std::io::stdout(), &banner(&started, &host.describe()));

    let stopper = broker.stopper();
    let watch = move || {
        if let Ok(signal) = stop_signals.wait() {
            stopper.stop();
            say(std::io::stderr(), &format!("{signal}: stopping"));
        }
    };
    let watcher = std::thread::Builder::new().name("signals".to_owned()).spawn(watch);
    // It waits for a signal as long as the process lives; nobody waits for it.
    drop(watcher.map_err(|error| format!("no thread waits for signals: {error}"))?);
    let end = kringle_runtime::block_on(broker.ended());
    if end.is_ok() {
        say(std::io::stdout(), "stopped");
    }
    end
}

fn load(arguments: &Arguments, fs: &Fs) -> Result<BrokerConfig, String> {
    let text = match &arguments.properties {
        None => None,
        Some(path) => {
            let text = fs.read_to_string(path);
            Some(text.map_err(|error| format!("{}: {error}", path.display()))?)
        }
    };
    let Loaded { config, notices } =
        BrokerConfig::load(text.as_deref(), &arguments.overrides).map_err(|error| error.to_string())?;
    let (mut idle, mut meaningless) = (Vec::new(), Vec::new());
    for notice in notices {
        match notice {
            Notice::Unknown(name) => tracing::warn!("{name}: no such setting; ignored"),
            Notice::NotActing(name) => idle.push(name),
            Notice::MeaninglessHere(name) => meaningless.push(name),
        }
    }
    if !idle.is_empty() {
        tracing::info!("settings that do nothing yet: {}", idle.join(", "));
    }
    if !meaningless.is_empty() {
        tracing::info!("settings without a meaning here: {}", meaningless.join(", "));
    }
    Ok(config)
}

fn banner(started: &Started, kernel: &str) -> String {
    let listeners: Vec<String> =
        started.listeners.iter().map(|(name, address)| format!("{name}://{address}")).collect();
    let mut text = format!(
        "kringle {} (Kafka 4.3.1 protocol), node {} of cluster {}\n  listeners  {}\n  data       {} ({}), {} partitions\n  shards     {} on {}\n",
        env!("CARGO_PKG_VERSION"),
        started.node_id,
        started.cluster_id,
        listeners.join(", "),
        started.log_dir.display(),
        started.filesystem,
        started.partitions,
        started.shards,
        kernel,
    );
    if let Some(admin) = started.admin {
        text.push_str(&format!("  metrics    http://{admin}/metrics\n"));
    }
    let first = started.listeners.first().map_or_else(String::new, |(_, address)| match address.ip() {
        ip if ip.is_unspecified() => format!("localhost:{}", address.port()),
        _ => address.to_string(),
    });
    text.push_str(&format!(
        "  ready in {} ms. Try it:  echo hello | kcat -b {first} -t demo -P && kcat -b {first} -t demo -C -e",
        started.took.as_millis()
    ));
    text
}
