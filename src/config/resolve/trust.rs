//! `tls` of whoever is called: whom to trust there, and what to show.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use humantime::Rfc3339Timestamp;
use rustls::ClientConfig;

use super::super::decode::{Path, Report};
use super::super::raw;
use super::secret;
use crate::tls::{self, Identity, TlsError, Trust};
use crate::token::clock;
use crate::wording::harmless;

/// The TLS settings by what they trust and show, so that certificates are read once however many routes and
/// credentials use them.
#[derive(Default)]
pub(super) struct TrustedRoots(BTreeMap<(Trust, Option<Identity>), Made>);

type Made = Result<Arc<ClientConfig>, TlsError>;

impl TrustedRoots {
    /// The settings for a peer of this scheme. A machine without certificates can still speak to
    /// peers without TLS.
    pub(super) fn config(
        &mut self,
        scheme: &str,
        raw: &raw::Tls,
        path: &Path,
        report: &mut Report,
    ) -> Option<Arc<ClientConfig>> {
        let trust = match &raw.ca_file {
            Some(file) => Trust::CaFile(PathBuf::from(file)),
            None if scheme == "https" => Trust::Platform,
            None => Trust::Nobody,
        };
        for file in [&raw.ca_file, &raw.client_cert_file, &raw.client_key_file] {
            file.iter().for_each(|file| report.reads(file));
        }
        let path = path.key("tls");
        if let Some(file) = &raw.ca_file {
            secret::refuse_unexpanded(file, &path.key("ca_file"), report)?;
        }
        let identity = of_client(raw, &path, report)?;
        let known = self.0.entry((trust, identity));
        let known = known.or_insert_with_key(|(trust, identity)| {
            if let Trust::CaFile(file) = trust {
                // No handshake fails for it, as what is trusted is the key; whoever signs with it signs no more.
                for (subject, end) in outdated(file) {
                    report.warn(format!(
                        "{}: the certificate of the authority \"{subject}\" has run out on {end}; put \
                         that of its successor into the file",
                        path.key("ca_file"),
                    ));
                }
            }
            tls::client_config(trust, identity.as_ref())
        });
        // Told wherever it is written: whoever mends one place would meet the next one only then.
        let known = known.as_ref().map(Arc::clone);
        known.map_err(|error| report_tls(error, &path, report)).ok()
    }
}

/// Only of an upstream may the certificate have another name than its address: a key that does nothing
/// would have somebody look for the fault elsewhere.
pub(super) fn refuse_server_name(raw: &raw::Tls, whose: &str, path: &Path, report: &mut Report) {
    if raw.server_name.is_some() {
        report.add(
            &path.key("tls").key("server_name"),
            "another name",
            format!("nothing: {whose} certificate has the name of its address"),
        );
    }
}

/// The certificates of a file that have run out, each with whom it names and when that was.
fn outdated(file: &std::path::Path) -> impl Iterator<Item = (String, Rfc3339Timestamp)> {
    let certificates = tls::certificates(file).into_iter();
    let outdated = certificates.filter(|shown| clock::since(shown.not_after) > Duration::ZERO);
    outdated.map(|shown| {
        let end = humantime::format_rfc3339_seconds(shown.not_after);
        (harmless(&shown.subject), end)
    })
}

/// A certificate and its key, each with the key of the configuration that names its file. Looked at before
/// they are read as what they should be: one who pastes a key in the place of its file is not shown it.
pub(super) fn identity(
    (certificates, of_certificates): (String, &Path),
    (key, of_key): (String, &Path),
    report: &mut Report,
) -> Option<Identity> {
    let has_key = secret::key_file(key.clone(), of_key, report).is_some();
    // It is no secret, but a key may have been taken for it.
    let plainly = "goes into a file of its own";
    secret::readable(certificates.clone(), of_certificates, plainly, report)?;
    let identity = Identity {
        certificates: certificates.into(),
        key: key.into(),
    };
    for (subject, end) in outdated(&identity.certificates) {
        report.warn(format!(
            "{of_certificates}: the certificate \"{subject}\" has run out on {end}, and whoever is shown \
             it refuses it; have it renewed"
        ));
    }
    has_key.then_some(identity)
}

/// `Some(None)` if the client shows no certificate.
fn of_client(raw: &raw::Tls, path: &Path, report: &mut Report) -> Option<Option<Identity>> {
    let missing = match (&raw.client_cert_file, &raw.client_key_file) {
        (None, None) => return Some(None),
        (Some(certificates), Some(key)) => {
            let certificates = (certificates.clone(), &path.key("client_cert_file"));
            let key = (key.clone(), &path.key("client_key_file"));
            return identity(certificates, key, report).map(Some);
        }
        (Some(_), None) => "client_key_file",
        (None, Some(_)) => "client_cert_file",
    };
    report.add(
        &path.key(missing),
        "nothing",
        "a PEM file; a certificate and its key go together",
    );
    None
}

fn report_tls(error: &TlsError, path: &Path, report: &mut Report) {
    let (key, expected) = match error {
        TlsError::Platform(_) | TlsError::CaFile { .. } => (
            "ca_file",
            "a PEM file with the certificates of the authorities to trust",
        ),
        TlsError::Certificates { .. } => (
            "client_cert_file",
            "a PEM file with the client's certificate",
        ),
        TlsError::Key { .. } => (
            "client_key_file",
            "a PEM file with the private key of the certificate in client_cert_file",
        ),
    };
    report.add(&path.key(key), error.to_string(), expected);
}
