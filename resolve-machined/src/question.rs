//! What is asked: a name of DNS, and what it is about.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use registry::MachineName;

/// Address records of IPv4, RFC 1035.
pub const A: u16 = 1;
/// Pointers from addresses to names, RFC 1035.
pub const PTR: u16 = 12;
/// Address records of IPv6, RFC 3596.
pub const AAAA: u16 = 28;
/// All that there is of a name, RFC 1035.
pub const ANY: u16 = 255;
/// The class of the internet, and any class. RFC 1035.
const CLASSES: [u16; 2] = [1, 255];

/// One question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// The type of record, as DNS numbers them.
    pub kind: u16,
    /// The name as it is asked for, without a trailing dot.
    pub name: String,
}

impl Question {
    /// A question, if it is one that a machine may be the answer to.
    pub fn new(class: Option<i64>, kind: i64, name: &str) -> Option<Self> {
        let class = class.map_or(Some(1), |class| u16::try_from(class).ok())?;
        let name = name.strip_suffix('.').unwrap_or(name);
        (CLASSES.contains(&class) && is_host_name(name))
            .then_some(Self { kind: u16::try_from(kind).ok()?, name: name.to_owned() })
    }

    /// Whether records of this type answer it.
    pub fn is_for(&self, kind: u16) -> bool {
        self.kind == kind || self.kind == ANY
    }

    /// The machine that it is about, by its name.
    pub fn machine(&self) -> Option<MachineName> {
        MachineName::new(self.name.as_bytes()).ok()
    }

    /// The names above it that may be machines', the nearest first.
    pub fn above(&self) -> impl Iterator<Item = MachineName> {
        let dots = self.name.match_indices('.');
        dots.filter_map(|(at, _)| MachineName::new(self.name.get(at..)?.strip_prefix('.')?.as_bytes()).ok())
    }

    /// The address that it is about, if it is below in-addr.arpa or ip6.arpa.
    pub fn address(&self) -> Option<IpAddr> {
        let name = self.name.to_ascii_lowercase();
        if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
            let octet = |label: &str| label.parse::<u8>().ok().filter(|octet| octet.to_string() == label);
            let octets: Vec<u8> = labels.split('.').rev().map(octet).collect::<Option<_>>()?;
            return Some(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?).into());
        }
        let labels = name.strip_suffix(".ip6.arpa")?;
        let digit = |label: &str| {
            let mut letters = label.chars();
            letters.next()?.to_digit(16).filter(|_| letters.next().is_none())
        };
        let digits: Vec<u32> = labels.split('.').rev().map(digit).collect::<Option<_>>()?;
        let bits = digits.iter().fold(0_u128, |bits, &digit| (bits << 4) | u128::from(digit));
        (digits.len() == 32).then(|| Ipv6Addr::from(bits).into())
    }
}

/// The name that leads back from an address, RFC 1035 and RFC 3596.
pub fn reverse_name(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(ip) => {
            let digits = format!("{:032x}", ip.to_bits());
            digits.chars().rev().flat_map(|digit| [digit, '.']).chain("ip6.arpa".chars()).collect()
        }
    }
}

/// Whether a name can be sent on the wire as it is: RFC 1035's lengths, and nothing that is written with a backslash.
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str) -> Option<Question> {
        Question::new(None, 1, name)
    }

    #[test]
    fn names_are_of_machines_or_below_them() {
        let question = asked("www.web.lab.").unwrap();
        assert_eq!(question.name, "www.web.lab");
        let above: Vec<_> = question.above().map(|name| name.to_string()).collect();
        assert_eq!(above, ["web.lab", "lab"]);
        for name in ["", ".", "a..b", "..", "a b", "a\\032b", "ä", &"a".repeat(64), &"a.".repeat(200)] {
            assert_eq!(asked(name), None, "{name:?}");
        }
    }

    #[test]
    fn only_the_internet_has_machines() {
        for (class, is_ours) in
            [(None, true), (Some(1), true), (Some(255), true), (Some(3), false), (Some(-1), false)]
        {
            assert_eq!(Question::new(class, 1, "web").is_some(), is_ours, "{class:?}");
        }
        assert_eq!(Question::new(None, 70000, "web"), None);
    }

    #[test]
    fn reverse_names_lead_to_their_address_and_back() {
        for text in ["10.0.0.2", "192.168.255.1", "fd00::2", "2001:db8::dead:beef"] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(asked(&reverse_name(ip)).unwrap().address(), Some(ip));
            assert_eq!(asked(&reverse_name(ip).to_uppercase()).unwrap().address(), Some(ip));
        }
        assert_eq!(reverse_name("10.1.0.2".parse().unwrap()), "2.0.1.10.in-addr.arpa");
        for name in [
            "0.0.10.in-addr.arpa",
            "1.2.0.0.10.in-addr.arpa",
            "02.0.1.10.in-addr.arpa",
            "256.0.1.10.in-addr.arpa",
            "2.ip6.arpa",
            "in-addr.arpa",
            "web",
        ] {
            assert_eq!(asked(name).unwrap().address(), None, "{name}");
        }
    }
}
