//! `gatepass run`

use std::io::{self, ErrorKind};

use tracing::{error, warn};

use super::terminal::print_out;
use super::{DONE, Failure, OUR_FAULT, RunArguments, admin_client, one_route};
use crate::app::{self, BuildError, Ended, RunError};
use crate::config::{self, Layers, Settings};
use crate::server::Address;
use crate::signal::Signals;
use crate::telemetry::Log;
use crate::{runtime, telemetry};

pub(super) fn run(arguments: RunArguments) -> Result<u8, Failure> {
    let layers = arguments.config.layers()?;
    let settings = config::load(&layers)?;
    if arguments.print_config {
        print_out(&one_route::file(&layers.flags))?;
        return Ok(DONE);
    }
    let log = telemetry::start(settings.log)?;
    for warning in &settings.warnings {
        warn!("{warning}");
    }
    serve(settings, layers, &log, |_| Ok(()))
}

/// An address in use is another matter if a gatepass uses it, which the one at the admin address knows.
fn with_its_user(error: BuildError, admin: &Address) -> BuildError {
    match error {
        BuildError::Listen {
            listener,
            address,
            error,
        } if error.kind() == ErrorKind::AddrInUse
            && admin_client::is_of_running(&address, admin) =>
        {
            let said = "it belongs to a gatepass that runs";
            BuildError::Listen {
                listener,
                address,
                error: io::Error::new(ErrorKind::AddrInUse, said),
            }
        }
        other => other,
    }
}

/// Builds, tells `before` what was built, and runs to the end.
pub(super) fn serve(
    settings: Settings,
    layers: Layers,
    log: &Log,
    before: impl FnOnce(&app::Bound) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    runtime::control(async {
        let signals = Signals::catch()?;
        let admin = settings.admin.listen.clone();
        let built = app::build(settings, layers, log);
        let bound = built.map_err(|error| with_its_user(error, &admin))?;
        before(&bound)?;
        Ok(match bound.run(signals).await {
            Ok(Ended::Drained) => DONE,
            Ok(Ended::AtOnce(signal)) => signal.exit_code(),
            Err(error @ RunError::Worker(_)) => return Err(error.into()),
            // Said in the log: it waits for no reader, and the process must end to be restarted.
            Err(error) => {
                error!("{error}");
                OUR_FAULT
            }
        })
    })?
}
