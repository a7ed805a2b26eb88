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

use crate::node::Node;
use crate::shard::metrics::Snapshot;

/// The quantiles that timings are given in.
const QUANTILES: [f64; 5] = [0.5, 0.9, 0.99, 0.999, 1.0];

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
            let text = render(&shards);
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

/// Prometheus' text format; every sample carries its shard.
fn render(shards: &[Snapshot]) -> String {
    let mut text = String::new();
    let Some(first) = shards.first() else { return text };
    for (index, (name, meaning, kind, _)) in first.values.iter().enumerate() {
        let suffix = if *kind == "counter" { "_total" } else { "" };
        line(&mut text, format_args!("# HELP kringle_{name}{suffix} {}", meaning.trim()));
        line(&mut text, format_args!("# TYPE kringle_{name}{suffix} {kind}"));
        for (shard, snapshot) in shards.iter().enumerate() {
            if let Some((_, _, _, value)) = snapshot.values.get(index) {
                line(&mut text, format_args!("kringle_{name}{suffix}{{shard=\"{shard}\"}} {value}"));
            }
        }
    }
    for (index, (name, meaning, _)) in first.timings.iter().enumerate() {
        line(&mut text, format_args!("# HELP kringle_{name} {}", meaning.trim()));
        line(&mut text, format_args!("# TYPE kringle_{name} summary"));
        for (shard, snapshot) in shards.iter().enumerate() {
            let Some(histogram) = &snapshot.timings[index].2 else { continue };
            for quantile in QUANTILES {
                let value = histogram.value_at_quantile(quantile);
                line(&mut text, format_args!("kringle_{name}{{shard=\"{shard}\",quantile=\"{quantile}\"}} {value}"));
            }
            line(&mut text, format_args!("kringle_{name}_count{{shard=\"{shard}\"}} {}", histogram.len()));
        }
    }
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::metrics::ShardMetrics;

    #[test]
    fn every_sample_names_its_metric_and_its_shard() {
        let metrics = ShardMetrics::default();
        metrics.requests.add(3);
        metrics.produce_us.record(std::time::Duration::from_micros(40));
        let text = render(&[
            metrics.snapshot(&[("connections", "Open connections.", 2)]),
            ShardMetrics::default().snapshot(&[]),
        ]);
        assert!(text.contains("kringle_requests_total{shard=\"0\"} 3\n"), "{text}");
        assert!(text.contains("kringle_produce_us{shard=\"0\",quantile=\"0.5\"} 40\n"), "{text}");
        assert!(!text.contains("kringle_produce_us{shard=\"1\""), "no quantile of nothing: {text}");
    }
}
