//! A Unix stream as transport for zlink: input goes through the [`Inbox`], file descriptors never come in.

use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;

use rustix::net::{SendFlags, send};
use tokio::io::Interest;
use tokio::net::UnixStream;
use zlink::connection::PassedCredentials;
use zlink::connection::socket::{ReadHalf, ReadResult, Socket, WriteHalf};

use super::inbox::{Inbox, TooLarge};

/// One connection's stream. Both halves are handles to it, so that a reader can be replaced by a fresh one.
#[derive(Debug, Clone)]
pub(super) struct Stream(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    stream: UnixStream,
    inbox: RefCell<Inbox>,
}

impl Stream {
    pub fn new(stream: UnixStream, inbox: Inbox) -> Self {
        Self(Rc::new(Inner { stream, inbox: RefCell::new(inbox) }))
    }

    /// Marks the message that was received last as dealt with; returns its length.
    pub fn message_done(&self) -> usize {
        self.0.inbox.borrow_mut().next_message()
    }

    /// Waits until the peer has closed its end for good. One that only shut down its sending side still
    /// waits for replies.
    pub async fn hung_up(&self) {
        while let Ok(ready) = self.0.stream.ready(Interest::WRITABLE).await
            && !ready.is_write_closed()
        {
            // Only forgets that the stream is writable, which `write` does not rely on, so as to hear of
            // the next change instead of this one again. That it is closed is never forgotten.
            let forget = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            self.0.stream.try_io(Interest::WRITABLE, forget).unwrap_or_default();
        }
    }
}

impl Socket for Stream {
    type ReadHalf = Self;
    type WriteHalf = Self;

    fn split(self) -> (Self, Self) {
        (self.clone(), self)
    }
}

impl ReadHalf for Stream {
    async fn read(&mut self, out: &mut [u8]) -> zlink::Result<ReadResult> {
        let Inner { stream, inbox } = &*self.0;
        loop {
            match inbox.borrow_mut().take(out) {
                Ok(0) => {}
                Ok(taken) => return Ok(ReadResult::new(taken)),
                Err(TooLarge) => return Err(zlink::Error::BufferOverflow),
            }
            inbox.borrow_mut().shrink();
            stream.readable().await?;
            // A plain read: descriptors that a peer attaches are dropped by the kernel, unseen.
            match stream.try_read_buf(inbox.borrow_mut().room()) {
                Ok(0) => return Ok(ReadResult::new(0)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl WriteHalf for Stream {
    async fn write(
        &mut self,
        bytes: &[u8],
        fds: &[impl AsFd],
        _credentials: Option<&PassedCredentials>,
    ) -> zlink::Result<()> {
        if !fds.is_empty() {
            return Err(io::Error::from(io::ErrorKind::Unsupported).into());
        }
        let stream = &self.0.stream;
        let mut rest = bytes;
        while !rest.is_empty() {
            // First the kernel, then tokio, whose knowledge may be behind: see `hung_up`.
            let sent = match send(stream, rest, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Err(rustix::io::Errno::AGAIN) => {
                    stream.writable().await?;
                    stream.try_io(Interest::WRITABLE, || {
                        Ok(send(stream, rest, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?)
                    })
                }
                result => result.map_err(io::Error::from),
            };
            match sent {
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
