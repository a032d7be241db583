//! A bus, as the server and its calls use it.

use std::pin::Pin;
use std::rc::Rc;

use zbus::message::Message;

use crate::credentials::Credentials;
use crate::error_reply::ErrorReply;

/// A future of one thread.
pub type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// The bus, as the server needs it.
pub trait Bus {
    /// Sends a message after those that were sent before it. Never waits.
    fn send(&self, message: Message);

    /// Waits until a sender has read what was sent to it, but for a little; `None`: it has, as far as is known.
    fn unread(&self, name: &str) -> Option<LocalFuture<()>>;

    /// Who is behind a unique name.
    fn credentials(&self, name: String) -> LocalFuture<Result<Rc<Credentials>, ErrorReply>>;
}
