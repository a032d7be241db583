//! The options `--user` and `--system`.

use clap::Args;
use registry::calls::RegistryFiles;

/// Which daemon is called, or whose registry is read.
#[derive(Debug, Default, Args)]
pub struct Whose {
    /// Only the calling user's own daemon, machined --user, and its machines
    #[arg(long, conflicts_with = "system")]
    pub user: bool,
    /// Only the system's daemon, and its machines
    #[arg(long)]
    pub system: bool,
}

impl Whose {
    /// Whether a registry is to be read: all are, unless one of the two is said.
    pub const fn includes(&self, registry: RegistryFiles) -> bool {
        if registry.user().is_some() { !self.system } else { !self.user }
    }
}
