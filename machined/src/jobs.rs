//! What takes time: bounded in all and for each on whose behalf it is done, with deadlines for what may hang.

mod tasks;
mod turns;

pub use tasks::Tasks;
pub use turns::{Gone, Jobs, Party};
