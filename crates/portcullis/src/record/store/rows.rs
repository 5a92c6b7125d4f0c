//! Rows to typed values and back.

use std::time::Duration;

use portcullis_core::event::{Ban, BanState, Cause, How, Id, Until};
use portcullis_core::ledger::Past;
use portcullis_core::net::{Prefix, Protocol};
use portcullis_core::time::Wall;
use rusqlite::Row;
use rusqlite::types::{Value, ValueRef};

use crate::respond::effects::Effects;

/// A cause in four columns.
pub(super) struct CauseFields<'a> {
    pub(super) cause: &'static str,
    pub(super) scan: Option<i64>,
    /// `tcp/111`
    pub(super) target: Option<String>,
    pub(super) why: &'a str,
}

impl CauseFields<'_> {
    pub(super) fn of(cause: &Cause) -> CauseFields<'_> {
        let (mut scan, mut target) = (None, None);
        let (cause, why) = match cause {
            Cause::Scan { id, why } => {
                scan = Some(id.0.cast_signed());
                ("scan", why.as_str())
            }
            Cause::Probe { protocol, port, why } => {
                target = Some(format!("{}/{port}", protocol.name()));
                ("probe", why.as_str())
            }
            Cause::Operator { why } => ("operator", why.as_str()),
            Cause::FoundInForce => ("found in force", ""),
        };
        CauseFields { cause, scan, target, why }
    }
}

/// A ban and its whole length. The error is for people.
pub(super) fn ban_from(row: &Row<'_>) -> Result<(Ban, Option<Duration>), String> {
    let prefix = prefix_from(row)?;
    let number = |column| row.get::<_, i64>(column).map_err(|error| format!("{prefix}: {error}"));
    let id = |column| match id(number(column)?) {
        Some(id) => Ok(id),
        None => Err(format!("{prefix}: a number of a scan or ban is below 0")),
    };
    let text = |column| {
        row.get_ref(column)
            .map_err(|error| error.to_string())
            .and_then(|value| value.as_str().map_err(|error| format!("{prefix}: {error}")))
    };
    let cause = match text(2)? {
        "scan" => Cause::Scan { id: id(3)?, why: text(4)?.to_owned() },
        "probe" => {
            let target = text(9)?;
            let (protocol, port) = target_from(target)
                .ok_or_else(|| format!("{prefix}: {target:?} is no transport and port"))?;
            Cause::Probe { protocol, port, why: text(4)?.to_owned() }
        }
        "operator" => Cause::Operator { why: text(4)?.to_owned() },
        "found in force" => Cause::FoundInForce,
        other => return Err(format!("{prefix}: the cause {other:?} is not known")),
    };
    let ban = Ban {
        id: id(1)?,
        prefix,
        // Holds are not stored.
        how: How::Banned,
        cause,
        since: wall(number(5)?),
        until: end_from(row, 6).map_err(|error| format!("{prefix}: {error}"))?,
        state: BanState::Pending,
        times: u32::try_from(number(8)?).map_err(|error| format!("{prefix}: {error}"))?,
        pardoned: None,
    };
    let length = match end_from(row, 7).map_err(|error| format!("{prefix}: {error}"))? {
        Until::At(Wall(length)) => Some(length),
        Until::Ever => None,
    };
    Ok((ban, length))
}

/// `tcp/111`
fn target_from(text: &str) -> Option<(Protocol, u16)> {
    let (protocol, port) = text.split_once('/')?;
    let protocol = [Protocol::Tcp, Protocol::Udp].into_iter().find(|own| own.name() == protocol)?;
    Some((protocol, port.parse().ok()?))
}

/// What was done about a ban beside the kernel's sets.
pub(super) fn effects_from(row: &Row<'_>) -> Result<(Prefix, Effects), String> {
    let prefix = prefix_from(row)?;
    let text = |column| row.get::<_, Option<String>>(column).map_err(|error| format!("{prefix}: {error}"));
    let has_run = row.get(4).map_err(|error| format!("{prefix}: {error}"))?;
    let boot = text(3)?.unwrap_or_default();
    Ok((prefix, Effects { hosts_deny: text(1)?, route: text(2)?, boot, has_run }))
}

/// A former ban.
pub(super) fn past_from(row: &Row<'_>) -> Result<(Prefix, Past), String> {
    let prefix = prefix_from(row)?;
    let number = |column| row.get::<_, i64>(column).map_err(|error| format!("{prefix}: {error}"));
    let times = u32::try_from(number(1)?).map_err(|error| format!("{prefix}: {error}"))?;
    Ok((prefix, Past { times, ended: wall(number(2)?) }))
}

/// An allowance.
pub(super) fn allowance_from(row: &Row<'_>) -> Result<(Prefix, Until), String> {
    let prefix = prefix_from(row)?;
    let until = end_from(row, 1).map_err(|error| format!("{prefix}: {error}"))?;
    Ok((prefix, until))
}

fn prefix_from(row: &Row<'_>) -> Result<Prefix, String> {
    let text = row
        .get_ref(0)
        .map_err(|error| error.to_string())
        .and_then(|value| value.as_str().map_err(|error| error.to_string()))?;
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

fn end_from(row: &Row<'_>, column: usize) -> Result<Until, String> {
    match row.get_ref(column) {
        Ok(ValueRef::Integer(end)) => Ok(Until::At(wall(end))),
        Ok(ValueRef::Text(b"ever")) => Ok(Until::Ever),
        Ok(other) => Err(format!("an end is a number or 'ever', not {:?}", other.data_type())),
        Err(error) => Err(error.to_string()),
    }
}

/// The column of an end.
pub(super) fn end_field(until: Until) -> Value {
    match until {
        Until::At(end) => Value::Integer(milliseconds(end.0)),
        Until::Ever => Value::Text("ever".to_owned()),
    }
}

/// The column of a length.
pub(super) fn length_field(length: Option<Duration>) -> Value {
    end_field(length.map_or(Until::Ever, |length| Until::At(Wall(length))))
}

/// The number of a scan or a ban; the store gives out none below 0.
pub(super) fn id(stored: i64) -> Option<Id> {
    u64::try_from(stored).ok().map(Id)
}

/// Rounded up, so that nothing ends early over a restart; beyond 292 million years it stays there.
pub(super) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX)
}

/// Before 1970 nothing was banned.
pub(super) fn wall(milliseconds: i64) -> Wall {
    Wall(Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0)))
}
