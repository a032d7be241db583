//! The socket of a connection to a bus, which hands zbus nothing that it would end the connection for.
//!
//! Whoever may send us messages could otherwise take us off the bus by one of them. What is too large is not kept
//! either: of such a message only the header comes in, so that it can be answered.
//!
//! Nor are the descriptors installed that come with anybody's message, as the close of one can last. Each read is preceded
//! by a look that has no room for any, and what comes with some is read by another process, which returns the pidfds
//! among them, and `/dev/null` in the place of all others. Nothing that is served takes any but pidfds. What the bus
//! itself has to say, and those who were asked, is read here.
//!
//! # Safety
//!
//! `Message::from_bytes` asks for the bytes of a message. It checks all of the header itself, as for every message that
//! zbus receives; bodies are read as those of strangers, and are checked then.
#![allow(unsafe_code, reason = "see Safety")]

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use closer::{Gate, Line, Received, Way};
use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{Shutdown, shutdown};
use tokio::time::{sleep, timeout};
use zbus::Message;
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::export::async_trait::async_trait;
use zbus::runtime::traits::{PollIo, Runtime as _};
use zbus::runtime::{Interest, IoSource};
use zbus::wire::serialized::{Context, Data};

use crate::header::{CUT, Frame, START};
use crate::runtime::{Registration, Runtime, watch};
use crate::transfer::{Look, Set, look, receive, send};

/// How much is read at a time. Most messages are smaller.
const BUFFER: usize = 4 << 10;
/// How long a header may be. Its path alone has no bound of its own.
const HEADER: usize = 64 << 10;
/// How long a message may be that anybody can send.
const MESSAGE: usize = 1 << 20;
/// How many descriptors such a message may have, the limit of dbus-daemon; dbus-broker has none.
const DESCRIPTORS: usize = 16;
/// How often descriptors may have come that no message has taken, each time those of one message.
const SETS: usize = 3;
/// How many messages are written with another one, and after how many bytes no more are added.
const MORE: usize = 15;
const BYTES: usize = 16 << 10;

/// How long the bus may take to go on reading what it is sent, and everybody who closes descriptors to be busy.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon those who close descriptors are asked again: nothing tells when one of them, or a descriptor, is free.
const PAUSE: Duration = Duration::from_millis(20);

/// A socket that is connected to a bus.
#[derive(Debug)]
pub struct BusSocket(Arc<Shared>);

struct Shared {
    registration: Registration,
    source: IoSource,
    closer: Option<Way>,
    /// The last to go.
    gate: Option<Gate>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.source.fmt(f)
    }
}

impl BusSocket {
    pub fn new(source: IoSource, closer: Option<Way>) -> io::Result<Self> {
        let registration = Runtime.register_io_source(source.clone())?;
        Ok(Self(Arc::new(Shared { registration, source, closer, gate: None })))
    }
}

impl Socket for BusSocket {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        Split::new(Reader::new(self.0.clone()), Writer(self.0))
    }
}

impl Shared {
    /// Reads to `whole[at..]`. Descriptors are installed here where what comes is trusted: `is_trusted` of what is read,
    /// with what is in front of it. `spare` is for when there is no room for more.
    async fn read(
        &self,
        whole: &mut [u8],
        at: usize,
        spare: &mut Option<Line>,
        is_trusted: impl Fn(&[u8]) -> bool,
    ) -> io::Result<(usize, Set)> {
        loop {
            let buffer = whole.get_mut(at..).unwrap_or_default();
            let Look { length, has_descriptors } = self.readable(|socket| look(socket, buffer)).await?;
            if length == 0 {
                return Ok((0, Set::default()));
            }
            let end = at.saturating_add(length);
            let closer = self.closer.as_ref().filter(|_| has_descriptors);
            let is_trusted = || whole.get(..end).is_some_and(&is_trusted);
            let closer = closer.filter(|_| !is_trusted());
            let buffer = whole.get_mut(at..end).unwrap_or_default();
            let got = match closer {
                Some(closer) => self.receive_elsewhere(closer, buffer, spare).await,
                None => receive(self.source.as_fd(), buffer),
            };
            match got {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                got => return got,
            }
        }
    }

    async fn readable<T>(&self, mut read: impl FnMut(BorrowedFd<'_>) -> io::Result<T>) -> io::Result<T> {
        poll_fn(|context| {
            self.registration.poll_io(context, Interest::Readable, || read(self.source.as_fd()))
        })
        .await
    }

    /// Has another process read, and takes over the pidfds that came along.
    async fn receive_elsewhere(
        &self,
        closer: &Way,
        buffer: &mut [u8],
        spare: &mut Option<Line>,
    ) -> io::Result<(usize, Set)> {
        let started = Instant::now();
        let answer = loop {
            let error = match Line::new().or_else(|error| spare.take().ok_or(error)) {
                Ok(line) => match closer.receive(self.source.as_fd(), buffer.len(), &line) {
                    Ok(()) => break line.into_answer(),
                    Err(error) => {
                        spare.get_or_insert(line);
                        error
                    }
                },
                Err(error) => error,
            };
            if !passes(&error) || started.elapsed() >= PATIENCE {
                return Err(error);
            }
            sleep(PAUSE).await;
        };
        let answer = watch(answer, tokio::io::Interest::READABLE)?;
        answer.readable().await?.retain_ready();
        let Received { length, descriptors, is_short } = Received::of(answer.get_ref(), buffer)?;
        drop(answer);
        if spare.is_none() {
            // Without room again, the next one to be read may find some.
            *spare = Line::new().ok();
        }
        Ok((length, Set { descriptors: descriptors.into(), is_short }))
    }

    /// A bus that does not go on reading is left, and joined anew: it may be that it counts what others do not read as ours,
    /// until it takes nothing from us any more. Others wait for what is stuck, and so would whoever closes in order.
    async fn write(&self, buffers: &[IoSlice<'_>], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let write = poll_fn(|context| {
            self.registration
                .poll_io(context, Interest::Writable, || send(self.source.as_fd(), buffers, descriptors))
        });
        match timeout(PATIENCE, write).await {
            Ok(written) => written,
            Err(_) => {
                tracing::warn!("The bus does not read; leaving it.");
                let _ = shutdown(&self.source, Shutdown::Both);
                Err(ErrorKind::TimedOut.into())
            }
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // What was not read may hold descriptors, whose close lasts.
        let _ = shutdown(&self.source, Shutdown::Both);
        if let Some(closer) = &self.closer
            && ioctl_fionread(&self.source).is_ok_and(|unread| unread > 0)
        {
            self.gate = closer.pass(self.source.as_fd()).ok();
        }
    }
}

/// Whether an error may be another one soon: all who close are busy, or there is no room for more descriptors.
fn passes(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    error.kind() == ErrorKind::WouldBlock || matches!(errno, Some(Errno::MFILE | Errno::NFILE))
}

/// Whether all messages that begin in these bytes are such that not everybody can send them.
fn is_of_nobody(mut messages: &[u8]) -> bool {
    while !messages.is_empty() {
        match Frame::of(messages) {
            Some(frame) if !frame.is_anybodys() => {
                let length = frame.header.saturating_add(frame.body);
                messages = messages.get(length..).unwrap_or_default();
            }
            _ => return false,
        }
    }
    true
}

/// The half that messages come in by.
#[derive(Debug)]
pub struct Reader {
    socket: Arc<Shared>,
    /// What was read and is no message yet is at `start..end`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    sets: VecDeque<Set>,
    /// For when there is no room for more descriptors: what comes with some has to be read elsewhere even then.
    spare: Option<Line>,
}

impl Reader {
    fn new(socket: Arc<Shared>) -> Self {
        let spare = socket.closer.as_ref().and_then(|_| Line::new().ok());
        Self { socket, buffer: vec![0; BUFFER], start: 0, end: 0, sets: VecDeque::new(), spare }
    }

    fn buffered(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Reads what comes next behind what is in the buffer, which has room.
    async fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end = self.end.saturating_sub(self.start);
        self.start = 0;
        let (length, set) =
            self.socket.read(&mut self.buffer, self.end, &mut self.spare, is_of_nobody).await?;
        self.end = self.end.saturating_add(self.got(length, set)?);
        Ok(())
    }

    /// Keeps the descriptors of a read.
    fn got(&mut self, length: usize, set: Set) -> io::Result<usize> {
        if length == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if set.is_short || !set.descriptors.is_empty() {
            if self.sets.len() == SETS {
                return Err(io::Error::new(ErrorKind::InvalidData, "descriptors that belong to no message"));
            }
            self.sets.push_back(set);
        }
        Ok(length)
    }

    /// The next so many bytes.
    async fn take(&mut self, length: usize, frame: Frame) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        let ready = self.buffered();
        bytes.extend_from_slice(ready.get(..length).unwrap_or(ready));
        let mut at = bytes.len();
        self.start = self.start.saturating_add(at);
        bytes.resize(length, 0);
        while at < bytes.len() {
            let (length, set) =
                self.socket.read(&mut bytes, at, &mut self.spare, |_| !frame.is_anybodys()).await?;
            at = at.saturating_add(self.got(length, set)?);
        }
        Ok(bytes)
    }

    /// Leaves out the next so many bytes.
    async fn skip(&mut self, mut length: usize, frame: Frame) -> io::Result<()> {
        while length > 0 {
            length = length.saturating_sub(self.take(length.min(HEADER), frame).await?.len());
        }
        Ok(())
    }

    /// The descriptors of the message that was read; `None`: some are missing.
    fn descriptors(&mut self, count: usize) -> Option<Vec<OwnedFd>> {
        let mut taken = Vec::new();
        while taken.len() < count {
            let set = self.sets.front_mut()?;
            let wanted = count.saturating_sub(taken.len()).min(set.descriptors.len());
            taken.extend(set.descriptors.drain(..wanted));
            if set.descriptors.is_empty() {
                let is_short = set.is_short;
                self.sets.pop_front();
                if is_short && taken.len() < count {
                    return None;
                }
            }
        }
        Some(taken)
    }

    /// Reads a message; `None`: it was one that means nothing.
    async fn next(&mut self) -> zbus::Result<Option<Message>> {
        while self.buffered().len() < START {
            self.fill().await?;
        }
        let frame = Frame::of(self.buffered()).ok_or(zbus::Error::IncorrectEndian)?;
        let length = frame.header.saturating_add(frame.body);
        let (is_long, is_anybodys) = (length > self.buffer.len(), frame.is_anybodys());
        if frame.header > HEADER {
            self.skip(length, frame).await?;
            self.sets.clear();
            tracing::debug!("a message has a header of {} bytes", frame.header);
            return Ok(None);
        }
        let is_too_long = is_anybodys && length > MESSAGE;
        let mut bytes = self.take(if is_too_long { frame.header } else { length }, frame).await?;
        if is_too_long {
            self.skip(frame.body, frame).await?;
        }
        let Some(count) = frame.clean(&mut bytes) else {
            // Nobody knows how many are its own.
            self.sets.clear();
            tracing::debug!("a message has no valid header");
            return Ok(None);
        };
        let descriptors = self.descriptors(count);
        if is_long {
            // Nothing of the next message was read, so what there is belongs to this one.
            self.sets.clear();
        }
        let is_too_much = is_anybodys && count > DESCRIPTORS;
        let (bytes, descriptors) = match descriptors {
            Some(descriptors) if !is_too_long && !is_too_much => (Some(bytes), descriptors),
            _ => (frame.cut(&bytes), Vec::new()),
        };
        let Some(bytes) = bytes else { return Ok(None) };
        let data = Data::new_fds(bytes, Context::new(frame.endian, 0), descriptors);
        // SAFETY: see the top of this file.
        match unsafe { Message::from_bytes(data) } {
            Ok(message) => Ok(Some(message)),
            Err(error) => {
                tracing::debug!("what came is no message: {error}");
                Ok(None)
            }
        }
    }
}

/// Whether the body of a message was left out, as it is too large.
pub(crate) fn is_cut(message: &Message) -> bool {
    message.primary_header().flags().bits() & CUT != 0
}

#[async_trait]
impl ReadHalf for Reader {
    async fn receive_message(
        &mut self,
        _: u64,
        bytes: &mut Vec<u8>,
        descriptors: &mut Vec<OwnedFd>,
    ) -> zbus::Result<Message> {
        if !bytes.is_empty() {
            // What was read with the end of the handshake.
            bytes.extend_from_slice(self.buffered());
            (self.start, self.end) = (0, bytes.len());
            self.buffer = std::mem::take(bytes);
            self.buffer.resize(self.end.max(BUFFER), 0);
        }
        if !descriptors.is_empty() {
            self.sets.push_front(Set { descriptors: descriptors.drain(..).collect(), is_short: false });
        }
        loop {
            if let Some(message) = self.next().await? {
                return Ok(message);
            }
        }
    }

    /// For the handshake, before the first message.
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        // Nobody but the bus can say anything yet.
        let (length, set) = self.socket.read(buffer, 0, &mut self.spare, |_| true).await?;
        Ok((length, set.descriptors.into()))
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }
}

/// The half that messages go out by.
#[derive(Debug)]
pub struct Writer(Arc<Shared>);

#[async_trait]
impl WriteHalf for Writer {
    async fn send_messages(&mut self, mut messages: &[Message]) -> zbus::Result<()> {
        while let [first, rest @ ..] = messages {
            // Descriptors go with the first byte of a write.
            let descriptors: Vec<_> = first.data().fds().iter().map(AsFd::as_fd).collect();
            let mut bytes = first.data().len();
            let joins = |message: &&Message| {
                let joins = bytes < BYTES && message.data().fds().is_empty();
                bytes = bytes.saturating_add(message.data().len());
                joins
            };
            let count = rest.iter().take(MORE).take_while(joins).count().saturating_add(1);
            let (now, later) = messages.split_at(count);
            let mut slices: Vec<_> = now.iter().map(|message| IoSlice::new(message.data())).collect();
            let (mut slices, mut descriptors) = (&mut *slices, &*descriptors);
            while !slices.is_empty() {
                let written = self.0.write(slices, descriptors).await?;
                IoSlice::advance_slices(&mut slices, written);
                descriptors = &[];
            }
            messages = later;
        }
        Ok(())
    }

    async fn send_message(&mut self, message: &Message) -> zbus::Result<()> {
        self.send_messages(std::slice::from_ref(message)).await
    }

    async fn sendmsg(&mut self, buffer: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.0.write(&[IoSlice::new(buffer)], descriptors).await
    }

    async fn close(&mut self) -> io::Result<()> {
        Ok(shutdown(&self.0.source, Shutdown::Both)?)
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
