//! Control groups, cgroups(7), and the systemd units they belong to.

use std::str;

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
        let text = str::from_utf8(text).ok()?;
        let path_of = |prefix: &str| text.lines().find_map(|line| line.strip_prefix(prefix));
        let systemd =
            || text.lines().find_map(|line| line.split_once(":name=systemd:").map(|(_, path)| path));
        // On a hybrid host the unified hierarchy carries systemd's groups as well, if systemd runs at all.
        let path = match path_of("0::") {
            Some("/") | None => systemd().or_else(|| path_of("0::"))?,
            Some(path) => path,
        };
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        (path.starts_with('/') && path != "/.." && !path.starts_with("/../")).then(|| Self(path.to_owned()))
    }

    /// The path, which begins with a slash.
    pub fn path(&self) -> &str {
        &self.0
    }

    /// The unit it belongs to, if `init` (the group of process 1) is systemd's. As sd_pid_get_unit(3) has it: the
    /// first component that is no slice, below the group that systemd runs in.
    pub fn unit(&self, init: &Self) -> Option<UnitPlace> {
        let root = init.0.strip_suffix("/init.scope").unwrap_or(&init.0).trim_end_matches('/');
        let below = self.0.strip_prefix(root).filter(|below| below.starts_with('/')).unwrap_or(&self.0);
        let mut components = below.split('/').filter(|component| !component.is_empty());
        let unit = components.by_ref().map(unescape).find(|component| !is_slice(component))?;
        if !is_unit(unit) {
            return None;
        }
        Some(UnitPlace { unit: unit.to_owned(), subgroup: components.collect::<Vec<_>>().join("/") })
    }
}

/// A group whose name would clash with a file of the kernel's begins with an underscore.
fn unescape(component: &str) -> &str {
    component.strip_prefix('_').unwrap_or(component)
}

fn is_slice(component: &str) -> bool {
    component.len() >= 7 && component.ends_with(".slice") && is_name(component)
}

/// systemd.unit(5): a name, perhaps an `@` and an instance, and a type.
fn is_unit(component: &str) -> bool {
    const TYPES: [&str; 11] = [
        ".service",
        ".scope",
        ".socket",
        ".mount",
        ".swap",
        ".target",
        ".device",
        ".automount",
        ".timer",
        ".path",
        ".slice",
    ];
    let typed = TYPES.iter().any(|kind| component.len() > kind.len() && component.ends_with(kind));
    // `name@.service` is a template, in which nothing runs.
    typed && is_name(component) && !component.starts_with('@') && !component.contains("@.")
}

fn is_name(text: &str) -> bool {
    text.len() < 256 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

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
