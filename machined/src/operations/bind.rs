//! Bind mounts into containers.

use registry::Class;
use rustix::io::Errno;

use super::metadata::uid_shift;
use super::services::Operations;
use super::target::Target;
use crate::authorization::{Authorized, Bind as MayBind};
use crate::error::Error;
use crate::inside::Bind;

impl Operations {
    /// Whether something can be mounted in this at all, before anybody is asked who may.
    ///
    /// # Errors
    /// [`Error::NotSupported`]: it is no container.
    pub fn is_bindable(&self, target: Target) -> Result<(), Error> {
        let Target::Machine(key) = target else { return Err(Error::NotSupported) };
        match self.record(key).ok_or(Error::NoSuchMachine)?.class {
            Class::Container => Ok(()),
            _ => Err(Error::NotSupported),
        }
    }

    /// Mounts a file or directory of the host in a container. Read-only is no boundary: the container's root can change it.
    ///
    /// # Errors
    /// [`Error::NotSupported`]: it is no container. [`Error::UserNamespace`]: it has a user namespace, whose root could
    /// make files of the host's root there. `ENXIO`: its ids are mapped in an odd way. Others as the kernel has them.
    pub async fn bind(&self, _: &Authorized<MayBind>, target: Target, bind: Bind) -> Result<(), Error> {
        self.is_bindable(target)?;
        let Target::Machine(key) = target else { return Err(Error::NotSupported) };
        let record = self.record(key).ok_or(Error::NoSuchMachine)?;
        match uid_shift(&record) {
            Ok(0) => {}
            Ok(_) => return Err(Error::UserNamespace),
            Err(_) => {
                return Err(Error::System { action: "tell the machine's id shift", errno: Errno::NXIO });
            }
        }
        let guest = self.guest(key)?;
        let bound = self.inside.bind(&guest, bind).await;
        bound.map_err(|errno| Error::System { action: "mount that in the machine", errno })
    }
}

/// Whether this is an absolute path without detours.
pub fn is_plain_path(path: &str) -> bool {
    path.len() < 4096
        && path.strip_prefix('/').is_some_and(|inner| {
            let inner = inner.strip_suffix('/').unwrap_or(inner);
            path == "/" || inner.split('/').all(|part| !matches!(part, "" | "." | "..") && part.len() < 256)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_path_is_absolute_and_has_no_detours() {
        for path in ["/", "/a", "/a/b", "/a/", "/..."] {
            assert!(is_plain_path(path), "{path}");
        }
        for path in ["", "a", "//", "/a//b", "/./a", "/a/..", "/a/./b"] {
            assert!(!is_plain_path(path), "{path}");
        }
    }
}
