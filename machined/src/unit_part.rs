//! The part of a unit that is a machine's.

use libmachine::ControlGroup;

/// The groups into which systemd-nspawn divides a unit: its own process, and the container. A leader is born in the
/// first, moves to the second, and if it is a systemd, further down.
const SUPERVISOR: &str = "supervisor";
/// See [`SUPERVISOR`].
pub const PAYLOAD: &str = "payload";

/// The part of a unit that a machine has, or all of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnitPart {
    /// The outermost unit that is no slice.
    pub unit: String,
    /// Below the unit, where the machine does not have the unit from its top.
    pub subgroup: Option<String>,
    /// The path of the machine's group.
    pub cgroup: String,
}

impl UnitPart {
    /// The part of the machine that has all of the unit in which `group` is; `None` if that is below no unit of `init`'s
    /// systemd.
    pub fn of_unit(group: &ControlGroup, init: &ControlGroup) -> Option<Self> {
        let part = group.unit(init)?;
        let cgroup = top(group, &part.subgroup).to_owned();
        Some(Self { unit: part.unit, subgroup: None, cgroup })
    }

    /// The part of the machine whose leader is in `group`; `None` if that is below no unit of `init`'s systemd.
    pub fn of(group: &ControlGroup, init: &ControlGroup) -> Option<Self> {
        let part = group.unit(init)?;
        let mut components: Vec<&str> = part.subgroup.split('/').filter(|name| !name.is_empty()).collect();
        if let Some(at) = components.iter().position(|name| [SUPERVISOR, PAYLOAD].contains(name)) {
            let kept = if components.get(at) == Some(&PAYLOAD) { at.saturating_add(1) } else { at };
            components.truncate(kept);
        }
        let subgroup = components.join("/");
        let cgroup = format!("{}/{subgroup}", top(group, &part.subgroup)).trim_end_matches('/').to_owned();
        Some(Self { unit: part.unit, subgroup: Some(subgroup).filter(|name| !name.is_empty()), cgroup })
    }
}

/// The group of a machine that a container manager has put beside all units of the host's systemd, as LXC does, if `group`
/// is one. The systemd of the container may have moved its leader down by now. Slices are systemd's, and the root everybody's.
pub fn group_apart(group: &ControlGroup) -> Option<&str> {
    let path = group.path();
    let path = path.strip_suffix("/init.scope").unwrap_or(path);
    let is_apart = path.len() > 1 && !path.split('/').any(|part| part.ends_with(".slice"));
    is_apart.then_some(path)
}

/// The path of the unit that `group` is in, at `subgroup` below it.
fn top<'a>(group: &'a ControlGroup, subgroup: &str) -> &'a str {
    group.path().strip_suffix(subgroup).unwrap_or(group.path()).trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> Option<(String, Option<String>, String)> {
        let group = |path: &str| ControlGroup::parse(format!("0::{path}\n").as_bytes()).unwrap();
        UnitPart::of(&group(path), &group("/init.scope")).map(|part| (part.unit, part.subgroup, part.cgroup))
    }

    fn expected(
        unit: &str,
        subgroup: Option<&str>,
        cgroup: &str,
    ) -> Option<(String, Option<String>, String)> {
        Some((unit.to_owned(), subgroup.map(str::to_owned), cgroup.to_owned()))
    }

    #[test]
    fn a_leader_that_nspawn_has_not_moved_yet_has_the_unit() {
        let unit = "systemd-nspawn@web.service";
        let group = format!("/machine.slice/{unit}");
        assert_eq!(place(&format!("{group}/supervisor")), expected(unit, None, &group));
    }

    #[test]
    fn a_systemd_that_has_moved_down_is_still_in_the_payload() {
        let unit = "systemd-nspawn@web.service";
        let group = format!("/machine.slice/{unit}/payload");
        for below in ["", "/init.scope", "/system.slice/inner.service/payload"] {
            assert_eq!(place(&format!("{group}{below}")), expected(unit, Some("payload"), &group), "{below}");
        }
    }

    #[test]
    fn a_unit_of_a_users_manager_is_shared() {
        let above = "/user.slice/user-1000.slice/user@1000.service";
        let below = "machine.slice/systemd-nspawn@web.service";
        let payload = format!("{below}/payload");
        let group = format!("{above}/{payload}");
        assert_eq!(
            place(&format!("{group}/init.scope")),
            expected("user@1000.service", Some(&payload), &group)
        );
        let group = format!("{above}/{below}");
        assert_eq!(place(&format!("{group}/supervisor")), expected("user@1000.service", Some(below), &group));
    }

    #[test]
    fn a_unit_may_be_a_machines_from_its_top_wherever_the_leader_is() {
        let group = |path: &str| ControlGroup::parse(format!("0::{path}\n").as_bytes()).unwrap();
        let of_unit = |path: &str| UnitPart::of_unit(&group(path), &group("/init.scope"));
        let unit = "machine-web.scope";
        let all = UnitPart { unit: unit.into(), subgroup: None, cgroup: format!("/machine.slice/{unit}") };
        for below in ["", "/libvirt/emulator", "/payload/init.scope"] {
            assert_eq!(of_unit(&format!("/machine.slice/{unit}{below}")).as_ref(), Some(&all), "{below}");
        }
        assert_eq!(of_unit("/machine.slice"), None);
    }

    #[test]
    fn a_group_beside_all_units_is_the_machines() {
        let apart = |path: &str| {
            let group = ControlGroup::parse(format!("0::{path}\n").as_bytes()).unwrap();
            group_apart(&group).map(str::to_owned)
        };
        for path in ["/lxc.payload.web", "/lxc.payload.web/init.scope"] {
            assert_eq!((place(path), apart(path).as_deref()), (None, Some("/lxc.payload.web")), "{path}");
        }
        for path in ["/", "/init.scope", "/machine.slice", "/machine.slice/machine-a.slice/x"] {
            assert_eq!(apart(path), None, "{path}");
        }
    }

    #[test]
    fn a_unit_that_nobody_divided_is_the_machines() {
        assert_eq!(place("/system.slice/a.service"), expected("a.service", None, "/system.slice/a.service"));
        assert_eq!(
            place("/system.slice/a.service/x"),
            expected("a.service", Some("x"), "/system.slice/a.service/x")
        );
        assert_eq!(place("/machine.slice"), None);
    }
}
