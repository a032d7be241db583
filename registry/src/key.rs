//! The keys of a record: one table, from which its writer, its readers and the scanner of lookups are derived.

/// Makes the keys out of their names, in the order in which they are written. Those that lookups have a use for say so.
macro_rules! keys {
    ($($(#[$doc:meta])* $key:ident $([lookups: $used:ident])? = $name:literal,)*) => {
        /// A key of a record.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Key {
            $($(#[$doc])* $key,)*
        }

        impl Key {
            /// All keys, in the order in which they are written: the original's, then ours.
            pub const ALL: &[Self] = &[$(Self::$key,)*];

            /// The name of the key.
            pub const fn name(self) -> &'static str {
                match core::str::from_utf8(self.bytes()) {
                    Ok(name) => name,
                    Err(_) => "",
                }
            }

            const fn bytes(self) -> &'static [u8] {
                match self {
                    $(Self::$key => $name,)*
                }
            }

            /// The key of this name.
            pub const fn of(name: &[u8]) -> Option<Self> {
                match name {
                    $($name => Some(Self::$key),)*
                    _ => None,
                }
            }

            /// The key of this name, if lookups have a use for it.
            // Not by a match, which becomes a comparison for each byte: the module of the name service switch has to be small.
            pub(crate) fn of_lookups(name: &[u8]) -> Option<Self> {
                $($(if name == $name {
                    return Some(Self::$used);
                })?)*
                None
            }
        }
    };
}

keys! {
    /// The machine's name.
    Name [lookups: Name] = b"NAME",
    /// The uid that registered it.
    Uid [lookups: Uid] = b"UID",
    /// The systemd unit it runs in.
    Scope = b"SCOPE",
    /// The control group below the unit.
    Subgroup = b"SUBGROUP",
    /// The job that starts the unit.
    ScopeJob = b"SCOPE_JOB",
    /// What started it.
    Service = b"SERVICE",
    /// Its root directory.
    Root = b"ROOT",
    /// The machine id inside.
    Id = b"ID",
    /// The process that leads it.
    Leader [lookups: Leader] = b"LEADER",
    /// The inode number of the leader's pidfd.
    LeaderPidfdId [lookups: LeaderPidfdId] = b"LEADER_PIDFDID",
    /// The process that looks after it.
    Supervisor = b"SUPERVISOR",
    /// The inode number of the supervisor's pidfd.
    SupervisorPidfdId = b"SUPERVISOR_PIDFDID",
    /// Container or virtual machine.
    Class [lookups: Class] = b"CLASS",
    /// When it was registered, by CLOCK_REALTIME.
    Realtime = b"REALTIME",
    /// When it was registered, by CLOCK_MONOTONIC.
    Monotonic = b"MONOTONIC",
    /// The host's interfaces that lead to it.
    Netif [lookups: Netif] = b"NETIF",
    /// Its AF_VSOCK context id.
    VsockCid = b"VSOCK_CID",
    /// Where its SSH server is reached.
    SshAddress = b"SSH_ADDRESS",
    /// The private key for it.
    SshPrivateKeyPath = b"SSH_PRIVATE_KEY_PATH",
    /// The Varlink address of its manager.
    ControlAddress = b"CONTROL_ADDRESS",
    /// When the leader started.
    LeaderStartTime [lookups: LeaderStartTime] = b"LEADER_STARTTIME",
    /// The PID namespace in which process ids mean something.
    PidNamespace [lookups: PidNamespace] = b"PIDNS",
    /// Its control group.
    Cgroup = b"CGROUP",
    /// The inode number of that.
    CgroupId = b"CGROUPID",
    /// Whether an administrator let it in, so that its name is for everybody.
    Public [lookups: Public] = b"PUBLIC",
    /// Its uid map.
    UidMap [lookups: UidMap] = b"UIDMAP",
    /// Its gid map.
    GidMap [lookups: GidMap] = b"GIDMAP",
    /// Whether the host reaches it at its addresses, by its own routes.
    Reached = b"REACHED",
    /// The host's interfaces that lead to it, found by what its leader has open.
    NetifFound = b"NETIF_FOUND",
    /// Where its addresses are known from, in their order; the last word is for all that follow.
    AddressesFrom = b"ADDRESSES_FROM",
    /// What its name resolves to.
    Addresses [lookups: Addresses] = b"ADDRESSES",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_known_by_its_name_and_by_no_other() {
        for &key in Key::ALL {
            assert!(!key.name().is_empty());
            assert_eq!(Key::of(key.name().as_bytes()), Some(key));
            assert!(Key::of_lookups(key.name().as_bytes()).is_none_or(|same| same == key));
        }
        for name in ["", "name", "NAME ", "\u{c}", "ADDRESSES_OF"] {
            assert_eq!(Key::of(name.as_bytes()), None, "{name:?}");
        }
    }
}
