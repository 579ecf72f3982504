//! What is counted, and told at `/metrics`.
//!
//! The recorder belongs to one server: nothing global is installed, so two in one process count apart.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

const REQUESTS: &str = "cofferdam_http_requests_total";
const SECONDS: &str = "cofferdam_http_request_duration_seconds";
const CONNECTIONS: &str = "cofferdam_http_connections";
const STREAMS: &str = "cofferdam_http_streams";
const REFUSED: &str = "cofferdam_http_refused_total";
/// From a look at the memory to a turn that was waited for.
const BUCKETS: &[f64] = &[
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0,
];
const METADATA: Metadata<'static> = Metadata::new("http-frontend", Level::INFO, None);

/// Method, route and status.
type Series = (&'static str, String, u16);

/// See the module.
pub struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    requests: RwLock<HashMap<Series, (Counter, Histogram)>>,
    streams: Gauge,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let builder = PrometheusBuilder::new();
        let recorder = match builder.set_buckets_for_metric(Matcher::Full(SECONDS.to_owned()), BUCKETS) {
            Ok(builder) => builder.build_recorder(),
            // Only for no buckets at all.
            Err(_) => PrometheusBuilder::new().build_recorder(),
        };
        for (name, text) in [
            (REQUESTS, "Requests that were answered"),
            (
                REFUSED,
                "What was turned away before it became a request of somebody",
            ),
        ] {
            recorder.describe_counter(name.into(), None, text.into());
        }
        recorder.describe_histogram(SECONDS.into(), None, "Until the answer began".into());
        recorder.describe_gauge(CONNECTIONS.into(), None, "Connections that are open".into());
        recorder.describe_gauge(
            STREAMS.into(),
            None,
            "Subscriptions and WebSockets that are open".into(),
        );
        let streams = recorder.register_gauge(&Key::from_static_name(STREAMS), &METADATA);
        Self {
            handle: recorder.handle(),
            requests: RwLock::default(),
            streams,
            recorder,
        }
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let series = (method, route.to_owned(), status);
        let known = self.requests.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((counter, histogram)) = known.get(&series) {
            counter.increment(1);
            histogram.record(took.as_secs_f64());
            return;
        }
        drop(known);
        let by_route = vec![
            Label::from_static_parts("method", method),
            Label::new("route", route.to_owned()),
        ];
        let mut labels = by_route.clone();
        labels.push(Label::new("status", status.to_string()));
        let counter = self
            .recorder
            .register_counter(&Key::from_parts(REQUESTS, labels), &METADATA);
        let histogram = self
            .recorder
            .register_histogram(&Key::from_parts(SECONDS, by_route), &METADATA);
        counter.increment(1);
        histogram.record(took.as_secs_f64());
        let mut known = self.requests.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(series, (counter, histogram));
    }

    /// Counts what was turned away.
    pub(crate) fn refused(&self, reason: &'static str) {
        let key = Key::from_parts(REFUSED, vec![Label::from_static_parts("reason", reason)]);
        self.recorder.register_counter(&key, &METADATA).increment(1);
    }

    /// How many connections are open by `transport`.
    pub(crate) fn connections(&self, transport: &'static str) -> Gauge {
        let key = Key::from_parts(
            CONNECTIONS,
            vec![Label::from_static_parts("transport", transport)],
        );
        self.recorder.register_gauge(&key, &METADATA)
    }

    /// How many streams are open.
    pub(crate) fn streams(&self) -> &Gauge {
        &self.streams
    }

    /// A gauge that is set when somebody looks.
    pub(crate) fn set(&self, name: &'static str, labels: Vec<Label>, value: f64) {
        let key = Key::from_parts(name, labels);
        self.recorder.register_gauge(&key, &METADATA).set(value);
    }

    /// A counter whose value is known elsewhere.
    pub(crate) fn count(&self, name: &'static str, labels: Vec<Label>, value: u64) {
        let key = Key::from_parts(name, labels);
        self.recorder.register_counter(&key, &METADATA).absolute(value);
    }

    /// Everything, in the text format of Prometheus.
    pub(crate) fn render(&self) -> String {
        self.handle.render()
    }

    /// Takes in what was recorded since; without it, what waits to be added up grows while nobody looks.
    pub(crate) fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}
