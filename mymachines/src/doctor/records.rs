//! Whether the records are whole, and of this boot.

use std::fs;

use super::{Finding, has_systemd};
use crate::machine::{Machine, Machines};

const ABOUT: &str = "records";
/// How far a clock may have been put right since the host was booted, in microseconds.
const SLACK: u64 = 3_600_000_000;

pub fn check() -> Vec<Finding> {
    match Machines::of_system() {
        Ok(machines) => findings(&machines, boot_time(&fs::read_to_string("/proc/stat").unwrap_or_default())),
        Err(failure) => vec![Finding::wrong(ABOUT, failure.to_string())],
    }
}

fn findings(machines: &Machines, boot: Option<u64>) -> Vec<Finding> {
    let restart = if has_systemd() { "systemctl restart machined" } else { "restart machined" };
    let mut findings: Vec<Finding> = machines
        .complaints
        .iter()
        .map(|complaint| Finding::wrong(ABOUT, complaint.as_str()).mend(restart))
        .collect();
    let is_old = |machine: &&Machine| {
        let made = machine.record.realtime.map(|made| made.saturating_add(SLACK));
        made.zip(boot).is_some_and(|(made, boot)| made < boot)
    };
    let old = names(machines.all.iter().filter(is_old));
    if !old.is_empty() {
        findings.push(
            Finding::wrong(ABOUT, format!("of an earlier boot: {old}; is /run no tmpfs?")).mend(restart),
        );
    }
    let dead = names(machines.all.iter().filter(|machine| !machine.is_alive && !is_old(machine)));
    if !dead.is_empty() {
        findings
            .push(Finding::note(ABOUT, format!("their leaders are gone, and they do not resolve: {dead}")));
    }
    if findings.is_empty() {
        let text = match machines.all.len() {
            0 => "no machine is registered".to_owned(),
            count => format!("{count} of this boot, all whole"),
        };
        findings.push(Finding::good(ABOUT, text));
    }
    findings
}

fn names<'a>(machines: impl Iterator<Item = &'a Machine>) -> String {
    machines.map(|machine| machine.record.name.to_string()).collect::<Vec<_>>().join(" ")
}

/// When the host was booted, in microseconds of `CLOCK_REALTIME`; proc_stat(5).
fn boot_time(stat: &str) -> Option<u64> {
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    seconds.trim().parse::<u64>().ok()?.checked_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use registry::calls::RegistryFiles;
    use registry::{Class, MachineName, Record};

    fn machines(realtime: u64, is_alive: bool) -> Machines {
        let mut record = Record::new(MachineName::new(b"web").unwrap(), Class::Container);
        record.realtime = Some(realtime);
        let machine = Machine { record, is_alive, registry: RegistryFiles::SYSTEM };
        Machines { all: vec![machine], complaints: vec![] }
    }

    #[test]
    fn a_record_of_an_earlier_boot_is_told() {
        let boot = Some(10 * SLACK);
        let level = |realtime, is_alive| findings(&machines(realtime, is_alive), boot)[0].level;
        assert_eq!(level(11 * SLACK, true), Level::Good);
        assert_eq!(level(8 * SLACK, false), Level::Wrong);
        assert_eq!(level(11 * SLACK, false), Level::Note);
    }

    #[test]
    fn the_boot_has_a_time() {
        assert_eq!(boot_time("cpu 1\nbtime 17\n"), Some(17_000_000));
        assert!(boot_time(&fs::read_to_string("/proc/stat").unwrap()).is_some());
    }
}
