//! One connection: its calls, one after the other, in the order in which they came.

use std::fmt;
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;
use zlink::connection::ReadConnection;
use zlink::connection::socket::WriteHalf;

use super::error_reply::ErrorReply;
use super::message::{RawCall, write_error};
use super::peer::Peer;
use super::reply::{BATCH, Done, Outbox, Replier};
use super::router::{Answer, Call, Decision, Router};
use super::socket::Stream;

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum Closed {
    /// The peer went away, between calls or during one.
    HungUp,
    /// What came in is no call, or too large.
    Input(zlink::Error),
    /// A call that wants many replies and none.
    Flags,
    /// Replies cannot be written.
    Output(zlink::Error),
    /// The peer does not read its replies.
    Deadline,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HungUp => f.write_str("the peer hung up"),
            Self::Input(error) => write!(f, "input is no varlink call: {error}"),
            Self::Flags => f.write_str("a call wants many replies and none"),
            Self::Output(error) => write!(f, "reply cannot be written: {error}"),
            Self::Deadline => f.write_str("the peer did not read its replies"),
        }
    }
}

/// After a message of this size the buffers it went through are replaced by small ones.
const KEEP: usize = 4 << 10;

/// A peer that never pauses lets the other tasks run after so many calls, and after a large one.
const TURN: usize = 32;

pub(super) struct Connection<C: 'static> {
    pub context: Rc<C>,
    pub peer: Rc<Peer>,
    stream: Stream,
    outbox: Outbox,
    write_deadline: Duration,
}

impl<C: 'static> Connection<C> {
    pub fn new(context: Rc<C>, peer: Peer, stream: Stream, write_deadline: Duration) -> Self {
        Self { context, peer: Rc::new(peer), stream, outbox: Outbox::default(), write_deadline }
    }

    /// Serves until the connection ends.
    pub async fn run(mut self, router: &Router<C>) -> Closed {
        let mut reader = self.reader();
        for turn in 1_usize.. {
            // Descriptors cannot come along: the stream drops them.
            let call = match reader.receive_call::<RawCall>().await {
                Ok((call, _no_fds)) => call,
                Err(zlink::Error::UnexpectedEof) => return Closed::HungUp,
                Err(error) => return Closed::Input(error),
            };
            // As for the original, to ask for an upgrade is no error, and changes nothing.
            if call.oneway() && call.more() {
                return Closed::Flags;
            }
            if let Err(closed) = self.answer(router, &call).await {
                return closed;
            }
            let is_large = self.stream.message_done() > KEEP;
            if is_large {
                reader = self.reader();
            }
            if is_large || turn.is_multiple_of(TURN) {
                tokio::task::yield_now().await;
            }
        }
        Closed::HungUp
    }

    fn reader(&self) -> ReadConnection<Stream> {
        zlink::Connection::new(self.stream.clone()).split().0
    }

    async fn answer(&mut self, router: &Router<C>, raw: &zlink::Call<RawCall>) -> Result<(), Closed> {
        let (more, oneway) = (raw.more(), raw.oneway());
        let decision = router.decide(&raw.method().method, raw.method().take_parameters(), more);
        let replied = match decision {
            Decision::Run(handler, parameters) => {
                let call = Call { peer: self.peer.clone(), parameters, more, oneway };
                let replier = Replier::new(self.outbox.clone(), more, oneway);
                self.drive(handler(self.context.clone(), call, replier)).await?
            }
            Decision::Info(info) => Replier::new(self.outbox.clone(), more, oneway).reply(info),
            Decision::Description(description) => {
                Replier::new(self.outbox.clone(), more, oneway).reply(&Description { description })
            }
            Decision::Refuse(error) => Err(error),
        };
        if let Err(error) = replied
            && !oneway
        {
            write_error(&mut self.outbox.borrow_mut(), &error);
        }
        self.flush().await
    }

    /// Runs a handler to its end, writes what it replies while it waits, and drops it when the peer is gone.
    async fn drive(&mut self, mut handler: Answer) -> Result<Result<Done, ErrorReply>, Closed> {
        enum Step {
            Done(Result<Done, ErrorReply>),
            Flush,
            HungUp,
        }
        let stream = self.stream.clone();
        let mut hung_up = pin!(stream.hung_up());
        loop {
            let step = poll_fn(|cx| match handler.as_mut().poll(cx) {
                Poll::Ready(done) => Poll::Ready(Step::Done(done)),
                Poll::Pending if !self.outbox.borrow().is_empty() => Poll::Ready(Step::Flush),
                Poll::Pending => hung_up.as_mut().poll(cx).map(|()| Step::HungUp),
            });
            match step.await {
                Step::Done(done) => return Ok(done),
                Step::Flush => self.flush().await?,
                Step::HungUp => return Err(Closed::HungUp),
            }
        }
    }

    /// Writes what is buffered.
    async fn flush(&mut self) -> Result<(), Closed> {
        let mut bytes = self.outbox.take();
        if bytes.is_empty() {
            return Ok(());
        }
        let no_fds: &[OwnedFd] = &[];
        match timeout(self.write_deadline, self.stream.write(&bytes, no_fds, None)).await {
            Err(_elapsed) => return Err(Closed::Deadline),
            Ok(Err(error)) => return Err(Closed::Output(error)),
            Ok(Ok(())) => {}
        }
        if bytes.len() >= BATCH {
            tokio::task::yield_now().await;
        }
        bytes.clear();
        bytes.shrink_to(KEEP);
        self.outbox.replace(bytes);
        Ok(())
    }
}

#[derive(Serialize)]
struct Description {
    description: &'static str,
}
