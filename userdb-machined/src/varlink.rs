//! `io.systemd.UserDatabase`, a table over [`Source`].

use registry::{IdKind, KernelFiles, KernelProcesses, LookupError, MappedId};
use rustix::io::Errno;
use serde::Serialize;
use varlink_server::{About, Answer, Call, Descriptors, Done, ErrorReply, Interface, Method, More, Replier};

use crate::answer::{Refusal, Source};
use crate::query::{GROUP_RULES, MEMBERSHIP_RULES, Query, USER_RULES, check_memberships};
use crate::record;

/// What `org.varlink.service.GetInfo` says about this service.
pub const ABOUT: About = About {
    vendor: "mymachines",
    product: "mymachines userdb-machined",
    version: env!("CARGO_PKG_VERSION"),
    url: "",
};

const NO_RECORD_FOUND: ErrorReply = ErrorReply::named("io.systemd.UserDatabase.NoRecordFound");
const CONFLICTING: ErrorReply = ErrorReply::named("io.systemd.UserDatabase.ConflictingRecordFound");
const NON_MATCHING: ErrorReply = ErrorReply::named("io.systemd.UserDatabase.NonMatchingRecordFound");
const NO_ENUMERATION: ErrorReply = ErrorReply::named("io.systemd.UserDatabase.EnumerationNotSupported");

/// The records that this process sees.
const SOURCE: Source<'static, KernelFiles, KernelProcesses> =
    Source { files: &KernelFiles, processes: &KernelProcesses };

/// After so many ids of a search the other calls have their turn.
const TURN: u32 = 32;

/// The interface. The service has no state.
pub fn interface() -> Interface<()> {
    Interface {
        description: include_str!("idl/io.systemd.UserDatabase.varlink"),
        methods: const {
            &[
                Method {
                    name: "GetUserRecord",
                    more: More::Supported,
                    rules: USER_RULES,
                    descriptors: Descriptors::None,
                    handler: |_, call, replier| get(IdKind::User, &call, replier, record::user),
                },
                Method {
                    name: "GetGroupRecord",
                    more: More::Supported,
                    rules: GROUP_RULES,
                    descriptors: Descriptors::None,
                    handler: |_, call, replier| get(IdKind::Group, &call, replier, record::group),
                },
                Method {
                    name: "GetMemberships",
                    more: More::Supported,
                    rules: MEMBERSHIP_RULES,
                    descriptors: Descriptors::None,
                    handler: |_, call, _| {
                        let checked = check_memberships(&call.parameters);
                        now(checked.and(Err(NO_RECORD_FOUND)))
                    },
                },
            ]
        },
    }
}

/// The answer of a call that never waits.
fn now(answer: Result<Done, ErrorReply>) -> Answer {
    Box::pin(std::future::ready(answer))
}

fn get<T: Serialize + 'static>(
    kind: IdKind,
    call: &Call,
    replier: Replier,
    tell: fn(&MappedId) -> T,
) -> Answer {
    let query = match Query::new(kind, &call.parameters) {
        Ok(query) => query,
        Err(error) => return now(Err(error)),
    };
    match SOURCE.find(&query) {
        Some(Ok(found)) => now(replier.reply(&tell(&found))),
        Some(Err(refusal)) => now(Err(refusal.into())),
        None => Box::pin(search(query, replier, tell)),
    }
}

/// Tells of everybody who is like what was asked for, where few ids come into question.
async fn search<T: Serialize>(
    query: Query,
    mut replier: Replier,
    tell: fn(&MappedId) -> T,
) -> Result<Done, ErrorReply> {
    let mut held: Option<T> = None;
    for (id, turn) in query.filter.candidates().ok_or(NO_ENUMERATION)?.zip(1_u32..) {
        let found = match SOURCE.by_id(query.kind, id) {
            // Of a damaged record it is not known who is in it; the others are.
            Ok(None) | Err(LookupError::Damaged) => None,
            Ok(found) => found.filter(|found| query.filter.has(query.kind, found)),
            Err(error) => return Err(Refusal::Unknown(error).into()),
        };
        if let Some(found) = found
            && let Some(before) = held.replace(tell(&found))
        {
            replier.send(&before).await?;
        }
        if turn.is_multiple_of(TURN) {
            tokio::task::yield_now().await;
        }
    }
    replier.reply(&held.ok_or(NO_RECORD_FOUND)?)
}

impl From<Refusal> for ErrorReply {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NoRecord => NO_RECORD_FOUND,
            Refusal::Conflict => CONFLICTING,
            Refusal::NonMatching => NON_MATCHING,
            Refusal::Unknown(LookupError::Damaged) => Self::system(Errno::BADMSG),
            Refusal::Unknown(LookupError::Shared) => Self::system(Errno::NOTUNIQ),
            Refusal::Unknown(LookupError::Unreadable(errno)) => Self::system(Errno::from_raw_os_error(errno)),
        }
    }
}
