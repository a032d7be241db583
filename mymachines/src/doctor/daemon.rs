//! Which daemon serves, and whether it answers.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rustix::fs::{major, minor};
use serde_json::{Map, Value};

use super::processes::{Process, named};
use super::{Finding, first_of, has_systemd};
use crate::client::{self, CallError, MACHINED};

const ABOUT: &str = "daemon";
const PATIENCE: Duration = Duration::from_secs(2);
const UNITS: [&str; 3] = [
    "/etc/systemd/system/machined.service",
    "/usr/local/lib/systemd/system/machined.service",
    "/usr/lib/systemd/system/machined.service",
];
const STOCK_UNIT: &str = "/usr/lib/systemd/system/systemd-machined.service";
/// What enabling ours makes.
const OWN_LINK: &str = "/etc/systemd/system/systemd-machined.service";
const PROGRAMS: [&str; 2] = ["/usr/local/sbin/machined", "/usr/sbin/machined"];
const VENDOR: &str = "mymachines";

pub fn check() -> Vec<Finding> {
    let keeper = keeper();
    vec![match who_answers() {
        Ok(info) => answered(&info, keeper.as_ref()),
        Err(error) => silent(&error, keeper.as_ref()),
    }]
}

fn who_answers() -> Result<Map<String, Value>, CallError> {
    client::call(MACHINED, PATIENCE, "org.varlink.service.GetInfo", &Map::new())
}

fn answered(info: &Map<String, Value>, keeper: Option<&Process>) -> Finding {
    let field = |name: &str| info.get(name).and_then(Value::as_str).unwrap_or("?");
    if field("vendor") != VENDOR {
        let who = named("systemd-machined")
            .first()
            .map_or(String::new(), |process| format!(", {}", process.words()));
        let text = format!("{} of {} serves{who}, not that of mymachines", field("product"), field("vendor"));
        return in_its_place(Finding::note(ABOUT, text));
    }
    let who = keeper.map_or_else(|| "it does not keep the registry".to_owned(), Process::words);
    let (version, own) = (field("version"), env!("CARGO_PKG_VERSION"));
    let text = format!("machined {version} of mymachines serves: {who}");
    if keeper.is_none() {
        Finding::wrong(ABOUT, text).mend(restart(None))
    } else if version.split_whitespace().any(|word| word == own) {
        Finding::good(ABOUT, text)
    } else {
        Finding::note(ABOUT, format!("{text}; this is the tool of {own}")).mend(restart(keeper))
    }
}

fn silent(error: &CallError, keeper: Option<&Process>) -> Finding {
    match (error, keeper) {
        (CallError::NobodyThere(_), None) => match named("systemd-machined").first() {
            Some(stock) => {
                let text = format!("systemd-machined serves, {}, and has no Varlink socket", stock.words());
                in_its_place(Finding::note(ABOUT, text))
            }
            None if has_systemd() && first_of(&[STOCK_UNIT]).is_some() && first_of(&[OWN_LINK]).is_none() => {
                in_its_place(Finding::note(
                    ABOUT,
                    "systemd-machined has the place, and is started when it is called",
                ))
            }
            None => start(Finding::wrong(ABOUT, format!("no machined serves {MACHINED}"))),
        },
        (CallError::NobodyThere(cause), Some(keeper)) => {
            let text = format!("machined runs, {}, but {MACHINED} leads nowhere: {cause}", keeper.words());
            Finding::wrong(ABOUT, text).mend(restart(Some(keeper)))
        }
        (CallError::NoAnswer(_) | CallError::Full, Some(keeper)) if keeper.is_stopped => {
            Finding::wrong(ABOUT, format!("machined is stopped, {}", keeper.words()))
                .mend(format!("kill -CONT {}", keeper.pid))
        }
        (CallError::NoAnswer(_) | CallError::Full, keeper) => {
            let who = keeper.map_or(String::new(), |keeper| format!(", {},", keeper.words()));
            let text = format!("machined{who} does not answer within {} s", PATIENCE.as_secs());
            Finding::wrong(ABOUT, text).mend(restart(keeper))
        }
        (CallError::Nonsense(what), _) => {
            Finding::wrong(ABOUT, format!("what serves {MACHINED} speaks no Varlink: {what}"))
        }
        (CallError::Refused(id, _), _) => {
            Finding::wrong(ABOUT, format!("what serves {MACHINED} does not say who it is: {id}"))
        }
    }
}

/// How ours comes into the place of systemd's, if it is installed.
fn in_its_place(finding: Finding) -> Finding {
    if first_of(&UNITS).is_none() {
        return finding;
    }
    finding.mend("systemctl enable --now machined")
}

fn start(finding: Finding) -> Finding {
    match (has_systemd(), first_of(&UNITS), first_of(&PROGRAMS)) {
        (true, Some(_), _) => finding.mend("systemctl enable --now machined"),
        (_, _, Some(program)) => {
            finding.mend(format!("{program} &   # from whatever supervises your daemons"))
        }
        _ => finding.mend("make install   # machined is not installed"),
    }
}

fn restart(keeper: Option<&Process>) -> String {
    match keeper {
        _ if has_systemd() => "systemctl restart machined".to_owned(),
        Some(keeper) => format!("kill -KILL {}   # and start it again: nothing is lost", keeper.pid),
        None => "start machined again: nothing is lost".to_owned(),
    }
}

/// The process that keeps the registry: who has the lock, proc_locks(5).
fn keeper() -> Option<Process> {
    let locked = fs::metadata(registry::ADDRESS_DIRECTORY).ok()?;
    let pid = holder(&fs::read_to_string("/proc/locks").ok()?, locked.dev(), locked.ino())?;
    Process::new(pid)
}

fn holder(locks: &str, device: u64, inode: u64) -> Option<i32> {
    let file = format!("{:02x}:{:02x}:{inode}", major(device), minor(device));
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // `1: FLOCK ADVISORY WRITE 4711 00:1a:99 0 EOF`; who waits has an arrow there.
        let [_, "FLOCK", _, "WRITE", pid, of, ..] = words.as_slice() else { return None };
        (*of == file).then(|| pid.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keeper_is_who_has_the_lock() {
        let locks = "1: POSIX  ADVISORY  WRITE 10 00:1a:99 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 11 00:1a:99 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 12 00:1a:98 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 13 00:1a:99 0 EOF\n";
        assert_eq!(holder(locks, rustix::fs::makedev(0, 0x1a), 99), Some(13));
        assert_eq!(holder(locks, rustix::fs::makedev(0, 0x1b), 99), None);
    }

    #[test]
    fn who_is_stopped_is_told_to_go_on() {
        let keeper = Process { pid: 7, program: None, is_stopped: true };
        let finding = silent(&CallError::NoAnswer(PATIENCE), Some(&keeper));
        assert_eq!(finding.mend.as_deref(), Some("kill -CONT 7"));
    }
}
