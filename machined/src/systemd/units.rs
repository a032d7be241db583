//! What is asked of units and jobs.

use rustix::process::Signal;
use zbus::{OwnedObjectPath, OwnedVariant, Variant};

use super::{DEADLINE, LOAD_FAILED, MANAGER, NO_SUCH_UNIT, UNKNOWN_METHOD, UNKNOWN_OBJECT, failed, is};
use crate::bus::{Bus, CallError, Peer};
use crate::error::Error;

/// Stops a unit. Returns the path of the job; `None`: there is no such unit, which is no error.
///
/// # Errors
/// The errno that comes nearest to what systemd says.
pub async fn stop_unit(bus: &Bus, unit: &str) -> Result<Option<String>, Error> {
    let failed = |cause| failed("stop the unit", &cause);
    match bus.call(MANAGER, "StopUnit", (unit.to_owned(), "fail"), DEADLINE).await {
        Ok(answer) => {
            let job = answer.body().deserialize::<OwnedObjectPath>();
            job.map(|job| Some(job.to_string())).map_err(|error| failed(error.into()))
        }
        Err(cause) if is(&cause, &[NO_SUCH_UNIT, LOAD_FAILED]) => Ok(None),
        Err(cause) => Err(failed(cause)),
    }
}

/// Sends a signal to all processes of a unit.
///
/// # Errors
/// The errno that comes nearest to what systemd says.
pub async fn kill_unit(bus: &Bus, unit: &str, signal: Signal) -> Result<(), Error> {
    let arguments = (unit.to_owned(), "all", signal.as_raw());
    let answer = bus.call(MANAGER, "KillUnit", arguments, DEADLINE).await;
    answer.map(drop).map_err(|cause| failed("signal the unit", &cause))
}

/// Sends a signal to all processes of a group below a unit. Returns false where systemd cannot do that (before 258).
///
/// # Errors
/// The errno that comes nearest to what systemd says.
pub async fn kill_subgroup(bus: &Bus, unit: &str, subgroup: &str, signal: Signal) -> Result<bool, Error> {
    let path = format!("/{}", subgroup.trim_start_matches('/'));
    let arguments = (unit.to_owned(), "cgroup", path, signal.as_raw());
    match bus.call(MANAGER, "KillUnitSubgroup", arguments, DEADLINE).await {
        Ok(_) => Ok(true),
        Err(cause) if is(&cause, &[UNKNOWN_METHOD]) => Ok(false),
        Err(cause) => Err(failed("signal the unit's group", &cause)),
    }
}

/// What became of a job whose end nobody heard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is not done yet, or systemd cannot say.
    Pending,
    /// It has ended, and the unit is there.
    Active,
    /// It has ended, and the unit is not.
    Inactive,
}

/// Asks what became of a job.
pub async fn fate_of_job(bus: &Bus, unit: &str, job: &str) -> Fate {
    match property(bus, job, "org.freedesktop.systemd1.Job", "State").await {
        Err(cause) if is(&cause, &[UNKNOWN_OBJECT]) => {}
        _ => return Fate::Pending,
    }
    let path = match bus.call(MANAGER, "GetUnit", unit.to_owned(), DEADLINE).await {
        Ok(answer) => answer.body().deserialize::<OwnedObjectPath>().map(|path| path.to_string()),
        Err(cause) if is(&cause, &[NO_SUCH_UNIT, LOAD_FAILED]) => return Fate::Inactive,
        Err(_) => return Fate::Pending,
    };
    let Ok(path) = path else { return Fate::Pending };
    match property(bus, &path, "org.freedesktop.systemd1.Unit", "ActiveState").await {
        Ok(state) if ["inactive", "failed"].contains(&state.as_str()) => Fate::Inactive,
        Ok(_) => Fate::Active,
        Err(cause) if is(&cause, &[UNKNOWN_OBJECT, NO_SUCH_UNIT, LOAD_FAILED]) => Fate::Inactive,
        Err(_) => Fate::Pending,
    }
}

async fn property(
    bus: &Bus,
    path: &str,
    interface: &'static str,
    property: &'static str,
) -> Result<String, CallError> {
    let properties =
        Peer { path: path.to_owned().into(), interface: "org.freedesktop.DBus.Properties", ..MANAGER };
    let answer = bus.call(properties, "Get", (interface, property), DEADLINE);
    let value = answer.await?.body().deserialize::<OwnedVariant>()?;
    match &*value {
        Variant::Str(text) => Ok(text.to_string()),
        _ => Err(CallError::Broken(zbus::Error::IncorrectType)),
    }
}
