use std::cell::RefCell;
use std::collections::HashMap;

use super::*;
use crate::authorization::action::{Enter, Inspect, Manage};
use crate::authorization::caller::Subject;

/// A polkit that has made up its mind, and remembers what it was asked.
struct Fake {
    verdicts: HashMap<&'static str, Verdict>,
    otherwise: Verdict,
    asked: RefCell<Vec<String>>,
}

impl Fake {
    fn new(otherwise: Verdict) -> Self {
        Self { verdicts: HashMap::new(), otherwise, asked: RefCell::default() }
    }
}

impl Authority for Fake {
    async fn ask(&self, question: Question<'_>) -> Verdict {
        let details: Vec<_> = question.details.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let action = question.action.strip_prefix("org.freedesktop.machine1.").unwrap();
        let how = if question.caller.is_interactive { "!" } else { "" };
        self.asked.borrow_mut().push(format!("{action}{how} {}", details.join(",")));
        *self.verdicts.get(question.action).unwrap_or(&self.otherwise)
    }
}

fn caller(uid: u32) -> Caller {
    Caller { uid, subject: Subject::BusName(":1.1".to_owned()), is_interactive: false }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn word<T>(result: &Result<T, Error>) -> &'static str {
    match result {
        Ok(_) => "yes",
        Err(Error::PermissionDenied) => "no",
        Err(Error::AuthenticationRequired) => "password",
        Err(Error::NotCallersProcess) => "not the caller's",
        Err(_) => "?",
    }
}

const YES: Verdict = Verdict::Authorized { is_admin: false };
const ADMIN: Verdict = Verdict::Authorized { is_admin: true };

#[test]
fn the_table_of_verdicts_on_machines() {
    // Caller, daemon, owner, polkit; to manage, and whether polkit was asked.
    for (uid, daemon, owner, polkit, verdict, is_asked) in [
        (0, 0, Some(0), Verdict::Denied, "yes", false),
        (0, 0, Some(1000), Verdict::Denied, "yes", false),
        (0, 0, None, Verdict::Denied, "yes", false),
        (0, 1000, Some(1001), Verdict::Denied, "yes", false),
        (1000, 1000, Some(0), Verdict::Denied, "yes", false),
        (1000, 0, Some(1000), Verdict::Denied, "yes", false),
        (1000, 0, Some(1001), Verdict::Denied, "no", true),
        (1000, 0, Some(0), Verdict::Denied, "no", true),
        (1000, 0, None, Verdict::Denied, "no", true),
        (1000, 0, None, Verdict::Challenge, "password", true),
        (1000, 0, Some(0), Verdict::Challenge, "password", true),
        (1000, 0, Some(0), YES, "yes", true),
        (1000, 0, None, ADMIN, "yes", true),
    ] {
        let row = format!("uid {uid}, daemon {daemon}, owner {owner:?}, polkit {polkit:?}");
        let fake = Fake::new(polkit);
        let details = [("machine", "web"), ("verb", "kill")];
        let manage = now(decide::<Manage>(&fake, daemon, &caller(uid), || owner == Some(uid), &details));
        assert_eq!(word(&manage), verdict, "manage: {row}");
        let asked = ["manage-machines machine=web,verb=kill"];
        assert_eq!(*fake.asked.borrow(), if is_asked { &asked[..] } else { &[] }, "{row}");
        // What is read out of a machine is read as root: that the machine is the caller's is not enough.
        let expected = word(&now(decide::<Manage>(&fake, daemon, &caller(uid), || false, &[])));
        let inspect = now(decide::<Inspect>(&fake, daemon, &caller(uid), || owner == Some(uid), &[]));
        assert_eq!(word(&inspect), expected, "inspect: {row}");
        let enter = now(decide::<Enter>(&fake, daemon, &caller(uid), || owner == Some(uid), &[]));
        assert_eq!(word(&enter), expected, "enter: {row}");
    }
}

#[test]
fn one_permission_implies_another_and_a_password_is_asked_for_last() {
    for (inspect, manage, is_interactive, verdict, asked) in [
        (YES, Verdict::Denied, true, "yes", vec!["inspect-machines "]),
        (Verdict::Denied, YES, false, "yes", vec!["inspect-machines ", "manage-machines "]),
        (Verdict::Challenge, YES, true, "yes", vec!["inspect-machines ", "manage-machines "]),
        (
            Verdict::Challenge,
            Verdict::Denied,
            false,
            "password",
            vec!["inspect-machines ", "manage-machines "],
        ),
        (
            Verdict::Challenge,
            Verdict::Challenge,
            true,
            "password",
            vec!["inspect-machines ", "manage-machines ", "inspect-machines! "],
        ),
        (Verdict::Denied, Verdict::Challenge, true, "no", vec!["inspect-machines ", "manage-machines "]),
    ] {
        let mut fake = Fake::new(Verdict::Denied);
        fake.verdicts = HashMap::from([(Inspect::ROW.polkit, inspect), (Manage::ROW.polkit, manage)]);
        let caller = Caller { is_interactive, ..caller(1000) };
        let result = now(decide::<Inspect>(&fake, 0, &caller, || false, &[]));
        assert_eq!(word(&result), verdict, "{inspect:?} {manage:?} {is_interactive}");
        assert_eq!(*fake.asked.borrow(), asked);
    }
}

#[test]
fn the_table_of_verdicts_on_registrations() {
    for (uid, daemon, polkit, is_own, verdict) in [
        (0, 0, Verdict::Denied, false, "yes"),
        (1000, 1000, Verdict::Denied, false, "yes"),
        (1000, 0, Verdict::Denied, true, "no"),
        (1000, 0, Verdict::Challenge, true, "password"),
        (1000, 0, YES, true, "yes"),
        (1000, 0, YES, false, "not the caller's"),
        (1000, 0, ADMIN, false, "yes"),
    ] {
        let fake = Fake::new(polkit);
        let result = now(decide::<Create>(&fake, daemon, &caller(uid), || is_own, &[("name", "web")]));
        assert_eq!(word(&result), verdict, "uid {uid}, daemon {daemon}, polkit {polkit:?}, own: {is_own}");
    }
}
