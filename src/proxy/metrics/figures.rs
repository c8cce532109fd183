//! What has come of a route's requests since the start, for those who look at one route.

use super::{RouteMetrics, STATUS_CLASSES};
use crate::metric::{self, Counts};

/// What a route's metrics have come to.
#[derive(Debug, Default)]
pub struct RouteFigures {
    /// Requests that are being answered.
    pub in_flight: u64,
    /// Those that have ended, by the class of their status.
    pub requests: Counts,
    /// Those that gatepass answered itself, by reason.
    pub rejections: Counts,
    /// How long those that have ended took, all together.
    pub seconds: f64,
}

impl RouteMetrics {
    pub(in super::super) fn figures(&self) -> RouteFigures {
        let handles = &self.0;
        let rejections = handles.rejections.iter();
        RouteFigures {
            in_flight: handles.in_flight.get().try_into().unwrap_or_default(),
            requests: metric::counts(STATUS_CLASSES.into_iter().zip(&handles.requests)),
            rejections: metric::counts(rejections.map(|(reason, of)| (reason.label(), of))),
            seconds: handles.duration.get_sample_sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use prometheus::Registry;
    use tokio::time::{Duration, Instant, advance};

    use crate::proxy::metrics::ProxyMetrics;
    use crate::proxy::rejection::Reason;

    #[tokio::test(start_paused = true)]
    async fn each_route_tells_of_its_own_requests() {
        let metrics = ProxyMetrics::register(&Registry::new()).unwrap();
        let (route, other) = (metrics.for_route("a"), metrics.for_route("b"));
        let begin = || route.begin(Instant::now(), None);
        let (mut answered, mut rejected, _under_way) = (begin(), begin(), begin());
        advance(Duration::from_secs(2)).await;
        answered.answered(StatusCode::NO_CONTENT);
        rejected.rejected(Reason::UnknownCaller);
        assert_eq!(route.figures().in_flight, 3);
        drop((answered, rejected));

        let figures = route.figures();
        assert_eq!(figures.in_flight, 1);
        assert_eq!(figures.requests, [("2xx", 1), ("4xx", 1)].into());
        let reason = Reason::UnknownCaller.label();
        assert_eq!(figures.rejections, [(reason, 1)].into());
        assert_eq!(figures.seconds, 4.0);

        let figures = other.figures();
        assert_eq!((figures.in_flight, figures.seconds), (0, 0.0));
        assert!(figures.requests.is_empty() && figures.rejections.is_empty());
    }
}
