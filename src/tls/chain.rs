//! What a peer shows of itself, for people who look for what is wrong: the chain of its certificates
//! with names and dates. Nothing is decided by it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

/// A certificate, as far as people read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Whom it names, in its own words: the common name, or else the organization.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// From when it is good.
    pub not_before: SystemTime,
    /// Until when it is good.
    pub not_after: SystemTime,
}

/// Reads the certificates of a chain; one that cannot be read is left out.
pub fn shown(chain: &[CertificateDer<'_>]) -> Vec<Shown> {
    chain
        .iter()
        .filter_map(|certificate| read(certificate))
        .collect()
}

/// Settings with which a peer is looked at: no handshake comes to its end, so that nothing can be
/// sent, and what the peer showed is told by the other one.
pub fn onlooker(config: &ClientConfig) -> (Arc<ClientConfig>, Arc<Onlooker>) {
    let onlooker = Arc::<Onlooker>::default();
    let mut config = config.clone();
    let verifier = Arc::clone(&onlooker);
    config.dangerous().set_certificate_verifier(verifier);
    // A session that is resumed shows no certificates.
    config.resumption = rustls::client::Resumption::disabled();
    (Arc::new(config), onlooker)
}

/// Remembers a chain, and believes nobody.
#[derive(Debug, Default)]
pub struct Onlooker(Mutex<Vec<Shown>>);

impl Onlooker {
    /// What the peer showed; nothing if it never came to that.
    pub fn seen(&self) -> Vec<Shown> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }
}

impl ServerCertVerifier for Onlooker {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut chain = shown(std::slice::from_ref(end_entity));
        chain.extend(shown(intermediates));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = chain;
        Err(only_looked_at())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_looked_at())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_looked_at())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn only_looked_at() -> Error {
    Error::General("only looked at".into())
}

/// RFC 5280 §4.1: the first fields of a certificate, up to its subject.
fn read(certificate: &[u8]) -> Option<Shown> {
    let mut whole = Der(Der(certificate).expect(SEQUENCE)?);
    let mut fields = Der(whole.expect(SEQUENCE)?);
    let (first, _) = fields.next()?;
    if first == VERSION {
        fields.next()?;
    }
    let _algorithm = fields.expect(SEQUENCE)?;
    let issuer = fields.expect(SEQUENCE)?;
    let mut validity = Der(fields.expect(SEQUENCE)?);
    let subject = fields.expect(SEQUENCE)?;
    Some(Shown {
        subject: name(subject),
        issuer: name(issuer),
        not_before: time(validity.next()?)?,
        not_after: time(validity.next()?)?,
    })
}

/// DER, one element after the other.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = bytes
                    .iter()
                    .fold(0, |length, byte| (length << 8) | usize::from(*byte));
                (length, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        let (tag, content) = self.next()?;
        (tag == wanted).then_some(content)
    }
}

/// The common name, or else the organization; RFC 5280 §4.1.2.4.
fn name(name: &[u8]) -> String {
    let mut organization = None;
    let mut sets = Der(name);
    while let Some((_, set)) = sets.next() {
        let Some(pair) = Der(set).expect(SEQUENCE) else {
            continue;
        };
        let mut pair = Der(pair);
        let (Some((_, kind)), Some((_, text))) = (pair.next(), pair.next()) else {
            continue;
        };
        let text: String = String::from_utf8_lossy(text)
            .chars()
            .take(LONGEST_NAME)
            .collect();
        match kind {
            COMMON_NAME => return text,
            ORGANIZATION => organization = Some(text),
            _ => {}
        }
    }
    organization.unwrap_or_else(|| "no name".into())
}

/// RFC 5280 §4.1.2.5: UTCTime (`YYMMDDHHMMSSZ`, up to 2049) or GeneralizedTime (`YYYY…`).
fn time((tag, text): (u8, &[u8])) -> Option<SystemTime> {
    let text = str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: u64 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    // What is before 1970 is as good as that.
    let year = Some(year).filter(|year| (1970..10_000).contains(year))?;
    let mut numbers = rest.as_bytes().chunks(2).map(|pair| {
        let number: Option<u64> = str::from_utf8(pair).ok()?.parse().ok();
        number
    });
    let mut number = |range: std::ops::RangeInclusive<u64>| {
        numbers
            .next()
            .flatten()
            .filter(|number| range.contains(number))
    };
    let (month, day) = (number(1..=12)?, number(1..=31)?);
    let (hour, minute, second) = (number(0..=23)?, number(0..=59)?, number(0..=60)?);
    let days = days_since_1970(year, month, day);
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// By years that begin in March, so that the leap day is the last of one.
fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    // The first of March of the year 0 was so many days before 1970.
    (year * 365 + leap_days + (153 * month + 2) / 5 + day - 1).saturating_sub(719_468)
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// 2.5.4.3 and 2.5.4.10, as DER has them.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ORGANIZATION: &[u8] = &[0x55, 4, 10];

const LONGEST_NAME: usize = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn names_and_dates_are_read() {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Tests");
        params.not_before = date_time_ymd(1999, 12, 31);
        params.not_after = date_time_ymd(2052, 2, 29);
        let key = KeyPair::generate().unwrap();
        let shown = shown(&[params.self_signed(&key).unwrap().der().clone()]);
        let [shown] = shown.as_slice() else {
            panic!("one certificate")
        };
        assert_eq!(
            (shown.subject.as_str(), shown.issuer.as_str()),
            ("Tests", "Tests")
        );
        let written = |time| humantime::format_rfc3339_seconds(time).to_string();
        assert_eq!(written(shown.not_before), "1999-12-31T00:00:00Z");
        assert_eq!(written(shown.not_after), "2052-02-29T00:00:00Z");
    }

    #[test]
    fn the_common_name_goes_first() {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Tests");
        params.distinguished_name.push(DnType::CommonName, "api");
        let key = KeyPair::generate().unwrap();
        let shown = shown(&[params.self_signed(&key).unwrap().der().clone()]);
        assert_eq!(shown[0].subject, "api");
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80), text in "[0-9A-Z]{0,20}") {
            read(&bytes);
            name(&bytes);
            time((UTC_TIME, text.as_bytes()));
            time((GENERALIZED_TIME, text.as_bytes()));
        }
    }
}
