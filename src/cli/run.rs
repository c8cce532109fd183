//! `gatepass run`

use prometheus::IntCounter;
use tracing::{error, warn};

use super::{ConfigArguments, DONE, Failure, OUR_FAULT};
use crate::app::{self, Ended};
use crate::config::{self, Layers, Settings};
use crate::signal::Signals;
use crate::{runtime, telemetry};

pub(super) fn run(arguments: ConfigArguments) -> Result<u8, Failure> {
    let layers = Layers::from_process(arguments.config, arguments.listeners.into())?;
    let settings = config::load(&layers)?;
    let log = telemetry::start(settings.log)?;
    for warning in &settings.warnings {
        warn!("{warning}");
    }
    serve(settings, layers, log.dropped_lines(), |_| Ok(()))
}

/// Builds, tells `before` what was built, and runs to the end.
pub(super) fn serve(
    settings: Settings,
    layers: Layers,
    dropped_log_lines: IntCounter,
    before: impl FnOnce(&app::Bound) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    runtime::control(async {
        let signals = Signals::catch()?;
        let bound = app::build(settings, layers, dropped_log_lines)?;
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
