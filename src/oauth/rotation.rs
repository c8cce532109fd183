//! Secrets that are being replaced.
//!
//! A rotation has an order that nobody keeps: the new secret is in its file before the provider knows
//! it, or replicas of the provider learn of it one after the other. So while the provider refuses the
//! secrets as they are now, those are tried that it took last, and the one that the configuration
//! calls the previous one. So are they while a file is missing or empty: it may be taken away before
//! another is put in its place, or written in two steps.

use std::cell::RefCell;
use std::path::PathBuf;

use super::ProviderSettings;
use super::secret::Secret;
use crate::store;

/// What a provider was last known to take.
#[derive(Debug, Default)]
pub(super) struct Accepted(RefCell<Option<ProviderSettings>>);

impl Accepted {
    /// The provider has taken these secrets.
    pub(super) fn remember(&self, with_values: ProviderSettings) {
        self.0.replace(Some(with_values));
    }

    /// It takes them no longer.
    pub(super) fn forget(&self) {
        self.0.replace(None);
    }

    /// What is to be tried when `current` is refused: what was accepted last, if that is something
    /// else, and what the configuration names.
    pub(super) async fn before(&self, current: &ProviderSettings) -> Vec<ProviderSettings> {
        let mut before: Vec<_> = self.0.borrow().iter().cloned().collect();
        if let Some(named) = current.previous_client_secret.clone() {
            let authentication = current.client_authentication.with_client_secret(named);
            before.extend(
                authentication.map(|client_authentication| ProviderSettings {
                    client_authentication,
                    ..current.clone()
                }),
            );
        }
        let mut distinct: Vec<ProviderSettings> = Vec::new();
        for candidate in before {
            let candidate = with_values(&candidate).await;
            let known = [current].into_iter().chain(&distinct);
            if !known.into_iter().any(|known| is_same(known, &candidate)) {
                distinct.push(candidate);
            }
        }
        distinct
    }
}

/// The settings with every secret as it is at this moment, so that all of an attempt goes by the same.
/// A file that cannot be read stays what it is: whoever needs it says so.
pub(super) async fn with_values(provider: &ProviderSettings) -> ProviderSettings {
    let mut provider = provider.clone();
    for secret in secrets_mut(&mut provider) {
        if let Ok(value) = secret.read().await {
            *secret = Secret::Value(value);
        }
    }
    provider
}

/// The files whose change may make the provider say yes.
pub(super) fn secret_files(provider: &ProviderSettings) -> Vec<PathBuf> {
    let mut provider = provider.clone();
    let previous = provider.previous_client_secret.take();
    let secrets = secrets_mut(&mut provider).into_iter();
    let files = secrets.filter_map(|secret| secret.file());
    files
        .chain(previous.and_then(|secret| secret.file()))
        .collect()
}

/// All that a request proves itself with.
fn secrets_mut(provider: &mut ProviderSettings) -> Vec<&mut Secret> {
    let request = &mut provider.request;
    let further = request.parameters.iter_mut().map(|(_, secret)| secret);
    let headers = request.headers.iter_mut().map(|(_, secret)| secret);
    provider
        .grant
        .secrets_mut()
        .into_iter()
        .chain(provider.client_authentication.secret_mut())
        .chain(further)
        .chain(headers)
        .collect()
}

fn is_same(one: &ProviderSettings, other: &ProviderSettings) -> bool {
    let (mut one, mut other) = (one.clone(), other.clone());
    let pairs = secrets_mut(&mut one)
        .into_iter()
        .zip(secrets_mut(&mut other));
    pairs.into_iter().all(|pair| match pair {
        (Secret::Value(one), Secret::Value(other)) => store::is_same(one, other),
        (Secret::File(..), Secret::Value(_)) => false,
        // What cannot be read is no reason to ask again.
        _ => true,
    })
}
