//! Words that nobody can guess.

use aws_lc_rs::rand;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::token::source::{FailureKind, FetchError};

/// So many random bytes, in characters that need no escape anywhere.
pub(super) fn unguessable<const BYTES: usize>() -> Result<String, FetchError> {
    let mut bytes = [0; BYTES];
    rand::fill(&mut bytes).map_err(|_| {
        let why = "the system gives no random numbers";
        FailureKind::Misconfigured.because(why)
    })?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}
