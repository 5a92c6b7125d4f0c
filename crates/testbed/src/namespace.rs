//! One network namespace (and, if wanted, a mount namespace), held by a file descriptor and nothing else.

use std::fs::{self, File};
use std::io::Write;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::process::{Command, Output, Stdio};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

use crate::rights::{rights, search_path};
use crate::{Running, mounts};

/// A network namespace of the test's own, with lo up and a quiet IPv6 (no duplicate detection, no solicitations).
///
/// It is gone when this value and every process in it are gone, however the test ends.
#[derive(Debug)]
pub struct Namespace {
    net: File,
    mounts: Option<File>,
}

/// What the network card (here: veth) may do in place of the kernel: segmentation, merging, checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offloads {
    /// As veth has it by default: packets of 64 KiB, unfinished checksums.
    On,
    /// Packets of the wire's size with finished checksums, as between real hosts.
    Off,
}

impl Namespace {
    /// A new network namespace; the file system is the host's. `None` without rights (see [`rights`]).
    ///
    /// # Panics
    /// If the rights are there and it can't be made all the same.
    #[track_caller]
    pub fn new() -> Option<Self> {
        rights()?;
        Some(Self::make(false))
    }

    /// The same with a mount namespace: /etc is a copy of the host's, /var and /run are empty but for the usual
    /// directories, /dev has the harmless devices and no `log`. Whatever is written there is gone with the test.
    ///
    /// Everything else (the programs, /tmp, the target directory) is the host's; what lies below /var or /run is
    /// hidden. Processes inside start in `/`, whatever `Command::current_dir` says.
    ///
    /// # Panics
    /// As [`Namespace::new`].
    #[track_caller]
    pub fn with_mounts() -> Option<Self> {
        rights()?;
        Some(Self::make(true))
    }

    fn make(with_mounts: bool) -> Self {
        // On a thread of its own: the thread moves into what it unshares, and ends; the descriptors stay.
        let made = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("rights() has just made a network namespace");
            let net = File::open("/proc/thread-self/ns/net").expect("/proc is mounted");
            let mounts = with_mounts.then(|| {
                unshare(CloneFlags::CLONE_NEWNS)
                    .unwrap_or_else(|error| panic!("no mount namespace: {error}"));
                mounts::furnish().unwrap_or_else(|error| panic!("mount namespace: {error}"));
                File::open("/proc/thread-self/ns/mnt").expect("/proc is mounted")
            });
            Self { net, mounts }
        });
        let namespace = made.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        namespace.sysctl("net.ipv6.conf.default.accept_dad", "0");
        namespace.sysctl("net.ipv6.conf.default.accept_ra", "0");
        namespace.sysctl("net.ipv6.conf.default.router_solicitations", "0");
        namespace.run(&["ip", "link", "set", "lo", "up"]);
        namespace
    }

    /// A command that will run inside. Add arguments, start it with `output()`, `spawn()` or [`Running::spawn`].
    ///
    /// The kernel kills it when the **thread** that started it ends (`PR_SET_PDEATHSIG`), so start what must live
    /// on the test's own thread. The process started is the program itself: its id is what `Child::id` says.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "nsenter"]).arg(format!("--net={}", self.path()));
        if let Some(mounts) = &self.mounts {
            command.arg(format!("--mount={}", path_of(mounts)));
        }
        command.arg("--").arg(program).env("PATH", search_path()).env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    /// Runs a program inside to its end and returns what it printed.
    ///
    /// # Panics
    /// With its standard error, if it fails.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Output {
        let (program, arguments) = words.split_first().expect("run needs a program");
        let output = self.command(program).args(arguments).output().expect("setpriv is installed");
        assert_succeeded(&output, &words.join(" "));
        output
    }

    /// Gives a text to a program's standard input, for `nft -f -` and the like; otherwise as [`Namespace::run`].
    ///
    /// # Panics
    /// With its standard error, if it fails.
    #[track_caller]
    pub fn run_with_input(&self, words: &[&str], input: &str) -> Output {
        let (program, arguments) = words.split_first().expect("run_with_input needs a program");
        let mut command = self.command(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("setpriv is installed");
        let mut stdin = child.stdin.take().expect("it was asked for above");
        let output = thread::scope(|scope| {
            // On a second thread, because a program that prints while it reads would block on a full pipe.
            // One that stops reading early shows why on standard error; the broken pipe adds nothing.
            scope.spawn(move || drop(stdin.write_all(input.as_bytes())));
            child.wait_with_output().expect("its own child can be waited for")
        });
        assert_succeeded(&output, &format!("{} <<'\n{input}'", words.join(" ")));
        output
    }

    /// Runs lines of the `ip` program in one go: `ns.ip("link add …\naddr add …")`.
    ///
    /// # Panics
    /// With its standard error, if a line fails.
    #[track_caller]
    pub fn ip(&self, lines: &str) {
        self.run_with_input(&["ip", "-batch", "-"], lines);
    }

    /// Runs the closure on a fresh thread inside and returns its value. Sockets that it opens stay inside for
    /// ever, and may be used from any thread afterwards. (/sys shows the host's network all the same.)
    ///
    /// # Panics
    /// If the closure does.
    pub fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        let work = || {
            setns(&self.net, CloneFlags::CLONE_NEWNET).expect("whoever made the namespace may enter it");
            if let Some(mounts) = &self.mounts {
                // A thread shares its root and working directory with the others until it says otherwise.
                unshare(CloneFlags::CLONE_FS).expect("needs no rights");
                setns(mounts, CloneFlags::CLONE_NEWNS).expect("whoever made the namespace may enter it");
            }
            inside()
        };
        let name = thread::current().name().unwrap_or("testbed").to_owned();
        thread::scope(|scope| {
            let started =
                thread::Builder::new().name(name).spawn_scoped(scope, work).expect("a thread can start");
            started.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Sets a kernel parameter of the network inside, as `net.ipv4.ip_forward`.
    ///
    /// # Panics
    /// If there is none of that name, or the kernel refuses the value.
    #[track_caller]
    pub fn sysctl(&self, name: &str, value: &str) {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.enter(|| fs::write(&path, value)).unwrap_or_else(|error| panic!("{path} = {value}: {error}"));
    }

    /// Joins this namespace and another by a veth pair, both ends up and named as given.
    ///
    /// # Panics
    /// If a name is taken in its namespace.
    #[track_caller]
    pub fn join(&self, name: &str, other: &Namespace, other_name: &str) {
        let there = other.path();
        self.ip(&format!(
            "link add {name} type veth peer name {other_name} netns {there}\nlink set {name} up\n"
        ));
        other.ip(&format!("link set {other_name} up\n"));
    }

    /// Adds an address with a prefix, as `10.77.0.9/24`, to an interface; it may be used at once.
    ///
    /// # Panics
    /// If the interface is missing or has it already.
    #[track_caller]
    pub fn add_address(&self, interface: &str, address: &str) {
        self.ip(&format!("addr add {address} dev {interface} nodad\n"));
    }

    /// Whether an address is one of this namespace's own and usable (not tentative).
    pub fn owns(&self, address: IpAddr) -> bool {
        self.enter(|| std::net::UdpSocket::bind((address, 0)).is_ok())
    }

    /// Switches all offloads of an interface. Needs `ethtool`: ask [`crate::has`] first.
    ///
    /// # Panics
    /// If `ethtool` is missing or fails.
    #[track_caller]
    pub fn switch_offloads(&self, interface: &str, offloads: Offloads) {
        let state = if offloads == Offloads::On { "on" } else { "off" };
        self.run(&["ethtool", "-K", interface, "tx", state, "rx", state]);
        self.run(&["ethtool", "-K", interface, "tso", state, "gso", state, "gro", state]);
    }

    /// Starts a program inside and keeps it; short for [`Running::spawn`] of [`Namespace::command`].
    ///
    /// # Panics
    /// If it can't be started.
    #[track_caller]
    pub fn start(&self, words: &[&str]) -> Running {
        let (program, arguments) = words.split_first().expect("start needs a program");
        Running::spawn(self.command(program).args(arguments))
    }

    /// The path by which other processes of this user find the network namespace while this value lives.
    pub fn path(&self) -> String {
        path_of(&self.net)
    }
}

fn path_of(namespace: &File) -> String {
    format!("/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd())
}

#[track_caller]
fn assert_succeeded(output: &Output, what: &str) {
    assert!(
        output.status.success(),
        "{what}\n{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
