//! What is known of an image.

/// The image that the host itself runs from.
pub const HOST_NAME: &str = ".host";

/// What an image is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A tree of files.
    Directory,
    /// The same, as a subvolume of btrfs.
    Subvolume,
    /// A file with a disk in it.
    Raw,
    /// A block device.
    Block,
    /// A directory with layers that are put on top of each other when it is started.
    Mstack,
}

impl Kind {
    /// Its name, org.freedesktop.machine1(5).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Subvolume => "subvolume",
            Self::Raw => "raw",
            Self::Block => "block",
            Self::Mstack => "mstack",
        }
    }
}

/// An image. Sizes are in bytes, times in microseconds since 1970.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// What it is called.
    pub name: String,
    /// Where it is.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Whether it cannot be written to.
    pub read_only: bool,
    /// Whether it belongs to the host's operating system.
    pub vendor: bool,
    /// When it was made; 0 if nobody knows.
    pub created: u64,
    /// When it was last written to; 0 if nobody knows.
    pub modified: u64,
    /// What it takes.
    pub space: Space,
}

/// What an image takes of its file system; `None` if nobody counts.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Space {
    /// All of it.
    pub usage: Option<u64>,
    /// What would be free if it were not there.
    pub usage_exclusive: Option<u64>,
    /// How much `usage` may become.
    pub limit: Option<u64>,
    /// How much `usage_exclusive` may become.
    pub limit_exclusive: Option<u64>,
}

impl Space {
    pub(crate) const fn of_file(usage: u64, limit: u64) -> Self {
        Self {
            usage: Some(usage),
            usage_exclusive: Some(usage),
            limit: Some(limit),
            limit_exclusive: Some(limit),
        }
    }
}

impl Image {
    /// Whether it is left out where images are listed for people.
    pub fn is_hidden(&self) -> bool {
        self.name.starts_with('.')
    }

    /// What its file's name ends in, beyond its own.
    pub(crate) const fn suffix(&self) -> &'static str {
        match self.kind {
            Kind::Directory | Kind::Subvolume | Kind::Block => "",
            Kind::Raw => ".raw",
            Kind::Mstack => ".mstack",
        }
    }

    /// The directory that it is in, and what its file is called there.
    pub(crate) fn place(&self) -> (&str, &str) {
        self.path.rsplit_once('/').unwrap_or(("", &self.path))
    }

    /// Whether it is one of the versions in a directory.
    pub(crate) fn is_version(&self) -> bool {
        let (_, file) = self.place();
        file.strip_suffix(self.suffix()) != Some(&*self.name)
    }

    /// Whether it is the one that the host runs from.
    pub fn is_host(&self) -> bool {
        self.name == HOST_NAME || self.path == "/"
    }
}
