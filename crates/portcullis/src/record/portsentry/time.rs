//! The three ways in which PortSentry wrote the time, all local.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use portcullis_core::time::Wall;

/// `Nov 21 02:10:00`: of syslog (RFC 3164 §4.1.2; the day is padded with a blank).
pub(super) fn syslog(time: Wall, zone: &TimeZone) -> String {
    zoned(time, zone).strftime("%b %e %H:%M:%S").to_string()
}

/// `1795226889 - 11/21/2026 02:08:09`: of the files of 1.2.
pub(super) fn one(time: Wall, zone: &TimeZone) -> String {
    zoned(time, zone).strftime("%s - %m/%d/%Y %H:%M:%S").to_string()
}

/// `2026-11-21T02:08:20.453+0000`: of the history file of 2.x.
pub(super) fn two(time: Wall, zone: &TimeZone) -> String {
    zoned(time, zone).strftime("%Y-%m-%dT%H:%M:%S%.3f%z").to_string()
}

/// `2026-11-21 02:09`: of knockd's log (knockd 0.8, measured).
pub(in crate::record) fn knockd(time: Wall, zone: &TimeZone) -> String {
    zoned(time, zone).strftime("%Y-%m-%d %H:%M").to_string()
}

/// A clock beyond the year 9999 is shown as the last moment that has a name.
fn zoned(time: Wall, zone: &TimeZone) -> Zoned {
    let nanoseconds = i128::try_from(time.0.as_nanos()).unwrap_or(i128::MAX);
    Timestamp::from_nanosecond(nanoseconds).unwrap_or(Timestamp::MAX).to_zoned(zone.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_forms_are_those_that_were_measured() {
        let zone = TimeZone::UTC;
        // PortSentry 1.2 and 2.x, measured: `1795226889 - 11/21/2026 02:08:09`, `2026-11-21T02:08:20.453+0000`.
        assert_eq!(one(Wall(Duration::from_secs(1_795_226_889)), &zone), "1795226889 - 11/21/2026 02:08:09");
        assert_eq!(
            two(Wall(Duration::from_millis(1_795_226_900_453)), &zone),
            "2026-11-21T02:08:20.453+0000"
        );
        // knockd 0.8, measured.
        assert_eq!(knockd(Wall(Duration::from_secs(1_795_226_959)), &zone), "2026-11-21 02:09");
        assert_eq!(syslog(Wall(Duration::from_secs(1_795_227_000)), &zone), "Nov 21 02:10:00");
        assert_eq!(syslog(Wall(Duration::from_secs(1_793_500_000)), &zone), "Nov  1 02:26:40");
    }

    #[test]
    fn local_time_has_its_offset() {
        let zone = TimeZone::fixed(jiff::tz::offset(-5));
        assert_eq!(
            two(Wall(Duration::from_millis(1_795_226_900_007)), &zone),
            "2026-11-20T21:08:20.007-0500"
        );
        assert_eq!(two(Wall(Duration::from_secs(1_795_226_900)), &zone), "2026-11-20T21:08:20.000-0500");
        assert_eq!(one(Wall(Duration::from_secs(1_109_630_388)), &zone), "1109630388 - 02/28/2005 17:39:48");
        assert!(syslog(Wall(Duration::MAX), &zone).starts_with("Dec 3"));
    }
}
