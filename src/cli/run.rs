//! `gatepass run`

use tracing::warn;

use super::{ConfigArguments, DONE, Failure};
use crate::app::{self, Ended};
use crate::config::{self, Layers, Settings};
use crate::signal::Signals;
use crate::{runtime, telemetry};

pub(super) fn run(arguments: ConfigArguments) -> Result<u8, Failure> {
    let layers = Layers::from_process(arguments.config, arguments.listeners.into())?;
    let settings = config::load(&layers)?;
    // Logging that was started before can only be our own, and then it is on already.
    let _ = telemetry::start(settings.log);
    for warning in &settings.warnings {
        warn!("{warning}");
    }
    serve(settings, |_| Ok(()))
}

/// Builds, tells `before` what was built, and runs to the end.
pub(super) fn serve(
    settings: Settings,
    before: impl FnOnce(&app::Bound) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    runtime::control(async {
        let signals = Signals::catch()?;
        let bound = app::build(settings)?;
        before(&bound)?;
        Ok(match bound.run(signals).await? {
            Ended::Drained => DONE,
            Ended::AtOnce(signal) => signal.exit_code(),
        })
    })?
}
