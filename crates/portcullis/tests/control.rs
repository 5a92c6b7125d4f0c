//! The control socket, from both ends in one process: who is served, who is refused, and that nobody can hurt it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so by a panic")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use portcullis::config::Control;
use portcullis::control::access::Access;
use portcullis::control::client::{Client, Failure};
use portcullis::control::protocol::{LINE_LIMIT, Reply, Request, Text, texts};
use portcullis::control::server::{BindError, CLIENTS, Limits, Server};
use portcullis::control::{Answer, Asked, Command, Outcome, Status};
use portcullis::exit::Exit;
use portcullis_core::event::{Ban, BanState, Cause, How, Id, Mode, Protection, Until};
use portcullis_core::net::Prefix;
use portcullis_core::time::Wall;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};

/// How many bans the daemon of these tests holds: several pages, and the last one not full.
const BANS: u32 = 1_777;

/// Waits so short that a test can outlast them, and so long that a busy machine keeps them.
const LIMITS: Limits = Limits {
    request: Duration::from_millis(400),
    answer: Duration::from_millis(1500),
    write: Duration::from_millis(400),
    whole: Duration::from_secs(5),
};

/// A server with a daemon behind it that answers from memory. Ends when dropped.
struct Daemon {
    directory: TempDir,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Daemon {
    fn start(limits: Limits) -> Daemon {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::bind(&directory.path().join("ctl.sock"), &access()).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let (desk, mut asked) = mpsc::channel(16);
                let (_keep, rights) = watch::channel(access());
                let answering = async {
                    while let Some(Asked { command, answer, .. }) = asked.recv().await {
                        if let Some(said) = say(command) {
                            // A client that is gone does not take its answer.
                            let _ = answer.send(said);
                        } else {
                            // Never answered, and never dropped either.
                            std::mem::forget(answer);
                        }
                    }
                };
                tokio::select! {
                    result = server.serve(desk, rights, limits) => result.unwrap(),
                    () = answering => {}
                    _ = stopped => {}
                }
            });
        });
        Daemon { directory, stop: Some(stop), thread: Some(thread) }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("ctl.sock")
    }

    fn client(&self) -> Client {
        Client::connect(&self.path()).unwrap()
    }

    fn raw(&self) -> UnixStream {
        let stream = UnixStream::connect(self.path()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking());
        }
    }
}

fn access() -> Access {
    let control = Control { socket: PathBuf::new(), group: "no such group".into(), operators: Vec::new() };
    Access::of(&control).0
}

fn ban(number: u32) -> Ban {
    Ban {
        id: Id(u64::from(number)),
        prefix: Prefix::single(Ipv4Addr::from_bits(0x0b00_0000 + number).into()),
        how: How::Banned,
        cause: Cause::Operator { why: "noisy\u{1b}[2J".into() },
        since: Wall(Duration::from_secs(1_790_000_000)),
        until: Until::Ever,
        state: BanState::InForce,
        times: 1,
        pardoned: None,
    }
}

fn say(command: Command) -> Option<Answer> {
    Some(match command {
        Command::Status => Answer::Status(Box::new(Status {
            mode: "observe".into(),
            refused: BTreeMap::from([("bad checksum".to_owned(), 3)]),
            shut: vec!["tcp/22".into()],
            ..Status::default()
        })),
        Command::Bans { after, at_most } => Answer::Bans(
            (1..=BANS)
                .map(ban)
                .filter(|ban| after.is_none_or(|after| ban.prefix > after))
                .take(at_most)
                .collect(),
        ),
        Command::Ban { prefixes, .. } => Answer::Outcomes(
            prefixes
                .into_iter()
                .map(|asked| Outcome::Protected { asked, protected: asked, why: Protection::Gateway })
                .collect(),
        ),
        Command::Allowances => Answer::Allowances(vec![(ban(1).prefix, Until::Ever)]),
        Command::SetMode { mode: Mode::Enforce, .. } => return None,
        Command::Reload => Answer::Refused {
            exit: Exit::ConfigurationInvalid,
            message: "portcullis.toml:1:1: no\u{1b}\n  mend it".into(),
        },
        _ => Answer::Outcomes(Vec::new()),
    })
}

/// Asks and gathers.
fn ask(client: &mut Client, request: &Request) -> Result<Vec<Reply>, Failure> {
    let mut replies = Vec::new();
    client.ask(request, |reply| {
        replies.push(reply);
        Ok(())
    })?;
    Ok(replies)
}

fn is_well(daemon: &Daemon) {
    let replies = ask(&mut daemon.client(), &Request::Status).unwrap();
    assert!(matches!(&replies[..], [Reply::Status(status)] if status.mode == "observe"));
}

/// What the server says until it hangs up.
fn last_words(mut stream: UnixStream) -> String {
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said
}

#[test]
fn one_connection_serves_many_requests_and_long_lists_come_whole() {
    let daemon = Daemon::start(Limits::default());
    let mut client = daemon.client();
    for _ in 0..3 {
        let bans = ask(&mut client, &Request::Bans).unwrap();
        assert_eq!(bans.len(), BANS as usize);
        let Reply::Ban(last) = bans.last().unwrap() else { panic!("{bans:?}") };
        assert_eq!((last.id.as_str(), &*last.until), ("b-6f1", "ever"));
    }
    assert_eq!(ask(&mut client, &Request::Allowances).unwrap().len(), 1);
}

#[test]
fn a_refusal_keeps_its_exit_code_and_cannot_reach_the_terminal() {
    let daemon = Daemon::start(Limits::default());
    let failure = ask(&mut daemon.client(), &Request::Reload).unwrap_err();
    assert_eq!(failure.exit, Exit::ConfigurationInvalid);
    assert_eq!(failure.message, "portcullis.toml:1:1: no\\u{1b}\n  mend it");
    let request = Request::Ban {
        prefixes: texts(&[ban(1).prefix]),
        term: None,
        why: String::new(),
        despite_brake: false,
    };
    let outcomes = ask(&mut daemon.client(), &request).unwrap();
    assert!(
        matches!(&outcomes[..], [Reply::Outcome { exit: 5, text }] if text.contains("gateway")),
        "{outcomes:?}"
    );
}

#[test]
fn the_socket_is_for_root_and_its_group_and_goes_when_the_daemon_ends() {
    let daemon = Daemon::start(Limits::default());
    let path = daemon.path();
    let file = fs::metadata(&path).unwrap();
    assert!(file.file_type().is_socket());
    assert_eq!(file.permissions().mode() & 0o777, 0o660);
    let beside: Vec<_> =
        fs::read_dir(daemon.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(beside.len(), 2, "the socket and its lock: {beside:?}");
    let Daemon { ref directory, .. } = daemon;
    let directory = directory.path().to_owned();
    drop(daemon);
    assert!(!directory.join("ctl.sock").exists());
}

#[test]
fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let daemon = Daemon::start(Limits::default());
    let error = Server::bind(&daemon.path(), &access()).unwrap_err();
    assert!(matches!(error, BindError::InUse(_)), "{error}");
    is_well(&daemon);
}

#[test]
fn what_a_dead_daemon_left_is_replaced_and_what_a_living_stranger_owns_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ctl.sock");
    let stranger = UnixListener::bind(&path).unwrap();
    assert!(matches!(Server::bind(&path, &access()), Err(BindError::InUse(_))));
    drop(stranger);
    assert!(path.exists(), "the file of a dead listener stays");
    let server = Server::bind(&path, &access()).unwrap();
    assert!(UnixStream::connect(&path).is_ok());
    fs::remove_file(&path).unwrap();
    fs::write(&path, "somebody else's by now").unwrap();
    drop(server);
    assert!(path.exists(), "only its own file is taken away");
}

#[test]
fn without_a_daemon_the_verb_says_how_to_start_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ctl.sock");
    let nobody = Client::connect(&path).unwrap_err();
    assert_eq!(nobody.exit, Exit::NotReachable);
    assert!(nobody.message.contains("portcullis run"), "{}", nobody.message);
    drop(UnixListener::bind(&path).unwrap());
    assert_eq!(Client::connect(&path).unwrap_err().exit, Exit::NotReachable);
}

#[test]
fn garbage_is_answered_and_the_next_request_is_served() {
    let daemon = Daemon::start(Limits::default());
    let mut stream = daemon.raw();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    for garbage in [&b"hello"[..], b"\xff\xfe\x00", b"[]", b"{\"version\":1,\"verb\":{}}", b""] {
        stream.write_all(garbage).unwrap();
        stream.write_all(b"\n").unwrap();
        let reply = lines.next().unwrap().unwrap();
        assert!(reply.contains("\"refused\"") && reply.contains("\"exit\":2"), "{reply}");
    }
    stream.write_all(&Request::Status.to_line()).unwrap();
    assert!(lines.next().unwrap().unwrap().contains("observe"));
}

#[test]
fn a_line_that_is_too_long_ends_the_session_with_a_word() {
    let daemon = Daemon::start(Limits::default());
    let mut stream = daemon.raw();
    let flood = vec![b'x'; 4 * LINE_LIMIT];
    // The server stops reading at its limit, so the rest may not go through.
    let _ = stream.write_all(&flood);
    let mut said = vec![0; 200];
    let length = stream.read(&mut said).unwrap();
    assert!(String::from_utf8_lossy(&said[..length]).contains("65536 bytes"));
    is_well(&daemon);
}

#[test]
fn who_says_nothing_or_half_a_line_is_let_go() {
    let daemon = Daemon::start(LIMITS);
    let silent = daemon.raw();
    let mut slow = daemon.raw();
    slow.write_all(br#"{"version":1,"verb":"sta"#).unwrap();
    let began = Instant::now();
    assert_eq!(last_words(silent), "");
    assert_eq!(last_words(slow), "");
    assert!(began.elapsed() >= LIMITS.request / 2, "it was given its time");
    is_well(&daemon);
}

#[test]
fn a_client_that_drips_letters_gains_no_time() {
    let daemon = Daemon::start(LIMITS);
    let mut drip = daemon.raw();
    let began = Instant::now();
    while drip.write_all(b" ").is_ok() {
        assert!(began.elapsed() < Duration::from_secs(20), "still served");
        thread::park_timeout(Duration::from_millis(20));
    }
    is_well(&daemon);
}

#[test]
fn who_asks_and_does_not_read_holds_nobody_up() {
    let daemon = Daemon::start(LIMITS);
    let mut deaf = daemon.raw();
    // Far more answer than the socket's buffers take.
    for _ in 0..20 {
        deaf.write_all(&Request::Bans.to_line()).unwrap();
    }
    is_well(&daemon);
    // It is let go in time: the lists end in the middle.
    let deadline = Instant::now() + Duration::from_secs(20);
    while deaf.write_all(b"\n").is_ok() {
        assert!(Instant::now() < deadline, "still served");
        thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn a_daemon_that_does_not_answer_is_reported() {
    let daemon = Daemon::start(LIMITS);
    let failure = ask(&mut daemon.client(), &Request::Enforce { confirm: None, keep: false }).unwrap_err();
    assert_eq!(failure.exit, Exit::Failed);
    assert!(failure.message.contains("did not answer in time"), "{}", failure.message);
    is_well(&daemon);
}

#[test]
fn of_two_hundred_clients_the_seats_are_filled_and_the_others_told() {
    // Nobody loses a seat for being idle while the others come in, however busy the machine is.
    let daemon = Daemon::start(Limits { request: Duration::from_secs(600), ..Limits::default() });
    let mut seated = Vec::new();
    let mut refused = 0;
    for _ in 0..200 {
        let mut stream = daemon.raw();
        // Refused or not, somebody who comes with a request must be able to read the answer.
        let _ = stream.write_all(&Request::Status.to_line());
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.contains(r#""reply":"refused""#) {
            assert!(line.contains("64 clients are connected already"), "{line}");
            refused += 1;
        } else {
            assert!(line.contains("observe"), "{line}");
            seated.push(reader);
        }
    }
    assert_eq!((seated.len(), refused), (CLIENTS, 200 - CLIENTS));
    drop(seated);
    // The seats are free again as soon as the server has noticed.
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = Client::connect(&daemon.path()).map(|mut client| ask(&mut client, &Request::Status));
        if matches!(answer, Ok(Ok(_))) {
            break;
        }
        assert!(Instant::now() < deadline, "seats stay taken");
    }
}

#[test]
fn two_hundred_clients_at_once_are_all_answered_or_told() {
    let daemon = Daemon::start(Limits::default());
    let path = daemon.path();
    let asks = |path: &Path| {
        let mut client = Client::connect(path)?;
        ask(&mut client, &Request::Bans).map(|bans| assert_eq!(bans.len(), BANS as usize))
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..200).map(|_| scope.spawn(|| asks(&path))).collect();
        for thread in threads {
            if let Err(failure) = thread.join().unwrap() {
                assert!(failure.message.contains("clients are connected already"), "{}", failure.message);
            }
        }
    });
    is_well(&daemon);
}

#[test]
fn a_stranger_is_told_that_he_may_not() {
    if testbed::rights().is_none() || !testbed::has(&["setpriv", "sh"]) {
        return;
    }
    let daemon = Daemon::start(Limits::default());
    // As if somebody had opened the doors too wide: the peer is looked at all the same.
    fs::set_permissions(daemon.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(daemon.path(), fs::Permissions::from_mode(0o666)).unwrap();
    let verb = |user: &str| {
        std::process::Command::new("setpriv")
            .args(["--reuid", user, "--regid", user, "--clear-groups"])
            .arg(env!("CARGO_BIN_EXE_portcullis"))
            .args(["status", "--state"])
            .arg(daemon.directory.path())
            .output()
            .unwrap()
    };
    let stranger = verb("65534");
    let said = String::from_utf8(stranger.stderr).unwrap();
    if said.contains("failed to execute") {
        // The build lies where only its owner may go; the claim is about the socket.
        eprintln!("skipped: another user cannot reach the built program");
        return;
    }
    assert_eq!(stranger.status.code(), Some(77), "{said}");
    assert!(said.contains("only root"), "{said}");
    fs::set_permissions(daemon.path(), fs::Permissions::from_mode(0o660)).unwrap();
    let stranger = verb("65534");
    assert_eq!(stranger.status.code(), Some(77));
    assert_eq!(verb("0").status.code(), Some(0));
}

#[test]
fn the_verbs_print_what_the_daemon_says() {
    let daemon = Daemon::start(Limits::default());
    let verb = |words: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(words)
            .arg("--state")
            .arg(daemon.directory.path())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, out, _) = verb(&["bans", "--json"]);
    assert_eq!((code, out.lines().count()), (0, BANS as usize));
    let first: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert_eq!(first["event"], "ban");
    assert_eq!(first["prefix"], "11.0.0.1/32");
    assert_eq!(first["until"], "ever");

    let (code, out, _) = verb(&["bans"]);
    assert_eq!((code, out.lines().count()), (0, BANS as usize));
    assert!(!out.contains('\u{1b}'), "what somebody wrote as a reason cannot command the terminal");

    let (code, out, err) = verb(&["ban", "11.0.0.1", "11.0.0.2"]);
    assert_eq!((code, out.as_str()), (5, ""));
    assert_eq!(err.lines().count(), 2, "{err}");
    assert!(err.contains("11.0.0.1/32 is not banned: it is a default gateway"), "{err}");

    let (code, out, _) = verb(&["status"]);
    assert_eq!(code, 0);
    assert!(out.contains("observe (no scanner is blocked)"), "{out}");
    assert!(
        out.contains("doors          shut tcp/22 to all who have not knocked; see: portcullis doors"),
        "{out}"
    );
    assert!(out.contains("3 bad checksum"), "{out}");

    let (code, _, err) = verb(&["reload"]);
    assert_eq!(code, 4);
    assert!(err.contains("portcullis.toml:1:1"), "{err}");
}

#[test]
fn the_only_one_that_runs_is_meant_where_nobody_is_named() {
    let daemon = Daemon::start(Limits::default());
    let directory = daemon.directory.path();
    let verb = |words: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_portcullis"));
        let output = command.args(words).arg("--state").arg(directory).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, _, said) = verb(&["bans", "--instance", "ps-atcp"]);
    assert_eq!(code, 3);
    assert!(said.contains("portcullis itself") && said.contains("no --instance"), "{said}");
    assert!(said.contains("start ps-atcp again") && !said.contains("--instance ctl"), "{said}");

    fs::rename(directory.join("ctl.sock"), directory.join("ps-atcp.sock")).unwrap();
    let (code, out, said) = verb(&["bans", "--json"]);
    assert_eq!((code, out.lines().count()), (0, BANS as usize), "{said}");
    assert!(said.contains("this is ps-atcp, the only one that runs here"), "{said}");
    let (code, out, _) = verb(&["status"]);
    assert!(code == 0 && !out.contains("beside it"), "it is not beside itself: {out}");
    let (code, _, said) = verb(&["reload"]);
    assert!(code == 4 && said.contains("this is ps-atcp"), "what changes something too: {said}");
    let (code, _, said) = verb(&["bans", "--instance", "ps-udp"]);
    assert!(code == 3 && said.contains("--instance ps-atcp"), "who is named is meant: {said}");

    let _second = UnixListener::bind(directory.join("ps-udp.sock")).unwrap();
    let (code, out, said) = verb(&["bans"]);
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(said.contains("--instance ps-atcp, or --instance ps-udp"), "{said}");
}

#[test]
fn a_request_for_ever_is_said_by_its_word_on_the_wire() {
    let request =
        Request::Allow { prefixes: texts(&[ban(1).prefix]), term: Text(portcullis::control::Term::Ever) };
    let line = String::from_utf8(request.to_line()).unwrap();
    assert!(line.contains(r#""for":"ever""#), "{line}");
}

#[test]
fn a_verb_finds_the_socket_that_the_configuration_names() {
    let Some(namespace) = testbed::Namespace::with_mounts() else { return };
    let said = || {
        let output = namespace.command(env!("CARGO_BIN_EXE_portcullis")).arg("status").output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(said().contains("nobody answers at /run/portcullis/ctl.sock"));
    for (text, socket) in [
        ("[control]\nsocket = \"/run/elsewhere.sock\"\n", "/run/elsewhere.sock"),
        ("[contr", "/run/portcullis/ctl.sock"),
    ] {
        namespace.enter(|| {
            fs::create_dir_all("/etc/portcullis").unwrap();
            fs::write("/etc/portcullis/portcullis.toml", text).unwrap();
        });
        assert!(said().contains(socket), "{}", said());
    }
}
