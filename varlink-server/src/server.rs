//! The server: the accept loop, and what all connections share.

use std::convert::Infallible;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use closer::Closer;
use rustix::io::Errno;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::admission::{Admission, Limits};
use super::connection::Connection;
use super::inbox::{Budget, Inbox};
use super::listen::Listener;
use super::peer::Peer;
use super::router::{About, Interface, Router, TableError};
use super::socket_option::{refuse_descriptors, takes_descriptors};
use super::stream::{Stream, leave};

/// What a server allows its peers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many connections.
    pub limits: Limits,
    /// How long a peer may take to make room for the replies that are buffered for it.
    pub write_deadline: Duration,
    /// How many bytes the large messages of all unprivileged peers may take together.
    pub large_messages: usize,
    /// Whether handlers want to know which process calls: a descriptor for each connection.
    pub pidfds: bool,
    /// Who closes what peers have passed along. Without it that is done here, and may last.
    pub closer: Option<Closer>,
}

impl Settings {
    /// What the daemon uses.
    pub fn of_process() -> Self {
        Self {
            limits: Limits::of_process(),
            write_deadline: Duration::from_secs(30),
            large_messages: 8 << 20,
            pidfds: true,
            closer: None,
        }
    }
}

/// The interfaces of one service, over the state `C` of the daemon.
pub struct Server<C: 'static> {
    router: Router<C>,
    context: Rc<C>,
    admission: Rc<Admission>,
    budget: Rc<Budget>,
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
        loop {
            match self.accept(&listener).await {
                Ok(stream) => {
                    let scarce = reserve.is_used();
                    self.serve_stream(stream, scarce);
                    reserve.refill();
                    failing = false;
                    // A crowd that connects must not keep those waiting that are connected.
                    tokio::task::consume_budget().await;
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

    /// The next connection. Until it comes, what is held is passed on as soon as somebody closes it.
    async fn accept(&self, listener: &Listener) -> Result<OwnedFd, Errno> {
        loop {
            let Some(closer) = self.settings.closer.as_ref().filter(|closer| closer.pass_on()) else {
                return listener.accept().await;
            };
            if let Ok(accepted) = timeout(BACKOFF, listener.accept()).await {
                return accepted;
            }
            closer.pass_on();
        }
    }

    /// Serves one connected stream, which does not block, in a task of its own; or closes it when there are too many
    /// connections.
    pub fn adopt(self: &Rc<Self>, stream: OwnedFd) {
        self.serve_stream(stream, false);
    }

    /// While file descriptors are `scarce`, only privileged peers are served.
    fn serve_stream(self: &Rc<Self>, stream: OwnedFd, scarce: bool) {
        let peer = match Peer::of(&stream, self.settings.pidfds) {
            Ok(peer) => peer,
            Err(error) => return tracing::debug!("connection without credentials: {error}"),
        };
        let privileged = peer.is_privileged();
        let permit = self.admission.admit(&peer).filter(|_| privileged || !scarce);
        let closer = self.settings.closer.clone();
        let Some(permit) = permit else {
            tracing::debug!(uid = peer.uid.as_raw(), "too many connections, turned one away");
            if takes_descriptors(&stream) {
                leave(stream, closer.as_ref(), ());
            }
            return;
        };
        let inbox = Inbox::new((!privileged).then(|| self.budget.clone()));
        let stream = match Stream::new(stream, self.router.receives_descriptors(), closer, Some(permit)) {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!("cannot watch a connection: {error}"),
        };
        let server = self.clone();
        spawn_local(async move {
            let deadline = server.settings.write_deadline;
            let connection = Connection::new(server.context.clone(), peer, stream, inbox, deadline);
            let closed = connection.run(&server.router).await;
            tracing::debug!("connection closed: {closed}");
        });
    }
}

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
