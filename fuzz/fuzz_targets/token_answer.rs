//! Whatever a token endpoint answers, reading it ends, and no token has a life of zero.
#![no_main]

use gatepass::oauth::token_response::read_anything;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, &[u8])| {
    let (is_form, body) = input;
    let content_type = is_form.then(|| "application/x-www-form-urlencoded".to_owned());
    read_anything(content_type, body);
});
