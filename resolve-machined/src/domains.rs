//! Which names systemd-resolved is to ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use registry::MachineName;

use crate::question::reverse_name;

/// The machines and their addresses, as far as names lead to them.
#[derive(Debug, Default)]
pub struct Domains(BTreeMap<MachineName, Vec<IpAddr>>);

impl Domains {
    /// Takes in what is published of a machine; `None`: nothing. Returns whether that is something else than before.
    pub fn set(&mut self, name: MachineName, addresses: Option<Vec<IpAddr>>) -> bool {
        match addresses {
            Some(addresses) => self.0.insert(name, addresses.clone()) != Some(addresses),
            None => self.0.remove(&name).is_some(),
        }
    }

    /// The machines that are known.
    pub fn names(&self) -> BTreeSet<MachineName> {
        self.0.keys().copied().collect()
    }

    /// The names to ask for: those of machines, and those that lead back from their addresses.
    pub fn list(&self) -> Vec<String> {
        let addresses: BTreeSet<_> = self.0.values().flatten().copied().filter(leads_back).collect();
        self.0.keys().map(ToString::to_string).chain(addresses.into_iter().map(reverse_name)).collect()
    }
}

/// Whether an address means the same on all links.
fn leads_back(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => true,
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_asked_for_as_long_as_they_are_there() {
        let (web, mail) = (MachineName::new(b"web").unwrap(), MachineName::new(b"mail").unwrap());
        let ips = |texts: &[&str]| Some(texts.iter().map(|text| text.parse().unwrap()).collect());
        let mut domains = Domains::default();
        assert!(domains.list().is_empty());
        assert!(domains.set(web, ips(&["10.0.0.2", "fe80::1"])));
        assert!(!domains.set(web, ips(&["10.0.0.2", "fe80::1"])));
        assert!(domains.set(mail, ips(&["10.0.0.2"])));
        assert_eq!(domains.list(), ["mail", "web", "2.0.0.10.in-addr.arpa"]);
        assert!(domains.set(web, None) && !domains.set(web, None));
        assert!(domains.set(mail, ips(&[])));
        assert_eq!(domains.list(), ["mail"]);
    }
}
