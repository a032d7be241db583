//! What can be asked of the daemon, in one place for all its front ends.

mod end;
mod followed;
mod guest;
mod images;
mod left_over;
mod mapping;
mod metadata;
mod permission;
mod questions;
mod register;
mod services;
mod state;
mod target;

pub use end::KillWhom;
pub use metadata::uid_shift;
pub use register::Registration;
pub use services::Operations;
pub use state::State;
pub use target::Target;
