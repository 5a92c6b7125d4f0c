use proptest::prelude::*;
use testbed::{Namespace, has};

use super::*;

/// The double line of PortSentry's example file, with a log.
const DOUBLE: &str = "/sbin/iptables -I INPUT -s $TARGET$ -j DROP && /sbin/iptables -I INPUT -s $TARGET$ -m limit \
                      --limit 3/minute --limit-burst 5 -j LOG --log-level debug --log-prefix 'Portsentry: dropping: '";

/// Commands and what undoes them.
const UNDONE: [(&str, &str); 34] = [
    ("/sbin/iptables -I INPUT -s 10.0.0.1 -j DROP", "/sbin/iptables -D INPUT -s 10.0.0.1 -j DROP"),
    (
        "/usr/local/bin/iptables -I INPUT -s 10.0.0.1 -j DROP",
        "/usr/local/bin/iptables -D INPUT -s 10.0.0.1 -j DROP",
    ),
    ("iptables -w -I INPUT 1 -s 10.0.0.1/32 -j DROP", "iptables -w -D INPUT -s 10.0.0.1/32 -j DROP"),
    (
        "iptables -w 5 -t raw -A PREROUTING -s 10.0.0.1 -j DROP",
        "iptables -w 5 -t raw -D PREROUTING -s 10.0.0.1 -j DROP",
    ),
    ("iptables -s 10.0.0.1 -j DROP --insert INPUT 3", "iptables -s 10.0.0.1 -j DROP -D INPUT"),
    (
        "ip6tables --append INPUT --source fd77::1 --jump DROP",
        "ip6tables -D INPUT --source fd77::1 --jump DROP",
    ),
    (
        "iptables -I INPUT ! -i lo -s 10.0.0.1 -m comment --comment \"by it's rule\" -j DROP",
        "iptables -D INPUT ! -i lo -s 10.0.0.1 -m comment --comment 'by it'\"'\"'s rule' -j DROP",
    ),
    (
        "iptables -I INPUT -s 10.0.0.1 -j DROP; ip6tables -I INPUT -j ACCEPT;",
        "failed=0; ip6tables -D INPUT -j ACCEPT || failed=1; iptables -D INPUT -s 10.0.0.1 -j DROP || failed=1; exit $failed",
    ),
    ("/sbin/route add -host 10.0.0.1 reject", "/sbin/route del -host 10.0.0.1 reject"),
    ("route add -host 10.0.0.1 gw 10.0.0.9", "route del -host 10.0.0.1 gw 10.0.0.9"),
    (
        "route add -net 10.0.0.0 netmask 255.0.0.0 metric 1024 reject",
        "route del -net 10.0.0.0 netmask 255.0.0.0 metric 1024 reject",
    ),
    ("route add 10.0.0.1 reject", "route del 10.0.0.1 reject"),
    ("route -A inet6 add fd77::1/128 reject", "route -A inet6 del fd77::1/128 reject"),
    ("ip route add blackhole 10.0.0.1", "ip route del blackhole 10.0.0.1"),
    ("/sbin/ip route add prohibit 10.0.0.1/32", "/sbin/ip route del prohibit 10.0.0.1/32"),
    ("ip -6 r add unreachable fd77::1", "ip -6 r del unreachable fd77::1"),
    ("ip -f inet ro add 10.0.0.1 via 10.0.0.9 dev eth0", "ip -f inet ro del 10.0.0.1 via 10.0.0.9 dev eth0"),
    ("ip rule add from 10.0.0.1 blackhole", "ip rule del from 10.0.0.1 blackhole"),
    ("ipset add blocked 10.0.0.1", "ipset del blocked 10.0.0.1"),
    ("ipset -exist add blocked 10.0.0.1 timeout 600 comment 'a scan'", "ipset del blocked 10.0.0.1 -exist"),
    ("ipset -A blocked 10.0.0.1", "ipset del blocked 10.0.0.1"),
    (
        "nft add element inet filter blocked { 10.0.0.1 }",
        "nft delete element inet filter blocked { 10.0.0.1 }",
    ),
    (
        "nft add element filter blocked '{ 10.0.0.1 timeout 1d }'",
        "nft delete element filter blocked { 10.0.0.1 }",
    ),
    (
        "nft 'add element inet f s { 10.0.0.1, fd77::/64 }'",
        "nft delete element inet f s '{ 10.0.0.1, fd77::/64 }'",
    ),
    ("ufw insert 1 deny from 10.0.0.1", "ufw delete deny from 10.0.0.1"),
    ("ufw prepend deny from fd77::1 to any comment 'a scan'", "ufw delete deny from fd77::1 to any"),
    ("ufw route insert 2 reject from 10.0.0.1", "ufw route delete reject from 10.0.0.1"),
    ("ufw deny from 10.0.0.1 to any", "ufw delete deny from 10.0.0.1 to any"),
    (
        "firewall-cmd --add-rich-rule='rule family=\"ipv4\" source address=\"10.0.0.1\" drop'",
        "firewall-cmd '--remove-rich-rule=rule family=\"ipv4\" source address=\"10.0.0.1\" drop'",
    ),
    (
        "firewall-cmd --zone=public --timeout 600 --add-rich-rule 'rule x'",
        "firewall-cmd --zone=public '--remove-rich-rule=rule x'",
    ),
    (
        "firewall-cmd --permanent --zone drop --add-source=10.0.0.1",
        "firewall-cmd --permanent --zone=drop --remove-source=10.0.0.1",
    ),
    (
        "firewall-cmd --ipset=blocked --add-entry=10.0.0.1",
        "firewall-cmd --ipset=blocked --remove-entry=10.0.0.1",
    ),
    ("'/sbin/iptables' -I 'INPUT' -s \"10.0.0.1\" -j DROP", "/sbin/iptables -D INPUT -s 10.0.0.1 -j DROP"),
    (
        "iptables\t-I  INPUT -s 10.0.0.1 -m comment --comment '' -j DROP",
        "iptables -D INPUT -s 10.0.0.1 -m comment --comment '' -j DROP",
    ),
];

/// Commands that nobody but their author can undo.
const NOT_UNDONE: [&str; 52] = [
    "",
    ";",
    "&& iptables -I INPUT -j DROP",
    "iptables -I INPUT -j DROP &&",
    "iptables -I INPUT -j DROP;;",
    "/sbin/ipfwadm -I -i deny -S 10.0.0.1 -o",
    "/sbin/ipchains -I input -s 10.0.0.1 -j DENY -l",
    "ipfw add 1 deny all from 10.0.0.1:255.255.255.255 to any",
    "/bin/echo 'block in log on external_interface from 10.0.0.1/32 to any' | /sbin/ipf -f -",
    "/bin/echo 'block drop in log on external_interface from 10.0.0.1/32 to any' | /sbin/pfctl -f -",
    "nftables add rule ip filter input ip saddr 10.0.0.1 drop",
    "nft add rule ip filter input ip saddr 10.0.0.1 drop",
    "nft add element inet f s { 10.0.0.1 . 80 }",
    "nft add element inet f s { 10.0.0.1 }; nft list ruleset",
    "nft 'add element inet f s { 10.0.0.1 }; flush ruleset'",
    "nft -f /etc/x { 10.0.0.1 }",
    "/sbin/route add 10.0.0.1 333.444.555.666",
    "/usr/sbin/route -n add -host 10.0.0.1 127.0.0.1 -blackhole",
    "/usr/sbin/route add -host 10.0.0.1 127.0.0.1 1",
    "/sbin/route add –host 10.0.0.1 reject",
    "route add",
    "route del -host 10.0.0.1 reject",
    "ip route replace blackhole 10.0.0.1",
    "ip route add",
    "ip netns exec x ip route add blackhole 10.0.0.1",
    "ip addr add 10.0.0.1 dev lo",
    "iptables -F",
    "iptables -P INPUT DROP",
    "iptables -D INPUT -s 10.0.0.1 -j DROP",
    "iptables -IINPUT -s 10.0.0.1 -j DROP",
    "iptables -I INPUT -A INPUT -s 10.0.0.1 -j DROP",
    "iptables -I INPUT --flush",
    "iptables -I INPUT --flu",
    "iptables -I",
    "iptables -I INPUT -c 1 2 -s 10.0.0.1",
    "ipset create x hash:ip",
    "ipset add x",
    "ipset add x 10.0.0.1 surprising",
    "ufw enable",
    "ufw delete deny from 10.0.0.1",
    "ufw --dry-run deny from 10.0.0.1",
    "firewall-cmd --reload",
    "firewall-cmd --add-service=ssh",
    "iptables -I INPUT -s 10.0.0.1 -j DROP | cat",
    "iptables -I INPUT -s 10.0.0.1 -j DROP > /dev/null",
    "iptables -I INPUT -s 10.0.0.1 -j DROP || logger no",
    "iptables -I INPUT -s 10.0.0.1 -j DROP &",
    "iptables -I INPUT -s $(cat x) -j DROP",
    "X=1 iptables -I INPUT -s 10.0.0.1 -j DROP",
    "(iptables -I INPUT -s 10.0.0.1 -j DROP)",
    "iptables -I INPUT -s 10.0.0.1 -j DROP && /usr/local/bin/tell 10.0.0.1",
    "iptables -I INPUT -m comment --comment 'unclosed",
];

#[test]
fn well_known_commands_have_an_inverse() {
    for (command, expected) in UNDONE {
        assert_eq!(inverse(command).as_deref(), Some(expected), "{command}");
    }
    assert_eq!(
        inverse(&DOUBLE.replace("$TARGET$", "10.0.0.1")).unwrap(),
        "failed=0; /sbin/iptables -D INPUT -s 10.0.0.1 -m limit --limit 3/minute --limit-burst 5 -j LOG --log-level \
         debug --log-prefix 'Portsentry: dropping: ' || failed=1; /sbin/iptables -D INPUT -s 10.0.0.1 -j DROP || \
         failed=1; exit $failed"
    );
}

#[test]
fn what_is_not_certain_has_none() {
    for command in NOT_UNDONE {
        assert_eq!(inverse(command), None, "{command}");
    }
}

#[test]
fn templates_are_known_for_what_they_do() {
    // Template; is a well-known block, drops incoming packets, is for IPv4 only.
    for (template, is_known, drops, is_four) in [
        ("/sbin/iptables -I INPUT -s $TARGET$ -j DROP", true, true, true),
        ("/usr/local/sbin/iptables -I INPUT -s $TARGET$/32 -j DROP", true, true, true),
        ("iptables -w -t raw -I PREROUTING 1 --source $TARGET$ -j DROP", true, true, true),
        ("iptables -A INPUT -s $TARGET$ -j REJECT --reject-with icmp-port-unreachable", true, true, true),
        ("ip6tables -I INPUT -s $TARGET$ -j DROP", true, true, false),
        ("iptables -I INPUT -s $TARGET$ -j DROP; ip6tables -I INPUT -s $TARGET$ -j DROP", true, true, false),
        (DOUBLE, true, true, true),
        ("/sbin/route add -host $TARGET$ reject", true, false, true),
        ("route -A inet6 add $TARGET$ reject", true, false, false),
        ("ip route add blackhole $TARGET$", true, false, false),
        ("ip -4 route add prohibit $TARGET$/32", true, false, true),
        ("nft add rule ip filter input ip saddr $TARGET$ drop", true, true, true),
        ("nftables add rule ip filter input ip saddr $TARGET$ drop", true, true, true),
        ("nft insert rule inet filter input ip6 saddr $TARGET$ counter drop", true, true, false),
        ("nft 'add rule filter INPUT ip saddr $TARGET$ drop'", true, true, true),
        // Blocks with a memory of their own.
        ("ufw insert 1 deny from $TARGET$ to any", false, true, false),
        (
            "firewall-cmd --add-rich-rule='rule family=\"ipv4\" source address=\"$TARGET$\" drop'",
            false,
            true,
            true,
        ),
        // They do something else, or something more, or less.
        ("ipset add blocked $TARGET$", false, false, false),
        ("nft add element inet f s { $TARGET$ }", false, false, false),
        ("nft add rule inet filter forward ip saddr $TARGET$ drop", false, false, true),
        ("route add -host $TARGET$ gw 10.0.0.9", false, false, true),
        ("/sbin/route add $TARGET$ 333.444.555.666", false, false, true),
        ("/sbin/ipchains -I input -s $TARGET$ -j DENY -l", false, false, true),
        ("/sbin/ipfwadm -I -i deny -S $TARGET$ -o", false, false, true),
        ("iptables -I INPUT ! -s $TARGET$ -j DROP", false, false, true),
        ("iptables -I INPUT -s $TARGET$ -j ACCEPT", false, false, true),
        ("iptables -I INPUT -s $TARGET$ -p tcp --dport $PORT$ -j DROP", false, false, true),
        ("iptables -I INPUT -s $TARGET$ -p tcp -j DROP", false, false, true),
        ("iptables -I INPUT -s $TARGET$/24 -j DROP", false, false, true),
        ("iptables -I INPUT -i eth0 -s $TARGET$ -j DROP", false, false, true),
        ("iptables -I FORWARD -s $TARGET$ -j DROP", false, false, true),
        ("iptables -I INPUT -s $TARGET$ -m limit --limit 1/s -j DROP", false, false, true),
        ("iptables -I INPUT -s $TARGET$ -j LOG", false, false, true),
        ("iptables -I INPUT -s 10.0.0.1 -j DROP", false, false, true),
        ("iptables -I INPUT -s $TARGET$ -j DROP && logger $TARGET$", false, true, true),
        ("iptables -I INPUT -s $TARGET$ -j DROP || logger $TARGET$", false, false, false),
        ("/usr/local/bin/block $TARGET$ $PORT$ $MODE$", false, false, false),
        ("/bin/echo 'block in log from $TARGET$/32 to any' | /sbin/ipf -f -", false, false, false),
        ("", false, false, false),
    ] {
        assert_eq!(
            (is_well_known_block(template), drops_incoming(template), is_ipv4_only(template)),
            (is_known, drops, is_four),
            "{template}"
        );
    }
}

/// The state that a command and its inverse must leave as it was.
fn state(namespace: &Namespace) -> String {
    let mut state = String::new();
    for words in [
        &["nft", "--handle", "list", "ruleset"][..],
        &["iptables-save"],
        &["ip6tables-save"],
        &["ip", "route", "show", "table", "all"],
        &["ip", "-6", "route", "show", "table", "all"],
        &["ip", "rule"],
    ] {
        let printed = String::from_utf8(namespace.run(words).stdout).unwrap();
        // Dates, counters and the numbers of rules change with every look or making; the kernel's own routes come as
        // the interface comes up.
        for line in printed.lines().filter(|line| !line.starts_with('#') && !line.contains(" proto kernel "))
        {
            let line = line.split(" # handle").next().unwrap();
            let line = if line.starts_with(':') { line.split(" [").next().unwrap() } else { line };
            state.push_str(line);
            state.push('\n');
        }
    }
    state
}

#[test]
fn the_kernel_agrees_that_an_inverse_undoes() {
    if !has(&["iptables", "ip6tables", "nft"]) {
        return;
    }
    let (Some(namespace), Some(other)) = (Namespace::new(), Namespace::new()) else { return };
    namespace.join("d0", &other, "d0");
    namespace.ip("addr add 10.0.0.5/24 dev d0\naddr add fd77::5/64 dev d0 nodad\n");
    // Tables and chains that stay, and neighbours that must not be touched.
    namespace.run(&["nft", "add table inet f; add set inet f s { type ipv4_addr; flags timeout; }"]);
    for words in [
        "iptables -I INPUT -s 10.0.0.2 -j DROP",
        "ip6tables -I INPUT -s fd77::2 -j DROP",
        "iptables -t raw -A PREROUTING -s 10.0.0.2 -j DROP",
    ] {
        namespace.run(&["sh", "-c", words]);
    }
    let mut commands = vec![
        "iptables -I INPUT -s 10.0.0.1 -j DROP".to_owned(),
        "iptables -w 5 -I INPUT 2 -s 10.0.0.1 -m comment --comment \"it's a scan\" -j DROP".to_owned(),
        "iptables -t raw -A PREROUTING ! -i lo -s 10.0.0.1 -j DROP".to_owned(),
        "ip6tables --insert INPUT 1 --source fd77::1 --jump DROP".to_owned(),
        DOUBLE.replace("$TARGET$", "10.0.0.1").replace("/sbin/", ""),
        "iptables -I INPUT -s 10.0.0.1 -j DROP; ip route add blackhole 10.0.0.1".to_owned(),
        "ip route add blackhole 10.0.0.1".to_owned(),
        "ip route add prohibit 10.0.0.1/32".to_owned(),
        "ip -6 route add unreachable fd77::1".to_owned(),
        "ip route add 10.9.0.0/16 via 10.0.0.9 dev d0".to_owned(),
        "ip rule add from 10.0.0.1 blackhole".to_owned(),
        "nft add element inet f s { 10.0.0.1 }".to_owned(),
        "nft add element inet f s '{ 10.0.0.1 timeout 1d, 10.0.0.3 }'".to_owned(),
    ];
    if has(&["route"]) {
        commands.extend(
            [
                "route add -host 10.0.0.1 reject",
                "route add 10.0.0.1 reject",
                "route add -host 10.0.0.1 gw 10.0.0.9",
                "route add -net 10.9.0.0 netmask 255.255.0.0 metric 1024 reject",
                "route -A inet6 add fd77::1/128 dev lo",
            ]
            .map(str::to_owned),
        );
    }
    let before = state(&namespace);
    for command in commands {
        namespace.run(&["sh", "-c", &command]);
        assert_ne!(state(&namespace), before, "{command}: changes nothing");
        let inverse = inverse(&command).unwrap_or_else(|| panic!("{command}: no inverse"));
        namespace.run(&["sh", "-c", &inverse]);
        assert_eq!(state(&namespace), before, "{command}\n{inverse}");
    }
}

#[test]
fn a_part_that_is_gone_already_keeps_no_other_from_being_undone() {
    if !has(&["iptables"]) {
        return;
    }
    let Some(namespace) = Namespace::new() else { return };
    let command = DOUBLE.replace("$TARGET$", "10.0.0.1").replace("/sbin/", "");
    namespace.run(&["sh", "-c", &command]);
    namespace.run(&["sh", "-c", "iptables -D INPUT 1"]);
    let inverse = inverse(&command).unwrap();
    let output = namespace.command("sh").args(["-c", &inverse]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let left = String::from_utf8(namespace.run(&["iptables", "-S", "INPUT"]).stdout).unwrap();
    assert_eq!(left, "-P INPUT ACCEPT\n");
}

#[test]
fn an_entry_of_an_ipset_is_taken_out() {
    if !has(&["ipset"]) {
        return;
    }
    let Some(namespace) = Namespace::new() else { return };
    let made = namespace
        .command("ipset")
        .args(["create", "s", "hash:ip", "timeout", "0", "comment"])
        .output()
        .unwrap();
    if !made.status.success() {
        // The kernel has no ipset; the table of forms above is all that can be shown.
        return;
    }
    let command = "ipset add s 10.0.0.1 timeout 600 comment 'a scan'";
    namespace.run(&["sh", "-c", command]);
    namespace.run(&["ipset", "test", "s", "10.0.0.1"]);
    namespace.run(&["sh", "-c", &inverse(command).unwrap()]);
    assert!(!namespace.command("ipset").args(["test", "s", "10.0.0.1"]).output().unwrap().status.success());
}

proptest! {
    #[test]
    fn no_line_makes_it_panic(line in "\\PC{0,40}|(iptables|ip|route|nft|ipset|ufw|firewall-cmd)( [a-zA-Z0-9./:{}!'\"$;&|-]{0,12}){0,8}") {
        let is_special = line.contains(['|', '`', '\\', '<', '>', '\n']);
        // In single quotes they are plain text.
        prop_assume!(!line.contains('\''));
        prop_assert!(!(is_special && inverse(&line).is_some()), "{}", line);
        prop_assert!(!(is_special && (is_well_known_block(&line) || drops_incoming(&line) || is_ipv4_only(&line))));
    }

    #[test]
    fn a_letter_that_a_shell_minds_leaves_no_inverse(
        index in 0..UNDONE.len(), place in any::<prop::sample::Index>(), letter in "[|<>$`\\\\()*?~#&\n\\[\\]–^]",
    ) {
        let command = UNDONE[index].0;
        // Inside of quotes most of them are plain text.
        prop_assume!(!command.contains(['\'', '"']));
        let place = place.index(command.len());
        let broken = format!("{}{letter}{}", &command[..place], &command[place..]);
        prop_assert_eq!(inverse(&broken), None, "{}", broken);
    }

    #[test]
    fn words_survive_being_written_and_read(words in proptest::collection::vec("[ -~]{0,8}", 1..6)) {
        let line = words::line(&words);
        match words::commands(&line) {
            Some(read) => prop_assert_eq!(read, vec![words]),
            // A command can't begin with a word that only later means itself.
            None => prop_assert!(matches!(words[0].as_str(), "{" | "}" | "!"), "{}", line),
        }
    }
}
