//! New tokens that upstreams do not take yet.

use super::*;

const LIFE: u64 = 3_600;

/// A stage where the second token has just come, at its time.
async fn with_a_second_token(answers: impl IntoIterator<Item = Answer>) -> Stage {
    let stage = Stage::play(answers);
    sleep(first_refresh(Duration::from_secs(LIFE)) + Duration::from_secs(1)).await;
    assert_eq!(stage.fetches(), 2);
    assert_eq!(stage.header().as_deref(), Some("Bearer token-2"));
    stage
}

async fn is_replaced_at_once(refusal: Refusal) -> bool {
    is_replaced_within(Duration::from_millis(1), refusal).await
}

async fn is_replaced_within(limit: Duration, refusal: Refusal) -> bool {
    let Refusal::Awaited(successor) = refusal else {
        panic!("{refusal:?}");
    };
    successor.arrives_within(limit).await
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn the_one_before_is_sent_until_they_do() {
    let stage = with_a_second_token([token(LIFE), token(LIFE)]).await;
    let first = stage.refuse(2);
    let second = stage.refuse(2);
    assert!(is_replaced_at_once(first).await);
    assert!(is_replaced_at_once(second).await);
    assert_eq!(stage.header().as_deref(), Some("Bearer token-1"));
    assert!(matches!(stage.refuse(2), Refusal::Superseded));
    // Each time it is tried again a little later.
    for (pause, generation) in [(5, 3), (10, 5), (20, 7)] {
        assert_eq!(stage.reader.load().generation(), generation);
        assert_eq!(stage.sample("gatepass_token_generation"), generation as f64);
        sleep(Duration::from_millis(pause * 1_000 - 100)).await;
        assert_eq!(stage.header().as_deref(), Some("Bearer token-1"));
        sleep(Duration::from_millis(200)).await;
        assert_eq!(stage.header().as_deref(), Some("Bearer token-2"));
        if pause < 20 {
            assert!(is_replaced_at_once(stage.refuse(generation + 1)).await);
        }
    }
    assert_eq!(stage.fetches(), 2);
    assert_eq!(stage.sample("gatepass_token_generation"), 8.0);
}

/// Such as one that has been revoked, or where a permission is missing.
#[tokio::test(flavor = "local", start_paused = true)]
async fn another_is_fetched_where_the_one_before_is_refused_as_well() {
    let stage = with_a_second_token((0..3).map(|_| token(LIFE))).await;
    assert!(is_replaced_at_once(stage.refuse(2)).await);
    // Between two attempts lies a second.
    assert!(is_replaced_within(Duration::from_secs(2), stage.refuse(3)).await);
    assert_eq!(stage.fetches(), 3);
    assert_eq!(stage.header().as_deref(), Some("Bearer token-3"));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(stage.header().as_deref(), Some("Bearer token-3"));
    assert_eq!(stage.fetches(), 3);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn one_that_is_refused_later_was_not_too_new() {
    let stage = with_a_second_token((0..3).map(|_| token(LIFE))).await;
    sleep(Duration::from_secs(11)).await;
    assert!(is_replaced_at_once(stage.refuse(2)).await);
    assert_eq!(stage.header().as_deref(), Some("Bearer token-3"));
    // Nor is one too new that came in the place of a refused one.
    sleep(Duration::from_secs(2)).await;
    assert!(matches!(stage.refuse(3), Refusal::Awaited(_)));
    settle().await;
    assert_eq!(stage.fetches(), 4);
}

/// What is sent meanwhile ends, and the provider is down.
#[tokio::test(flavor = "local", start_paused = true)]
async fn one_that_was_too_new_is_better_than_none() {
    let short = Duration::from_secs(30);
    let stage = Stage::play([token(30), token(LIFE)]);
    sleep(first_refresh(short) + Duration::from_millis(100)).await;
    assert!(is_replaced_at_once(stage.refuse(2)).await);
    // The one before is refused as well, and nothing else comes.
    let Refusal::Awaited(_) = stage.refuse(3) else {
        panic!("not awaited");
    };
    sleep(Duration::from_secs(30)).await;
    assert!(stage.fetches() > 2);
    assert_eq!(stage.header().as_deref(), Some("Bearer token-2"));
}
