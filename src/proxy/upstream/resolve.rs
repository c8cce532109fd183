//! Looking up an upstream's name: anew whenever connections are made, once at a time.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::lookup_host;
use tokio::sync::watch;

use super::Origin;
use super::connect::ConnectError;

/// The addresses, or what the look-up failed with.
type Found = Result<Rc<[SocketAddr]>, String>;

/// The name of one upstream.
///
/// A look-up blocks a thread and cannot be called off. If every connection had its own, callers
/// who gave up during an outage of the DNS would leave thousands of them in the queue; so whoever
/// comes while one is under way waits for that.
pub(super) struct Resolver {
    host: String,
    port: u16,
    under_way: RefCell<Option<watch::Receiver<Option<Found>>>>,
}

impl Resolver {
    pub(super) fn new(origin: &Origin) -> Self {
        Self {
            host: origin.host.clone(),
            port: origin.port,
            under_way: RefCell::default(),
        }
    }

    /// The addresses that the name has now.
    pub(super) async fn addresses(&self) -> Result<Rc<[SocketAddr]>, ConnectError> {
        let mut result = self.join_or_start();
        let found = match result.wait_for(Option::is_some).await {
            Ok(found) => found.clone(),
            Err(_) => None,
        };
        let nothing = || Err("the look-up ended without a result".to_owned());
        found.unwrap_or_else(nothing).map_err(ConnectError::Name)
    }

    fn join_or_start(&self) -> watch::Receiver<Option<Found>> {
        let mut under_way = self.under_way.borrow_mut();
        if let Some(result) = under_way.as_ref()
            && result.has_changed().is_ok()
            && result.borrow().is_none()
        {
            return result.clone();
        }
        let (send, result) = watch::channel(None);
        let (host, port) = (self.host.clone(), self.port);
        // A task of its own, so that it goes on when the caller for whom it began gives up.
        tokio::task::spawn_local(async move {
            send.send_replace(Some(look_up(&host, port).await));
        });
        *under_way = Some(result.clone());
        result
    }
}

async fn look_up(host: &str, port: u16) -> Found {
    let addresses: Rc<[SocketAddr]> = lookup_host((host, port))
        .await
        .map_err(|error| error.to_string())?
        .collect();
    if addresses.is_empty() {
        return Err("it has no address".into());
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{Trust, client_config};

    fn resolver(url: &str) -> Resolver {
        let tls = client_config(&Trust::Nobody, None).unwrap();
        Resolver::new(&Origin::new(&url.parse().unwrap(), &tls, None).unwrap())
    }

    #[tokio::test(flavor = "local")]
    async fn those_who_come_together_share_one_look_up() {
        let resolver = resolver("http://localhost:80");
        let first = resolver.join_or_start();
        let second = resolver.join_or_start();
        assert!(first.same_channel(&second));
        let addresses = resolver.addresses().await.unwrap();
        assert!(addresses.iter().all(|address| address.ip().is_loopback()));
        let later = resolver.join_or_start();
        assert!(
            !later.same_channel(&first),
            "anew when the last one is over"
        );
    }

    #[tokio::test(flavor = "local")]
    async fn a_name_that_does_not_exist_is_an_error() {
        let error = resolver("http://no-such-host.invalid").addresses().await;
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("cannot be resolved")
        );
    }
}
