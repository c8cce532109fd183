use std::sync::Arc;

use super::super::exchange::Exchange;
use super::*;

/// Milliseconds after which the connection was found overdue, while `story` happened to it.
async fn overdue_after(story: impl AsyncFnOnce(&Arc<Activity>)) -> u128 {
    let limits = Settings {
        header_read: Duration::from_secs(10),
        keep_alive: Duration::from_secs(60),
        stalled: Duration::from_secs(300),
        half_closed: Duration::from_secs(5),
        ..Settings::default()
    };
    let activity = Arc::new(Activity::new());
    let start = Instant::now();
    tokio::select! {
        _ = activity.overdue(&limits) => {}
        () = async {
            story(&activity).await;
            std::future::pending::<()>().await;
        } => {}
    }
    start.elapsed().as_millis()
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_lasts_for_keep_alive() {
    assert_eq!(overdue_after(async |_| ()).await, 60_000);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_uses_rests_when_all_is_said() {
    let used = async |activity: &Arc<Activity>| {
        activity.served();
        let exchange = Exchange::alone(activity, Instant::now());
        exchange.request_is_over();
        exchange.answer_is_over();
    };
    // Timers count in whole milliseconds, and more than one have run by then.
    let after = overdue_after(used).await;
    assert!(
        (60_000..=60_030).contains(&after),
        "{after}: not all is said"
    );
    let told = async |activity: &Arc<Activity>| {
        used(activity).await;
        activity.flushed();
    };
    let after = overdue_after(told).await;
    assert!((2_000..=2_010).contains(&after), "{after}");
}

#[tokio::test(start_paused = true)]
async fn a_head_must_be_complete_soon_after_it_began() {
    let dripping = async |activity: &Arc<Activity>| {
        for _ in 0..100 {
            seconds(3).await;
            activity.received();
            activity.note_time();
        }
    };
    assert_eq!(overdue_after(dripping).await, 13_000);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_being_answered_is_never_overdue() {
    let slow_answer = async |activity: &Arc<Activity>| {
        activity.received();
        let exchange = Exchange::alone(activity, Instant::now());
        exchange.request_is_over();
        seconds(3600).await;
        exchange.answer_is_over();
    };
    assert_eq!(overdue_after(slow_answer).await, 3_660_000);
}

#[tokio::test(start_paused = true)]
async fn an_upload_may_go_on_after_its_answer() {
    let early_answer = async |activity: &Arc<Activity>| {
        let exchange = Exchange::alone(activity, Instant::now());
        exchange.answer_is_over();
        for _ in 0..100 {
            seconds(100).await;
            activity.received();
        }
        exchange.request_is_over();
    };
    assert_eq!(overdue_after(early_answer).await, 10_060_000);
}

#[tokio::test(start_paused = true)]
async fn one_that_stands_still_after_its_answer_is_overdue() {
    let standing_still = async |activity: &Arc<Activity>| {
        let exchange = Exchange::alone(activity, Instant::now());
        exchange.answer_is_over();
        seconds(1000).await;
        exchange.request_is_over();
    };
    // Timers count in whole milliseconds, and more than one have run by then.
    let after = overdue_after(standing_still).await;
    assert!((300_000..=300_160).contains(&after), "{after}");
}

/// A connection on which a request was refused whose body had not been read.
fn refused(activity: &Arc<Activity>) {
    let exchange = Exchange::alone(activity, Instant::now());
    exchange.request_is_given_up();
    exchange.answer_is_over();
    assert!(!activity.is_over(), "more of it may come");
}

#[tokio::test(start_paused = true)]
async fn the_rest_of_a_body_that_was_given_up_is_no_head() {
    let rest_and_head = async |activity: &Arc<Activity>| {
        refused(activity);
        seconds(1).await;
        activity.received();
        assert_eq!(activity.phase(), Phase::Idle);
        seconds(40).await;
        activity.received();
        activity.has_read_all();
        assert_eq!(activity.phase(), Phase::Head);
    };
    assert_eq!(overdue_after(rest_and_head).await, 51_000);
    let nothing_more = async |activity: &Arc<Activity>| {
        refused(activity);
        activity.received();
        activity.has_read_all();
        seconds(30).await;
    };
    // Timers count in whole milliseconds, and more than one have run by then.
    let after = overdue_after(nothing_more).await;
    assert!((60_000..=60_010).contains(&after), "{after}");
    // It had arrived before it was given up.
    let activity = Arc::new(Activity::new());
    refused(&activity);
    activity.has_read_all();
    activity.received();
    assert_eq!(activity.phase(), Phase::Head);
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_is_forgotten_with_the_next_request() {
    let activity = Arc::new(Activity::new());
    refused(&activity);
    let exchange = Exchange::alone(&activity, Instant::now());
    exchange.request_is_over();
    exchange.answer_is_over();
    assert!(activity.is_over());
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_takes_nothing_of_its_answer_is_overdue() {
    let stalled = async |activity: &Arc<Activity>| {
        let _exchange = Exchange::alone(activity, Instant::now());
        seconds(100).await;
        activity.written(&Poll::<()>::Pending);
        seconds(200).await;
        activity.written(&Poll::Ready(()));
        activity.written(&Poll::<()>::Pending);
        seconds(1000).await;
    };
    assert_eq!(overdue_after(stalled).await, 600_000);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_has_ended_its_side_is_answered_if_it_is_soon() {
    let nobody = &Context::from_waker(Waker::noop());
    let waiting = async |activity: &Arc<Activity>| {
        let exchange = Exchange::alone(activity, Instant::now());
        exchange.request_is_over();
        seconds(100).await;
        assert!(activity.half_closed(nobody));
        seconds(1000).await;
    };
    assert_eq!(overdue_after(waiting).await, 105_000);
    let answered_in_pieces = async |activity: &Arc<Activity>| {
        let exchange = Exchange::alone(activity, Instant::now());
        exchange.request_is_over();
        assert!(activity.half_closed(nobody));
        for _ in 0..100 {
            seconds(4).await;
            activity.written(&Poll::Ready(()));
        }
        seconds(1000).await;
    };
    // Timers count in whole milliseconds, and more than one have run by then.
    let after = overdue_after(answered_in_pieces).await;
    assert!((405_000..=405_210).contains(&after), "{after}");
    let answered = async |activity: &Arc<Activity>| {
        let exchange = Exchange::alone(activity, Instant::now());
        exchange.request_is_over();
        assert!(activity.half_closed(nobody));
        exchange.answer_is_over();
        assert!(!activity.half_closed(nobody), "it is over now");
    };
    // Timers count in whole milliseconds, and more than one have run by then.
    let after = overdue_after(answered).await;
    assert!((60_000..=60_010).contains(&after), "{after}");
}

#[tokio::test(start_paused = true)]
async fn an_end_is_too_early_when_more_is_wanted_and_not_before() {
    let nobody = &Context::from_waker(Waker::noop());
    let broken_off = async |activity: &Arc<Activity>| {
        let exchange = Exchange::alone(activity, Instant::now());
        exchange.request_is_awaited();
        assert!(activity.half_closed(nobody), "the last piece may be there");
        exchange.request_moved();
        assert!(activity.half_closed(nobody), "there may be another");
        exchange.request_is_awaited();
        assert!(!activity.half_closed(nobody), "there is none");
    };
    broken_off(&Arc::new(Activity::new())).await;
    let whole = async |activity: &Arc<Activity>| {
        let exchange = Exchange::alone(activity, Instant::now());
        exchange.request_is_awaited();
        assert!(activity.half_closed(nobody));
        exchange.request_moved();
        seconds(100).await;
        exchange.request_is_over();
        assert!(activity.half_closed(nobody));
        seconds(1000).await;
    };
    assert_eq!(overdue_after(whole).await, 105_000);
}
