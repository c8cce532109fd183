//! How metrics are written: as Prometheus text, or as OpenMetrics for those who prefer that.

use http::header::{ACCEPT, HeaderMap};
use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{TEXT_FORMAT, TextEncoder};

/// What a scraper gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exposition {
    Text,
    OpenMetrics,
}

impl Exposition {
    /// By what a request says that it accepts. Text, unless OpenMetrics is preferred to it by name.
    pub(super) fn accepted(headers: &HeaderMap) -> Self {
        let accepted: Vec<_> = headers
            .get_all(ACCEPT)
            .into_iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        let wish = |of| {
            accepted
                .iter()
                .filter_map(|range| wish_for(range, of))
                .fold(0.0, f32::max)
        };
        match wish("application/openmetrics-text") > wish("text/plain") {
            true => Self::OpenMetrics,
            false => Self::Text,
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Text => TEXT_FORMAT,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    pub(super) fn write(self, families: &[MetricFamily]) -> prometheus::Result<String> {
        let encoder = TextEncoder::new();
        if self == Self::Text {
            return encoder.encode_to_string(families);
        }
        let (mut written, mut text) = (String::new(), String::new());
        for family in families {
            text.clear();
            encoder.encode_utf8(std::slice::from_ref(family), &mut text)?;
            match family.get_field_type() {
                MetricType::COUNTER => counter(&mut written, &text, family.name()),
                MetricType::HISTOGRAM => histogram(&mut written, &text),
                _ => written.push_str(&text),
            }
        }
        written.push_str("# EOF\n");
        Ok(written)
    }
}

/// How much a media range of `Accept` (RFC 9110 §12.5.1) wants this type, if it is about it.
fn wish_for(range: &str, of: &str) -> Option<f32> {
    let mut parts = range.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case(of) {
        return None;
    }
    let mut parameters = parts.filter_map(|part| part.split_once('='));
    let quality = parameters.find(|(name, _)| name.eq_ignore_ascii_case("q"));
    Some(quality.map_or(1.0, |(_, quality)| quality.parse().unwrap_or_default()))
}

/// A counter's text as OpenMetrics 1.0 has it: the family goes without `_total`.
fn counter(written: &mut String, text: &str, name: &str) {
    let short = name.strip_suffix("_total").unwrap_or(name);
    let mut rest = text;
    while rest.starts_with('#')
        && let Some((line, after)) = rest.split_once('\n')
    {
        written.push_str(&line.replacen(name, short, 1));
        written.push('\n');
        rest = after;
    }
    written.push_str(rest);
}

/// And a histogram's: bounds of buckets are written as floats ("Considerations: Canonical Numbers").
fn histogram(written: &mut String, text: &str) {
    let mut parts = text.split("le=\"");
    written.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let is_whole_name = written.ends_with(['{', ',']);
        let (bound, after) = part.split_once('"').unwrap_or((part, ""));
        written.push_str("le=\"");
        written.push_str(bound);
        if is_whole_name && bound.bytes().all(|byte| byte.is_ascii_digit()) {
            written.push_str(".0");
        }
        written.push('"');
        written.push_str(after);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

    use super::*;

    fn accepted(accept: &'static str) -> Exposition {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
        Exposition::accepted(&headers)
    }

    #[test]
    fn open_metrics_is_for_those_who_prefer_it() {
        for (accept, expected) in [
            ("*/*", Exposition::Text),
            ("text/plain", Exposition::Text),
            ("application/openmetrics-text", Exposition::OpenMetrics),
            (
                "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Exposition::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;q=0.2, text/plain",
                Exposition::Text,
            ),
            ("application/openmetrics-text;q=0", Exposition::Text),
            ("application/openmetrics-text;q=canary", Exposition::Text),
        ] {
            assert_eq!(accepted(accept), expected, "{accept}");
        }
        assert_eq!(Exposition::accepted(&HeaderMap::new()), Exposition::Text);
    }

    #[test]
    fn counters_and_bounds_are_written_as_the_format_wants_them() {
        let registry = Registry::new();
        let counter = IntCounterVec::new(Opts::new("a_total", "Of a_total."), &["le"]).unwrap();
        counter.with_label_values(&["1"]).inc();
        let options = HistogramOpts::new("b_seconds", "Of b.").buckets(vec![0.5, 2.0]);
        let histogram = HistogramVec::new(options, &["role"]).unwrap();
        histogram.with_label_values(&["7"]).observe(1.0);
        registry.register(Box::new(counter)).unwrap();
        registry.register(Box::new(histogram)).unwrap();
        let written = Exposition::OpenMetrics.write(&registry.gather()).unwrap();
        insta::assert_snapshot!(written, @r#"
        # HELP a Of a_total.
        # TYPE a counter
        a_total{le="1"} 1
        # HELP b_seconds Of b.
        # TYPE b_seconds histogram
        b_seconds_bucket{role="7",le="0.5"} 0
        b_seconds_bucket{role="7",le="2.0"} 1
        b_seconds_bucket{role="7",le="+Inf"} 1
        b_seconds_sum{role="7"} 1
        b_seconds_count{role="7"} 1
        # EOF
        "#);
    }
}
