//! Programs that a shell line runs, and whether they exist.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where a shell of root looks, and where programs have moved to since PortSentry's examples were written.
const DIRECTORIES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Words of `sh` that are no programs (POSIX.1-2024, Shell Command Language, 2.4 and 2.15; and its common built-ins).
const WORDS_OF_THE_SHELL: [&str; 44] = [
    "!", "{", "}", "case", "do", "done", "elif", "else", "esac", "fi", "for", "if", "in", "then", "until",
    "while", ".", ":", "break", "cd", "command", "continue", "echo", "eval", "exec", "exit", "export",
    "false", "kill", "printf", "pwd", "read", "readonly", "return", "set", "shift", "test", "times", "trap",
    "true", "umask", "unset", "wait", "[",
];

/// A program that a command names and that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingProgram {
    /// As the command writes it.
    pub program: String,
    /// Where a program of that name does exist.
    pub found: Option<PathBuf>,
}

/// The programs in a shell line that do not exist on this machine. What only a shell could tell (variables,
/// patterns, command substitution) is passed over.
#[must_use]
pub fn missing_programs(line: &str) -> Vec<MissingProgram> {
    missing(line, &|path| {
        path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    })
}

fn missing(line: &str, is_program: &dyn Fn(&Path) -> bool) -> Vec<MissingProgram> {
    let find = |name: &str| {
        DIRECTORIES.iter().map(|place| Path::new(place).join(name)).find(|path| is_program(path))
    };
    let mut missing: Vec<MissingProgram> = Vec::new();
    for program in programs(line) {
        let name = program.rsplit('/').next().unwrap_or(&program);
        let exists = match program.contains('/') {
            true => is_program(Path::new(&program)),
            false => WORDS_OF_THE_SHELL.contains(&program.as_str()) || find(&program).is_some(),
        };
        if !exists && !name.is_empty() && missing.iter().all(|other| other.program != program) {
            let found = find(name);
            missing.push(MissingProgram { program, found });
        }
    }
    missing
}

/// The first word of each simple command of a shell line: the programs that it runs, as written.
#[must_use]
pub fn programs(line: &str) -> Vec<String> {
    let mut programs = Vec::new();
    let mut awaiting = true;
    let (mut word, mut in_word, mut plain) = (String::new(), false, true);
    let (mut quote, mut redirection) = (None, false);
    let mut end_word = |word: &mut String,
                        in_word: &mut bool,
                        plain: &mut bool,
                        awaiting: &mut bool,
                        redirection: &mut bool| {
        if !std::mem::take(in_word) {
            return;
        }
        let word = std::mem::take(word);
        let is_plain = std::mem::replace(plain, true);
        if std::mem::take(redirection) || !*awaiting {
            return;
        }
        let assigned = word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        });
        let introduces = matches!(
            word.as_str(),
            "if" | "then" | "else" | "elif" | "while" | "until" | "do" | "!" | "{" | "exec" | "command"
        );
        if assigned || introduces {
            return;
        }
        *awaiting = false;
        if is_plain {
            programs.push(word);
        }
    };
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (Some('\''), other) => word.push(other),
            (Some(_), '$' | '`') => {
                plain = false;
                word.push(character);
            }
            (Some(_), '\\') | (None, '\\') => word.extend(characters.next()),
            (Some(_), other) => word.push(other),
            (None, '\'' | '"') => {
                quote = Some(character);
                in_word = true;
            }
            (None, ' ' | '\t' | '\n') => {
                end_word(&mut word, &mut in_word, &mut plain, &mut awaiting, &mut redirection);
                if character == '\n' {
                    awaiting = true;
                }
            }
            (None, '#') if !in_word => break,
            (None, '<' | '>') => {
                // A number directly before it is a descriptor, not a word.
                if word.bytes().all(|byte| byte.is_ascii_digit()) {
                    word.clear();
                    in_word = false;
                }
                end_word(&mut word, &mut in_word, &mut plain, &mut awaiting, &mut redirection);
                redirection = true;
                if characters.peek() == Some(&'&') {
                    characters.next();
                }
            }
            (None, ';' | '|' | '&' | '(' | ')') => {
                end_word(&mut word, &mut in_word, &mut plain, &mut awaiting, &mut redirection);
                (awaiting, redirection) = (true, false);
            }
            (None, other) => {
                plain &= !matches!(other, '$' | '`' | '*' | '?' | '~');
                word.push(other);
                in_word = true;
            }
        }
    }
    end_word(&mut word, &mut in_word, &mut plain, &mut awaiting, &mut redirection);
    programs
}

/// Whether a command is one of the well-known ones that only shut an address out.
#[must_use]
pub fn is_packet_filter(command: &str) -> bool {
    // "nftables" is no program, but stands in the example of 2.x, where only nft can be meant.
    const PROGRAMS: [&str; 11] = [
        "route",
        "iptables",
        "ip6tables",
        "ipchains",
        "ipfwadm",
        "ip",
        "nft",
        "nftables",
        "ipf",
        "ipfw",
        "pfctl",
    ];
    let programs = programs(command);
    let names = || programs.iter().map(|program| program.rsplit('/').next().unwrap_or(program));
    names().any(|name| PROGRAMS.contains(&name))
        && names().all(|name| PROGRAMS.contains(&name) || name == "echo")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_programs_of_a_shell_line_are_found() {
        for (line, expected) in [
            ("/sbin/route add -host $TARGET$ reject", vec!["/sbin/route"]),
            (
                "/sbin/iptables -I INPUT -s $TARGET$ -j DROP && /sbin/iptables -I INPUT -s $TARGET$ -m limit --limit-burst 5 -j LOG --log-prefix 'Portsentry: dropping: '",
                vec!["/sbin/iptables", "/sbin/iptables"],
            ),
            (
                "/bin/echo 'block in log | on x; from $TARGET$/32 to any' | /sbin/ipf -f -",
                vec!["/bin/echo", "/sbin/ipf"],
            ),
            ("A=1 B=2 mail root </dev/null 2>&1 >/tmp/x; (logger x)", vec!["mail", "logger"]),
            ("if test -x /a; then /b c; fi # /d", vec!["test", "/b", "fi"]),
            ("$HOME/x; 'a b'/c", vec!["a b/c"]),
            ("2>/dev/null cmd", vec!["cmd"]),
            ("", vec![]),
        ] {
            assert_eq!(programs(line), expected, "{line}");
        }
    }

    #[test]
    fn a_missing_program_is_named_with_where_it_is() {
        let there =
            |path: &Path| ["/usr/sbin/iptables", "/usr/bin/mail"].iter().any(|p| path == Path::new(p));
        assert_eq!(
            missing(
                "/usr/local/bin/iptables -s $TARGET$; mail x; /sbin/ipchains; if true; then echo; fi",
                &there
            ),
            [
                MissingProgram {
                    program: "/usr/local/bin/iptables".to_owned(),
                    found: Some(PathBuf::from("/usr/sbin/iptables"))
                },
                MissingProgram { program: "/sbin/ipchains".to_owned(), found: None },
            ]
        );
        assert_eq!(missing_programs("/bin/sh -c true"), []);
    }

    #[test]
    fn only_commands_that_shut_an_address_out_count_as_packet_filters() {
        for (command, is) in [
            ("/sbin/route add -host $TARGET$ reject", true),
            (
                "/usr/local/bin/iptables -I INPUT -s $TARGET$ -j DROP && /usr/local/bin/iptables -I INPUT -j LOG",
                true,
            ),
            ("/bin/echo 'block in from $TARGET$/32' | /sbin/ipf -f -", true),
            ("/bin/echo $TARGET$ >> /tmp/x", false),
            ("/sbin/iptables -I INPUT -s $TARGET$ -j DROP; /usr/bin/mail root", false),
        ] {
            assert_eq!(is_packet_filter(command), is, "{command}");
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "\\PC{0,20}|[a-z/'\"\\\\<>&|;#$ 0-9]{0,40}") {
            for program in programs(&line) {
                prop_assert!(program.len() <= line.len());
            }
        }
    }
}
