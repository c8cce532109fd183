//! Answers that say no, and what is told of them.

use super::*;

#[test]
fn messages_say_what_to_do() {
    let of = |status, body: &str| {
        let (kind, message) = error(status, body);
        format!("{}: {message}", kind.label())
    };
    let said = [
        of(
            401,
            r#"{"error":"invalid_client","error_description":"No such client"}"#,
        ),
        of(400, r#"{"error":"invalid_scope"}"#),
        of(400, r#"{"error":"unauthorized_client"}"#),
        of(400, r#"{"error":"custom_reason"}"#),
        of(200, r#"{"error":"invalid_client"}"#),
        of(503, r#"{"error":"temporarily_unavailable"}"#),
        of(429, "{}"),
        of(302, ""),
        of(401, "<html>"),
        of(404, "<html>"),
        of(502, "<html>"),
        of(400, "nope"),
        of(
            400,
            "<title>400 The plain HTTP request was sent to HTTPS port</title>",
        ),
        of(200, "<html>"),
        of(200, r#"{"access_token":"t","token_type":"mac"}"#),
    ];
    insta::assert_snapshot!(said.join("\n"), @r#"
    refused: answered 401 invalid_client ("No such client"); check client_id, the client's secret or key, and token_endpoint_auth_method
    refused: answered 400 invalid_scope; check scope against what the client may have
    refused: answered 400 unauthorized_client; have the provider allow this grant_type for this client
    refused: answered 400 custom_reason; check scope, audience and client_id
    refused: answered 200 invalid_client; check client_id, the client's secret or key, and token_endpoint_auth_method
    unavailable: answered 503 temporarily_unavailable; see whether the provider is up
    throttled: answered 429 with 2 bytes of application/json; see what else asks with this client, and wait a while
    misconfigured: answered 302 with an empty body; write the final address into token_endpoint; a redirect is not followed, because it would hand the client secret to another place
    refused: answered 401 with 6 bytes of application/json; check client_id, the client's secret or key, and token_endpoint_auth_method
    misconfigured: answered 404 with 6 bytes of application/json; check token_endpoint: nothing takes token requests there
    unavailable: answered 502 with 6 bytes of application/json; see whether the provider is up
    refused: answered 400 with 4 bytes of application/json; check token_endpoint, scope and audience
    misconfigured: answered 400 with 64 bytes of application/json; write https:// in token_endpoint: it speaks TLS there
    malformed: answered with 6 bytes of application/json instead of a JSON object; check whether this address is a token endpoint
    malformed: handed out a token of type "mac" instead of "Bearer"; set token_type if it is to be sent nevertheless
    "#);
}

/// Not every provider keeps to RFC 6749 §5.2.
#[test]
fn what_a_server_says_to_people_is_told() {
    let grant = Grant::Password {
        username: "bob".into(),
        password: Secret::Value("p".into()),
    };
    let of = |status, body: &str| {
        let settings = settings(&[TokenLocation::default()]);
        let answer = answer(status, body);
        let refusal = read(&answer, &settings, &grant, &Confidential::default()).unwrap_err();
        let kind = refusal.error.kind.label();
        format!("{kind} {}: {}", refusal.of_the_client, refusal.error)
    };
    let said = [
        // API Gateway and Cognito.
        of(403, r#"{"message":"Missing Authentication Token"}"#),
        of(429, r#"{"message":"Too Many Requests"}"#),
        of(502, r#"{"message":"Internal server error"}"#),
        of(
            400,
            r#"{"__type":"com.amazon#NotAuthorizedException","message":"Password attempts exceeded"}"#,
        ),
        of(
            400,
            r#"{"__type":"TooManyRequestsException","message":"Rate exceeded"}"#,
        ),
        // Laravel and the league of PHP.
        of(
            422,
            r#"{"message":"The client id field is required.","errors":{}}"#,
        ),
        of(
            400,
            r#"{"error":"invalid_scope","error_description":"It is unknown","hint":"Check the `a` scope"}"#,
        ),
        // Spring.
        of(
            401,
            r#"{"status":401,"error":"Unauthorized","message":"Unauthorized","path":"/oauth/token"}"#,
        ),
        of(
            401,
            r#"{"error":"unauthorized","error_description":"Full authentication is required"}"#,
        ),
        of(
            400,
            r#"{"error":"invalid_grant","error_description":"User account is locked"}"#,
        ),
        // Keycloak.
        of(
            401,
            r#"{"error":"unauthorized_client","error_description":"Invalid client secret"}"#,
        ),
        of(400, r#"{"error":"unauthorized_client"}"#),
    ];
    insta::assert_snapshot!(said.join("\n"));
}

/// A firewall says no by a page, and so does what stands in the place of a token endpoint.
#[test]
fn a_page_is_not_the_token_endpoints_no() {
    for status in [400, 403] {
        let page = Answer {
            content_type: Some("text/html; charset=utf-8".into()),
            ..answer(status, "<html>Request blocked</html>")
        };
        let told = read_usual(&page).unwrap_err();
        assert_eq!(told.kind, FailureKind::Refused);
        let advice = told.advice.unwrap();
        assert!(advice.contains("a proxy on the way"), "{advice}");
    }
}

/// No Content-Encoding is asked for, and none is taken off.
#[test]
fn a_compressed_answer_is_called_one() {
    let compressed = answer(200, b"\x1f\x8b\x08\0\0");
    let told = |place| read_at(&place, &compressed).unwrap_err().to_string();
    insta::assert_snapshot!(told(TokenLocation::default()), @"answered with 5 bytes compressed by gzip instead of a JSON object; have the provider, or a proxy on the way, answer without a Content-Encoding");
    insta::assert_snapshot!(told(TokenLocation::WholeBody), @"answered with 5 bytes compressed by gzip instead of a bare token; have the provider, or a proxy on the way, answer without a Content-Encoding");
}

#[test]
fn googles_own_errors_are_understood() {
    let grant = Grant::IdentityToolkit {
        email: "bob@example.com".into(),
        password: Secret::Value("p".into()),
        api_key: Secret::Value("k".into()),
        refresh_endpoint: "https://refresh.example/token".parse().unwrap(),
    };
    let mut said = Vec::new();
    for message in [
        "INVALID_LOGIN_CREDENTIALS",
        "INVALID_PASSWORD",
        "USER_DISABLED",
        "TOKEN_EXPIRED",
        "INVALID_REFRESH_TOKEN",
        "TOO_MANY_ATTEMPTS_TRY_LATER : Access was disabled for a while.",
        "QUOTA_EXCEEDED : Exceeded quota for verifying passwords.",
        "API key not valid. Please pass a valid API key.",
    ] {
        let body = serde_json::json!({
            "error": { "code": 400, "message": message, "errors": [], "status": "INVALID_ARGUMENT" }
        });
        let answer = answer(400, body.to_string());
        let refusal = read(&answer, &settings(&[]), &grant, &Confidential::default()).unwrap_err();
        let kind = refusal.error.kind.label();
        said.push(format!(
            "{kind} {}: {}",
            refusal.of_the_grant, refusal.error
        ));
    }
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn only_a_clear_word_ends_a_session() {
    for (status, body, of_the_grant) in [
        (400, r#"{"error":"invalid_grant"}"#, true),
        (401, r#"{"error":"invalid_token"}"#, true),
        (401, r#"{"error":"token_inactive"}"#, true),
        (400, r#"{"error":"login_required"}"#, true),
        (400, r#"{"error":{"message":"TOKEN_EXPIRED"}}"#, true),
        (400, r#"{"error":"their_own_word"}"#, false),
        (400, r#"{"error":"invalid_request"}"#, false),
        // league/oauth2-server before version 9.
        (
            401,
            r#"{"error":"invalid_request","error_description":"The refresh token is invalid."}"#,
            true,
        ),
        (400, r#"{"error":"invalid_scope"}"#, false),
        (400, r#"{"error":{"message":"API key not valid."}}"#, false),
        (404, r#"{"error":"Not Found"}"#, false),
        (403, r#"{"error":"Forbidden"}"#, false),
        (400, "", false),
        (401, r#"{"error":"invalid_client"}"#, false),
        (400, r#"{"error":"unauthorized_client"}"#, false),
        (401, "", false),
        (503, "", false),
        (200, "", false),
    ] {
        let refusal = read(
            &answer(status, body),
            &settings(&[TokenLocation::default()]),
            &Grant::ClientCredentials,
            &Confidential::default(),
        );
        assert_eq!(
            refusal.unwrap_err().of_the_grant,
            of_the_grant,
            "{status} {body}"
        );
    }
    let (kind, _) = error(404, r#"{"error":"Not Found"}"#);
    assert_eq!(kind, FailureKind::Misconfigured);
}

#[test]
fn a_refresh_token_is_kept_even_if_the_token_beside_it_cannot_be_used() {
    for body in [
        r#"{"access_token":"t","expires_in":0,"refresh_token":"r"}"#,
        r#"{"access_token":"t","token_type":"mac","refresh_token":"r"}"#,
        r#"{"token":"t","refresh_token":"r"}"#,
    ] {
        let refusal = read(
            &answer(200, body),
            &settings(&[TokenLocation::default()]),
            &Grant::ClientCredentials,
            &Confidential::default(),
        );
        let kept = refusal.unwrap_err().refresh_token.unwrap();
        assert_eq!(kept.expose_secret(), "r");
    }
}

#[test]
fn a_refresh_token_that_nobody_could_send_or_keep_is_left() {
    let received = |refresh_token: &str| {
        let body = format!(r#"{{"access_token":"t","refresh_token":"{refresh_token}"}}"#);
        let token = read_usual(&answer(200, body)).unwrap();
        token.refresh_token.is_some()
    };
    assert!(received(&"r".repeat(LONGEST_TOKEN)));
    assert!(!received(&"r".repeat(LONGEST_TOKEN + 1)));
    assert!(!received(""));
}

/// Whoever takes one field for the other may put a token there.
#[test]
fn a_token_in_the_place_of_its_type_is_not_told() {
    let body = r#"{"access_token":"t0ken-1","token_type":"t0ken-1","refresh_token":"t0ken-2"}"#;
    for body in [body, &body.replace("type\":\"t0ken-1", "type\":\"t0ken-2")] {
        let (kind, message) = error(200, body);
        assert_eq!(kind, FailureKind::Malformed);
        assert!(!message.contains("t0ken"), "{message}");
    }
}

#[test]
fn an_echoed_secret_is_blotted_out_even_where_the_text_is_cut() {
    let body = r#"{"error":"invalid_client","error_description":"s3cret is not right"}"#;
    assert!(!error(401, body).1.contains("s3cret"));

    let padding = "x".repeat(LONGEST_QUOTE - 3);
    let body = format!(r#"{{"error":"e","error_description":"{padding}s3cret"}}"#);
    assert!(!error(401, body).1.contains("s3c"));
}

#[test]
fn control_characters_of_a_provider_do_not_reach_the_log() {
    let body = r#"{"error":"e","error_description":"a\u001b[31m\r\nforged line"}"#;
    assert!(!error(400, body).1.contains(['\u{1b}', '\r', '\n']));
}
