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
    /// Whose they are, if not the host's.
    user: Option<User>,
}

/// The directories of a user, file-hierarchy(7). None has a slash at its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct User {
    /// `$XDG_RUNTIME_DIR`.
    pub runtime: String,
    /// `$XDG_STATE_HOME`, or `~/.local/state`.
    pub state: String,
    /// `$XDG_CONFIG_HOME`, or `~/.config`.
    pub settings: String,
    /// `~/.local/lib`.
    pub library: String,
}

impl Places {
    /// Those of the host.
    pub const fn system() -> Self {
        Self { root: String::new(), user: None }
    }

    /// The same below a directory, whose path has no slash at its end.
    pub fn below(root: impl Into<String>) -> Self {
        Self { root: root.into(), user: None }
    }

    /// Those of a user, who has nothing to do with the host's.
    pub const fn of(user: User) -> Self {
        Self { root: String::new(), user: Some(user) }
    }

    /// The directories with images, the most important first.
    pub fn directories(&self) -> Vec<String> {
        match &self.user {
            Some(user) => {
                [&user.runtime, &user.state, &user.library].map(|place| format!("{place}/machines")).to_vec()
            }
            None => DIRECTORIES.iter().map(|directory| self.at(directory)).collect(),
        }
    }

    /// Where new images are put.
    pub fn pool(&self) -> String {
        match &self.user {
            Some(user) => format!("{}/machines", user.state),
            None => self.at("/var/lib/machines"),
        }
    }

    /// Where settings of images are that are no part of them.
    pub(crate) fn settings(&self) -> [String; 2] {
        match &self.user {
            Some(user) => [&user.settings, &user.runtime].map(|place| format!("{place}/systemd/nspawn")),
            None => ["/etc/systemd/nspawn", "/run/systemd/nspawn"].map(|directory| self.at(directory)),
        }
    }

    /// Where locks are that count for the whole host.
    pub(crate) fn locks(&self) -> String {
        match &self.user {
            Some(user) => format!("{}/systemd/nspawn/locks", user.runtime),
            None => self.at("/run/systemd/nspawn/locks"),
        }
    }

    /// The root of the host; `None` where the host is no image.
    pub(crate) fn host(&self) -> Option<String> {
        let root = if self.root.is_empty() { "/".to_owned() } else { self.root.clone() };
        self.user.is_none().then_some(root)
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
    fn a_users_images_are_below_the_users_directories_and_the_host_is_none_of_them() {
        let [runtime, state, settings, library] =
            ["/run/user/7", "/home/u/.local/state", "/home/u/.config", "/home/u/.local/lib"]
                .map(str::to_owned);
        let places = Places::of(User { runtime, state, settings, library });
        let directories =
            ["/run/user/7/machines", "/home/u/.local/state/machines", "/home/u/.local/lib/machines"];
        assert_eq!(places.directories(), directories);
        assert_eq!(places.pool(), directories[1]);
        assert_eq!(places.settings(), ["/home/u/.config/systemd/nspawn", "/run/user/7/systemd/nspawn"]);
        assert_eq!(places.locks(), "/run/user/7/systemd/nspawn/locks");
        assert_eq!(places.host(), None);
    }

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
