use std::time::Duration;

use http::header::AUTHORIZATION;
use prometheus::Registry;

use super::*;
use crate::proxy::{
    Forwarded, Origin, PathPrefix, Protocol, Settings, Timeouts, USUAL_HEADERS, metrics,
};
use crate::tls::{Trust, client_config};
use crate::token::metrics::TokenMetrics;
use crate::token::source::FetchedToken;
use crate::token::{AccessToken, Moment, RefusalSettings, cell};

/// A control plane that is stalled takes no token away.
#[tokio::test(start_paused = true)]
async fn a_token_that_nobody_took_away_is_not_sent_after_its_end() {
    let registry = Registry::new();
    let refusals = TokenMetrics::register(&registry)
        .unwrap()
        .refusals("envase");
    let (writer, reader) = cell::channel("envase", RefusalSettings::default(), refusals);
    let tls = client_config(&Trust::Nobody, None).unwrap();
    let settings = Settings {
        hosts: Vec::new(),
        methods: Vec::new(),
        keep_host: false,
        remove_headers: Vec::new(),
        response_headers: Vec::new(),
        remove_response_headers: Vec::new(),
        rewrite_location: true,
        max_response_headers: USUAL_HEADERS,
        name: "api".into(),
        prefix: PathPrefix::new("/").unwrap(),
        strip_path: false,
        origin: Origin::new(&"http://localhost".parse().unwrap(), &tls, None).unwrap(),
        protocol: Protocol::AsCalled,
        max_connections: 1,
        max_body: None,
        retries: 1,
        forwarded: Forwarded::Nothing,
        upstream_revision: [0; 32],
        credential: Some("envase".into()),
        timeouts: Timeouts::default(),
        max_idle_connections: 1,
        replay_limit: 0,
        token_header: AUTHORIZATION,
        headers: Vec::new(),
    };
    let metrics = metrics::ProxyMetrics::register(&registry).unwrap();
    let route = Route::new(settings, Some(reader), metrics.for_route("api"));
    let fetched = FetchedToken::fresh("t", Duration::from_secs(10));
    let token = AccessToken::new(&fetched, Moment::now(), 0.0, 1).unwrap();
    let end = token.retire_at();
    writer.store(token);

    let mut headers = HeaderMap::new();
    authorize(&route, &mut headers, end - Duration::from_millis(1), None).unwrap();
    assert_eq!(headers[AUTHORIZATION], "Bearer t");
    let rejection = authorize(&route, &mut headers, end, None).unwrap_err();
    insta::assert_snapshot!(rejection.detail, @r#"credential "envase" has no token since the last one expired: the next one is on its way"#);
}
