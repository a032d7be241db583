//! How a handler answers its call.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use rustix::io::Errno;
use serde::Serialize;

use super::error_reply::ErrorReply;
use super::message::write_reply;

/// From this size on, what is buffered is written before more is added.
pub(super) const BATCH: usize = 64 << 10;

/// Replies that are not written yet.
pub(super) type Outbox = Rc<RefCell<Vec<u8>>>;

/// The right to answer one call: any number of [`Replier::send`], then one [`Replier::reply`], which
/// uses it up. For an error the handler returns it instead.
#[derive(Debug)]
pub struct Replier {
    outbox: Outbox,
    more: bool,
    oneway: bool,
}

/// Proof that a call got its final reply.
#[derive(Debug)]
#[must_use = "a handler returns it"]
pub struct Done(());

impl Replier {
    pub(super) fn new(outbox: Outbox, more: bool, oneway: bool) -> Self {
        Self { outbox, more, oneway }
    }

    /// The final, or only, reply. `()` is the reply without parameters.
    ///
    /// # Errors
    /// `EBADMSG`: `parameters` cannot be sent; the handler passes the error on.
    pub fn reply(self, parameters: &impl Serialize) -> Result<Done, ErrorReply> {
        self.put(parameters, false).map(Done)
    }

    /// One reply of a stream, to be followed by another. Waits while the peer is behind; what is
    /// buffered is written at the latest when the handler waits for something.
    ///
    /// # Errors
    /// `ExpectedMore` when the call did not ask for a stream, `EBADMSG` when `parameters` cannot be
    /// sent.
    pub async fn send(&mut self, parameters: &impl Serialize) -> Result<(), ErrorReply> {
        if !self.more {
            return Err(ErrorReply::expected_more());
        }
        self.put(parameters, true)?;
        // The connection writes whenever a handler waits, and polls it again after that.
        poll_fn(|_| if self.outbox.borrow().len() < BATCH { Poll::Ready(()) } else { Poll::Pending }).await;
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

    fn put(&self, parameters: &impl Serialize, continues: bool) -> Result<(), ErrorReply> {
        if self.oneway {
            return Ok(());
        }
        write_reply(&mut self.outbox.borrow_mut(), parameters, continues).map_err(|error| {
            tracing::error!("a reply cannot be sent: {error}");
            ErrorReply::system(Errno::BADMSG)
        })
    }
}
