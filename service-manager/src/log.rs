//! Where the daemon's messages go: to the journal where there is one, to standard error otherwise.

use std::error::Error;
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use clap::{Args, ValueEnum};
use rustix::event::{PollFd, PollFlags, poll};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// What the command line says of the log.
#[derive(Debug, Clone, Copy, Args)]
pub struct LogOptions {
    /// The least important messages to log
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: LogLevel,
    /// Where to log to; auto is the journal if systemd connected standard error to it
    #[arg(long, value_name = "TARGET", default_value = "auto")]
    log_target: LogTarget,
}

impl LogOptions {
    /// Starts to log, as the daemon of this name.
    pub fn start(self, daemon: &'static str) {
        set_level(self.log_level.number());
        start(daemon, self.log_target);
    }
}

/// What `--log-level` takes.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogLevel {
    Emerg,
    Alert,
    Crit,
    Err,
    Warning,
    Notice,
    Info,
    Debug,
}

impl LogLevel {
    /// The number of the level, 0 to 7.
    fn number(self) -> u8 {
        match self {
            Self::Emerg => 0,
            Self::Alert => 1,
            Self::Crit => 2,
            Self::Err => 3,
            Self::Warning => 4,
            Self::Notice => 5,
            Self::Info => 6,
            Self::Debug => 7,
        }
    }
}

/// What `--log-target` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogTarget {
    /// The journal if systemd connected standard error to it, standard error otherwise.
    Auto,
    /// The journal.
    Journal,
    /// Standard error.
    Stderr,
}

/// The least important level that is logged, as syslog(3) counts: 3 error, 4 warning, 6 informational, 7 debug.
static LEVEL: AtomicU8 = AtomicU8::new(6);

/// The level in force, 0 to 7.
pub fn level() -> u8 {
    LEVEL.load(Ordering::Relaxed)
}

/// Sets the level; 7 at most.
pub fn set_level(level: u8) {
    LEVEL.store(level.min(7), Ordering::Relaxed);
    tracing::callsite::rebuild_interest_cache();
}

fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// The crates of this suite that write to the log.
const OURS: [&str; 7] = [
    "machined",
    "userdb_machined",
    "resolve_machined",
    "service_manager",
    "varlink_server",
    "dbus_server",
    "closer",
];

struct BelowLevel;

impl<S> Filter<S> for BelowLevel {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        // What the libraries say of themselves is for their authors.
        let ours = OURS.iter().any(|krate| metadata.target().starts_with(krate));
        priority(*metadata.level()) <= if ours { level() } else { level().min(4) }
    }
}

/// Where messages go, in the words of org.freedesktop.LogControl1(5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogDestination {
    /// Where they went at the start.
    Auto,
    /// To the journal.
    Journal,
    /// To standard error.
    Console,
    /// To standard error, each with the `<N>` prefix of sd-daemon(3).
    PrefixedConsole,
    /// Nowhere.
    Null,
}

impl LogDestination {
    const NAMES: [(Self, &'static str); 5] = [
        (Self::Auto, "auto"),
        (Self::Journal, "journal"),
        (Self::Console, "console"),
        (Self::PrefixedConsole, "console-prefixed"),
        (Self::Null, "null"),
    ];

    /// The destination of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(destination, _)| *destination)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(known, _)| *known == self).map_or("", |(_, name)| *name)
    }

    /// Its place in the table of names.
    fn number(self) -> u8 {
        let place = Self::NAMES.iter().position(|(known, _)| *known == self);
        place.and_then(|place| u8::try_from(place).ok()).unwrap_or_default()
    }
}

/// Where messages go now, by its place in the table of names.
static DESTINATION: AtomicU8 = AtomicU8::new(0);

/// Where messages go.
pub fn destination() -> LogDestination {
    let number = usize::from(DESTINATION.load(Ordering::Relaxed));
    LogDestination::NAMES.get(number).map_or(LogDestination::Auto, |(destination, _)| *destination)
}

/// Has messages go elsewhere.
pub fn set_destination(destination: LogDestination) {
    DESTINATION.store(destination.number(), Ordering::Relaxed);
}

/// Writes messages where they go.
struct Output {
    journal: Option<Journal>,
    /// What `auto` is.
    auto: LogDestination,
}

impl<S: Subscriber> Layer<S> for Output {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let destination = match destination() {
            LogDestination::Auto => self.auto,
            other => other,
        };
        match (destination, &self.journal) {
            (LogDestination::Null, _) => {}
            (LogDestination::Journal, Some(journal)) => journal.write(event),
            (LogDestination::PrefixedConsole, _) => Line { prefix: true }.write(event),
            _ => Line { prefix: false }.write(event),
        }
    }
}

/// A line on standard error, with the `<N>` prefix of sd-daemon(3) where no human reads it.
struct Line {
    prefix: bool,
}

impl Line {
    fn write(&self, event: &Event<'_>) {
        let mut line = String::new();
        if self.prefix {
            let _ = write!(line, "<{}>", priority(*event.metadata().level()));
        }
        event.record(&mut Text(&mut line));
        let mut line = line.into_bytes();
        line.truncate(LINE_MAX);
        line.push(b'\n');
        let stderr = std::io::stderr();
        if is_writable(&stderr) {
            // There is nobody to tell that it cannot be told.
            let _ = std::io::Write::write_all(&mut stderr.lock(), &line);
        }
    }
}

/// With its end a line fits into any pipe that has room at all, `PIPE_BUF` of pipe(7).
const LINE_MAX: usize = 4095;

/// Whether a line can be written now. A message that nobody reads is lost, rather than the daemon held up.
fn is_writable(stderr: &std::io::Stderr) -> bool {
    let now = rustix::event::Timespec::default();
    let mut files = [PollFd::new(stderr, PollFlags::OUT)];
    poll(&mut files, Some(&now)).is_ok_and(|ready| ready > 0)
}

struct Text<'a>(&'a mut String);

impl tracing::field::Visit for Text<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}");
        }
    }
}

/// Where the journal takes messages, systemd.journal-fields(7) and "Native Journal Protocol".
const JOURNAL: &str = "/run/systemd/journal/socket";

/// Writes to the journal, and never waits for it: a journal that is full, frozen or gone loses the message.
struct Journal(UnixDatagram);

impl Journal {
    fn connect() -> std::io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self(socket))
    }
}

static IDENTIFIER: OnceLock<&str> = OnceLock::new();

/// What messages are found by in the journal: the name of the daemon.
pub fn identifier() -> &'static str {
    IDENTIFIER.get().copied().unwrap_or_default()
}

impl Journal {
    fn write(&self, event: &Event<'_>) {
        // The facility is LOG_AUTH, as the original has it.
        let mut entry = Entry(b"SYSLOG_FACILITY=4\n".to_vec());
        entry.field("SYSLOG_IDENTIFIER", &identifier());
        entry.field("PRIORITY", &priority(*event.metadata().level()));
        event.record(&mut entry);
        // By path, so that a journal that was restarted is found again.
        let _ = self.0.send_to(&entry.0, JOURNAL);
    }
}

/// A message of fields, each a line, or its name, its length and its value where that has lines of its own.
struct Entry(Vec<u8>);

impl Entry {
    fn field(&mut self, name: &str, value: &dyn std::fmt::Display) {
        let value = value.to_string();
        self.0.extend(name.bytes().map(|byte| byte.to_ascii_uppercase()));
        if value.contains('\n') {
            self.0.push(b'\n');
            self.0.extend(u64::try_from(value.len()).unwrap_or_default().to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend(value.bytes());
        self.0.push(b'\n');
    }
}

impl tracing::field::Visit for Entry {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.field(field.name(), &format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &tracing::field::Field, value: &str) {
        self.field(field.name(), &value);
    }
}

/// Whether standard error is the stream of this device and inode number, `$JOURNAL_STREAM` of systemd.exec(5). The variable
/// alone says nothing: whoever is started by a service, in a terminal too, has it of that service.
fn is_journal(stream: Option<&str>) -> bool {
    let is_it = |(device, inode): (&str, &str)| {
        let stderr = rustix::fs::fstat(std::io::stderr()).ok()?;
        Some(device.parse() == Ok(stderr.st_dev) && inode.parse() == Ok(stderr.st_ino))
    };
    stream.and_then(|stream| stream.split_once(':')).and_then(is_it).unwrap_or(false)
}

fn start(daemon: &'static str, target: LogTarget) {
    IDENTIFIER.get_or_init(|| daemon);
    let journal = Path::new(JOURNAL).exists().then(Journal::connect).and_then(Result::ok);
    let wants_journal = match target {
        LogTarget::Auto => is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref()),
        LogTarget::Journal => true,
        LogTarget::Stderr => false,
    };
    let auto = match (wants_journal && journal.is_some(), std::io::stderr().is_terminal()) {
        (true, _) => LogDestination::Journal,
        (false, true) => LogDestination::Console,
        (false, false) => LogDestination::PrefixedConsole,
    };
    if target != LogTarget::Auto {
        set_destination(auto);
    }
    tracing_subscriber::registry().with(Output { journal, auto }.with_filter(BelowLevel)).init();
}

/// Says why a process ends that does so at once.
///
/// By standard error where that leads to the journal, which knows whose that is. Of a message at its socket it asks the kernel
/// after it has read it, and may find nobody any more; `systemctl status` and `journalctl --unit` would not show it.
pub fn say_last(text: &str) {
    let is_for_journal = matches!(destination(), LogDestination::Auto | LogDestination::Journal);
    if is_for_journal && is_journal(std::env::var("JOURNAL_STREAM").ok().as_deref()) {
        set_destination(LogDestination::PrefixedConsole);
    }
    tracing::error!("{text}");
}

/// An error and what caused it, in one line.
pub fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_that_logs_is_known_to_the_filter() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut log: Vec<String> = std::fs::read_dir(workspace)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| {
                let manifest = std::fs::read_to_string(entry.path().join("Cargo.toml")).unwrap_or_default();
                manifest.lines().any(|line| line.starts_with("tracing.workspace"))
            })
            .map(|entry| entry.file_name().into_string().unwrap().replace('-', "_"))
            .collect();
        let mut known = OURS.map(str::to_owned).to_vec();
        log.sort();
        known.sort();
        assert_eq!(log, known);
    }

    #[test]
    fn a_destination_has_one_name() {
        for (destination, name) in LogDestination::NAMES {
            assert_eq!(LogDestination::from_name(name), Some(destination));
            assert_eq!(destination.name(), name);
        }
        for unknown in ["", "kmsg", "syslog", "stderr", "Journal"] {
            assert_eq!(LogDestination::from_name(unknown), None);
        }
    }

    #[test]
    fn a_value_with_lines_of_its_own_is_told_by_its_length() {
        let mut entry = Entry(Vec::new());
        entry.field("message", &"one");
        entry.field("name", &"a\nb");
        assert_eq!(entry.0, b"MESSAGE=one\nNAME\n\x03\0\0\0\0\0\0\0a\nb\n");
    }
}
