//! One turn after another, by a clock that is handed in.

use secrecy::ExposeSecret;

use super::*;
use crate::store::HeldSession;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn claimant(name: &str, known: u64) -> Claimant<'_> {
    Claimant {
        name,
        known,
        lease: seconds(20),
        overrides_rest: false,
        per_hour: None,
        cannot_wait: false,
    }
}

fn token(lifetime: u64) -> FetchedToken {
    FetchedToken::fresh("canary", seconds(lifetime))
}

fn granted(claim: Claim) -> Turn {
    match claim {
        Claim::Granted(turn) => turn,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_asks_and_the_others_take_over() {
    let mut record = Record::default();
    let turn = granted(record.claim(&claimant("a", 0), seconds(100)));
    assert!(
        matches!(record.claim(&claimant("b", 0), seconds(101)), Claim::Held(left) if left == seconds(19))
    );
    assert!(record.succeed(turn, "a", &token(3_600), seconds(1)));
    let Claim::Newer(AgedToken { token, age }) = record.claim(&claimant("b", 0), seconds(160))
    else {
        panic!("it is there");
    };
    assert_eq!(
        (token.generation, token.by.as_str(), age),
        (1, "a", seconds(60))
    );
    let turn = granted(record.claim(&claimant("b", 1), seconds(161)));
    assert_eq!(turn.generation, 2);
}

/// Who could not ask tells the others nothing about the provider, and costs no request.
#[test]
fn a_turn_without_a_question_holds_nobody_up() {
    let mut record = Record::default();
    let one_an_hour = |name| Claimant {
        per_hour: Some(1),
        ..claimant(name, 0)
    };
    let turn = granted(record.claim(&one_an_hour("a"), seconds(100)));
    record.give_back(turn, "a");
    let turn = granted(record.claim(&one_an_hour("b"), seconds(101)));
    record.give_back(turn, "b");
    let late = granted(record.claim(&claimant("a", 0), seconds(102)));
    let turn = granted(record.claim(&claimant("b", 0), seconds(200)));
    record.give_back(late, "a");
    assert!(record.is_turn(turn.generation), "it is over already");
}

#[test]
fn who_has_been_overtaken_changes_nothing() {
    let mut record = Record::default();
    let stalled = granted(record.claim(&claimant("a", 0), seconds(100)));
    let next = granted(record.claim(&claimant("b", 0), seconds(121)));
    assert!(!record.prolong(stalled, seconds(20), seconds(122)));
    record.fail(
        stalled,
        "a",
        FailureKind::Unavailable,
        seconds(5),
        seconds(122),
    );
    assert!(record.is_turn(next.generation), "a's failure is no news");
    assert!(record.succeed(next, "b", &token(3_600), seconds(1)));
    assert!(!record.succeed(stalled, "a", &token(3_600), seconds(1)));
    assert_eq!(record.token.as_ref().unwrap().by, "b");
    let late = FailureKind::Unavailable;
    record.fail(stalled, "a", late, seconds(9_000), seconds(123));
    granted(record.claim(&claimant("c", 0), seconds(4_000)));
}

/// A late answer is better than none.
#[test]
fn a_turn_that_is_over_still_brings_a_token_if_nobody_else_has() {
    let mut record = Record::default();
    let stalled = granted(record.claim(&claimant("a", 0), seconds(100)));
    let next = granted(record.claim(&claimant("b", 0), seconds(121)));
    assert!(record.succeed(stalled, "a", &token(3_600), seconds(1)));
    assert!(record.is_turn(next.generation));
    assert!(record.succeed(next, "b", &token(3_600), seconds(1)));
}

#[test]
fn all_wait_after_a_failure_but_who_has_something_new() {
    let mut record = Record::default();
    let turn = granted(record.claim(&claimant("a", 0), seconds(100)));
    record.fail(turn, "a", FailureKind::Refused, seconds(30), seconds(101));
    let Claim::Resting { left, outcome } = record.claim(&claimant("b", 0), seconds(111)) else {
        panic!("all wait");
    };
    assert_eq!((left, outcome.as_str()), (seconds(20), "refused"));
    let eager = Claimant {
        overrides_rest: true,
        ..claimant("c", 0)
    };
    let turn = granted(record.claim(&eager, seconds(112)));
    assert_eq!((turn.failures.all, turn.failures.patient), (1, 1));
    let kind = FailureKind::Unavailable;
    record.fail(turn, "c", kind, seconds(30), seconds(113));
    let turn = granted(record.claim(&claimant("b", 0), seconds(143)));
    assert_eq!((turn.failures.all, turn.failures.patient), (2, 1));
}

/// By as much as it was set back, all would wait longer: hours as a rule.
#[test]
fn a_clock_that_is_set_back_makes_no_rest_and_no_turn_longer_than_twice_what_they_were() {
    let (before, step) = (seconds(100_000), seconds(7_200));
    let mut record = Record::default();
    let turn = granted(record.claim(&claimant("a", 0), before));
    let held = record.claim(&claimant("b", 0), before - seconds(20));
    assert!(
        matches!(held, Claim::Held(_)),
        "a turn is not cut short for a little: {held:?}"
    );
    record.fail(turn, "a", FailureKind::Refused, seconds(30), before);
    let resting = record.claim(&claimant("b", 0), before - seconds(30));
    assert!(matches!(resting, Claim::Resting { .. }), "{resting:?}");
    // What is written now is written by the clock as it is now, and prolonged by it.
    let turn = granted(record.claim(&claimant("b", 0), before - step));
    assert!(record.prolong(turn, seconds(20), before - step + seconds(7)));
    let held = record.claim(&claimant("c", 0), before - step + seconds(10));
    assert!(
        matches!(held, Claim::Held(left) if left == seconds(17)),
        "{held:?}"
    );
    // It is killed, and the clock is set back once more.
    granted(record.claim(&claimant("c", 0), before - step * 2));
}

/// It does not say when that was.
#[test]
fn what_an_earlier_version_wrote_is_kept_to() {
    let written = r#"{"generation":1,"asked":[],
        "lease":{"holder":"a","generation":1,"until":{"secs":120,"nanos":0}}}"#;
    let mut record: Record = serde_json::from_str(written).unwrap();
    let held = record.claim(&claimant("b", 0), seconds(100));
    assert!(matches!(held, Claim::Held(left) if left == seconds(20)));
    granted(record.claim(&claimant("b", 0), seconds(120)));
}

#[test]
fn a_budget_holds_for_any_hour() {
    let mut record = Record::default();
    let frugal = Claimant {
        per_hour: Some(2),
        ..claimant("a", 0)
    };
    for at in [0, 600] {
        let turn = granted(record.claim(&frugal, seconds(at)));
        record.fail(
            turn,
            "a",
            FailureKind::Unavailable,
            Duration::ZERO,
            seconds(at),
        );
    }
    assert!(
        matches!(record.claim(&frugal, seconds(900)), Claim::Spent(left) if left == seconds(2_700))
    );
    assert_eq!(record.asked_lately(seconds(900)), 2);
    let urgent = Claimant {
        cannot_wait: true,
        ..frugal.clone()
    };
    let turn = granted(record.claim(&urgent, seconds(901)));
    record.fail(
        turn,
        "b",
        FailureKind::Unavailable,
        Duration::ZERO,
        seconds(901),
    );
    assert!(
        matches!(record.claim(&frugal, seconds(3_600)), Claim::Spent(left) if left == seconds(600))
    );
    granted(record.claim(&frugal, seconds(4_200)));
}

#[test]
fn a_store_that_has_lost_its_memory_does_not_fall_behind() {
    let mut record = Record::default();
    assert_eq!(
        granted(record.claim(&claimant("a", 57), seconds(0))).generation,
        58
    );
}

fn saved(refresh_token: &str) -> SavedSession {
    SavedSession {
        identity: "clerk".into(),
        refresh_token: refresh_token.into(),
    }
}

fn refresh_token(record: &Record) -> Option<&str> {
    let session = record.session.as_ref()?;
    Some(session.saved.refresh_token.expose_secret())
}

/// What followed it is on its way.
#[test]
fn a_refresh_token_that_is_used_up_stays_taken_when_the_turn_ends() {
    for owes_session in [true, false] {
        let mut record = Record::default();
        record.keep(saved("first"));
        let turn = Turn {
            owes_session,
            ..granted(record.claim(&claimant("a", 0), seconds(100)))
        };
        record.session.as_mut().unwrap().taken_by = Some("a".into());
        assert!(record.succeed(turn, "a", &token(3_600), seconds(1)));
        let session = record.session.unwrap();
        assert_eq!(session.taken_by.is_some(), owes_session);
    }
}

#[test]
fn what_a_replica_holds_takes_the_place_of_what_it_has_followed_alone() {
    let held = |is_kept| HeldSession {
        session: saved("second"),
        follows: Some("first".into()),
        is_kept,
    };
    for is_kept in [true, false] {
        let mut record = Record::default();
        record.keep(saved("first"));
        record.session.as_mut().unwrap().taken_by = Some("b".into());
        assert!(record.catch_up(&held(is_kept)), "it has fallen back");
        assert_eq!(refresh_token(&record), Some("second"));
        assert_eq!(record.session.as_ref().unwrap().taken_by, None);
        assert!(!record.catch_up(&held(is_kept)));
        for other in ["third", "zeroth"] {
            record.keep(saved(other));
            assert!(!record.catch_up(&held(is_kept)));
        }
        record.session = Some(StoredSession {
            saved: SavedSession {
                identity: "boss".into(),
                ..saved("first")
            },
            taken_by: None,
        });
        assert!(!record.catch_up(&held(is_kept)), "another user's");

        record.session = None;
        assert_eq!(record.catch_up(&held(is_kept)), !is_kept);
        record.log_out();
        assert!(!record.catch_up(&held(is_kept)), "somebody has ended it");
        record.adopt("b", &token(60), None, seconds(1));
        assert!(!record.catch_up(&held(is_kept)), "it was another's");
    }
}

#[test]
fn a_token_from_the_future_or_at_its_end_is_left_alone() {
    let mut record = Record::default();
    let turn = granted(record.claim(&claimant("a", 0), seconds(1_000)));
    assert!(record.succeed(turn, "a", &token(100), seconds(1)));
    for taken in [record.spare(0, seconds(999)), record.fresh(0, seconds(999))] {
        assert!(taken.is_none(), "the clock was set back");
    }
    assert!(record.fresh(0, seconds(1_079)).is_some());
    assert!(record.fresh(0, seconds(1_080)).is_none());
    assert!(record.spare(0, seconds(1_098)).is_some());
    assert!(record.spare(0, seconds(1_099)).is_none());
}

#[test]
fn an_entry_outlives_its_token_and_a_session_a_holiday() {
    let mut record = Record::default();
    let turn = granted(record.claim(&claimant("a", 0), seconds(1)));
    assert_eq!(record.keep_for(), HOUR);
    assert!(record.succeed(turn, "a", &token(36_000), seconds(1)));
    assert_eq!(record.keep_for(), seconds(72_000));
    record.keep(saved("refresh-1"));
    assert_eq!(record.keep_for(), seconds(90 * 86_400));
}

#[test]
fn nothing_shows_a_secret_and_all_of_it_comes_back() {
    let mut record = Record::default();
    let turn = granted(record.claim(&claimant("a", 0), seconds(1)));
    assert!(record.succeed(turn, "a", &token(3_600), seconds(1)));
    assert!(!format!("{record:?}").contains("canary"));
    let written = serde_json::to_vec(&record).unwrap();
    let read: Record = serde_json::from_slice(&written).unwrap();
    let fetched = FetchedToken::from(read.fresh(0, seconds(3)).unwrap());
    assert_eq!(fetched.secret.expose_secret(), "canary");
    assert_eq!(fetched.age, seconds(2));
}
