//! The one table of weights: what each thing that can be seen is worth, and why.
//!
//! A weight is ln(P[seen | scanner] / P[seen | friend]), in nats (factor e), as in the sequential test of A. Wald and
//! in the threshold random walk (Jung, Paxson, Berger, Balakrishnan, IEEE S&P 2004). The probabilities are judgement,
//! not measurement: what counts is their ratio, and `tests/guarding/evidence.rs` shows what follows from it. "Friend"
//! means the friends who are seen here at all: those with something out of date, misrouted or broken among them.

use crate::judge::evidence::Score;

/// What a piece of evidence is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sign {
    /// Nothing is there, and it is the first service that he has looked for.
    FirstClosed,
    /// The second.
    SecondClosed,
    /// The third.
    ThirdClosed,
    /// The fourth.
    FourthClosed,
    /// The fifth, or a later one.
    LaterClosed,
    /// Another port of a service that he has looked for already, such as 443 after 80.
    Companion,
    /// Another kind of probe at a port that he has tried already.
    Again,
    /// A port that he has tried elsewhere, at one more of our addresses.
    Sweep,
    /// The same where the port is none that anybody sweeps.
    SweepOfTrifle,
    /// The same where the addresses lie far apart.
    SweepFar,
    /// A port and an address that he has both tried before, but not together.
    Filled,
    /// A new port at a new address beside one that he has tried.
    Beside,
    /// A new port at a new address far from all that he has tried, or one that nobody sweeps; also the web's, the names' and
    /// peer-to-peer ports there.
    Wandering,
    /// A service at one more address, whose handshake was broken off.
    HalfOpen,
    /// Flags that no stack sends.
    OddFlags,
    /// Ports out of sight.
    Hidden,
    /// A datagram to a port that our own stack may have chosen.
    LateAnswer,
    /// A datagram that goes to many by its nature: traceroute's ports, an address that looks like a broadcast.
    InPassing,
    /// A SYN without the options that every stack sends, of one who has looked for two closed services.
    BareSyn,
    /// The same, once for all of them, with a window that the usual scanners offer.
    ToolSyn,
    /// For him: a service is there.
    Touched,
    /// For him: he has used it.
    Used,
}

impl Sign {
    /// Closed services, in the order in which he has looked for them.
    pub const CLOSED: [Sign; 5] =
        [Sign::FirstClosed, Sign::SecondClosed, Sign::ThirdClosed, Sign::FourthClosed, Sign::LaterClosed];

    /// For people: completes "SYN to TCP port 23: …".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Sign::FirstClosed => "the first service that is not there",
            Sign::SecondClosed => "the second service that is not there",
            Sign::ThirdClosed => "the third service that is not there",
            Sign::FourthClosed => "the fourth service that is not there",
            Sign::LaterClosed => "one more service that is not there",
            Sign::Companion => "another port of a service that was not there",
            Sign::Again => "another kind of probe at the same port",
            Sign::Sweep => "the same port at another address",
            Sign::SweepOfTrifle => "the same little known port at another address",
            Sign::SweepFar => "the same port at a distant address",
            Sign::Filled => "a known port at a known address",
            Sign::Beside => "another port at another address",
            Sign::Wandering => "another port at a distant address",
            Sign::HalfOpen => "a service at one more address, and he broke the handshake off",
            Sign::OddFlags => "flags that no stack sends",
            Sign::Hidden => "its ports were hidden",
            Sign::LateAnswer => "it may be a late answer",
            Sign::InPassing => "it was hardly aimed at us",
            Sign::BareSyn => "without the options that every stack sends",
            Sign::ToolSyn => "just as nmap and masscan send it",
            Sign::Touched => "a service is there",
            Sign::Used => "he has used it",
        }
    }
}

/// A row of the table.
pub struct Row {
    /// What is seen.
    pub sign: Sign,
    /// How likely a scanner shows it, given what he has shown before; 0 to 1.
    pub scanner: f64,
    /// How likely a friend does.
    pub friend: f64,
    /// Where the two numbers come from.
    pub reason: &'static str,
}

const fn row(sign: Sign, scanner: f64, friend: f64, reason: &'static str) -> Row {
    Row { sign, scanner, friend, reason }
}

/// The table, in the order of [`Sign`].
pub const TABLE: &[Row] = &[
    row(
        Sign::FirstClosed,
        0.90,
        0.33,
        "One stale address, bookmark or forward is common among those who find nothing.",
    ),
    row(Sign::SecondClosed, 0.90, 0.245, "Who has one thing out of date has a second one now and then."),
    row(Sign::ThirdClosed, 0.90, 0.18, "Three services of one host that are all gone: it has moved."),
    row(
        Sign::FourthClosed,
        0.90,
        0.10,
        "Few friends know of four services of one host that have nothing to do with each other.",
    ),
    row(Sign::LaterClosed, 0.90, 0.09, "Of five and more only those who look for them know."),
    row(Sign::Companion, 0.60, 0.36, "Clients try 443 after 80, 993 after 143, 139 after 445 by themselves."),
    row(Sign::Again, 0.10, 0.09, "The port is known to be closed already; little is learnt."),
    row(
        Sign::Sweep,
        0.80,
        0.42,
        "A client of several neighbours that are all without the service: mostly a sweep, or one whose subnet moved.",
    ),
    row(
        Sign::SweepOfTrifle,
        0.80,
        0.62,
        "Ports without a well-known service are shared by peers and by programs of one make.",
    ),
    row(Sign::SweepFar, 0.80, 0.58, "Clients speak with many far servers, and some are always away."),
    row(Sign::Filled, 0.80, 0.48, "A few ports of a few addresses: a block scan, or a cluster that moved."),
    row(Sign::Beside, 0.80, 0.42, "As a sweep, with another port each time."),
    row(
        Sign::Wandering,
        0.50,
        0.475,
        "Peer-to-peer programs try hundreds of peers that are gone, browsers race addresses that do not answer.",
    ),
    row(
        Sign::HalfOpen,
        0.80,
        0.42,
        "Who comes for a service finishes his handshakes; a browser breaks off a few whose answer comes too late.",
    ),
    row(
        Sign::OddFlags,
        0.50,
        0.04,
        "No stack opens a connection so; broken boxes on the way do now and then, at one port.",
    ),
    row(Sign::Hidden, 0.50, 0.07, "Nobody honest hides ports behind kilobytes of headers."),
    row(
        Sign::LateAnswer,
        0.50,
        0.45,
        "An answer whose socket has closed looks the same (docs/decisions/0005).",
    ),
    row(Sign::InPassing, 0.50, 0.49, "It was not aimed at this port."),
    row(
        Sign::BareSyn,
        0.60,
        0.18,
        "Raw SYNs of scanners; also old devices and some health checks, so it counts once, and never alone.",
    ),
    row(
        Sign::ToolSyn,
        0.60,
        0.065,
        "nmap's and masscan's raw SYNs: hardly a device is left that offers so small a window and no option beside.",
    ),
    row(Sign::Touched, 0.30, 0.50, "Scanners find services too, friends come for them."),
    row(Sign::Used, 0.20, 0.55, "Few scanners stay and talk."),
];

/// Why a piece of evidence may not be what it seems. It then weighs so many hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// A port that is still asked for years after its service has moved: web, mail, shares, names, tunnels, peers.
    LeftOver,
    /// A peer-to-peer port: the peers of whoever had the address before keep coming.
    Peer,
    /// With ACK: a segment of a connection that nobody here remembers looks the same.
    EndOfConnection,
    /// In a capture: nothing answered, not even a refusal. The answer may have gone another way.
    NoAnswer,
    /// In a capture: nothing answered a segment of a conversation, and nothing has to.
    NoReset,
    /// A datagram that nothing answered: some services never do.
    Silence,
    /// It comes from a service's port: it may be that service's own connection back, or its answer.
    ReturnPort,
    /// An FTP server's port for data, which it opens connections from (RFC 959 §3.2).
    DataConnection,
    /// A service was there within the last hour: it starts again, or has just moved.
    JustStopped,
    /// It is a store of data, as were all before it: one application asks for several, and they go together.
    OneTrade,
    /// He has come there eight times and more: a client that does not give up. A scanner needs no second answer.
    Habit,
}

impl Doubt {
    /// All of them.
    pub const ALL: [Doubt; 11] = [
        Doubt::LeftOver,
        Doubt::Peer,
        Doubt::EndOfConnection,
        Doubt::NoAnswer,
        Doubt::NoReset,
        Doubt::Silence,
        Doubt::ReturnPort,
        Doubt::DataConnection,
        Doubt::JustStopped,
        Doubt::OneTrade,
        Doubt::Habit,
    ];

    /// What is left of a weight, in hundredths.
    #[must_use]
    pub fn hundredths(self, pace: Pace) -> i32 {
        match (self, pace) {
            // In a week many old things are asked for; five of them in a minute are another matter.
            (Doubt::LeftOver, Pace::Fast) => 85,
            (Doubt::LeftOver, Pace::Patient) => 70,
            (other, _) => other.hundredths_at_any_pace(),
        }
    }

    fn hundredths_at_any_pace(self) -> i32 {
        match self {
            Doubt::LeftOver => 100,
            Doubt::EndOfConnection => 70,
            Doubt::Peer | Doubt::NoReset | Doubt::ReturnPort | Doubt::Habit => 30,
            Doubt::NoAnswer => 95,
            Doubt::Silence => 87,
            Doubt::OneTrade => 80,
            Doubt::DataConnection => 10,
            Doubt::JustStopped => 10,
        }
    }

    /// For people: completes "…, but".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Doubt::LeftOver => "old addresses are asked for it for years",
            Doubt::Peer => "peers of whoever had the address before come to it",
            Doubt::EndOfConnection => "it may belong to an old connection",
            Doubt::NoAnswer => "the answer may have gone another way",
            Doubt::NoReset => "nothing has to answer it",
            Doubt::Silence => "some services never answer",
            Doubt::ReturnPort => "it comes from a service's port",
            Doubt::DataConnection => "FTP servers open connections for data from there",
            Doubt::JustStopped => "a service was there within the hour",
            Doubt::OneTrade => "one application asks for several stores of data",
            Doubt::Habit => "he comes again and again, as a client does",
        }
    }
}

/// By which clock a piece is weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Within seconds.
    Fast,
    /// Within hours or days.
    Patient,
}

/// A set of doubts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doubts(u16);

impl Doubts {
    /// With `doubt` too.
    #[must_use]
    pub fn with(self, doubt: Doubt) -> Doubts {
        Doubts(self.0 | 1 << doubt as u8)
    }

    /// Whether `doubt` is among them.
    #[must_use]
    pub fn has(self, doubt: Doubt) -> bool {
        self.0 & 1 << doubt as u8 != 0
    }

    /// Those that are there.
    pub fn iter(self) -> impl Iterator<Item = Doubt> {
        Doubt::ALL.into_iter().filter(move |doubt| self.has(*doubt))
    }
}

/// The table with the settings put over it.
#[derive(Clone, Copy, Debug)]
pub struct Weights([i32; TABLE.len()]);

impl Weights {
    /// The table; flags that no stack sends weigh `odd_flags`, what may be a late answer `late_answer`.
    #[must_use]
    pub fn new(odd_flags: Score, late_answer: Score) -> Weights {
        let mut weights = [0; TABLE.len()];
        for row in TABLE {
            weights[row.sign as usize] = Score::of_odds(row.scanner, row.friend).0;
        }
        weights[Sign::OddFlags as usize] = odd_flags.0;
        weights[Sign::LateAnswer as usize] = late_answer.0;
        Weights(weights)
    }

    /// What `sign` weighs with these doubts; below 0 speaks for him.
    #[must_use]
    pub fn of(&self, sign: Sign, doubts: Doubts, pace: Pace) -> Score {
        let weight = self.0[sign as usize];
        Score(doubts.iter().fold(weight, |weight, doubt| weight * doubt.hundredths(pace) / 100))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_says_why() {
        for (place, row) in TABLE.iter().enumerate() {
            assert_eq!(row.sign as usize, place);
            assert!(row.scanner > 0.0 && row.scanner < 1.0 && row.friend > 0.0 && row.friend < 1.0);
            assert!(row.reason.ends_with('.'), "{:?}", row.sign);
            let speaks_for_him = matches!(row.sign, Sign::Touched | Sign::Used);
            assert_eq!(row.scanner < row.friend, speaks_for_him, "{:?}", row.sign);
        }
    }

    #[test]
    fn each_further_closed_service_weighs_more_than_the_one_before() {
        let weights = Weights::new(Score(2500), Score(100));
        let closed = Sign::CLOSED.map(|sign| weights.of(sign, Doubts::default(), Pace::Fast).0);
        assert!(closed.is_sorted(), "{closed:?}");
        assert_eq!(closed, [1003, 1301, 1609, 2197, 2303]);
    }

    #[test]
    fn doubts_multiply() {
        let weights = Weights::new(Score(2500), Score(100));
        let doubts = Doubts::default().with(Doubt::NoAnswer).with(Doubt::Habit);
        assert_eq!(weights.of(Sign::OddFlags, doubts, Pace::Fast), Score(712));
        assert_eq!(doubts.iter().collect::<Vec<_>>(), [Doubt::NoAnswer, Doubt::Habit]);
    }
}
