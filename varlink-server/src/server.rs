//! The server: the accept loop, and what all connections share.

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use closer::Closer;
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_send_buffer_size;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use turns::{Owners, Turns, User, processor_time};

use super::admission::{Admission, Limits, Permit};
use super::connection::{Closed, Connection};
use super::inbox::{Budget, Inbox, Share};
use super::listen::Listener;
use super::peer::Peer;
use super::router::{About, Interface, Router, TableError};
use super::socket_option::refuse_descriptors;
use super::stream::{Arrival, Stream};

/// What a server allows its peers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many connections.
    pub limits: Limits,
    /// How long a peer may take to make room for the replies that are buffered for it.
    pub write_deadline: Duration,
    /// How many bytes the messages of all unprivileged peers may take together, but for what is little; and one user's an
    /// eighth of that.
    pub large_messages: usize,
    /// Whether handlers want to know which process calls: a descriptor for each connection.
    pub pidfds: bool,
    /// The only uid whose peers are served, where that is not everybody's.
    pub only: Option<u32>,
    /// Who closes what peers have passed along. Without it that is done here, and may last.
    pub closer: Option<Closer>,
    /// Whose work goes on next. All that is served on one thread shares them.
    pub turns: Turns,
}

impl Settings {
    /// What the daemon uses.
    pub fn of_process() -> Self {
        Self {
            limits: Limits::of_process(),
            write_deadline: Duration::from_secs(30),
            large_messages: 16 << 20,
            pidfds: true,
            only: None,
            closer: None,
            turns: Turns::default(),
        }
    }
}

/// The interfaces of one service, over the state `C` of the daemon.
pub struct Server<C: 'static> {
    router: Router<C>,
    context: Rc<C>,
    admission: Rc<Admission>,
    budget: Rc<Budget>,
    owners: Owners,
    settings: Settings,
}

impl<C: 'static> Server<C> {
    /// Prepares to serve `interfaces`, and with them `org.varlink.service` and the errors of `io.systemd`.
    ///
    /// # Errors
    /// A table and its description do not fit together.
    pub fn new(
        context: Rc<C>,
        about: About,
        interfaces: Vec<Interface<C>>,
        settings: Settings,
    ) -> Result<Rc<Self>, TableError> {
        Ok(Rc::new(Self {
            router: Router::new(about, interfaces)?,
            context,
            admission: Admission::new(settings.limits),
            budget: Budget::new(settings.large_messages),
            owners: Owners::default(),
            settings,
        }))
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.admission.connections()
    }

    /// Accepts connections until it is dropped; whatever `accept(2)` fails with, it goes on.
    ///
    /// To be run inside a `LocalSet`, once per listener.
    pub async fn serve(self: Rc<Self>, listener: Listener) -> Infallible {
        if !self.router.receives_descriptors() {
            refuse_descriptors(&listener);
        }
        let mut reserve = Reserve::new();
        let mut failing = false;
        let (mut until, mut is_over, mut taken) = (None, false, 0_u32);
        loop {
            let take = |socket| {
                self.take_in(socket, reserve.is_used());
                reserve.refill();
                failing = false;
                taken = taken.wrapping_add(1);
                if taken.is_multiple_of(LOOK) {
                    let now = processor_time();
                    is_over = now >= *until.get_or_insert(now + SLICE);
                }
                // What somebody has lost is closed when others have had their turns.
                is_over |= self.admission.is_crowded();
                if is_over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            match self.accept(&listener, take).await {
                Ok(()) => {
                    // A crowd that connects must not keep those waiting that are connected.
                    until = None;
                    if is_over {
                        is_over = false;
                        self.settings.turns.pass().await;
                    }
                }
                Err(errno) if is_out_of_fds(errno) && reserve.release() => {}
                Err(errno) => {
                    if !failing {
                        tracing::warn!("cannot accept connections, will keep trying: {errno}");
                    }
                    failing = true;
                    sleep(BACKOFF).await;
                }
            }
        }
    }

    /// The next connections. Until they come, what is held is passed on as soon as somebody closes it.
    async fn accept(
        &self,
        listener: &Listener,
        mut take: impl FnMut(OwnedFd) -> ControlFlow<()>,
    ) -> Result<(), Errno> {
        loop {
            let Some(closer) = self.settings.closer.as_ref().filter(|closer| closer.pass_on()) else {
                return listener.accept(take).await;
            };
            if let Ok(accepted) = timeout(BACKOFF, listener.accept(&mut take)).await {
                return accepted;
            }
            closer.pass_on();
        }
    }

    /// Serves one connected stream, which does not block, in a task of its own; or closes it when there are too many
    /// connections.
    pub fn adopt(self: &Rc<Self>, stream: OwnedFd) {
        self.take_in(stream, false);
    }

    /// As [`Self::adopt`]. While file descriptors are `scarce`, only privileged peers are served.
    ///
    /// Root waits in the queue of the socket behind whoever else connects, and who that is can be asked only here. So this
    /// asks nothing more; what it takes to serve somebody is done in that user's turns.
    fn take_in(self: &Rc<Self>, stream: OwnedFd, scarce: bool) {
        let peer = match Peer::of(&stream) {
            Ok(peer) => peer,
            Err(error) => {
                tracing::debug!("connection without credentials: {error}");
                return;
            }
        };
        let user = match peer.uid.as_raw() {
            _ if peer.is_privileged() => User::Privileged,
            uid => User::Uid(self.owners.of(uid)),
        };
        let arrival = Arrival::new(stream, self.settings.closer.clone());
        let is_welcome = self.settings.only.is_none_or(|uid| uid == peer.uid.as_raw());
        let may_have_one = is_welcome && (user == User::Privileged || !scarce);
        let permit = may_have_one.then(|| self.admission.admit(user)).flatten();
        let Some(permit) = permit.map(Rc::new) else {
            tracing::debug!(
                uid = peer.uid.as_raw(),
                "turned a connection away: too many, or not of whom this serves"
            );
            return;
        };
        let turns = self.settings.turns.clone();
        if !turns.is_run() {
            spawn_local(turns.clone().run());
        }
        let server = self.clone();
        let own = permit.clone();
        let served = turns.take(user, async move { server.serve_peer(arrival, peer, user, &own).await });
        spawn_local(async move {
            let closed = tokio::select! {
                closed = served => closed,
                () = permit.lost() => Closed::Evicted,
            };
            tracing::debug!("connection closed: {closed}");
        });
    }

    /// Serves a connection until it ends.
    async fn serve_peer(&self, arrival: Arrival, peer: Peer, user: User, permit: &Rc<Permit>) -> Closed {
        let (stream, peer) = match self.set_up(arrival, peer, user, permit) {
            Ok(ready) => ready,
            Err(error) => {
                tracing::warn!("cannot watch a connection: {error}");
                return Closed::Input(error);
            }
        };
        let inbox = Inbox::new(Share::of(&self.budget, user));
        let deadline = self.settings.write_deadline;
        let connection = Connection::new(self.context.clone(), peer, user, stream, inbox, deadline);
        connection.run(&self.router, &self.settings.turns, permit).await
    }

    fn set_up(
        &self,
        arrival: Arrival,
        peer: Peer,
        user: User,
        permit: &Rc<Permit>,
    ) -> io::Result<(Stream, Peer)> {
        let socket = arrival.socket()?;
        if user != User::Privileged {
            // What the kernel keeps for who does not read counts as ours.
            let _ = set_socket_send_buffer_size(socket, SEND_BUFFER);
        }
        let peer = if self.settings.pidfds { peer.pinned(socket) } else { peer };
        let stream = arrival.into_stream(self.router.receives_descriptors(), Some(permit.clone()))?;
        Ok((stream, peer))
    }
}

/// How much the kernel keeps for an unprivileged peer, in bytes; it takes twice as much itself.
const SEND_BUFFER: usize = 16 << 10;

/// After taking in connections for so long, those that are connected have their turns.
const SLICE: Duration = Duration::from_millis(2);

/// How many are taken in between two looks at the clock.
const LOOK: u32 = 8;

/// How long to leave a failing `accept` alone, and descriptors that nobody closes.
const BACKOFF: Duration = Duration::from_millis(100);

fn is_out_of_fds(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE)
}

/// A file descriptor to give up when there is no other left: with it one connection can be accepted, to
/// be served if it is root's and else closed, so that clients see an end instead of a silence.
struct Reserve(Option<File>);

impl Reserve {
    fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    fn is_used(&self) -> bool {
        self.0.is_none()
    }

    /// Whether that made a difference.
    fn release(&mut self) -> bool {
        self.0.take().is_some()
    }

    fn refill(&mut self) {
        if self.is_used() {
            *self = Self::new();
        }
    }
}
