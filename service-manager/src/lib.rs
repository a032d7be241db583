//! What a daemon and whoever started it tell each other: messages for the log, sockets that are open already, that it is
//! ready and still turns, how many files it may open. Works the same without a service manager.

mod activation;
mod descriptors;
mod failure;
mod life;
pub mod log;
mod memory;
mod state;

pub use activation::sockets;
pub use descriptors::raise_descriptor_limit;
pub use failure::Failure;
pub use life::{exit_status, run};
pub use memory::give_large_memory_back;
pub use state::{EndSignals, ready, signals, stopping, watchdog};
