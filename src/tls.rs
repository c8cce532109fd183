//! TLS towards upstreams, token endpoints and callers: who is trusted, and by what one is known.

mod chain;
mod file;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_platform_verifier::BuilderVerifierExt;

pub use chain::{Onlooker, Shown, onlooker, shown};
pub use file::read as read_file;

/// Whose certificates are believed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// The certificate authorities that the machine trusts.
    Platform,
    /// Only the certificate authorities in this PEM file. The machine's own are left out: a
    /// service that has a private authority has no business with a public certificate.
    CaFile(PathBuf),
    /// Nobody's: for peers that are spoken to without TLS. It needs no certificates on the machine.
    Nobody,
}

/// What one shows of oneself, in PEM files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// The certificate, and those that lead from it to the authority.
    pub certificates: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Makes the TLS settings for clients that trust as given. Peers are verified by subject
/// alternative name and validity; there is no way to switch that off.
///
/// # Errors
///
/// A file cannot be read or holds nothing usable, or the machine has no certificates.
pub fn client_config(
    trust: &Trust,
    identity: Option<&Identity>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::unusable)?;
    let builder = match trust {
        Trust::Platform => builder
            .with_platform_verifier()
            .map_err(TlsError::unusable)?,
        Trust::CaFile(path) => builder.with_root_certificates(read_certificates(path)?),
        Trust::Nobody => builder.with_root_certificates(RootCertStore::empty()),
    };
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let (certificates, key) = read_identity(identity)?;
            builder
                .with_client_auth_cert(certificates, key)
                .map_err(|error| does_not_go_with(identity, &error))?
        }
    };
    Ok(Arc::new(config))
}

/// Makes the TLS settings of a listener, which speaks HTTP/2 with whoever asks for it. With `callers`
/// only those are taken whose certificate one of the authorities in that PEM file has signed.
///
/// # Errors
///
/// A file cannot be read or holds nothing usable.
pub fn server_config(
    identity: &Identity,
    callers: Option<&Path>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::unusable)?;
    let builder = match callers {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(read_certificates(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(|error| TlsError::CaFile {
                    path: path.to_owned(),
                    what: format!("cannot be used: {error}"),
                })?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let (certificates, key) = read_identity(identity)?;
    let mut config = builder
        .with_single_cert(certificates, key)
        .map_err(|error| does_not_go_with(identity, &error))?;
    config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
    Ok(Arc::new(config))
}

fn does_not_go_with(identity: &Identity, error: &rustls::Error) -> TlsError {
    TlsError::Key {
        path: identity.key.clone(),
        what: format!("does not go with the certificate: {error}"),
    }
}

/// HTTP/2 by its registered name (RFC 7301, RFC 9113 §3.2).
pub const HTTP2: &[u8] = b"h2";

/// HTTP/1.1 by its registered name.
pub const HTTP1: &[u8] = b"http/1.1";

type CertifiedKey = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn read_identity(identity: &Identity) -> Result<CertifiedKey, TlsError> {
    let of_certificates = |what: String| TlsError::Certificates {
        path: identity.certificates.clone(),
        what,
    };
    let of_key = |what: String| TlsError::Key {
        path: identity.key.clone(),
        what,
    };
    let unreadable = |error: io::Error| format!("cannot be read: {error}");
    let pem =
        read_file(&identity.certificates).map_err(|error| of_certificates(unreadable(error)))?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| of_certificates(format!("is not valid PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(of_certificates("holds no certificate in PEM form".into()));
    }
    let pem = read_file(&identity.key).map_err(|error| of_key(unreadable(error)))?;
    // The error may quote what stands in the file.
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| of_key("holds no private key in PEM form, or one with a passphrase".into()))?;
    Ok((certificates, key))
}

/// What to do about a handshake or a certificate, by what rustls says of it, where the peer may or may not
/// be spoken to without TLS.
pub fn advice(error: &str, may_be_plain: bool) -> Option<&'static str> {
    if error.contains("UnknownIssuer") || error.contains("BadSignature") {
        Some("if it has a private certificate authority, name its PEM file with tls.ca_file")
    } else if error.contains("NotValidForName") || error.contains("not valid for name") {
        Some("check the host name")
    } else if error.contains("Expired") || error.contains("expired") {
        Some("its certificate has run out, or this machine's clock is wrong")
    } else if error.contains("NotValidYet") || error.contains("not valid yet") {
        Some("its certificate is for later, or this machine's clock is wrong")
    } else if error.contains("CaUsedAsEndEntity") {
        Some(
            "it shows an authority's certificate as its own; give it one that the authority signed, or \
             one that signs itself and was made with -addext basicConstraints=critical,CA:FALSE, and \
             name that with tls.ca_file",
        )
    } else if error.contains("InvalidContentType") {
        Some(match may_be_plain {
            true => "the other side does not speak TLS there; check the port, or use http://",
            false => "the other side does not speak TLS there; check the port",
        })
    } else if error.contains("handshake eof") || error.contains("Connection reset") {
        Some(match may_be_plain {
            true => {
                "check what it asks of its clients, or the port: it may speak no TLS there, and want \
                 http://"
            }
            false => "check what it asks of its clients, or the port: it may speak no TLS there",
        })
    } else if error.contains("NoApplicationProtocol") {
        Some("the other side speaks another version of HTTP; see protocol of the route")
    } else {
        None
    }
}

/// The certificates in a PEM file, for people; what cannot be read is left out.
pub fn certificates(path: &Path) -> Vec<Shown> {
    let pem = read_file(path).unwrap_or_default();
    let certificates = CertificateDer::pem_slice_iter(&pem).flatten();
    shown(&certificates.collect::<Vec<_>>())
}

fn read_certificates(path: &Path) -> Result<RootCertStore, TlsError> {
    let fault = |what: String| TlsError::CaFile {
        path: path.to_owned(),
        what,
    };
    let pem = read_file(path).map_err(|error| fault(format!("cannot be read: {error}")))?;
    let mut roots = RootCertStore::empty();
    for (index, certificate) in CertificateDer::pem_slice_iter(&pem).enumerate() {
        let number = index + 1;
        let certificate = certificate
            .map_err(|error| fault(format!("is not valid PEM at entry {number}: {error}")))?;
        roots.add(certificate).map_err(|error| {
            fault(format!(
                "holds a certificate (number {number}) that cannot be used: {error}"
            ))
        })?;
    }
    if roots.is_empty() {
        return Err(fault("holds no certificate in PEM form".into()));
    }
    Ok(roots)
}

/// Why TLS cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsError {
    /// The certificate authorities of the machine cannot be used.
    Platform(String),
    /// A file of certificate authorities cannot be used.
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A certificate to be shown cannot be used.
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Its private key cannot be used.
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

impl TlsError {
    fn unusable(error: rustls::Error) -> Self {
        Self::Platform(match error {
            // Its own words are those of the platform's reader behind "unexpected error: ".
            rustls::Error::General(what) => what,
            other => other.to_string(),
        })
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform(error) => write!(
                f,
                "the machine's certificate authorities cannot be used: {error}; \
                 install its ca-certificates package or name a PEM file with tls.ca_file"
            ),
            Self::CaFile { path, what }
            | Self::Certificates { path, what }
            | Self::Key { path, what } => {
                write!(f, "{} {what}", path.display())
            }
        }
    }
}

impl std::error::Error for TlsError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token endpoint without TLS is refused, but for one on this machine.
    #[test]
    fn no_tls_is_advised_where_it_is_allowed() {
        let error = "received corrupt message of type InvalidContentType";
        let told = [true, false].map(|may_be_plain| advice(error, may_be_plain));
        insta::assert_debug_snapshot!(told);
    }

    #[test]
    fn a_certificate_of_the_future_may_be_a_clock_of_the_past() {
        let early = rustls::Error::from(rustls::CertificateError::NotValidYetContext {
            time: rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::ZERO),
            not_before: rustls::pki_types::UnixTime::now(),
        });
        for error in [early.to_string(), format!("{early:?}")] {
            let told = advice(&error, false).unwrap();
            assert!(told.contains("clock"), "{error}: {told}");
        }
    }

    #[test]
    fn a_machine_without_authorities_is_told_in_plain_words() {
        let none = "no CA certificates were loaded from the system";
        let error = TlsError::unusable(rustls::Error::General(none.into()));
        insta::assert_snapshot!(error, @"the machine's certificate authorities cannot be used: no CA certificates were loaded from the system; install its ca-certificates package or name a PEM file with tls.ca_file");
    }

    fn error_for(content: &[u8]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let error = client_config(&Trust::CaFile(file.path().to_owned()), None).unwrap_err();
        error
            .to_string()
            .replace(&file.path().display().to_string(), "ca.pem")
    }

    #[test]
    fn a_bad_file_is_named_with_its_fault() {
        insta::assert_snapshot!(error_for(b""), @"ca.pem holds no certificate in PEM form");
        insta::assert_snapshot!(
            error_for(b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"),
            @"ca.pem is not valid PEM at entry 1: base64 decode error: InvalidCharacter(33)"
        );
        insta::assert_snapshot!(
            error_for(b"-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"),
            @"ca.pem holds a certificate (number 1) that cannot be used: invalid peer certificate: BadEncoding"
        );
        let missing = client_config(&Trust::CaFile("no/such/ca.pem".into()), None).unwrap_err();
        insta::assert_snapshot!(missing, @"no/such/ca.pem cannot be read: No such file or directory (os error 2)");
    }

    #[test]
    fn a_good_file_is_trusted() {
        let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), authority.cert.pem()).unwrap();
        client_config(&Trust::CaFile(file.path().to_owned()), None).unwrap();
    }
}
