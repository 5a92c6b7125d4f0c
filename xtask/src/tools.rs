//! The plain tools that tests and the demonstration use, and how they get onto the machine.

use std::process::{Command, Stdio};

use crate::{privilege, program};

/// A program, and the package that has it in Debian, Fedora, Arch and openSUSE.
struct Tool {
    program: &'static str,
    packages: [&'static str; 4],
}

const fn tool(program: &'static str, packages: [&'static str; 4]) -> Tool {
    Tool { program, packages }
}

/// None of these packages starts a service when it is installed: Debian's `iperf3` and `nftables` bring a unit,
/// which stays disabled.
const TOOLS: [Tool; 16] = [
    tool("ip", ["iproute2", "iproute", "iproute2", "iproute2"]),
    tool("nsenter", ["util-linux", "util-linux-core", "util-linux", "util-linux"]),
    tool("setpriv", ["util-linux", "util-linux", "util-linux", "util-linux"]),
    tool("ethtool", ["ethtool", "ethtool", "ethtool", "ethtool"]),
    tool("nft", ["nftables", "nftables", "nftables", "nftables"]),
    tool("iptables", ["iptables", "iptables-nft", "iptables-nft", "iptables"]),
    tool("conntrack", ["conntrack", "conntrack-tools", "conntrack-tools", "conntrack-tools"]),
    tool("tcpdump", ["tcpdump", "tcpdump", "tcpdump", "tcpdump"]),
    tool("nmap", ["nmap", "nmap", "nmap", "nmap"]),
    tool("hping3", ["hping3", "hping3", "hping", "hping"]),
    tool("masscan", ["masscan", "masscan", "masscan", "masscan"]),
    // Only to undo what old commands did: the PortSentry examples use `route`.
    tool("route", ["net-tools", "net-tools", "net-tools", "net-tools-deprecated"]),
    tool("ipset", ["ipset", "ipset", "ipset", "ipset"]),
    // How TCP wrappers read hosts.deny. Fedora and Arch have given them up; there it must be built.
    tool("tcpdmatch", ["tcpd", "tcp_wrappers", "tcp_wrappers", "tcpd"]),
    tool("shellcheck", ["shellcheck", "ShellCheck", "shellcheck", "ShellCheck"]),
    tool("iperf3", ["iperf3", "iperf3", "iperf3", "iperf"]),
];

/// Packages whose programs ours is compared with, and those that read what we write or ban through us. The latter
/// would bring a service, a mail server and a cron job with them if they were installed.
const ANCESTORS: [&str; 15] = [
    "portsentry",
    "knockd",
    // What its knockd sees packets by.
    "libpcap0.8",
    "fwknop-server",
    "fwknop-client",
    "libfko3",
    "libgpgme11",
    "libassuan0",
    "fail2ban",
    "logcheck",
    "logtail",
    "lockfile-progs",
    "liblockfile1",
    "logrotate",
    "libpopt0",
];

/// Programs that install packages, in the order of `Tool::packages`.
const INSTALLERS: [(&str, &str); 4] = [
    ("apt-get", "apt-get install"),
    ("dnf", "dnf install"),
    ("pacman", "pacman -S"),
    ("zypper", "zypper install"),
];

/// The programs that the tests use.
pub fn all() -> Vec<&'static str> {
    TOOLS.iter().map(|tool| tool.program).collect()
}

/// Sees to it that these tools are there: says which are needed, and installs the missing ones where that is
/// apt-get's business.
///
/// # Errors
/// If some are missing and can't be installed, with the command that would do it.
pub fn install_missing(needed: &[&str]) -> Result<(), String> {
    println!("xtask: needs these plain tools: {}", needed.join(", "));
    let missing: Vec<&Tool> = TOOLS
        .iter()
        .filter(|tool| needed.contains(&tool.program) && !testbed::is_installed(tool.program))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let Some(which) = INSTALLERS.iter().position(|(installer, _)| testbed::is_installed(installer)) else {
        let names: Vec<_> = missing.iter().map(|tool| tool.program).collect();
        return Err(format!("not installed: {}; install them and try again", names.join(", ")));
    };
    let mut packages: Vec<_> = missing.iter().map(|tool| tool.packages[which]).collect();
    packages.sort_unstable();
    packages.dedup();
    if INSTALLERS[which].0 != "apt-get" {
        return Err(format!(
            "tools are missing; install them with: {} {}",
            INSTALLERS[which].1,
            packages.join(" ")
        ));
    }
    println!("xtask: installing {} with apt-get (no service is started)", packages.join(", "));
    apt_get(&["--quiet", "--quiet", "update"])?;
    let mut install = vec!["--quiet", "--quiet", "--yes", "--no-install-recommends", "install"];
    install.extend(&packages);
    apt_get(&install)?;
    match missing.iter().find(|tool| !testbed::is_installed(tool.program)) {
        None => Ok(()),
        Some(tool) => Err(format!("{} is missing still, although its package is installed", tool.program)),
    }
}

/// Unpacks the programs that ours is compared with, below `target/`, before anything runs as root.
///
/// # Errors
/// If apt-get is there and can't download one of them, also with fresh package lists.
pub fn unpack_ancestors() -> Result<(), String> {
    if !testbed::is_installed("apt-get") {
        println!(
            "xtask: no apt-get here, so nothing is compared with Debian's portsentry, nor tried with its neighbours"
        );
        return Ok(());
    }
    for package in ANCESTORS {
        if testbed::unpack(package).is_err() {
            println!("xtask: asking apt-get for fresh package lists, to find {package}");
            apt_get(&["--quiet", "--quiet", "update"])?;
            testbed::unpack(package)?;
        }
        println!("xtask: {package} lies unpacked in target/ancestors; it is not installed");
    }
    Ok(())
}

fn apt_get(arguments: &[&str]) -> Result<(), String> {
    let mut command: Command = privilege::as_root("env", "installing packages needs root")?;
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]).args(arguments);
    // What it unpacks is said already; what goes wrong comes on standard error.
    program::succeed(command.stdout(Stdio::null()))
}
