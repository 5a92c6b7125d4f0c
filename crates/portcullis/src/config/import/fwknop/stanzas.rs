//! Stanzas of access.conf as users of doors.
//!
//! A door opens all of its ports to a guest, while fwknopd opened what a packet asked for. So users who may open the same
//! ports, by the same weak settings, share a door, and nobody comes to a port that his stanza does not name.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis_core::door::spa::USERS_MAXIMUM;
use portcullis_core::door::spa::envelope::Keys;
use zeroize::Zeroizing;

use super::super::super::doors::{Command, Commands, Opens, Weakness};
use super::super::super::fwknop::{Cycle, Stanza, read_access};
use super::super::{Fate, Outcome};
use super::{Carrying, entries};

/// The longest and the shortest time that a door of ours stands open.
const OPEN_FOR: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(86_400));

/// What is taken as it stands.
const COPIED: [&str; 14] = [
    "USER",
    "KEY",
    "KEY_BASE64",
    "HMAC_KEY",
    "HMAC_KEY_BASE64",
    "HMAC_DIGEST_TYPE",
    "ENCRYPTION_MODE",
    "REQUIRE_USERNAME",
    "REQUIRE_SOURCE_ADDRESS",
    "REQUIRE_SOURCE",
    "ACCESS_EXPIRE",
    "ACCESS_EXPIRE_EPOCH",
    "FW_ACCESS_TIMEOUT",
    "MAX_FW_TIMEOUT",
];

/// Users who share a door. Has no `Debug`, since it holds keys.
pub(super) struct Group {
    pub opens: Opens,
    pub weak: Vec<Weakness>,
    pub commands: Commands,
    pub open_for: Duration,
    /// Where their stanzas begin.
    pub from: Vec<(PathBuf, usize)>,
    pub keys: Vec<Keys>,
    users: Vec<Zeroizing<String>>,
    fates: Vec<Fate>,
}

impl Group {
    /// What has become of the lines of its users.
    pub fn fates(&self, door: &str) -> impl Iterator<Item = Fate> + '_ {
        let name = format!("[door.{door}]");
        self.fates.iter().map(move |fate| Fate { why: fate.why.replace("[door]", &name), ..fate.clone() })
    }

    /// The users in fwknop's form.
    pub fn access_file(&self, door: &str) -> Zeroizing<String> {
        let head = format!("# Secret: the users of [door.{door}] and their keys.\n");
        let length = head.len() + self.users.iter().map(|user| user.len()).sum::<usize>();
        // As long as it gets: what a text leaves behind when it grows is not wiped.
        let mut text = Zeroizing::new(String::with_capacity(length));
        text.push_str(&head);
        self.users.iter().for_each(|user| text.push_str(user));
        text
    }
}

/// The lines of one stanza.
type Lines<'t> = Vec<(usize, String, &'t str)>;

/// Reads the users of all files.
pub(super) fn groups(
    carrying: &mut Carrying,
    files: &[(PathBuf, Zeroizing<String>)],
    asked: &Opens,
    allowed: &[Weakness],
) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (path, text) in files {
        let access = read_access(path, text);
        carrying.found(access.diagnostics);
        let mut stanzas = access.stanzas.into_iter().peekable();
        for lines in split(text) {
            let line = lines[0].0;
            let Some(stanza) = stanzas.next_if(|stanza| stanza.line == line) else {
                let why =
                    "not carried over, since its user would not be who was meant: see the fault that is told";
                carrying.tell(Outcome::Dropped, path, line, "SOURCE", why);
                continue;
            };
            user(carrying, &mut groups, path, &lines, stanza, asked, allowed);
        }
    }
    groups
}

/// What begins with a SOURCE each.
fn split(text: &str) -> Vec<Lines<'_>> {
    let mut stanzas: Vec<Lines<'_>> = Vec::new();
    for entry in entries(text) {
        if entry.1 == "SOURCE" {
            stanzas.push(vec![entry]);
        } else if let Some(stanza) = stanzas.last_mut() {
            stanza.push(entry);
        }
    }
    stanzas
}

fn user(
    carrying: &mut Carrying,
    groups: &mut Vec<Group>,
    path: &Path,
    lines: &Lines<'_>,
    stanza: Stanza,
    asked: &Opens,
    allowed: &[Weakness],
) {
    let line = stanza.line;
    let mut drop = |why: String| carrying.tell(Outcome::Dropped, path, line, "SOURCE", why);
    let weak = weaknesses(&stanza);
    let refused: Vec<&str> = weak.iter().filter(|own| !allowed.contains(own)).map(|own| own.word()).collect();
    if !refused.is_empty() {
        let options: Vec<String> = refused.iter().map(|word| format!("--weak {word}")).collect();
        drop(format!("not carried over: its keys are weak ({})", refused.join(", ")));
        let place = crate::escape::printable(&path.display().to_string());
        return carrying.warnings.push(format!(
            "{place}:{line}: whoever records one packet of this user may find out or forge what follows ({}), so he was left \
             out. Make keys with `portcullis key spa` for him; or ask for what is weak by its name: {}",
            refused.join(", "),
            options.join(" ")
        ));
    }
    let commands = match &stanza.cycle {
        None => Commands::default(),
        Some(cycle) => match commands(cycle) {
            Ok(commands) => commands,
            Err(macro_name) => {
                return drop(format!(
                    "not carried over: CMD_CYCLE has {macro_name}, which has no counterpart; write a door with command_open"
                ));
            }
        },
    };
    let says = |word: &str| lines.iter().any(|(_, own, _)| own == word);
    let is_named = says("OPEN_PORTS");
    let opens = match is_named {
        true => Opens { tcp: stanza.user.tcp.clone(), udp: stanza.user.udp.clone() },
        false if asked.is_empty() => Opens { tcp: "22".parse().expect("a port"), ..Opens::default() },
        false => asked.clone(),
    };
    if opens.is_empty() {
        return drop("not carried over: RESTRICT_PORTS leaves nothing of its OPEN_PORTS".to_owned());
    }
    let timer = stanza.cycle.as_ref().map(|cycle| cycle.timer.clamp(OPEN_FOR.0, OPEN_FOR.1));
    let open_for = timer.unwrap_or(stanza.user.length.usual.clamp(OPEN_FOR.0, OPEN_FOR.1));
    let is_same = |group: &&mut Group| {
        (&group.opens, &group.weak, &group.commands) == (&opens, &weak, &commands)
            && group.users.len() < USERS_MAXIMUM
    };
    let text = written(path, lines, &stanza, &opens, timer);
    let fates = fates(path, lines, &opens, is_named);
    let group = match groups.iter_mut().find(is_same) {
        Some(group) => group,
        None => {
            let group = Group {
                opens,
                weak,
                commands,
                open_for,
                from: Vec::new(),
                keys: Vec::new(),
                users: Vec::new(),
                fates: Vec::new(),
            };
            groups.push(group);
            groups.last_mut().expect("one was put there just now")
        }
    };
    group.open_for = group.open_for.max(open_for);
    group.from.push((path.to_owned(), line));
    group.keys.push(stanza.user.keys);
    group.users.push(text);
    group.fates.extend(fates);
}

fn weaknesses(stanza: &Stanza) -> Vec<Weakness> {
    // Commands inside packets are not run whatever the door says, so nobody has to ask for them.
    let all = [
        (stanza.weak.no_hmac, Weakness::NoHmac),
        (stanza.weak.short_keys, Weakness::ShortKeys),
        (stanza.weak.old_hmac, Weakness::OldHmac),
        (stanza.weak.other_modes, Weakness::OtherModes),
    ];
    all.into_iter().filter(|(is, _)| *is).map(|(_, weak)| weak).collect()
}

/// Commands in place of a rule: fwknopd split them at blanks and asked no shell (measured). What has no counterpart is
/// the error.
fn commands(cycle: &Cycle) -> Result<Commands, &'static str> {
    let command = |line: &str| {
        let line = line.replace("$SRC", "%IP%").replace("$IP", "%IP%");
        let others = ["$PKT_SRC", "$DST", "$PORT", "$PROTO", "$TIMEOUT", "$CLIENT_TIMEOUT"];
        match others.into_iter().find(|other| line.contains(other)) {
            Some(other) => Err(other),
            None => Ok(Command::Argv(line.split_whitespace().map(str::to_owned).collect())),
        }
    };
    let open = Some(command(&cycle.open)?);
    let close = cycle.close.as_deref().map(command).transpose()?;
    Ok(Commands { open_6: open.clone(), open, close_6: close.clone(), close })
}

/// The stanza as the door's access file has it.
fn written(
    path: &Path,
    lines: &Lines<'_>,
    stanza: &Stanza,
    opens: &Opens,
    timer: Option<Duration>,
) -> Zeroizing<String> {
    let from: Vec<String> = stanza.user.from.iter().map(ToString::to_string).collect();
    let from = if from.is_empty() { "ANY".to_owned() } else { from.join(", ") };
    // fwknop's form has no ranges.
    let each = |protocol: &str, ports: &portcullis_core::net::PortSet| -> Vec<String> {
        let all = ports.ranges().iter().flat_map(|&(low, high)| low..=high);
        all.map(|port| format!("{protocol}/{port}")).collect()
    };
    let ports = [each("tcp", &opens.tcp), each("udp", &opens.udp)].concat().join(", ");
    let head = format!(
        "\n# From {}:{}.\nSOURCE {from}\nOPEN_PORTS {ports}\n",
        crate::escape::printable(&path.display().to_string()),
        stanza.line
    );
    let is_copied = |word: &str| {
        COPIED.contains(&word)
            && (timer.is_none() || !["FW_ACCESS_TIMEOUT", "MAX_FW_TIMEOUT"].contains(&word))
    };
    let copied = || lines.iter().filter(|(_, word, _)| is_copied(word));
    let tail = timer.map_or_else(String::new, |timer| {
        format!("FW_ACCESS_TIMEOUT {0}\nMAX_FW_TIMEOUT {0}\n", timer.as_secs())
    });
    let length = copied().map(|(_, word, value)| word.len() + value.len() + 2).sum::<usize>();
    let mut text = Zeroizing::new(String::with_capacity(head.len() + length + tail.len()));
    text.push_str(&head);
    for (_, word, value) in copied() {
        writeln!(text, "{word} {value}").expect("writing to a text cannot fail");
    }
    text.push_str(&tail);
    text
}

/// What becomes of each line; `[door]` stands for the door's name.
fn fates(path: &Path, lines: &Lines<'_>, opens: &Opens, is_named: bool) -> Vec<Fate> {
    let is_one = opens.tcp.count() + opens.udp.count() == 1;
    let all = match is_one {
        true => (Outcome::Kept, format!("[door] opens {opens}")),
        false => (
            Outcome::Changed,
            format!(
                "[door] opens {opens}, all of it also to who asks for a part; write a door for each if that matters"
            ),
        ),
    };
    let mut fates: Vec<Fate> = lines
        .iter()
        .filter_map(|(line, word, value)| {
            let (outcome, why) = match word.as_str() {
                "SOURCE" => (Outcome::Kept, "a user of [door]".to_owned()),
                "OPEN_PORTS" => all.clone(),
                "RESTRICT_PORTS" => (Outcome::Changed, "taken off what [door] opens".to_owned()),
                "ENABLE_CMD_EXEC" if value.starts_with(['n', 'N']) => {
                    (Outcome::Kept, "commands out of a packet are never run".to_owned())
                }
                "ENABLE_CMD_EXEC" => (
                    Outcome::Dropped,
                    "commands out of a packet are never run; write a door with command_open for each"
                        .to_owned(),
                ),
                "CMD_CYCLE_OPEN" => (Outcome::Changed, "command_open of [door], which also opens".to_owned()),
                "CMD_CYCLE_CLOSE" => {
                    (Outcome::Changed, "command_close of [door], also after a crash".to_owned())
                }
                "CMD_CYCLE_TIMER" => (Outcome::Kept, "for so long [door] is open to him".to_owned()),
                word if COPIED.contains(&word) => {
                    (Outcome::Kept, "as it is, in the access file of [door]".to_owned())
                }
                // Told by the reader.
                _ => return None,
            };
            Some(Fate { outcome, path: path.to_owned(), line: *line, what: word.clone(), why })
        })
        .collect();
    if !is_named {
        let why = format!(
            "the stanza does not say what may be opened, which to fwknopd was everything; [door] opens {opens}: write what you mean"
        );
        let (path, line) = (path.to_owned(), lines[0].0);
        fates.push(Fate { outcome: Outcome::Changed, path, line, what: "OPEN_PORTS".to_owned(), why });
    }
    fates
}
