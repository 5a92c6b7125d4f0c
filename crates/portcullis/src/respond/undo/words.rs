//! Shell lines that are so plain that nobody needs a shell to tell their words.

/// The words of each command of a line, quotes taken off; commands are separated by `&&` or `;`. `None` as soon as
/// anything else than words, quotes and these separators has a meaning for the shell (POSIX.1-2024, Shell Command
/// Language, 2.2 to 2.10), or could have one for some shell.
pub(super) fn commands(line: &str) -> Option<Vec<Vec<String>>> {
    let mut commands: Vec<Vec<String>> = Vec::new();
    let mut command: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut is_awaited = true;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' | '\t' => command.extend(word.take()),
            '\'' | '"' => quoted(&mut letters, letter, word.get_or_insert_default())?,
            '&' | ';' => {
                if letter == '&' && letters.next() != Some('&') {
                    return None;
                }
                command.extend(word.take());
                if command.is_empty() {
                    return None;
                }
                commands.push(std::mem::take(&mut command));
                is_awaited = letter == '&';
            }
            // By themselves and behind a command these are plain words, which nft and iptables use.
            '{' | '}' | '!' => {
                let ends = letters.peek().is_none_or(|next| matches!(next, ' ' | '\t' | ';'));
                if word.is_some() || !ends || command.is_empty() {
                    return None;
                }
                word = Some(letter.to_string());
            }
            _ if is_plain(letter) => word.get_or_insert_default().push(letter),
            _ => return None,
        }
    }
    command.extend(word);
    if !command.is_empty() {
        commands.push(command);
    } else if is_awaited {
        return None;
    }
    Some(commands)
}

/// Reads on to the closing quote.
fn quoted(letters: &mut impl Iterator<Item = char>, quote: char, word: &mut String) -> Option<()> {
    loop {
        match letters.next()? {
            letter if letter == quote => return Some(()),
            letter if letter.is_control() => return None,
            '$' | '`' | '\\' if quote == '"' => return None,
            letter => word.push(letter),
        }
    }
}

/// Letters that mean themselves in every shell, wherever they stand in a word.
fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "-_./:,+@%=".contains(letter)
}

/// A shell line of these words.
pub(super) fn line(words: &[String]) -> String {
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

fn quote(word: &str) -> String {
    let is_plain_word = !word.is_empty() && word.chars().all(is_plain);
    if is_plain_word || matches!(word, "{" | "}" | "!") {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\"'\"'"))
    }
}
