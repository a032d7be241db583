//! The server: the accept loop, and what all connections share.

use std::convert::Infallible;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::admission::{Admission, Limits};
use super::connection::Connection;
use super::inbox::{Budget, Inbox};
use super::listen::Listener;
use super::peer::Peer;
use super::router::{About, Interface, Router, TableError};
use super::socket_option::refuse_descriptors;
use super::stream::Stream;

/// What a server allows its peers.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How many connections.
    pub limits: Limits,
    /// How long a peer may take to make room for the replies that are buffered for it.
    pub write_deadline: Duration,
    /// How many bytes the large messages of all unprivileged peers may take together.
    pub large_messages: usize,
    /// Whether handlers want to know which process calls: a descriptor for each connection.
    pub pidfds: bool,
}

impl Settings {
    /// What the daemon uses.
    pub fn of_process() -> Self {
        Self {
            limits: Limits::of_process(),
            write_deadline: Duration::from_secs(30),
            large_messages: 8 << 20,
            pidfds: true,
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
            match listener.accept().await {
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
        let Some(permit) = permit else {
            return tracing::debug!(uid = peer.uid.as_raw(), "too many connections, turned one away");
        };
        let inbox = Inbox::new((!privileged).then(|| self.budget.clone()));
        let stream = match Stream::new(stream, self.router.receives_descriptors()) {
            Ok(stream) => stream,
            Err(error) => return tracing::warn!("cannot watch a connection: {error}"),
        };
        let server = self.clone();
        spawn_local(async move {
            let _permit = permit;
            let deadline = server.settings.write_deadline;
            let connection = Connection::new(server.context.clone(), peer, stream, inbox, deadline);
            let closed = connection.run(&server.router).await;
            tracing::debug!("connection closed: {closed}");
        });
    }
}

/// How long to leave a failing `accept` alone.
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
