//! Days of fleets on a virtual clock; `docs/fleet.md` has more of them.

#[allow(dead_code, reason = "the example uses more of it")]
#[path = "../../examples/fleet/simulation.rs"]
mod simulation;

use std::time::Duration;

use simulation::{Client, HOUR, MINUTE, Outcome, QUICK, Scenario, play};

/// Replicas that start in the same second, tokens of an hour, one day.
fn day(client: Client) -> Scenario {
    Scenario {
        replicas: REPLICAS,
        client,
        life: HOUR,
        lasts: 24 * HOUR,
        provider_down: None,
        takes: QUICK,
        store_down: None,
        store_takes: None,
        restart: None,
        per_minute: usize::MAX,
        seed: 1,
    }
}

/// As many as a test has the time for.
const REPLICAS: usize = 200;

/// How often the provider was asked from some second on and before another.
fn asked_between(outcome: &Outcome, from: Duration, to: Duration) -> usize {
    let seconds = outcome.asked.iter().zip(0..);
    let within = seconds.filter(|(_, at)| (from.as_secs()..to.as_secs()).contains(at));
    within.map(|(asked, _)| asked).sum()
}

fn nobody_was_without_a_token(outcome: &Outcome) {
    assert_eq!(outcome.minutes_without, 0.0);
}

#[test]
fn many_with_a_store_ask_as_one() {
    let outcome = play(day(Client::Shared));
    nobody_was_without_a_token(&outcome);
    assert!(outcome.total() <= 35, "{}", outcome.total());
}

/// A thousand, with nothing configured: what a second sees is the same all day once they have their
/// places, so a few hours show it.
#[test]
fn a_thousand_without_a_store_keep_out_of_each_others_way() {
    let outcome = play(Scenario {
        replicas: 1_000,
        lasts: 4 * HOUR,
        ..day(Client::Alone { spread: None })
    });
    nobody_was_without_a_token(&outcome);
    // They are ready as soon as they can be, so the first second sees all of them.
    assert_eq!(outcome.worst_second(Duration::ZERO), 1_000);
    let worst = outcome.worst_second(MINUTE);
    assert!(worst <= 5, "{worst} in a second");
    // One early refresh each, and otherwise one in four fifths of a life.
    let total = outcome.total();
    assert!(total <= 6_000, "{total}");
}

#[test]
fn many_that_lose_the_store_for_two_hours_spread_and_find_each_other_again() {
    let lost = (12 * HOUR, 14 * HOUR);
    let outcome = play(Scenario {
        store_down: Some(lost),
        ..day(Client::Shared)
    });
    nobody_was_without_a_token(&outcome);
    let worst = outcome.worst_second(MINUTE);
    assert!(worst <= 8, "{worst} in a second");
    let after = asked_between(&outcome, lost.1 + HOUR, 24 * HOUR);
    assert!(after <= 15, "{after}");
}

#[test]
fn many_without_their_provider_ask_it_at_the_pace_of_one() {
    let down = (3 * HOUR, 4 * HOUR);
    let outcome = play(Scenario {
        provider_down: Some(down),
        lasts: 5 * HOUR,
        ..day(Client::Shared)
    });
    let during = asked_between(&outcome, down.0, down.1);
    // From 3:30 on, every 2.5 to 5 s, and each attempt takes a second.
    assert!((250..750).contains(&during), "{during}");
}

fn seconds([least, most]: [u64; 2]) -> [Duration; 2] {
    [Duration::from_millis(least), Duration::from_millis(most)]
}

/// Tokens of seconds and a provider that takes its time, for ten minutes.
fn short_lives(life: u64, takes: [u64; 2]) -> Scenario {
    Scenario {
        replicas: 5,
        life: Duration::from_secs(life),
        takes: seconds(takes),
        lasts: 10 * MINUTE,
        ..day(Client::Shared)
    }
}

const SHORT_LIVES: [(u64, [u64; 2]); 7] = [
    (10, [200, 400]),
    (10, [900, 1_100]),
    (20, [200, 400]),
    (20, [900, 1_100]),
    (20, [2_500, 3_000]),
    (30, [900, 1_100]),
    (30, [2_500, 3_000]),
];

#[test]
fn short_lives_outlast_a_store_that_is_no_help() {
    for (life, takes) in SHORT_LIVES {
        // One that is down, one that is so slow that a call just about ends in time, and one that hangs.
        for store_takes in [None, Some(Duration::from_millis(450)), Some(HOUR)] {
            for seed in 1..=2 {
                let outcome = play(Scenario {
                    store_down: Some((2 * MINUTE, 8 * MINUTE)),
                    store_takes,
                    seed,
                    ..short_lives(life, takes)
                });
                let without = outcome.minutes_without;
                assert_eq!(
                    without, 0.0,
                    "{life} s, {takes:?} ms, {store_takes:?}, {seed}"
                );
            }
        }
    }
}

/// The room for a store that hangs costs no request while it does not.
#[test]
fn short_lives_with_a_store_ask_as_one() {
    for (life, takes) in SHORT_LIVES {
        let scenario = Scenario {
            replicas: 50,
            ..short_lives(life, takes)
        };
        let outcome = play(scenario);
        nobody_was_without_a_token(&outcome);
        // The earliest of many refreshes a tenth of the life before the others, and half of it is
        // the limit.
        let slow = Duration::from_millis(takes[1] * 3 / 2).max(scenario.life / 20);
        let latest = scenario.life - slow - Duration::from_millis(1_250);
        let latest = latest.min(scenario.life / 5 * 4);
        let earliest = (latest - scenario.life / 10).max(scenario.life / 2);
        let lives = scenario.lasts.as_secs_f64() / earliest.as_secs_f64();
        let total = outcome.total();
        assert!(
            total as f64 <= lives.ceil() + 1.0,
            "{life} s, {takes:?} ms: {total}, {lives}"
        );
    }
}
