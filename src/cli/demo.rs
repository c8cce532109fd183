//! `gatepass demo`: everything that a deployment has, in one process and on loopback.

mod authorization_server;
mod narration;
mod upstream;

use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use prometheus::Registry;
use tracing::Level;

use super::exec::for_one_caller;
use super::run::serve;
use super::{Failure, Listeners};
use crate::app::BuildError;
use crate::config::{self, Layers};
use crate::runtime::spawn;
use crate::server::{Address, Handler, Listener, ListenerMetrics, ServerMetrics};
use crate::telemetry::{self, Format};
use crate::{drain, server};
use authorization_server::AuthorizationServer;
use narration::Narration;
use upstream::Upstream;

pub(super) fn demo(listeners: Listeners) -> Result<u8, Failure> {
    let log = telemetry::start(telemetry::Settings {
        level: Level::WARN,
        format: Format::Text,
    })?;
    let (provider_address, provider_listener) = bind()?;
    let (upstream_address, upstream_listener) = bind()?;
    let secret = fastrand::u128(..).to_string();
    let layers = Layers {
        text: Some(configuration(provider_address, upstream_address, &secret)),
        flags: listeners.into(),
        ..Layers::default()
    };
    let settings = for_one_caller(config::load(&layers)?);
    serve(settings, layers, &log, |bound| {
        let narration = Rc::new(Narration::begin(
            bound.proxy_addresses(),
            bound.admin_address(),
            provider_address,
            upstream_address,
        ));
        let provider = Rc::new(AuthorizationServer::new(secret, Rc::clone(&narration)));
        let upstream = Rc::new(Upstream::new(Rc::clone(&provider), narration));
        // Of these two nobody wants to know.
        let metrics = ServerMetrics::register(&Registry::new()).map_err(BuildError::Metrics)?;
        let metrics = metrics.for_listener("demo");
        let provider = Handler::new(move |request| ready(provider.answer(&request)));
        let upstream = Handler::new(move |request| {
            let upstream = Rc::clone(&upstream);
            async move { upstream.answer(request).await }
        });
        start(provider_listener, metrics.clone(), provider);
        start(upstream_listener, metrics, upstream);
        Ok(())
    })
}

/// The configuration that a user would write for the same, but for the ports.
fn configuration(provider: SocketAddr, upstream: SocketAddr, secret: &str) -> String {
    format!(
        r#"
        # Its credential opens nothing but the demo.
        proxy.trust_network = true

        [credentials.demo]
        token_endpoint = "http://{provider}/token"
        client_id = "demo"
        client_secret = "{secret}"

        [[routes]]
        name = "demo"
        path = "/"
        upstream = "http://{upstream}"
        credential = "demo"
        "#
    )
}

fn bind() -> io::Result<(SocketAddr, Listener)> {
    let listener = Listener::bind_tcp(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    match listener.address()? {
        Address::Tcp(address) => Ok((address, listener)),
        other => Err(io::Error::other(format!("{other} is no address of TCP"))),
    }
}

/// Serves until the process ends.
fn start(listener: Listener, metrics: ListenerMetrics, service: Handler) {
    let settings = server::Settings::default();
    let intake = server::alone(listener, settings.max_connections, metrics);
    spawn(async move {
        let (_never_drained, watch) = drain::channel();
        server::serve(intake, service, server::refuse_briefly(), settings, watch).await;
    });
}
