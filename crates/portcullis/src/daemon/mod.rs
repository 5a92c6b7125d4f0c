//! The running program: a fast path that watches and blocks ([`guard`]), and a slow one that keeps, tells and answers
//! (`slow`). Here both are opened, in this order: configuration, whatever needs rights, then the first packet.

mod archive;
pub mod background;
mod desk;
mod doorkeeper;
mod doors;
mod errands;
mod forwarding;
mod friends;
pub mod guard;
pub mod host;
mod journal;
mod knockd;
mod mute;
mod output;
mod peers;
pub mod persona;
pub mod pid_file;
pub mod plan;
pub mod sight;
mod slow;
mod status;
mod surroundings;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::thread;

use portcullis_core::door::Opening;
use portcullis_core::engine::{Engine, View};
use portcullis_core::event::{Cause, Mode, Until};
use portcullis_core::net::Prefix;
use portcullis_core::scan::sources::Secret;
use portcullis_sys::capabilities::{self, Capability};
use portcullis_sys::clock;
use portcullis_sys::nftables::{Monitor, Nftables};
use portcullis_sys::route::Watch;
use tokio::sync::{mpsc, watch};

use crate::capture::{Eyes, EyesError, reads_whole_packets};
use crate::causes;
use crate::cli::knockd::KnockdArguments;
use crate::cli::portsentry::{self, PortsentryArguments};
use crate::cli::run::RunArguments;
use crate::config::Faults;
use crate::config::portsentry::Dialect;
use crate::control::access::Access;
use crate::control::server::{BindError, Limits, Server};
use crate::exit::Exit;
use crate::record::Told;
use crate::record::events;
use crate::record::store::doors::{DoorChanges, StoredDoors};
use crate::record::store::{Changes, Store, StoreError, Stored};
use crate::record::{SinglePackets, Start};
use crate::respond::doors::DoorErrand;
use crate::respond::hands::Hands;
use crate::respond::nftables::{Kernel, NotShut, bans_of};
use archive::Archive;
use background::Ready;
use doorkeeper::Doorkeeper;
use friends::names::Names;
use guard::Guard;
use host::KernelHost;
pub use journal::farewell;
use output::Output;
use pid_file::PidFile;
use plan::{ModeBy, Plan, Started};
use slow::{Ears, Ended, Slow, Ways};

/// Our table in the kernel.
pub const TABLE: &str = "portcullis";

/// Said wherever a block is asked for in vain.
pub const NO_RIGHT_TO_BLOCK: &str = "blocking needs the capability CAP_NET_ADMIN, which this process lacks: start \
    portcullis as root, by its systemd unit, or after: setcap cap_net_raw,cap_net_admin+ep on its program file";

/// Reports on their way from the fast path to the slow one.
const REPORTS: usize = 8192;

/// Runs until it is told to end.
#[must_use]
pub fn run(arguments: RunArguments) -> Exit {
    match start(Started::Run(arguments), None) {
        Ok(Ended::Signal(_)) => Exit::Done,
        Ok(Ended::Fault) => Exit::Failed,
        Err(NotStarted { exit, why }) => {
            slow::complain(&why);
            exit
        }
    }
}

/// Runs as PortSentry did, until it is told to end; `words` are those behind the program's name. Returns the exit code
/// that PortSentry had.
#[must_use]
pub fn run_portsentry(arguments: PortsentryArguments, words: &[OsString]) -> u8 {
    let failed = match arguments.dialect {
        Dialect::One => portsentry::FAILED_ONE,
        Dialect::Two => portsentry::FAILED_TWO,
    };
    if !rustix::process::geteuid().is_root() {
        println!("{}", portsentry::NOT_ROOT);
        match arguments.dialect {
            Dialect::One => journal::farewell(Dialect::One, None),
            Dialect::Two => println!("{}", portsentry::SHUTTING_DOWN_TWO),
        }
        return failed;
    }
    if arguments.is_background && !arguments.is_background_child {
        return background::start_in_background("portsentry", words, failed);
    }
    let ready = match arguments.is_background_child {
        true => Ready::in_background("portsentry"),
        false => Ready::in_foreground("portsentry"),
    };
    let dialect = arguments.dialect;
    let to_syslog = arguments.logs_to_syslog;
    let ended = ready
        .map_err(|error| NotStarted::failed("it could not go its own way", error))
        .and_then(|ready| start(Started::Portsentry(Box::new(arguments)), Some(ready)));
    match (ended, dialect) {
        // 1.x ended with the number of the signal, 2.x with 0 (measured).
        (Ok(Ended::Signal(signal)), Dialect::One) => u8::try_from(signal.as_raw_value()).unwrap_or(failed),
        (Ok(Ended::Signal(_)), Dialect::Two) => 0,
        (Ok(Ended::Fault), _) => failed,
        (Err(NotStarted { why, .. }), _) => {
            journal::last_words(dialect, to_syslog, &why);
            failed
        }
    }
}

/// Runs as knockd did, until it is told to end; `words` are those behind the program's name. Returns the exit code that
/// knockd had.
#[must_use]
pub fn run_knockd(arguments: KnockdArguments, words: &[OsString]) -> u8 {
    let failed = crate::cli::knockd::FAILED;
    if arguments.is_background && !arguments.is_background_child {
        return background::start_in_background("knockd", words, failed);
    }
    let ready = match arguments.is_background_child {
        true => Ready::in_background("knockd"),
        false => Ready::in_foreground("knockd"),
    };
    let ended = ready
        .map_err(|error| NotStarted::failed("it could not go its own way", error))
        .and_then(|ready| start(Started::Knockd(Box::new(arguments)), Some(ready)));
    match ended {
        // The number of the signal (knockd 0.8, measured).
        Ok(Ended::Signal(signal)) => u8::try_from(signal.as_raw_value()).unwrap_or(failed),
        Ok(Ended::Fault) => failed,
        Err(NotStarted { exit, why }) => {
            eprintln!("knockd: {why}");
            if exit == Exit::ConfigurationInvalid {
                print!("{}", crate::cli::knockd::USAGE);
            }
            failed
        }
    }
}

/// Why it did not begin.
struct NotStarted {
    exit: Exit,
    why: String,
}

impl NotStarted {
    fn failed(doing: &str, error: impl std::error::Error) -> NotStarted {
        NotStarted { exit: Exit::Failed, why: format!("{doing}: {}", causes::said(&error)) }
    }
}

fn start(started: Started, ready: Option<Ready>) -> Result<Ended, NotStarted> {
    let not_understood =
        |faults: Faults| NotStarted { exit: Exit::ConfigurationInvalid, why: faults.to_string() };
    let mut plan = Plan::read(&started).map_err(not_understood)?;
    let mut output = Output::of(&started, &plan)
        .map_err(|error| NotStarted::failed("the journal could not be opened", error))?;
    let mut faults = Vec::new();

    let names = Names::begin().map_err(|error| NotStarted::failed("names could not be looked up", error))?;
    names.want(friends::wanted(&plan.config.protect));
    let look = surroundings::look(&plan, &names)
        .map_err(|error| NotStarted::failed("interfaces and addresses could not be read", error))?;
    if let Some(persona) = &mut plan.persona {
        let of_ignore_file = persona.refresh_ignore_file(&look.surroundings);
        faults.extend(of_ignore_file);
        // What was made just now holds from the first packet, and is not called missing.
        if persona.is_ignore_file_another() {
            plan = Plan::read(&started).map_err(not_understood)?;
        }
    }
    let seeing =
        Eyes::open(&plan.config, &look.filter, plan.listening().as_ref(), &plan.doors.listened.single)
            .map_err(|error| NotStarted {
                exit: match error {
                    EyesError::NotPermitted => Exit::NotPermitted,
                    _ => Exit::Failed,
                },
                why: causes::said(&error),
            });
    // As knockd nothing is done in the kernel, and the right to do so is not needed.
    let kernel = plan.knockd.is_none().then(|| packet_filter(&plan.names.table));
    let (access, complaints) = Access::of(&plan.config.control);
    let no_socket = |error| NotStarted::failed("the control socket could not be opened", error);
    let (mut eyes, server) = match (seeing, Server::bind(&plan.config.control.socket, &access)) {
        (Ok(eyes), server) => (eyes, server.map_err(no_socket)?),
        // Whose ports are taken by the same program does not look for whoever else has them.
        (Err(_), Err(error @ BindError::InUse(_))) => return Err(no_socket(error)),
        (Err(not_started), _) => return Err(not_started),
    };
    faults.extend(complaints);
    match (&mut plan.persona, &eyes.listener) {
        (Some(persona), Some(listener)) => persona.unopened = listener.unopened().collect(),
        _ => faults.extend(eyes.remarks()),
    }
    // Behind the socket's lock too: a second start must not take the running one's file. Gone with the process,
    // whatever ended it in order.
    let pid_file = match &started {
        Started::Portsentry(arguments) => arguments.pid_file.as_deref().map(PidFile::write).transpose(),
        Started::Knockd(arguments) => {
            let own = plan.knockd.as_ref().filter(|_| arguments.is_background);
            own.map(|own| PidFile::write(&own.pid_file)).transpose()
        }
        Started::Run(_) => Ok(None),
    };
    let _pid_file =
        pid_file.map_err(|error| NotStarted::failed("the pid file could not be written", error))?;

    // The store is behind the socket's lock: two instances never write the same one.
    let (mut store, mut stored, mut is_first_run) = (None, Stored::default(), false);
    let read = Store::open(&plan.names.store).and_then(|mut opened| {
        faults.extend(opened.warning.take());
        stored = opened.store.load(clock::now().wall)?;
        is_first_run = opened.is_new;
        store = Some(opened.store);
        Ok(())
    });
    if let Err(error @ StoreError::InUse(_)) = read {
        return Err(NotStarted::failed("the store could not be opened", error));
    }
    if let Err(error) = read {
        faults
            .push(format!("bans cannot be stored, and a reboot would forget them: {}", causes::said(&error)));
    }
    faults.append(&mut stored.faults);
    match Archive::open(events::beside(&plan.names.store), archive::retention(&plan.config)) {
        Ok(archive) => {
            faults.extend(move_door_events(&archive, store.as_mut(), &mut stored.doors));
            output.keep_in(archive);
        }
        Err(error) => faults.push(format!("events are not kept: a thread could not be started: {error}")),
    }
    let by_hand = stored.mode.as_ref().map(|said| said.at(clock::now().wall));
    let mode = plan.mode(by_hand.map(|(mode, _)| mode));
    let mut kernel = match kernel {
        None => None,
        Some(Ok(kernel)) => Some(kernel),
        Some(Err(not_started)) if mode.0 == Mode::Enforce => return Err(not_started),
        Some(Err(NotStarted { exit: Exit::NotPermitted, .. })) => {
            let consequence =
                "without CAP_NET_ADMIN published container ports look closed, and nothing can be blocked";
            faults.push(consequence.to_owned());
            None
        }
        Some(Err(NotStarted { why, .. })) => {
            faults.push(why);
            None
        }
    };

    // Before anything that takes its time: until then strangers come in.
    if let Some(standing) = shut_doors(kernel.as_mut(), &mut plan)? {
        output.tell(Told::Notice { what: standing });
    }

    let netlink = |error| NotStarted::failed("netlink could not be opened", error);
    let mut host = KernelHost::open().map_err(netlink)?;
    if plan.persona.as_ref().is_some_and(|own| own.arguments.ignores_services) {
        host.disregard_services();
    }
    let mut engine = Engine::new(plan.settings(mode.0), View::Live, secret()?);
    let since = clock::now();
    engine.surround(since, look.surroundings.clone());
    if let (ModeBy::Hand, Some((_, Some(left)))) = (mode.1, by_hand) {
        engine.resume_trial(since, left);
    }
    let (mut errands, errands_of_guard) =
        plan.persona.as_ref().map(|own| own.errands(&plan.names, &stored)).unzip();
    let mut before = BTreeSet::new();
    if let (Some(persona), Some(journal)) = (&plan.persona, output.journal()) {
        before = journal.blocked_before(persona, since);
        // In a later run the store knows better: who stands in the file beside it was only told of, or lost his ban.
        if !is_first_run {
            before.clear();
        }
        persona.end_what_a_reboot_undid(&mut stored);
        let ended = persona.ended(&stored, since);
        let of_ended = ended.iter().map(Prefix::address).collect();
        journal.let_in(of_ended, Some("its ban ended while nobody ran"), since);
        if let Some(errands) = &mut errands {
            errands.undo_of(&ended);
            let found = stored.bans.iter().filter(|(ban, _)| ban.cause == Cause::FoundInForce);
            errands.were_found(found.map(|(ban, _)| ban.prefix).filter(|prefix| !ended.contains(prefix)));
            errands.were_found(before.iter().map(|address| Prefix::single(*address)));
            let is_listed = |prefix: &Prefix| journal.is_listed(prefix.address());
            errands.are_told(stored.bans.iter().map(|(ban, _)| ban.prefix).filter(is_listed));
        }
    }
    let bans = restore(&mut engine, &mut kernel, &plan, &stored, &before, mode, &mut faults);
    if let Some(journal) = output.journal() {
        journal.begin_pending(&engine, since);
    }

    let (doors, door_errands) = plan.doors.hands();
    faults.extend(plan.doors.remarks.iter().cloned());
    let (keeper, unread) = restore_openings(&mut engine, &plan, &stored.doors, door_errands, since);
    faults.extend(unread);
    if plan.knockd.is_some() {
        let absent = |name: &String| {
            format!(
                "there is no interface {name}: knocks are heard as soon as there is; -i NAME, or Interface = NAME \
                 below [options], names another"
            )
        };
        faults.extend(look.absent.iter().map(absent));
    }
    let hands = Hands { kernel, errands: errands_of_guard, doors, adopted: BTreeSet::new() };
    let engine_name = eyes.name();
    let single_packets = single_packets(&plan, &eyes);
    let (reports_to, reports) = mpsc::channel(REPORTS);
    let our_port = hands.kernel.as_ref().map(Kernel::port);
    let (mut guard, orders) = Guard::new(eyes, look.filter.clone(), engine, host, hands, reports_to)
        .map_err(|error| NotStarted::failed("the packet loop could not be made", error))?;
    // Before anybody listens for events: the kernel would write one for each restored ban. What is changed in
    // between shows at the first comparison, which comes at once.
    guard.begin(clock::now());
    let monitor = our_port.map(|port| {
        let mut monitor = Monitor::open(&plan.names.table)?;
        monitor.disregard(port)?;
        Ok(monitor)
    });
    let (desk, asked) = mpsc::channel(64);
    let (access, access_of_server) = watch::channel(access);
    let ears = Ears {
        asked,
        reports,
        monitor: monitor.transpose().map_err(netlink)?,
        watch: Watch::open().map_err(netlink)?,
        // Without it friends are looked at twice a minute.
        friends: friends::Watch::open().ok(),
    };
    let mut listing = our_port.map(|_| Nftables::open(&plan.names.table)).transpose().map_err(netlink)?;
    if let Some(listing) = &mut listing {
        listing.expect_doors(plan.doors.kernel.clone());
    }

    let start = Start {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        mode: mode.0.name().to_owned(),
        engine: engine_name.to_owned(),
        interfaces: look.watched.clone(),
        configuration: plan.configuration(),
        bans,
        shut: doors::shut(plan.doors.kernel.doors().iter()),
        single_packets,
    };
    let slow = Slow {
        started,
        reads_whole_packets: reads_whole_packets(&plan.config),
        plan,
        mode,
        look,
        names,
        orders,
        output,
        store,
        listing,
        faults,
        access,
        since,
        store_fault: None,
        engine: engine_name,
        dropped: 0,
        yesterday: status::Counted::default(),
        effects_saved: None,
        errands,
        undoing: Vec::new(),
        keeper,
        marked: portcullis_core::time::Wall::default(),
        ways: Ways::default(),
        ready,
    };

    let fast = thread::Builder::new()
        .name("guard".to_owned())
        .spawn(move || guard.run())
        .map_err(|error| NotStarted::failed("the packet loop could not be started", error))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| NotStarted::failed("the slow path could not be started", error))?;
    let ended = runtime.block_on(async {
        tokio::spawn(server.serve(desk, access_of_server, Limits::default()));
        slow.run(ears, start).await
    });
    let ended = ended.map_err(|error| NotStarted::failed("the slow path ended", error))?;
    match fast.join() {
        Ok(Ok(())) => Ok(ended),
        Ok(Err(error)) => Err(NotStarted::failed("waiting for packets failed", error)),
        Err(_) => {
            let why = "the packet loop ended: it panicked; please report this".to_owned();
            Err(NotStarted { exit: Exit::Failed, why })
        }
    }
}

/// What happened at doors has stood in the store itself once: it goes to the other events. The complaint, if it could not
/// be taken out there.
fn move_door_events(
    archive: &Archive,
    store: Option<&mut Store>,
    stored: &mut StoredDoors,
) -> Option<String> {
    if stored.events.is_empty() {
        return None;
    }
    archive.keep_lines(std::mem::take(&mut stored.events).into_iter().map(|(_, line)| line).collect());
    let moved = Changes {
        doors: DoorChanges { are_events_moved: true, ..DoorChanges::default() },
        ..Changes::default()
    };
    let error = store?.save(&moved).err()?;
    Some(format!("what happened at doors is kept twice: {}", causes::said(&error)))
}

/// The kernel's packet filter, if there is one and we may change it. Capabilities alone do not tell: those of a user
/// namespace may not hold for the network that we are in.
fn packet_filter(table: &str) -> Result<Kernel, NotStarted> {
    let no_right = || NotStarted { exit: Exit::NotPermitted, why: NO_RIGHT_TO_BLOCK.to_owned() };
    if !capabilities::has(Capability::NetAdmin).unwrap_or(false) {
        return Err(no_right());
    }
    let opened = Kernel::open(table).and_then(|mut kernel| kernel.counters().map(|_| kernel));
    opened.map_err(|error| match error.is_permission() {
        true => no_right(),
        false => NotStarted::failed("nothing can be blocked: the kernel's nftables do not answer", error),
    })
}

/// Brings back what an earlier run knew. The kernel is read first: what it holds counts, and what only the store knows
/// goes in as one batch. Returns how many bans hold on.
fn restore(
    engine: &mut Engine,
    kernel: &mut Option<Kernel>,
    plan: &Plan,
    stored: &Stored,
    before: &BTreeSet<IpAddr>,
    mode: (Mode, ModeBy),
    faults: &mut Vec<String>,
) -> u64 {
    let mut held = Vec::new();
    if let Some(kernel) = kernel {
        match kernel.held() {
            Ok(found) => {
                held = bans_of(&found);
                let is_used = plan.persona.as_ref().is_none_or(|own| own.responses.may_use_set());
                // Who only observes, and has nothing in force, finds his machine unchanged.
                if ((mode.0 == Mode::Enforce && is_used) || !held.is_empty())
                    && let Err(error) = kernel.make()
                {
                    faults.push(format!(
                        "the table could not be made: {}; if something else stands there under its name, take it \
                         away: nft delete table inet {}",
                        causes::said(&error),
                        plan.names.table
                    ));
                }
            }
            Err(error) => {
                faults.push(format!("the kernel's sets could not be read: {}", causes::said(&error)))
            }
        }
    }
    let now = clock::now();
    if let Some(persona) = &plan.persona {
        held = persona.in_force(held, stored, before, now);
    }
    engine.restore(now, &stored.bans, &stored.past, &held, stored.next_id);
    for (prefix, until) in &stored.allowances {
        restore_allowance(engine, now, *prefix, *until, faults);
    }
    engine.send_allow_list(now);
    engine.bans_in_all() as u64
}

/// Has the kernel shut the doors; says how many sessions stand behind them, if they were open before.
fn shut_doors(kernel: Option<&mut Kernel>, plan: &mut Plan) -> Result<Option<String>, NotStarted> {
    let Some(kernel) = kernel else {
        return match plan.doors.kernel.doors().is_empty() {
            true => Ok(None),
            false => Err(NotStarted { exit: Exit::NotPermitted, why: NO_RIGHT_TO_BLOCK.to_owned() }),
        };
    };
    let were_shut = kernel.are_doors_shut(&plan.doors.kernel).unwrap_or(false);
    let mut are_shut = kernel.set_doors(&plan.doors.kernel);
    if let Err(NotShut::PerhapsByForwarding(why)) = &are_shut {
        let told = plan.doors.shut_for_others(why);
        are_shut = kernel.set_doors(&plan.doors.kernel);
        plan.doors.remarks.push(told);
    }
    let not_started =
        |why| NotStarted { exit: Exit::Failed, why: format!("the doors could not be shut: {why}") };
    are_shut.map_err(not_started)?;
    Ok(if were_shut { None } else { doors::standing_sessions(plan.doors.kernel.doors().iter()) })
}

/// How the packets of doors of the kind `spa` come to us.
fn single_packets(plan: &Plan, eyes: &Eyes) -> Option<SinglePackets> {
    let ports = &plan.doors.listened.single;
    let is_open = eyes.datagrams.is_some();
    (ports.count() > 0)
        .then(|| SinglePackets { by: if is_open { "socket" } else { "wire" }, ports: format!("udp/{ports}") })
}

/// Brings back openings of an earlier run, and has the doorkeeper pay what is owed for those that are over.
fn restore_openings(
    engine: &mut Engine,
    plan: &Plan,
    stored: &StoredDoors,
    errands: mpsc::Receiver<DoorErrand>,
    now: portcullis_core::time::Now,
) -> (Doorkeeper, Vec<String>) {
    let (mut keeper, unread) =
        Doorkeeper::new(plan.doors.actions.clone(), plan.doors.pace, errands, &stored.debts);
    // What carries a time from before now, or from before the mark that the last run left, may have been used by it.
    engine.refuse_before(stored.seen_until.unwrap_or_default().max(now.wall));
    let doors: Vec<_> = engine.doors().iter().map(|door| door.name.clone()).collect();
    let used = |name: &portcullis_core::door::Name| {
        stored.used.iter().map(|entry| (name.clone(), *entry)).collect::<Vec<_>>()
    };
    engine.restore_seen_packets(&doors.iter().flat_map(used).collect::<Vec<_>>());
    let over = engine.restore_openings(now, &stored.openings);
    let place = |opening: &Opening| (opening.name.clone(), opening.address);
    let over: BTreeSet<_> = over.iter().map(place).collect();
    let stored = stored.openings.iter().map(|(opening, _)| place(opening));
    keeper.settle(&stored.filter(|place| !over.contains(place)).collect(), &over);
    (keeper, unread)
}

fn restore_allowance(
    engine: &mut Engine,
    now: portcullis_core::time::Now,
    prefix: Prefix,
    until: Until,
    faults: &mut Vec<String>,
) {
    let length = match until {
        Until::Ever => None,
        Until::At(end) => Some(end.since(now.wall)),
    };
    if length.is_some_and(|length| length.is_zero()) {
        return;
    }
    if engine.allow(now, &[prefix], length).is_err() {
        faults.push(format!("{prefix} was allowed by hand, but there are too many of these now"));
    }
}

/// The key of this run's hashes.
fn secret() -> Result<Secret, NotStarted> {
    let mut key = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut key))
        .map_err(|error| NotStarted::failed("no random key could be drawn from /dev/urandom", error))?;
    Ok(Secret(key))
}
