//! What operators are told of a credential.

use super::*;

#[tokio::test(flavor = "local", start_paused = true)]
async fn why_there_is_no_token_is_told() {
    let stage = Stage::play([Answer::Silence]);
    settle().await;
    insta::assert_snapshot!(
        stage.reader.load().why_unusable().unwrap(),
        @"has no token yet: the next one is on its way"
    );

    let stage = Stage::play([Answer::Failure(FailureKind::Refused)]);
    settle().await;
    insta::assert_snapshot!(
        stage.reader.load().why_unusable().unwrap(),
        @"has no token yet: as the script says; next attempt in 5 s"
    );
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn why_the_next_token_does_not_come_is_told_while_there_is_one() {
    let refused = Answer::Failure(FailureKind::Refused);
    let stage = Stage::play([token(120), refused, token(120)]);
    let told = || stage.reader.load().why_ageing();
    settle().await;
    assert_eq!(told(), None);
    stage.reader.refresh_now();
    pass(LEAST_DISTANCE + MILLISECOND).await;
    assert_eq!(stage.fetches(), 2);
    insta::assert_snapshot!(
        told().unwrap(),
        @"has no next token yet: as the script says; next attempt in 4 s; the one at hand is sent for 1m 58s more"
    );
    assert_eq!(
        stage.reader.load().why_unusable(),
        None,
        "requests have one"
    );
    pass(Duration::from_secs(5)).await;
    assert_eq!(told(), None, "the next one has come");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_token_that_has_ended_is_not_said_to_age() {
    let stage = Stage::play([token(10)]);
    settle().await;
    pass(Duration::from_secs(20)).await;
    let state = stage.reader.load();
    assert!(state.why_unusable().is_some());
    assert_eq!(state.why_ageing(), None);
}

/// "Retry-After: 0" has callers ask again without a pause.
#[tokio::test(flavor = "local", start_paused = true)]
async fn callers_are_asked_to_wait_a_second_at_least() {
    let failures = [Answer::Failure(FailureKind::Unavailable), Answer::Silence];
    let stage = Stage::play(failures);
    settle().await;
    pass(Duration::from_secs(5)).await;
    assert_eq!(stage.fetches(), 2, "it is due");
    assert_eq!(stage.reader.load().retry_after_seconds(), 1);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn the_times_of_the_token_at_hand_are_shown() {
    let stage = Stage::play([token(3600), token(7200)]);
    for life in [3600.0, 7200.0] {
        settle().await;
        let sample = |of| stage.sample(&format!("gatepass_token_{of}_timestamp_seconds"));
        let left = sample("expiry") - sample("last_success");
        assert!((life - 2.0..life).contains(&left), "{left}");
        assert!(sample("next_refresh") < sample("expiry"));
        pass(LEAST_DISTANCE).await;
        stage.reader.refresh_now();
    }
}
