//! Refusals, and what is made of them.

use super::*;

fn demand(per_minute: u32) -> Demand {
    let counter = |name: &str| IntCounter::new(name, "help").unwrap();
    let settings = RefusalSettings {
        per_minute,
        ..RefusalSettings::default()
    };
    let metrics = RefusalMetrics {
        refreshed: counter("refreshed"),
        superseded: counter("superseded"),
        held_back: counter("held_back"),
    };
    Demand::new(settings, metrics)
}

fn refuse(demand: &Demand, generation: u64) -> Refusal {
    demand.refuse(generation, generation, &"api".into())
}

#[tokio::test(start_paused = true)]
async fn many_refusals_of_one_token_are_one_demand() {
    let demand = demand(4);
    demand.attempted(1, false);
    let waiting: Vec<_> = (0..1_000).map(|_| refuse(&demand, 1)).collect();
    demand.arises(1).await;
    assert_eq!(demand.metrics.refreshed.get(), 1);
    demand.attempted(2, false);
    for refusal in waiting {
        let Refusal::Awaited(successor) = refusal else {
            panic!("{refusal:?}");
        };
        assert!(successor.arrives_within(Duration::ZERO).await);
    }
    assert!(matches!(refuse(&demand, 1), Refusal::Superseded));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_during_an_attempt_waits_for_it_and_costs_nothing() {
    let demand = demand(1);
    for generation in 1..100 {
        demand.attempted(generation, false);
        demand.attempting();
        let Refusal::Awaited(successor) = refuse(&demand, generation) else {
            panic!("the attempt is under way anyway");
        };
        demand.attempted(generation + 1, false);
        assert!(successor.arrives_within(Duration::ZERO).await);
    }
    assert_eq!(demand.metrics.refreshed.get(), 0);
    assert!(
        matches!(refuse(&demand, 100), Refusal::Awaited(_)),
        "the budget is whole"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_releases_those_who_wait() {
    let demand = demand(4);
    demand.attempted(1, false);
    let Refusal::Awaited(successor) = refuse(&demand, 1) else {
        panic!("it is within the budget");
    };
    demand.attempted(1, true);
    let began = Instant::now();
    assert!(!successor.arrives_within(Duration::from_secs(60)).await);
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(
        matches!(refuse(&demand, 1), Refusal::HeldBack),
        "a provider that fails is asked at its own pace"
    );
    demand.attempted(1, false);
    assert!(matches!(refuse(&demand, 1), Refusal::Awaited(_)));
}

/// Their successor has a cell of its own, in which nobody who waits here would see its token.
#[tokio::test(start_paused = true)]
async fn who_waits_for_a_credential_that_is_replaced_is_let_go() {
    let end = Instant::now() + Duration::from_secs(60);
    let new = demand(4);
    let waits = async { tokio::join!(new.first_token(end), async { new.retire() }) };
    waits.await;
    assert!(Instant::now() < end);

    let demand = demand(4);
    demand.attempted(1, false);
    let Refusal::Awaited(successor) = refuse(&demand, 1) else {
        panic!("it is within the budget");
    };
    demand.retire();
    assert!(!successor.arrives_within(Duration::from_secs(60)).await);
    assert!(Instant::now() < end);
    demand.attempted(2, false);
    assert!(matches!(refuse(&demand, 2), Refusal::HeldBack));
}

#[tokio::test(start_paused = true)]
async fn a_wish_stands_until_it_is_granted() {
    let demand = demand(4);
    demand.attempted(1, false);
    let _ = refuse(&demand, 1);
    demand.arises(1).await;
    // The attempt is interrupted, and another refresher starts.
    let arisen = timeout(Duration::from_secs(1), demand.arises(1)).await;
    arisen.expect("the wish still stands");
}

#[tokio::test(start_paused = true)]
async fn an_order_is_carried_out_once_whatever_else_there_was_a_reason_for() {
    let demand = demand(4);
    demand.attempted(1, false);
    let _ = refuse(&demand, 1);
    demand.force();
    demand.arises(1).await;
    demand.attempted(2, false);
    let arisen = timeout(Duration::from_secs(1), demand.arises(2)).await;
    arisen.expect_err("another one that nobody wants");
}

/// A clock that is set all the time, or beside a provider that is down.
#[tokio::test(start_paused = true)]
async fn doubts_are_followed_within_the_budget_and_at_the_pace_of_failures() {
    let demand = demand(4);
    let arises = async || {
        demand.doubt();
        let arisen = timeout(Duration::from_secs(1), demand.arises(1)).await;
        arisen.is_ok()
    };
    demand.attempted(1, true);
    assert!(!arises().await, "the provider fails");
    demand.attempted(1, false);
    for _ in 0..4 {
        assert!(arises().await);
    }
    assert!(!arises().await, "the budget is used up");
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_so_many_a_minute() {
    let demand = demand(4);
    let mut generation = 0;
    let mut refreshed_in_a_minute = || {
        let mut refreshed = 0;
        for _ in 0..100 {
            generation += 1;
            demand.attempted(generation, false);
            refreshed += usize::from(matches!(refuse(&demand, generation), Refusal::Awaited(_)));
        }
        refreshed
    };
    assert_eq!(refreshed_in_a_minute(), 4);
    tokio::time::advance(Duration::from_secs(15)).await;
    assert_eq!(refreshed_in_a_minute(), 1);
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(refreshed_in_a_minute(), 4);
    assert_eq!(demand.metrics.held_back.get(), 291);
}

/// Each may be a sign-in, and cost money.
#[tokio::test(start_paused = true)]
async fn a_permission_that_is_missing_for_hours_costs_ever_fewer_refreshes() {
    let demand = demand(4);
    let mut generation = 1;
    demand.attempted(generation, false);
    let mut refreshed_in_an_hour = async |demand: &Demand| {
        let mut refreshed = 0;
        for _ in 0..3600 {
            if let Refusal::Awaited(_) = refuse(demand, generation) {
                refreshed += 1;
                generation += 1;
                demand.attempted(generation, false);
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        (refreshed, generation)
    };
    let (refreshed, _) = refreshed_in_an_hour(&demand).await;
    assert!((10..=25).contains(&refreshed), "{refreshed}");
    let (refreshed, last) = refreshed_in_an_hour(&demand).await;
    assert!((5..=7).contains(&refreshed), "{refreshed}");

    // A token that comes in its time is worth a try, and after some calm all are.
    demand.attempted(last + 1, false);
    assert!(matches!(refuse(&demand, last + 1), Refusal::Awaited(_)));
    demand.attempted(last + 2, false);
    assert!(matches!(refuse(&demand, last + 2), Refusal::Unmended));
    tokio::time::advance(Duration::from_secs(1800)).await;
    for generation in last + 2..last + 6 {
        assert!(matches!(refuse(&demand, generation), Refusal::Awaited(_)));
        demand.attempted(generation + 1, false);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_an_older_token_is_no_reason() {
    let demand = demand(4);
    demand.attempted(1, false);
    let _ = refuse(&demand, 1);
    let arisen = timeout(Duration::from_secs(1), demand.arises(2)).await;
    assert!(arisen.is_err());
    demand.force();
    demand.arises(2).await;
}

/// A file that nobody has written anew, or a provider that hands out what it has.
#[tokio::test(start_paused = true)]
async fn only_a_new_token_that_is_refused_as_well_tells_of_what_none_mends() {
    let demand = demand(1);
    demand.attempted(1, false);
    assert!(matches!(refuse(&demand, 1), Refusal::Awaited(_)));
    demand.attempted(1, false);
    assert!(matches!(refuse(&demand, 1), Refusal::HeldBack));
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(matches!(refuse(&demand, 1), Refusal::Awaited(_)));
    demand.attempted(2, false);
    assert!(matches!(refuse(&demand, 2), Refusal::Unmended));
}
