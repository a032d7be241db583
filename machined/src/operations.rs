//! What can be asked of the daemon, in one place for all its front ends.

mod end;
mod metadata;
mod register;

pub use end::{KillWhom, Target};
pub use metadata::uid_shift;
pub use register::Registration;
