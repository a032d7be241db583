//! Processes of this host by their name.

use std::fs;

/// A process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Process {
    pub pid: i32,
    /// Its program; only root sees that of others.
    pub program: Option<String>,
    /// Whether it is stopped, by SIGSTOP or a frozen control group's like.
    pub is_stopped: bool,
}

impl Process {
    pub fn new(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let program = fs::read_link(format!("/proc/{pid}/exe")).ok();
        Some(Self {
            pid,
            program: program.map(|path| path.to_string_lossy().into_owned()),
            is_stopped: state_of_stat(&stat) == Some('T'),
        })
    }

    /// `process 4711 (/usr/local/sbin/machined)`
    pub fn words(&self) -> String {
        match &self.program {
            Some(program) => format!("process {} ({program})", self.pid),
            None => format!("process {}", self.pid),
        }
    }
}

/// The processes of this name in the PID namespace of this one, as far as that can be seen.
pub fn named(name: &str) -> Vec<Process> {
    let own = fs::read_link("/proc/self/ns/pid").ok();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    // The kernel keeps 15 bytes of a name.
    let kept = name.get(..15).unwrap_or(name);
    let has_name = |pid: &i32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == kept)
            && fs::read_link(format!("/proc/{pid}/ns/pid")).ok().is_none_or(|other| Some(other) == own)
    };
    pids.filter(has_name).filter_map(Process::new).collect()
}

/// The state in the text of `/proc/PID/stat`: the word behind the name, which may hold anything.
fn state_of_stat(stat: &str) -> Option<char> {
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_found_behind_any_name() {
        assert_eq!(state_of_stat("42 (a) T ) S 1 2"), Some('S'));
        assert_eq!(state_of_stat("42 (a b) T 1 2"), Some('T'));
        assert_eq!(state_of_stat("42"), None);
    }

    #[test]
    fn a_process_is_found_by_its_name() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        // Until then it is a copy of this process.
        while !fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().starts_with("sleep") {
            std::thread::yield_now();
        }
        let found = named("sleep").into_iter().find(|process| process.pid == pid).unwrap();
        assert!(!found.is_stopped);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(Process::new(pid), None);
    }
}
