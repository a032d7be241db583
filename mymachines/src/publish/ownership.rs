//! Who has a name in a zone, and until when: two texts that publishers write into TXT records.

use std::fmt;

use super::name::DnsName;

/// What every text of ours begins with.
const MARK: &str = "mymachines";
/// Below the zone, where the hosts have their records.
const HOSTS: &str = "_mymachines";

/// The name of a host that publishes: one label.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Host(DnsName);

impl Host {
    /// Checks a name.
    ///
    /// # Errors
    /// The rule that it breaks, in words.
    pub fn new(text: &str) -> Result<Self, String> {
        let name = DnsName::new(text).map_err(|rule| rule.to_string())?;
        match name.labels() {
            1 if !name.as_str().contains('_') => Ok(Self(name)),
            1 => Err("'_' is not allowed".into()),
            _ => Err("it has a dot".into()),
        }
    }

    /// Where a zone says until when it publishes.
    pub fn record(&self, zone: &DnsName) -> Option<DnsName> {
        zone.below(&format!("{}.{HOSTS}", self.0)).ok()
    }

    /// The host whose record is there.
    pub fn of_record(name: &DnsName, zone: &DnsName) -> Option<Self> {
        let label = name.relative_to(zone)?.strip_suffix(HOSTS)?.strip_suffix('.')?;
        Self::new(label).ok()
    }

    /// The text beside the addresses of a machine.
    pub fn text(&self) -> String {
        format!("{MARK} host={}", self.0)
    }

    /// The host that such a text names.
    pub fn of_text(text: &str) -> Option<Self> {
        let host = Self::new(text.strip_prefix(MARK)?.strip_prefix(" host=")?).ok()?;
        // A guard of an update compares bytes.
        (host.text() == text).then_some(host)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a host's own record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ownership {
    /// Which host it is, whatever its name.
    pub id: u64,
    /// Which run of the publisher wrote it.
    pub run: u64,
    /// Until when, in seconds of Unix time.
    pub expires: u64,
}

impl fmt::Display for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK} id={:016x} run={:016x} expires={}", self.id, self.run, self.expires)
    }
}

impl Ownership {
    /// Reads such a text.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.strip_prefix(MARK)?.strip_prefix(' ')?.split(' ');
        let mut word = |key| words.next()?.strip_prefix(key);
        let id = u64::from_str_radix(word("id=")?, 16).ok()?;
        let run = u64::from_str_radix(word("run=")?, 16).ok()?;
        let ownership = Self { id, run, expires: word("expires=")?.parse().ok()? };
        // A guard of an update compares bytes.
        (ownership.to_string() == text).then_some(ownership)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let host = Host::new("Alpha").unwrap();
        assert_eq!(host.text(), "mymachines host=alpha");
        assert_eq!(Host::of_text(&host.text()), Some(host.clone()));
        let zone = DnsName::new("example").unwrap();
        let record = host.record(&zone).unwrap();
        assert_eq!(record.as_str(), "alpha._mymachines.example");
        assert_eq!(Host::of_record(&record, &zone), Some(host));
        let ownership = Ownership { id: 0x1234, run: 7, expires: 1_764_495_617 };
        let text = "mymachines id=0000000000001234 run=0000000000000007 expires=1764495617";
        assert_eq!(ownership.to_string(), text);
        assert_eq!(Ownership::parse(text), Some(ownership));
    }

    #[test]
    fn what_others_wrote_is_nothing() {
        for text in [
            "",
            "mymachines",
            "mymachines host=",
            "mymachines host=a.b",
            "mymachines host=Alpha",
            "mymachines host=a b",
            "mymachines host=a\" \"b",
            "v=spf1 -all",
        ] {
            assert_eq!(Host::of_text(text), None, "{text}");
        }
        for text in [
            "mymachines id=1 run=2 expires=3",
            "mymachines id=0000000000001234 run=0000000000000007",
            "mymachines id=0000000000001234 run=0000000000000007 expires=-1",
            "mymachines id=0000000000001234 run=0000000000000007 expires=1 more",
            "mymachines id=+000000000001234 run=0000000000000007 expires=1",
        ] {
            assert_eq!(Ownership::parse(text), None, "{text}");
        }
        for text in ["a b", "a.b", "a_b", "", "-a"] {
            assert!(Host::new(text).is_err(), "{text}");
        }
    }
}
