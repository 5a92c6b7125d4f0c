//! A host with a door, a guest who knocks, and somebody who does what the doctor says.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use testbed::{Lab, Namespace, wait_until};

use crate::harness::{Guard, PROGRAM, Place, SOON, Said};
use crate::knocks::{SERVICE, door, enter, listed, reload};

/// Who is let in.
pub const GUEST: &str = "10.77.0.1";

/// The same by IPv6.
pub const GUEST6: &str = "fd77::1";

/// Somebody else.
pub const STRANGER: &str = "10.77.0.9";

/// How long a word may take over the wire before it is held to be lost; a SYN is sent again after a second.
const SILENCE: Duration = Duration::from_millis(700);

/// The patient.
pub struct Patient {
    /// The network.
    pub lab: Lab,
    /// The configuration.
    pub place: Place,
    /// The program.
    pub guard: Guard,
    configuration: String,
}

impl Patient {
    /// With the door `ssh`; `None` where the lab can't be made.
    pub fn new() -> Option<Patient> {
        Patient::with(&door("open_for = \"1h\""))
    }

    /// With this configuration.
    pub fn with(configuration: &str) -> Option<Patient> {
        let lab = Lab::direct()?;
        if !testbed::has(&["nft", "iptables"]) {
            return None;
        }
        lab.add_attacker(&format!("{STRANGER}/24"));
        let place = Place::new(configuration);
        let guard = Guard::at(&lab.victim, &place, &[]);
        Some(Patient { lab, place, guard, configuration: configuration.to_owned() })
    }

    /// Answers whoever says something, with what he said.
    pub fn serve(&self) {
        echo(&self.lab.victim, "::", SERVICE);
    }

    /// Runs a command on the host, as an administrator does.
    pub fn shell(&self, command: &str) {
        self.lab.victim.run(&["sh", "-c", command]);
    }

    /// Loads rules, as nft does.
    pub fn rules(&self, rules: &str) {
        self.lab.victim.run_with_input(&["nft", "-f", "-"], rules);
    }

    /// The guest knocks, and what was found is waited for: in the log, and in `doors`.
    #[track_caller]
    pub fn enter(&mut self, guest: &str) -> Value {
        enter(&self.lab, &mut self.guard, guest);
        self.way_of(guest)
    }

    /// What `doors` says of the guest's way.
    #[track_caller]
    pub fn way_of(&self, guest: &str) -> Value {
        wait_until(SOON, "the door to be tried", || {
            let door = listed(&self.guard, "ssh");
            let openings = door["openings"].as_array().unwrap();
            let own = openings.iter().find(|opening| opening["source"] == guest)?;
            own["way"].as_array().filter(|way| !way.is_empty())?;
            Some(own["way"].clone())
        })
    }

    /// Whether a word goes there and back.
    pub fn talks(&self, source: &str) -> bool {
        let target =
            if source.contains(':') { IpAddr::from(self.lab.victim6()) } else { self.lab.victim4().into() };
        talks(&self.lab.attacker, source, SocketAddr::new(target, SERVICE))
    }

    /// What the verb says on the host, and how it ends.
    pub fn doctor(&self, words: &[&str]) -> Said {
        let mut command = self.lab.victim.command(PROGRAM);
        command.arg("doctor").args(words).arg("--state").arg(self.place.state());
        command.output().unwrap().into()
    }

    /// The verb's findings that are not `ok`.
    #[track_caller]
    pub fn complaints(&self) -> Vec<Value> {
        let said = self.doctor(&["--json"]);
        let wrong: Vec<Value> = said.lines().into_iter().filter(|line| line["grade"] != "ok").collect();
        assert_eq!(said.code, i32::from(!wrong.is_empty()), "{said:?}");
        wrong
    }

    /// Does what a finding says, to the letter: lines for our configuration, and commands.
    #[track_caller]
    pub fn carry_out(&mut self, finding: &Value) {
        for step in finding["mend"].as_array().unwrap_or_else(|| panic!("no mend: {finding}")) {
            match step["do"].as_str().unwrap() {
                "configure" => {
                    let (table, line) = (step["table"].as_str().unwrap(), step["line"].as_str().unwrap());
                    if self.configuration.contains(line) {
                        continue;
                    }
                    let new = self.configuration.replacen(table, &format!("{table}\n{line}"), 1);
                    assert_ne!(new, self.configuration, "there is no {table}");
                    self.place.configure(&new);
                    self.configuration = new;
                }
                "run" if step["command"] == "portcullis reload" => reload(&self.guard),
                "run" => self.shell(step["command"].as_str().unwrap()),
                "keep" | "advice" => {}
                other => panic!("{other}"),
            }
        }
    }

    /// The guest is kept out, this is said of it everywhere, the mend lets him through and nobody else, and then nothing
    /// is wrong any more.
    #[track_caller]
    pub fn is_named_and_mended(&mut self, guest: &str, says: &str) {
        let way = self.enter(guest);
        assert!(!self.talks(guest), "nothing is in his way: {way:#}");
        let is_it = |finding: &&Value| finding["what"].as_str().is_some_and(|what| what.contains(says));
        let finding = way.as_array().unwrap().iter().find(is_it).unwrap_or_else(|| panic!("{way:#}")).clone();
        let told = self.guard.wait_for(SOON, |event| {
            event["event"] == "fault"
                && event["door"] == "ssh"
                && event["source"] == guest
                && event["why"].as_str().is_some_and(|why| why.contains(says))
        });
        assert!(told["mend"].is_string(), "{told}");
        for verb in ["doors", "events"] {
            let said = self.guard.verb(&[verb]);
            assert!(said.out.contains(says) && said.out.contains("but "), "{verb}: {said:?}");
        }
        let complaints = self.complaints();
        assert!(complaints.iter().any(|finding| is_it(&finding)), "{complaints:#?}");
        for step in finding["mend"].as_array().unwrap().iter().filter(|step| step["do"] == "run") {
            let command = step["command"].as_str().unwrap();
            assert!(self.doctor(&[]).out.contains(command), "{command}");
        }
        self.carry_out(&finding);
        assert!(self.talks(guest), "the mend does not help: {finding:#}\n{}", self.all_rules());
        assert!(!self.talks(STRANGER), "the mend lets strangers in: {finding:#}");
        assert_eq!(self.complaints(), Vec::<Value>::new(), "{}", self.all_rules());
    }

    fn all_rules(&self) -> String {
        let listed = self.lab.victim.run(&["nft", "list", "ruleset"]);
        String::from_utf8_lossy(&listed.stdout).into_owned()
    }
}

/// Says back what is said to it, until the namespace ends.
pub fn echo(at: &Namespace, address: &str, port: u16) {
    let listener = at.enter(|| TcpListener::bind((address, port))).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let (mut stream, mut word) = (stream, [0; 1]);
                while stream.read_exact(&mut word).is_ok() && stream.write_all(&word).is_ok() {}
            });
        }
    });
}

/// Whether a connection comes about, and a word goes there and back.
pub fn talks(from: &Namespace, source: &str, target: SocketAddr) -> bool {
    let source: IpAddr = source.parse().unwrap();
    from.enter(|| {
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
        if socket.connect_timeout(&target.into(), SILENCE).is_err() {
            return false;
        }
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        let mut word = [0];
        stream.write_all(b"x").is_ok() && stream.read_exact(&mut word).is_ok() && word == *b"x"
    })
}
