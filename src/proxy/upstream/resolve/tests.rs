use tokio::time::sleep;

use super::*;
use crate::tls::{Trust, client_config};

const MOMENT: Duration = Duration::from_millis(1);

fn resolver(url: &str) -> Resolver {
    let tls = client_config(&Trust::Nobody, None).unwrap();
    let origin = Origin::new(&url.parse().unwrap(), &tls, None).unwrap();
    Resolver::new(&origin, Duration::from_secs(5))
}

/// A look-up that is under way, and whose result is sent by hand.
fn begin(resolver: &Resolver) -> watch::Sender<Option<Outcome>> {
    let (send, outcome) = watch::channel(None);
    let began = Instant::now();
    // What the last one found is put aside as the next one begins.
    resolver.join_or_start();
    resolver.latest.replace(Some(LookUp { began, outcome }));
    send
}

fn end(look_up: &watch::Sender<Option<Outcome>>, found: Result<&str, &str>) {
    let found = found
        .map(|address| Rc::from([format!("{address}:80").parse().unwrap()]))
        .map_err(failure);
    let at = Instant::now();
    look_up.send_replace(Some(Outcome { found, at }));
}

async fn found(resolver: &Resolver) -> String {
    match resolver.addresses().await {
        Ok(addresses) => addresses.all(),
        Err(error) => error.to_string(),
    }
}

/// What whoever begins a look-up has of it, if this comes of it after a while.
async fn found_by(resolver: &Resolver, after: Duration, outcome: Result<&str, &str>) -> String {
    let look_up = begin(resolver);
    let answer = async {
        sleep(after).await;
        end(&look_up, outcome);
    };
    tokio::join!(found(resolver), answer).0
}

#[tokio::test(flavor = "local")]
async fn those_who_come_together_share_one_look_up() {
    let resolver = resolver("http://localhost:80");
    let first = resolver.join_or_start().outcome;
    let second = resolver.join_or_start().outcome;
    assert!(first.same_channel(&second));
    let addresses = resolver.addresses().await.unwrap().list;
    assert!(addresses.iter().all(|address| address.ip().is_loopback()));
    let later = resolver.join_or_start().outcome;
    assert!(
        !later.same_channel(&first),
        "anew when the last one is over"
    );
}

#[tokio::test(flavor = "local")]
async fn a_name_that_does_not_exist_is_an_error() {
    let resolver = resolver("http://no-such-host.invalid");
    let error = resolver.addresses().await.err().unwrap();
    assert!(error.to_string().contains("cannot be resolved"));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_outage_of_the_dns_leaves_the_last_addresses_for_a_while() {
    let resolver = resolver("http://127.0.0.1");
    let at_once = Duration::ZERO;
    let first = found_by(&resolver, at_once, Ok("10.0.0.1")).await;
    assert_eq!(first, "10.0.0.1:80");
    sleep(REMEMBERED - 10 * MOMENT).await;
    for error in ["Temporary failure in name resolution", "Try again"] {
        let kept = format!(
            "10.0.0.1:80; addresses of 599s ago, as its name cannot be resolved now: {error}"
        );
        assert_eq!(found_by(&resolver, at_once, Err(error)).await, kept);
    }
    sleep(10 * MOMENT).await;
    let error = found_by(&resolver, at_once, Err("Try again")).await;
    assert!(error.starts_with("its name cannot"), "{error}");
}

/// A reload makes another resolver of what has changed, while the DNS may be out of order.
#[tokio::test(flavor = "local", start_paused = true)]
async fn what_a_name_had_last_is_known_to_those_that_come_after() {
    let [earlier, later] = [(); 2].map(|()| resolver("http://127.0.0.1"));
    found_by(&earlier, Duration::ZERO, Ok("10.0.0.1")).await;
    sleep(Duration::from_secs(60)).await;
    found_by(&later, Duration::ZERO, Ok("10.0.0.2")).await;
    for (url, expected) in [
        ("http://127.0.0.1", "10.0.0.2:80; addresses of 0s ago"),
        ("http://127.0.0.2", "its name cannot be resolved"),
        ("http://127.0.0.1:81", "its name cannot be resolved"),
    ] {
        let next = resolver(url);
        for other in [&earlier, &later, &earlier] {
            next.learn_from(other);
        }
        let found = found_by(&next, Duration::ZERO, Err("Try again")).await;
        assert!(found.starts_with(expected), "{url}: {found}");
    }
    sleep(REMEMBERED).await;
    let next = resolver("http://127.0.0.1");
    next.learn_from(&later);
    assert!(next.known().is_none());
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn what_the_dns_says_now_wins() {
    let resolver = resolver("http://127.0.0.1");
    for address in ["10.0.0.1", "10.0.0.2"] {
        let last_moment = PATIENCE - MOMENT;
        let found = found_by(&resolver, last_moment, Ok(address)).await;
        assert_eq!(found, format!("{address}:80"));
    }
    // Somebody else may have the address of a name that is gone.
    let gone = Err("Name or service not known");
    let error = found_by(&resolver, Duration::ZERO, gone).await;
    assert!(error.contains("not known"), "{error}");
    let error = found_by(&resolver, Duration::ZERO, Err("Try again")).await;
    assert!(
        error.contains("Try again") && !error.contains("10.0.0"),
        "{error}"
    );
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_slow_look_up_holds_nobody_up_who_knows_an_address() {
    let resolver = resolver("http://127.0.0.1");
    found_by(&resolver, Duration::ZERO, Ok("10.0.0.1")).await;
    let look_up = begin(&resolver);
    let start = Instant::now();
    let slow = "10.0.0.1:80; addresses of 1s ago, as the DNS is slow to say which it has now";
    assert_eq!(found(&resolver).await, slow);
    assert_eq!(start.elapsed().as_secs(), PATIENCE.as_secs());
    // Who comes later has nothing to wait for.
    let start = Instant::now();
    assert_eq!(found(&resolver).await, slow);
    assert_eq!(start.elapsed(), Duration::ZERO);
    end(&look_up, Ok("10.0.0.2"));
    assert_eq!(found(&resolver).await, "10.0.0.2:80");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_look_up_that_nobody_could_wait_for_serves_the_next() {
    let resolver = resolver("http://127.0.0.1");
    let look_up = begin(&resolver);
    let impatient = timeout_at(Instant::now() + 5 * PATIENCE, resolver.addresses());
    assert!(impatient.await.is_err());
    end(&look_up, Ok("10.0.0.1"));
    sleep(FRESH - MOMENT).await;
    assert_eq!(found(&resolver).await, "10.0.0.1:80");
    sleep(MOMENT).await;
    assert_eq!(found(&resolver).await, "127.0.0.1:80", "anew");
    let known = resolver.known().unwrap();
    assert_eq!(known.addresses[0].to_string(), "10.0.0.1:80");
}
