//! What can be told of images.

use std::time::Duration;

use images::{Image, Pool, Progress};
use tracing::{debug, info};

use super::Operations;
use crate::authorization::{Action, Authorized, ManageImages, ManagePool};
use crate::error::Error;
pub use crate::image_workers::Change as ImageChange;
use crate::image_workers::{Answer, Metadata, Request, Update};

impl Operations {
    /// The image of a name; one that no image can have is that of none.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`]. [`Error::Image`]: it cannot be looked at.
    pub async fn image(&self, name: &str) -> Result<Image, Error> {
        let mut found = None;
        let request = Request::Find(name.to_owned());
        let each = |answer| {
            if let Answer::Images(images) = answer {
                found = images.into_iter().next();
            }
        };
        self.image_workers.ask(&request, each).await?;
        found.ok_or(Error::NoSuchImage)
    }

    /// All images, in no order.
    ///
    /// # Errors
    /// [`Error::Image`]: a directory with images cannot be read.
    pub async fn images(&self) -> Result<Vec<Image>, Error> {
        let mut all = Vec::new();
        self.images_as_found(|images| all.extend(images)).await?;
        Ok(all)
    }

    /// All images, in no order, some at a time, as they are found.
    ///
    /// # Errors
    /// [`Error::Image`]: a directory with images cannot be read. There may have been some before that.
    pub async fn images_as_found(&self, mut some: impl FnMut(Vec<Image>)) -> Result<(), Error> {
        let each = |answer| {
            if let Answer::Images(images) = answer {
                some(images);
            }
        };
        self.image_workers.ask(&Request::List, each).await
    }

    /// The pool that new images are put into.
    ///
    /// # Errors
    /// [`Error::Image`]: it cannot be looked at.
    pub async fn pool(&self) -> Result<Pool, Error> {
        let mut pool = Pool::default();
        let each = |answer| {
            if let Answer::Pool(found) = answer {
                pool = found;
            }
        };
        self.image_workers.ask(&Request::Pool, each).await?;
        Ok(pool)
    }

    /// What the OS inside an image says of itself.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`]. [`Error::Image`]: it is in use (`EBUSY`), or cannot be read.
    pub async fn image_metadata(&self, name: &str) -> Result<Metadata, Error> {
        let mut metadata = Metadata::default();
        let each = |answer| {
            if let Answer::Metadata(found) = answer {
                metadata = *found;
            }
        };
        self.image_workers.ask(&Request::Metadata(name.to_owned()), each).await?;
        Ok(metadata)
    }

    /// Whether one more image may be changed now.
    ///
    /// # Errors
    /// [`Error::TooManyOperations`].
    pub fn may_change_images(&self) -> Result<(), Error> {
        if self.image_workers.has_room() { Ok(()) } else { Err(Error::TooManyOperations) }
    }

    /// Changes an image. Without a new name, both other changes are tried.
    ///
    /// # Errors
    /// As the first change that fails has it: [`Error::Image`]; [`Error::NoSuchImage`], [`Error::TooManyOperations`].
    pub async fn update_image(
        &self,
        _: &Authorized<ManageImages>,
        name: &str,
        update: Update,
    ) -> Result<(), Error> {
        self.image_workers.change(Request::Update(name.to_owned(), update), |_, _| {}).await
    }

    /// Copies an image into the pool. The copy ends when this is given up.
    ///
    /// # Errors
    /// As [`Operations::update_image`].
    pub async fn clone_image(
        &self,
        _: &Authorized<ManageImages>,
        name: &str,
        new: &str,
        read_only: bool,
        telling: Telling<'_>,
    ) -> Result<(), Error> {
        let Telling { counts, each } = telling;
        let request = Request::Clone { name: name.to_owned(), new: new.to_owned(), read_only, counts };
        self.image_workers.change(request, |id, answer| tell(each, id, &answer)).await
    }

    /// Removes an image. If this is given up, what is left of it is no image any more.
    ///
    /// # Errors
    /// As [`Operations::update_image`].
    pub async fn remove_image(
        &self,
        _: &Authorized<ManageImages>,
        name: &str,
        telling: Telling<'_>,
    ) -> Result<(), Error> {
        let Telling { counts, each } = telling;
        let request = Request::Remove { name: name.to_owned(), counts };
        self.image_workers.change(request, |id, answer| tell(each, id, &answer)).await
    }

    /// The changes of images that go on, by their numbers.
    pub fn image_changes(&self, _: &Authorized<ManageImages>) -> Vec<(u64, ImageChange)> {
        self.image_workers.changes()
    }

    /// Ends a change of images; `false` if it does not go on.
    pub fn cancel_image_change(&self, _: &Authorized<ManageImages>, id: u64) -> bool {
        self.image_workers.cancel(id)
    }

    /// Limits what the pool may take; `None` takes the limit away.
    ///
    /// # Errors
    /// As [`Operations::update_image`].
    pub async fn limit_pool<A: ChangesPool>(
        &self,
        _: &Authorized<A>,
        limit: Option<u64>,
    ) -> Result<(), Error> {
        self.image_workers.change(Request::LimitPool(limit), |_, _| {}).await
    }

    /// Removes all images but the host's and those in use, or those of them that are hidden. Returns their names, and what each
    /// took for itself.
    ///
    /// # Errors
    /// As [`Operations::update_image`]; those before the one that fails are gone.
    pub async fn clean_pool<A: ChangesPool>(
        &self,
        _: &Authorized<A>,
        only_hidden: bool,
    ) -> Result<Vec<(String, Option<u64>)>, Error> {
        let mut removed = Vec::new();
        let each = |_, answer| {
            if let Answer::Removed(name, usage) = answer {
                removed.push((name, usage));
            }
        };
        self.image_workers.change(Request::Clean { only_hidden }, each).await?;
        Ok(removed)
    }

    /// Removes what an earlier run left half done, once whoever waited for the start is served; and from then on, what is left
    /// of copies that were given up.
    pub(super) async fn tidy_images(&self) {
        tokio::time::sleep(LULL).await;
        loop {
            let each = |_, answer| {
                if let Answer::Removed(count, _) = answer {
                    info!("Removed {count} images that an earlier run left half made or half removed.");
                }
            };
            if let Err(error) = self.image_workers.change(Request::Tidy, each).await {
                debug!("Cannot tidy up where images are: {error}");
            }
            self.image_workers.interrupted().await;
        }
    }
}

/// Who hears of a change, with its number and how far it is.
pub struct Telling<'a> {
    /// Whether it is counted before how much there is to be done.
    pub counts: bool,
    /// Whoever hears of it.
    pub each: &'a mut dyn FnMut(u64, Progress),
}

fn tell(each: &mut dyn FnMut(u64, Progress), id: u64, answer: &Answer) {
    if let Answer::Progress(progress) = answer {
        each(id, *progress);
    }
}

/// How long after the start it is left to others.
const LULL: Duration = Duration::from_secs(1);

/// What lets somebody change the pool as a whole: each front end asks for another action, as the original's do.
pub trait ChangesPool: Action {}

impl ChangesPool for ManageImages {}
impl ChangesPool for ManagePool {}
