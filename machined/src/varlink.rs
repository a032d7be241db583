//! The Varlink front end: tables over the daemon's operations.

use varlink_server::About;

pub mod copying;
mod how_far;
pub mod image;
pub mod machine;
pub mod registry;

/// What `org.varlink.service.GetInfo` says about this daemon.
pub const ABOUT: About = About {
    vendor: "mymachines",
    product: "mymachines machined",
    version: env!("CARGO_PKG_VERSION"),
    url: "",
};
