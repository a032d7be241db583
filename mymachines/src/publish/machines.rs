//! What machines there are, by the stream of `io.mymachines.Registry`, and what of them is to be in DNS.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use varlink_client::{Client, Error, Patience};

use super::name::DnsName;
use super::network::{Network, is_for_all};
use crate::client::MACHINED;

/// How long to wait before the daemon is asked again: at first, and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];

/// What is told of a machine, as far as it matters here.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    name: String,
    state: State,
    is_public: bool,
    #[serde(default)]
    addresses: Option<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum State {
    Opening,
    Running,
    Closing,
}

/// A change.
#[derive(Debug, Deserialize)]
pub struct Change {
    kind: Kind,
    name: String,
    #[serde(default)]
    machine: Option<Machine>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    New,
    Changed,
    Removed,
}

#[derive(Debug, Deserialize)]
struct Reply {
    ready: bool,
    changes: Vec<Change>,
}

/// What the stream tells.
#[derive(Debug)]
pub enum Told {
    /// All machines that there are.
    All(Vec<Change>),
    /// What has changed since.
    Changes(Vec<Change>),
    /// The daemon is away, for this reason; what it told last holds until it is back.
    Away(String),
}

/// Follows the daemon from a thread of its own, until nobody listens.
pub fn follow(listener: Sender<Told>) {
    thread::spawn(move || {
        let [first, most] = PAUSES;
        let mut pause = first;
        while let Err(error) = follow_one(&listener, || pause = first) {
            if listener.send(Told::Away(reason(&error))).is_err() {
                return;
            }
            thread::sleep(pause);
            pause = pause.saturating_mul(2).min(most);
        }
    });
}

fn reason(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Follows one run of the daemon; ends well when nobody listens any more.
fn follow_one(listener: &Sender<Told>, mut was_let_in: impl FnMut()) -> Result<(), Error> {
    // Nothing may change for a year.
    let patience = Patience { reply: None, ..Patience::default() };
    let mut client = Client::connect(Path::new(MACHINED), patience)?;
    let mut all = Some(Vec::new());
    for reply in client.stream("io.mymachines.Registry.Subscribe", &json!({}))? {
        let reply: Reply = reply?.parse()?;
        let told = match &mut all {
            Some(gathered) => {
                gathered.extend(reply.changes);
                if !reply.ready {
                    continue;
                }
                was_let_in();
                Told::All(all.take().unwrap_or_default())
            }
            None => Told::Changes(reply.changes),
        };
        if listener.send(told).is_err() {
            return Ok(());
        }
    }
    Err(Error::HungUp)
}

/// The machines that there are.
#[derive(Debug, Default)]
pub struct Machines(BTreeMap<String, Machine>);

impl Machines {
    /// Takes changes in, in their order.
    pub fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change.machine {
                Some(machine) if change.kind != Kind::Removed => self.0.insert(change.name, machine),
                _ => self.0.remove(&change.name),
            };
        }
    }

    /// What of them is to be in a zone, and what is said of those that are not.
    pub fn wanted(&self, zone: &DnsName, networks: &[Network]) -> Wanted {
        let mut wanted = Wanted::default();
        let mut by_name: BTreeMap<DnsName, Vec<&Machine>> = BTreeMap::new();
        let public = |machine: &&Machine| machine.is_public && machine.state != State::Closing;
        for machine in self.0.values().filter(public) {
            match zone.host_below(&machine.name) {
                Ok(name) => by_name.entry(name).or_default().push(machine),
                Err(rule) => {
                    let name = machine.name.escape_debug();
                    wanted
                        .complaints
                        .insert(format!("machine '{name}' is left out: its name is none in DNS: {rule}"));
                }
            }
        }
        for (name, machines) in by_name {
            let is_exact = |machine: &&&Machine| !machine.name.contains(|c: char| c.is_ascii_uppercase());
            let machine = match machines.as_slice() {
                [machine] => machine,
                several => match several.iter().find(is_exact) {
                    Some(exact) => exact,
                    None => {
                        wanted.complaints.insert(format!(
                            "{name} is left out: several machines have this name, in letters of different size"
                        ));
                        continue;
                    }
                },
            };
            let known = machine.addresses.as_deref().unwrap_or_default();
            // One of a link has its interface with it, and is none of these.
            let known: BTreeSet<IpAddr> = known.iter().filter_map(|text| text.parse().ok()).collect();
            let is_inside = |address: &&IpAddr| {
                is_for_all(**address) && networks.iter().any(|network| network.has(**address))
            };
            let inside: BTreeSet<IpAddr> = known.iter().filter(is_inside).copied().collect();
            if !inside.is_empty() {
                wanted.names.insert(name, inside);
            } else if let Some(address) = known.iter().find(|address| is_for_all(**address)) {
                wanted.complaints.insert(format!(
                    "{name} is left out: none of its addresses ({address}, ...) is inside the networks of --network"
                ));
            }
        }
        wanted
    }
}

/// What is to be in a zone.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Names and their addresses, of which there are some.
    pub names: BTreeMap<DnsName, BTreeSet<IpAddr>>,
    /// Why some machines are not in it.
    pub complaints: BTreeSet<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Vec<Change> {
        serde_json::from_str(text).unwrap()
    }

    fn new(name: &str, addresses: &[&str], more: &str) -> String {
        let (name, addresses) = (json!(name), json!(addresses));
        format!(
            r#"{{"kind":"new","name":{name},"machine":{{"name":{name},"class":"container","state":"running","uid":0,"isPublic":true,"addresses":{addresses}{more}}}}}"#
        )
    }

    fn wanted(machines: &[String]) -> (Vec<(String, Vec<String>)>, Vec<String>) {
        let mut all = Machines::default();
        all.apply(told(&format!("[{}]", machines.join(","))));
        let networks = ["10.9.0.0/16".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let wanted = all.wanted(&DnsName::new("example").unwrap(), &networks);
        let names = wanted.names.into_iter();
        let names = names
            .map(|(name, addresses)| (name.to_string(), addresses.iter().map(ToString::to_string).collect()));
        (names.collect(), wanted.complaints.into_iter().collect())
    }

    #[test]
    fn only_addresses_inside_the_networks_are_wanted() {
        let (names, complaints) = wanted(&[
            new("web", &["10.9.0.2", "192.168.122.7", "2001:db8::2", "fe80::1%5", "fe80::1"], ""),
            new("libvirt", &["192.168.122.7"], ""),
            new("none", &[], ""),
            new("link", &["fe80::1%5"], ""),
        ]);
        assert_eq!(names, [("web.example".into(), vec!["10.9.0.2".into(), "2001:db8::2".into()])]);
        assert_eq!(complaints.len(), 1);
        assert!(
            complaints[0].starts_with("libvirt.example is left out")
                && complaints[0].contains("192.168.122.7")
        );
    }

    #[test]
    fn machines_of_users_and_those_that_end_are_not_wanted() {
        let users = new("users", &["10.9.0.2"], "").replace(r#""isPublic":true"#, r#""isPublic":false"#);
        let ends = new("ends", &["10.9.0.3"], "").replace("running", "closing");
        assert_eq!(wanted(&[users, ends]), (vec![], vec![]));
    }

    #[test]
    fn what_is_no_name_is_left_out_and_said() {
        let long = "a".repeat(64);
        for name in [
            "a b",
            "a\nupdate add evil.example. 1 A 10.9.9.9\nsend",
            "a\"",
            "alpha._mymachines",
            "",
            "bücher",
            &long,
        ] {
            let (names, complaints) = wanted(&[new(name, &["10.9.0.2"], "")]);
            assert!(names.is_empty(), "{name}");
            assert_eq!(complaints.len(), 1, "{name}");
            assert!(!complaints[0].contains('\n'), "{name}");
        }
        let (names, _) =
            wanted(&[new("web", &["10.9.0.2\nsend", "10.9.0.3 ", "10.9.0.4;", "0x0a.9.0.2"], "")]);
        assert_eq!(names, []);
    }

    #[test]
    fn of_two_names_that_differ_in_case_the_small_one_is_wanted() {
        let (names, complaints) = wanted(&[new("Web", &["10.9.0.2"], ""), new("web", &["10.9.0.3"], "")]);
        assert_eq!(names, [("web.example".into(), vec!["10.9.0.3".into()])]);
        assert_eq!(complaints, [""; 0]);
        let (names, complaints) = wanted(&[new("Web", &["10.9.0.2"], ""), new("wEb", &["10.9.0.3"], "")]);
        assert_eq!((names.len(), complaints.len()), (0, 1));
        assert_eq!(wanted(&[new("BigTEST", &["10.9.0.2"], "")]).0[0].0, "bigtest.example");
    }

    #[test]
    fn changes_are_taken_in_by_their_order() {
        let mut all = Machines::default();
        all.apply(told(&format!(
            r#"[{},{{"kind":"removed","name":"a"}},{}]"#,
            new("a", &[], ""),
            new("b", &[], "")
        )));
        assert_eq!(all.0.keys().collect::<Vec<_>>(), ["b"]);
        all.apply(told(&format!(r#"[{{"kind":"removed","name":"b"}},{}]"#, new("b", &["10.9.0.2"], ""))));
        assert_eq!(all.0["b"].addresses.as_deref(), Some(&["10.9.0.2".to_owned()][..]));
    }
}
