//! Certificates for one test.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    SigningKey, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// A certificate and its key, in PEM form.
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

impl Identity {
    /// A server's, for `localhost`, that has signed itself: as an authority, as `openssl req -x509`
    /// makes it, or as none (`CA:FALSE`).
    pub fn self_signed(is_authority: bool) -> Self {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name = named(&[(DnType::CommonName, "localhost")]);
        params.is_ca = match is_authority {
            true => IsCa::Ca(BasicConstraints::Unconstrained),
            false => IsCa::ExplicitNoCa,
        };
        let key = KeyPair::generate().unwrap();
        Self {
            certificate: params.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

/// A certificate authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named(&[(DnType::OrganizationName, "gatepass tests")]);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// One whose own certificate has run out.
    pub fn outdated() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named(&[(DnType::CommonName, "Old Root")]);
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// Its own certificate, in PEM form.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server's certificate, for `localhost`.
    pub fn server(&self) -> Identity {
        self.server_named("localhost")
    }

    /// A server's certificate, for this name.
    pub fn server_named(&self, name: &str) -> Identity {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name = named(&[(DnType::CommonName, name)]);
        self.sign(&params)
    }

    /// A server's certificate, for `localhost`, that is good until so long after the year 1970 began.
    pub fn server_until(&self, end: Duration) -> Identity {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name = named(&[(DnType::CommonName, "localhost")]);
        params.not_after = date_time_ymd(1970, 1, 1) + end;
        self.sign(&params)
    }

    /// A server's certificate that has run out.
    pub fn expired_server(&self) -> Identity {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        self.sign(&params)
    }

    /// A server's certificate by an authority between that has run out, with that one's behind it.
    pub fn server_by_expired_intermediate(&self) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named(&[(DnType::CommonName, "intermediate")]);
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        let key = KeyPair::generate().unwrap();
        let between = Self(CertifiedIssuer::signed_by(params, key, &self.0).unwrap());
        let mut identity = between.server();
        identity.certificate.push_str(&between.pem());
        identity
    }

    /// A server's certificate that names it only where names are not looked for any more.
    pub fn server_by_common_name(&self) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = named(&[(DnType::CommonName, "localhost")]);
        self.sign(&params)
    }

    /// A client's certificate. RFC 4514 writes its subject `CN=name,O=organization`.
    pub fn client(&self, organization: &str, name: &str) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = named(&[
            (DnType::OrganizationName, organization),
            (DnType::CommonName, name),
        ]);
        self.sign(&params)
    }

    /// A client's certificate that has run out.
    pub fn expired_client(&self) -> Identity {
        self.expired_server()
    }

    /// A client's certificate of X.509 version 1, as old scripts make them: without a version, which
    /// comes first, and without extensions, which come last.
    pub fn client_of_version_1(&self) -> Identity {
        let third = self.client("gatepass tests", "old");
        let (certificate, _) = third.der();
        let parts = parts_of(&certificate);
        let body = parts_of(&parts[0]);
        let body = sequence(&body[1..body.len() - 1].concat());
        let mut signature = vec![0];
        signature.extend(self.0.key().sign(&body).unwrap());
        let signature = element(0x03, &signature);
        let certificate = sequence(&[&body, &parts[1], &signature[..]].concat());
        let text = base64::engine::general_purpose::STANDARD.encode(certificate);
        Identity {
            certificate: format!(
                "-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"
            ),
            key: third.key,
        }
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }

    fn sign(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

impl Authority {
    /// How a client of one who trusts this authority speaks TLS, with `identity` if it shows one.
    pub fn client_tls(&self, identity: Option<&Identity>, protocols: &[&str]) -> TlsConnector {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots());
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let (certificate, key) = identity.der();
                let key = provider.key_provider.load_private_key(key).unwrap();
                // Other clients look at their own certificates less closely than rustls does.
                let shown = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
                builder.with_client_cert_resolver(Arc::new(shown))
            }
        };
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        TlsConnector::from(Arc::new(config))
    }
}

impl Identity {
    /// Both in a directory, as `NAME.crt` and `NAME.key`.
    pub fn write(&self, directory: &Path, name: &str) {
        std::fs::write(directory.join(format!("{name}.crt")), &self.certificate).unwrap();
        std::fs::write(directory.join(format!("{name}.key")), &self.key).unwrap();
    }

    /// How a server with this identity speaks TLS.
    pub fn server_tls(&self, protocols: &[&str]) -> TlsAcceptor {
        self.server_tls_for(None, protocols)
    }

    /// The same of a server that takes only clients of this authority, if it names one.
    pub fn server_tls_for(&self, clients: Option<&Authority>, protocols: &[&str]) -> TlsAcceptor {
        let (_, key) = self.der();
        let chain = CertificateDer::pem_slice_iter(self.certificate.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients = match clients {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(authority) => {
                let roots = Arc::new(authority.roots());
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider));
                verifier.build().unwrap()
            }
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        TlsAcceptor::from(Arc::new(config))
    }

    fn der(&self) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        (certificate, key)
    }
}

/// A subject of these parts.
pub fn named(parts: &[(DnType, &str)]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for (part, value) in parts {
        name.push(part.clone(), *value);
    }
    name
}

/// An element of DER (X.690 §8.1) that is up to 64 KiB long.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let mut bytes = match (high, low) {
        (0, 0..=127) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    bytes.extend(content);
    bytes
}

fn sequence(content: &[u8]) -> Vec<u8> {
    element(0x30, content)
}

/// The elements that an element is made of.
fn parts_of(element: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = &element[head_of(element).0..];
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (head, length) = head_of(rest);
        let (part, others) = rest.split_at(head + length);
        parts.push(part.to_vec());
        rest = others;
    }
    parts
}

/// How long its head is, and how long its content.
fn head_of(element: &[u8]) -> (usize, usize) {
    let more = match element[1] {
        length @ 0..=127 => return (2, length.into()),
        long => usize::from(long & 0x7f),
    };
    let length = element[2..2 + more].iter();
    let length = length.fold(0, |length, byte| (length << 8) | usize::from(*byte));
    (2 + more, length)
}
