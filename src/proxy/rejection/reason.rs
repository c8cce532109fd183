//! Why gatepass answers itself.

use http::StatusCode;
use http::header::HeaderValue;

/// Why; the value of a metric's label and of the answer's `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy) enum Reason {
    BadRequest,
    HeadTooLarge,
    HeadTimeout,
    UnknownCaller,
    BadHost,
    BadTarget,
    UnknownHost,
    CrossSite,
    AmbiguousPath,
    NoRoute,
    MethodRefused,
    TargetTooLong,
    UnknownCoding,
    RequestBroken,
    RequestStalled,
    BodyTooLarge,
    RequestTimeout,
    Overloaded,
    NoToken,
    UpstreamSaturated,
    UpstreamUnreachable,
    UpstreamTimeout,
    UpstreamFailed,
}

impl Reason {
    pub(in crate::proxy) const ALL: [Self; 23] = [
        Self::BadRequest,
        Self::HeadTooLarge,
        Self::HeadTimeout,
        Self::UnknownCaller,
        Self::BadHost,
        Self::BadTarget,
        Self::UnknownHost,
        Self::CrossSite,
        Self::AmbiguousPath,
        Self::NoRoute,
        Self::MethodRefused,
        Self::TargetTooLong,
        Self::UnknownCoding,
        Self::RequestBroken,
        Self::RequestStalled,
        Self::BodyTooLarge,
        Self::RequestTimeout,
        Self::Overloaded,
        Self::NoToken,
        Self::UpstreamSaturated,
        Self::UpstreamUnreachable,
        Self::UpstreamTimeout,
        Self::UpstreamFailed,
    ];

    pub(in crate::proxy) fn label(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::HeadTooLarge => "head_too_large",
            Self::HeadTimeout => "head_timeout",
            Self::UnknownCaller => "unknown_caller",
            Self::BadHost => "bad_host",
            Self::BadTarget => "bad_target",
            Self::UnknownHost => "unknown_host",
            Self::CrossSite => "cross_site",
            Self::AmbiguousPath => "ambiguous_path",
            Self::NoRoute => "no_route",
            Self::MethodRefused => "method_refused",
            Self::TargetTooLong => "target_too_long",
            Self::UnknownCoding => "unknown_coding",
            Self::RequestBroken => "request_broken",
            Self::RequestStalled => "request_stalled",
            Self::BodyTooLarge => "body_too_large",
            Self::RequestTimeout => "request_timeout",
            Self::Overloaded => "overloaded",
            Self::NoToken => "no_token",
            Self::UpstreamSaturated => "upstream_saturated",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamFailed => "upstream_failed",
        }
    }

    /// The field by which whoever stands before gatepass tells its answers from the upstream's, with
    /// the registered type of error (RFC 9209 §2.3).
    pub(super) fn proxy_status(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::BadRequest
            | Self::HeadTooLarge
            | Self::HeadTimeout
            | Self::BadHost
            | Self::BadTarget
            | Self::AmbiguousPath
            | Self::TargetTooLong
            | Self::UnknownCoding
            | Self::RequestBroken
            | Self::RequestStalled
            | Self::BodyTooLarge => "gatepass; error=http_request_error",
            Self::UnknownCaller | Self::UnknownHost | Self::CrossSite | Self::MethodRefused => {
                "gatepass; error=http_request_denied"
            }
            Self::NoRoute => "gatepass; error=destination_not_found",
            Self::NoToken => "gatepass; error=proxy_internal_error",
            Self::Overloaded | Self::UpstreamSaturated => {
                "gatepass; error=connection_limit_reached"
            }
            Self::UpstreamUnreachable => "gatepass; error=destination_unavailable",
            Self::RequestTimeout | Self::UpstreamTimeout => "gatepass; error=http_response_timeout",
            Self::UpstreamFailed => "gatepass; error=http_protocol_error",
        })
    }

    pub(in crate::proxy) fn is_upstream(self) -> bool {
        matches!(
            self,
            Self::RequestTimeout
                | Self::UpstreamUnreachable
                | Self::UpstreamTimeout
                | Self::UpstreamFailed
        )
    }

    /// The status says whose fault it was: the caller's (4xx, 501), the upstream's (502, 504), or
    /// that of the way to a token or of a limit here (503). It is never 401, which would make clients
    /// drop their data, and never a success.
    pub(in crate::proxy) fn status(self) -> StatusCode {
        match self {
            Self::BadRequest | Self::BadHost | Self::BadTarget | Self::AmbiguousPath => {
                StatusCode::BAD_REQUEST
            }
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            // RFC 9110 §15.5.20: "the request was directed at a server that is unable or unwilling
            // to produce an authoritative response for the target URI."
            Self::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
            Self::UnknownCaller | Self::CrossSite => StatusCode::FORBIDDEN,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::MethodRefused => StatusCode::METHOD_NOT_ALLOWED,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            // RFC 9112 §6.1: "A server that receives a request message with a transfer coding it
            // does not understand SHOULD respond with 501 (Not Implemented)."
            Self::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            Self::RequestBroken => StatusCode::BAD_REQUEST,
            Self::HeadTimeout | Self::RequestStalled => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoToken | Self::Overloaded | Self::UpstreamSaturated => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::UpstreamUnreachable | Self::UpstreamFailed => StatusCode::BAD_GATEWAY,
            Self::RequestTimeout | Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}
