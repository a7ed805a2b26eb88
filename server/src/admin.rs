//! `GET /metrics` (Prometheus text) and `GET /health`, on a thread of its own and only where `kringle.admin.listener`
//! says so. It asks every shard for a copy of its counters; nothing on the data path is shared for its sake.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hdrhistogram::Histogram;

use crate::node::Node;
use crate::shard::metrics::{Durations, Snapshot, Value};

/// The upper bounds of the buckets that durations are counted in, in microseconds.
const BUCKETS_US: [u64; 16] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000,
];

/// Listens and serves on a new thread for the life of the process; returns the address it got.
///
/// # Errors
/// When the address cannot be taken.
pub(crate) fn start(address: SocketAddr, node: Arc<Node>) -> std::io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let bound = listener.local_addr()?;
    std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
        if let Err(error) = serve(listener, node) {
            tracing::error!("admin HTTP on {bound} ended: {error}");
        }
    })?;
    Ok(bound)
}

fn serve(listener: std::net::TcpListener, node: Arc<Node>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let routes = Router::new().route("/metrics", get(metrics)).route("/health", get(health)).with_state(node);
        axum::serve(listener, routes).await
    })
}

async fn health(State(node): State<Arc<Node>>) -> impl IntoResponse {
    match snapshots(&node).await {
        Some(shards) => (StatusCode::OK, format!("ok: {} shards answer\n", shards.len())),
        None => (StatusCode::SERVICE_UNAVAILABLE, "a shard does not answer\n".to_owned()),
    }
}

async fn metrics(State(node): State<Arc<Node>>) -> impl IntoResponse {
    match snapshots(&node).await {
        None => (StatusCode::SERVICE_UNAVAILABLE, [(header::CONTENT_TYPE, "text/plain")], String::new()),
        Some(shards) => {
            let text = render(&node.values(), &shards);
            (StatusCode::OK, [(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
        }
    }
}

async fn snapshots(node: &Node) -> Option<Vec<Snapshot>> {
    let mut shards = Vec::new();
    for shard in node.shards() {
        shards.push(shard.run(|shard, reply| reply.send(shard.snapshot())).await?);
    }
    (!shards.is_empty()).then_some(shards)
}

/// Prometheus' text format. What belongs to a shard carries its number.
fn render(node: &[Value], shards: &[Snapshot]) -> String {
    let mut text = String::new();
    for value in node {
        let name = head(&mut text, value);
        line(&mut text, format_args!("{name} {}", value.value));
    }
    let Some(first) = shards.first() else { return text };
    for (index, value) in first.values.iter().enumerate() {
        let name = head(&mut text, value);
        for (shard, snapshot) in shards.iter().enumerate() {
            line(&mut text, format_args!("{name}{{shard=\"{shard}\"}} {}", snapshot.values[index].value));
        }
    }
    for (index, (name, meaning, _)) in first.timings.iter().enumerate() {
        line(&mut text, format_args!("# HELP kringle_{name} {}", meaning.trim()));
        line(&mut text, format_args!("# TYPE kringle_{name} histogram"));
        for (shard, snapshot) in shards.iter().enumerate() {
            buckets(&mut text, name, shard, &snapshot.timings[index].2);
        }
    }
    text
}

/// The lines before a metric's samples; its whole name.
fn head(text: &mut String, value: &Value) -> String {
    let (suffix, kind) = if value.is_counter { ("_total", "counter") } else { ("", "gauge") };
    let name = format!("kringle_{}{suffix}", value.name);
    line(text, format_args!("# HELP {name} {}", value.meaning.trim()));
    line(text, format_args!("# TYPE {name} {kind}"));
    name
}

/// The samples of one shard's histogram; nothing recorded is a histogram of zeros.
fn buckets(text: &mut String, name: &str, shard: usize, durations: &Durations) {
    let recorded = durations.histogram.as_ref();
    for bound in BUCKETS_US {
        let count = recorded.map_or(0, |histogram| histogram.count_between(0, bound));
        line(text, format_args!("kringle_{name}_bucket{{shard=\"{shard}\",le=\"{bound}\"}} {count}"));
    }
    let count = recorded.map_or(0, Histogram::len);
    line(text, format_args!("kringle_{name}_bucket{{shard=\"{shard}\",le=\"+Inf\"}} {count}"));
    line(text, format_args!("kringle_{name}_sum{{shard=\"{shard}\"}} {}", durations.sum_us));
    line(text, format_args!("kringle_{name}_count{{shard=\"{shard}\"}} {count}"));
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::shard::metrics::{ShardMetrics, gauge};

    #[test]
    fn every_sample_names_its_metric_and_its_shard() {
        let metrics = ShardMetrics::default();
        metrics.requests.add(3);
        let connections = |count| vec![gauge("connections", "Open connections.", count)];
        let text = render(
            &[gauge("of_the_node", "A number.", 7)],
            &[metrics.snapshot(connections(2)), ShardMetrics::default().snapshot(connections(0))],
        );
        assert!(
            text.contains("# TYPE kringle_requests_total counter\nkringle_requests_total{shard=\"0\"} 3\n"),
            "{text}"
        );
        assert!(text.contains("kringle_connections{shard=\"1\"} 0\n"), "{text}");
        assert!(text.contains("# TYPE kringle_of_the_node gauge\nkringle_of_the_node 7\n"), "{text}");
    }

    #[test]
    fn a_duration_is_counted_in_every_bucket_from_its_own_on() {
        let metrics = ShardMetrics::default();
        for us in [40, 70, 3_000_000, 60_000_000] {
            metrics.produce_us.record(Duration::from_micros(us));
        }
        let text = render(&[], &[metrics.snapshot(Vec::new())]);
        for sample in [
            "_bucket{shard=\"0\",le=\"50\"} 1",
            "_bucket{shard=\"0\",le=\"100\"} 2",
            "_bucket{shard=\"0\",le=\"2500000\"} 2",
            "_bucket{shard=\"0\",le=\"10000000\"} 3",
            "_bucket{shard=\"0\",le=\"+Inf\"} 4",
            "_sum{shard=\"0\"} 63000110",
            "_count{shard=\"0\"} 4",
        ] {
            assert!(text.contains(&format!("kringle_produce_us{sample}\n")), "{sample}: {text}");
        }
        assert!(text.contains("kringle_fetch_us_count{shard=\"0\"} 0\n"), "{text}");
    }
}
