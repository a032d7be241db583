//! Against the kernel: real namespaces, as root, or under `unshare --user --map-root-user`.

mod dumps;
mod ids;
mod notified;
mod routes;
mod sandbox;
