//! The bus: one connection for the whole daemon, which is joined when there is a bus, and joined again when it comes
//! back. Nothing waits for it: without a bus, machines are registered and looked up as ever.

use std::borrow::Cow;
use std::cell::Cell;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use closer::Way;
use dbus_server::{appears_at, join_at, join_bus, join_peer, session_bus, system_bus};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};
use zbus::zvariant::DynamicType;
use zbus::{Connection, DBusError, Message};

/// The daemon's name on the bus.
pub const NAME: &str = "org.freedesktop.machine1";

/// The bus itself, as a peer.
pub const BUS: Peer = Peer {
    service: "org.freedesktop.DBus",
    path: Cow::Borrowed("/org/freedesktop/DBus"),
    interface: "org.freedesktop.DBus",
};

/// How long the bus has to let us in, and to answer for itself.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long another bus than the host's has.
const OTHER_DEADLINE: Duration = Duration::from_secs(5);
/// How long to wait before a bus is tried again whose socket is there, at first and at most: nothing tells when somebody
/// begins to listen to it, or lets us in.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How many calls wait for their answers at a time; others wait for their turn. A bus lets a daemon wait for 128
/// (dbus-daemon(1), `max_replies_per_connection`), of which polkit's answers are some.
const OPEN: usize = 48;
/// What RequestName says when the name is ours, D-Bus Specification, "org.freedesktop.DBus.RequestName".
const PRIMARY_OWNER: u32 = 1;

/// An object of somebody on the bus, by one of its interfaces.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The well-known name.
    pub service: &'static str,
    /// The path of the object.
    pub path: Cow<'static, str>,
    /// The interface.
    pub interface: &'static str,
}

/// Why a call over the bus brought no answer.
#[derive(Debug)]
pub enum CallError {
    /// There is no bus now.
    NoBus,
    /// No answer in time.
    Timeout,
    /// The answer is an error.
    Refused {
        /// Its D-Bus name.
        name: String,
        /// What it says.
        message: String,
    },
    /// The connection broke, or the answer makes no sense.
    Broken(zbus::Error),
}

impl From<zbus::Error> for CallError {
    fn from(error: zbus::Error) -> Self {
        match &error {
            zbus::Error::MethodError(name, message, _) => {
                Self::Refused { name: name.to_string(), message: message.clone().unwrap_or_default() }
            }
            zbus::Error::FDO(known) if !matches!(**known, zbus::fdo::Error::ZBus(_)) => Self::Refused {
                name: known.name().to_string(),
                message: known.description().unwrap_or_default().to_owned(),
            },
            _ => Self::Broken(error),
        }
    }
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoBus => f.write_str("there is no bus"),
            Self::Timeout => f.write_str("no answer in time"),
            Self::Refused { name, message } => write!(f, "{name}: {message}"),
            Self::Broken(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CallError {}

/// How things stand with the bus.
#[derive(Debug)]
enum Membership {
    /// It is about to be joined, or to be found missing.
    Joining,
    /// It is not there, or not wanted.
    Absent,
    /// It is joined.
    Joined(Connection),
}

impl Membership {
    fn connection(&self) -> Option<Connection> {
        match self {
            Self::Joined(connection) => Some(connection.clone()),
            Self::Joining | Self::Absent => None,
        }
    }
}

/// Which bus.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Which {
    /// The system's.
    System,
    /// That of a user's session.
    Session,
    /// None: a service manager that speaks D-Bus itself, at this socket.
    Manager(PathBuf),
}

impl Which {
    /// Joins it.
    async fn join(&self, closer: Option<Way>) -> zbus::Result<Connection> {
        let socket = self.socket()?;
        match self {
            Self::System | Self::Session => join_at(&socket, closer).await,
            Self::Manager(_) => join_peer(&socket, closer).await,
        }
    }

    /// Where it is.
    fn socket(&self) -> zbus::Result<PathBuf> {
        match self {
            Self::System => system_bus(),
            Self::Session => session_bus(),
            Self::Manager(socket) => Ok(socket.clone()),
        }
    }

    /// Waits until there is a file in its place, and returns whether there was none.
    async fn appears(&self) -> bool {
        match self.socket() {
            Ok(socket) => appears_at(&socket).await.unwrap_or(false),
            Err(_) => false,
        }
    }
}

impl std::fmt::Display for Which {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::System => "the system bus",
            Self::Session => "the session bus",
            Self::Manager(_) => "the user's service manager",
        })
    }
}

/// The daemon's place on the bus.
#[derive(Debug)]
pub struct Bus {
    which: Which,
    membership: watch::Sender<Membership>,
    /// Whether it is joined at all.
    is_wanted: Cell<bool>,
    /// Places for calls that are not answered yet.
    places: Arc<Semaphore>,
    /// Who reads what comes with descriptors.
    closer: Option<Way>,
}

impl Default for Bus {
    fn default() -> Self {
        Self {
            which: Which::System,
            membership: watch::Sender::new(Membership::Absent),
            is_wanted: Cell::new(false),
            places: Arc::new(Semaphore::new(OPEN)),
            closer: None,
        }
    }
}

impl Bus {
    /// A place on the bus, with somebody to read what comes with descriptors.
    pub fn with(which: Which, closer: Way) -> Self {
        Self { which, closer: Some(closer), ..Self::default() }
    }

    /// The connection. One that is just being made is waited for; a bus that is not there is not.
    pub async fn at_hand(&self) -> Option<Connection> {
        let mut changes = self.membership.subscribe();
        let known = changes.wait_for(|membership| !matches!(membership, Membership::Joining)).await;
        known.ok()?.connection()
    }

    /// The connection, also to a bus that comes within this time.
    async fn soon(&self, patience: Duration) -> Option<Connection> {
        if !self.is_wanted.get() {
            return None;
        }
        let mut changes = self.membership.subscribe();
        let joined =
            timeout(patience, changes.wait_for(|membership| matches!(membership, Membership::Joined(_))))
                .await;
        joined.ok()?.ok()?.connection()
    }

    /// Calls a method, and waits for the answer no longer than the deadline, and as long for a turn before that.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call<B>(
        &self,
        peer: Peer,
        method: &'static str,
        arguments: B,
        deadline: Duration,
    ) -> Result<Message, CallError>
    where
        B: serde::Serialize + DynamicType + 'static,
    {
        // Right after the start, or after the bus was restarted, it is there in an instant.
        let connection = self.soon(deadline.min(LONGEST_PAUSE * 2)).await.ok_or(CallError::NoBus)?;
        let place = timeout(deadline, self.places.clone().acquire_owned()).await;
        let place = place.map_err(|_| CallError::Timeout)?.map_err(|_| CallError::NoBus)?;
        call(connection, peer, method, arguments, deadline, place).await
    }

    /// Joins another bus than the host's, over a connection to it, as this user. It may be anybody's.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn join_other(&self, socket: OwnedFd, user: u32) -> Result<Connection, CallError> {
        let joining = timeout(OTHER_DEADLINE, join_bus(socket, user, self.closer.clone())).await;
        Ok(joining.map_err(|_| CallError::Timeout)??)
    }

    /// Says that the bus is wanted, and about to be joined.
    pub fn want(&self) {
        self.is_wanted.set(true);
        self.membership.send_replace(Membership::Joining);
    }

    /// Joins the bus, for ever: when it is there, and whenever it comes back. `introduce` has each new connection served,
    /// before the name is asked for: nobody who finds the name finds nobody behind it.
    pub async fn run(&self, introduce: impl AsyncFn(&Connection) -> Result<(), CallError>) {
        let mut pause = PAUSE;
        loop {
            match join(&self.which, &introduce, self.closer.clone()).await {
                Ok(connection) => {
                    info!("Joined {}.", self.which);
                    pause = PAUSE;
                    self.membership.send_replace(Membership::Joined(connection.clone()));
                    connection.closed().await;
                    self.membership.send_replace(Membership::Joining);
                    warn!("Lost {}; joining it again when it is back.", self.which);
                }
                Err(error) => {
                    debug!("Cannot join {}: {error}", self.which);
                    self.membership.send_replace(Membership::Absent);
                    if self.which.appears().await {
                        pause = PAUSE;
                        continue;
                    }
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

async fn join(
    which: &Which,
    introduce: &impl AsyncFn(&Connection) -> Result<(), CallError>,
    closer: Option<Way>,
) -> Result<Connection, CallError> {
    let connecting = timeout(DEADLINE, which.join(closer)).await;
    let connection = connecting.map_err(|_| CallError::Timeout)??;
    let named = async {
        introduce(&connection).await?;
        match which {
            Which::Manager(_) => Ok(()),
            Which::System | Which::Session => request_name(&connection).await,
        }
    };
    match named.await {
        Ok(()) => Ok(connection),
        Err(error) => {
            // What listens to it holds on to it.
            tokio::task::spawn_local(connection.close());
            Err(error)
        }
    }
}

async fn request_name(connection: &Connection) -> Result<(), CallError> {
    let answer = call(connection.clone(), BUS, "RequestName", (NAME, 0_u32), DEADLINE, ()).await?;
    if answer.body().deserialize::<u32>()? != PRIMARY_OWNER {
        warn!("Another daemon is {NAME} on the bus; the name is ours when it leaves.");
    }
    Ok(())
}

/// Calls a method over this very connection, which need not be the daemon's yet. Drops `held` when the answer is there,
/// however late, or none can come any more.
///
/// # Errors
/// [`CallError`].
pub async fn call<B>(
    connection: Connection,
    peer: Peer,
    method: &'static str,
    arguments: B,
    deadline: Duration,
    held: impl Sized + 'static,
) -> Result<Message, CallError>
where
    B: serde::Serialize + DynamicType + 'static,
{
    // A message that is being written must be written to its end, or the bus understands nothing that comes after it. So
    // the call is a task of its own, which goes on when nobody waits for the answer any more.
    let answer = tokio::task::spawn_local(async move {
        let _held = held;
        connection
            .call_method(Some(peer.service), &*peer.path, Some(peer.interface), method, &arguments)
            .await
    });
    match timeout(deadline, answer).await {
        Ok(Ok(answer)) => answer.map_err(CallError::from),
        // The task was dropped with the event loop.
        Ok(Err(_)) => Err(CallError::NoBus),
        Err(_) => Err(CallError::Timeout),
    }
}
