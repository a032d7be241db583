//! What can be asked of the daemon, in one place for all its front ends.

mod end;
mod mapping;
mod metadata;
mod register;
mod state;

pub use end::{KillWhom, Target};
pub use metadata::uid_shift;
pub use register::{Registered, Registration};
pub use state::State;
