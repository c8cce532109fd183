//! Whatever stands in the two fields, reading them ends.
#![no_main]

use gatepass::oauth::retry_after;
use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|fields: (&[u8], &[u8])| {
    let mut headers = HeaderMap::new();
    for (name, value) in [(RETRY_AFTER, fields.0), (DATE, fields.1)] {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(name, value);
        }
    }
    let _ = retry_after::read(&headers);
});
