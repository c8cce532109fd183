//! How many token requests fleets send, on a virtual clock.
//!
//! `cargo run --release --example fleet` prints the tables of `docs/fleet.md`;
//! `cargo run --release --example fleet -- --replicas 1000 --hours 24 --life 3600` plays a fleet of
//! one's own.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    reason = "an example prints, and stops at the unexpected"
)]

mod simulation;

use std::time::Duration;

use clap::Parser;
use simulation::{Client, HOUR, MINUTE, QUICK, Scenario, play};

#[derive(Parser)]
struct Arguments {
    /// Plays this many replicas only, and not all the tables.
    #[arg(long)]
    replicas: Option<usize>,
    /// Plays only what happens with these words in its name.
    #[arg(long, default_value = "")]
    only: String,
    /// How long it is played.
    #[arg(long, default_value_t = 24)]
    hours: u32,
    /// The life of a token, in seconds.
    #[arg(long, default_value_t = 3600)]
    life: u64,
    /// How many requests a minute the provider takes.
    #[arg(long, default_value_t = 200)]
    per_minute: usize,
    /// For the random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() {
    let arguments = Arguments::parse();
    let calm = Scenario {
        replicas: arguments.replicas.unwrap_or(1_000),
        client: Client::Shared,
        life: Duration::from_secs(arguments.life),
        lasts: HOUR * arguments.hours,
        provider_down: None,
        takes: QUICK,
        store_down: None,
        store_takes: None,
        restart: None,
        per_minute: arguments.per_minute,
        seed: arguments.seed,
    };
    let sizes = match arguments.replicas {
        Some(replicas) => vec![replicas],
        None => vec![1, 10, 100, 1_000, 10_000],
    };
    let sizes = sizes
        .into_iter()
        .map(|replicas| ("calm", Scenario { replicas, ..calm }));
    let noon = calm.lasts / 2;
    let around_noon = Some((noon, noon + 2 * HOUR));
    let provider_down = Scenario {
        provider_down: around_noon,
        ..calm
    };
    let store_down = Scenario {
        store_down: around_noon,
        ..calm
    };
    let restart = Scenario {
        restart: Some(noon),
        ..calm
    };
    let both = Scenario {
        restart: Some(noon + HOUR),
        ..store_down
    };
    let bad_days = [
        ("the provider is down for 2 h", provider_down),
        ("the store is down for 2 h", store_down),
        ("all are started anew at noon", restart),
        ("all are started anew while the store is down", both),
    ];
    for days in [sizes.collect(), bad_days.to_vec()] {
        table(days, &arguments.only);
    }
}

/// Those days with these words in their names.
fn table(days: Vec<(&str, Scenario)>, only: &str) {
    let mut days = days
        .into_iter()
        .filter(|(what, _)| what.contains(only))
        .peekable();
    if days.peek().is_none() {
        return;
    }
    println!("{HEADER}");
    for (what, scenario) in days {
        lines(what, scenario);
    }
    println!();
}

/// A line for each client.
fn lines(what: &str, scenario: Scenario) {
    let clients = [
        ("naive", Client::Naive),
        ("alone, spread 10%", Client::Alone { spread: Some(0.1) }),
        ("alone", Client::Alone { spread: None }),
        ("with a store", Client::Shared),
    ];
    for (name, client) in clients {
        let outcome = play(Scenario { client, ..scenario });
        let hours = scenario.lasts.as_secs_f64() / HOUR.as_secs_f64();
        println!(
            "| {what} | {} | {name} | {} | {:.1} | {} | {} | {} | {:.0} |",
            scenario.replicas,
            outcome.total(),
            outcome.total() as f64 / hours,
            outcome.worst_second(Duration::ZERO),
            outcome.worst_second(5 * MINUTE),
            outcome.throttled,
            outcome.minutes_without,
        );
    }
}

const HEADER: &str = "\
| what happens | replicas | client | token requests | in an hour | worst second | worst after the \
start | refused as too many | minutes without a token |
|---|--:|---|--:|--:|--:|--:|--:|--:|";
