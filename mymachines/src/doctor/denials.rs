//! Whether AppArmor or SELinux has denied something to the suite or to its readers. The kernel's log has that, and only
//! root may read it.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::{fs, io};

use super::Finding;
use super::module::loaded;

const ABOUT: &str = "denials";
const LOCAL_RULE: &str = "/etc/apparmor.d/abstractions/nameservice.d/mymachines";
/// What the log is read of at most, in entries.
const ENTRIES_MAX: usize = 100_000;

pub fn check() -> Vec<Finding> {
    let apparmor =
        fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y'));
    let selinux = fs::metadata("/sys/fs/selinux/enforce").is_ok();
    if !apparmor && !selinux {
        return vec![Finding::good(ABOUT, "neither AppArmor nor SELinux is on")];
    }
    let mut findings = Vec::new();
    if apparmor && is_module_local() && fs::metadata(LOCAL_RULE).is_err() {
        let rule = "/usr/local/lib/{,@{multiarch}/}libnss_mymachines.so.2 mr,";
        findings.push(
            Finding::note(ABOUT, "AppArmor keeps the module below /usr/local from programs that it confines")
                .mend(format!(
                    "mkdir -p {0} && echo '{rule}' >{LOCAL_RULE} && systemctl reload apparmor",
                    "/etc/apparmor.d/abstractions/nameservice.d"
                )),
        );
    }
    match kernel_log() {
        Ok(entries) => findings.extend(denials(&entries)),
        Err(error) => {
            findings.push(
                Finding::note(ABOUT, format!("cannot read the kernel's log: {error}"))
                    .mend("sudo mymachines doctor"),
            );
        }
    }
    if findings.is_empty() {
        findings.push(Finding::good(ABOUT, "the kernel's log has none of machined or its module"));
    }
    findings
}

/// Whether it is where no distribution's rule allows it.
fn is_module_local() -> bool {
    loaded().is_some_and(|(path, _)| path.starts_with("/usr/local/"))
}

/// One finding for each different denial.
fn denials(entries: &[String]) -> Vec<Finding> {
    let mut seen: Vec<String> = Vec::new();
    for entry in entries {
        let is_denial =
            entry.contains("apparmor=\"DENIED\"") || (entry.contains("avc:") && entry.contains("denied"));
        if !is_denial || !entry.contains("machine") {
            continue;
        }
        // Without what differs from time to time.
        let words = entry.split_whitespace().filter(|word| {
            !["audit(", "type=", "pid=", "ino="].iter().any(|varying| word.starts_with(varying))
        });
        let denial = words.collect::<Vec<_>>().join(" ");
        let denial = denial.rsplit(';').next().unwrap_or_default().trim().to_owned();
        if !seen.contains(&denial) {
            seen.push(denial);
        }
    }
    seen.into_iter()
        .map(|denial| {
            Finding::wrong(ABOUT, denial).mend("see docs/mac.md of mymachines for the rule that allows it")
        })
        .collect()
}

/// The entries of the kernel's log, each read by one call; none is waited for.
fn kernel_log() -> io::Result<Vec<String>> {
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg")?;
    let mut entries = Vec::new();
    let mut buffer = vec![0_u8; 8192];
    while entries.len() < ENTRIES_MAX {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                let entry = buffer.get(..length).unwrap_or_default();
                entries.push(String::from_utf8_lossy(entry).lines().next().unwrap_or_default().to_owned());
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            // Entries were overwritten meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_denial_is_told_once() {
        let denial = |pid: u32| {
            format!(
                "5,{pid},99,-;audit: type=1400 audit(17.{pid}:1): apparmor=\"DENIED\" operation=\"open\" \
                 profile=\"tgetent\" name=\"/usr/local/lib/libnss_mymachines.so.2\" pid={pid} comm=\"tgetent\""
            )
        };
        let other = "6,1,1,-;usb 1-1: new device of a machine".to_owned();
        let found = denials(&[denial(7), denial(8), other]);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].text.contains("libnss_mymachines") && !found[0].text.contains("pid="),
            "{}",
            found[0].text
        );
    }
}
