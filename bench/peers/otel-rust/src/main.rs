//! The same operations as bench/bench_record.c and bench/bench_metrics.c, on the Rust OpenTelemetry SDK.
//! Prints one JSON object per line: name, ns per operation, and what was exported of what was started.
//! `otel-rust-peer NAME ROUNDS` runs one benchmark.

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::{Span, SpanKind, Tracer, TracerProvider as _};
use opentelemetry::KeyValue;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Instant;

/// Counts spans and throws them away.
#[derive(Debug)]
struct Counting(Arc<AtomicU64>);

impl SpanExporter for Counting {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.fetch_add(batch.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

fn cpu_ns() -> u64 {
    // utime + stime of the process, from /proc: coarse (10 ms), enough over seconds.
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks: u64 = fields.get(11).and_then(|s| s.parse::<u64>().ok()).unwrap_or(0)
        + fields.get(12).and_then(|s| s.parse::<u64>().ok()).unwrap_or(0);
    ticks * 10_000_000
}

fn report(name: &str, ns: f64, cpu: f64, started: u64, exported: u64) {
    println!(
        "{{\"name\":\"{name}\",\"ns\":{ns:.3},\"cpu_ns\":{cpu:.3},\"started\":{started},\"exported\":{exported}}}"
    );
}

fn one_span<T: Tracer>(tracer: &T, i: u64) {
    let mut span = tracer.span_builder("chat gpt-4o").with_kind(SpanKind::Client).start(tracer);
    span.set_attribute(KeyValue::new("gen_ai.operation.name", "chat"));
    span.set_attribute(KeyValue::new("gen_ai.provider.name", "openai"));
    span.set_attribute(KeyValue::new("gen_ai.request.model", "gpt-4o"));
    span.set_attribute(KeyValue::new("gen_ai.usage.input_tokens", i as i64));
    span.set_attribute(KeyValue::new("gen_ai.usage.output_tokens", 200_i64));
    span.set_attribute(KeyValue::new("http.response.status_code", 200_i64));
    span.end();
}

fn spans(name: &str, sampler: Sampler, queue: usize, rounds: u64) {
    let exported = Arc::new(AtomicU64::new(0));
    let processor = BatchSpanProcessor::builder(Counting(exported.clone()))
        .with_batch_config(BatchConfigBuilder::default().with_max_queue_size(queue).build())
        .build();
    let provider =
        SdkTracerProvider::builder().with_sampler(sampler).with_span_processor(processor).build();
    let tracer = provider.tracer("bench");
    for i in 0..10_000 {
        one_span(&tracer, i);
    }
    let _ = provider.force_flush();
    exported.store(0, Ordering::Relaxed);
    let cpu = cpu_ns();
    let begun = Instant::now();
    for i in 0..rounds {
        one_span(&tracer, i);
    }
    let ns = begun.elapsed().as_nanos() as f64 / rounds as f64;
    let _ = provider.force_flush();
    let cpu = (cpu_ns() - cpu) as f64 / rounds as f64;
    report(name, ns, cpu, rounds, exported.load(Ordering::Relaxed));
}

fn unsampled(rounds: u64) {
    let provider = SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOff).build();
    let tracer = provider.tracer("bench");
    let begun = Instant::now();
    for _ in 0..rounds {
        let mut span = tracer.span_builder("chat gpt-4o").with_kind(SpanKind::Client).start(&tracer);
        span.end();
    }
    report("span_unsampled", begun.elapsed().as_nanos() as f64 / rounds as f64, 0.0, rounds, 0);
}

fn attributes() -> [KeyValue; 3] {
    [KeyValue::new("method", "POST"), KeyValue::new("model", "gpt-4o"), KeyValue::new("status", "200")]
}

/// Runs `body` on `threads` threads at once; ns per operation and thread.
fn timed<F: Fn(u64) + Send + Sync + 'static>(threads: u64, rounds: u64, body: F) -> f64 {
    let body = Arc::new(body);
    let begun = Instant::now();
    let handles: Vec<_> = (0..threads)
        .map(|_| {
            let body = body.clone();
            std::thread::spawn(move || body(rounds))
        })
        .collect();
    for handle in handles {
        handle.join().unwrap();
    }
    begun.elapsed().as_nanos() as f64 / rounds as f64
}

fn metrics(name: &str, threads: u64, rounds: u64) {
    let provider = SdkMeterProvider::builder().build();
    let reader = opentelemetry_sdk::metrics::PeriodicReader::builder(
        opentelemetry_sdk::metrics::InMemoryMetricExporter::default(),
    )
    .build();
    drop(provider);
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    let meter = provider.meter("bench");
    let ns = if name.starts_with("counter") {
        let bound = meter.u64_counter("requests").build().bind(&attributes());
        timed(threads, rounds, move |n| {
            for _ in 0..n {
                bound.add(1);
            }
        })
    } else {
        let bound = meter.f64_histogram("duration").build().bind(&attributes());
        timed(threads, rounds, move |n| {
            for i in 0..n {
                bound.record((i % 1000) as f64);
            }
        })
    };
    report(name, ns, 0.0, rounds, 0);
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let name = args.get(1).map(String::as_str).unwrap_or("span_sampled");
    let rounds: u64 = args.get(2).and_then(|s| s.parse().ok()).unwrap_or(500_000);
    match name {
        "span_sampled" => spans(name, Sampler::AlwaysOn, 1 << 20, rounds),
        "span_default_queue" => spans(name, Sampler::AlwaysOn, 2048, rounds),
        "span_unsampled" => unsampled(rounds),
        "counter_bound" | "histogram_bound" => metrics(name, 1, rounds),
        "counter_bound_2" | "histogram_bound_2" => metrics(name, 2, rounds),
        _ => {
            eprintln!("no such benchmark: {name}");
            std::process::exit(2);
        }
    }
}
