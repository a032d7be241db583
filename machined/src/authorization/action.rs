//! What not everybody may do: one row per action.

use std::fmt::Debug;

/// What is said of an action.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// Polkit's name of it, org.freedesktop.machine1.policy.
    pub polkit: &'static str,
    /// Another action of polkit's: who may do that may do this. The policy files of systemd 257 do not say so yet.
    pub implied_by: Option<&'static str>,
    /// What it is worth that something is the caller's own.
    pub owner: OwnersPart,
}

/// What it is worth that a machine was registered by the caller, or that a process is the caller's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OwnersPart {
    /// Nothing: polkit judges.
    Nothing,
    /// All: whose machine it is may do it without being asked.
    Enough,
    /// It is demanded beside polkit's consent, but for those who could do it to everybody's.
    Demanded,
}

/// Something that not everybody may do.
pub trait Action: Debug {
    /// Its row in the table.
    const ROW: Row;
}

/// The table: each action as a type, its name with polkit, what implies it, and the owner's part.
macro_rules! actions {
    ($($(#[$about:meta])* $name:ident: $polkit:literal, $implied_by:expr, $owner:ident;)*) => {
        $(
            $(#[$about])*
            #[derive(Debug)]
            pub struct $name;

            impl Action for $name {
                const ROW: Row = Row {
                    polkit: concat!("org.freedesktop.machine1.", $polkit),
                    implied_by: $implied_by,
                    owner: OwnersPart::$owner,
                };
            }
        )*

        /// The rows of all actions.
        #[cfg(test)]
        pub(super) const ALL: &[Row] = &[$($name::ROW),*];
    };
}

actions! {
    /// To register a machine. A name that resolves is not anybody's to take, and a process not anybody's to make a machine
    /// of.
    Register: "register-machine", Some(Create::ROW.polkit), Demanded;
    /// To register a machine, and have a unit made for it.
    Create: "create-machine", None, Demanded;
    /// To unregister, terminate or kill a machine.
    Manage: "manage-machines", None, Enough;
    /// To be told what is inside a machine: its OS, its addresses. It is read as root, and the mounts and links that lead
    /// there are the owner's to arrange.
    Inspect: "inspect-machines", Some(Manage::ROW.polkit), Nothing;
    /// To open a terminal of a machine.
    OpenPty: "open-pty", None, Enough;
    /// To open one of the host.
    HostOpenPty: "host-open-pty", None, Nothing;
    /// To log in to a machine.
    Login: "login", None, Enough;
    /// To log in to the host.
    HostLogin: "host-login", None, Nothing;
    /// To have a shell in a machine.
    OpenShell: "shell", None, Enough;
    /// To have one on the host.
    HostShell: "host-shell", None, Nothing;
    /// To mount something of the host in a machine.
    Bind: "manage-machines", None, Nothing;
    /// To copy between the host and a machine.
    Copy: "manage-machines", None, Nothing;
    /// To open the root directory of a machine.
    Enter: "manage-machines", None, Nothing;
    /// To change images.
    ManageImages: "manage-images", None, Nothing;
    /// To change the pool of images, or all that is in it, over D-Bus, where the original asks for another action than over
    /// Varlink.
    ManagePool: "manage-machines", None, Nothing;
    /// To be told what is inside images.
    InspectImages: "inspect-images", Some(ManageImages::ROW.polkit), Nothing;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The policy that is installed.
    const POLICY: &str = include_str!("../../../policy/mymachines.policy");

    #[test]
    fn every_action_is_one_of_the_policys_and_implied_as_that_says() {
        for row in ALL {
            let begin = format!("<action id=\"{}\">", row.polkit);
            assert!(POLICY.contains(&begin), "{row:?}");
            let Some(implying) = row.implied_by else { continue };
            let (_, rest) = POLICY.split_once(&format!("<action id=\"{implying}\">")).unwrap();
            let (action, _) = rest.split_once("</action>").unwrap();
            assert!(action.contains(row.polkit), "{implying} implies {row:?}");
        }
    }
}
