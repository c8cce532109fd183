//! `gatepass status`: what a running gatepass says of itself, on a terminal.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::thread::sleep;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::admin_client::{AdminArguments, get};
use super::failure::Silence;
use super::terminal::{Palette, columns_of_stdout, printed};
use super::{DONE, Failure};
use crate::server::Address;
use crate::wording::harmless;

#[derive(Debug, Args)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    admin: AdminArguments,

    /// Look again every second, until it is interrupted
    #[arg(long)]
    watch: bool,

    /// Print what /api/status says, for programs
    #[arg(long)]
    json: bool,
}

pub(super) fn status(arguments: StatusArguments) -> Result<u8, Failure> {
    let address = arguments.admin.address()?;
    let palette = Palette::of_stdout();
    let clears = arguments.watch && io::stdout().is_terminal();
    loop {
        let seen = look(&address);
        let text = match seen {
            Ok((json, _)) if arguments.json => format!("{json}\n"),
            Ok((_, status)) => shown(&status, &address, palette),
            // Whoever watches waits for it to come back.
            Err(failure) if arguments.watch => format!("{failure}\n"),
            Err(failure) => return Err(failure),
        };
        let clear = if clears { CLEAR } else { "" };
        let written = write!(io::stdout(), "{clear}{text}");
        if !arguments.watch || written.is_err() {
            return printed(written).map(|()| DONE);
        }
        sleep(PERIOD);
    }
}

/// The status as it is said, and what that means.
fn look(address: &Address) -> Result<(String, Value), Failure> {
    let silence = match get(address, "/api/status") {
        Ok(answer) => match read(&answer.text).filter(|_| answer.is_good) {
            Some(status) => return Ok((answer.text, status)),
            None => Silence::Stranger(answer.text),
        },
        Err(error) => Silence::Unreachable(error),
    };
    Err(Failure::NoStatus(address.clone(), silence))
}

/// `None` if it is no gatepass's. Other servers have JSON, too.
pub(super) fn read(json: &str) -> Option<Value> {
    let status: Value = serde_json::from_str(json).ok()?;
    let has_texts = ["version", "state"]
        .iter()
        .all(|name| at(&status, name).is_string());
    let has_lists = ["credentials", "routes"]
        .iter()
        .all(|name| at(&status, name).is_array());
    (has_texts && has_lists).then_some(status)
}

/// The status in words.
fn shown(status: &Value, address: &Address, palette: Palette) -> String {
    let state = match at(status, "state").as_str() {
        Some("ready") => palette.good("ready"),
        Some("starting") => palette.doubtful("starting"),
        _ => palette.bad("not ready"),
    };
    let mut text = format!(
        "gatepass {} at {address} is {state}, {} after its start\n",
        word(at(status, "version")),
        span(at(status, "uptime_seconds"))
    );
    for finding in list(at(status, "findings")) {
        let (subject, reason) = (word(at(finding, "subject")), word(at(finding, "reason")));
        let _ = writeln!(
            text,
            "  {}",
            palette.doubtful(&format!("{subject} {reason}"))
        );
    }
    let credentials = list(at(status, "credentials"));
    let rows = credentials
        .iter()
        .map(|credential| credential_row(credential, palette));
    let columns = columns_of_stdout();
    text.push_str(&table(CREDENTIALS, rows.collect(), palette, columns));
    let rows = list(at(status, "routes")).iter().map(route_row);
    text.push_str(&table(ROUTES, rows.collect(), palette, columns));
    text
}

fn credential_row(credential: &Value, palette: Palette) -> Vec<Cell> {
    let state = word(at(credential, "state"));
    let painted = match state.as_str() {
        "fresh" => palette.good(&state),
        "ageing" | "awaited" => palette.doubtful(&state),
        _ => palette.bad(&state),
    };
    vec![
        Cell::plain(word(at(credential, "name"))),
        Cell {
            width: state.chars().count(),
            text: painted,
        },
        Cell::plain(span(at(credential, "ends_in_seconds"))),
        Cell::plain(span(at(credential, "next_attempt_in_seconds"))),
        Cell::plain(word(at(credential, "generation"))),
        Cell::plain(origin(credential)),
        Cell::plain(counts(at(credential, "attempts"))),
    ]
}

/// Where the token at hand came from, where that can be the store that replicas share.
fn origin(credential: &Value) -> String {
    let by = at(credential, "refreshed_by");
    match word(at(credential, "token_from")) {
        from if from == "store" => format!("store, got by {}", word(by)),
        from => from,
    }
}

fn route_row(route: &Value) -> Vec<Cell> {
    let credential = match at(route, "credential").as_str() {
        Some(name) => harmless(name),
        None => "none".into(),
    };
    let mean = at(route, "mean_seconds")
        .as_f64()
        .map_or_else(|| "-".into(), |mean| format!("{:.1} ms", mean * 1000.0));
    let cells = [
        word(at(route, "name")),
        word(at(route, "matches")),
        word(at(route, "upstream")),
        credential,
        word(at(route, "in_flight")),
        counts(at(route, "requests")),
        counts(at(route, "rejections")),
        mean,
    ];
    cells.map(Cell::plain).to_vec()
}

/// What stands in one place of a table.
#[derive(Clone)]
struct Cell {
    text: String,
    /// Without what only paints it.
    width: usize,
}

impl Cell {
    fn plain(text: String) -> Self {
        Self {
            width: text.chars().count(),
            text,
        }
    }

    /// What there is room for.
    fn cut(&self, room: usize) -> Self {
        match self.width > room {
            true => {
                let kept = self.text.chars().take(room.saturating_sub(1));
                Self::plain(kept.chain(['…']).collect())
            }
            false => self.clone(),
        }
    }
}

/// Columns as wide as what stands in them, or narrower where a line would not fit into so many
/// characters.
fn table<const N: usize>(
    headings: [&str; N],
    rows: Vec<Vec<Cell>>,
    palette: Palette,
    columns: Option<usize>,
) -> String {
    let heading = headings.map(|heading| Cell {
        width: heading.chars().count(),
        text: palette.heading(heading),
    });
    let rows: Vec<_> = [heading.to_vec()].into_iter().chain(rows).collect();
    let widest = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.width).max().unwrap_or(0)
    };
    let mut widths = std::array::from_fn(widest);
    if let Some(columns) = columns {
        narrow(&mut widths, headings, columns);
    }
    let mut text = String::from("\n");
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let line: String = cells
            .flat_map(|(cell, width)| {
                let cell = cell.cut(*width);
                let gap = " ".repeat(width.saturating_sub(cell.width) + GAP);
                [cell.text, gap]
            })
            .collect();
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Takes from the widest of the columns that hold names and addresses, as long as a line is too long
/// and they can spare it. Numbers are told whole.
fn narrow<const N: usize>(widths: &mut [usize; N], headings: [&str; N], columns: usize) {
    while widths.iter().sum::<usize>() + GAP * N.saturating_sub(1) > columns {
        let named = widths.iter_mut().zip(headings);
        let can_spare = named.filter(|(width, heading)| {
            CUT.contains(heading) && **width > NARROWEST.max(heading.len())
        });
        match can_spare.max_by_key(|(width, _)| **width) {
            Some((width, _)) => *width -= 1,
            None => return,
        }
    }
}

/// A member of an object; null if there is none.
fn at<'a>(object: &'a Value, member: &str) -> &'a Value {
    object.get(member).unwrap_or(&Value::Null)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => harmless(text),
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}

fn span(seconds: &Value) -> String {
    match seconds.as_u64() {
        Some(seconds) => humantime::format_duration(Duration::from_secs(seconds)).to_string(),
        None => "-".into(),
    }
}

/// `success 3, refused 1`
fn counts(counts: &Value) -> String {
    let pairs = counts.as_object().into_iter().flatten();
    let told: Vec<_> = pairs
        .map(|(name, count)| format!("{} {count}", harmless(name)))
        .collect();
    match told.as_slice() {
        [] => "-".into(),
        _ => told.join(", "),
    }
}

const CREDENTIALS: [&str; 7] = [
    "CREDENTIAL",
    "TOKEN",
    "ENDS IN",
    "NEXT ATTEMPT IN",
    "NUMBER",
    "FROM",
    "ATTEMPTS",
];
const ROUTES: [&str; 8] = [
    "ROUTE",
    "MATCHES",
    "UPSTREAM",
    "CREDENTIAL",
    "IN FLIGHT",
    "ENDED",
    "REJECTED",
    "MEAN",
];

/// The columns that may be cut where a line is too long, but for their headings. Nothing else in them is
/// painted.
const CUT: [&str; 5] = ["CREDENTIAL", "FROM", "ROUTE", "MATCHES", "UPSTREAM"];
const NARROWEST: usize = 8;

/// Between two columns.
const GAP: usize = 2;

const PERIOD: Duration = Duration::from_secs(1);

/// Puts the cursor into the first corner and wipes what is below.
const CLEAR: &str = "\x1b[H\x1b[J";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Whatever answers there may say anything.
    #[test]
    fn what_is_said_steers_no_terminal() {
        let evil = "\u{1b}[2J";
        let status = json!({
            "version": evil, "state": evil, "uptime_seconds": 1,
            "findings": [{ "subject": evil, "reason": evil }],
            "credentials": [{
                "name": evil, "state": evil, "generation": evil, "token_from": "store",
                "refreshed_by": evil, "attempts": { evil: 1 },
            }],
            "routes": [{
                "name": evil, "matches": evil, "upstream": evil, "credential": evil,
                "in_flight": evil, "requests": { evil: 1 }, "rejections": { evil: 1 },
            }],
        });
        let address = Address::Tcp(([127, 0, 0, 1], 9090).into());
        let told = shown(&status, &address, Palette::default());
        assert!(!told.contains('\u{1b}'), "{told:?}");
    }

    #[test]
    fn names_are_cut_for_a_terminal_that_is_too_narrow_and_numbers_are_not() {
        let row = [
            "partner-orders-of-the-north",
            "GET, POST orders.example.com/partner/orders/north",
            "https://core-stg.envaseconnect.cloud",
            "envase",
            "0",
            "2xx 1200",
            "-",
            "12.3 ms",
        ];
        let shown = |columns| {
            let cells = row.map(|text| Cell::plain(text.into())).to_vec();
            table(ROUTES, vec![cells], Palette::default(), columns)
        };
        insta::assert_snapshot!(shown(Some(90)), @r"

        ROUTE         MATCHES      UPSTREAM     CREDENTIAL  IN FLIGHT  ENDED     REJECTED  MEAN
        partner-ord…  GET, POST …  https://co…  envase      0          2xx 1200  -         12.3 ms
        ");
        let whole = shown(None);
        assert_eq!(shown(Some(300)), whole);
        assert!(whole.contains(row[1]), "{whole}");
        // As narrow as can be, and no panic.
        assert_eq!(shown(Some(1)), shown(Some(40)));
    }
}
