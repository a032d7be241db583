//! From the command line to a running daemon, and to its end.

use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use closer::Closer;
use libmachine::ProcessHandle;
use service_manager::{
    EndSignals, Failure, exit_status, give_large_memory_back, raise_descriptor_limit, ready, signals,
    sockets, stopping, watchdog,
};
use tokio::signal::unix::SignalKind;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};
use varlink_server::{Listener, Server, Settings, is_served, listen_privately_at, path_of, service};
use zbus::Connection;

use crate::addresses::{self, Keeper, Notifications, Watch as Source};
use crate::bus::{Bus, CallError, Which};
use crate::cli::Options;
use crate::daemon::{Daemon, Surroundings, UserNamespace};
use crate::dbus;
use crate::eviction;
use crate::group;
use crate::host_names;
use crate::image_workers;
use crate::inside::{self, Doorman, Inside};
use crate::journal::Note;
use crate::log::with_causes;
use crate::machines::Key;
use crate::operations::Operations;
use crate::places::Places;
use crate::predecessors;
use crate::publisher::Publisher;
use crate::restore::{Restored, restore};
use crate::systemd::Systemd;
use crate::user::{self, User};
use crate::vacancy::Vacancy;
use crate::varlink;
use crate::watch::Watch;

/// A socket that systemd-resolved asks for names. The original serves it itself, and may leave it behind (258); of ours,
/// resolve-machined does, where it is installed.
const RESOLVE_HOOK: &str = "/run/systemd/resolve.hook/io.systemd.Machine";

/// The exit status of a daemon whose place another one has, for which systemd does not start it again.
const NOT_CONFIGURED: u8 = 6;

/// How long after the start it is left to those who waited for it, before what nobody waits for is done.
const LULL: Duration = Duration::from_millis(100);

/// How long the start waits for a bus that is there, but does not answer. Others are served meanwhile.
const BUS_PATIENCE: Duration = Duration::from_secs(2);

/// How long the start waits for the lock of the registry, and how often it looks: what a killed daemon had just forked holds
/// it until it executes its program, and nothing tells when.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_LOOK: Duration = Duration::from_millis(10);

async fn lock(publisher: &Publisher) -> Result<(), registry::Error> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match publisher.lock() {
            Err(registry::Error::Io { source, .. })
                if source.kind() == ErrorKind::WouldBlock && Instant::now() < deadline =>
            {
                sleep(LOCK_LOOK).await;
            }
            done => return done,
        }
    }
}

/// Runs the daemon until it is told to stop.
pub fn main() -> ExitCode {
    let mode = std::env::args_os().nth(1);
    if mode.as_ref().is_some_and(|word| word == image_workers::MODE) {
        return image_workers::main();
    }
    if mode.as_ref().is_some_and(|word| word == addresses::LEASE_READER) {
        return addresses::read_leases();
    }
    if mode.is_some_and(|word| word == inside::ARGUMENT) {
        inside::main();
        return ExitCode::SUCCESS;
    }
    let options = Options::parse();
    if let Some(path) = &options.bus_introspect {
        return print_introspection(path);
    }
    let joined = options.bus().unwrap_or_else(|error| error.exit());
    // Before there is anything that a copy of this process should not have. Where it fails, one is made when it is needed.
    let doorman = inside::fork().ok();
    options.log.start("machined");
    if !options.user && eviction::is_out_of_place() {
        // By standard error, of which the journal knows the unit: a process that ends at once may be gone before the journal
        // asks whose message it was, and `systemctl status` would not show it.
        eprintln!(
            "systemd-machined has this place. To put machined there, type: systemctl enable --now machined"
        );
        return ExitCode::from(NOT_CONFIGURED);
    }
    give_large_memory_back();
    // Before there is anything that it must not have.
    let closer = closer::start();
    let closer =
        closer.map_err(|error| Failure::new("cannot start the process that closes descriptors", error));
    let ended = closer.and_then(|closer| service_manager::run(run(options, joined, closer, doorman)));
    exit_status(ended.map(|is_evicted| {
        if is_evicted {
            eviction::leave();
        }
    }))
}

/// `--bus-introspect`.
fn print_introspection(path: &str) -> ExitCode {
    let Some(text) = dbus::introspect(path) else {
        eprintln!("Object path {path} not found; 'list' names those that there are");
        return ExitCode::FAILURE;
    };
    if let Err(error) = io::stdout().write_all(text.as_bytes()) {
        // There is no log yet.
        eprintln!("machined: cannot print the description: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Returns whether the daemon has lost its place.
async fn run(
    options: Options,
    joined: Option<Which>,
    closer: Closer,
    doorman: Option<Doorman>,
) -> Result<bool, Failure> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // One descriptor per machine and per connection.
    raise_descriptor_limit();
    let mut end = EndSignals::handle()?;
    // Systemd's daemons take it for a command, of which there are none here. It must not be this one's end.
    let _control = signals(SignalKind::from_raw(libc::SIGRTMIN() + 18))?;
    // A limit on the size of files is an error where one is written, EFBIG.
    let _file_size = signals(SignalKind::from_raw(libc::SIGXFSZ))?;

    predecessors::end().await;
    let user = options.user.then(User::of_process).transpose()?;
    if user.as_ref().is_some_and(|user| user.systemd.is_none()) {
        group::make_below_own();
    }
    let places = user.as_ref().map_or_else(Places::system, |user| Places::user(&user.runtime));
    let publisher = Publisher::open(&places).map_err(cannot_open)?;
    // Before anything is read or written: what is there may be in the middle of being written.
    lock(&publisher).await.map_err(|error| Failure::new("another machined keeps the registry", error))?;
    let (notifications, source) = match Notifications::open() {
        Ok(notifications) => (Some(notifications), Source::Notifications),
        // What a user may not is not worth a warning at each start.
        Err(_) if user.is_some() => (None, Source::Polling),
        Err(error) => {
            warn!("Addresses are looked at once per second: {}", with_causes(&error));
            (None, Source::Polling)
        }
    };
    let keeper =
        Keeper::new(source).map_err(|error| Failure::new("cannot hold on to the host's network", error))?;
    let watch = Watch::new().map_err(|error| Failure::new("cannot watch processes", error))?;
    let vacancy = Vacancy::new().map_err(|error| Failure::new("cannot watch control groups", error))?;
    let daemon =
        Rc::new(Daemon::new(surroundings(&options, user.as_ref(), &places)?, publisher, watch, vacancy));
    let (keeper, systemd) = (Rc::new(keeper), Rc::new(Systemd::default()));
    let bus = Rc::new(Bus::with(joined.clone().unwrap_or(Which::System), closer.way()));
    // A user's systemd is spoken to without a bus: it is there where there is none, too.
    let manager = match &user {
        Some(user) => Rc::new(Bus::with(Which::Manager(user.private.clone()), closer.way())),
        None => bus.clone(),
    };
    let of_machines = daemon.clone();
    let inside = Inside::new(doorman, move |key| of_machines.control_group(key));
    let inside = inside
        .map_err(|error| Failure::new("cannot hear of who goes into machines", io::Error::from(error)))?;
    let operations = Operations::new(
        daemon.clone(),
        keeper.clone(),
        manager.clone(),
        systemd.clone(),
        Rc::new(inside),
        user.as_ref().map(|user| &user.images),
    );
    if joined.is_some() {
        join_bus(&bus, &systemd, &daemon, &operations);
    }
    if user.as_ref().is_some_and(|user| user.systemd.is_some()) {
        join_manager(&manager, &systemd);
    }
    daemon.set_reserved(host_names::read());
    let restored = restore(&daemon, &keeper).await;
    let restored = restored.map_err(|error| Failure::new("cannot read the registry", error))?;
    operations.give_memory_back();

    let interfaces = vec![
        varlink::machine::interface(),
        varlink::image::interface(),
        varlink::copying::interface(),
        varlink::image::progress::interface(),
        varlink::registry::interface(),
        service::interface(),
    ];
    let only = user.is_some().then_some(daemon.surroundings.uid);
    let settings = Settings { closer: Some(closer), only, ..Settings::of_process() };
    let server = Server::new(operations.clone(), varlink::ABOUT, interfaces, settings)
        .map_err(|error| Failure::new("interface descriptions do not fit", error))?;
    for listener in listeners(&places)? {
        tokio::task::spawn_local(server.clone().serve(listener));
    }
    operations.follow_restored();

    let eviction = if user.is_some() { None } else { eviction::watch() };
    tokio::select! {
        failed = daemon.mind_ends() => {
            failed.map_err(|error| Failure::new("cannot watch processes any more", error))?;
        }
        () = say_ready_and_alive(&daemon, &keeper, &bus, restored) => {}
        () = eviction::give_way(eviction.as_ref(), daemon.surroundings.systemd.as_ref(), &bus) => {}
        () = operations.run_services(notifications) => {}
        () = daemon.mind_unpublished() => {}
        () = host_names::follow(|reserved| daemon.set_reserved(reserved)) => {}
        () = end.came() => {}
    }
    stopping();
    daemon.leave_in_order();
    Ok(eviction.is_some_and(|eviction| eviction.has_happened().unwrap_or(false)))
}

/// Joins the bus whenever there is one.
fn join_bus(bus: &Rc<Bus>, systemd: &Rc<Systemd>, daemon: &Rc<Daemon>, operations: &Rc<Operations>) {
    bus.want();
    let (bus, systemd) = (bus.clone(), systemd.clone());
    let (daemon, operations) = (daemon.clone(), operations.clone());
    tokio::task::spawn_local(async move {
        bus.run(async |connection| introduce(&systemd, &daemon, &operations, connection).await).await;
    });
}

/// Listens to the systemd of a user, whenever it is there.
fn join_manager(manager: &Rc<Bus>, systemd: &Rc<Systemd>) {
    manager.want();
    let (manager, systemd) = (manager.clone(), systemd.clone());
    tokio::task::spawn_local(async move {
        manager
            .run(async |connection| {
                let (messages, listening) = (connection.into(), systemd.clone());
                tokio::task::spawn_local(dbus_server::listen(messages, move |message| {
                    listening.hear(message);
                }));
                systemd.listen_directly(connection).await
            })
            .await;
    });
}

/// Serves on a new connection to the bus, and listens to process 1. What comes before all machines are known waits for that.
async fn introduce(
    systemd: &Rc<Systemd>,
    daemon: &Rc<Daemon>,
    operations: &Rc<Operations>,
    connection: &Connection,
) -> Result<(), CallError> {
    let (listening, line) = (systemd.clone(), connection.clone());
    let serving = dbus::serve(operations.clone(), connection, move |message| {
        if listening.hear(message) {
            listening.subscribe(&line);
        }
    });
    let machines = daemon.clone();
    tokio::task::spawn_local(async move {
        machines.publisher().completed().await;
        serving.await;
    });
    if daemon.surroundings.systemd.is_some() && !daemon.surroundings.is_users {
        systemd.listen(connection).await?;
    }
    Ok(())
}

fn cannot_open(error: registry::Error) -> Failure {
    let what = match &error {
        registry::Error::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            "cannot open the registry (is this root, or a user namespace in which it is?)"
        }
        _ => "cannot open the registry",
    };
    Failure::new(what, error)
}

/// Says that the daemon is ready, once lookups find all there is and it has its name on the bus: who calls over the bus
/// right after the start must not have another daemon started for that. From then on says that it is alive, if somebody
/// wants to know.
async fn say_ready_and_alive(daemon: &Daemon, keeper: &Keeper<Key>, bus: &Bus, restored: Restored) {
    // What was left in order is looked at later, for what somebody else may have done to it. The bus was asked before,
    // and answers meanwhile. All others are served already.
    let tidied = async {
        if !restored.is_as_left {
            daemon.tidy().await;
        }
    };
    let _ = tokio::join!(timeout(BUS_PATIENCE, bus.at_hand()), tidied);
    info!("Serving {} machines.", daemon.count());
    ready();
    let later = async {
        sleep(LULL).await;
        tokio::task::spawn_local(note_down(restored.started));
        if restored.is_as_left {
            daemon.tidy().await;
        }
        keeper.look_at_restored(daemon).await;
    };
    tokio::join!(later, watchdog());
}

/// The journal is not waited for, nor does it keep others waiting.
async fn note_down(restored: Vec<Note>) {
    for started in restored {
        started.started();
        yield_now().await;
    }
}

fn surroundings(options: &Options, user: Option<&User>, places: &Places) -> Result<Surroundings, Failure> {
    let boot_id =
        libmachine::boot_id().map_err(|error| Failure::new("cannot read the boot id from /proc", error))?;
    let pid_namespace = rustix::fs::stat("/proc/self/ns/pid").ok().map(|stat| stat.st_ino);
    let systemd = match user {
        Some(user) => user.systemd.clone(),
        None if eviction::is_booted() => ProcessHandle::open(1).and_then(|init| init.control_group()).ok(),
        None => None,
    };
    Ok(Surroundings {
        uid: rustix::process::geteuid().as_raw(),
        is_users: user.is_some(),
        boot_id,
        run_id: run_id().map_err(|error| Failure::new("cannot have an id made by /proc", error))?,
        pid_namespace,
        user_namespace: user_namespace(),
        systemd,
        slice: places.slice,
        grace: options.grace,
    })
}

/// 32 random hexadecimal digits.
fn run_id() -> io::Result<String> {
    let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    Ok(uuid.chars().filter(char::is_ascii_hexdigit).collect())
}

fn user_namespace() -> Option<UserNamespace> {
    let own = ProcessHandle::open(rustix::process::getpid().as_raw_nonzero().get()).ok()?;
    let (uid_map, gid_map) = (own.id_map("uid_map").ok()?, own.id_map("gid_map").ok()?);
    Some(UserNamespace { inode: own.user_namespace()?, uid_map, gid_map })
}

/// The sockets that systemd made, if it did; otherwise one made here. Also where systemd's has lost its path to another
/// daemon, which is gone now: systemd does not notice that.
fn listeners(places: &Places) -> Result<Vec<Listener>, Failure> {
    let passed = sockets()?;
    let path = places.socket.as_path();
    let is_ours = passed.is_empty() || passed.iter().any(|fd| path_of(fd).as_deref() == Some(path));
    let adopt =
        |fd| varlink_server::listen_on(fd).map_err(|error| Failure::new("cannot take over a socket", error));
    let mut listeners = passed.into_iter().map(adopt).collect::<Result<Vec<_>, _>>()?;
    if is_ours {
        let cannot = |error| Failure::new(format!("cannot listen at {}", path.display()), error);
        if listeners.is_empty() || !is_served(path) {
            let listen =
                if places.registry.is_some() { listen_privately_at } else { varlink_server::listen_at };
            listeners.push(listen(path).map_err(cannot)?);
        }
        if places.registry.is_none() {
            remove_dead(Path::new(RESOLVE_HOOK));
        }
        let image = places.image_socket.as_path();
        if !is_served(image) {
            varlink_server::alias(image, path).map_err(cannot)?;
        }
        if let Some(registry) = &places.registry {
            user::register(path, image, registry).map_err(cannot)?;
        }
    }
    Ok(listeners)
}

/// Removes a socket that nobody serves any more, which would be asked, and waited for, all the same.
fn remove_dead(socket: &Path) {
    let is_socket = std::fs::symlink_metadata(socket).is_ok_and(|there| there.file_type().is_socket());
    if is_socket && !is_served(socket) {
        // Another one may have removed it meanwhile, and a file system may be read-only: the start does not depend on it.
        let _ = std::fs::remove_file(socket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_nobody_serves_is_removed_and_no_other_is() {
        let directory = std::env::temp_dir().join(format!("start-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let (dead, served, file) = (directory.join("dead"), directory.join("served"), directory.join("file"));
        drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
        let listener = std::os::unix::net::UnixListener::bind(&served).unwrap();
        std::fs::write(&file, "").unwrap();
        for path in [&dead, &served, &file, &directory.join("absent")] {
            remove_dead(path);
        }
        assert_eq!([&dead, &served, &file].map(|path| path.exists()), [false, true, true]);
        drop(listener);
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn whoever_lacks_permission_is_asked_whether_this_is_root() {
        let told = |kind: ErrorKind| {
            let source = io::Error::from(kind);
            cannot_open(registry::Error::Io { action: "make", path: "/run/machined".to_owned(), source })
                .to_string()
        };
        assert!(told(ErrorKind::PermissionDenied).contains("is this root"));
        assert_eq!(told(ErrorKind::StorageFull), "cannot open the registry");
    }
}
