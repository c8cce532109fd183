//! A store that is no help, and one that is a help again.

use super::*;
use crate::token::clock::SLEPT;
use crate::token::schedule::retire_after;

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_store_in_trouble_costs_a_second_and_no_token() {
    for trouble in [
        Trouble::Down,
        Trouble::Hangs,
        Trouble::Garbage,
        Trouble::Full,
    ] {
        let fleet = Fleet::new();
        fleet.store.trouble.set(trouble);
        let began = Instant::now();
        assert_eq!(due(&fleet.replica()).await.unwrap(), "token-1");
        assert!(
            began.elapsed() <= Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn without_the_store_each_waits_for_a_while_of_its_own_and_asks() {
    let fleet = Fleet::new();
    let replicas: Vec<_> = (0..20).map(|_| fleet.replica()).collect();
    for replica in &replicas {
        due(replica).await.unwrap();
    }
    sleep(HOUR / 4 * 3).await;
    fleet.store.trouble.set(Trouble::Down);
    let mut waits = Vec::new();
    for replica in &replicas {
        let error = due(replica).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::HeldBack);
        waits.push(error.retry_after.unwrap());
    }
    let bound = Duration::from_secs(900 - 180);
    assert!(waits.iter().all(|wait| *wait <= bound), "{waits:?}");
    let half = waits.iter().filter(|wait| **wait < bound / 2).count();
    assert!((4..=16).contains(&half), "{waits:?}");
    sleep(bound).await;
    for replica in &replicas {
        due(replica).await.unwrap();
    }
    assert_eq!(fleet.provider.asked(), 21);
}

/// However often it is looked at, and each time that there is trouble.
#[tokio::test(flavor = "local", start_paused = true)]
async fn who_has_waited_for_the_store_asks_and_then_waits_anew() {
    let fleet = Fleet::new();
    let replica = fleet.replica();
    due(&replica).await.unwrap();
    for asked in 2..10 {
        sleep(HOUR / 4 * 3).await;
        fleet.store.trouble.set(Trouble::Down);
        let error = due(&replica).await.unwrap_err();
        assert_eq!(error.kind, FailureKind::HeldBack);
        sleep(error.retry_after.unwrap()).await;
        due(&replica).await.unwrap();
        assert_eq!(fleet.provider.asked(), asked);
        fleet.store.trouble.set(Trouble::None);
        assert_eq!(replica.shared_by(), None, "it is its own");
    }
}

/// The others can wait for the news; whoever has asked has a token.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_store_that_hangs_when_it_is_to_be_told_keeps_no_token_back() {
    let fleet = Fleet::new();
    let replica = fleet.replica();
    due(&replica).await.unwrap();
    fleet.provider.0.borrow_mut().takes = Duration::from_millis(300);
    let began = Instant::now();
    let (fetched, ()) = tokio::join!(replica.fetch(Occasion::Demanded), async {
        sleep(Duration::from_millis(100)).await;
        fleet.store.trouble.set(Trouble::Hangs);
    });
    fetched.unwrap();
    assert!(
        began.elapsed() <= Duration::from_millis(1_300),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_token_that_was_refused_does_not_wait_for_the_store() {
    let fleet = Fleet::new();
    let replica = fleet.replica();
    due(&replica).await.unwrap();
    fleet.store.trouble.set(Trouble::Down);
    replica.fetch(Occasion::Demanded).await.unwrap();
    assert_eq!(fleet.provider.asked(), 2);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_is_broken_is_written_anew() {
    let fleet = Fleet::new();
    let name = "gatepass:id";
    let swap = Swap {
        old: b"",
        new: b"garbage",
        keep_for: HOUR,
        is_news: false,
    };
    assert!(fleet.store.swap(name, swap).await.unwrap());
    due(&fleet.replica()).await.unwrap();
    due(&fleet.replica()).await.unwrap();
    assert_eq!(fleet.provider.asked(), 1);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_nobody_can_read_is_left_alone_until_nobody_writes_it() {
    let fleet = Fleet::new();
    let name = "gatepass:id";
    let of_others = |number: u8| [&b"gatepass-1-sealed:"[..], &[number; 40]].concat();
    let mut before = Vec::new();
    for number in 1..=2 {
        let of_these = of_others(number);
        let swap = Swap {
            old: &before,
            new: &of_these,
            keep_for: HOUR * 100,
            is_news: false,
        };
        assert!(fleet.store.swap(name, swap).await.unwrap());
        before = of_these;
    }
    let (one, other) = (fleet.replica(), fleet.replica());
    due(&one).await.unwrap();
    due(&other).await.unwrap();
    sleep(HOUR * 2 - Duration::from_secs(1)).await;
    one.fetch(Occasion::Demanded).await.unwrap();
    let there = fleet.store.read(name).await.unwrap().bytes;
    assert_eq!(there, of_others(2), "somebody may still need it");
    assert_eq!(fleet.provider.asked(), 3);
    sleep(Duration::from_secs(3)).await;
    one.fetch(Occasion::Demanded).await.unwrap();
    assert_eq!(fleet.provider.asked(), 4);
    due(&other).await.unwrap();
    assert_eq!(fleet.provider.asked(), 4, "they share again");
}

/// Those who still use it may have a session there, and write it anew with each refresh only. Nor does one
/// who has not had a token yet know how long that may take.
#[tokio::test(flavor = "local", start_paused = true)]
async fn what_nobody_can_read_is_left_alone_for_ever_where_it_may_hold_a_session() {
    let fleet = Fleet::new();
    let of_others = [&b"gatepass-1-sealed:"[..], &[1; 40]].concat();
    let swap = Swap {
        old: b"",
        new: &of_others,
        keep_for: HOUR * 1_000,
        is_news: false,
    };
    let name = "gatepass:id";
    assert!(fleet.store.swap(name, swap).await.unwrap());
    let is_left = async || fleet.store.read(name).await.unwrap().bytes == of_others;

    fleet.provider.0.borrow_mut().fails = Some(FailureKind::Unavailable);
    let without = fleet.replica();
    for _ in 0..3 {
        due(&without).await.unwrap_err();
        sleep(HOUR).await;
    }
    assert!(is_left().await);

    fleet.provider.0.borrow_mut().fails = None;
    fleet.provider.0.borrow_mut().must_finish = true;
    let with_session = fleet.replica();
    for _ in 0..3 {
        with_session.fetch(Occasion::Demanded).await.unwrap();
        sleep(HOUR * 3).await;
    }
    assert!(is_left().await);
}

/// What it took until there was a token, from the moment at which the one at hand was due.
async fn renewed_within(replica: &SharedSource) -> Duration {
    let began = Instant::now();
    while let Err(error) = replica.fetch(Occasion::Due).await {
        assert_eq!(error.kind, FailureKind::HeldBack);
        sleep(error.retry_after.unwrap()).await;
    }
    began.elapsed()
}

/// The moments are those of `Room`; here they are kept to.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_store_that_hangs_from_the_refresh_on_costs_no_short_life() {
    let seconds = Duration::from_secs;
    for (life, takes) in [(10, 1), (20, 1), (20, 3), (30, 1), (30, 3), (60, 3)] {
        for trouble in [Trouble::Hangs, Trouble::Down] {
            let fleet = Fleet::new();
            let replica = fleet.replica();
            fleet.provider.0.borrow_mut().lifetime = seconds(life);
            fleet.provider.0.borrow_mut().takes = seconds(takes);
            let began = Instant::now();
            let first = replica.fetch(Occasion::Due).await.unwrap();
            let due = schedule::refresh_after(seconds(life), first.refresh_in, 0.0);
            sleep(due - began.elapsed()).await;
            fleet.store.trouble.set(trouble);
            let took = renewed_within(&replica).await;
            let left = retire_after(seconds(life)) - due;
            assert!(took <= left, "{life} {takes}: {took:?} of {left:?}");
        }
    }
}

/// A token that came late is over as early as any other.
#[tokio::test(flavor = "local", start_paused = true)]
async fn the_end_is_counted_from_before_the_request() {
    let fleet = Fleet::new();
    fleet.provider.0.borrow_mut().takes = Duration::from_secs(9);
    let replica = fleet.replica();
    let began = Instant::now();
    due(&replica).await.unwrap();
    let left = replica.at_hand.get().unwrap().left();
    assert_eq!(left + began.elapsed(), retire_after(HOUR));
}

/// A laptop's lid: timers have stood still, and the token at hand is over.
#[tokio::test(flavor = "local", start_paused = true)]
async fn after_a_sleep_nobody_waits_with_a_token_that_is_over() {
    let fall_asleep = || SLEPT.set(SLEPT.get() + HOUR * 2);
    let fleet = Fleet::new();
    let replica = fleet.replica();
    due(&replica).await.unwrap();
    fall_asleep();
    fleet.store.trouble.set(Trouble::Down);
    assert_eq!(due(&replica).await.unwrap(), "token-2");

    // Also if it had begun to wait for the store before that.
    sleep(HOUR / 5 * 4).await;
    let held = due(&replica).await.unwrap_err();
    assert_eq!(held.kind, FailureKind::HeldBack);
    fall_asleep();
    assert_eq!(due(&replica).await.unwrap(), "token-3");

    let frugal = fleet.replica_within(Some(1));
    due(&frugal).await.unwrap();
    fall_asleep();
    assert_eq!(due(&frugal).await.unwrap(), "token-5");
}

/// One who has waited for another's token has one of that age, and not of that age twice.
#[tokio::test(flavor = "local", start_paused = true)]
async fn the_time_of_waiting_does_not_count_twice() {
    let fleet = Fleet::new();
    fleet.provider.0.borrow_mut().takes = Duration::from_secs(3);
    let (one, other) = (fleet.replica(), fleet.replica());
    let (first, second) = tokio::join!(one.fetch(Occasion::Due), other.fetch(Occasion::Due));
    assert_eq!(first.unwrap().age, Duration::ZERO);
    assert_eq!(second.unwrap().age, Duration::ZERO);
}

/// Its way to the provider is broken, and that to the store is not.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_holder_that_gets_no_answer_leaves_the_turn_to_another() {
    let fleet = Fleet::new();
    fleet.provider.0.borrow_mut().lifetime = Duration::from_secs(30);
    let (sick, other) = (fleet.replica(), fleet.replica());
    due(&sick).await.unwrap();
    due(&other).await.unwrap();
    sleep(Duration::from_secs(23)).await;
    fleet.provider.0.borrow_mut().takes = Duration::from_secs(10);
    let turn = async { due(&sick).await };
    let others = async {
        sleep(Duration::from_millis(1)).await;
        fleet.provider.0.borrow_mut().takes = Duration::from_millis(300);
        due(&other).await
    };
    let began = Instant::now();
    let (first, second) = tokio::join!(turn, others);
    assert_eq!(
        (first.unwrap(), second.unwrap()),
        ("token-3".into(), "token-3".into())
    );
    assert!(
        began.elapsed() < Duration::from_secs(6),
        "{:?}",
        began.elapsed()
    );
}

/// Every replica says that it is over, also those that have no turn for long.
#[tokio::test(flavor = "local", start_paused = true)]
async fn the_trouble_is_over_when_the_store_has_helped() {
    for trouble in [Trouble::Down, Trouble::Full] {
        let fleet = Fleet::new();
        let (one, other) = (fleet.replica(), fleet.replica());
        due(&one).await.unwrap();
        due(&other).await.unwrap();
        sleep(HOUR / 5 * 4).await;
        fleet.store.trouble.set(trouble);
        due(&other).await.unwrap_err();
        assert!(other.entry.as_ref().unwrap().is_failing());
        fleet.store.trouble.set(Trouble::None);
        let mut arrival = pin!(other.changed());
        let begun = tokio::time::timeout(Duration::ZERO, arrival.as_mut()).await;
        begun.expect_err("there is no news yet");
        due(&one).await.unwrap();
        arrival.await;
        assert!(
            !other.entry.as_ref().unwrap().is_failing(),
            "news came from it"
        );
        assert_eq!(fleet.metrics.standings().of("a").trouble, None);
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn one_that_can_be_read_again_is_in_no_trouble() {
    let fleet = Fleet::new();
    let replica = fleet.replica();
    due(&replica).await.unwrap();
    let look = async |trouble, is_failing| {
        fleet.store.trouble.set(trouble);
        let looks = tokio::time::timeout(Duration::from_secs(40), replica.changed());
        looks.await.expect_err("nothing new");
        assert_eq!(replica.entry.as_ref().unwrap().is_failing(), is_failing);
    };
    sleep(HOUR / 5 * 4).await;
    fleet.store.trouble.set(Trouble::Down);
    let _ = due(&replica).await;
    look(Trouble::Down, true).await;
    look(Trouble::None, false).await;
    // Who cannot write is not helped by reading, whatever else it meets.
    fleet.store.trouble.set(Trouble::Full);
    let _ = due(&replica).await;
    look(Trouble::Down, true).await;
    look(Trouble::None, true).await;
    due(&replica).await.unwrap();
    look(Trouble::None, false).await;
}
