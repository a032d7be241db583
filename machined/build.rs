//! Has the linker write what is relocated at the start in its short form, some 150 KiB less to read and to keep, where the C
//! library that it is built for knows that: glibc does since 2.36.

use std::env;
use std::process::Command;

/// The first version of glibc that reads it.
const SINCE: (u32, u32) = (2, 36);

/// The version of the C library here, if that is glibc: getconf(1).
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Nothing is known of the C library of another target.
    let is_native = env::var("HOST").ok() == env::var("TARGET").ok();
    if is_native && glibc().is_some_and(|version| version >= SINCE) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}
