//! What makes the refresher ask before its time, and what holds it back.

use super::*;
use crate::token::clock::time_asleep;

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
