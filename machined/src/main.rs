//! `machined`, the registry daemon.
fn main() {}
