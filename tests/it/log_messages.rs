//! `docs/logs.md` lists every message that is logged, and none that is not.

use std::collections::BTreeSet;
use std::fs;

use crate::floors::rust_files;
use crate::support::gatepass::project;

/// A level and a message, as both stand in the code.
type Message = (String, String);

#[test]
fn every_message_is_listed_with_its_meaning() {
    let mut logged = BTreeSet::new();
    for file in rust_files(&project().join("src")) {
        if file.file_name().is_some_and(|name| name == "tests.rs")
            || file.iter().any(|part| part == "tests")
        {
            continue;
        }
        let source = fs::read_to_string(file).unwrap();
        let code = source.split("#[cfg(test)]").next().unwrap();
        logged.extend(messages(code));
    }
    assert!(logged.len() > 50, "does the search still work? {logged:?}");
    let page = fs::read_to_string(project().join("docs/logs.md")).unwrap();
    let listed = page.lines().filter_map(listed).flatten().collect();
    let missing: Vec<_> = logged.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&logged).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "docs/logs.md does not list {missing:#?}, and lists what is nowhere logged: {gone:#?}"
    );
}

/// What a row of a table lists: its message, at each of its levels.
fn listed(row: &str) -> Option<Vec<Message>> {
    let mut cells = row.strip_prefix("| `")?.split(" | ");
    let (levels, message) = (cells.next()?, cells.next()?);
    let message = message.strip_prefix('`')?.strip_suffix('`')?;
    let levels: Vec<_> = levels
        .split(", ")
        .map(|level| level.replace('`', ""))
        .collect();
    let is_level = |level: &String| LEVELS.contains(&level.as_str());
    let pairs = levels
        .iter()
        .map(|level| (level.clone(), message.to_owned()));
    levels.iter().all(is_level).then(|| pairs.collect())
}

/// The messages of the macros of tracing: the last text in each.
fn messages(code: &str) -> Vec<Message> {
    let mut found = Vec::new();
    for level in LEVELS {
        let call = format!("{level}!(");
        let pieces: Vec<_> = code.split(&call).collect();
        for pair in pieces.windows(2) {
            let is_other_macro = pair[0].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            if !is_other_macro {
                let message = last_text(pair[1]);
                let message = message.unwrap_or_else(|| panic!("no message in {}", pair[1]));
                found.push((level.to_owned(), message));
            }
        }
    }
    found
}

/// The last text before the parenthesis that is open is closed.
fn last_text(arguments: &str) -> Option<String> {
    let mut last = None;
    let mut open = 1;
    let mut chars = arguments.chars();
    while let Some(c) = chars.next() {
        match c {
            '(' => open += 1,
            ')' => open -= 1,
            '"' => last = Some(text(&mut chars)),
            _ => {}
        }
        if open == 0 {
            break;
        }
    }
    last
}

/// A text to its closing quote. A backslash at the end of a line takes the indentation with it.
fn text(chars: &mut std::str::Chars<'_>) -> String {
    let mut text = String::new();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => match chars.next() {
                Some('\n') => {
                    let rest = chars.as_str().trim_start();
                    *chars = rest.chars();
                }
                Some(escaped) => text.push(escaped),
                None => break,
            },
            c => text.push(c),
        }
    }
    text
}

const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
