//! Ordinary traffic around a scenario: some visitors, and what the host itself asks.

use std::time::Duration;

use crate::stage::Stage;
use crate::talk::{End, Side, Talk};

/// A few visits and questions in the first minute; slow scenarios are not filled up.
pub(crate) fn around(stage: &mut Stage) {
    let services: Vec<u16> = stage.host.tcp.iter().copied().collect();
    let start = stage.start;
    for _ in 0..stage.dice.count(2, 8) {
        let at = start + stage.dice.micros(0, 20_000_000);
        if services.is_empty() || stage.dice.percent(40) {
            let server = stage.stranger();
            let mut talk = Talk::from_us(stage, at, server, 443);
            talk.open(stage).say(stage, Side::Client, 517).say(stage, Side::Server, 6_000);
            talk.close(stage, End::Fin(Side::Server));
        } else {
            let (client, port) = (stage.stranger(), stage.dice.pick(&services));
            let mut talk = Talk::to_us(stage, at, client, port);
            talk.open(stage).say(stage, Side::Client, 300).say(stage, Side::Server, 4_000);
            talk.close(stage, End::Fin(Side::Client));
        }
    }
    let resolver = (stage.neighbour(), 53);
    for _ in 0..stage.dice.count(2, 8) {
        let at = start + stage.dice.micros(0, 20_000_000);
        let delay = stage.dice.micros(300, 40_000);
        stage.question(at, resolver, 44, delay);
    }
    let time_server = stage.stranger();
    stage.question(start + Duration::from_secs(3), (time_server, 123), 48, Duration::from_millis(18));
}
