//! Polkit, asked over the system bus. org.freedesktop.PolicyKit1.Authority, polkit(8).

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use libmachine::ProcessHandle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tracing::debug;
use turns::Owners;
use zbus::{Connection, Fd, Variant};

use super::authority::{Authority, Question, Verdict};
use super::caller::{Caller, Subject};
use crate::bus::{Bus, CallError, Peer, call};

const AUTHORITY: Peer = Peer {
    service: "org.freedesktop.PolicyKit1",
    path: Cow::Borrowed("/org/freedesktop/PolicyKit1/Authority"),
    interface: "org.freedesktop.PolicyKit1.Authority",
};
/// `AllowUserInteraction` of CheckAuthorizationFlags.
const INTERACTIVE: u32 = 1;
/// How long polkit has to answer by itself, and how long somebody has to type a password.
const DEADLINE: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(300);
/// How many questions of one user, and of all, are open at a time: asked, and not answered, whether or not somebody still
/// waits for the answer. A bus lets a daemon wait for 128 answers (dbus-daemon(1), `max_replies_per_connection`), of which
/// some have to be left for process 1's.
const OPEN_OF_USER: usize = 32;
const OPEN: usize = 64;
/// How many of those may be open beyond that whose places others got: polkit was told to forget them, and has not answered.
const TAKEN_BACK: usize = 8;
/// How polkit (126 and newer) says that an administrator's password was given: in the details of its answer.
const RESULT: &str = "polkit.result";
const ADMIN_RESULTS: [&str; 2] = ["auth_admin", "auth_admin_keep"];

/// Polkit, and the questions it has not answered.
#[derive(Debug)]
pub struct Polkit {
    open: Rc<RefCell<Open>>,
    /// Who has a range of ids has no more places than anybody else.
    owners: Owners,
    number: Cell<u64>,
    abandoned: UnboundedSender<Abandoned>,
    to_cancel: RefCell<Option<UnboundedReceiver<Abandoned>>>,
}

/// A question whose answer nobody waits for any more.
#[derive(Debug)]
struct Abandoned {
    connection: Connection,
    id: String,
}

impl Default for Polkit {
    fn default() -> Self {
        let (abandoned, to_cancel) = unbounded_channel();
        Self {
            open: Rc::default(),
            owners: Owners::default(),
            number: Cell::new(0),
            abandoned,
            to_cancel: RefCell::new(Some(to_cancel)),
        }
    }
}

impl Polkit {
    /// Polkit, as it is asked over this bus.
    pub fn on<'a>(&'a self, bus: &'a Bus) -> OnBus<'a> {
        OnBus { polkit: self, bus }
    }

    /// Takes back the questions of callers who went away, so that no dialog stays on anybody's screen. To be run once.
    pub async fn cancel_abandoned(&self) {
        let Some(mut to_cancel) = self.to_cancel.take() else { return std::future::pending().await };
        while let Some(Abandoned { connection, id }) = to_cancel.recv().await {
            let Peer { service, path, interface } = AUTHORITY;
            // One after the other, and without a deadline: an answer that is given up is still on its way.
            let cancel = connection.call_method(
                Some(service),
                &*path,
                Some(interface),
                "CancelCheckAuthorization",
                &id,
            );
            if let Err(error) = cancel.await {
                debug!("Cannot take a question to polkit back: {error}");
            }
        }
    }

    /// A place for one more question of a user, and where it is heard that another user needs it; `None` if too many are open.
    fn place(&self, uid: u32) -> Option<(OpenQuestion, oneshot::Receiver<()>)> {
        let mut open = self.open.borrow_mut();
        let of_user = open.by_user.get(&uid).map_or(0, VecDeque::len);
        if of_user >= OPEN_OF_USER {
            return None;
        }
        if open.count() >= OPEN {
            open.take_from_whoever_has_more_than(of_user.saturating_add(1))?;
        }
        self.number.set(self.number.get().wrapping_add(1));
        let id = self.number.get();
        let (needed, is_needed) = oneshot::channel();
        open.by_user.entry(uid).or_default().push_back((id, needed));
        Some((OpenQuestion { uid, id, open: self.open.clone() }, is_needed))
    }

    fn asked(&self, connection: &Connection, id: u64) -> Asked {
        Asked { abandoned: self.abandoned.clone(), connection: Some(connection.clone()), id: id.to_string() }
    }
}

/// The questions that are open.
#[derive(Debug, Default)]
struct Open {
    /// Those of each user, the oldest first, and whom to tell that another user needs its place.
    by_user: BTreeMap<u32, VecDeque<(u64, oneshot::Sender<()>)>>,
    /// How many have lost their place, and are not answered yet.
    taken_back: usize,
}

impl Open {
    fn count(&self) -> usize {
        self.by_user.values().map(VecDeque::len).sum()
    }

    /// Takes the oldest question of the user who has the most of them, if that is more than so many: who has an agent that
    /// never answers must not keep the places of all. `None`: nobody has, or too many that were taken are still open.
    fn take_from_whoever_has_more_than(&mut self, so_many: usize) -> Option<()> {
        let (_, questions) = self.by_user.iter_mut().max_by_key(|(_, questions)| questions.len())?;
        if questions.len() <= so_many || self.taken_back >= TAKEN_BACK {
            return None;
        }
        let (_, needed) = questions.pop_front()?;
        self.taken_back = self.taken_back.saturating_add(1);
        // Whoever asked may have gone away.
        let _ = needed.send(());
        Some(())
    }

    fn is_closed(&mut self, uid: u32, id: u64) {
        let Some(questions) = self.by_user.get_mut(&uid) else {
            self.taken_back = self.taken_back.saturating_sub(1);
            return;
        };
        match questions.iter().position(|(other, _)| *other == id) {
            Some(place) => drop(questions.remove(place)),
            None => self.taken_back = self.taken_back.saturating_sub(1),
        }
        if questions.is_empty() {
            self.by_user.remove(&uid);
        }
    }
}

/// The place of a question that is open, given back when dropped.
#[derive(Debug)]
struct OpenQuestion {
    uid: u32,
    id: u64,
    open: Rc<RefCell<Open>>,
}

impl Drop for OpenQuestion {
    fn drop(&mut self) {
        self.open.borrow_mut().is_closed(self.uid, self.id);
    }
}

/// A question that was asked. Dropped before it is answered, it is taken back.
struct Asked {
    abandoned: UnboundedSender<Abandoned>,
    connection: Option<Connection>,
    id: String,
}

impl Asked {
    fn is_answered(&mut self) {
        self.connection = None;
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            // Nobody takes it back when the daemon ends; then its name on the bus is gone too.
            let _ = self.abandoned.send(Abandoned { connection, id: std::mem::take(&mut self.id) });
        }
    }
}

/// Polkit, where it can be reached.
#[derive(Debug)]
pub struct OnBus<'a> {
    polkit: &'a Polkit,
    bus: &'a Bus,
}

impl Authority for OnBus<'_> {
    async fn ask(&self, question: Question<'_>) -> Verdict {
        match self.check(&question).await {
            Ok(verdict) => verdict,
            Err(error) => {
                debug!(
                    "Polkit does not say whether uid {} may {}: {error}",
                    question.caller.uid, question.action
                );
                Verdict::Denied
            }
        }
    }
}

impl OnBus<'_> {
    async fn check(&self, question: &Question<'_>) -> Result<Verdict, CallError> {
        let Question { caller, action, details } = question;
        let connection = self.bus.at_hand().await.ok_or(CallError::NoBus)?;
        let Some(subject) = subject(caller) else { return Ok(Verdict::Denied) };
        let user = self.polkit.owners.of(caller.uid);
        let Some((place, is_needed)) = self.polkit.place(user) else { return Ok(Verdict::Denied) };
        let mut asked = self.polkit.asked(&connection, place.id);
        let details: HashMap<String, String> =
            details.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let (flags, deadline) = if caller.is_interactive { (INTERACTIVE, PATIENCE) } else { (0, DEADLINE) };
        let arguments = (subject, *action, details, flags, asked.id.clone());
        let answer = call(connection, AUTHORITY, "CheckAuthorization", arguments, deadline, place);
        let answer = tokio::select! {
            answer = answer => answer,
            Ok(()) = is_needed => return Ok(Verdict::Denied),
        };
        if !matches!(answer, Err(CallError::Timeout)) {
            asked.is_answered();
        }
        let body = answer?.body();
        let (is_authorized, is_challenge, details) =
            body.deserialize::<(bool, bool, HashMap<String, String>)>()?;
        Ok(verdict(is_authorized, is_challenge, &details))
    }
}

fn verdict(is_authorized: bool, is_challenge: bool, details: &HashMap<String, String>) -> Verdict {
    if is_authorized {
        let is_admin = details.get(RESULT).is_some_and(|result| ADMIN_RESULTS.contains(&result.as_str()));
        Verdict::Authorized { is_admin }
    } else if is_challenge {
        Verdict::Challenge
    } else {
        Verdict::Denied
    }
}

/// `None`: polkit could not know for sure whom is meant.
fn subject(caller: &Caller) -> Option<(String, HashMap<String, Variant<'static>>)> {
    match &caller.subject {
        Subject::BusName(name) => {
            let details = HashMap::from([("name".to_owned(), Variant::from(name.clone()))]);
            Some(("system-bus-name".to_owned(), details))
        }
        Subject::Process(peer) => {
            let pidfd = peer.pidfd.as_ref()?;
            let uid = i32::try_from(peer.uid.as_raw()).ok()?;
            let mut details = HashMap::from([
                ("pidfd".to_owned(), Variant::from(Fd::from(pidfd.try_clone().ok()?))),
                ("uid".to_owned(), Variant::from(uid)),
            ]);
            if let Some((pid, start_time)) = number(peer) {
                details.insert("pid".to_owned(), Variant::from(pid));
                details.insert("start-time".to_owned(), Variant::from(start_time));
            }
            Some(("unix-process".to_owned(), details))
        }
    }
}

/// The process id of a peer and its start time, for polkit before 124, which knows no pidfd. Later ones go by the pidfd.
fn number(peer: &varlink_server::Peer) -> Option<(u32, u64)> {
    let process = ProcessHandle::pinned(peer.pid?, peer.pidfd.as_ref()?.try_clone().ok()?).ok()?;
    Some((u32::try_from(process.pid()).ok()?, process.start_time()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_some_questions_open_and_leaves_some_for_others() {
        let polkit = Polkit::default();
        let of_user = |uid| -> Vec<_> { std::iter::from_fn(|| polkit.place(uid)).collect() };
        let one = of_user(1000);
        assert_eq!(one.len(), OPEN_OF_USER);
        drop(one);
        assert_eq!(of_user(1000).len(), OPEN_OF_USER);
        assert!(polkit.open.borrow().by_user.is_empty());
    }

    #[test]
    fn two_users_whose_agents_are_mute_deny_nobody_else() {
        let polkit = Polkit::default();
        let of_user = |uid| -> Vec<_> { std::iter::from_fn(|| polkit.place(uid)).collect() };
        let (mut one, mut other) = (of_user(1000), of_user(1001));
        assert_eq!(one.len() + other.len(), OPEN);
        let third = of_user(1002);
        assert_eq!(third.len(), TAKEN_BACK, "until polkit has forgotten some");
        // The oldest of both, in turns.
        let is_needed =
            |(_, is_needed): &mut (OpenQuestion, oneshot::Receiver<()>)| is_needed.try_recv().is_ok();
        for questions in [&mut one, &mut other] {
            let needed: Vec<_> = questions.iter_mut().map(is_needed).collect();
            assert!(needed.iter().take(TAKEN_BACK / 2).all(|needed| *needed), "{needed:?}");
            assert!(needed.iter().skip(TAKEN_BACK / 2).all(|needed| !needed), "{needed:?}");
        }
        // It has forgotten those.
        one.drain(..TAKEN_BACK / 2);
        assert_eq!(polkit.open.borrow().taken_back, TAKEN_BACK / 2);
        assert_eq!(of_user(1003).len(), TAKEN_BACK / 2);
        drop((one, other, third));
        assert!(polkit.open.borrow().by_user.is_empty());
        assert_eq!(polkit.open.borrow().taken_back, 0);
        assert!(polkit.place(1002).is_some());
    }

    #[test]
    fn nobody_takes_places_from_whoever_has_no_more() {
        let polkit = Polkit::default();
        let taken: Vec<_> = (0..u32::try_from(OPEN).unwrap()).map(|uid| polkit.place(uid).unwrap()).collect();
        assert!(polkit.place(5000).is_none());
        drop(taken);
    }

    #[test]
    fn an_administrators_password_is_told_from_a_mere_yes() {
        let with = |result: &str| HashMap::from([(RESULT.to_owned(), result.to_owned())]);
        for (details, is_admin) in [
            (HashMap::new(), false),
            (with("yes"), false),
            (with("auth_self"), false),
            (with("auth_admin"), true),
            (with("auth_admin_keep"), true),
        ] {
            assert_eq!(verdict(true, false, &details), Verdict::Authorized { is_admin }, "{details:?}");
        }
        assert_eq!(verdict(false, true, &with("auth_admin")), Verdict::Challenge);
        assert_eq!(verdict(false, false, &with("auth_admin")), Verdict::Denied);
    }
}
