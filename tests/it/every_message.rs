//! What operators read is under snapshot: each message of the sources stands in one, or is looked for
//! by a test word for word.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::gatepass::project;

/// What messages are made by, in the rooms whose errors reach a terminal.
const MAKERS: [&str; 14] = [
    "Trouble::new(",
    "Fault::new(",
    ".because(",
    ".advise(",
    "report.add(",
    "report.warn(",
    "of_source(",
    "malformed(",
    "misconfigured(",
    "unverified(",
    "cannot_sign(",
    "suspicious(",
    "refused(",
    "fault(",
];
const ROOMS: [&str; 5] = ["cli", "config", "oauth", "app", "store"];

/// What no test can bring about, and why.
const UNPROVOKED: [(&str, &str); 12] = [
    (
        "a secret's file could not be read within",
        "a disk would have to hang",
    ),
    ("could not be read within", "a disk would have to hang"),
    (
        "check the file system that it is on",
        "a disk would have to hang",
    ),
    (
        "the DNS says nothing about",
        "a name server would have to hang",
    ),
    (
        "see whether its servers are up and reachable",
        "a name server would have to hang",
    ),
    (
        "no request can be made:",
        "what it is made of is checked before",
    ),
    (
        "check headers and scheme",
        "what it is made of is checked before",
    ),
    (
        "something that is not a table",
        "what is read has been a table before",
    ),
    (
        "a configuration that can be decoded",
        "what is read has been a table before",
    ),
    ("a key that can be read", "it was read a moment before"),
    ("a readable PEM file", "it was read a moment before"),
    (
        "check the path, and who may use it",
        "it was there a moment before",
    ),
];

#[test]
fn each_is_under_snapshot() {
    let held = held();
    let mut messages = BTreeMap::new();
    for room in ROOMS {
        let mut files = rust_files(&project().join("src").join(room));
        files.push(project().join("src").join(format!("{room}.rs")));
        for file in files {
            for message in messages_of(&code(&file)) {
                messages.insert(message, file.clone());
            }
        }
    }
    assert!(
        messages.len() > 250,
        "{}: does the search still work?",
        messages.len()
    );
    let missing: Vec<_> = messages
        .iter()
        .filter(|(message, _)| !held.contains(*message))
        .filter(|(message, _)| !UNPROVOKED.iter().any(|(words, _)| message.contains(words)))
        .map(|(message, file)| format!("{}: {message}", file.display()))
        .collect();
    assert_eq!(missing, Vec::<String>::new(), "put them under snapshot");
    for (words, _) in UNPROVOKED {
        assert!(
            messages.keys().any(|message| message.contains(words)),
            "{words}"
        );
    }
}

#[test]
fn the_search_finds_what_it_should() {
    let source = r#"Fault::new(format!("no {tea} for \"guests\" at {}", x("one two three four")),
        "put the kettle \
         on again")"#;
    assert_eq!(
        messages_of(source),
        [
            "for \"guests\" at",
            "one two three four",
            "put the kettle on again"
        ]
    );
}

/// The longest part without gaps of each text that a message is made of; what has two words may stand
/// anywhere.
fn messages_of(source: &str) -> Vec<String> {
    let mut messages = Vec::new();
    for maker in MAKERS {
        for (start, _) in source.match_indices(maker) {
            let call = call(source.split_at(start + maker.len()).1);
            for text in texts(call) {
                let parts = text.split('\n').flat_map(without_gaps);
                let longest = parts.max_by_key(String::len).unwrap_or_default();
                if longest.matches(' ').count() >= 2 && !messages.contains(&longest) {
                    messages.push(longest);
                }
            }
        }
    }
    messages
}

/// Up to the parenthesis that ends a call.
fn call(source: &str) -> &str {
    let (mut depth, mut in_text, mut escaped) = (1, false, false);
    for (position, c) in source.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if in_text => escaped = true,
            '"' => in_text = !in_text,
            '(' if !in_text => depth += 1,
            ')' if !in_text => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return source.split_at(position).0;
        }
    }
    source
}

/// The string literals, as they are at run time.
fn texts(source: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut rest = source.chars().peekable();
    while rest.by_ref().any(|c| c == '"') {
        let mut text = String::new();
        while let Some(c) = rest.next().filter(|c| *c != '"') {
            match c {
                '\\' => match rest.next() {
                    Some('\n') => while rest.next_if(|c| c.is_whitespace()).is_some() {},
                    Some('n') => text.push('\n'),
                    Some(other) => text.push(other),
                    None => {}
                },
                _ => text.push(c),
            }
        }
        texts.push(text);
    }
    texts
}

fn without_gaps(line: &str) -> Vec<String> {
    let line = line.replace("{{", "\u{1}");
    let parts = line.split('{').map(|part| match part.split_once('}') {
        Some((_, after)) => after,
        None => part,
    });
    parts
        .map(|part| part.trim().replace('\u{1}', "{"))
        .collect()
}

/// A file without its tests and comments.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// All that tests hold, with one space where there are line breaks.
fn held() -> String {
    let mut held = String::new();
    for folder in ["tests/it", "src"] {
        for file in files(&project().join(folder), &["snap", "rs"]) {
            let text = fs::read_to_string(&file).unwrap();
            let name = file.to_str().unwrap();
            let of_tests =
                name.ends_with(".snap") || name.contains("/tests") || folder == "tests/it";
            let text = match of_tests {
                _ if name.ends_with("every_message.rs") => continue,
                true => text.as_str(),
                false => text
                    .split_once("#[cfg(test)]\nmod tests")
                    .map_or("", |(_, tests)| tests),
            };
            let text = text.replace("\\\n", "").replace("\\\"", "\"");
            held.extend(text.split_whitespace().flat_map(|word| [word, " "]));
        }
    }
    held
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = files(directory, &["rs"]);
    files.retain(|file| !file.to_str().unwrap().contains("/tests"));
    files
}

fn files(directory: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, endings));
        } else if path
            .extension()
            .is_some_and(|ending| endings.iter().any(|of| ending == *of))
        {
            found.push(path);
        }
    }
    found
}
