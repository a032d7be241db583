//! How a handler answers its call.

use std::cell::RefCell;
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::Poll;

use rustix::io::Errno;
use serde::Serialize;

use super::descriptors::Descriptors;
use super::error_reply::ErrorReply;
use super::message::write_reply;
use super::outbox::Outbox;

/// The right to answer one call: any number of [`Replier::send`], then one [`Replier::reply`], which
/// uses it up. For an error the handler returns it instead.
#[derive(Debug)]
pub struct Replier {
    outbox: Rc<RefCell<Outbox>>,
    more: bool,
    oneway: bool,
    descriptors: Descriptors,
}

/// Proof that a call got its final reply.
#[derive(Debug)]
#[must_use = "a handler returns it"]
pub struct Done(());

impl Replier {
    pub(super) fn new(
        outbox: Rc<RefCell<Outbox>>,
        more: bool,
        oneway: bool,
        descriptors: Descriptors,
    ) -> Self {
        Self { outbox, more, oneway, descriptors }
    }

    /// The final, or only, reply. `()` is the reply without parameters.
    ///
    /// # Errors
    /// `EBADMSG`: `parameters` cannot be sent; the handler passes the error on.
    pub fn reply(self, parameters: &impl Serialize) -> Result<Done, ErrorReply> {
        self.put(parameters, Vec::new(), false).map(Done)
    }

    /// The same with descriptors, which `parameters` name by their index. A peer that takes none is answered with
    /// `PermissionDenied` instead.
    ///
    /// # Errors
    /// As for [`Replier::reply`], and where the method is none that sends descriptors.
    pub fn reply_with(
        self,
        parameters: &impl Serialize,
        descriptors: Vec<OwnedFd>,
    ) -> Result<Done, ErrorReply> {
        self.put(parameters, descriptors, false).map(Done)
    }

    /// One reply of a stream, to be followed by another. Waits while the peer is behind; what is
    /// buffered is written at the latest when the handler waits for something.
    ///
    /// # Errors
    /// `ExpectedMore` when the call did not ask for a stream, `EBADMSG` when `parameters` cannot be
    /// sent.
    pub async fn send(&mut self, parameters: &impl Serialize) -> Result<(), ErrorReply> {
        self.send_with(parameters, Vec::new()).await
    }

    /// The same with descriptors. A peer that takes none loses the connection.
    ///
    /// # Errors
    /// As for [`Replier::send`], and where the method is none that sends descriptors.
    pub async fn send_with(
        &mut self,
        parameters: &impl Serialize,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), ErrorReply> {
        if !self.more {
            return Err(ErrorReply::expected_more());
        }
        self.put(parameters, descriptors, true)?;
        // The connection writes whenever a handler waits, and polls it again after that.
        poll_fn(|_| if self.outbox.borrow().is_full() { Poll::Pending } else { Poll::Ready(()) }).await;
        Ok(())
    }

    /// One reply per item, the last one final; `None` when there was no item, and so no reply yet.
    ///
    /// # Errors
    /// As for [`Replier::send`].
    pub async fn reply_all<T: Serialize>(
        mut self,
        items: impl IntoIterator<Item = T>,
    ) -> Result<Option<Done>, ErrorReply> {
        let mut items = items.into_iter();
        let Some(mut held) = items.next() else { return Ok(None) };
        for item in items {
            self.send(&held).await?;
            held = item;
        }
        self.reply(&held).map(Some)
    }

    fn put(
        &self,
        parameters: &impl Serialize,
        descriptors: Vec<OwnedFd>,
        continues: bool,
    ) -> Result<(), ErrorReply> {
        if !descriptors.is_empty() && self.descriptors != Descriptors::Sent {
            tracing::error!("a method that sends no descriptors has some for its reply");
            return Err(ErrorReply::system(Errno::IO));
        }
        if self.oneway {
            return Ok(());
        }
        let mut outbox = self.outbox.borrow_mut();
        let start = outbox.bytes.len();
        write_reply(&mut outbox.bytes, parameters, continues).map_err(|error| {
            tracing::error!("a reply cannot be sent: {error}");
            ErrorReply::system(Errno::BADMSG)
        })?;
        outbox.attach(start, descriptors);
        Ok(())
    }
}
