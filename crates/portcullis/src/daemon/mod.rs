//! The running program: a fast path that watches and blocks ([`guard`]), and a slow one that keeps, tells and answers
//! (`slow`). Here both are opened, in this order: configuration, whatever needs rights, then the first packet.

pub mod background;
mod desk;
pub mod guard;
pub mod host;
mod mute;
mod peers;
pub mod pid_file;
pub mod plan;
mod slow;
mod status;
pub mod surroundings;

use std::fs::File;
use std::io::{self, Read};
use std::thread;

use portcullis_core::engine::{Engine, View};
use portcullis_core::event::{Mode, Until};
use portcullis_core::net::Prefix;
use portcullis_core::scan::sources::Secret;
use portcullis_sys::capabilities::{self, Capability};
use portcullis_sys::clock;
use portcullis_sys::nftables::{Monitor, Nftables};
use portcullis_sys::route::Watch;
use tokio::sync::{mpsc, watch};

use crate::capture::{Eyes, EyesError};
use crate::causes;
use crate::cli::run::RunArguments;
use crate::control::access::Access;
use crate::control::server::{Limits, Server};
use crate::exit::Exit;
use crate::record::Start;
use crate::record::log::{Log, Style};
use crate::record::store::{FILE_NAME, Store, StoreError, Stored};
use crate::respond::nftables::{Kernel, bans_of};
use guard::Guard;
use host::KernelHost;
use plan::{ModeBy, Plan};
use slow::{Ears, Output, Slow};

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
    match start(arguments) {
        Ok(exit) => exit,
        Err(NotStarted { exit, why }) => {
            slow::complain(&why);
            exit
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

fn start(arguments: RunArguments) -> Result<Exit, NotStarted> {
    let plan = Plan::read(&arguments)
        .map_err(|faults| NotStarted { exit: Exit::ConfigurationInvalid, why: faults.to_string() })?;
    let output = match arguments.json {
        true => Output::Json(Log::live(io::stdout(), Style::Json)),
        false => Output::People(Log::live(io::stderr(), Style::for_people(io::stderr()))),
    };
    let mut faults = Vec::new();

    let look = surroundings::look(&plan.config)
        .map_err(|error| NotStarted::failed("interfaces and addresses could not be read", error))?;
    let eyes = Eyes::open(&plan.config, &look.filter).map_err(|error| NotStarted {
        exit: match error {
            EyesError::NotPermitted => Exit::NotPermitted,
            _ => Exit::Failed,
        },
        why: causes::said(&error),
    })?;
    let kernel = packet_filter();
    let (access, complaints) = Access::of(&plan.config.control);
    let server = Server::bind(&plan.config.control.socket, &access)
        .map_err(|error| NotStarted::failed("the control socket could not be opened", error))?;
    faults.extend(complaints);
    faults.extend(eyes.remarks());

    // The store is behind the socket's lock: two instances never write the same one.
    let (mut store, mut stored) = (None, Stored::default());
    let read = Store::open(&plan.config.record.state.join(FILE_NAME)).and_then(|mut opened| {
        faults.extend(opened.warning.take());
        stored = opened.store.load(clock::now().wall)?;
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
    let mode = plan.mode(stored.mode.as_ref().map(|said| said.mode));
    let mut kernel = match kernel {
        Ok(kernel) => Some(kernel),
        Err(not_started) if mode.0 == Mode::Enforce => return Err(not_started),
        Err(NotStarted { exit: Exit::NotPermitted, .. }) => {
            let consequence =
                "without CAP_NET_ADMIN published container ports look closed, and nothing can be blocked";
            faults.push(consequence.to_owned());
            None
        }
        Err(NotStarted { why, .. }) => {
            faults.push(why);
            None
        }
    };

    let netlink = |error| NotStarted::failed("netlink could not be opened", error);
    let host = KernelHost::open().map_err(netlink)?;
    let mut engine = Engine::new(plan.settings(mode.0), View::Live, secret()?);
    let since = clock::now();
    engine.surround(since, look.surroundings.clone());
    let bans = restore(&mut engine, &mut kernel, &stored, mode, &mut faults);

    let engine_name = eyes.name();
    let (reports_to, reports) = mpsc::channel(REPORTS);
    let our_port = kernel.as_ref().map(Kernel::port);
    let (mut guard, orders) = Guard::new(eyes, look.filter.clone(), engine, host, kernel, reports_to)
        .map_err(|error| NotStarted::failed("the packet loop could not be made", error))?;
    // Before anybody listens for events: the kernel would write one for each restored ban. What is changed in
    // between shows at the first comparison, which comes at once.
    guard.begin(clock::now());
    let monitor = our_port.map(|port| {
        let mut monitor = Monitor::open(TABLE)?;
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
    };
    let listing = our_port.map(|_| Nftables::open(TABLE)).transpose().map_err(netlink)?;

    let start = Start {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        mode: mode.0.name().to_owned(),
        engine: engine_name.to_owned(),
        interfaces: look.watched.clone(),
        configuration: plan.configuration(),
        bans,
    };
    let slow = Slow {
        arguments,
        plan,
        mode,
        look,
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
    };

    let fast = thread::Builder::new()
        .name("guard".to_owned())
        .spawn(move || guard.run())
        .map_err(|error| NotStarted::failed("the packet loop could not be started", error))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| NotStarted::failed("the slow path could not be started", error))?;
    let exit = runtime.block_on(async {
        tokio::spawn(server.serve(desk, access_of_server, Limits::default()));
        slow.run(ears, start).await
    });
    let exit = exit.map_err(|error| NotStarted::failed("the slow path ended", error))?;
    match fast.join() {
        Ok(Ok(())) => Ok(exit),
        Ok(Err(error)) => Err(NotStarted::failed("waiting for packets failed", error)),
        Err(_) => {
            let why = "the packet loop ended: it panicked; please report this".to_owned();
            Err(NotStarted { exit: Exit::Failed, why })
        }
    }
}

/// The kernel's packet filter, if there is one and we may change it. Capabilities alone do not tell: those of a user
/// namespace may not hold for the network that we are in.
fn packet_filter() -> Result<Kernel, NotStarted> {
    let no_right = || NotStarted { exit: Exit::NotPermitted, why: NO_RIGHT_TO_BLOCK.to_owned() };
    if !capabilities::has(Capability::NetAdmin).unwrap_or(false) {
        return Err(no_right());
    }
    let opened = Kernel::open(TABLE).and_then(|mut kernel| kernel.counters().map(|_| kernel));
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
    stored: &Stored,
    mode: (Mode, ModeBy),
    faults: &mut Vec<String>,
) -> u64 {
    let mut held = Vec::new();
    if let Some(kernel) = kernel {
        match kernel.held() {
            Ok(found) => {
                held = bans_of(&found);
                // Who only observes, and has nothing in force, finds his machine unchanged.
                if (mode.0 == Mode::Enforce || !held.is_empty())
                    && let Err(error) = kernel.make()
                {
                    faults.push(format!(
                        "the table could not be made: {}; if something else stands there under its name, take it \
                         away: nft delete table inet {TABLE}",
                        causes::said(&error)
                    ));
                }
            }
            Err(error) => {
                faults.push(format!("the kernel's sets could not be read: {}", causes::said(&error)))
            }
        }
    }
    let now = clock::now();
    engine.restore(now, &stored.bans, &stored.past, &held, stored.next_id);
    for (prefix, until) in &stored.allowances {
        restore_allowance(engine, now, *prefix, *until, faults);
    }
    engine.send_allow_list(now);
    engine.bans_in_all() as u64
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
