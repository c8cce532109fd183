//! Whose turn it is, for how long, and what the others have of it.

use super::*;
use crate::store::entry::Change;

fn fail(fleet: &Fleet, kind: FailureKind) {
    fleet.provider.0.borrow_mut().fails = Some(kind);
}

/// A fault of the store, or of its clock.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_turn_that_does_not_end_is_not_waited_for() {
    let fleet = Fleet::new();
    let replica = fleet.replica();
    let held = replica.entry.as_ref().unwrap().update(|record, now| {
        let another = Claimant {
            name: "another",
            known: 0,
            lease: HOUR,
            overrides_rest: false,
            per_hour: None,
            cannot_wait: true,
        };
        record.claim(&another, now);
        Change::Write(())
    });
    held.await.unwrap();
    let began = Instant::now();
    due(&replica).await.unwrap();
    assert!(
        began.elapsed() <= replica.longest_turn() + Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

/// Its attempt was cut off, by a panic as a rule.
#[tokio::test(flavor = "local", start_paused = true)]
async fn nobody_waits_for_the_end_of_its_own_turn() {
    let fleet = Fleet::new();
    let replica = fleet.replica();
    fleet.provider.0.borrow_mut().takes = Duration::from_secs(9);
    let cut_off = tokio::time::timeout(Duration::from_secs(1), due(&replica));
    cut_off.await.unwrap_err();
    fleet.provider.0.borrow_mut().takes = Duration::ZERO;
    let began = Instant::now();
    due(&replica).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
}

/// A secret that is missing on one replica may be there on another.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_turn_without_a_question_holds_nobody_up() {
    let fleet = Fleet::new();
    fail(&fleet, FailureKind::Misconfigured);
    fleet.provider.0.borrow_mut().is_unasked = true;
    due(&fleet.replica()).await.unwrap_err();
    fleet.provider.0.borrow_mut().fails = None;
    let began = Instant::now();
    due(&fleet.replica()).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_change_is_a_reason_to_ask_once() {
    let fleet = Fleet::new();
    fail(&fleet, FailureKind::Refused);
    let replica = fleet.replica();
    due(&replica).await.unwrap_err();
    fleet.provider.0.borrow_mut().changes = true;
    assert!(replica.changed().await.is_some());
    due(&replica).await.unwrap_err();
    assert_eq!(fleet.provider.asked(), 2);
    let error = due(&replica).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::HeldBack);
    assert_eq!(fleet.provider.asked(), 2);
}

/// The refresher leaves it to this source: news of the others are to be heard at once.
#[tokio::test(flavor = "local", start_paused = true)]
async fn changes_are_a_reason_a_few_times_a_minute() {
    let fleet = Fleet::new();
    fleet.provider.0.borrow_mut().changes = true;
    let replica = fleet.replica();
    let began = Instant::now();
    for _ in 0..14 {
        replica.changed().await;
    }
    assert!(
        began.elapsed() >= Duration::from_secs(149),
        "{:?}",
        began.elapsed()
    );
}

/// The one who finds the provider back tells the others.
#[tokio::test(flavor = "local", start_paused = true)]
async fn those_with_a_good_token_do_not_all_look_at_the_same_moment() {
    let fleet = Fleet::new();
    let replicas: Vec<_> = (0..20).map(|_| fleet.replica()).collect();
    for replica in &replicas {
        due(replica).await.unwrap();
    }
    fail(&fleet, FailureKind::Unavailable);
    sleep(HOUR / 5 * 4).await;
    due(&replicas[0]).await.unwrap_err();
    let mut waits = Vec::new();
    for replica in &replicas[1..] {
        let error = due(replica).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::HeldBack);
        waits.push(error.retry_after.unwrap());
    }
    waits.sort_unstable();
    let spread = *waits.last().unwrap() - waits[0];
    assert!(spread >= Duration::from_secs(30), "{waits:?}");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_arrived_a_while_ago_is_older_by_that() {
    let fleet = Fleet::new();
    let (one, other) = (fleet.replica(), fleet.replica());
    due(&one).await.unwrap();
    other.changed().await;
    sleep(Duration::from_secs(100)).await;
    fleet.store.trouble.set(Trouble::Down);
    let taken = other.fetch(Occasion::Due).await.unwrap();
    assert!(taken.age >= Duration::from_secs(100), "{:?}", taken.age);
}

/// One who has had another's token so far knows how long to ask takes all the same.
#[tokio::test(flavor = "local", start_paused = true)]
async fn all_leave_room_for_a_slow_provider() {
    let fleet = Fleet::new();
    fleet.provider.0.borrow_mut().takes = Duration::from_secs(6);
    fleet.provider.0.borrow_mut().lifetime = Duration::from_secs(40);
    let own = fleet.replica().fetch(Occasion::Due).await.unwrap();
    let taken = fleet.replica().fetch(Occasion::Due).await.unwrap();
    assert_eq!(taken.refresh_in, own.refresh_in);
    assert!(own.refresh_in < Some(Duration::from_secs(32)));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_wish_of_the_provider_holds_unless_it_leaves_no_room() {
    for (wish, is_kept) in [(60, true), (3_590, false)] {
        let fleet = Fleet::new();
        let wish = Some(Duration::from_secs(wish));
        fleet.provider.0.borrow_mut().refresh_in = wish;
        let fetched = fleet.replica().fetch(Occasion::Due).await.unwrap();
        assert_eq!(fetched.refresh_in == wish, is_kept);
        assert!(fetched.refresh_in <= wish);
    }
}
