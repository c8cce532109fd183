//! The way to a credential's token.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use http::header::{DATE, HOST};
use http::{HeaderMap, Request};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use secrecy::ExposeSecret;
use tokio::time::timeout;
use url::Url;

use super::super::progress::Progress;
use super::report::{Examination, Fault, Step, Walk};
use super::way::{SET_THE_CLOCK, Server, Stream, reach};
use super::{claims, store};
use crate::oauth::transport::bare;
use crate::oauth::{EndpointSettings, Inquiry, Secret, Settings};
use crate::runtime::spawn;
use crate::store::Stores;
use crate::token::clock;
use crate::token::source::FetchedToken;
use crate::wording::{in_seconds, innermost};

pub(super) async fn examine(
    settings: &Settings,
    stores: Option<&Stores>,
    progress: Progress,
) -> (Examination, Option<FetchedToken>) {
    let subject = format!("credential \"{}\"", settings.credential);
    let mut walk = Walk::new(subject, progress);
    let token = match Inquiry::new(settings) {
        Ok(inquiry) => {
            if let (Some(stores), Some(store)) = (stores, &settings.store)
                && let Some(found) = inquiry.stored(stores).await
            {
                store::entry(&mut walk, store, found, inquiry.needs_login());
            }
            token(&mut walk, &inquiry, &settings.credential, stores).await
        }
        Err(error) => {
            let fault = Fault::new(error.to_string(), "check tls and egress_proxy");
            walk.note(Step::broken("client", fault));
            None
        }
    };
    (walk.over(), token)
}

async fn token(
    walk: &mut Walk,
    inquiry: &Inquiry,
    name: &str,
    stores: Option<&Stores>,
) -> Option<FetchedToken> {
    for file in inquiry.files() {
        walk.take("file", look_at(&file)).await?;
    }
    if let Some(provider) = inquiry.provider() {
        let limit = provider.transport.timeout;
        match &provider.transport.egress_proxy {
            Some(proxy) => {
                let tls = &provider.transport.tls;
                reach(walk, &Server::of(proxy, tls, "egress_proxy", limit)?).await?;
                let said = "what lies behind the egress proxy shows with the requests that follow";
                walk.note(Step::left_out("tls", said));
                discovered(walk, inquiry).await?;
            }
            None => by_network(walk, inquiry, limit).await?,
        }
        if inquiry.would_use_up_session() {
            return of_session(walk, inquiry, name, stores).await;
        }
    }
    let token = walk.take("token", ask(inquiry)).await?;
    if let Some(refused) = &token.refused_secret {
        let said = format!("only the secret before it is taken: {refused}");
        let fault = Fault::new(
            said,
            "have the provider take the new one, or put the old one back",
        );
        walk.note(Step::doubtful("token", fault));
    }
    let secret = token.secret.expose_secret();
    claims::judge(walk, secret, inquiry.provider())?;
    Some(token)
}

/// The store's token: to ask for one would use up a refresh token that others go on with.
async fn of_session(
    walk: &mut Walk,
    inquiry: &Inquiry,
    name: &str,
    stores: Option<&Stores>,
) -> Option<FetchedToken> {
    if let Some(stores) = stores {
        if let Some(token) = inquiry.stored_token(stores).await {
            let left = in_seconds(token.lifetime.saturating_sub(token.age));
            let said = format!("the store has one, and none is asked for; it lives {left} more");
            walk.note(Step::good("token", said));
            let secret = token.secret.expose_secret();
            claims::judge(walk, secret, inquiry.provider())?;
            return Some(token);
        }
        let is_empty = inquiry.stored(stores).await == Some(Ok(false));
        if is_empty && inquiry.needs_login() {
            let said = format!("nobody is logged in; `gatepass login {name}` does that");
            walk.note(Step::left_out("token", said));
            return None;
        }
    }
    let said = "it would use up the refresh token of a gatepass that runs; /readyz of that one tells \
                how its session is";
    walk.note(Step::left_out("token", said));
    None
}

/// The provider's servers, one after the other.
async fn by_network(walk: &mut Walk, inquiry: &Inquiry, limit: Duration) -> Option<()> {
    let (first, tls) = inquiry.first_address()?;
    let key = match inquiry.provider()?.endpoint {
        EndpointSettings::At(_) => "token_endpoint",
        EndpointSettings::OfIssuer(_) => "issuer",
    };
    let stream = reach(walk, &Server::of(first, tls, key, limit)?).await?;
    compare_clocks(walk, first, stream, limit).await?;
    let endpoint = discovered(walk, inquiry).await?;
    if let Some(endpoint) = &endpoint
        && endpoint.origin() != first.origin()
    {
        let server = Server::of(endpoint, tls, "issuer", limit)?;
        reach(walk, &server).await?;
    }
    Some(())
}

/// Where tokens are asked for, if the provider has to be asked.
async fn discovered(walk: &mut Walk, inquiry: &Inquiry) -> Option<Option<Url>> {
    let work = async {
        let Some(found) = inquiry.discover().await else {
            return Ok((None, String::new()));
        };
        let endpoint = found?;
        let said = format!("the token endpoint is {}", bare(&endpoint));
        Ok((Some(endpoint), said))
    };
    match &inquiry.provider()?.endpoint {
        EndpointSettings::At(_) => Some(None),
        EndpointSettings::OfIssuer(_) => walk.take("discovery", work).await,
    }
}

async fn ask(inquiry: &Inquiry) -> Result<(FetchedToken, String), Fault> {
    let token = inquiry.token().await?;
    let said = format!("one was got; it lives {}", in_seconds(token.lifetime));
    Ok((token, said))
}

/// It is there, and whose it is.
async fn look_at(file: &Path) -> Result<((), String), Fault> {
    let shown = file.display();
    let unusable = |said: String| {
        Fault::new(
            said,
            "check the path, what is in it, and who may read it (ls -l)",
        )
    };
    let metadata =
        fs::metadata(file).map_err(|error| unusable(format!("{shown} cannot be read: {error}")))?;
    let mode = metadata.mode() & 0o7777;
    let said = format!("{shown} is there, mode {mode:04o}, user {}", metadata.uid());
    Secret::in_file(file)
        .read()
        .await
        .map_err(|error| unusable(error.to_string()))?;
    Ok(((), said))
}

/// What time it is at the provider's.
async fn compare_clocks(
    walk: &mut Walk,
    url: &Url,
    stream: Box<dyn Stream>,
    limit: Duration,
) -> Option<()> {
    let (said, next) = match timeout(limit, head(url, stream)).await {
        Ok(Ok(fields)) => return judge_date(walk, &fields),
        Ok(Err(error)) => (
            format!("what comes back is no HTTP ({error})"),
            "check scheme and port of the address",
        ),
        Err(_) => (
            format!("no answer within {limit:?}"),
            "see whether the provider is up",
        ),
    };
    walk.note(Step::broken("http", Fault::new(said, next)));
    None
}

fn judge_date(walk: &mut Walk, fields: &HeaderMap) -> Option<()> {
    let date = fields.get(DATE).and_then(|date| date.to_str().ok());
    let Some(date) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
        walk.note(Step::left_out(
            "clock",
            "the provider does not say what time it is",
        ));
        return Some(());
    };
    let (behind, ahead) = (clock::until(date), clock::since(date));
    let (off, word) = match behind.is_zero() {
        true => (ahead, "ahead of"),
        false => (behind, "behind"),
    };
    if off < TOLERANCE {
        walk.note(Step::good(
            "clock",
            "this machine's and the provider's agree",
        ));
        return Some(());
    }
    let off = in_seconds(off);
    let said = format!(
        "this machine's clock is {off} {word} the provider's, so that signed statements and tokens \
         seem to be too old or too young"
    );
    walk.note(Step::broken("clock", Fault::new(said, SET_THE_CLOCK)));
    None
}

/// The head of an answer to a question that changes nothing.
async fn head(url: &Url, stream: Box<dyn Stream>) -> Result<HeaderMap, String> {
    let said = |error: hyper::Error| innermost(&error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    spawn(async move { drop(connection.await) });
    let host = url.host_str().unwrap_or_default();
    let host = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let request = Request::head("/").header(HOST, host);
    let request = request
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(said)?;
    Ok(response.into_parts().0.headers)
}

/// `Date` has whole seconds, and providers allow for about as much.
const TOLERANCE: Duration = Duration::from_secs(60);
