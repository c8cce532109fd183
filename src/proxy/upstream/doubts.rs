//! Addresses that take connections and are of no use all the same.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

/// Which addresses were of no use lately: nothing came of what was begun there, or the connection was
/// closed before it had answered anything.
///
/// A name gives its addresses in the same order each time. Without this all would go to the first, as
/// long as it takes connections, and the next attempt as well.
#[derive(Default)]
pub(super) struct Doubts(RefCell<VecDeque<(SocketAddr, Instant)>>);

impl Doubts {
    /// Notes that an address was of no use just now.
    pub(super) fn note(&self, address: SocketAddr) {
        let mut noted = self.0.borrow_mut();
        noted.retain(|(other, _)| *other != address);
        if noted.len() == MOST {
            noted.pop_front();
        }
        noted.push_back((address, Instant::now()));
    }

    /// Puts those in doubt behind the others, and last what was noted last.
    pub(super) fn put_last(&self, addresses: &mut [SocketAddr]) {
        addresses.sort_by_key(|address| self.noted_at(*address));
    }

    /// Whether one of the others is not in doubt.
    pub(super) fn leave_another(&self, addresses: &[SocketAddr], address: SocketAddr) -> bool {
        let mut others = addresses.iter().filter(|other| **other != address);
        others.any(|other| self.noted_at(*other).is_none())
    }

    fn noted_at(&self, address: SocketAddr) -> Option<Instant> {
        let noted = self.0.borrow();
        let (_, at) = noted.iter().find(|(other, _)| *other == address)?;
        Some(*at).filter(|at| Instant::now() < *at + LASTING)
    }
}

/// How long an address is in doubt.
const LASTING: Duration = Duration::from_secs(30);

/// Of how many addresses it is known at most; those that were noted first are forgotten.
const MOST: usize = 16;

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    fn address(number: usize) -> SocketAddr {
        format!("10.0.0.{number}:443").parse().unwrap()
    }

    fn order(doubts: &Doubts) -> Vec<u8> {
        let mut addresses: Vec<_> = (1..=3).map(address).collect();
        doubts.put_last(&mut addresses);
        let last = |address: &SocketAddr| address.ip().to_string().pop().unwrap();
        addresses
            .iter()
            .map(|address| last(address) as u8 - b'0')
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn those_of_no_use_come_last_for_a_while() {
        let doubts = Doubts::default();
        assert_eq!(order(&doubts), [1, 2, 3]);
        doubts.note(address(1));
        assert_eq!(order(&doubts), [2, 3, 1]);
        sleep(Duration::from_secs(1)).await;
        doubts.note(address(2));
        assert_eq!(order(&doubts), [3, 1, 2]);
        assert!(doubts.leave_another(&[address(1), address(3)], address(1)));
        assert!(!doubts.leave_another(&[address(1), address(2)], address(1)));
        sleep(LASTING - Duration::from_millis(1001)).await;
        assert_eq!(order(&doubts), [3, 1, 2]);
        sleep(Duration::from_millis(1)).await;
        assert_eq!(order(&doubts), [1, 3, 2]);
        doubts.note(address(2));
        sleep(LASTING).await;
        assert_eq!(order(&doubts), [1, 2, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_are_remembered() {
        let doubts = Doubts::default();
        for number in 1..=MOST + 1 {
            doubts.note(address(number));
            doubts.note(address(number));
        }
        assert_eq!(doubts.0.borrow().len(), MOST);
        assert_eq!(order(&doubts), [1, 2, 3]);
        assert!(doubts.noted_at(address(1)).is_none());
        assert!(doubts.noted_at(address(2)).is_some());
    }
}
