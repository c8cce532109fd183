//! `gatepass wait`

use std::thread::sleep;
use std::time::Duration;

use tokio::time::Instant;

use super::admin_client::get;
use super::failure::Silence;
use super::terminal::progress;
use super::{DONE, Failure, WaitArguments};

pub(super) fn wait(arguments: WaitArguments) -> Result<u8, Failure> {
    let address = arguments.admin.address()?;
    progress(&format!("Waiting for the gatepass at {address} …"));
    let start = Instant::now();
    loop {
        let silence = match get(&address, "/readyz") {
            Ok(answer) if answer.is_good => return Ok(DONE),
            Ok(answer) => Silence::Said(answer.text),
            Err(error) => Silence::Unreachable(error),
        };
        if start.elapsed() >= arguments.timeout {
            let patience = arguments.timeout;
            return Err(Failure::NotReadyInTime(address, patience, silence));
        }
        sleep(PERIOD);
    }
}

const PERIOD: Duration = Duration::from_millis(200);
