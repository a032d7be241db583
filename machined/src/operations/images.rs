//! What can be told of images.

use images::{Image, Pool};

use super::Operations;
use crate::error::Error;
use crate::image_workers::{Answer, Metadata, Request};

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
        let each = |answer| {
            if let Answer::Images(images) = answer {
                all.extend(images);
            }
        };
        self.image_workers.ask(&Request::List, each).await?;
        Ok(all)
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
}
