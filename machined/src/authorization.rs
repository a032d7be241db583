//! Who may do what, as a type: what changes a machine or tells its secrets takes an [`Authorized`] of that action,
//! and only this module makes one.
//!
//! Root may do all, and so may whom the daemon runs as. What an owner may do says the table of actions. All else is polkit's
//! to judge; where there is no polkit, or no bus, it is refused.

mod action;
mod authority;
mod caller;
mod decision;
mod polkit;

pub use action::{
    Action, Bind, Copy, Create, Enter, HostLogin, HostOpenPty, HostShell, Inspect, InspectImages, Login,
    Manage, ManageImages, ManagePool, OpenPty, OpenShell, Register,
};
pub use caller::{Caller, Details, Subject};
pub use decision::{Authorized, decide};
pub use polkit::Polkit;
