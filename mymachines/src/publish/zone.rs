//! What is in a zone, as dig(1) prints a transfer of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::name::DnsName;
use super::ownership::{Host, Ownership};

/// What there is at a name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Node {
    /// Its A and AAAA records.
    pub addresses: BTreeSet<IpAddr>,
    /// Its TXT records; `None` where they are of several strings, or have something that is never in ours.
    pub texts: Vec<Option<String>>,
    /// Where its PTR records lead to; `None` is no name that anything of ours has.
    pub pointers: Vec<Option<DnsName>>,
}

impl Node {
    fn text(&self) -> Option<&str> {
        match self.texts.as_slice() {
            [text] => text.as_deref(),
            _ => None,
        }
    }

    /// The host that has published it.
    pub fn host(&self) -> Option<Host> {
        Host::of_text(self.text()?)
    }

    /// What it says of a host, if it is a host's record.
    pub fn ownership(&self) -> Option<Ownership> {
        Ownership::parse(self.text()?)
    }

    /// The one name that its address has.
    pub fn pointer(&self) -> Option<&DnsName> {
        match self.pointers.as_slice() {
            [pointer] => pointer.as_ref(),
            _ => None,
        }
    }
}

/// A zone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Zone {
    /// What it is called.
    pub name: DnsName,
    /// What is in it.
    pub nodes: BTreeMap<DnsName, Node>,
}

impl Zone {
    /// Reads a whole transfer; `None` if it is none, or not whole: the record of the zone itself begins and ends it.
    pub fn read(name: &DnsName, text: &str) -> Option<Self> {
        let mut zone = Self { name: name.clone(), nodes: BTreeMap::new() };
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with(';'));
        let (mut first, mut last, mut count) = (false, false, 0_usize);
        for line in lines {
            let record = Record::read(line)?;
            last = record.kind == "SOA" && DnsName::new(record.name).as_ref() == Ok(name);
            first |= count == 0 && last;
            count = count.saturating_add(1);
            zone.take(&record);
        }
        (first && last && count > 1).then_some(zone)
    }

    fn take(&mut self, record: &Record<'_>) {
        // One with other characters is none that a machine could have.
        let Ok(name) = DnsName::new(record.name) else { return };
        // What makes a signature of the zone is at every name.
        if matches!(record.kind, "RRSIG" | "NSEC" | "NSEC3") {
            return;
        }
        let node = self.nodes.entry(name).or_default();
        match record.kind {
            "A" | "AAAA" => {
                node.addresses.extend(record.data.parse::<IpAddr>().ok());
            }
            "TXT" => node.texts.push(unquoted(record.data)),
            "PTR" => node.pointers.push(DnsName::new(record.data).ok()),
            _ => {}
        }
    }

    /// What a host has written of itself: `None` if there is nothing at its name.
    pub fn ownership(&self, host: &Host) -> Option<Owner> {
        let node = self.nodes.get(&host.record(&self.name)?)?;
        Some(node.ownership().map_or(Owner::Stranger, Owner::Host))
    }
}

/// What is at the name of a host's record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// A host has written it.
    Host(Ownership),
    /// It is something else.
    Stranger,
}

/// The one string of a TXT record, as dig writes it, if it needs no escapes.
fn unquoted(data: &str) -> Option<String> {
    let text = data.strip_prefix('"')?.strip_suffix('"')?;
    (!text.contains(['"', '\\'])).then(|| text.to_owned())
}

/// A record in the form of a zone file.
#[derive(Debug)]
pub struct Record<'a> {
    /// Whose it is.
    pub name: &'a str,
    /// Its type.
    pub kind: &'a str,
    /// The rest.
    pub data: &'a str,
}

impl<'a> Record<'a> {
    /// Reads a line.
    pub fn read(line: &'a str) -> Option<Self> {
        let (name, rest) = word(line)?;
        let (_ttl, rest) = word(rest)?;
        let (_class, rest) = word(rest)?;
        let (kind, rest) = word(rest)?;
        Some(Self { name, kind, data: rest.trim() })
    }
}

/// The first word, and what follows.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    text.split_at_checked(end).filter(|(word, _)| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOA: &str = "example.\t\t60\tIN\tSOA\tns.example. root.example. 7 60 60 60 60\n";

    fn name(text: &str) -> DnsName {
        DnsName::new(text).unwrap()
    }

    fn read(lines: &str) -> Option<Zone> {
        Zone::read(&name("example"), &format!("{SOA}{lines}{SOA}"))
    }

    #[test]
    fn a_transfer_is_read() {
        let zone = read(concat!(
            "example.\t60\tIN\tNS\tns.example.\n",
            "Web.example.\t30\tIN\tA\t10.9.0.2\n",
            "web.example.\t30\tIN\tAAAA\t2001:db8::2\n",
            "web.example.\t30\tIN\tTXT\t\"mymachines host=alpha\"\n",
            "spf.example.\t30\tIN\tTXT\t\"v=spf1 -all\" \"more\"\n",
            "esc\\032aped.example.\t30\tIN\tTXT\t\"x\"\n",
            "web.example.\t30\tIN\tRRSIG\tA 13 2 30 20260101000000 20260101000000 1 example. xxxx\n",
            "alpha._mymachines.example.\t30\tIN\tTXT\t\"mymachines id=0000000000000001 run=0000000000000002 expires=3\"\n",
        ))
        .unwrap();
        let web = &zone.nodes[&name("web.example")];
        assert_eq!((web.addresses.len(), web.host()), (2, Host::new("alpha").ok()));
        assert_eq!(zone.nodes[&name("spf.example")].texts, [None]);
        let alpha = Host::new("alpha").unwrap();
        assert_eq!(zone.ownership(&alpha), Some(Owner::Host(Ownership { id: 1, run: 2, expires: 3 })));
        assert_eq!(zone.ownership(&Host::new("beta").unwrap()), None);
    }

    #[test]
    fn pointers_are_read() {
        let zone =
            read("7.example.\t30\tIN\tPTR\tweb.zone.\n8.example.\t30\tIN\tPTR\ta\\.b.zone.\n").unwrap();
        assert_eq!(zone.nodes[&name("7.example")].pointer(), Some(&name("web.zone")));
        assert_eq!(zone.nodes[&name("8.example")].pointer(), None);
    }

    #[test]
    fn what_is_not_whole_is_nothing() {
        let zone = name("example");
        assert_eq!(Zone::read(&zone, ""), None);
        assert_eq!(Zone::read(&zone, SOA), None);
        assert_eq!(Zone::read(&zone, &format!("{SOA}web.example. 30 IN A 10.9.0.2\n")), None);
        assert_eq!(Zone::read(&zone, "; Transfer failed.\n"), None);
        assert_eq!(Zone::read(&name("other"), &format!("{SOA}{SOA}")), None);
        assert_eq!(read("what is\n"), None);
    }

    #[test]
    fn a_name_with_two_texts_is_nobodys() {
        let zone =
            read("web.example. 30 IN TXT \"mymachines host=alpha\"\nweb.example. 30 IN TXT \"x\"\n").unwrap();
        assert_eq!(zone.nodes[&name("web.example")].host(), None);
    }
}
