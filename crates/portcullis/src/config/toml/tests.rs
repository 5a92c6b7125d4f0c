use std::fs;
use std::time::Duration;

use proptest::prelude::*;

use super::super::write::{sample, write};
use super::super::{Care, EngineChoice, Mode, Trigger};
use super::*;

fn read(text: &str) -> Result<Config, Faults> {
    parse(Path::new("p.toml"), text)
}

/// All faults of `text` as one text; a reading without fault fails the test.
fn faults(text: &str) -> String {
    read(text).expect_err("this text has a fault").to_string()
}

#[test]
fn nothing_written_means_the_documented_defaults() {
    assert_eq!(read("").unwrap(), Config::default());
    assert_eq!(load(&[]).unwrap(), Config::default());
    for section in SECTIONS {
        for key in section.keys {
            assert_eq!(key.written(&Config::default()), key.default, "[{}] {}", section.name, key.name);
        }
    }
}

#[test]
fn every_key_is_read_into_its_place() {
    let config = read(
        r#"
        [watch]
        interfaces = ["eth0", "wg0"]
        tcp = "1-1023, !113"
        udp = "none"
        engine = "ring"
        ring_mib = 64
        [judge]
        trigger = 7
        count = "probes"
        window = "1h30m"
        sources = 2048
        by = "trigger"
        [respond]
        mode = "enforce"
        ban = "ever"
        growth = 1.5
        ban_max = "1d"
        memory = "2w"
        keep_on_stop = false
        [protect]
        allow = ["192.0.2.7", "home.example.org", "2001:db8::/32"]
        interfaces = ["tailscale0"]
        gateways = false
        resolvers = false
        time_servers = false
        logged_in = false
        containers = false
        [record]
        state = "/srv/p"
        [control]
        socket = "/run/p.sock"
        group = "wheel"
        operators = ["anna", "1000"]
        "#,
    )
    .unwrap();
    assert_eq!(config.watch.interfaces, ["eth0", "wg0"]);
    assert_eq!(config.watch.tcp.to_string(), "1-112, 114-1023");
    assert!(config.watch.udp.is_empty());
    assert_eq!((config.watch.engine, config.watch.ring_mib), (EngineChoice::Ring, 64));
    assert_eq!(config.judge.trigger, Trigger::Probes(7));
    assert_eq!((config.judge.window, config.judge.sources), (Duration::from_secs(5400), 2048));
    assert_eq!((config.respond.mode, config.respond.ban), (Mode::Enforce, None));
    assert_eq!((config.respond.growth, config.respond.keep_on_stop), (1.5, false));
    assert_eq!(config.respond.ban_max, Duration::from_secs(86_400));
    assert_eq!(config.respond.memory, Duration::from_secs(14 * 86_400));
    assert_eq!(config.protect.allow, ["192.0.2.7/32".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
    assert_eq!(config.protect.names, ["home.example.org"]);
    assert_eq!(config.protect.interfaces, ["tailscale0"]);
    assert!(!config.protect.gateways && !config.protect.resolvers && !config.protect.time_servers);
    assert!(!config.protect.logged_in && !config.protect.containers);
    assert_eq!(config.record.state, Path::new("/srv/p"));
    assert_eq!(config.control.socket, Path::new("/run/p.sock"));
    assert_eq!((config.control.group.as_str(), config.control.operators.len()), ("wheel", 2));
    assert_eq!(read(&write(&config)).unwrap(), config);
}

#[test]
fn the_sample_means_the_defaults_also_with_every_key_uncommented() {
    let sample = sample();
    assert_eq!(read(&sample).unwrap(), Config::default());
    let mut uncommented = String::new();
    let mut keys = 0;
    let (sections, doors) = sample.split_once("#[door.NAME]").unwrap();
    for line in sections.lines() {
        match line.strip_prefix('#').filter(|key| key.starts_with(|c: char| c.is_ascii_lowercase())) {
            Some(key) => {
                keys += 1;
                uncommented += key;
            }
            None => uncommented += line,
        }
        uncommented.push('\n');
        assert!(line.chars().count() <= 110, "too long for a terminal: {line}");
    }
    assert_eq!(keys, SECTIONS.iter().map(|section| section.keys.len()).sum::<usize>());
    assert!(doors.lines().all(|line| line.chars().count() <= 110), "too long for a terminal: {doors}");
    assert_eq!(read(&uncommented).unwrap(), Config::default());
}

#[test]
fn the_packaged_sample_is_the_generated_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/portcullis.toml");
    if std::env::var_os("PORTCULLIS_WRITE_SAMPLE").is_some() {
        fs::write(&path, sample()).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        sample(),
        "run this test once with PORTCULLIS_WRITE_SAMPLE=1 and commit {}",
        path.display()
    );
}

#[test]
fn more_networks_to_protect_than_the_filter_takes_are_a_fault() {
    let text = |count: usize| {
        let networks: Vec<String> = (0..count).map(|number| format!("\"192.0.{number}.0/24\"")).collect();
        format!("[watch]\nprotect = [{}]\n", networks.join(", "))
    };
    assert_eq!(read(&text(16)).unwrap().watch.protect.len(), 16);
    let said = read(&text(17)).unwrap_err().to_string();
    assert!(said.contains("[watch] protect names 17 networks") && said.contains("name at most 16"), "{said}");
}

#[test]
fn ten_faults_are_told_in_one_go_in_the_order_of_the_file() {
    let text = r#"[watch]
interface = ["eth0"]
tcp = "1-1023, 70000"
ring_mib = 5000
[jugde]
trigger = 3
[judge]
window = 60
count = "hosts"
[respond]
mode = observe
ban = "10min"
growth = "2"
[protect]
allow = ["192.168.1.1/24", "fe80::1"]
gateways = "yes"
"#;
    let expected = r#"p.toml:2:1: [watch] has no key "interface"
  2 | interface = ["eth0"]
    | ^^^^^^^^^
  did you mean "interfaces"?

p.toml:3:16: [watch] tcp: "70000" is no port
  3 | tcp = "1-1023, 70000"
    |                ^^^^^
  write tcp = …, ports, ranges and exceptions, such as "1-1023, !113, !139"; or "all", "none"

p.toml:4:12: [watch] ring_mib: 5000 is out of bounds
  4 | ring_mib = 5000
    |            ^^^^
  write ring_mib = …, a whole number of MiB from 1 to 1024

p.toml:5:2: there is no section or key "jugde"
  5 | [jugde]
    |  ^^^^^
  did you mean [judge]?

p.toml:8:10: [judge] window: 60 has no unit
  8 | window = 60
    |          ^^
  write window = "60s" for seconds, or "60m" for minutes

p.toml:9:9: [judge] count: "hosts" is not one of its values
  9 | count = "hosts"
    |         ^^^^^^^
  the values are "ports" (distinct ports of one source; knocking on one port again adds nothing), "probes" (every probe of one source, as PortSentry counts)

p.toml:11:8: string values must be quoted, expected literal string
  11 | mode = observe
     |        ^^^^^^^
  put text between double quotes: "observe"

p.toml:12:7: [respond] ban: there is no unit "min" (there are ms, s, m, h, d, w)
  12 | ban = "10min"
     |       ^^^^^^^
  write the unit short, such as "10m"

p.toml:13:10: [respond] growth: a text cannot stand here
  13 | growth = "2"
     |          ^^^
  write growth = …, a number from 1 to 100

p.toml:15:10: [protect] allow: "192.168.1.1/24" has bits set behind its length
  15 | allow = ["192.168.1.1/24", "fe80::1"]
     |          ^^^^^^^^^^^^^^^^
  write "192.168.1.0/24" for the network, or the address without its length

p.toml:16:12: [protect] gateways: a text cannot stand here
  16 | gateways = "yes"
     |            ^^^^^
  write gateways = true, without quotes

11 faults"#;
    assert_eq!(faults(text), expected);
}

#[test]
fn each_fault_names_its_place_and_its_mend() {
    for (text, place, said, mend) in [
        // Section and key.
        ("tcp = \"22\"", "1:1", "stands outside its section", "below [watch]"),
        ("[dore.ssh]\nkind = \"spa\"", "1:2", "no section or key \"dore\"", "[door.NAME]"),
        ("[watch]\nmode = \"observe\"", "2:1", "no key \"mode\"", "belongs below [respond]"),
        ("[watch]\nwheather = 1", "2:1", "no key \"wheather\"", "has the keys interfaces, protect, tcp"),
        ("[watch]\nkeep_on_stp = true", "2:1", "no key", "\"keep_on_stop\" below [respond]"),
        ("watch = 3", "1:1", "is a section", "write [watch]"),
        ("[[watch]]\ntcp = \"22\"", "1:3", "is a section", "write [watch]"),
        // Types.
        ("[watch]\ntcp = 22", "2:7", "a number cannot stand here", "tcp = \"22\""),
        ("[watch]\ntcp = [22, \"80-90\"]", "2:7", "a list", "tcp = \"22, 80-90\""),
        ("[watch]\nring_mib = \"16\"", "2:12", "a text", "ring_mib = 16, without"),
        ("[watch]\nring_mib = 1.5", "2:12", "a number", "whole number of MiB"),
        ("[protect]\nallow = \"10.0.0.0/8, ::1\"", "2:9", "a text", "allow = [\"10.0.0.0/8\", \"::1\"]"),
        ("[protect]\nallow = [7]", "2:10", "a number cannot", "list of addresses"),
        ("[record]\nstate = 1979-05-27", "2:9", "a date", "begins with /"),
        ("[watch.tcp]\nx = 1", "1:1", "a section cannot stand here", "ports, ranges"),
        // Values.
        ("[watch]\ntcp = \"90-80\"", "2:8", "runs backwards", "write 80-90"),
        ("[watch]\nengine = \"Ring\"", "2:10", "not one of its values", "did you mean \"ring\"?"),
        ("[judge]\nby = \"luck\"", "2:6", "not one of its values", "the values are \"evidence\""),
        ("[judge]\ntrigger = 4", "2:11", "means nothing to the judge \"evidence\"", "by = \"trigger\""),
        (
            "[judge]\nby = \"trigger\"\ncare = \"strict\"",
            "3:8",
            "means nothing to the judge \"trigger\"",
            "out",
        ),
        ("[judge]\nscore = 101", "2:9", "101 is out of bounds", "from 0 to 100"),
        ("[judge]\npatient = \"31d\"", "2:11", "out of bounds", "from \"1h\" to \"30d\""),
        ("[judge]\ntrigger = 0", "2:11", "0 is out of bounds", "from 1 to 64"),
        ("[judge]\ntrigger = -99999999999999999999", "2:11", "out of bounds", "from 1 to 64"),
        ("[judge]\nwindow = \"60\"", "2:10", "60 has no unit", "\"60s\""),
        ("[judge]\nwindow = \"soon\"", "2:10", "not a span of time", "\"1h30m\""),
        ("[judge]\nwindow = \"25h\"", "2:10", "\"1d1h\" is out of bounds", "from \"1s\" to \"1d\""),
        ("[judge]\nwindow = \"ever\"", "2:10", "not a span of time", "\"90s\""),
        ("[respond]\ngrowth = nan", "2:10", "NaN is out of bounds", "from 1 to 100"),
        ("[respond]\nban = \"0s\"", "2:7", "out of bounds", "or \"ever\""),
        ("[respond]\nban = \"8d\"", "2:7", "longer than ban_max = \"7d\"", "ban_max = \"8d\""),
        ("[respond]\nban_max = \"1m\"", "2:11", "ban = \"10m\" is longer", "a shorter ban"),
        ("[respond]\nhold = \"3m\"", "2:8", "longer than hold_max = \"2m\"", "hold_max = \"3m\""),
        ("[respond]\nhold_max = \"1s\"", "2:12", "hold = \"1m\" is longer", "a shorter hold"),
        (
            "[protect]\nallow = [\n \"::1\",\n \"1.2.3\",\n]",
            "4:2",
            "no IPv4 or IPv6 address",
            "home.example.org",
        ),
        ("[protect]\nallow = [\"home example\"]", "2:10", "no IPv4 or IPv6 address", "home.example.org"),
        ("[protect]\nallow = [\"10.0.0.0/33\"]", "2:10", "length that does not fit", "0 to 32"),
        ("[watch]\ninterfaces = [\"eth 0\"]", "2:15", "cannot be the name of an interface", "ip link"),
        ("[control]\nsocket = \"ctl.sock\"", "2:10", "no absolute path", "begins with /"),
        ("[control]\ngroup = \"\"", "2:9", "cannot be the name", "/etc/group"),
        // Syntax.
        ("[watch]\nengine = “ring”", "2:10", "", "typographic quotes"),
        ("[watch]\ntcp =\n", "2:6", "", "write a value behind the ="),
        ("[respond]\nban = 10m", "2:7", "", "\"10m\""),
        ("[watch]\ntcp = \"22\"\ntcp = \"23\"", "3:1", "duplicate key", "keep one of them"),
        ("[watch]\ntcp = \"22", "2:10", "", "close the text"),
        ("[watch\ntcp = \"22\"", "1:7", "", "alone on its line"),
        ("[watch]\nhello\n", "2:6", "", "write key = value"),
    ] {
        let shown = faults(text);
        assert!(shown.starts_with(&format!("p.toml:{place}: ")), "{text}\n{shown}");
        assert!(shown.contains(said) && shown.contains(mend), "{text}\n{shown}");
        assert!(shown.ends_with("\n1 fault"), "{text}\n{shown}");
    }
}

#[test]
fn a_fault_of_syntax_does_not_hide_what_stands_elsewhere() {
    let shown =
        faults("[watch\ntcp = 22\nnonsense = 1\n[judge]\ntrigger = 900\nwindow = \"\n[respond]\nmode = 1\n");
    for place in ["p.toml:1:7", "p.toml:5:11", "p.toml:6:", "p.toml:8:8"] {
        assert!(shown.contains(place), "{place}\n{shown}");
    }
    assert!(shown.ends_with("4 faults"), "{shown}");
}

#[test]
fn a_long_path_of_a_socket_is_refused_before_bind_would() {
    let text = |length: usize| format!("[control]\nsocket = \"/{}\"", "s".repeat(length - 1));
    assert!(read(&text(107)).is_ok());
    assert!(faults(&text(108)).contains("at most 107 bytes"));
}

/// A directory of its own for one test, which vanishes with it.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("portcullis-config-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _left_over = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_later_file_overrides_key_by_key_and_lists_as_a_whole() {
    let directory = Directory::new("overlay");
    assert_eq!(standard_files(&directory.0).unwrap(), Vec::<PathBuf>::new());
    directory.file(
        "portcullis.toml",
        "[protect]\nallow = [\"10.0.0.0/8\"]\ngateways = false\n[judge]\nby = \"trigger\"\ntrigger = 9\n",
    );
    directory.file("conf.d/20-b.toml", "[protect]\nallow = [\"::1\"]\n[judge]\ncount = \"probes\"\n");
    directory.file("conf.d/10-a.toml", "[protect]\nallow = [\"192.0.2.0/24\"]\n[respond]\nban = \"1m\"\n");
    directory.file("conf.d/.hidden.toml", "nonsense");
    directory.file("conf.d/README", "nonsense");
    let files = standard_files(&directory.0).unwrap();
    let names: Vec<_> = files.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["portcullis.toml", "10-a.toml", "20-b.toml"]);
    let config = load(&files).unwrap();
    assert_eq!(config.protect.allow, ["::1".parse().unwrap()]);
    assert!(!config.protect.gateways);
    assert_eq!(config.judge.trigger, Trigger::Probes(9));
    assert_eq!(config.respond.ban, Some(Duration::from_secs(60)));
}

#[test]
fn faults_of_every_file_are_told_together() {
    let directory = Directory::new("together");
    let files = [
        directory.file("a.toml", "[watch]\ntpc = \"1\"\n"),
        directory.0.join("missing.toml"),
        directory.file("b.toml", b"# gr\xfcn\n"),
        directory.file("c.toml", "#".repeat(1024 * 1024 + 1)),
        directory.0.clone(),
    ];
    let faults = load(&files).unwrap_err().0;
    let said: Vec<(usize, usize, &str)> =
        faults.iter().map(|fault| (fault.line, fault.column, fault.message.as_str())).collect();
    assert_eq!(
        said,
        [
            (2, 1, "[watch] has no key \"tpc\""),
            (0, 0, "there is no such file"),
            (1, 5, "not UTF-8: the byte 0xfc stands here"),
            (0, 0, "larger than 1 MiB, so this is no configuration"),
            (0, 0, "this is a directory"),
        ]
    );
    assert!(faults.iter().all(|fault| !fault.mend.is_empty()));
}

#[test]
fn a_megabyte_of_junk_is_refused_at_once() {
    for (junk, count) in [("a\n", 200_000), ("a = 1\n", 100_000), ("[[x]]\n", 100_000), ("[", 500_000)] {
        let faults = read(&junk.repeat(count)).unwrap_err().0;
        assert!((1..=101).contains(&faults.len()), "{junk}: {}", faults.len());
    }
    let keys: String = (0..50_000).map(|number| format!("key{number} = 1\n")).collect();
    let faults = read(&format!("[watch]\n{keys}")).unwrap_err().0;
    assert_eq!(faults.len(), 101);
    assert_eq!(faults[100].message, "there are 49900 further faults");
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_no_faults() {
    assert_eq!(
        read("\u{feff}[judge]\r\nby = \"trigger\"\r\ntrigger = 9\r\n").unwrap().judge.trigger,
        Trigger::Ports(9)
    );
}

prop_compose! {
    fn any_config()(
        interfaces in prop::collection::vec("[a-z0-9._@-]{3,15}", 0..4),
        ports in prop::collection::vec((any::<u16>(), any::<u16>()), 0..6),
        numbers in (0usize..3, 1u16..=1024, any::<bool>(), 1u32..=64, 1000u64..86_400_000, 1024usize..1_048_576),
        respond in (any::<bool>(), prop::option::of(1000u64..86_400_000), 1.0f64..100.0, 1000u64..86_400_000),
        allow in prop::collection::vec((any::<std::net::IpAddr>(), any::<u8>()), 0..5),
        names in prop::collection::vec("[a-z][a-z0-9]{0,9}(\\.[a-z]{2,5}){0,2}", 0..4),
        switches in any::<[bool; 6]>(),
        path in "/[^\\x00]{0,20}",
        group in "[a-zé\"'\\\\]{3,9}",
    ) -> Config {
        let mut config = Config::default();
        config.watch.interfaces = interfaces;
        config.watch.tcp = portcullis_core::net::PortSet::from_ranges(ports);
        config.watch.engine = [EngineChoice::Auto, EngineChoice::Ring, EngineChoice::Listen][numbers.0];
        config.watch.ring_mib = numbers.1;
        if numbers.2 {
            config.judge.by = By::Trigger;
            config.judge.trigger =
                if switches[0] { Trigger::Ports(numbers.3) } else { Trigger::Probes(numbers.3) };
            config.judge.window = Duration::from_millis(numbers.4);
        } else {
            config.judge.care = [Care::Careful, Care::Normal, Care::Strict][numbers.0];
            config.judge.score = f64::from(numbers.3);
            config.judge.patient = Duration::from_millis(3_600_000 + numbers.4);
            config.judge.credit = respond.2 / 10.0;
        }
        config.judge.sources = numbers.5;
        config.respond.mode = if respond.0 { Mode::Enforce } else { Mode::Observe };
        config.respond.ban = respond.1.map(Duration::from_millis);
        config.respond.growth = respond.2;
        config.respond.memory = Duration::from_millis(respond.3);
        config.respond.keep_on_stop = switches[0];
        config.protect.allow =
            allow.into_iter().map(|(a, l)| portcullis_core::net::Prefix::containing(a, l)).collect();
        config.protect.gateways = switches[1];
        config.protect.resolvers = switches[2];
        config.protect.names = names;
        config.protect.time_servers = switches[3];
        config.protect.logged_in = switches[4];
        config.protect.containers = switches[5];
        config.record.state = PathBuf::from(path);
        config.control.group = group;
        config
    }
}

proptest! {
    #[test]
    fn every_configuration_is_written_so_that_it_reads_back(config in any_config()) {
        let text = write(&config);
        match parse(Path::new("written"), &text) {
            Ok(read) => prop_assert_eq!(read, config),
            Err(faults) => prop_assert!(false, "{}\n{}", text, faults),
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in any::<String>()) {
        if let Err(faults) = read(&text) {
            prop_assert!(!faults.to_string().is_empty());
        }
    }

    #[test]
    fn no_near_miss_makes_the_reader_panic(
        text in "(\\[?(watch|judge|respond|protect)\\]?\n|(tcp|ban|allow|window|mode|trigger) ?=? ?(\"[a-z0-9/:,! -]{0,12}\"?|[0-9em.+-]{0,8}|\\[\"?[0-9./,\" ]{0,12}\\]?)\n?){0,12}"
    ) {
        if let Err(faults) = read(&text) {
            prop_assert!(faults.0.iter().all(|fault| !fault.mend.is_empty()), "{}", faults);
            prop_assert!(!faults.to_string().is_empty());
        }
    }
}
