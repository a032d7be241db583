//! What is answered: records of DNS, as they are on the wire.

use std::net::IpAddr;

use registry::{Address, MachineName};

use crate::question::{A, AAAA, PTR, Question};

/// No error, RFC 1035; there may be no records all the same.
pub const SUCCESS: u8 = 0;
/// There is no such name, RFC 1035.
pub const NO_SUCH_NAME: u8 = 3;

/// The class of the internet.
const INTERNET: u16 = 1;
/// For how long an answer may be kept: not at all, as it may have changed by then.
const TIME_TO_LIVE: u32 = 0;

/// What is known of machines.
pub trait Machines {
    /// The addresses of a machine that lives and has addresses of its own, in their order; `None`: there is none of this name
    /// for everybody. The name is found regardless of case, where no other is exactly that.
    fn addresses(&self, name: &MachineName) -> Option<Vec<Address>>;
    /// The machine that has an address.
    fn at(&self, ip: IpAddr) -> Option<MachineName>;
}

/// An answer.
#[derive(PartialEq, Eq, Debug)]
pub struct Answer {
    /// How it went.
    pub code: u8,
    /// The records, each as it is on the wire.
    pub records: Vec<Vec<u8>>,
}

/// The answer to these questions; `None`: they are not about machines.
pub fn answer(machines: &impl Machines, questions: &[Question]) -> Option<Answer> {
    let (mut records, mut is_known, mut is_below) = (Vec::new(), false, false);
    for question in questions {
        if let Some(ip) = question.address() {
            let Some(machine) = machines.at(ip) else { continue };
            is_known = true;
            if question.is_for(PTR) {
                records.extend(record(&question.name, PTR, &wire_name(machine.as_str())));
            }
        } else if let Some(addresses) = question.machine().and_then(|name| machines.addresses(&name)) {
            is_known = true;
            records.extend(addresses.iter().filter_map(|address| address_record(question, address)));
        } else {
            is_below |= question.above().any(|name| machines.addresses(&name).is_some());
        }
    }
    match (is_known, is_below) {
        (true, _) => Some(Answer { code: SUCCESS, records }),
        (false, true) => Some(Answer { code: NO_SUCH_NAME, records }),
        (false, false) => None,
    }
}

fn address_record(question: &Question, address: &Address) -> Option<Vec<u8>> {
    match address.ip {
        IpAddr::V4(ip) if question.is_for(A) => record(&question.name, A, &ip.octets()),
        // A record of DNS does not say which interface a link-local address is reached over.
        IpAddr::V6(ip) if question.is_for(AAAA) && !ip.is_unicast_link_local() => {
            record(&question.name, AAAA, &ip.octets())
        }
        _ => None,
    }
}

fn record(name: &str, kind: u16, data: &[u8]) -> Option<Vec<u8>> {
    let mut record = wire_name(name);
    record.extend(kind.to_be_bytes());
    record.extend(INTERNET.to_be_bytes());
    record.extend(TIME_TO_LIVE.to_be_bytes());
    record.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
    record.extend(data);
    Some(record)
}

/// A name whose labels are at most 63 bytes long, without compression.
fn wire_name(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.') {
        wire.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        wire.extend(label.as_bytes());
    }
    wire.push(0);
    wire
}

/// Bytes as text, RFC 4648.
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |place| u32::from(chunk.get(place).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (place, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let letter = usize::try_from(bits >> shift & 63).ok().and_then(|at| LETTERS.get(at));
            text.push(if place <= chunk.len() { letter.map_or('=', |&letter| letter.into()) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::question::{ANY, reverse_name};

    struct Lab;

    impl Machines for Lab {
        fn addresses(&self, name: &MachineName) -> Option<Vec<Address>> {
            let parse = |text: &&str| Address::parse(text.as_bytes()).unwrap();
            match name.as_str() {
                "web" => Some(["10.0.0.2", "fd00::2", "fe80::1%5"].iter().map(parse).collect()),
                "mute" => Some(Vec::new()),
                _ => None,
            }
        }

        fn at(&self, ip: IpAddr) -> Option<MachineName> {
            (ip == IpAddr::from([10, 0, 0, 2])).then(|| MachineName::new(b"web").unwrap())
        }
    }

    fn ask(kind: u16, name: &str) -> Option<Answer> {
        answer(&Lab, &[Question::new(None, kind.into(), name).unwrap()])
    }

    #[test]
    fn a_name_has_its_addresses_of_the_family_but_none_of_a_link() {
        let four = b"\x03web\0\0\x01\0\x01\0\0\0\0\0\x04\x0a\0\0\x02".to_vec();
        assert_eq!(ask(A, "web"), Some(Answer { code: SUCCESS, records: vec![four.clone()] }));
        let all = ask(ANY, "web.").unwrap();
        assert_eq!((all.records.len(), &all.records[0]), (2, &four));
        assert_eq!(ask(AAAA, "web").unwrap().records[0].len(), 5 + 10 + 16);
        for (kind, name) in [(PTR, "web"), (A, "mute"), (15, "web")] {
            assert_eq!(ask(kind, name), Some(Answer { code: SUCCESS, records: Vec::new() }), "{kind} {name}");
        }
    }

    #[test]
    fn an_address_leads_back_to_its_name() {
        let answered = ask(PTR, &reverse_name(IpAddr::from([10, 0, 0, 2]))).unwrap();
        assert_eq!(answered.code, SUCCESS);
        assert!(answered.records[0].ends_with(b"\0\x0c\0\x01\0\0\0\0\0\x05\x03web\0"));
        assert_eq!(ask(PTR, &reverse_name(IpAddr::from([10, 0, 0, 3]))), None);
    }

    #[test]
    fn there_is_nothing_below_a_machine_and_others_are_not_ours_to_know() {
        assert_eq!(ask(A, "www.web"), Some(Answer { code: NO_SUCH_NAME, records: Vec::new() }));
        assert_eq!(ask(A, "example"), None);
        assert_eq!(answer(&Lab, &[]), None);
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
