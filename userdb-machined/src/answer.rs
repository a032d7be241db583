//! Whom the published records have for a query.

use registry::{Files, IdKind, LookupError, MappedId, Processes, mapped_id_by_id, mapped_id_by_name};

use crate::query::Query;

/// Why a query has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is nobody of this id or name.
    NoRecord,
    /// Id and name belong to different users or groups.
    Conflict,
    /// There is somebody, who is not like what was asked for.
    NonMatching,
    /// It is not known.
    Unknown(LookupError),
}

/// Where the records are, and the processes that lead the machines.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a, F, P> {
    /// The file system.
    pub files: &'a F,
    /// The kernel.
    pub processes: &'a P,
}

impl<F: Files, P: Processes> Source<'_, F, P> {
    /// The one user or group whose id or name a query has; `None` if it has neither.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find(&self, query: &Query) -> Option<Result<MappedId, Refusal>> {
        let (kind, by_name) = (query.kind, query.name.as_deref());
        let found = match (query.id, by_name) {
            (None, None) => return None,
            (Some(id), _) => self.by_id(kind, id),
            (None, Some(name)) => mapped_id_by_name(self.files, self.processes, kind, name.as_bytes()),
        };
        Some(match found {
            Err(error) => Err(Refusal::Unknown(error)),
            Ok(None) => Err(Refusal::NoRecord),
            Ok(Some(found)) if by_name.is_some_and(|name| name != found.name.as_str()) => {
                Err(Refusal::Conflict)
            }
            Ok(Some(found)) if !query.filter.has(kind, &found) => Err(Refusal::NonMatching),
            Ok(Some(found)) => Ok(found),
        })
    }

    /// The user or group with this id on the host, if there is one and it is known.
    ///
    /// # Errors
    /// Why it is not known.
    pub fn by_id(&self, kind: IdKind, id: u32) -> Result<Option<MappedId>, LookupError> {
        match mapped_id_by_id(self.files, self.processes, kind, id) {
            Err(LookupError::Shared) => Ok(None),
            found => found,
        }
    }
}

#[cfg(test)]
mod tests;
