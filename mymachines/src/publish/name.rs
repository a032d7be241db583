//! Names in DNS, of which nothing can be made but a name: what is typed, what a machine is called and what a zone has
//! becomes one of these before it is written into anything that a program of the name server's reads.

use std::fmt;
use std::net::IpAddr;

/// The longest name that can be written without its last dot, RFC 1035, in characters.
const NAME_MAX: usize = 253;
/// The longest label.
const LABEL_MAX: usize = 63;

/// A name in DNS without escapes: labels of letters, digits, hyphens and underscores. All letters are small.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DnsName(String);

/// The rule that a text breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameRule {
    /// There is nothing.
    Empty,
    /// More than 253 characters.
    TooLong,
    /// A label of more than 63 characters.
    LongLabel,
    /// Nothing between two dots, or before the first.
    EmptyLabel,
    /// A label begins or ends with a hyphen.
    HyphenAtEdge,
    /// Something else than letters, digits, hyphens, underscores and dots.
    Character(char),
}

impl fmt::Display for NameRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::TooLong => write!(f, "it would have more than {NAME_MAX} characters"),
            Self::LongLabel => write!(f, "more than {LABEL_MAX} characters are between two dots"),
            Self::EmptyLabel => f.write_str("nothing is between two dots"),
            Self::HyphenAtEdge => f.write_str("a hyphen is beside a dot, or at an end"),
            Self::Character(character) => write!(f, "'{}' is not allowed", character.escape_debug()),
        }
    }
}

impl DnsName {
    /// Checks a name, which may end with a dot.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn new(text: &str) -> Result<Self, NameRule> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(NameRule::Empty);
        }
        for label in text.split('.') {
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if let Some(wrong) = label.chars().find(|&c| !allowed(c)) {
                return Err(NameRule::Character(wrong));
            }
            match label.len() {
                0 => return Err(NameRule::EmptyLabel),
                length if length > LABEL_MAX => return Err(NameRule::LongLabel),
                _ if label.starts_with('-') || label.ends_with('-') => return Err(NameRule::HyphenAtEdge),
                _ => {}
            }
        }
        if text.len() > NAME_MAX {
            return Err(NameRule::TooLong);
        }
        Ok(Self(text.to_ascii_lowercase()))
    }

    /// The name of a host below this one. It has no underscores, which are for other things than hosts.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn host_below(&self, name: &str) -> Result<Self, NameRule> {
        if name.contains('_') {
            return Err(NameRule::Character('_'));
        }
        self.below(name)
    }

    /// A name below this one.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn below(&self, name: &str) -> Result<Self, NameRule> {
        Self::new(name)?;
        Self::new(&format!("{name}.{}", self.0))
    }

    /// Where the name of an address is, RFC 1035 and RFC 3596.
    pub fn of_address(address: IpAddr) -> Self {
        Self(match address {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            IpAddr::V6(address) => {
                let nibbles = address.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
                let labels = nibbles.map(|nibble| format!("{nibble:x}."));
                format!("{}ip6.arpa", labels.collect::<String>())
            }
        })
    }

    /// The address whose name is there.
    pub fn address(&self) -> Option<IpAddr> {
        let address = if let Some(labels) = self.0.strip_suffix(".in-addr.arpa") {
            let octets: Vec<u8> = labels.split('.').rev().map_while(|label| label.parse().ok()).collect();
            IpAddr::from(<[u8; 4]>::try_from(octets).ok()?)
        } else {
            let labels = self.0.strip_suffix(".ip6.arpa")?.split('.').rev();
            let nibbles: Vec<u8> =
                labels.map_while(|label| u8::from_str_radix(label, 16).ok().filter(|&n| n < 16)).collect();
            let (pairs, rest) = nibbles.as_chunks::<2>();
            let octets: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
            IpAddr::from(<[u8; 16]>::try_from(octets).ok().filter(|_| rest.is_empty())?)
        };
        // Other ways to write its numbers are other names.
        (Self::of_address(address) == *self).then_some(address)
    }

    /// Whether it is somewhere below the other one.
    pub fn is_below(&self, other: &Self) -> bool {
        let above = self.0.strip_suffix(&other.0);
        above.is_some_and(|above| above.ends_with('.'))
    }

    /// What of it is below the other one.
    pub fn relative_to(&self, other: &Self) -> Option<&str> {
        self.0.strip_suffix(&other.0)?.strip_suffix('.')
    }

    /// Without its last dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How many labels it has.
    pub fn labels(&self) -> usize {
        self.0.split('.').count()
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> DnsName {
        DnsName::new(text).unwrap()
    }

    #[test]
    fn nothing_but_a_name_is_one() {
        assert_eq!(name("Web.Example.").as_str(), "web.example");
        assert_eq!(name("xn--bcher-kva.example").as_str(), "xn--bcher-kva.example");
        let long = "a".repeat(64);
        for (text, rule) in [
            ("", NameRule::Empty),
            (".", NameRule::Empty),
            ("..", NameRule::EmptyLabel),
            (".a", NameRule::EmptyLabel),
            ("a..b", NameRule::EmptyLabel),
            ("-a", NameRule::HyphenAtEdge),
            ("a.-b", NameRule::HyphenAtEdge),
            ("a-.b", NameRule::HyphenAtEdge),
            ("a b", NameRule::Character(' ')),
            ("a\nsend", NameRule::Character('\n')),
            ("a\rb", NameRule::Character('\r')),
            ("a\0b", NameRule::Character('\0')),
            ("a\"b", NameRule::Character('"')),
            ("a;b", NameRule::Character(';')),
            ("a\\b", NameRule::Character('\\')),
            ("*", NameRule::Character('*')),
            ("@", NameRule::Character('@')),
            ("bücher", NameRule::Character('ü')),
            ("\u{212a}elvin", NameRule::Character('\u{212a}')),
            (&long, NameRule::LongLabel),
        ] {
            assert_eq!(DnsName::new(text), Err(rule), "{text:?}");
        }
        assert!(DnsName::new(&"a".repeat(63)).is_ok());
        let most = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
        assert!(DnsName::new(&most).is_ok());
        assert_eq!(DnsName::new(&format!("{most}e")), Err(NameRule::TooLong));
        assert_eq!(name("example").below(&most), Err(NameRule::TooLong));
    }

    #[test]
    fn a_machine_cannot_take_the_place_of_what_is_no_host() {
        let zone = name("example");
        assert_eq!(zone.host_below("alpha._mymachines"), Err(NameRule::Character('_')));
        assert_eq!(zone.host_below("Web.Prod"), Ok(name("web.prod.example")));
        assert_eq!(zone.host_below(""), Err(NameRule::Empty));
    }

    #[test]
    fn addresses_have_names() {
        let v4: IpAddr = "10.9.0.200".parse().unwrap();
        assert_eq!(DnsName::of_address(v4).as_str(), "200.0.9.10.in-addr.arpa");
        let v6: IpAddr = "2001:db8::7".parse().unwrap();
        assert_eq!(
            DnsName::of_address(v6).as_str(),
            "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
        );
        for address in [v4, v6] {
            assert_eq!(DnsName::of_address(address).address(), Some(address));
        }
        for other in
            ["web.example", "0.9.10.in-addr.arpa", "01.0.9.10.in-addr.arpa", "1.2.3.4.5.in-addr.arpa"]
        {
            assert_eq!(name(other).address(), None, "{other}");
        }
    }

    #[test]
    fn what_is_below_is_told_by_labels() {
        assert!(name("a.example").is_below(&name("example")));
        assert!(!name("bexample").is_below(&name("example")) && !name("example").is_below(&name("example")));
        assert_eq!(name("a.b.example").relative_to(&name("example")), Some("a.b"));
        assert_eq!(name("aexample").relative_to(&name("example")), None);
    }
}
