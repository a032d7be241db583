//! What can be asked of the daemon, in one place for all its front ends.

mod end;
mod mapping;
mod metadata;
mod permission;
mod register;
mod state;

pub use end::{KillWhom, Target};
pub use metadata::uid_shift;
pub use register::Registration;
pub use state::State;
