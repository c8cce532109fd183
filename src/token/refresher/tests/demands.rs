//! What makes the refresher ask before its time, and what holds it back.

use super::*;
use crate::token::clock::{SLEPT, time_asleep};

#[tokio::test(flavor = "local", start_paused = true)]
async fn whatever_a_provider_says_it_is_asked_a_few_times_a_minute() {
    let too_short = |millis| Answer::Token {
        lifetime: Duration::from_millis(millis),
        delay: Duration::ZERO,
    };
    for answer in [
        &(|| too_short(1)) as &dyn Fn() -> Answer,
        &|| too_short(1_000),
        &|| Answer::Failure(FailureKind::Malformed),
        &|| Answer::Failure(FailureKind::Unavailable),
        &|| Answer::Failure(FailureKind::Unverified),
    ] {
        let stage = Stage::play((0..1_000).map(|_| answer()));
        for _ in 0..6_000 {
            pass(Duration::from_millis(100)).await;
        }
        let a_minute = stage.fetches() / 10;
        assert!(a_minute <= 16, "{a_minute} a minute");
        stage.script.0.borrow_mut().answers.clear();
        stage
            .script
            .0
            .borrow_mut()
            .answers
            .extend((0..9).map(|_| token(3600)));
        if a_minute > 5 {
            pass(Duration::from_secs(5)).await;
            assert!(stage.header().is_some(), "within 5 s of mending");
        }
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn the_rest_of_a_token_from_a_cache_is_used_and_followed_soon() {
    let rest = Answer::Token {
        lifetime: Duration::from_secs(1),
        delay: Duration::ZERO,
    };
    let stage = Stage::play([rest, token(3600)]);
    settle().await;
    assert_eq!(stage.header().as_deref(), Some("Bearer token-1"));
    pass(Duration::from_millis(510)).await;
    assert_eq!(
        stage.header().as_deref(),
        Some("Bearer token-2"),
        "without a gap"
    );
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_token_that_lives_long_makes_good_for_short_ones_before_it() {
    let rest = || Answer::Token {
        lifetime: Duration::from_secs(1),
        delay: Duration::ZERO,
    };
    let stage = Stage::play((0..10).flat_map(|_| [rest(), token(3600)]));
    settle().await;
    for round in 1..=10 {
        assert_eq!(stage.fetches(), 2 * round - 1);
        pass(Duration::from_millis(510)).await;
        assert_eq!(stage.fetches(), 2 * round, "without a gap");
        pass(LEAST_DISTANCE).await;
        stage.reader.refresh_now();
        settle().await;
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_change_on_this_machine_is_tried_at_once() {
    let refusals = (0..20).map(|_| Answer::Failure(FailureKind::Refused));
    let stage = Stage::play(refusals);
    while stage.fetches() < 10 {
        pass(Duration::from_secs(1)).await;
    }
    stage.script.0.borrow_mut().answers.clear();
    stage.script.0.borrow_mut().answers.push_back(token(3600));
    pass(LEAST_DISTANCE).await;
    assert!(stage.header().is_none());
    stage.script.0.borrow().changed.notify_one();
    pass(MILLISECOND).await;
    assert!(stage.header().is_some());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn after_a_sleep_that_outlasted_the_token_another_is_fetched_at_once() {
    let stage = Stage::play([token(3600), Answer::Silence]);
    settle().await;
    stage
        .reader
        .count_sleep(time_asleep() + Duration::from_secs(7_200));
    settle().await;
    assert!(stage.header().is_none());
    assert_eq!(stage.fetches(), 2);
    assert!(matches!(**stage.reader.load(), TokenState::Expired(_)));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_short_sleep_costs_no_token_request() {
    let stage = Stage::play([token(3600), token(3600)]);
    settle().await;
    stage
        .reader
        .count_sleep(time_asleep() + Duration::from_secs(600));
    pass(first_refresh(Duration::from_secs(3600)) - Duration::from_secs(600) - MILLISECOND).await;
    assert_eq!(stage.fetches(), 1, "not yet");
    pass(2 * MILLISECOND).await;
    assert_eq!(stage.fetches(), 2, "ten minutes sooner by timers");
}

/// The clocks are looked at when it wakes, and the token comes after that.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_sleep_while_the_answer_is_on_its_way_is_a_part_of_the_life() {
    let slow = Answer::Token {
        lifetime: Duration::from_secs(3600),
        delay: Duration::from_secs(2),
    };
    let stage = Stage::play([slow]);
    settle().await;
    pass(Duration::from_secs(1)).await;
    SLEPT.set(SLEPT.get() + Duration::from_secs(600));
    stage.reader.count_sleep(time_asleep());
    pass(Duration::from_secs(1) + MILLISECOND).await;
    let state = stage.reader.load();
    let left = state.valid().unwrap().retire_at() - Instant::now();
    assert_eq!(left.as_secs(), 3600 - 1 - 2 - 600 - 1);
}

/// A reload has every credential look again.
#[tokio::test(flavor = "local", start_paused = true)]
async fn who_looks_again_keeps_to_the_pace_of_failures() {
    let stage = Stage::play([token(3600), Answer::Failure(FailureKind::Refused)]);
    settle().await;
    pass(first_refresh(Duration::from_secs(3600)) + MILLISECOND).await;
    assert_eq!(stage.fetches(), 2);
    for _ in 0..20 {
        stage.reader.count_sleep(time_asleep());
        pass(Duration::from_millis(100)).await;
    }
    assert_eq!(stage.fetches(), 2);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_demand_never_puts_off_what_is_due() {
    let stage = Stage::play([Answer::Failure(FailureKind::Unavailable), token(3600)]);
    settle().await;
    stage.reader.refresh_now();
    pass(FailureKind::Unavailable.pace().first).await;
    assert!(stage.header().is_some());
}

/// It was reckoned with the end of the token: the pace of failures may be too late.
#[tokio::test(flavor = "local", start_paused = true)]
async fn what_is_held_back_is_tried_when_it_says() {
    let wait = Duration::from_secs(1);
    let held_back = (0..20).map(|_| Answer::HeldBack { wait });
    let stage = Stage::play([token(3600)].into_iter().chain(held_back));
    settle().await;
    pass(first_refresh(Duration::from_secs(3600)) + MILLISECOND).await;
    for fetches in 2..20 {
        assert_eq!(stage.fetches(), fetches);
        pass(wait + MILLISECOND).await;
    }
}

/// An upstream may refuse the token long before its refresh.
#[tokio::test(flavor = "local", start_paused = true)]
async fn an_attempt_that_has_panicked_is_not_waited_for() {
    let stage = Stage::play([token(3600), Answer::Panic, token(3600)]);
    settle().await;
    stage.reader.refresh_now();
    pass(LEAST_DISTANCE).await;
    assert_eq!(stage.fetches(), 2);
    pass(Duration::from_secs(2)).await;
    assert!(matches!(stage.refuse(1), Refusal::Awaited(_)));
    pass(LEAST_DISTANCE).await;
    assert_eq!(stage.header().as_deref(), Some("Bearer token-3"));
}

/// An older token that an upstream refuses would otherwise be taken for the one at hand.
#[tokio::test(flavor = "local", start_paused = true)]
async fn who_goes_on_where_another_has_ended_counts_on() {
    let Stage {
        script,
        reader,
        readiness,
        _task: task,
        ..
    } = Stage::play([token(3600), token(3600)]);
    settle().await;
    drop(task);
    let refresher = Refresher::new(
        Box::new(script),
        TokenWriter::of(&reader),
        TokenMetrics::register(&Registry::new())
            .unwrap()
            .for_credential("envase"),
        fastrand::Rng::with_seed(7),
        readiness.startup("first token"),
        Rc::default(),
        Spread::default(),
    );
    let _task = tokio::task::spawn_local(refresher.run_supervised());
    settle().await;
    assert_eq!(reader.load().generation(), 1, "it is still good");
    reader.refresh_now();
    pass(LEAST_DISTANCE).await;
    assert_eq!(reader.load().generation(), 2);
}

/// All replicas meet the same order or outage; without a new draw they would refresh together for ever.
#[tokio::test(flavor = "local", start_paused = true)]
async fn each_has_its_place_until_all_ask_at_once() {
    let life = Duration::from_secs(3600);
    let failure = Answer::Failure(FailureKind::Unavailable);
    let tokens = (0..8).map(|_| token(3600));
    let stage = Stage::play(
        [token(3600), token(3600), token(3600), failure]
            .into_iter()
            .chain(tokens),
    );
    let refresh_in = || {
        let state = stage.reader.load();
        state.valid().unwrap().refresh_at() - Instant::now()
    };
    let when_due = async || pass(refresh_in() + MILLISECOND).await;
    let in_its_place = schedule::refresh_after(life, None, 0.0) - 2 * MILLISECOND;
    settle().await;
    assert!(refresh_in() < in_its_place, "the first draws");
    when_due().await;
    assert!(refresh_in() >= in_its_place);
    pass(LEAST_DISTANCE + MILLISECOND).await;
    stage.reader.refresh_now();
    settle().await;
    assert_eq!(stage.fetches(), 3);
    assert!(refresh_in() < in_its_place, "so does one that was ordered");
    when_due().await;
    pass(FailureKind::Unavailable.pace().first).await;
    assert_eq!(stage.fetches(), 5);
    assert!(refresh_in() < in_its_place, "and one after an outage");
    when_due().await;
    assert!(refresh_in() >= in_its_place);

    // Who has another's token has no place, and is early by little.
    let early = Duration::from_secs(48 * 60 - 360);
    stage.script.0.borrow_mut().shared_by = Some("another".into());
    when_due().await;
    assert!((early..in_its_place).contains(&refresh_in()));
    stage.script.0.borrow_mut().shared_by = None;
    when_due().await;
    assert!(refresh_in() < in_its_place);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_refused_token_is_refreshed_once() {
    let stage = Stage::play([token(3600), token(3600), token(3600)]);
    settle().await;
    pass(Duration::from_secs(60)).await;
    let first = stage.refuse(1);
    let second = stage.refuse(1);
    settle().await;
    assert_eq!(stage.fetches(), 2);
    for refusal in [first, second] {
        let Refusal::Awaited(successor) = refusal else {
            panic!("{refusal:?}");
        };
        assert!(successor.arrives_within(Duration::ZERO).await);
    }
    assert!(matches!(stage.refuse(1), Refusal::Superseded));
    pass(Duration::from_secs(60)).await;
    assert_eq!(stage.fetches(), 2);
    assert_eq!(stage.header().as_deref(), Some("Bearer token-2"));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_operator_gets_a_new_token_at_once_and_one_a_second_at_most() {
    let stage = Stage::play((0..100).map(|_| token(3600)));
    settle().await;
    pass(Duration::from_secs(60)).await;
    stage.reader.refresh_now();
    settle().await;
    assert_eq!(stage.fetches(), 2);
    for _ in 0..100 {
        stage.reader.refresh_now();
        pass(Duration::from_millis(100)).await;
    }
    assert!(
        (8..=13).contains(&stage.fetches()),
        "{} in 10 s",
        stage.fetches()
    );
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_demand_interrupts_the_wait_after_a_refusal() {
    let stage = Stage::play([Answer::Failure(FailureKind::Refused), token(3600)]);
    settle().await;
    assert!(stage.header().is_none());
    stage.reader.refresh_now();
    pass(LEAST_DISTANCE + MILLISECOND).await;
    assert!(stage.header().is_some());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_wish_for_a_little_patience_does_not_outlast_the_token() {
    let throttled = (0..100).map(|_| Answer::Throttled {
        retry_after: Duration::from_secs(1),
    });
    let stage = Stage::play([token(60)].into_iter().chain(throttled));
    settle().await;
    for _ in 0..58 {
        pass(Duration::from_secs(1)).await;
    }
    pass(Duration::from_secs(1) - MILLISECOND).await;
    let before = stage.fetches();
    pass(2 * MILLISECOND).await;
    assert_eq!(stage.fetches(), before + 1, "one when the token ends");
}

/// It may answer less and less otherwise.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_wish_for_much_patience_goes_before_the_end_of_the_token() {
    let retry_after = Duration::from_secs(300);
    let stage = Stage::play([token(60), Answer::Throttled { retry_after }, token(60)]);
    settle().await;
    pass(first_refresh(Duration::from_secs(60)) + MILLISECOND).await;
    assert_eq!(stage.fetches(), 2);
    pass(retry_after - 2 * MILLISECOND).await;
    assert_eq!(stage.fetches(), 2, "not yet");
    pass(3 * MILLISECOND).await;
    assert_eq!(stage.fetches(), 3, "now");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn refusals_do_not_hurry_a_provider_that_asks_for_patience() {
    let patience = Duration::from_secs(300);
    let throttled = Answer::Throttled {
        retry_after: patience,
    };
    let stage = Stage::play([token(3600), throttled, token(3600)]);
    settle().await;
    pass(Duration::from_secs(60)).await;
    let Refusal::Awaited(successor) = stage.refuse(1) else {
        panic!("the first refusal is followed");
    };
    settle().await;
    assert!(!successor.arrives_within(Duration::ZERO).await);
    for _ in 0..290 {
        assert!(matches!(stage.refuse(1), Refusal::HeldBack));
        pass(Duration::from_secs(1)).await;
    }
    assert_eq!(stage.fetches(), 2);
    pass(Duration::from_secs(11)).await;
    assert_eq!(stage.fetches(), 3);
}

/// Nobody was asked, so nobody has failed: a token that an upstream refuses is still renewed.
#[tokio::test(flavor = "local", start_paused = true)]
async fn what_was_held_back_holds_no_refusal_back() {
    let held_back = Answer::Failure(FailureKind::HeldBack);
    let stage = Stage::play([token(3600), held_back, token(3600)]);
    settle().await;
    pass(Duration::from_secs(48 * 60)).await;
    assert_eq!(stage.fetches(), 2);
    let generation = stage.reader.load().generation();
    assert!(matches!(stage.refuse(generation), Refusal::Awaited(_)));
}
