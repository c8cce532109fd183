//! `gatepass wait`

use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::admin_client::get;
use super::failure::Silence;
use super::progress::Progress;
use super::{DONE, Failure, WaitArguments};
use crate::runtime;
use crate::server::Address;

pub(super) fn wait(arguments: WaitArguments) -> Result<u8, Failure> {
    let patience = arguments.timeout;
    let address = arguments.admin.address()?;
    let what = format!("waiting for the gatepass at {address}");
    let ready = until_ready(&address, patience);
    let ready = runtime::control(Progress::on_terminal().during(&what, ready))?;
    match ready {
        Ok(()) => Ok(DONE),
        Err(silence) => Err(Failure::NotReadyInTime(address, patience, silence)),
    }
}

/// Asks until it is; the last answer if that takes too long.
async fn until_ready(address: &Address, patience: Duration) -> Result<(), Silence> {
    let start = Instant::now();
    loop {
        let address = address.clone();
        let asked = spawn_blocking(move || get(&address, "/readyz")).await;
        let silence = match asked.unwrap_or_else(|panicked| Err(panicked.into())) {
            Ok(answer) => match (answer.is_good, answer.text.lines().next()) {
                (true, Some(READY)) => return Ok(()),
                (false, Some(NOT_READY)) => Silence::Said(answer.text),
                // It may still give way to the right one.
                _ => Silence::Stranger(answer.text),
            },
            Err(error) => Silence::Unreachable(error),
        };
        if start.elapsed() >= patience {
            return Err(silence);
        }
        sleep(PERIOD).await;
    }
}

/// How the answers of `/readyz` begin.
const READY: &str = "ready";
const NOT_READY: &str = "not ready";

const PERIOD: Duration = Duration::from_millis(200);
