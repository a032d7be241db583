//! What the daemon and its workers say to each other: JSON, one message per line.

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
    /// Some images.
    Images(#[serde(with = "rows")] Vec<Image>),
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

/// Images without the names of their fields, which would be most of what there is to write and to read.
mod rows {
    use images::{Image, Kind, Space};
    use serde::{Deserialize, Deserializer, Serializer};

    type Row<Text> = (Text, Text, Kind, bool, bool, u64, u64, Sizes);
    type Sizes = (Option<u64>, Option<u64>, Option<u64>, Option<u64>);

    pub fn serialize<S: Serializer>(images: &[Image], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(images.iter().map(|image| -> Row<&str> {
            let Image { name, path, kind, read_only, vendor, created, modified, space } = image;
            let Space { usage, usage_exclusive, limit, limit_exclusive } = *space;
            let sizes = (usage, usage_exclusive, limit, limit_exclusive);
            (name, path, *kind, *read_only, *vendor, *created, *modified, sizes)
        }))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Image>, D::Error> {
        let rows = Vec::<Row<String>>::deserialize(deserializer)?;
        let image = |(name, path, kind, read_only, vendor, created, modified, sizes)| {
            let (usage, usage_exclusive, limit, limit_exclusive) = sizes;
            let space = Space { usage, usage_exclusive, limit, limit_exclusive };
            Image { name, path, kind, read_only, vendor, created, modified, space }
        };
        Ok(rows.into_iter().map(image).collect())
    }
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
