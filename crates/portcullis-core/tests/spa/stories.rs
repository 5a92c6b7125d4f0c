//! What the rules are for: replays, clocks, NAT, IPv6, weak settings.

use std::time::Duration;

use portcullis_core::door::spa::access::{Granted, Length, User, UserFault, Weak};
use portcullis_core::door::spa::cipher::Mode;
use portcullis_core::door::spa::digest::Digest;
use portcullis_core::door::spa::message::{Destination, Guest, Request};
use portcullis_core::door::spa::refusal::Refusal::{self, *};
use portcullis_core::door::spa::{Denied, SetupFault, Spa, USERS_MAXIMUM, WINDOW, envelope};
use portcullis_core::net::PortSet;

use super::{NOW, access, address, at, hear, keys, keys_of, message, opening, sealed, spa, user};

/// Whom the guest inside lets in when the packet comes from this source.
fn guest(inside: &str, source: &str) -> Result<String, Refusal> {
    let packet = sealed(&keys(), |message| message.guest = Guest::from_text(inside).expect("a guest"));
    opening(hear(&mut spa(vec![user(keys())]), source, packet)).map(|(address, _, _)| address)
}

#[test]
fn the_address_inside_passes_policy() {
    for (inside, source, wanted) in [
        ("203.0.113.9", "203.0.113.9", Ok("203.0.113.9")),
        ("203.0.113.9", "198.51.100.7", Ok("203.0.113.9")),
        ("0.0.0.0", "198.51.100.7", Ok("198.51.100.7")),
        ("0.0.0.0", "2001:db8::7", Ok("2001:db8::7")),
        ("0.0.0.0", "::ffff:198.51.100.7", Ok("198.51.100.7")),
        ("198.51.100.7", "::ffff:198.51.100.7", Ok("198.51.100.7")),
        ("10.0.0.5", "10.0.0.5", Ok("10.0.0.5")),
        ("10.0.0.5", "10.0.0.6", Err(PrivateAddress)),
        ("192.168.1.5", "198.51.100.7", Err(PrivateAddress)),
        ("172.16.0.1", "198.51.100.7", Err(PrivateAddress)),
        ("100.64.0.1", "198.51.100.7", Err(PrivateAddress)),
        ("100.128.0.1", "198.51.100.7", Ok("100.128.0.1")),
        ("169.254.1.1", "198.51.100.7", Err(PrivateAddress)),
        ("127.0.0.1", "198.51.100.7", Err(PrivateAddress)),
        ("127.0.0.1", "127.0.0.1", Ok("127.0.0.1")),
        ("224.0.0.1", "224.0.0.1", Err(NotAHost)),
        ("0.0.0.1", "198.51.100.7", Err(NotAHost)),
        ("255.255.255.255", "198.51.100.7", Err(NotAHost)),
        ("240.0.0.1", "240.0.0.1", Err(NotAHost)),
        ("2001:db8::7", "2001:db8::7", Ok("2001:db8::7")),
        ("2001:db8::7", "198.51.100.7", Ok("2001:db8::7")),
        ("fd00::7", "2001:db8::7", Err(PrivateAddress)),
        ("fe80::7", "fe80::7", Ok("fe80::7")),
        ("fe80::7", "2001:db8::7", Err(PrivateAddress)),
        ("::1", "2001:db8::7", Err(PrivateAddress)),
        ("ff02::1", "2001:db8::7", Err(NotAHost)),
        ("::", "2001:db8::7", Err(NotAHost)),
    ] {
        assert_eq!(guest(inside, source).as_deref(), wanted.as_ref().copied(), "{inside} from {source}");
    }
    for text in ["10.0.0.0/8", "::ffff:10.0.0.1", "2001:DB8::7", "2001:db8:0::7", "host.example", "", "1.2.3"]
    {
        assert_eq!(Guest::from_text(text), None, "{text}");
    }
}

#[test]
fn a_user_comes_only_from_where_he_may() {
    let mut only = user(keys());
    only.from =
        vec!["198.51.100.0/24".parse().expect("a prefix"), "2001:db8::/32".parse().expect("a prefix")];
    let at_home = sealed(&keys(), |message| message.guest = Guest::Source);
    let for_a_friend = sealed(&keys(), |message| message.guest = Guest::Address(address("203.0.113.9")));
    let mut spa = spa(vec![only]);
    assert_eq!(hear(&mut spa, "203.0.113.9", &at_home), Err(UnknownSender));
    assert_eq!(hear(&mut spa, "198.51.100.7", for_a_friend), Err(AddressNotAllowed));
    assert!(hear(&mut spa, "198.51.100.7", at_home).is_ok());
}

#[test]
fn a_packet_wrapped_anew_is_the_same_packet() {
    let mut spa = spa(vec![user(keys())]);
    let said = message(|_| {});
    let of = |digest, salt| envelope::seal(&said, digest, &keys(), salt).expect("a packet");
    assert!(hear(&mut spa, "10.78.0.1", of(Digest::Sha256, *b"saltsalt")).is_ok());
    assert_eq!(hear(&mut spa, "10.78.0.1", of(Digest::Sha256, *b"SALTSALT")), Err(Replayed));
    assert_eq!(hear(&mut spa, "10.78.0.1", of(Digest::Sha512, *b"saltsalt")), Err(Replayed));
}

#[test]
fn a_packet_that_was_refused_for_its_ports_stays_refused_when_the_ports_are_allowed() {
    let mut narrow = user(keys());
    narrow.tcp = PortSet::from_ranges([(80, 80)]);
    let packet = sealed(&keys(), |_| {});
    let mut before = spa(vec![narrow]);
    assert_eq!(hear(&mut before, "10.78.0.1", &packet), Err(PortNotAllowed));
    let mut after = spa(vec![user(keys())]);
    after.restore(before.entries());
    assert_eq!(hear(&mut after, "10.78.0.1", &packet), Err(Replayed));
}

/// Whatever the run before accepted is refused by the next one, although nothing but the mark reached the disk: by
/// its time, or because its entry had to be on the disk first.
#[test]
fn kill_9_leaves_nothing_to_replay() {
    let mark = at(NOW + 10);
    for ahead in [-120_i64, -1, 0, 9, 10, 11, 119, 120] {
        let packet = sealed(&keys(), |message| message.time = NOW.saturating_add_signed(ahead));
        let mut before = spa(vec![user(keys())]);
        before.covered_until(mark);
        let accepted = hear(&mut before, "10.78.0.1", &packet).expect("inside the window");
        assert_eq!(accepted.ahead, ahead);
        assert_eq!(accepted.record_first, ahead >= 10, "{ahead}");
        let mut after = spa(vec![user(keys())]);
        after.refuse_before(mark);
        if accepted.record_first {
            after.restore([accepted.entry]);
        }
        let refusal = hear(&mut after, "10.78.0.1", &packet).expect_err("a replay");
        assert!(matches!(refusal, Replayed | BeforeFloor), "{ahead}: {refusal:?}");
    }
}

#[test]
fn without_a_mark_on_the_disk_everything_is_recorded_first() {
    assert!(
        hear(&mut spa(vec![user(keys())]), "10.78.0.1", sealed(&keys(), |_| {})).expect("opens").record_first
    );
}

#[test]
fn a_clock_that_is_set_back_revives_nothing() {
    let mut spa = spa(vec![user(keys())]);
    let mut receive = |now, packet: &str| {
        let answer = spa.receive(at(now), address("10.78.0.1"), packet.as_bytes());
        answer.map(|_| ()).map_err(|denied| denied.refusal)
    };
    let first = sealed(&keys(), |_| {});
    assert_eq!(receive(NOW, &first), Ok(()));
    for later in [1000, 2000] {
        assert_eq!(receive(NOW + later, &sealed(&keys(), |message| message.time += later)), Ok(()));
    }
    assert_eq!(receive(NOW, &first), Err(BeforeFloor));
    assert_eq!(receive(NOW + 5, &first), Err(BeforeFloor));
}

#[test]
fn a_refusal_tells_whose_packet_it_was_and_how_far_the_clocks_are_apart() {
    let other = keys_of(Mode::Cbc, b"another key", Some((Digest::Sha512, b"another hmac key")));
    let mut spa = spa(vec![user(other), user(keys())]);
    let late = sealed(&keys(), |message| message.time -= 300);
    let denied = spa.receive(at(NOW), address("10.78.0.1"), late.as_bytes()).expect_err("too old");
    assert_eq!(denied, Denied { refusal: TooOld, user: Some(1), ahead: Some(-300) });
    let stranger = sealed(&keys_of(Mode::Cbc, b"k", Some((Digest::Sha256, b"h"))), |_| {});
    let denied = spa.receive(at(NOW), address("10.78.0.1"), stranger.as_bytes()).expect_err("a stranger");
    assert_eq!(denied, Denied { refusal: BadHmac, user: None, ahead: None });
    // The right HMAC key with another cipher key: the trap of keys with blanks in .fwknoprc.
    let trapped = sealed(&keys_of(Mode::Cbc, b"k", Some((Digest::Sha256, b"hmackey456"))), |_| {});
    let denied = spa.receive(at(NOW), address("10.78.0.1"), trapped.as_bytes()).expect_err("another key");
    assert_eq!(denied, Denied { refusal: BadPadding, user: Some(1), ahead: None });
    let counts: Vec<(Refusal, u64)> = spa.refusals().iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counts, [(BadHmac, 1), (BadPadding, 1), (TooOld, 1)]);
    assert_eq!(spa.refusals().total(), 3);
}

#[test]
fn the_time_of_a_user_ends() {
    let mut guest = user(keys());
    guest.expires = Some(at(NOW + 1));
    let mut spa = spa(vec![guest]);
    assert!(hear(&mut spa, "10.78.0.1", sealed(&keys(), |_| {})).is_ok());
    let packet = sealed(&keys(), |message| message.time += 1);
    let denied = spa.receive(at(NOW + 1), address("10.78.0.1"), packet.as_bytes()).expect_err("expired");
    assert_eq!(denied.refusal, Expired);
}

#[test]
fn a_port_led_to_itself_is_that_port_and_other_nat_is_refused_by_name() {
    let to = |port| Destination { host: "198.51.100.1".to_owned(), port };
    let Request::Access(ports) = access("tcp/2222") else { unreachable!("access is access") };
    for (request, wanted) in [
        (Request::Redirect(ports.clone(), to(2222)), Ok("tcp/2222")),
        (Request::Redirect(ports.clone(), to(22)), Err(Redirection)),
        (Request::Forward(ports.clone(), to(2222)), Err(Forwarding)),
    ] {
        let packet = sealed(&keys(), |message| message.request = request);
        let answer =
            opening(hear(&mut spa(vec![user(keys())]), "10.78.0.1", packet)).map(|(_, ports, _)| ports);
        assert_eq!(answer.as_deref(), wanted.as_ref().copied());
    }
}

#[test]
fn ports_that_are_asked_for_twice_are_opened_once() {
    let packet = sealed(&keys(), |message| message.request = access("udp/53,tcp/22,udp/53"));
    let answer = opening(hear(&mut spa(vec![user(keys())]), "10.78.0.1", packet));
    assert_eq!(answer.map(|(_, ports, _)| ports).as_deref(), Ok("tcp/22,udp/53"));
}

#[test]
fn a_command_comes_back_as_data_only_from_who_may_give_one() {
    let mut operator = user(keys());
    operator.weak.commands = true;
    (operator.tcp, operator.udp) = (PortSet::default(), PortSet::default());
    let packet = sealed(&keys(), |message| message.request = Request::Command("reboot, now".to_owned()));
    let accepted = hear(&mut spa(vec![operator]), "10.78.0.1", &packet).expect("a command");
    let wanted = Granted::Command { address: address("10.78.0.1"), command: "reboot, now".to_owned() };
    assert_eq!(accepted.granted, wanted);
    assert_eq!(hear(&mut spa(vec![user(keys())]), "10.78.0.1", packet), Err(Command));
}

/// The faults of a user with these keys who asked for nothing weak.
fn faults(keys: portcullis_core::door::spa::envelope::Keys) -> Vec<UserFault> {
    User { weak: Weak::default(), ..user(keys) }.faults()
}

#[test]
fn weak_settings_must_be_asked_for_by_name() {
    let (cipher, hmac) = (&[1; 32][..], &[2; 64][..]);
    assert_eq!(faults(keys_of(Mode::Cbc, cipher, Some((Digest::Sha256, hmac)))), []);
    assert_eq!(faults(keys_of(Mode::Cbc, cipher, None)), [UserFault::NoHmac]);
    assert_eq!(faults(keys_of(Mode::Cbc, cipher, Some((Digest::Md5, hmac)))), [UserFault::OldHmac]);
    assert_eq!(faults(keys_of(Mode::Cbc, cipher, Some((Digest::Sha1, hmac)))), [UserFault::OldHmac]);
    assert_eq!(
        faults(keys_of(Mode::Cbc, cipher, Some((Digest::Sha256, &hmac[..15])))),
        [UserFault::ShortKey]
    );
    assert_eq!(
        faults(keys_of(Mode::Cbc, &cipher[..15], Some((Digest::Sha256, hmac)))),
        [UserFault::ShortKey]
    );
    assert_eq!(faults(keys_of(Mode::Ctr, cipher, Some((Digest::Sha256, hmac)))), [UserFault::OtherMode]);
    assert_eq!(faults(keys_of(Mode::Legacy, cipher, None)), [UserFault::NoHmac, UserFault::OtherMode]);
    let second = Duration::from_secs(1);
    for (length, wanted) in [
        (Length { usual: Duration::ZERO, most: second }, vec![UserFault::Length]),
        (Length { usual: 2 * second, most: second }, vec![UserFault::Length]),
        (Length { usual: second, most: second }, vec![]),
    ] {
        assert_eq!(User { length, ..user(keys()) }.faults(), wanted);
    }
    assert_eq!(
        User { tcp: PortSet::default(), udp: PortSet::default(), ..user(keys()) }.faults(),
        [UserFault::NoPorts]
    );
}

#[test]
fn all_faults_of_all_users_are_told_in_one_go() {
    let strict = || User { weak: Weak::default(), ..user(keys_of(Mode::Ecb, b"short", None)) };
    let wanted = vec![
        SetupFault::User(1, UserFault::NoHmac),
        SetupFault::User(1, UserFault::ShortKey),
        SetupFault::User(1, UserFault::OtherMode),
    ];
    assert_eq!(Spa::new(vec![user(keys()), strict()], WINDOW).err(), Some(wanted));
    let many = vec![user(keys()); USERS_MAXIMUM + 1];
    assert_eq!(Spa::new(many, WINDOW).err(), Some(vec![SetupFault::TooManyUsers]));
}

#[test]
fn users_are_equal_when_keys_and_rights_are() {
    let of = |mode, cipher: &[u8], hmac| user(keys_of(mode, cipher, hmac));
    let sha256 = |key| Some((Digest::Sha256, key));
    let one = of(Mode::Cbc, b"testkey123", sha256(&b"hmackey456"[..]));
    assert!(one == user(keys()));
    for other in [
        of(Mode::Ctr, b"testkey123", sha256(b"hmackey456")),
        of(Mode::Cbc, b"testkey124", sha256(b"hmackey456")),
        of(Mode::Cbc, b"testkey1234", sha256(b"hmackey456")),
        of(Mode::Cbc, b"testkey123", sha256(b"hmackey457")),
        of(Mode::Cbc, b"testkey123", Some((Digest::Sha3_256, b"hmackey456"))),
        of(Mode::Cbc, b"testkey123", None),
        User { require_address: true, ..user(keys()) },
    ] {
        assert!(one != other);
    }
}

#[test]
fn reasons_have_names_and_words_of_their_own() {
    for (place, one) in Refusal::ALL.iter().enumerate() {
        assert_eq!(*one as usize, place);
        for other in &Refusal::ALL[..place] {
            assert!(one.name() != other.name() && one.words() != other.words(), "{one:?} {other:?}");
        }
    }
}
