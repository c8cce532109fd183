//! `gatepass wait`

use std::thread::sleep;
use std::time::Duration;

use tokio::time::Instant;

use super::admin_client::{cannot_be_asked, get};
use super::terminal::progress;
use super::{DONE, Failure, WaitArguments};

pub(super) fn wait(arguments: WaitArguments) -> Result<u8, Failure> {
    let address = arguments.admin.address()?;
    progress(&format!("Waiting for the gatepass at {address} …"));
    let start = Instant::now();
    loop {
        let why = match get(&address, "/readyz") {
            Ok(answer) if answer.is_good => return Ok(DONE),
            Ok(answer) => answer.text,
            Err(error) => cannot_be_asked(&error),
        };
        if start.elapsed() >= arguments.timeout {
            return Err(Failure::Unavailable(format!(
                "the gatepass at {address} was not ready within {}: {why}",
                humantime::format_duration(arguments.timeout)
            )));
        }
        sleep(PERIOD);
    }
}

const PERIOD: Duration = Duration::from_millis(200);
