//! Query library for the machines of a host: from processes to the control groups and units they run in.
//!
//! Everything is read from files and from the kernel at the moment of the call: no daemon is asked, nothing is
//! kept between calls, nothing waits.

mod cgroup;
mod error;
mod namespace;
mod ownership;
mod process;
mod signal;

pub use cgroup::{ControlGroup, UnitPlace};
pub use error::Error;
pub use namespace::Namespace;
pub use process::{ProcessHandle, boot_id};
pub use signal::{signal_of_name, signal_of_number};
