//! Answers with status 200 that say something else where a token should be.

use super::*;

const ANYWHERE: [&str; 2] = ["/id_token", "/token"];

/// As one reads what comes by HTTP Basic: in fields or bare.
fn read_of_user(answer: &Answer) -> Result<ReceivedToken, Refusal> {
    let grant = Grant::HttpBasic {
        username: "bob".into(),
        password: Secret::Value("canary-s3cret".into()),
    };
    let mut places: Vec<_> = ANYWHERE
        .map(|place| TokenLocation::Json(place.into()))
        .into();
    places.push(TokenLocation::WholeBody);
    let mut confidential = Confidential::default();
    confidential.add("canary-s3cret");
    read(answer, &settings(&places), &grant, &confidential)
}

fn told(body: &str) -> String {
    let error = read_of_user(&answer(200, body)).unwrap_err().error;
    format!("{}: {error}", error.kind.label())
}

/// Asked for again within seconds, they would have a wrong password locked out.
#[test]
fn a_no_in_unknown_form_is_a_refusal() {
    let said = [
        told(r#"{"statusCode":401,"message":"Incorrect username or password."}"#),
        told(r#"{"errorMessage":"Task timed out after 3.00 seconds"}"#),
        told(r#"{"kind":"verify","mfaPendingCredential":"canary","mfaInfo":[]}"#),
        told(r#"{"AuthenticationResult":{"IdToken":"canary"}}"#),
        told(r#"{"id_token":null,"message":"canary.canary.canary.canary"}"#),
        told(r#"{"canary-s3cret":1,"a name with spaces":1}"#),
        told("Incorrect username or password."),
        told("Unauthorized"),
        told("Service_Unavailable"),
        told("\"AccessDenied\""),
    ];
    insta::assert_snapshot!(said.join("\n"));
}

/// These may mend themselves.
#[test]
fn what_is_broken_is_no_refusal() {
    for body in [
        "",
        "{}",
        "null",
        "<html>",
        "[1]",
        "bearer e30.e30.c2ln",
        "{\"id_",
    ] {
        let refusal = read_of_user(&answer(200, body)).unwrap_err();
        assert_eq!(refusal.error.kind, FailureKind::Malformed, "{body}");
    }
}

#[test]
fn a_bare_token_is_told_from_a_word() {
    for token in [
        "e30.e30.c2ln",
        "A1",
        "abcdefghijklmnopqrst",
        "eyJhbGciOiJub25lIn0",
    ] {
        let read = read_of_user(&answer(200, token)).unwrap();
        assert_eq!(read.secret.expose_secret(), token);
    }
}

/// It has been used up, and the answer is a success that is read wrongly.
#[test]
fn an_answer_with_a_refresh_token_is_no_refusal() {
    let refusal =
        read_of_user(&answer(200, r#"{"jwt":"e30","refresh_token":"next"}"#)).unwrap_err();
    assert_eq!(refusal.error.kind, FailureKind::Malformed);
    assert!(refusal.refresh_token.is_some());
}
