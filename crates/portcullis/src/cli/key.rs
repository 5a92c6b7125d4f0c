//! `key`: makes the secrets of doors, in files that nobody else can read. Nothing secret is printed.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use portcullis_core::door::rotating::Shape;
use portcullis_core::door::{Name, User};
use portcullis_core::net::{PortSet, Protocol};

use super::output::print;
use super::spa::{Ports, read_ports};
use crate::config::Span;
use crate::config::doors::{
    Commands, DoorConfig, DoorKind, DoorMode, Flags, OneTimeDoor, Opens, RotatingDoor, SecretFile, SpaDoor,
};
use crate::config::write_door;
use crate::control::client::Failure;
use crate::exit::Exit;
use crate::keys::memory::keep_out_of_dumps;
use crate::keys::rotating::{KeyFile, check_user};
use crate::keys::{Fault, Place, client, make, one_time};

/// Arguments of `key`.
#[derive(Debug, Args)]
pub struct KeyArguments {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// A key from which sequences follow; host and guest have the same file
    Rotating(RotatingArguments),
    /// Sequences that are used once each; host and guest have a copy each
    OneTime(OneTimeArguments),
    /// Keys for single packets; the host has one file, the guest the other
    Spa(SpaArguments),
}

#[derive(Debug, Args)]
struct RotatingArguments {
    /// The door
    #[arg(long, value_name = "NAME", required_unless_present = "beside")]
    door: Option<Name>,
    /// Who gets the key
    #[arg(long, value_name = "NAME", value_parser = read_user)]
    user: String,
    /// The key of another user of the same door, whose door, host and steps are taken
    #[arg(long, value_name = "FILE", conflicts_with_all = ["door", "ports", "protocols", "steps", "time_step"])]
    beside: Option<PathBuf>,
    /// The ports that steps are drawn from
    #[arg(long, value_name = "PORTS", default_value = "10000-60000")]
    ports: PortSet,
    /// tcp, udp or both
    #[arg(long, value_name = "PROTOCOLS", value_delimiter = ',', value_parser = ["tcp", "udp"], default_value = "tcp,udp")]
    protocols: Vec<String>,
    /// How many knocks a sequence has, 3 to 16
    #[arg(long, value_name = "NUMBER", default_value_t = 6)]
    steps: u8,
    /// How long a sequence is the right one, 10 s to 5 min
    #[arg(long, value_name = "TIME", default_value = "30s")]
    time_step: Span,
    /// The file, which must not exist
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Debug, Args)]
struct OneTimeArguments {
    /// The door
    #[arg(long, value_name = "NAME")]
    door: Name,
    /// How many sequences, up to 10000
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=i64::from(one_time::COUNT)))]
    count: u16,
    /// How many knocks each has, 3 to 32
    #[arg(long, value_name = "NUMBER", default_value_t = 4, value_parser = clap::value_parser!(u8).range(i64::from(*one_time::STEPS.start())..=i64::from(*one_time::STEPS.end())))]
    steps: u8,
    /// The file, which must not exist
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Debug, Args)]
struct SpaArguments {
    /// Who gets the keys
    #[arg(long, value_name = "NAME", value_parser = read_user)]
    user: String,
    /// What he may open, as tcp/22,udp/53
    #[arg(long, value_name = "PORTS", value_parser = read_ports)]
    opens: Ports,
    /// The door
    #[arg(long, value_name = "NAME", default_value = "spa")]
    door: Name,
    /// Also take packets that open for whoever they come from (fwknop -s); anybody on the way can use one first
    #[arg(long)]
    allow_source: bool,
    /// The host's file, which must not exist
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The guest's file, which must not exist
    #[arg(long, value_name = "FILE")]
    client: PathBuf,
}

fn read_user(text: &str) -> Result<String, &'static str> {
    check_user(text).map(|()| text.to_owned())
}

/// Makes it, and says what to do with it.
pub fn key(arguments: &KeyArguments) -> Result<Exit, Failure> {
    keep_out_of_dumps().map_err(|error| {
        failed(format!("this process can't be kept out of core dumps, so no key is made: {error}"))
    })?;
    let said = match &arguments.kind {
        Kind::Rotating(arguments) => rotating(arguments)?,
        Kind::OneTime(arguments) => one_time_sequences(arguments)?,
        Kind::Spa(arguments) => single_packet(arguments)?,
    };
    print(&said)
}

fn rotating(arguments: &RotatingArguments) -> Result<String, Failure> {
    let other = match &arguments.beside {
        Some(path) => Some(KeyFile::read(&Place::closed(path)).map_err(fault)?),
        None => None,
    };
    let user = User(arguments.user.as_str().into());
    let path = &arguments.output;
    if let Some(other) = other {
        let text = KeyFile::make(&user, &other.door, Some(other.host), &other.shape).map_err(no_random)?;
        make::file(path, &text).map_err(fault)?;
        return Ok(format!(
            "{}: the key of {user} for door {}. On the host, add it to keys = [\u{2026}] of [door.{}], and reload.\n{}",
            path.display(),
            other.door,
            other.door,
            for_the_guest(path)
        ));
    }
    let door = arguments.door.as_ref().expect("clap asks for it unless there is --beside");
    let has = |name: &str| arguments.protocols.iter().any(|protocol| protocol == name);
    let Span(time_step) = arguments.time_step;
    if time_step.subsec_nanos() != 0 {
        return Err(usage("the time step is counted in whole seconds\n  write --time-step 30s".to_owned()));
    }
    let (tcp, udp) = (has("tcp"), has("udp"));
    let shape = Shape::new(arguments.ports.clone(), tcp, udp, arguments.steps, time_step.as_secs())
        .map_err(|error| usage(error.to_string()))?;
    let table = table(
        door,
        DoorKind::Rotating(RotatingDoor {
            keys: vec![secret_file(path)?],
            ports: shape.ports(if tcp { Protocol::Tcp } else { Protocol::Udp }),
            tcp,
            udp,
            time_step,
            steps: arguments.steps,
            window: WINDOW,
        }),
        ssh(),
    );
    let text = KeyFile::make(&user, door, None, &shape).map_err(no_random)?;
    make::file(path, &text).map_err(fault)?;
    Ok(format!(
        "{}: the key of {user} for door {door}. It belongs to this host alone. For the configuration:\n\n{table}\n{}",
        path.display(),
        for_the_guest(path)
    ))
}

fn for_the_guest(path: &Path) -> String {
    format!(
        "The guest gets a copy by a safe way (scp), and opens by: portcullis knock --key {} --until-open 22 HOST\n\
         (22, or whatever port the door opens: knock waits until it answers, and says so)",
        path.file_name().unwrap_or_default().display()
    )
}

fn one_time_sequences(arguments: &OneTimeArguments) -> Result<String, Failure> {
    let OneTimeArguments { door, count, steps, output: path } = arguments;
    let kind = DoorKind::OneTime(OneTimeDoor {
        sequences: secret_file(path)?,
        window: WINDOW,
        flags: Flags::FIRST,
        warn_left: 5,
        wrong_tries: 10,
        ignored_for: std::time::Duration::from_secs(600),
    });
    let table = table(door, kind, ssh());
    let text = one_time::make(*count, *steps).map_err(no_random)?;
    make::file(path, &text).map_err(fault)?;
    Ok(format!(
        "{}: {count} sequences for door {door}. For the configuration:\n\n{table}\n\
         The guest gets a copy by a safe way (scp), and opens by: portcullis knock --one-time {} HOST\n\
         Both sides strike what is used; nobody else may have a copy.",
        path.display(),
        path.file_name().unwrap_or_default().display()
    ))
}

fn single_packet(arguments: &SpaArguments) -> Result<String, Failure> {
    let SpaArguments { user, opens: Ports(ports), door, allow_source, output: path, client: guest } =
        arguments;
    let kind = DoorKind::Spa(SpaDoor {
        udp_port: portcullis_core::door::spa::PORT,
        users: secret_file(path)?,
        max_age: portcullis_core::door::spa::WINDOW,
        weak: Vec::new(),
    });
    let of = |protocol: Protocol| {
        let ports = ports.iter().filter(|port| port.protocol == protocol);
        PortSet::from_ranges(ports.map(|port| (port.number, port.number)))
    };
    let table = table(door, kind, Opens { tcp: of(Protocol::Tcp), udp: of(Protocol::Udp) });
    let made = client::make(user, ports, !allow_source).map_err(no_random)?;
    make::file(path, &made.host).map_err(fault)?;
    if let Err(error) = make::file(guest, &made.guest) {
        // Half a pair of keys is of no use; that it cannot be removed is seen at the next try.
        let _ = std::fs::remove_file(path);
        return Err(fault(error));
    }
    Ok(format!(
        "{path}: the keys of {user} for the host; fwknopd reads it too (-a). Another user's paragraph can be added to\n\
         the same file. For the configuration:\n\n{table}\n\
         {guest}: the same keys for the guest, who gets it by a safe way (scp), and opens by one of\n  \
         portcullis spa HOST --key {name}\n  \
         fwknop --rc-file {name} -n {user} -D HOST -a ADDRESS\n\
         These keys are for this host alone: the packet does not say which host is meant.",
        path = path.display(),
        guest = guest.display(),
        name = guest.file_name().unwrap_or_default().display(),
    ))
}

/// The documented default of `window`.
const WINDOW: std::time::Duration = std::time::Duration::from_secs(10);

/// What most doors are for; the person who writes the table knows better.
fn ssh() -> Opens {
    Opens { tcp: PortSet::from_ranges([(22, 22)]), udp: PortSet::default() }
}

/// The table of a door as the configuration has it.
fn table(door: &Name, kind: DoorKind, opens: Opens) -> String {
    write_door(&DoorConfig {
        name: door.as_str().to_owned(),
        kind,
        opens,
        open_for: std::time::Duration::from_secs(30),
        guests: Vec::new(),
        renew: false,
        cut_on_close: false,
        mode: DoorMode::Act,
        commands: Commands::default(),
        service: None,
        for_everyone: false,
        pardon: true,
        mark: None,
    })
}

/// The absolute path, as the table wants it.
fn secret_file(path: &Path) -> Result<SecretFile, Failure> {
    let absolute = std::path::absolute(path).ok();
    let secret = absolute.as_deref().and_then(Path::to_str).and_then(SecretFile::new);
    secret.ok_or_else(|| usage(format!("{}: this is no path that a configuration can name", path.display())))
}

fn fault(fault: Fault) -> Failure {
    failed(fault.to_string())
}

fn no_random(error: std::io::Error) -> Failure {
    failed(format!("there are no random numbers: {error}"))
}

fn failed(message: String) -> Failure {
    Failure { exit: Exit::Failed, message }
}

fn usage(message: String) -> Failure {
    Failure { exit: Exit::Usage, message }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: KeyArguments,
    }

    fn run(line: &str) -> Result<String, Failure> {
        let line = Line::try_parse_from(std::iter::once("key").chain(line.split(' '))).unwrap();
        match &line.arguments.kind {
            Kind::Rotating(arguments) => rotating(arguments),
            Kind::OneTime(arguments) => one_time_sequences(arguments),
            Kind::Spa(arguments) => single_packet(arguments),
        }
    }

    #[test]
    fn the_table_that_is_printed_is_what_the_configuration_reads() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let (a, b, c, d, e) = (at("a"), at("b"), at("c"), at("d"), at("e"));
        for (line, kind) in [
            (format!("rotating --door ssh --user anna -o {a}"), "rotating"),
            (
                format!(
                    "rotating --door ssh --user anna --protocols udp --ports 1-2000 --steps 9 --time-step 1m -o {b}"
                ),
                "rotating",
            ),
            (format!("one-time --door ssh --count 3 -o {c}"), "one-time"),
            (format!("spa --door ssh --user anna --opens tcp/22,udp/53 -o {d} --client {e}"), "spa"),
        ] {
            let said = run(&line).unwrap();
            let table = &said[said.find("[door.").unwrap()..];
            let table = &table[..table.find("\n\n").unwrap()];
            let config = crate::config::parse(Path::new("x"), table).unwrap();
            let door = &config.doors[0];
            assert_eq!((door.name.as_str(), door.kind.name().word()), ("ssh", kind), "{said}");
            if let DoorKind::Rotating(door) = &door.kind {
                let key = KeyFile::read(&Place::closed(door.keys[0].written())).unwrap();
                let shape =
                    Shape::new(door.ports.clone(), door.tcp, door.udp, door.steps, door.time_step.as_secs());
                assert_eq!(key.shape, shape.unwrap());
            }
        }
        let said = run(&format!("rotating --beside {b} --user bert -o {}", at("f"))).unwrap();
        assert!(said.contains("add it to keys"), "{said}");
        let [anna, bert] = ["b", "f"].map(|name| KeyFile::read(&Place::closed(at(name))).unwrap());
        assert!(anna.host == bert.host && anna.shape == bert.shape && anna.key != bert.key);
    }

    #[test]
    fn half_a_pair_of_keys_is_not_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let host = directory.path().join("host");
        let guest = directory.path().join("guest");
        std::fs::write(&guest, "mine").unwrap();
        let line =
            format!("spa --user anna --opens tcp/22 -o {} --client {}", host.display(), guest.display());
        assert!(run(&line).is_err());
        assert!(!host.exists() && std::fs::read_to_string(&guest).unwrap() == "mine");
    }

    #[test]
    fn shapes_that_are_easily_guessed_are_refused_before_anything_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("k");
        for more in ["--steps 2", "--ports 1-400", "--time-step 5s", "--time-step 10500ms"] {
            let failure =
                run(&format!("rotating --door d --user a {more} -o {}", path.display())).unwrap_err();
            assert!(failure.exit == Exit::Usage && !path.exists(), "{more}");
        }
    }
}
