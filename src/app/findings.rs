//! What keeps gatepass from serving, and what else operators should look at.

use std::sync::Arc;

use super::reload::Standing;
use crate::readiness::{Finding, Readiness};
use crate::store::Standings;
use crate::token::{Credentials, TokenReader, TokenState};

/// Has them told to whoever asks whether gatepass is ready.
pub(super) fn tell(
    readiness: &Readiness,
    credentials: &Credentials,
    standings: Standings,
    standing: Standing,
) {
    let [of, of_ageing, of_refused, of_remarks, of_stores] =
        std::array::from_fn(|_| credentials.clone());
    readiness.require(move || findings(&of, TokenState::why_unusable));
    readiness.remark(move || findings(&of_ageing, TokenState::why_ageing));
    readiness.remark(move || unmended(&of_refused));
    readiness.remark(move || findings(&of_remarks, TokenState::remark));
    readiness.remark(move || troubles(&of_stores, &standings));
    readiness.remark(move || standing.findings());
}

/// What there is to say about each credential.
fn findings(
    credentials: &Credentials,
    look: impl Fn(&TokenState) -> Option<String>,
) -> Vec<Finding> {
    let finding = |reader: &TokenReader| {
        let subject = format!("credential \"{}\"", reader.credential());
        look(&reader.load()).map(|reason| Finding { subject, reason })
    };
    credentials.all().iter().filter_map(finding).collect()
}

/// The routes whose upstreams refuse whatever token they get.
fn unmended(credentials: &Credentials) -> Vec<Finding> {
    let of_one = |reader: &TokenReader| {
        let finding = |route: Arc<str>| Finding {
            subject: format!("route \"{route}\""),
            reason: format!(
                "has an upstream that refuses new tokens of credential \"{}\" as well (401): rather \
                 a permission, an audience or a scope is missing; gatepass doctor --call looks",
                reader.credential()
            ),
        };
        let routes = reader.refused_by_routes().into_iter();
        routes.map(finding).collect::<Vec<_>>()
    };
    credentials.all().iter().flat_map(of_one).collect()
}

/// What there is to say about the stores of credentials that are at work.
fn troubles(credentials: &Credentials, standings: &Standings) -> Vec<Finding> {
    let finding = |reader: &TokenReader| {
        let name = reader.credential();
        let trouble = standings.of(name).trouble?;
        Some(Finding {
            subject: format!("credential \"{name}\""),
            reason: format!(
                "shares no tokens: {trouble}; until that is mended, this replica asks the provider \
                 by itself"
            ),
        })
    };
    credentials.all().iter().filter_map(finding).collect()
}
