//! Whatever a token says about itself, as a whole or in its claims, reading it ends.
#![no_main]

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use gatepass::oauth::jwt_claims::{Clock, lifetime};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|token: &str| {
    let _ = lifetime(token, Clock::Fresh);
    let claims = BASE64_URL_SAFE_NO_PAD.encode(token);
    for clock in [
        Clock::Fresh,
        Clock::Kept {
            age: Duration::ZERO,
        },
    ] {
        let _ = lifetime(&format!("e30.{claims}.sig"), clock);
    }
});
