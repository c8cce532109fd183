//! Certificates for one test.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
};

/// A certificate and its key, in PEM form.
pub struct Identity {
    pub certificate: String,
    pub key: String,
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

    /// Its own certificate, in PEM form.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A server's certificate, for `localhost`.
    pub fn server(&self) -> Identity {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
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

    fn sign(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// A client's certificate that nobody but the client vouches for.
pub fn self_signed(name: &str) -> Identity {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = named(&[(DnType::CommonName, name)]);
    let key = KeyPair::generate().unwrap();
    Identity {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

fn named(parts: &[(DnType, &str)]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for (part, value) in parts {
        name.push(part.clone(), *value);
    }
    name
}
