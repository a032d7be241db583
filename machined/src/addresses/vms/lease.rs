//! What DHCP servers on this host write down of their leases: systemd-networkd's files, libvirt's, and dnsmasq's own.
//!
//! Nothing in them is trusted beyond its shape: host names are not even read. A file that is not as it should be has no leases.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::addresses::neighbour::Mac;

/// More leases of one file are not read.
const MAX_LEASES: usize = 16 * 1024;

/// Who was given which address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(in crate::addresses) struct Lease {
    /// The address.
    pub(in crate::addresses) ip: IpAddr,
    /// Whom the server knew it was; `None` where it wrote down other names alone.
    pub(in crate::addresses) mac: Option<Mac>,
    /// When it ends, in seconds of `CLOCK_REALTIME`; `None`: never.
    pub(in crate::addresses) ends: Option<u64>,
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::addresses) enum Format {
    /// systemd-networkd's, JSON.
    Networkd,
    /// Those of libvirt's helper of dnsmasq, JSON.
    Libvirt,
    /// dnsmasq's own, a line for each.
    Dnsmasq,
}

impl Format {
    /// Reads a file.
    pub(in crate::addresses) fn read(self, text: &[u8]) -> Vec<Lease> {
        let leases = match self {
            Self::Dnsmasq => {
                Some(String::from_utf8_lossy(text).lines().filter_map(of_dnsmasq).take(MAX_LEASES).collect())
            }
            Self::Networkd => serde_json::from_slice(text).ok().and_then(|value: Value| {
                let leases = value.get("Leases")?.as_array()?;
                Some(leases.iter().filter_map(of_networkd).take(MAX_LEASES).collect())
            }),
            Self::Libvirt => serde_json::from_slice(text).ok().and_then(|value: Value| {
                Some(value.as_array()?.iter().filter_map(of_libvirt).take(MAX_LEASES).collect())
            }),
        };
        leases.unwrap_or_default()
    }
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    value.as_array()?.iter().map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok())).collect()
}

fn of_networkd(lease: &Value) -> Option<Lease> {
    let address: [u8; 4] = bytes(lease.get("Address")?)?.try_into().ok()?;
    let hardware = lease.get("HardwareAddress").and_then(bytes).and_then(|mac| Mac::new(mac.get(..6)?));
    // Before 257 it is not there; a client that does not say who it is by anything else has it behind a 1 (RFC 2132, 9.14).
    let client = || match bytes(lease.get("ClientId")?)?.as_slice() {
        [1, mac @ ..] => Mac::new(mac),
        _ => None,
    };
    let ends = lease.get("ExpirationRealtimeUSec").and_then(Value::as_u64).map(|end| end / 1_000_000);
    Some(Lease { ip: Ipv4Addr::from(address).into(), mac: hardware.or_else(client), ends })
}

fn of_libvirt(lease: &Value) -> Option<Lease> {
    let text = |name: &str| lease.get(name).and_then(Value::as_str);
    let ends = lease.get("expiry-time").and_then(Value::as_u64).filter(|&end| end != 0);
    Some(Lease { ip: text("ip-address")?.parse().ok()?, mac: text("mac-address").and_then(Mac::parse), ends })
}

/// `1700000000 52:54:00:12:34:56 192.168.122.5 name 01:52:54:00:12:34:56`; of IPv6 the second word is no hardware address.
fn of_dnsmasq(line: &str) -> Option<Lease> {
    let mut words = line.split(' ');
    let ends = Some(words.next()?.parse().ok()?).filter(|&end| end != 0);
    let mac = Mac::parse(words.next()?);
    Some(Lease { ip: words.next()?.parse().ok()?, mac, ends })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(ip: &str, mac: &str, ends: u64) -> Lease {
        Lease { ip: ip.parse().unwrap(), mac: Mac::parse(mac), ends: Some(ends).filter(|&end| end != 0) }
    }

    #[test]
    fn networkds_leases_are_read_with_and_without_hardware_addresses() {
        let text = br#"{"BootID":"4f1f992a8a2822218a71d7f5041316de","Address":[192,168,124,1],"PrefixLength":24,"Leases":[
            {"ClientId":[1,82,84,0,1,2,3],"Address":[192,168,124,26],"Hostname":"w1","ExpirationUSec":7,"ExpirationRealtimeUSec":1785791504658855},
            {"ClientId":[255,0,1,2],"AddressString":"192.168.124.27","Address":[192,168,124,27],"HardwareAddressType":1,
             "HardwareAddressLength":6,"HardwareAddress":[82,84,0,1,2,4],"ExpirationRealtimeUSec":1785791504658855},
            {"ClientId":[255,0,1,2],"Address":[192,168,124,28]},
            {"Address":[192,168,124]}, {"Address":[192,168,124,256]}, {"Address":"192.168.124.29"}, 7]}"#;
        let expected = [
            lease("192.168.124.26", "52:54:00:01:02:03", 1_785_791_504),
            lease("192.168.124.27", "52:54:00:01:02:04", 1_785_791_504),
            lease("192.168.124.28", "", 0),
        ];
        assert_eq!(Format::Networkd.read(text), expected);
    }

    #[test]
    fn libvirts_leases_are_read() {
        let text = br#"[
          { "ip-address": "192.168.122.5", "mac-address": "52:54:00:12:34:56", "hostname": "evil\u0000", "client-id": "ff:1", "expiry-time": 1785791504 },
          { "iaid": "1", "ip-address": "fd00::5", "mac-address": "52:54:00:12:34:56", "server-duid": "0", "expiry-time": 0 },
          { "ip-address": "nonsense" }, {}, null ]"#;
        let expected = [
            lease("192.168.122.5", "52:54:00:12:34:56", 1_785_791_504),
            lease("fd00::5", "52:54:00:12:34:56", 0),
        ];
        assert_eq!(Format::Libvirt.read(text), expected);
    }

    #[test]
    fn dnsmasqs_leases_are_read() {
        let text = b"1785791504 52:54:00:12:34:56 192.168.122.5 web 01:52:54:00:12:34:56\n0 52:54:00:12:34:57 192.168.122.6 * *\n\
            duid 00:01:00:01:2a\n1785791504 1193046 fd00::5 web 00:01\nx\n\n1 2";
        let expected = [
            lease("192.168.122.5", "52:54:00:12:34:56", 1_785_791_504),
            lease("192.168.122.6", "52:54:00:12:34:57", 0),
            lease("fd00::5", "", 1_785_791_504),
        ];
        assert_eq!(Format::Dnsmasq.read(text), expected);
    }

    #[test]
    fn a_damaged_file_has_no_leases() {
        for text in
            [&b""[..], b"{", b"null", b"[[]]", b"{\"Leases\":7}", b"\xff\xfe", b"[{\"ip-address\":7}]"]
        {
            for format in [Format::Networkd, Format::Libvirt, Format::Dnsmasq] {
                assert_eq!(format.read(text), [], "{format:?} {text:?}");
            }
        }
        let deep = "[".repeat(100_000);
        assert_eq!(Format::Libvirt.read(deep.as_bytes()), []);
    }
}
