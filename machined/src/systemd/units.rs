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

const UNIT: &str = "org.freedesktop.systemd1.Unit";

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
    match is_active(bus, unit).await {
        Ok(true) => Fate::Active,
        Ok(false) => Fate::Inactive,
        Err(_) => Fate::Pending,
    }
}

/// Whether a unit is there and active, or about to be so or not to be so.
///
/// # Errors
/// There is no bus, or systemd does not answer.
pub async fn is_active(bus: &Bus, unit: &str) -> Result<bool, CallError> {
    let Some(path) = path_of_unit(bus, unit).await? else { return Ok(false) };
    match property(bus, &path, UNIT, "ActiveState").await {
        Ok(state) => Ok(!is_one_of(&state, &["inactive", "failed"])),
        Err(cause) if is(&cause, &[UNKNOWN_OBJECT, NO_SUCH_UNIT, LOAD_FAILED]) => Ok(false),
        Err(cause) => Err(cause),
    }
}

/// The control group of a unit, from the root of the hierarchy; `None` if it has none now.
///
/// # Errors
/// There is no bus, or systemd does not answer.
pub async fn control_group(bus: &Bus, unit: &str) -> Result<Option<String>, CallError> {
    let interface = match unit.rsplit_once('.') {
        Some((_, "scope")) => "org.freedesktop.systemd1.Scope",
        Some((_, "service")) => "org.freedesktop.systemd1.Service",
        _ => return Ok(None),
    };
    let Some(path) = path_of_unit(bus, unit).await? else { return Ok(None) };
    match property(bus, &path, interface, "ControlGroup").await {
        Ok(group) => Ok(String::try_from(group).ok().filter(|group| !group.is_empty())),
        Err(cause) if is(&cause, &[UNKNOWN_OBJECT, NO_SUCH_UNIT, LOAD_FAILED]) => Ok(None),
        Err(cause) => Err(cause),
    }
}

fn is_one_of(value: &Variant<'_>, texts: &[&str]) -> bool {
    matches!(value, Variant::Str(text) if texts.contains(&text.as_str()))
}

/// The path of the job that systemd has for a unit; `None`: there is none, or no such unit.
///
/// # Errors
/// There is no bus, or systemd does not answer.
pub async fn job_of_unit(bus: &Bus, unit: &str) -> Result<Option<String>, CallError> {
    let Some(path) = path_of_unit(bus, unit).await? else { return Ok(None) };
    match property(bus, &path, UNIT, "Job").await {
        Ok(job) => {
            // Job 0 is none.
            let (number, path) = <(u32, OwnedObjectPath)>::try_from(job)?;
            Ok((number != 0).then(|| path.to_string()))
        }
        Err(cause) if is(&cause, &[UNKNOWN_OBJECT, NO_SUCH_UNIT, LOAD_FAILED]) => Ok(None),
        Err(cause) => Err(cause),
    }
}

/// The path of a unit, if there is such a unit.
async fn path_of_unit(bus: &Bus, unit: &str) -> Result<Option<String>, CallError> {
    match bus.call(MANAGER, "GetUnit", unit.to_owned(), DEADLINE).await {
        Ok(answer) => Ok(Some(answer.body().deserialize::<OwnedObjectPath>()?.to_string())),
        Err(cause) if is(&cause, &[NO_SUCH_UNIT, LOAD_FAILED]) => Ok(None),
        Err(cause) => Err(cause),
    }
}

async fn property(
    bus: &Bus,
    path: &str,
    interface: &'static str,
    property: &'static str,
) -> Result<OwnedVariant, CallError> {
    let properties =
        Peer { path: path.to_owned().into(), interface: "org.freedesktop.DBus.Properties", ..MANAGER };
    let answer = bus.call(properties, "Get", (interface, property), DEADLINE);
    Ok(answer.await?.body().deserialize::<OwnedVariant>()?)
}
