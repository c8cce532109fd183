//! Where gatepass would listen.

use std::net::SocketAddr;

use super::super::admin_client;
use super::super::progress::Progress;
use super::report::{Examination, Fault, Step, Walk};
use crate::app::BuildError;
use crate::config::Settings;
use crate::server::{Address, Listener};
use crate::wording::Trouble;

pub(super) async fn examine(settings: &Settings, progress: Progress) -> Examination {
    let mut walk = Walk::new("the listeners".into(), progress);
    let proxy = settings.proxy.listen.iter().map(|listen| &listen.address);
    for address in proxy {
        walk.note(free("proxy", address, &settings.admin.listen));
    }
    walk.note(free(
        "admin",
        &settings.admin.listen,
        &settings.admin.listen,
    ));
    walk.over()
}

/// Whether an address can be had. Binding to a Unix socket would take it from whoever has it.
fn free(listener: &'static str, address: &Address, admin: &Address) -> Step {
    let Address::Tcp(wanted) = address else {
        return Step::left_out(listener, format!("{address} is no address of TCP"));
    };
    match bind(*wanted) {
        Ok(()) => Step::good(listener, format!("{address} is free")),
        Err(_) if admin_client::is_of_running(address, admin) => Step::good(
            listener,
            format!("{address} belongs to a gatepass that runs"),
        ),
        Err(error) => {
            let error = BuildError::Listen {
                listener,
                address: address.clone(),
                error,
            };
            let Trouble { what, why, next } = error.trouble();
            Step::broken(listener, Fault::new(format!("{what}: {why}"), next))
        }
    }
}

fn bind(address: SocketAddr) -> std::io::Result<()> {
    Listener::bind_tcp(address).map(drop)
}
