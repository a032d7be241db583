//! Names that mean something else on this host, so that no address may lead to a machine of that name: whoever looks an address
//! up (`last`, `ss`, access lists) would take the machine for what the name means.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use registry::MachineName;

/// What the host's own files reserve, beside what is reserved everywhere.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// In small letters.
    own: Vec<String>,
    /// The hashes of the names of hosts(5), and of the names with each of their addresses: the file may have many thousands,
    /// of which hardly one is a machine's.
    names: BTreeSet<u64>,
    pairs: BTreeSet<u64>,
}

impl Reserved {
    /// What a host of these names reserves whose hosts(5) has this text.
    pub fn new<'a>(own: impl IntoIterator<Item = &'a str>, hosts: &str) -> Self {
        let mut reserved = Self::default();
        for name in own {
            let name = name.trim().trim_end_matches('.').to_ascii_lowercase();
            // Its first part is what it is called for short.
            if let Some((first, _)) = name.split_once('.') {
                reserved.own.push(first.to_owned());
            }
            reserved.own.push(name);
        }
        for line in hosts.lines() {
            let mut words = line
                .split('#')
                .next()
                .unwrap_or_default()
                .split_ascii_whitespace()
                .map(|word| word.trim_end_matches('.'));
            let address = words.next().and_then(|word| word.split('%').next()?.parse::<IpAddr>().ok());
            let Some(address) = address else { continue };
            for name in words.map(str::to_ascii_lowercase) {
                if MachineName::new(name.as_bytes()).is_ok() {
                    reserved.pairs.insert(hash(&(&name, address)));
                    reserved.names.insert(hash(&name));
                }
            }
        }
        reserved
    }

    /// Says of each address whether it may lead to a machine of this name.
    pub fn permits(&self, name: &MachineName) -> impl Fn(IpAddr) -> bool {
        let name = name.as_str().to_ascii_lowercase();
        let is_free = !is_localhost(&name) && !is_number(&name) && !self.own.contains(&name);
        let is_in_hosts = self.names.contains(&hash(&name));
        move |address| is_free && (!is_in_hosts || self.pairs.contains(&hash(&(&name, address))))
    }
}

fn hash(thing: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    thing.hash(&mut hasher);
    hasher.finish()
}

/// RFC 6761, 6.3, and what distributions call it.
fn is_localhost(name: &str) -> bool {
    const ALIASES: [&str; 6] =
        ["localhost", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback", "loopback"];
    let name = [".localdomain", ".localdomain4", ".localdomain6"]
        .into_iter()
        .find_map(|domain| name.strip_suffix(domain))
        .unwrap_or(name);
    ALIASES.contains(&name) || name.ends_with(".localhost")
}

/// Whether inet_aton(3) takes it for an IPv4 address: one to four numbers, decimal, octal or hexadecimal, of which the last has
/// the bytes that are left.
fn is_number(name: &str) -> bool {
    let parts: Option<Vec<u64>> = name.split('.').map(number).collect();
    let Some(parts) = parts else { return false };
    let Some((last, first)) = parts.split_last() else { return false };
    let bits = match first.len() {
        0 => 32,
        1 => 24,
        2 => 16,
        3 => 8,
        _ => return false,
    };
    first.iter().all(|part| *part < 1 << 8) && *last < 1 << bits
}

fn number(part: &str) -> Option<u64> {
    let digits = |digits: &str, radix| {
        let is_plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(digits, radix).ok().filter(|_| is_plain)
    };
    match (part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")), part.strip_prefix('0')) {
        // glibc takes a lone prefix for zero.
        (Some(""), _) => Some(0),
        (Some(hexadecimal), _) => digits(hexadecimal, 16),
        (None, Some(octal)) if !octal.is_empty() => digits(octal, 8),
        _ => digits(part, 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(reserved: &Reserved, name: &str, address: &str) -> bool {
        reserved.permits(&MachineName::new(name.as_bytes()).unwrap())(address.parse().unwrap())
    }

    #[test]
    fn what_everybody_means_by_localhost_is_no_machines_name() {
        for name in [
            "localhost",
            "LocalHost",
            "localhost.localdomain",
            "localhost6.localdomain6",
            "ip6-localhost",
            "ip6-loopback",
            "a.localhost",
            "a.localhost.localdomain",
        ] {
            assert!(!permits(&Reserved::default(), name, "10.77.9.2"), "{name}");
        }
        for name in ["web", "localhosts", "mylocalhost", "localhost.example.com", "localdomain"] {
            assert!(permits(&Reserved::default(), name, "10.77.9.2"), "{name}");
        }
    }

    #[test]
    fn what_inet_aton_takes_for_an_address_is_no_machines_name() {
        for name in [
            "10.0.0.1",
            "123",
            "0x7f000001",
            "0X7F.1",
            "0",
            "0x",
            "017.0.0.1",
            "1.2.65535",
            "1.16777215",
            "4294967295",
            "00",
            "0377.0xff.1",
        ] {
            assert!(!permits(&Reserved::default(), name, "10.77.9.2"), "{name}");
        }
        for name in [
            "1.2.3.4.5",
            "256.1.1.1",
            "1.2.65536",
            "4294967296",
            "08.1",
            "0xg",
            "1a",
            "web1",
            "1.2.3.256",
            "0x1.a",
        ] {
            assert!(permits(&Reserved::default(), name, "10.77.9.2"), "{name}");
        }
    }

    #[test]
    fn the_hosts_own_name_is_no_machines() {
        let reserved = Reserved::new(["Server.example.com", "other\n"], "");
        for name in ["server", "SERVER.example.com", "other"] {
            assert!(!permits(&reserved, name, "10.77.9.2"), "{name}");
        }
        assert!(permits(&reserved, "example.com", "10.77.9.2"));
    }

    #[test]
    fn a_name_of_the_file_of_hosts_has_the_addresses_that_it_has_there() {
        let reserved = Reserved::new(
            [],
            "# a comment\n10.1.1.1\tmail.example.com Mail # the mail\n10.1.1.2 mail\nfe80::1%eth0 router\nbad name\n",
        );
        assert!(
            !permits(&reserved, "mail", "10.77.9.2") && !permits(&reserved, "MAIL.example.com", "10.1.1.2")
        );
        assert!(permits(&reserved, "mail", "10.1.1.1") && permits(&reserved, "Mail", "10.1.1.2"));
        assert!(permits(&reserved, "router", "fe80::1") && !permits(&reserved, "router", "10.77.9.2"));
        assert!(permits(&reserved, "name", "10.77.9.2") && permits(&reserved, "the", "10.77.9.2"));
    }
}
