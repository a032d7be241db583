//! Control groups, cgroups(7), and the systemd units they belong to.

use std::borrow::ToOwned;
use std::str;
use std::string::String;

use crate::group::{below, path_in, root_of, unit_of};

/// A control group, by its path as `/proc/PID/cgroup` gives it: from the root of this process's cgroup namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControlGroup(String);

/// Where in systemd's hierarchy a control group is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnitPlace {
    /// The outermost unit that is no slice.
    pub unit: String,
    /// What follows below the unit, without a slash at its start; empty for the unit's own group.
    pub subgroup: String,
}

impl ControlGroup {
    /// Reads the text of `/proc/PID/cgroup`: the unified hierarchy, or systemd's own where there are both. `None`:
    /// there is neither, or the group is outside of this process's cgroup namespace.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let path = str::from_utf8(path_in(text)?).ok()?;
        (path != "/.." && !path.starts_with("/../")).then(|| Self(path.to_owned()))
    }

    /// The path, which begins with a slash.
    pub fn path(&self) -> &str {
        &self.0
    }

    /// The unit it belongs to, if `init` (the group of process 1) is systemd's. As sd_pid_get_unit(3) has it: the
    /// first component that is no slice, below the group that systemd runs in.
    pub fn unit(&self, init: &Self) -> Option<UnitPlace> {
        let text = |bytes: &[u8]| str::from_utf8(bytes).ok().map(ToOwned::to_owned);
        let (unit, subgroup) = unit_of(below(self.0.as_bytes(), root_of(init.0.as_bytes())))?;
        Some(UnitPlace { unit: text(unit)?, subgroup: text(subgroup)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    fn place(init: &str, path: &str) -> Option<(String, String)> {
        let group = |path: &str| ControlGroup::parse(format!("0::{path}\n").as_bytes()).unwrap();
        group(path).unit(&group(init)).map(|place| (place.unit, place.subgroup))
    }

    #[test]
    fn the_outermost_unit_below_the_slices_counts() {
        for (path, unit, subgroup) in [
            (
                "/machine.slice/machine-foo.scope/payload/system.slice/bar.service",
                "machine-foo.scope",
                "payload/system.slice/bar.service",
            ),
            (
                "/machine.slice/systemd-nspawn@foo.service/supervisor",
                "systemd-nspawn@foo.service",
                "supervisor",
            ),
            ("/a.slice/a-b.slice/x.service", "x.service", ""),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope",
                "user@1000.service",
                "app.slice/x.scope",
            ),
            ("/machine.slice/machine-my\\x2dvm.scope", "machine-my\\x2dvm.scope", ""),
            ("/_cgroup.service", "cgroup.service", ""),
            ("/init.scope", "init.scope", ""),
        ] {
            assert_eq!(place("/init.scope", path), Some((unit.into(), subgroup.into())), "{path}");
        }
    }

    #[test]
    fn a_group_below_no_unit_has_none() {
        for path in ["/", "/machine.slice", "/machines/web", "/user.slice/x", "/x@.service", "/.service"] {
            assert_eq!(place("/init.scope", path), None, "{path}");
        }
    }

    #[test]
    fn inside_a_container_paths_count_from_its_own_root() {
        let path = "/machine.slice/machine-outer.scope/payload/system.slice/x.service";
        let init = "/machine.slice/machine-outer.scope/payload/init.scope";
        assert_eq!(place(init, path), Some(("x.service".into(), String::new())));
        assert_eq!(place(init, "/system.slice/y.service"), Some(("y.service".into(), String::new())));
    }

    #[test]
    fn the_hierarchy_is_found_in_any_layout() {
        let path = |text: &str| ControlGroup::parse(text.as_bytes()).map(|group| group.0);
        assert_eq!(path("0::/a\n"), Some("/a".into()));
        assert_eq!(path("12:cpu:/x\n1:name=systemd:/b\n0::/a\n"), Some("/a".into()));
        assert_eq!(path("12:cpu:/x\n1:name=systemd:/b\n0::/\n"), Some("/b".into()));
        assert_eq!(path("1:name=systemd:/b\n"), Some("/b".into()));
        assert_eq!(path("0::/a (deleted)\n"), Some("/a".into()));
        assert_eq!(path("0::/../x\n"), None);
        assert_eq!(path("5:cpu:/\n"), None);
    }
}
