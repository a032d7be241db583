//! One connection: its calls, one after the other, in the order in which they came.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;
use turns::{Length, Turns, User};

use super::admission::Permit;
use super::descriptors::Descriptors;
use super::error_reply::ErrorReply;
use super::inbox::{Inbox, TooLarge};
use super::message::{RawCall, write_error};
use super::outbox::Outbox;
use super::peer::Peer;
use super::reply::{Done, Replier};
use super::router::{Answer, Call, Decision, Router};
use super::stream::{Input, Stream};

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum Closed {
    /// The peer went away, between calls or during one.
    HungUp,
    /// What came in is no call.
    Garbage(serde_json::Error),
    /// What came in is too large.
    TooLarge,
    /// Descriptors came where none are wanted.
    Descriptors,
    /// A call that wants many replies and none.
    Flags,
    /// Nothing can be read.
    Input(io::Error),
    /// Replies cannot be written.
    Output(io::Error),
    /// The peer does not read its replies.
    Deadline,
    /// Somebody else got its place.
    Evicted,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HungUp => f.write_str("the peer hung up"),
            Self::Garbage(error) => write!(f, "input is no varlink call: {error}"),
            Self::TooLarge => f.write_str("a message is too large"),
            Self::Descriptors => f.write_str("descriptors came where none are wanted"),
            Self::Flags => f.write_str("a call wants many replies and none"),
            Self::Input(error) => write!(f, "input cannot be read: {error}"),
            Self::Output(error) => write!(f, "reply cannot be written: {error}"),
            Self::Deadline => f.write_str("the peer did not read its replies"),
            Self::Evicted => f.write_str("a user with fewer connections got its place"),
        }
    }
}

pub(super) struct Connection<C: 'static> {
    pub context: Rc<C>,
    pub peer: Rc<Peer>,
    stream: Stream,
    inbox: Inbox,
    outbox: Rc<RefCell<Outbox>>,
    /// What came with the last message in the inbox.
    luggage: Vec<OwnedFd>,
    write_deadline: Duration,
}

impl<C: 'static> Connection<C> {
    pub fn new(
        context: Rc<C>,
        peer: Peer,
        user: User,
        stream: Stream,
        inbox: Inbox,
        write_deadline: Duration,
    ) -> Self {
        let (peer, outbox) = (Rc::new(peer), Rc::new(RefCell::new(Outbox::new(user))));
        Self { context, peer, stream, inbox, outbox, luggage: Vec::new(), write_deadline }
    }

    /// Serves until the connection ends. To be polled in its user's turns.
    pub async fn run(mut self, router: &Router<C>, turns: &Turns, permit: &Permit) -> Closed {
        match self.serve(router, turns, permit).await {
            Ok(never) => match never {},
            Err(closed) => closed,
        }
    }

    async fn serve(
        &mut self,
        router: &Router<C>,
        turns: &Turns,
        permit: &Permit,
    ) -> Result<Infallible, Closed> {
        loop {
            self.receive(router).await?;
            permit.is_used();
            let call = RawCall::read(self.inbox.message()).map_err(Closed::Garbage)?;
            if call.oneway && call.more {
                return Err(Closed::Flags);
            }
            self.inbox.next_message();
            let luggage = if self.inbox.is_empty() { std::mem::take(&mut self.luggage) } else { Vec::new() };
            self.answer(router, call, luggage, turns).await?;
            if turns.is_over() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Waits until there is a whole message in the inbox.
    async fn receive(&mut self, router: &Router<C>) -> Result<(), Closed> {
        while !self.inbox.find().map_err(|TooLarge| Closed::TooLarge)? {
            match self.stream.read(&mut self.inbox).await.map_err(Closed::Input)? {
                Input::Bytes => {}
                Input::End => return Err(Closed::HungUp),
                Input::Descriptors(seen) => {
                    let most = most_descriptors(router, &seen, self.inbox.is_empty());
                    if most == 0 || !self.luggage.is_empty() {
                        return Err(Closed::Descriptors);
                    }
                    let got = self.stream.read_with_descriptors(&mut self.inbox, seen.len());
                    self.luggage = got.map_err(Closed::Input)?;
                    if self.luggage.len() > most {
                        return Err(Closed::Descriptors);
                    }
                }
            }
        }
        Ok(())
    }

    async fn answer(
        &mut self,
        router: &Router<C>,
        raw: RawCall,
        descriptors: Vec<OwnedFd>,
        turns: &Turns,
    ) -> Result<(), Closed> {
        let RawCall { method, parameters, more, oneway, .. } = raw;
        let replier = |sends| Replier::new(self.outbox.clone(), more, oneway, sends);
        let replied = match router.decide(&method, parameters, more) {
            Decision::Run(row, parameters) => {
                let call = Call { peer: self.peer.clone(), parameters, more, oneway, descriptors };
                let handler = (row.handler)(self.context.clone(), call, replier(row.descriptors));
                // Who takes many answers can wait for those who wait for one.
                turns.lasts(if more { Length::Long } else { Length::Short });
                let replied = self.drive(handler, turns).await?;
                turns.lasts(Length::Short);
                replied
            }
            Decision::Info(info) => replier(Descriptors::None).reply(info),
            Decision::Description(description) => {
                replier(Descriptors::None).reply(&Description { description })
            }
            Decision::Refuse(error) => Err(error),
        };
        if let Err(error) = replied
            && !oneway
        {
            write_error(&mut self.outbox.borrow_mut().bytes, &error);
        }
        self.flush().await
    }

    /// Runs a handler to its end, writes what it replies while it waits, and drops it when the peer is gone.
    async fn drive(&self, mut handler: Answer, turns: &Turns) -> Result<Result<Done, ErrorReply>, Closed> {
        enum Step {
            Done(Result<Done, ErrorReply>),
            Flush,
            HungUp,
        }
        let mut hung_up = pin!(self.stream.hung_up());
        loop {
            let step = poll_fn(|cx| match handler.as_mut().poll(cx) {
                Poll::Ready(done) => Poll::Ready(Step::Done(done)),
                Poll::Pending if !self.outbox.borrow().is_empty() => Poll::Ready(Step::Flush),
                Poll::Pending => hung_up.as_mut().poll(cx).map(|()| Step::HungUp),
            });
            match step.await {
                Step::Done(done) => return Ok(done),
                Step::Flush => {
                    self.flush().await?;
                    // It may have waited for nothing but its next turn.
                    if turns.is_over() {
                        tokio::task::yield_now().await;
                    }
                }
                Step::HungUp => return Err(Closed::HungUp),
            }
        }
    }

    /// Writes what is buffered.
    async fn flush(&self) -> Result<(), Closed> {
        let mut outbox = self.outbox.take();
        if outbox.is_empty() {
            return Ok(());
        }
        let is_full = outbox.is_full();
        match timeout(self.write_deadline, self.stream.write(&mut outbox)).await {
            Err(_elapsed) => return Err(Closed::Deadline),
            Ok(Err(error)) => return Err(Closed::Output(error)),
            Ok(Ok(())) => {}
        }
        if is_full {
            tokio::task::yield_now().await;
        }
        self.outbox.replace(outbox);
        Ok(())
    }
}

/// How many descriptors may come with the last message of what was seen, which has to be there as a whole: it starts
/// there, or where it `is_first`.
fn most_descriptors<C>(router: &Router<C>, seen: &[u8], is_first: bool) -> usize {
    let Some(messages) = seen.strip_suffix(b"\0") else { return 0 };
    let last = match messages.iter().rposition(|byte| *byte == 0) {
        Some(end) => messages.get(end + 1..).unwrap_or_default(),
        None if is_first => messages,
        None => return 0,
    };
    RawCall::read(last).map_or(0, |call| router.most_descriptors(&call.method))
}

#[derive(Serialize)]
struct Description {
    description: &'static str,
}
