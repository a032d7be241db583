//! From the command line to a running daemon, and to its end.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use clap::Parser;
use libmachine::ProcessHandle;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;
use tracing::{debug, error, info, warn};
use varlink_server::{Listener, Server, Settings, service};

use crate::activation;
use crate::addresses::{Keeper, Notifications, Watch as Source};
use crate::cli::{BusChoice, Options};
use crate::daemon::{Daemon, Surroundings, UserNamespace};
use crate::log::{self, with_causes};
use crate::publisher::Publisher;
use crate::restore::restore;
use crate::varlink;
use crate::watch::Watch;

/// Where the daemon is called.
pub const SOCKET: &str = "/run/systemd/machine/io.systemd.Machine";
/// Its second name, which clients of images use.
pub const IMAGE_SOCKET: &str = "/run/systemd/machine/io.systemd.MachineImage";

/// Why the daemon could not start, or had to give up.
#[derive(Debug)]
struct Failure {
    what: String,
    cause: Option<Box<dyn std::error::Error>>,
}

impl Failure {
    fn new(what: impl Into<String>, cause: impl std::error::Error + 'static) -> Self {
        Self { what: what.into(), cause: Some(Box::new(cause)) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_deref()
    }
}

/// Runs the daemon until it is told to stop.
pub fn main() -> ExitCode {
    let options = Options::parse();
    log::set_level(options.log_level.number());
    log::start(options.log_target);
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return give_up(&Failure::new("cannot make an event loop", error)),
    };
    match LocalSet::new().block_on(&runtime, run(options)) {
        Ok(()) => {
            // A thread that hangs in a container's file system must not keep the daemon from ending.
            runtime.shutdown_background();
            ExitCode::SUCCESS
        }
        Err(failure) => give_up(&failure),
    }
}

fn give_up(failure: &Failure) -> ExitCode {
    error!("machined: {}", with_causes(failure));
    ExitCode::FAILURE
}

async fn run(options: Options) -> Result<(), Failure> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    raise_descriptor_limit();
    let mut terminate = signals(SignalKind::terminate())?;
    let mut interrupt = signals(SignalKind::interrupt())?;

    let publisher = Publisher::open().map_err(|error| {
        Failure::new("cannot open the registry (is this root, or a user namespace in which it is?)", error)
    })?;
    // Before anything is read or written: what is there may be in the middle of being written.
    publisher.lock().map_err(|error| Failure::new("another machined keeps the registry", error))?;
    let (notifications, source) = match Notifications::open() {
        Ok(notifications) => (Some(notifications), Source::Notifications),
        Err(error) => {
            warn!("Addresses are looked at once per second: {}", with_causes(&error));
            (None, Source::Polling)
        }
    };
    let keeper =
        Keeper::new(source).map_err(|error| Failure::new("cannot hold on to the host's network", error))?;
    let watch = Watch::new().map_err(|error| Failure::new("cannot watch processes", error))?;
    let daemon = Rc::new(Daemon::new(surroundings(&options)?, publisher, keeper, watch));
    restore(&daemon).map_err(|error| Failure::new("cannot read the registry", error))?;

    let interfaces = vec![varlink::machine::interface(), service::interface()];
    let server = Server::new(daemon.clone(), varlink::ABOUT, interfaces, Settings::of_process())
        .map_err(|error| Failure::new("interface descriptions do not fit", error))?;
    for listener in listeners()? {
        tokio::task::spawn_local(server.clone().serve(listener));
    }
    daemon.follow_restored();
    if options.bus == BusChoice::System {
        let daemon = daemon.clone();
        tokio::task::spawn_local(async move { daemon.bus.run(&daemon).await });
    }
    info!("Serving {} machines.", daemon.count());
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        debug!("Nobody to tell that the daemon is ready: {error}");
    }

    tokio::select! {
        failed = daemon.clone().mind_leaders() => {
            failed.map_err(|error| Failure::new("cannot watch processes any more", error))?;
        }
        () = daemon.keeper.run(&daemon, notifications) => {}
        () = daemon.os_releases.forget_old() => {}
        () = daemon.mind_unpublished() => {}
        () = daemon.late_maps.run(&daemon) => {}
        () = watchdog() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // Nobody to tell is no problem at the end either.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    Ok(())
}

/// Tells the service manager that the event loop turns, if it wants to know, sd_watchdog_enabled(3).
async fn watchdog() {
    let Some(interval) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    loop {
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        tokio::time::sleep(interval / 2).await;
    }
}

fn signals(kind: SignalKind) -> Result<tokio::signal::unix::Signal, Failure> {
    signal(kind).map_err(|error| Failure::new("cannot handle signals", error))
}

fn surroundings(options: &Options) -> Result<Surroundings, Failure> {
    let boot_id =
        libmachine::boot_id().map_err(|error| Failure::new("cannot read the boot id from /proc", error))?;
    let pid_namespace = rustix::fs::stat("/proc/self/ns/pid").ok().map(|stat| stat.st_ino);
    // sd_booted(3).
    let systemd = Path::new("/run/systemd/system")
        .is_dir()
        .then(|| ProcessHandle::open(1).and_then(|init| init.control_group()).ok());
    Ok(Surroundings {
        uid: rustix::process::geteuid().as_raw(),
        boot_id,
        pid_namespace,
        user_namespace: user_namespace(),
        systemd: systemd.flatten(),
        grace: options.grace,
    })
}

fn user_namespace() -> Option<UserNamespace> {
    let own = ProcessHandle::open(rustix::process::getpid().as_raw_nonzero().get()).ok()?;
    let (uid_map, gid_map) = (own.id_map("uid_map").ok()?, own.id_map("gid_map").ok()?);
    Some(UserNamespace { inode: own.user_namespace()?, uid_map, gid_map })
}

/// One descriptor per machine and per connection: as many as root allows. Children start with what they had.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        warn!("Cannot raise the limit of open files: {error}");
    }
}

/// The sockets that systemd made, if it did; otherwise one made here.
fn listeners() -> Result<Vec<Listener>, Failure> {
    let passed = activation::sockets().map_err(|error| Failure::new("cannot take over sockets", error))?;
    if passed.is_empty() {
        let cannot = |error| Failure::new(format!("cannot listen at {SOCKET}"), error);
        let listener = varlink_server::listen_at(Path::new(SOCKET)).map_err(cannot)?;
        varlink_server::alias(Path::new(IMAGE_SOCKET), Path::new(SOCKET)).map_err(cannot)?;
        return Ok(vec![listener]);
    }
    let adopt =
        |fd| varlink_server::listen_on(fd).map_err(|error| Failure::new("cannot take over a socket", error));
    passed.into_iter().map(adopt).collect()
}
