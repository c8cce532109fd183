//! How long a server asks to be left alone (RFC 9110 §10.2.3).

use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

use crate::token::clock;

/// RFC 9110 §10.2.3: "Retry-After = HTTP-date / delay-seconds".
///
/// A date is compared with the answer's own, if it has one, so that it does not matter whose clock
/// is right. Anything else than the two forms is no wish at all.
pub fn read(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok().map(str::trim);
    let wish = text(RETRY_AFTER)?;
    if let Ok(seconds) = wish.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(wish).ok()?;
    let sent = text(DATE).and_then(|date| httpdate::parse_http_date(date).ok());
    Some(match sent {
        Some(sent) => until.duration_since(sent).unwrap_or_default(),
        None => clock::until(until),
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read_seconds(wish: &str, date: Option<&str>) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(wish).unwrap());
        if let Some(date) = date {
            headers.insert(DATE, HeaderValue::from_str(date).unwrap());
        }
        read(&headers).map(|wish| wish.as_secs())
    }

    #[test]
    fn both_forms_are_read() {
        assert_eq!(read_seconds("120", None), Some(120));
        assert_eq!(read_seconds(" 0 ", None), Some(0));
        let sent = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(
            read_seconds("Sun, 06 Nov 1994 08:50:37 GMT", sent),
            Some(60)
        );
        assert_eq!(read_seconds("Sun, 06 Nov 1994 08:48:37 GMT", sent), Some(0));
        assert_eq!(read_seconds("Sun, 06 Nov 1994 08:50:37 GMT", None), Some(0));
        let far = read_seconds("Tue, 31 Dec 2999 23:59:59 GMT", None).unwrap();
        assert!(far > 86_400 * 365);
    }

    #[test]
    fn anything_else_is_no_wish() {
        for wish in ["soon", "-1", "1.5", "", "99999999999999999999999"] {
            assert_eq!(read_seconds(wish, None), None, "{wish}");
        }
        assert_eq!(read(&HeaderMap::new()), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(wish in "[ -~]{0,40}", date in "[ -~]{0,40}") {
            read_seconds(&wish, Some(&date));
        }
    }
}
