//! How soon the refresher asks again after failures.

use super::*;

#[tokio::test(flavor = "local", start_paused = true)]
async fn recovers_within_one_backoff_step() {
    let failures = (0..40).map(|_| Answer::Failure(FailureKind::Unavailable));
    let stage = Stage::play(failures.chain([token(3600)]));
    settle().await;
    while stage.fetches() < 40 {
        pass(Duration::from_millis(50)).await;
    }
    assert!(stage.header().is_none());
    assert_eq!(stage.sample("gatepass_token_consecutive_failures"), 40.0);
    pass(FailureKind::Unavailable.pace().cap).await;
    assert!(stage.header().is_some());
    assert_eq!(stage.sample("gatepass_token_consecutive_failures"), 0.0);

    // What failed before says nothing of what fails after it.
    stage.reader.refresh_now();
    pass(LEAST_DISTANCE).await;
    assert_eq!(stage.sample("gatepass_token_consecutive_failures"), 1.0);
    pass(FailureKind::Unavailable.pace().first).await;
    assert_eq!(stage.sample("gatepass_token_consecutive_failures"), 2.0);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_refusal_is_repeated_slowly() {
    let refusals = (0..100).map(|_| Answer::Failure(FailureKind::Refused));
    let stage = Stage::play(refusals);
    for _ in 0..600 {
        pass(Duration::from_secs(1)).await;
    }
    assert!(
        (10..40).contains(&stage.fetches()),
        "{} in 10 min",
        stage.fetches()
    );
}

/// A provider that comes back may ask for a little patience at first, or not know its clients yet.
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_refusal_after_an_outage_is_repeated_as_soon_as_any_first_one() {
    for kind in [FailureKind::Throttled, FailureKind::Refused] {
        let outage = (0..20).map(|_| Answer::Failure(FailureKind::Unavailable));
        let back = [Answer::Failure(kind), token(60)];
        let stage = Stage::play(outage.chain(back));
        settle().await;
        while stage.fetches() < 21 {
            pass(Duration::from_millis(100)).await;
        }
        pass(Duration::from_secs(5)).await;
        assert!(stage.header().is_some(), "{kind:?}");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_outage_after_refusals_is_looked_at_as_soon_as_any_first_one() {
    let refusals = (0..20).map(|_| Answer::Failure(FailureKind::Refused));
    let down = [Answer::Failure(FailureKind::Unavailable), token(60)];
    let stage = Stage::play(refusals.chain(down));
    settle().await;
    while stage.fetches() < 21 {
        pass(Duration::from_millis(100)).await;
    }
    pass(FailureKind::Unavailable.pace().first).await;
    assert!(stage.header().is_some());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_refusal_is_repeated_slowly_whatever_comes_in_between() {
    let kinds = [FailureKind::Refused, FailureKind::Unavailable];
    let stage = Stage::play(kinds.into_iter().cycle().take(200).map(Answer::Failure));
    for _ in 0..600 {
        pass(Duration::from_secs(1)).await;
    }
    let fetches = stage.fetches();
    assert!((20..80).contains(&fetches), "{fetches} in 10 min");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_attempt_follows_at_the_latest_when_the_token_ends() {
    let refusals = (0..100).map(|_| Answer::Failure(FailureKind::Refused));
    let stage = Stage::play([token(60)].into_iter().chain(refusals));
    settle().await;
    pass(Duration::from_secs(59) - MILLISECOND).await;
    let before = stage.fetches();
    pass(2 * MILLISECOND).await;
    assert_eq!(stage.fetches(), before + 1);
}
