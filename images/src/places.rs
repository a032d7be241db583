//! Where images are, and what belongs to them.

/// Below which directory images are looked for, the most important first.
const DIRECTORIES: [&str; 6] = [
    "/etc/machines",
    "/run/machines",
    "/var/lib/machines",
    "/var/lib/container",
    "/usr/local/lib/machines",
    "/usr/lib/machines",
];

/// Where images, their locks and their settings are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Places {
    /// What stands before every path; empty for the host's own.
    root: String,
}

impl Places {
    /// Those of the host.
    pub const fn system() -> Self {
        Self { root: String::new() }
    }

    /// The same below a directory, whose path has no slash at its end.
    pub fn below(root: impl Into<String>) -> Self {
        Self { root: root.into() }
    }

    /// The directories with images, the most important first.
    pub fn directories(&self) -> impl Iterator<Item = String> + '_ {
        DIRECTORIES.iter().map(|directory| self.at(directory))
    }

    /// Where new images are put.
    pub fn pool(&self) -> String {
        self.at("/var/lib/machines")
    }

    /// Where settings of images are that are no part of them.
    pub(crate) fn settings(&self) -> [String; 2] {
        ["/etc/systemd/nspawn", "/run/systemd/nspawn"].map(|directory| self.at(directory))
    }

    /// Where locks are that count for the whole host.
    pub(crate) fn locks(&self) -> String {
        self.at("/run/systemd/nspawn/locks")
    }

    /// The root of the host.
    pub(crate) fn host(&self) -> String {
        if self.root.is_empty() { "/".to_owned() } else { self.root.clone() }
    }

    /// Whether what is at a path belongs to the operating system.
    pub(crate) fn is_vendors(&self, path: &str) -> bool {
        let below = path.strip_prefix(self.root.as_str()).and_then(|path| path.strip_prefix("/usr"));
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_usr_is_the_vendors() {
        let (system, below) = (Places::system(), Places::below("/tmp/x"));
        for (path, is_vendors) in [
            ("/usr/lib/machines/a", true),
            ("/usr", true),
            ("/usrlocal/machines/a", false),
            ("/var/lib/machines/usr", false),
        ] {
            assert_eq!(system.is_vendors(path), is_vendors, "{path}");
            assert_eq!(below.is_vendors(&format!("/tmp/x{path}")), is_vendors, "{path}");
        }
        assert!(!below.is_vendors("/usr/lib/machines/a"));
    }
}
