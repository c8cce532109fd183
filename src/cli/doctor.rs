//! `gatepass doctor`: the way of a request, walked step by step. Each way is left at the first step
//! that is broken, because what follows would fail for the same reason.

mod claims;
mod credential;
mod listener;
mod report;
mod route;
mod store;
mod way;

use std::collections::{BTreeMap, BTreeSet};

use super::progress::Progress;
use super::terminal::print_out;
use super::token::stores;
use super::{DONE, DoctorArguments, Failure, UNAVAILABLE};
use crate::config::{self, Problems, Settings};
use crate::runtime;
use crate::store::Stores;
use report::{Examination, Report, Step};

pub(super) fn doctor(arguments: DoctorArguments) -> Result<u8, Failure> {
    let DoctorArguments { config, call, json } = arguments;
    let loaded = config.layers().and_then(|layers| {
        let settings = config::load(&layers)?;
        Ok((layers, settings))
    });
    let (layers, settings) = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => {
            // Programs get their one object in any case; people read the same as of `check`.
            if json {
                print_out(&unreadable(&problems).json())?;
            }
            return Err(problems.into());
        }
    };
    let progress = Progress::on_terminal();
    let stores = stores(&settings)?;
    let sources = layers.sources();
    let examination = examine(&settings, &stores, &sources, call, progress);
    let report = runtime::control(examination)?;
    let text = match json {
        true => report.json(),
        false => report.to_string(),
    };
    print_out(&text)?;
    Ok(match report.is_healthy() {
        true => DONE,
        false => UNAVAILABLE,
    })
}

async fn examine(
    settings: &Settings,
    stores: &Stores,
    sources: &str,
    call: bool,
    progress: Progress,
) -> Report {
    let mut examinations = vec![configuration(settings, sources)];
    examinations.push(listener::examine(settings, progress).await);
    let mut usable = BTreeSet::new();
    for (name, store) in &settings.stores {
        let (examination, is_usable) = store::examine(name, store, stores, progress).await;
        examinations.push(examination);
        if is_usable {
            usable.insert(name.as_str());
        }
    }
    let mut tokens = BTreeMap::new();
    for credential in &settings.credentials {
        let shared = credential.store.as_deref();
        let shared = shared.filter(|name| usable.contains(name)).map(|_| stores);
        let (examination, token) = credential::examine(credential, shared, progress).await;
        examinations.push(examination);
        tokens.insert(credential.credential.as_str(), token);
    }
    for route in &settings.routes {
        let token = route.credential.as_deref();
        let token = token.and_then(|name| tokens.get(name)?.as_ref());
        examinations.push(route::examine(route, token, call, progress).await);
    }
    Report(examinations)
}

/// What is found where there is no configuration to go by.
fn unreadable(problems: &Problems) -> Report {
    Report(vec![Examination {
        subject: CONFIGURATION.into(),
        steps: vec![Step::unreadable("read", problems.to_string())],
    }])
}

fn configuration(settings: &Settings, sources: &str) -> Examination {
    let mut steps = vec![Step::good("read", format!("{sources} is good"))];
    let warnings = settings.warnings.iter();
    steps.extend(warnings.map(|warning| Step::warned("read", warning)));
    Examination {
        subject: CONFIGURATION.into(),
        steps,
    }
}

const CONFIGURATION: &str = "the configuration";
