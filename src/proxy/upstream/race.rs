//! Which of several addresses is connected to (Happy Eyeballs, RFC 8305).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::doubts::Doubts;

/// Connects to the first that answers, and says which it is. The next one is tried when one has
/// failed, or has not answered for a moment; whoever comes too late is let go.
///
/// # Errors
///
/// What each of them failed with, in words.
pub(super) async fn connect(
    addresses: &[SocketAddr],
    doubts: &Doubts,
) -> Result<(TcpStream, SocketAddr), String> {
    if let [only] = addresses {
        return match attempt(*only).await {
            Ok(stream) => Ok((stream, *only)),
            Err(error) => Err(failure(*only, &error)),
        };
    }
    let mut turns = in_turns(addresses);
    doubts.put_last(&mut turns);
    let mut left = turns.into_iter();
    let mut attempts = JoinSet::new();
    let mut failures = Vec::new();
    loop {
        if let Some(address) = left.next() {
            attempts.spawn_local(async move { (address, attempt(address).await) });
        }
        let moment = async {
            match left.len() {
                0 => std::future::pending().await,
                _ => sleep(ATTEMPT_DELAY).await,
            }
        };
        tokio::select! {
            ended = attempts.join_next() => match ended {
                Some(Ok((address, Ok(stream)))) => return Ok((stream, address)),
                Some(Ok((address, Err(error)))) => failures.push(failure(address, &error)),
                // A task that only connects does not panic.
                Some(Err(_)) => {}
                None => return Err(failures.join(", ")),
            },
            () = moment => {}
        }
    }
}

async fn attempt(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // Requests are written whole; waiting to fill a segment would only delay them.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

fn failure(address: SocketAddr, error: &io::Error) -> String {
    format!("{address}: {error}")
}

/// RFC 8305 §4: "if the first address in the list is of IPv6, the next should be of IPv4", and so on;
/// otherwise as the resolver has ordered them (RFC 6724).
fn in_turns(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let of_first = |address: &SocketAddr| {
        addresses.first().map(SocketAddr::is_ipv6) == Some(address.is_ipv6())
    };
    let (first, second): (Vec<SocketAddr>, Vec<_>) = addresses.iter().copied().partition(of_first);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::with_capacity(addresses.len());
    while turns.len() < addresses.len() {
        turns.extend(first.next());
        turns.extend(second.next());
    }
    turns
}

/// RFC 8305 §8: "Recommended to be 250 ms".
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns() {
        let given = addresses(&["[::1]:1", "[::2]:1", "1.1.1.1:1", "[::3]:1", "1.1.1.2:1"]);
        let turns = addresses(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"]);
        assert_eq!(in_turns(&given), turns);
    }

    #[tokio::test(flavor = "local")]
    async fn a_dead_address_costs_nothing_and_a_silent_one_a_moment() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let alive = listener.local_addr().unwrap();
        let dead = {
            let gone = TcpListener::bind("127.0.0.1:0").unwrap();
            gone.local_addr().unwrap()
        };
        let doubts = Doubts::default();
        let (stream, address) = connect(&[dead, alive], &doubts).await.unwrap();
        assert_eq!((stream.peer_addr().unwrap(), address), (alive, alive));
        // Its queue is full, so the kernel answers nobody.
        let silent =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        silent.bind(&addresses(&["127.0.0.2:0"])[0].into()).unwrap();
        silent.listen(0).unwrap();
        let silent_address = silent.local_addr().unwrap().as_socket().unwrap();
        let _filling = TcpStream::connect(silent_address).await.unwrap();
        let started = tokio::time::Instant::now();
        let (_, address) = connect(&[silent_address, alive], &doubts).await.unwrap();
        assert_eq!(address, alive);
        assert!(started.elapsed() < Duration::from_secs(1));
    }

    /// With Nagle's algorithm a piece of a body would wait for the acknowledgement of the one before it.
    #[tokio::test(flavor = "local")]
    async fn what_is_written_leaves_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let dead = addresses(&["127.0.0.1:1"])[0];
        for places in [&[address][..], &[dead, address]] {
            let (stream, _) = connect(places, &Doubts::default()).await.unwrap();
            assert!(stream.nodelay().unwrap(), "{places:?}");
        }
    }

    #[tokio::test(flavor = "local")]
    async fn one_that_was_of_no_use_is_left_for_the_last() {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [first, second] = listeners.each_ref().map(|one| one.local_addr().unwrap());
        let doubts = Doubts::default();
        for (in_doubt, chosen) in [(None, first), (Some(first), second), (Some(second), first)] {
            if let Some(address) = in_doubt {
                doubts.note(address);
            }
            let (_, address) = connect(&[first, second], &doubts).await.unwrap();
            assert_eq!(address, chosen, "{in_doubt:?}");
        }
    }

    #[tokio::test(flavor = "local")]
    async fn all_failures_are_told() {
        let dead = addresses(&["127.0.0.1:1", "127.0.0.2:1"]);
        let error = connect(&dead, &Doubts::default()).await.unwrap_err();
        assert!(
            error.contains("127.0.0.1:1: ") && error.contains("127.0.0.2:1: "),
            "{error}"
        );
    }
}
