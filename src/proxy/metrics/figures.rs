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
