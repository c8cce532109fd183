//! The way to a route's upstream.

use http::header::{HOST, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use secrecy::ExposeSecret;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::super::progress::Progress;
use super::report::{Examination, Fault, Step, Walk};
use super::way::{Server, Stream, reach};
use crate::proxy::Settings;
use crate::runtime::{LocalExecutor, spawn};
use crate::token::source::FetchedToken;
use crate::wording::{Confidential, harmless, innermost};

pub(super) async fn examine(
    route: &Settings,
    token: Option<&FetchedToken>,
    call: bool,
    progress: Progress,
) -> Examination {
    let mut walk = Walk::new(
        format!("route \"{}\" to {}", route.name, route.origin),
        progress,
    );
    if let Some(stream) = connection(&mut walk, route).await {
        match (call, &route.credential) {
            (false, _) => walk.note(Step::left_out(
                "call",
                "no request is sent to upstreams; --call has a HEAD sent, with the token",
            )),
            (true, Some(name)) if token.is_none() => {
                let said = format!("there is no token of credential \"{name}\" to send");
                walk.note(Step::left_out("call", said));
            }
            (true, _) => drop(walk_call(&mut walk, route, token, stream).await),
        }
    }
    walk.over()
}

async fn connection(walk: &mut Walk, route: &Settings) -> Option<Box<dyn Stream>> {
    let limit = route.timeouts.connect;
    if let Some(path) = route.origin.socket() {
        let connect = async {
            let shown = path.display();
            let stream = UnixStream::connect(path).await.map_err(|error| {
                Fault::new(
                    format!("{shown}: {error}"),
                    "check the path, who may use the socket, and whether the upstream is up",
                )
            })?;
            let stream: Box<dyn Stream> = Box::new(stream);
            Ok((stream, format!("{shown} takes connections")))
        };
        return walk.take("socket", connect).await;
    }
    let (host, port) = route.origin.host_and_port();
    let server = Server {
        host,
        port,
        tls: route
            .origin
            .tls()
            .map(|(config, name)| (config, name.clone())),
        key: "upstream",
        may_be_plain: true,
        limit,
    };
    reach(walk, &server).await
}

async fn walk_call(
    walk: &mut Walk,
    route: &Settings,
    token: Option<&FetchedToken>,
    stream: Box<dyn Stream>,
) -> Option<()> {
    let limit = route.timeouts.response_head;
    let work = async {
        let answer = timeout(limit, send(route, token, stream)).await;
        let answer = answer.map_err(|_| {
            Fault::new(
                format!("no answer within {limit:?}"),
                "see the upstream's own log for what it waits for",
            )
        })??;
        judge(route, token, &answer).map(|said| ((), said))
    };
    walk.take("call", work).await
}

async fn send(
    route: &Settings,
    token: Option<&FetchedToken>,
    stream: Box<dyn Stream>,
) -> Result<Response<()>, Fault> {
    let no_http = |error: hyper::Error| {
        let advice = match route.origin.tls() {
            None => "if it speaks TLS there, write https:// in upstream",
            Some(_) => "check the port in upstream",
        };
        Fault::new(
            format!("what comes back is no HTTP ({})", innermost(&error)),
            advice,
        )
    };
    let request = request(route, token)?;
    let io = TokioIo::new(stream);
    let response = if route.origin.speaks_http2() {
        let (mut sender, connection) =
            http2::handshake(LocalExecutor, io).await.map_err(no_http)?;
        spawn(async move { drop(connection.await) });
        sender.send_request(request).await
    } else {
        let (mut sender, connection) = http1::handshake(io).await.map_err(no_http)?;
        spawn(async move { drop(connection.await) });
        sender.send_request(request).await
    };
    Ok(response.map_err(no_http)?.map(drop))
}

/// What a caller's HEAD of the route's own path would become.
fn request(
    route: &Settings,
    token: Option<&FetchedToken>,
) -> Result<Request<Empty<bytes::Bytes>>, Fault> {
    let wrong = |error: &dyn std::error::Error| {
        Fault::new(
            format!("no request can be made: {error}"),
            "check headers and scheme",
        )
    };
    let path = path(route);
    let target = match route.origin.speaks_http2() {
        true => format!(
            "http://{}{path}",
            route.origin.host_field().to_str().unwrap_or_default()
        ),
        false => path,
    };
    let mut request = Request::head(target);
    if !route.origin.speaks_http2() {
        request = request.header(HOST, route.origin.host_field());
    }
    for (name, value) in &route.headers {
        request = request.header(name, value);
    }
    if let Some(token) = token {
        let secret = token.secret.expose_secret();
        let written = match token.scheme.as_str() {
            "" => secret.to_owned(),
            scheme => format!("{scheme} {secret}"),
        };
        let mut value = HeaderValue::try_from(written).map_err(|error| wrong(&error))?;
        value.set_sensitive(true);
        request = request.header(&route.token_header, value);
    }
    request.body(Empty::new()).map_err(|error| wrong(&error))
}

fn path(route: &Settings) -> String {
    let prefix = match route.strip_path {
        true => "",
        false => route.prefix.as_str(),
    };
    let path = format!("{}{prefix}", route.origin.base_path());
    match path.as_str() {
        "" => "/".into(),
        _ => path,
    }
}

/// What an upstream has been told that must not be shown.
fn sent(route: &Settings, token: Option<&FetchedToken>) -> Confidential {
    let token = token.map(|token| token.secret.expose_secret());
    let values = route
        .headers
        .iter()
        .filter_map(|(_, value)| value.to_str().ok());
    Confidential::default().and(token.into_iter().chain(values))
}

/// What an answer says about the way, whatever it says about the path.
fn judge(
    route: &Settings,
    token: Option<&FetchedToken>,
    answer: &Response<()>,
) -> Result<String, Fault> {
    let status = answer.status();
    let with_token = token.is_some();
    let field = |name| {
        let value = answer.headers().get(name)?.to_str().ok()?;
        // Some say which token it is that they refuse.
        let value = sent(route, token).blot_out(value);
        Some(harmless(&value.chars().take(200).collect::<String>()))
    };
    let path = path(route);
    match status {
        StatusCode::UNAUTHORIZED => {
            let challenge = field(WWW_AUTHENTICATE).unwrap_or_else(|| "no WWW-Authenticate".into());
            Err(match with_token {
                true => Fault::new(
                    format!("refuses the token (401, {challenge})"),
                    "check audience and scope, and the header and scheme that carry it",
                ),
                false => Fault::new(
                    format!("wants to know who calls (401, {challenge})"),
                    "give the route a credential",
                ),
            })
        }
        StatusCode::FORBIDDEN => Err(Fault::new(
            format!("takes the token and does not allow {path} with it (403)"),
            "check scope, and what the client or user may do there",
        )),
        _ if status.is_server_error() => Err(Fault::new(
            format!("answers HEAD {path} with {}", status.as_u16()),
            "see its own log, and whether it is up",
        )),
        _ if status.is_redirection() && route.origin.tls().is_none() => {
            let to = field(LOCATION).unwrap_or_default();
            match to.starts_with("https://") {
                true => Err(Fault::new(
                    format!("leads to {to}"),
                    "write https:// in upstream, so that the token does not travel in the clear",
                )),
                false => Ok(format!("HEAD {path} is answered with {}", status.as_u16())),
            }
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => Ok(format!(
            "HEAD {path} is answered with {}: the upstream knows nothing there{}",
            status.as_u16(),
            match with_token {
                true => ", so that whether it takes the token does not show",
                false => "",
            }
        )),
        _ => Ok(format!("HEAD {path} is answered with {}", status.as_u16())),
    }
}
