//! Which module glibc loads for the word `mymachines` in nsswitch.conf.
//!
//! # Safety
//! The module is loaded as glibc loads it for any lookup, and one of its addresses is asked for; nothing of it is called.

#![allow(unsafe_code, reason = "dlopen(3)")]

use std::ffi::CStr;

use super::{Finding, first_of};

const ABOUT: &str = "module";
const NAME: &CStr = c"libnss_mymachines.so.2";
/// What ours has, and systemd's has not.
const OWN_SYMBOL: &CStr = c"_nss_mymachines_gethostbyaddr_r";
const PLACES: [&str; 6] = [
    "/usr/local/lib/libnss_mymachines.so.2",
    "/usr/local/lib64/libnss_mymachines.so.2",
    "/usr/local/lib/x86_64-linux-gnu/libnss_mymachines.so.2",
    "/usr/local/lib/aarch64-linux-gnu/libnss_mymachines.so.2",
    "/usr/lib64/libnss_mymachines.so.2",
    "/usr/lib/libnss_mymachines.so.2",
];

pub fn check() -> Vec<Finding> {
    let mut findings = vec![match loaded() {
        Some((path, true)) => Finding::good(ABOUT, format!("glibc loads that of mymachines, {path}")),
        Some((path, false)) => {
            let finding =
                Finding::note(ABOUT, format!("glibc loads {path}, which is not that of mymachines"));
            match first_of(&PLACES) {
                Some(own) if own != path => finding.mend(format!("ldconfig   # {own} is there too")),
                _ => finding,
            }
        }
        None => {
            let finding = Finding::wrong(ABOUT, format!("glibc finds no {}", NAME.to_string_lossy()));
            match first_of(&PLACES) {
                Some(path) => finding.mend(format!("ldconfig   # {path} is there")),
                None => finding.mend("make install"),
            }
        }
    }];
    if first_of(&["/run/nscd/socket", "/var/run/nscd/socket"]).is_some() {
        findings.push(
            Finding::note(
                ABOUT,
                "nscd runs: it keeps answers for a while, and the module it has loaded until it is restarted",
            )
            .mend("nscd --invalidate=hosts"),
        );
    }
    findings
}

/// The path of the module that is loaded, and whether it is ours.
pub fn loaded() -> Option<(String, bool)> {
    // SAFETY: the name ends in a zero byte; no code runs but what the module runs when it is loaded, which is none.
    let module = unsafe { libc::dlopen(NAME.as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL) };
    if module.is_null() {
        return None;
    }
    // SAFETY: the module is loaded, the name ends in a zero byte.
    let is_own = !unsafe { libc::dlsym(module, OWN_SYMBOL.as_ptr()) }.is_null();
    // The one that was loaded stays; where it is, the kernel tells.
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    Some((path_in_maps(&maps, &NAME.to_string_lossy())?, is_own))
}

/// The path of a mapped file with this name, proc_pid_maps(5).
fn path_in_maps(maps: &str, name: &str) -> Option<String> {
    let paths = maps.lines().filter_map(|line| line.find('/').and_then(|at| line.get(at..)));
    paths
        .map(|path| path.trim_end_matches(" (deleted)"))
        .find(|path| path.rsplit('/').next() == Some(name))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_that_of_the_mapping() {
        let maps = "7f00-7f01 r--p 00000000 fe:00 12  /usr/lib/libc.so.6\n\
                    7f02-7f03 r-xp 00000000 fe:00 13  /usr/local/lib/libnss_mymachines.so.2\n\
                    7f04-7f05 rw-p 00000000 00:00 0\n";
        let found = path_in_maps(maps, "libnss_mymachines.so.2");
        assert_eq!(found.as_deref(), Some("/usr/local/lib/libnss_mymachines.so.2"));
        assert_eq!(path_in_maps(maps, "libnss_dns.so.2"), None);
    }
}
