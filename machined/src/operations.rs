//! What can be asked of the daemon, in one place for all its front ends.

mod bind;
mod copy;
mod end;
mod followed;
mod given;
mod guest;
mod images;
mod left_over;
mod mapping;
mod metadata;
mod permission;
mod questions;
mod register;
mod services;
mod shell_words;
mod state;
mod target;
mod terminal;

pub use bind::is_plain_path;
pub use copy::Copying;
pub use end::KillWhom;
pub use images::{ImageChange, Telling};
pub use metadata::uid_shift;
pub use register::Registration;
pub use services::Operations;
pub use shell_words::{is_assignment, is_user_name};
pub use state::State;
pub use target::Target;
pub use terminal::{Program, VARIABLES};
