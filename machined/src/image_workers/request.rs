//! What the daemon and its workers say to each other: JSON, one message per line; but images, of which there may be many, are
//! packed bytes behind the line that says how many.

use images::{Image, Pool, Progress};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::os_release::Fields;

/// What a worker is asked for. It answers one request after the other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Request {
    /// All images, any number of [`Answer::Images`].
    List,
    /// The image of a name, one [`Answer::Images`].
    Find(String),
    /// [`Answer::Pool`].
    Pool,
    /// What is inside the image of a name: [`Answer::Metadata`].
    Metadata(String),
    /// The changes of an image.
    Update(String, Update),
    /// A copy of an image in the pool; any number of [`Answer::Progress`].
    Clone {
        /// The image.
        name: String,
        /// What the copy is called.
        new: String,
        /// Whether the copy is read-only.
        read_only: bool,
        /// Whether it is counted before what there is to be copied.
        counts: bool,
    },
    /// The end of an image; any number of [`Answer::Progress`].
    Remove {
        /// The image.
        name: String,
        /// Whether it is counted before what there is to be removed.
        counts: bool,
    },
    /// How much the pool may take; `None`: as much as there is.
    LimitPool(Option<u64>),
    /// The end of all images, or of the hidden ones: any number of [`Answer::Removed`].
    Clean {
        /// Whether those stay that are not hidden.
        only_hidden: bool,
    },
    /// The end of what was left half done.
    Tidy,
}

/// Changes of an image: each where it is `Some`.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Update {
    /// Its name.
    pub name: Option<String>,
    /// Whether it is read-only.
    pub read_only: Option<bool>,
    /// How much it may take; the inner `None`: as much as there is.
    #[serde(default, with = "limit")]
    pub limit: Option<Option<u64>>,
}

/// JSON has one null for two kinds of nothing.
mod limit {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(limit: &Option<Option<u64>>, serializer: S) -> Result<S::Ok, S::Error> {
        limit.map(|limit| [limit]).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
        let limit = Option::<[Option<u64>; 1]>::deserialize(deserializer)?;
        Ok(limit.map(|[limit]| limit))
    }
}

/// What it answers, [`Answer::Done`] or [`Answer::Failed`] last.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Some images, which are told as [`Answer::Packed`].
    #[serde(skip)]
    Images(Vec<Image>),
    /// Images of so many bytes, which follow.
    Packed(usize),
    /// The pool.
    Pool(Pool),
    /// What is inside an image.
    Metadata(Box<Metadata>),
    /// How far it is.
    Progress(Progress),
    /// An image that was removed, and what it took for itself.
    Removed(String, Option<u64>),
    /// That is all.
    Done,
    /// That is why there is no more.
    Failed(Failure),
}

/// Why a worker could not do what it was asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// Whether there is no image of that name.
    pub no_such_image: bool,
    /// The number of the errno that comes nearest.
    pub errno: i32,
    /// The reason, in words.
    pub text: String,
    /// Which of many images it is about.
    #[serde(default)]
    pub image: Option<String>,
}

impl From<images::Error> for Failure {
    fn from(error: images::Error) -> Self {
        let no_such_image = matches!(error, images::Error::NoSuchImage(_));
        Self { no_such_image, errno: error.errno().raw_os_error(), text: error.to_string(), image: None }
    }
}

impl Failure {
    /// The errno that comes nearest.
    pub fn errno(&self) -> Errno {
        // A worker is this same program; other numbers are none of its.
        if (1..4096).contains(&self.errno) { Errno::from_raw_os_error(self.errno) } else { Errno::IO }
    }
}

/// What the OS inside an image says of itself, with nothing that a reply cannot carry.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Metadata {
    /// hostname(5).
    pub hostname: Option<String>,
    /// machine-id(5), 32 hexadecimal digits.
    pub machine_id: Option<String>,
    /// machine-info(5).
    pub machine_info: Option<Fields>,
    /// os-release(5).
    pub os_release: Option<Fields>,
}
