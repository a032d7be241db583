//! The host's own interfaces, as far as they lead to machines: where the other ends of pairs are, and who is a port of which
//! bridge.

use std::collections::{BTreeSet, HashMap};

use super::rtnetlink::{Link, Nsid};

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: HashMap<u32, Link>,
    by_namespace: HashMap<Nsid, BTreeSet<u32>>,
}

impl Links {
    /// An interface is there, or is another one than it was.
    pub(super) fn set(&mut self, link: Link) {
        self.gone(link.ifindex);
        // Most have no part in this, and are not worth the room.
        if link == (Link { ifindex: link.ifindex, ..Link::default() }) {
            return;
        }
        if let Some((_, nsid)) = link.peer {
            self.by_namespace.entry(nsid).or_default().insert(link.ifindex);
        }
        self.links.insert(link.ifindex, link);
    }

    /// An interface is gone.
    pub(super) fn gone(&mut self, ifindex: u32) {
        let Some(Link { peer: Some((_, nsid)), .. }) = self.links.remove(&ifindex) else { return };
        if let Some(ends) = self.by_namespace.get_mut(&nsid) {
            ends.remove(&ifindex);
            if ends.is_empty() {
                self.by_namespace.remove(&nsid);
            }
        }
    }

    /// The host's ends of the pairs that lead into a namespace, each with the number of the other end there.
    pub(super) fn ends(&self, nsid: Nsid) -> impl Iterator<Item = (u32, u32)> {
        let ends = self.by_namespace.get(&nsid).into_iter().flatten();
        ends.filter_map(|ifindex| Some((*ifindex, self.links.get(ifindex)?.peer?.0)))
    }

    /// The bridge that an interface is a port of.
    pub(super) fn bridge_of(&self, ifindex: u32) -> Option<u32> {
        let master = self.links.get(&ifindex)?.master?;
        self.links.get(&master).filter(|master| master.is_bridge).map(|master| master.ifindex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_leads_where_it_was_last_said_to_lead() {
        let [one, other] = [1, 2].map(|id| Nsid::new(id).unwrap());
        let mut links = Links::default();
        let ends = |links: &Links, nsid| links.ends(nsid).collect::<Vec<_>>();
        let veth = |ifindex, peer, master| Link { ifindex, peer: Some(peer), master, is_bridge: false };
        links.set(veth(7, (2, one), Some(9)));
        links.set(veth(5, (3, one), None));
        assert_eq!(ends(&links, one), [(5, 3), (7, 2)]);
        assert_eq!(links.bridge_of(7), None, "a master that nobody said is a bridge");
        links.set(Link { ifindex: 9, is_bridge: true, ..Link::default() });
        assert_eq!((links.bridge_of(7), links.bridge_of(5), links.bridge_of(1)), (Some(9), None, None));
        links.set(veth(7, (2, other), None));
        assert_eq!((ends(&links, one), ends(&links, other)), (vec![(5, 3)], vec![(7, 2)]));
        assert_eq!(links.bridge_of(7), None);
        links.set(Link { ifindex: 7, ..Link::default() });
        links.gone(5);
        links.gone(5);
        links.gone(9);
        assert!(links.links.is_empty() && links.by_namespace.is_empty());
    }
}
