//! The line that a syntax error is on, as far as no secret can stand there.

use super::problem::near_miss;

/// The line with its number and a mark below the column, both counted from 1.
pub(super) fn excerpt(text: &str, line: usize, column: usize) -> String {
    let before = text.lines().take(line.saturating_sub(1));
    // Within a text of several lines every line may be a secret.
    let quotes = before.flat_map(|line| QUOTES.map(|quote| line.matches(quote).count()));
    let shown = match quotes.sum::<usize>() % 2 {
        0 => shown(text.lines().nth(line.saturating_sub(1)).unwrap_or_default()),
        _ => HIDDEN.into(),
    };
    let shown: String = shown.chars().take(WIDEST).collect();
    let indent = column.saturating_sub(1).min(shown.chars().count());
    let number = line.to_string();
    let gutter = " ".repeat(number.len());
    format!(
        "    {number} | {shown}\n    {gutter} | {}^",
        " ".repeat(indent)
    )
}

/// A line with dots in the place of every value that may be secret, or be one by mistake.
fn shown(line: &str) -> String {
    let line = line.trim_end();
    if line.is_empty() || is_header(line) {
        return line.into();
    }
    let Some((before, mut rest)) = line.split_once('=') else {
        let first = line.split_whitespace().next().unwrap_or_default();
        return match is_known(first) {
            true if is_plain(first) => line.into(),
            true => format!("{first} {HIDDEN}"),
            false => HIDDEN.into(),
        };
    };
    if !is_known(before.trim()) {
        return HIDDEN.into();
    }
    let mut shown = before.to_owned();
    let mut key = before.trim();
    loop {
        shown.push('=');
        let (value, after) = match rest.split_once('=') {
            Some((value, after)) => (value, Some(after)),
            None => (rest, None),
        };
        if !is_plain(key) || !is_one_value(value) {
            return shown + " " + HIDDEN;
        }
        shown.push_str(value);
        let Some(after) = after else {
            return shown;
        };
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        key = value.trim_end().rsplit(|c| !word(c)).next().unwrap_or("");
        rest = after;
    }
}

/// A list, or one text at most: a second one does not belong to the key before it.
fn is_one_value(text: &str) -> bool {
    text.trim_start().starts_with('[') || text.matches(['"', '\'']).count() <= 2
}

/// The name of a table, in whatever brackets.
fn is_header(line: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || "[]._- ".contains(c);
    line.trim_start().starts_with('[') && line.chars().all(legal)
}

/// A key of gatepass's, or what is so like one that it was probably meant.
fn is_known(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or_default();
    near_miss(last, PLAIN.into_iter().chain(SECRET)).is_some()
}

fn is_plain(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or_default();
    PLAIN.contains(&last)
}

/// Keys whose values are never secret, and in whose place nobody writes one.
const PLAIN: [&str; 31] = [
    "listen",
    "workers",
    "allowed_origins",
    "trust_network",
    "mode",
    "connections",
    "requests",
    "streams",
    "header_bytes",
    "preset",
    "environment",
    "domain",
    "tenant",
    "realm",
    "grant_type",
    "client_id",
    "scope",
    "audience",
    "timeout",
    "name",
    "path",
    "host",
    "methods",
    "strip_path",
    "credential",
    "max_body",
    "retries",
    "replay_limit",
    "level",
    "format",
    "grace",
];

/// Keys whose values are secret, or may be one that was written in the wrong place.
const SECRET: [&str; 16] = [
    "client_secret",
    "client_secret_file",
    "client_secret_env",
    "password",
    "password_file",
    "password_env",
    "api_key",
    "api_key_file",
    "private_key_file",
    "refresh_token",
    "key_file",
    "token_endpoint",
    "issuer",
    "upstream",
    "headers",
    "parameters",
];

const QUOTES: [&str; 2] = ["\"\"\"", "'''"];
const HIDDEN: &str = "…";
const WIDEST: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_what_is_no_secret() {
        for (line, wanted) in [
            ("[credentials.envase", "[credentials.envase"),
            ("path = \"/a", "path = \"/a"),
            ("retries = = 1", "retries = = …"),
            ("client_id \"tms\"", "client_id \"tms\""),
            ("client_secret = \"canary", "client_secret = …"),
            ("client_secret \"canary\"", "client_secret …"),
            ("client_secrt = \"canary", "client_secrt = …"),
            (
                "client_id = \"tms\" client_secret = \"canary\"",
                "client_id = \"tms\" client_secret = …",
            ),
            (
                "token_endpoint = https://id?secret=canary",
                "token_endpoint = …",
            ),
            ("headers = { x = \"canary\"", "headers = …"),
            ("path = \"/a\" \"canary=\"", "path = …"),
            ("path = \"/a\" \"canary\"", "path = …"),
            (
                "methods = [\"GET\", \"POST\"",
                "methods = [\"GET\", \"POST\"",
            ),
            ("  \"canary\",", "…"),
            ("canary==", "…"),
            ("[\"canary\"]", "…"),
            ("", ""),
        ] {
            assert_eq!(shown(line), wanted, "{line}");
        }
    }

    #[test]
    fn a_text_of_several_lines_is_not_shown() {
        let text = "key = \"\"\"\npath = canary\nlevel = \"\"\" x\n";
        assert_eq!(excerpt(text, 2, 8), "    2 | …\n      |  ^");
    }

    #[test]
    fn the_mark_stands_below_the_column() {
        let text = "\n[proxy]\nlisten = here\n";
        let wanted = "    3 | listen = here\n      |          ^";
        assert_eq!(excerpt(text, 3, 10), wanted);
    }
}
