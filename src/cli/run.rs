//! `gatepass run`

use tracing::{error, warn};

use super::terminal::print_out;
use super::{DONE, Failure, OUR_FAULT, RunArguments, one_route};
use crate::app::{self, Ended};
use crate::config::{self, Layers, Settings};
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

/// Builds, tells `before` what was built, and runs to the end.
pub(super) fn serve(
    settings: Settings,
    layers: Layers,
    log: &Log,
    before: impl FnOnce(&app::Bound) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    runtime::control(async {
        let signals = Signals::catch()?;
        let bound = app::build(settings, layers, log)?;
        before(&bound)?;
        Ok(match bound.run(signals).await {
            Ok(Ended::Drained) => DONE,
            Ok(Ended::AtOnce(signal)) => signal.exit_code(),
            // Said in the log: it waits for no reader, and the process must end to be restarted.
            Err(error) => {
                error!("{error}");
                OUR_FAULT
            }
        })
    })?
}
