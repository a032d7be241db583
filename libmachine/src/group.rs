//! The control group of a process, and the unit that it belongs to, as sd_pid_get_unit(3) has it.

use core::ffi::CStr;

use registry::Decimal;

use crate::buffer::Buffer;
use crate::errno::Errno;
use crate::system::{open, read_all};
use crate::unit_name::{is_slice, is_unit, unescape};
use crate::zero_ended::ZeroEnded;

/// `/proc/PID/cgroup` is not longer than this: a line per hierarchy, each with a path of 4096 bytes at most.
const TEXT_MAX: usize = 256 * 1024;

/// The control group of a process: its path from the root of the caller's cgroup namespace.
#[derive(Debug)]
pub struct Group {
    path: Buffer<u8>,
}

impl Group {
    /// The group of a process; of the caller for 0.
    ///
    /// # Errors
    /// `ESRCH`: no such process. `EUNATCH`: its group is outside of the caller's namespace. `ENODATA`: it has none.
    #[inline(never)]
    pub fn of(pid: u32) -> Result<Self, Errno> {
        let path = match pid {
            0 => ZeroEnded::<32>::new(&[b"/proc/self/cgroup"]),
            pid => ZeroEnded::<32>::new(&[b"/proc/", Decimal::new(pid).as_bytes(), b"/cgroup"]),
        };
        Self::read(path.as_c_str())
    }

    /// The group that systemd runs in, as far as the unit of this group depends on it: the group of process 1 is read only
    /// then, which is half of what a lookup costs.
    ///
    /// # Errors
    /// Those of [`Group::of`], for process 1.
    pub fn root(&self) -> Result<Buffer<u8>, Errno> {
        if depends_on_root(&self.path) { Self::of_systemd() } else { Ok(Buffer::new()) }
    }

    fn of_systemd() -> Result<Buffer<u8>, Errno> {
        let mut root = Self::of(1)?.path;
        let length = root_of(&root).len();
        root.truncate(length);
        Ok(root)
    }

    /// The group that systemd runs in, as far as the caller sees it: the root of all where /proc hides process 1 (hidepid),
    /// or its group is outside of the caller's namespace.
    ///
    /// # Errors
    /// A shortage of descriptors or memory.
    #[inline(never)]
    pub fn visible_root() -> Result<Buffer<u8>, Errno> {
        match Self::of_systemd() {
            Err(errno) if !errno.is_shortage() => Ok(Buffer::new()),
            root => root,
        }
    }

    fn read(path: &CStr) -> Result<Self, Errno> {
        let file =
            open(None, path, 0).map_err(|errno| if errno == Errno::NOENT { Errno::SRCH } else { errno })?;
        let mut text = read_all(&file, TEXT_MAX)?;
        let path = path_in(&text).ok_or(Errno::NODATA)?;
        if path.starts_with(b"/../") || path == b"/.." {
            return Err(Errno::UNATCH);
        }
        let (start, length) = (offset(&text, path), path.len());
        text.cut_out(start, length);
        Ok(Self { path: text })
    }

    /// Whether it is the group with this path, or lies below it.
    pub fn is_within(&self, path: &[u8]) -> bool {
        let path = path.strip_suffix(b"/").unwrap_or(path);
        self.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    }

    /// The path, which begins with a slash.
    pub fn path(&self) -> &[u8] {
        &self.path
    }
}

/// Where a part of a text begins in it.
fn offset(text: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr().wrapping_sub(text.as_ptr().addr())
}

/// The path in the text of `/proc/PID/cgroup`: of the unified hierarchy, or of systemd's own where there are both and
/// the unified one is not in use.
pub fn path_in(text: &[u8]) -> Option<&[u8]> {
    // The unified hierarchy comes last, and is nearly always the one.
    let last = text.strip_suffix(b"\n").unwrap_or(text).rsplit(|&byte| byte == b'\n').next();
    if let Some(path) = last.and_then(|line| line.strip_prefix(b"0::/"))
        && !path.is_empty()
    {
        let whole = last.and_then(|line| line.get(3..))?;
        return Some(whole.strip_suffix(b" (deleted)").unwrap_or(whole));
    }
    let (mut unified, mut systemd) = (None, None);
    for line in text.split(|&byte| byte == b'\n') {
        let mut fields = line.splitn(3, |&byte| byte == b':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if !path.starts_with(b"/") {
            continue;
        }
        if controllers.is_empty() && line.starts_with(b"0::") {
            unified = Some(path);
        } else if controllers == b"name=systemd" {
            systemd = Some(path);
        }
    }
    let path = match unified {
        Some(b"/") => systemd.or(unified),
        found => found.or(systemd),
    }?;
    Some(path.strip_suffix(b" (deleted)").unwrap_or(path))
}

/// The group that systemd runs in, by the group of process 1.
pub fn root_of(init: &[u8]) -> &[u8] {
    init.strip_suffix(b"/init.scope").unwrap_or(init)
}

/// The path of a group below the root, or as it is if it is not there.
pub fn below<'a>(path: &'a [u8], root: &[u8]) -> &'a [u8] {
    path.strip_prefix(root).filter(|rest| rest.starts_with(b"/")).unwrap_or(path)
}

/// Whether the unit of a group depends on the root at all. It does only where something follows below the outermost
/// component that is no slice. Else all that a root can take away are slices, which are passed over anyway: a root that has
/// that component is the group itself, and takes nothing away.
pub fn depends_on_root(path: &[u8]) -> bool {
    let mut components = path.split(|&byte| byte == b'/').filter(|component| !component.is_empty());
    components.any(|component| !is_slice(component)) && components.next().is_some()
}

/// The outermost unit that is no slice on a path below the root, and what follows below it; `None` if there is none, or
/// it is no unit.
pub fn unit_of(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = path;
    loop {
        while let Some(after) = rest.strip_prefix(b"/") {
            rest = after;
        }
        let mut halves = rest.splitn(2, |&byte| byte == b'/');
        let (component, after) = (halves.next()?, halves.next().unwrap_or_default());
        if !is_slice(component) {
            let unit = unescape(component);
            return (component.len() >= 3 && is_unit(unit)).then_some((unit, after));
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(init: &str, path: &str) -> Option<std::string::String> {
        let path = below(path.as_bytes(), root_of(init.as_bytes()));
        unit_of(path).map(|(unit, _)| std::str::from_utf8(unit).unwrap().into())
    }

    #[test]
    fn the_outermost_unit_below_the_slices_counts() {
        for (path, expected) in [
            ("/machine.slice/machine-foo.scope/payload/system.slice/bar.service", Some("machine-foo.scope")),
            ("/machine.slice/systemd-nspawn@foo.service/supervisor", Some("systemd-nspawn@foo.service")),
            ("/a.slice/a-b.slice/x.service", Some("x.service")),
            ("/machine.slice/machine-my\\x2dvm.scope", Some("machine-my\\x2dvm.scope")),
            ("/_cgroup.service", Some("cgroup.service")),
            ("/init.scope", Some("init.scope")),
            ("/", None),
            ("/machine.slice", None),
            ("/machines/web", None),
            ("/user.slice/x/y.service", None),
            ("/x@.service", None),
        ] {
            assert_eq!(unit("/init.scope", path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn inside_a_container_paths_count_from_its_own_root() {
        let init = "/machine.slice/machine-outer.scope/payload/init.scope";
        for (path, expected) in [
            ("/machine.slice/machine-outer.scope/payload/system.slice/x.service", Some("x.service")),
            // As systemd 262 has it; for 257 the root itself had no unit.
            ("/machine.slice/machine-outer.scope/payload", Some("machine-outer.scope")),
            ("/machine.slice/machine-outer.scope/payloads/x.service", Some("machine-outer.scope")),
            ("/system.slice/y.service", Some("y.service")),
        ] {
            assert_eq!(unit(init, path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn the_path_is_found_in_any_layout_of_the_hierarchies() {
        let path =
            |text: &'static str| path_in(text.as_bytes()).map(|path| std::str::from_utf8(path).unwrap());
        assert_eq!(path("0::/a\n"), Some("/a"));
        assert_eq!(path("12:cpu:/x\n1:name=systemd:/b\n0::/a:b\n"), Some("/a:b"));
        assert_eq!(path("12:cpu:/x\n1:name=systemd:/b\n0::/\n"), Some("/b"));
        assert_eq!(path("1:name=systemd:/b\n"), Some("/b"));
        assert_eq!(path("0::/\n"), Some("/"));
        assert_eq!(path("0::/a (deleted)\n"), Some("/a"));
        assert_eq!(path("5:cpu:/\n"), None);
        assert_eq!(path(""), None);
    }

    #[test]
    fn where_the_root_does_not_count_no_root_changes_the_unit() {
        const COMPONENTS: [&str; 7] =
            ["a.slice", "b.slice", "x.service", "y.scope", "payload", "_a.slice", "init.scope"];
        // All paths of up to three components, and all roots of up to three.
        let mut paths = std::vec![std::string::String::new()];
        for depth in 0..3 {
            let longer: std::vec::Vec<_> = paths
                .iter()
                .filter(|path| path.matches('/').count() == depth)
                .flat_map(|path| COMPONENTS.map(|component| std::format!("{path}/{component}")))
                .collect();
            paths.extend(longer);
        }
        paths.push("/".into());
        let (mut independent, mut dependent) = (0, 0);
        for path in &paths {
            let own = unit_of(path.as_bytes()).map(|(unit, _)| unit);
            let changes = paths.iter().any(|init| {
                unit_of(below(path.as_bytes(), root_of(init.as_bytes()))).map(|(unit, _)| unit) != own
            });
            if depends_on_root(path.as_bytes()) {
                dependent += u32::from(changes);
            } else {
                assert!(!changes, "{path}");
                independent += 1;
            }
        }
        assert!(independent > 50 && dependent > 50, "{independent} {dependent}");
    }

    #[test]
    fn processes_have_groups() {
        assert!(Group::of(0).unwrap().path().starts_with(b"/"));
        assert_eq!(Group::of(std::process::id()).unwrap().path(), Group::of(0).unwrap().path());
        assert_eq!(Group::of(0x7fff_ffff).err(), Some(Errno::SRCH));
    }
}
