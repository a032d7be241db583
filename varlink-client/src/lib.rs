//! A Varlink client: one connection to a service, calls and streams of replies, with descriptors both ways.
//!
//! It blocks, but never longer than its [`Patience`], and needs no runtime. Streams are read as they are consumed: who
//! is slow makes the service wait, and neither side keeps more than a socket's buffer.
//!
//! ```no_run
//! use varlink_client::{Client, Patience};
//! # fn main() -> Result<(), varlink_client::Error> {
//! let path = std::path::Path::new("/run/systemd/machine/io.systemd.Machine");
//! let mut client = Client::connect(path, Patience::default())?;
//! for machine in client.stream("io.systemd.Machine.List", &serde_json::json!({}))? {
//!     println!("{}", machine?.parameters);
//! }
//! # Ok(())
//! # }
//! ```

mod connect;
mod error;
mod message;
mod stream;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use error::Error;
use message::{Flags, Incoming, call};
use stream::Stream;

/// How long a client waits for the service at a time; `None` is for ever.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// To be let in, and for the service to take a call.
    pub connect: Option<Duration>,
    /// For one reply.
    pub reply: Option<Duration>,
}

impl Default for Patience {
    /// As sd-varlink's clients: 45 seconds.
    fn default() -> Self {
        let usual = Some(Duration::from_secs(45));
        Self { connect: usual, reply: usual }
    }
}

/// What a service has answered.
#[derive(Debug)]
pub struct Reply {
    /// An object.
    pub parameters: Value,
    /// What came along; `parameters` name them by their index.
    pub descriptors: Vec<OwnedFd>,
}

impl Reply {
    /// The parameters as a type.
    ///
    /// # Errors
    /// [`Error::Nonsense`]: they are not of that type.
    pub fn parse<T: DeserializeOwned>(self) -> Result<T, Error> {
        serde_json::from_value(self.parameters).map_err(Error::Nonsense)
    }
}

/// A connection to a service.
#[derive(Debug)]
pub struct Client {
    stream: Stream,
    patience: Patience,
    /// How many replies of a stream that was given up are still to come is not known: no call can follow it.
    is_spoilt: bool,
}

impl Client {
    /// Connects to the service at `path`.
    ///
    /// # Errors
    /// [`Error::Connect`]: nobody listens there, or whoever does lets nobody in.
    pub fn connect(path: &Path, patience: Patience) -> Result<Self, Error> {
        let socket = connect::connect(path, patience.connect)
            .map_err(|source| Error::Connect { path: path.to_owned(), source })?;
        Self::over(socket, patience)
    }

    /// Takes over a socket that is connected to a service.
    ///
    /// # Errors
    /// [`Error::Io`]: it cannot be made not to block.
    pub fn over(socket: OwnedFd, patience: Patience) -> Result<Self, Error> {
        rustix::io::ioctl_fionbio(&socket, true).map_err(|errno| Error::Io(errno.into()))?;
        Ok(Self { stream: Stream::new(socket), patience, is_spoilt: false })
    }

    /// Calls a method, and waits for its one reply.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Refused`] is the service's own answer, after which the connection goes on.
    pub fn call(&mut self, method: &str, parameters: &impl Serialize) -> Result<Reply, Error> {
        self.call_with(method, parameters, &[])
    }

    /// The same, with descriptors for the service.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn call_with(
        &mut self,
        method: &str,
        parameters: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Reply, Error> {
        self.send(method, parameters, Flags::default(), descriptors)?;
        match self.receive()? {
            (reply, false) => Ok(reply),
            (_, true) => {
                self.is_spoilt = true;
                Err(Error::Unexpected("a reply that more were to follow"))
            }
        }
    }

    /// Calls a method for nothing but its effect: the service does not answer.
    ///
    /// # Errors
    /// The call could not be sent.
    pub fn call_oneway(&mut self, method: &str, parameters: &impl Serialize) -> Result<(), Error> {
        self.send(method, parameters, Flags { oneway: true, ..Flags::default() }, &[])
    }

    /// Calls a method for any number of replies. Who drops the stream before its end gives the connection up.
    ///
    /// # Errors
    /// The call could not be sent.
    pub fn stream(&mut self, method: &str, parameters: &impl Serialize) -> Result<Replies<'_>, Error> {
        self.send(method, parameters, Flags { more: true, ..Flags::default() }, &[])?;
        self.is_spoilt = true;
        Ok(Replies { client: self, is_over: false })
    }

    fn send(
        &mut self,
        method: &str,
        parameters: &impl Serialize,
        flags: Flags,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), Error> {
        if self.is_spoilt {
            return Err(Error::Unexpected("replies to an earlier call"));
        }
        let message = call(method, parameters, flags).map_err(Error::Nonsense)?;
        let sent = self.stream.send(&message, descriptors, self.patience.connect);
        sent.map_err(|error| self.broken(error))
    }

    /// The next reply, and whether more follow.
    fn receive(&mut self) -> Result<(Reply, bool), Error> {
        let received = self.stream.receive(self.patience.reply);
        let (message, descriptors) = received.map_err(|error| self.broken(error))?;
        let incoming = Incoming::read(&message).map_err(|error| {
            self.is_spoilt = true;
            Error::Nonsense(error)
        })?;
        let parameters = incoming.parameters.map_or_else(|| Value::Object(Default::default()), Value::Object);
        match incoming.error {
            Some(id) => Err(Error::Refused { id, parameters }),
            None => Ok((Reply { parameters, descriptors }, incoming.continues)),
        }
    }

    fn broken(&mut self, error: io::Error) -> Error {
        self.is_spoilt = true;
        match error.kind() {
            io::ErrorKind::TimedOut => Error::TooLate,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                Error::HungUp
            }
            _ => Error::Io(error),
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// The replies of one call, as they come.
#[derive(Debug)]
pub struct Replies<'client> {
    client: &'client mut Client,
    is_over: bool,
}

impl Iterator for Replies<'_> {
    type Item = Result<Reply, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        match self.client.receive() {
            Ok((reply, continues)) => {
                self.is_over = !continues;
                self.client.is_spoilt = continues;
                Some(Ok(reply))
            }
            Err(error) => {
                self.is_over = true;
                self.client.is_spoilt = !matches!(error, Error::Refused { .. });
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests;
