//! Who asks for something.

use std::rc::Rc;

/// How polkit knows a caller.
#[derive(Clone, Debug)]
pub enum Subject {
    /// By its unique name on the system bus.
    BusName(String),
    /// By its process, that of a peer of a socket.
    Process(Rc<varlink_server::Peer>),
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its effective uid, which the kernel or the bus vouches for.
    pub uid: u32,
    /// How polkit knows it.
    pub subject: Subject,
    /// Whether somebody may be asked for a password.
    pub is_interactive: bool,
}

/// What polkit's rules are told beyond the action: `machine`, `verb`, ...
pub type Details<'a> = &'a [(&'static str, &'a str)];
