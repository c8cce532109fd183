mod instead;
mod refusals;

use http::StatusCode;
use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::*;
use crate::oauth::Secret;

const DEFAULT: Duration = Duration::from_secs(300);

fn answer(status: u16, body: impl AsRef<[u8]>) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        retry_after: None,
        content_type: Some("application/json".into()),
        body: body.as_ref().to_vec(),
    }
}

fn settings(token: &[TokenLocation]) -> AnswerSettings {
    AnswerSettings {
        token: token.to_vec(),
        token_type: Some("Bearer".into()),
        default_lifetime: DEFAULT,
    }
}

fn read_at(place: &TokenLocation, answer: &Answer) -> Result<ReceivedToken, FetchError> {
    let settings = settings(std::slice::from_ref(place));
    let mut confidential = Confidential::default();
    confidential.add("s3cret");
    read(answer, &settings, &Grant::ClientCredentials, &confidential)
        .map_err(|refusal| refusal.error)
}

fn read_usual(answer: &Answer) -> Result<ReceivedToken, FetchError> {
    read_at(&TokenLocation::default(), answer)
}

fn read_ok(body: impl AsRef<[u8]>) -> (String, Duration) {
    let token = read_usual(&answer(200, body)).unwrap();
    (token.secret.expose_secret().to_owned(), token.lifetime)
}

fn error(status: u16, body: impl AsRef<[u8]>) -> (FailureKind, String) {
    let error = read_usual(&answer(status, body)).unwrap_err();
    (error.kind, error.to_string())
}

#[test]
fn an_ordinary_answer() {
    let body = r#"{"access_token":"abc.def","token_type":"Bearer","expires_in":3600}"#;
    assert_eq!(read_ok(body), ("abc.def".into(), Duration::from_secs(3600)));
}

#[test]
fn lives_in_every_form_that_was_seen() {
    for (expires_in, seconds) in [
        ("3600", 3600.0),
        ("\"3600\"", 3600.0),
        ("\" 31536000 \"", 31_536_000.0),
        ("2.5", 2.5),
        ("\"2.5\"", 2.5),
        ("1e3", 1000.0),
        ("315360000", 315_360_000.0),
        ("null", 300.0),
        ("\"soon\"", 300.0),
        ("\"NaN\"", 300.0),
        ("[]", 300.0),
        ("true", 300.0),
    ] {
        let body = format!(r#"{{"access_token":"t","expires_in":{expires_in}}}"#);
        assert_eq!(read_ok(&body).1.as_secs_f64(), seconds, "{expires_in}");
    }
    assert_eq!(read_ok(r#"{"access_token":"t"}"#).1, DEFAULT);
    for huge in ["9223372036854775807", "18446744073709551616", "\"inf\""] {
        let body = format!(r#"{{"access_token":"t","expires_in":{huge}}}"#);
        assert_eq!(read_ok(&body).1, LONGEST_LIFE, "{huge}");
    }
}

#[test]
fn the_moment_at_which_a_token_ends_says_how_long_it_lives() {
    let soon = clock::unix_now().as_secs() + 60;
    let life = |fields: &str| read_ok(format!(r#"{{"access_token":"t",{fields}}}"#)).1;
    for fields in [
        format!(r#""expires_on":"{soon}""#),
        format!(r#""expires_at":{soon}"#),
        format!(r#""expires_at":{soon}000"#),
    ] {
        let seconds = life(&fields).as_secs_f64();
        assert!((55.0..=60.0).contains(&seconds), "{fields}: {seconds}");
    }
    assert_eq!(
        life(&format!(r#""expires_in":90,"expires_on":"{soon}""#)),
        Duration::from_secs(90)
    );
    // Past, years away or in words: this says nothing.
    for written in ["3600", "32503680000", "\"2026-11-30T00:00:00Z\""] {
        assert_eq!(
            life(&format!(r#""expires_at":{written}"#)),
            DEFAULT,
            "{written}"
        );
    }
}

#[test]
fn a_token_that_is_a_jwt_says_itself_how_long_it_lives() {
    // {"iat":1000,"exp":1600}
    let jwt = "e30.eyJpYXQiOjEwMDAsImV4cCI6MTYwMH0.c2ln";
    let body = format!(r#"{{"access_token":"{jwt}"}}"#);
    assert_eq!(read_ok(body).1, Duration::from_secs(600));
    let body = format!(r#"{{"access_token":"{jwt}","expires_in":60}}"#);
    assert_eq!(
        read_ok(body).1,
        Duration::from_secs(60),
        "the provider goes first"
    );
}

#[test]
fn a_token_may_stand_elsewhere() {
    let find = |location: &TokenLocation, body: &str| {
        let token = read_at(location, &answer(200, body));
        token.map(|token| token.secret.expose_secret().to_owned())
    };
    let id_token = TokenLocation::Json("/id_token".into());
    let both = r#"{"access_token":"a","id_token":"i"}"#;
    assert_eq!(find(&id_token, both).unwrap(), "i");
    let nested = TokenLocation::Json("/data/0/token".into());
    assert_eq!(find(&nested, r#"{"data":[{"token":"n"}]}"#).unwrap(), "n");
    let missing = find(&nested, both).unwrap_err();
    assert!(
        missing.message.contains("without data/0/token"),
        "{missing}"
    );

    let bare = TokenLocation::WholeBody;
    assert_eq!(find(&bare, " e30.e30.sig\r\n").unwrap(), "e30.e30.sig");
    assert_eq!(find(&bare, "\"e30.e30.sig\"").unwrap(), "e30.e30.sig");
    let begun = r#"{"access_token":"tokD"#;
    for body in [
        "",
        "<html>sign in please</html>",
        "<html>",
        "{}",
        "[]x y",
        "[\"x\"]",
        "\"\"",
        "null",
        begun,
    ] {
        assert_eq!(
            find(&bare, body).unwrap_err().kind,
            FailureKind::Malformed,
            "{body}"
        );
    }
    let refused = find(&bare, r#"{"error":"invalid_client"}"#).unwrap_err();
    assert_eq!(refused.kind, FailureKind::Refused);
}

#[test]
fn a_providers_wishes_are_handed_on() {
    let refresh_in = |written: &str| {
        let body = format!(r#"{{"access_token":"t","expires_in":90,"refresh_in":{written}}}"#);
        read_usual(&answer(200, body)).unwrap().refresh_in
    };
    assert_eq!(refresh_in("45"), Some(Duration::from_secs(45)));
    assert_eq!(refresh_in("\"45\""), Some(Duration::from_secs(45)));
    for written in ["0", "-1", "null", "\"soon\"", "{}"] {
        assert_eq!(refresh_in(written), None, "{written}");
    }

    let wish = Some(Duration::from_secs(20));
    let throttled = Answer {
        retry_after: wish,
        ..answer(429, "{}")
    };
    let error = read_usual(&throttled).unwrap_err();
    assert_eq!(
        (error.kind, error.retry_after),
        (FailureKind::Throttled, wish)
    );
}

#[test]
fn a_life_that_is_over_is_refused() {
    for expires_in in ["0", "-1", "\"0\"", "-0.0"] {
        let body = format!(r#"{{"access_token":"t","expires_in":{expires_in}}}"#);
        let (kind, message) = error(200, body);
        assert_eq!(kind, FailureKind::Malformed);
        assert!(message.contains("over already"), "{message}");
    }
}

#[test]
fn harmless_oddities_are_read() {
    for body in [
        &b"\xef\xbb\xbf{\"access_token\":\"a/b\"}"[..],
        br#"{"access_token":"a\/b","token_type":"bearer"}"#,
        br#"{"token_type":"BEARER","access_token":"a/b","refresh_token":"ignored"}"#,
        br#"{"access_token":"a/b","token_type":null,"error":null}"#,
        b" \n{\"access_token\":\"a\\u002fb\"} ",
    ] {
        assert_eq!(read_ok(body).0, "a/b");
    }
}

#[test]
fn a_token_that_cannot_stand_in_a_header_is_refused() {
    for token in [
        "",
        "a b",
        "a\\nb",
        "a\\r\\nX: y",
        "a\\u0000",
        "tökén",
        "a\\tb",
    ] {
        let (kind, message) = error(200, format!(r#"{{"access_token":"{token}"}}"#));
        assert_eq!(kind, FailureKind::Malformed, "{token}: {message}");
        assert!(!message.contains("X: y"), "the token is not shown");
    }
    let long = "x".repeat(LONGEST_TOKEN + 1);
    assert_eq!(
        error(200, format!(r#"{{"access_token":"{long}"}}"#)).0,
        FailureKind::Malformed
    );
    let just_fits = "x".repeat(LONGEST_TOKEN);
    assert_eq!(
        read_ok(format!(r#"{{"access_token":"{just_fits}"}}"#)).0,
        just_fits
    );
    // As Salesforce makes them.
    assert_eq!(read_ok(r#"{"access_token":"00D!AR8"}"#).0, "00D!AR8");
}

#[test]
fn what_is_no_token_answer_is_malformed() {
    for body in [
        "",
        "<html>sign in</html>",
        "access_token=abc&token_type=bearer",
        "[]",
        "\"token\"",
        "{\"access_token\":",
        "{}",
        r#"{"access_token":7}"#,
        r#"{"access_token":"t","token_type":"mac"}"#,
    ] {
        assert_eq!(error(200, body).0, FailureKind::Malformed, "{body}");
    }
}

/// The one before it may be used up, whatever is wrong with the access token.
#[test]
fn the_first_place_that_has_a_token_is_taken() {
    let json = |name: &str| TokenLocation::Json(format!("/{name}"));
    let places = [json("id_token"), json("idToken"), TokenLocation::WholeBody];
    let find = |body: &str| {
        let token = read(
            &answer(200, body),
            &settings(&places),
            &Grant::ClientCredentials,
            &Confidential::default(),
        );
        token.map(|token| token.secret.expose_secret().to_owned())
    };
    assert_eq!(find(r#"{"idToken":"b","id_token":"a"}"#).unwrap(), "a");
    assert_eq!(find(r#"{"idToken":"b","access_token":"c"}"#).unwrap(), "b");
    assert_eq!(find("\"d\"").unwrap(), "d");
    assert_eq!(find("e").unwrap(), "e");
    let nothing = find(r#"{"access_token":"c"}"#).unwrap_err().error;
    insta::assert_snapshot!(nothing);
}

#[test]
fn other_spellings_are_read() {
    let google = r#"{"access_token":"t","expiresIn":"3600","refreshToken":"r"}"#;
    let token = read_usual(&answer(200, google)).unwrap();
    assert_eq!(token.lifetime, Duration::from_secs(3600));
    assert_eq!(token.refresh_token.unwrap().expose_secret(), "r");
    let form = Answer {
        content_type: Some("application/x-www-form-urlencoded; charset=utf-8".into()),
        ..answer(
            200,
            "access_token=a%2Fb&token_type=bearer&expires_in=90&refresh_token=r",
        )
    };
    let loud = Answer {
        content_type: Some("Application/X-WWW-Form-Urlencoded".into()),
        ..form.clone()
    };
    assert!(read_usual(&loud).is_ok());
    let called_otherwise = Answer {
        content_type: form.content_type.clone(),
        ..answer(200, r#"{"access_token":"t"}"#)
    };
    assert!(read_usual(&called_otherwise).is_ok());
    let token = read_usual(&form).unwrap();
    assert_eq!(token.secret.expose_secret(), "a/b");
    assert_eq!(token.lifetime, Duration::from_secs(90));
    assert!(token.refresh_token.is_some());
    for refresh_token in ["null", "\"\"", "7"] {
        let body = format!(r#"{{"access_token":"t","refresh_token":{refresh_token}}}"#);
        assert!(
            read_usual(&answer(200, body))
                .unwrap()
                .refresh_token
                .is_none()
        );
    }
}

#[test]
fn the_type_can_be_another_if_the_configuration_says_so() {
    let body = r#"{"access_token":"t","token_type":"N_A"}"#;
    for (wanted, is_read) in [(Some("Bearer"), false), (Some("n_a"), true), (None, true)] {
        let settings = AnswerSettings {
            token_type: wanted.map(Into::into),
            ..settings(&[TokenLocation::default()])
        };
        let token = read(
            &answer(200, body),
            &settings,
            &Grant::ClientCredentials,
            &Confidential::default(),
        );
        assert_eq!(token.is_ok(), is_read, "{wanted:?}");
    }
}

#[test]
fn a_kept_token_that_is_over_is_over() {
    // {"iat":1000,"exp":1600}
    let jwt = "e30.eyJpYXQiOjEwMDAsImV4cCI6MTYwMH0.c2ln";
    let settings = settings(&[TokenLocation::WholeBody]);
    let error = read_kept(jwt.into(), Duration::ZERO, &settings).unwrap_err();
    assert!(error.message.contains("over already"), "{error}");
    assert_eq!(
        read_kept("opaque".into(), Duration::ZERO, &settings)
            .unwrap()
            .lifetime,
        DEFAULT
    );
}

#[test]
fn a_kept_answer_is_as_old_as_its_file() {
    let settings = settings(&[TokenLocation::default()]);
    let read = |body: &str, age| read_kept(body.into(), Duration::from_secs(age), &settings);
    let opaque = r#"{"access_token":"t","expires_in":60}"#;
    assert_eq!(read(opaque, 20).unwrap().lifetime, Duration::from_secs(40));
    assert!(read(opaque, 60).is_err());
    let wish = r#"{"access_token":"t","expires_in":60,"refresh_in":30}"#;
    let refresh_in = |age| read(wish, age).unwrap().refresh_in;
    assert_eq!(refresh_in(20), Some(Duration::from_secs(10)));
    assert_eq!(refresh_in(30), None);
    // {"iat":1000,"exp":1600}
    let jwt = r#"{"access_token":"e30.eyJpYXQiOjEwMDAsImV4cCI6MTYwMH0.c2ln","expires_in":3600}"#;
    assert!(read(jwt, 0).is_err(), "it says itself that it is over");
}

proptest! {
    #[test]
    fn no_answer_panics_and_no_token_breaks_a_header(
        status in 100u16..1000, body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Ok(token) = read_usual(&answer(status, body)) {
            prop_assert!(http::HeaderValue::from_str(token.secret.expose_secret()).is_ok());
        }
    }

    #[test]
    fn any_json_is_read_or_refused(token in any::<String>(), expires_in in any::<f64>()) {
        let body = serde_json::json!({ "access_token": token, "expires_in": expires_in });
        if let Ok(fetched) = read_usual(&answer(200, body.to_string())) {
            prop_assert!(!fetched.lifetime.is_zero());
            prop_assert!(http::HeaderValue::from_str(fetched.secret.expose_secret()).is_ok());
        }
    }
}
