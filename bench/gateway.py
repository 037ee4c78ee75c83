"""The gateway beside nginx's plain proxy_pass: CPU per request and per frame, throughput with many connections, a dead backend."""
import json
import os
import re
import statistics
import subprocess
import time
import urllib.request

from lib import cpu_ns, free_port, pss_bytes, wait_port

BODY = {"model": "bench", "messages": [{"role": "user", "content": "x" * 930}], "max_tokens": 16}
ANSWER = json.dumps({"id": "chatcmpl-bench", "object": "chat.completion", "created": 1700000000, "model": "bench", "choices": [
    {"index": 0, "message": {"role": "assistant", "content": "y" * 480}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 11, "completion_tokens": 16, "total_tokens": 27}})

NGINX = """daemon off; pid {dir}/{name}.pid; worker_processes 1; error_log {dir}/{name}.err;
events {{ worker_connections 20000; }}
worker_rlimit_nofile 45000;
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; client_max_body_size 64m;
  client_body_temp_path {dir}/{name}-b; proxy_temp_path {dir}/{name}-p; fastcgi_temp_path {dir}/{name}-f;
  uwsgi_temp_path {dir}/{name}-u; scgi_temp_path {dir}/{name}-s;
  {http}
}}
"""


def nginx(bench, name, http, port):
    path = os.path.join(bench.dir, name + ".conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write(NGINX.format(dir=bench.dir, name=name, http=http))
    return bench.start(["nginx", "-c", path, "-e", os.path.join(bench.dir, name + ".err")], port=port)


def answering(bench):
    """An upstream that answers every POST with one fixed completion; returns its port."""
    port = free_port()
    nginx(bench, "upstream", f"server {{ listen 127.0.0.1:{port} backlog=4096 reuseport; location / {{ default_type application/json; "
          f"return 200 '{ANSWER}'; }} }}", port)
    return port


def sink(bench):
    """A live OTLP/HTTP receiver that takes everything."""
    port = free_port()
    nginx(bench, f"sink{port}", f"server {{ listen 127.0.0.1:{port}; client_body_buffer_size 4m; location / {{ default_type "
          f"application/x-protobuf; return 200 ''; }} }}", port)
    return port


def proxy(bench, upstream):
    """nginx as the plain proxy, one worker, kept-alive upstream connections, no log, no buffering."""
    port = free_port()
    process = nginx(bench, "proxy", f"upstream u {{ server 127.0.0.1:{upstream}; keepalive 4096; keepalive_requests 1000000000; }} "
                    f"server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ proxy_pass http://u; proxy_http_version 1.1; "
                    f"proxy_set_header Connection \"\"; proxy_buffering off; proxy_read_timeout 600s; client_body_buffer_size 64k; }} }}", port)
    return process, port


def gateway(bench, upstream, env=None, workers=1):
    """Our gateway before `upstream`; returns (process, addresses)."""
    path = os.path.join(bench.dir, f"gateway-{upstream}.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write("model_list:\n  - model_name: bench\n    litellm_params:\n      model: openai/bench\n"
                   f"      api_base: http://127.0.0.1:{upstream}/v1\n      api_key: sk-up\n"
                   "general_settings:\n  master_key: sk-bench\n")
    command = [bench.sightline, "gateway", "-c", path, "--workers", str(workers), "--data-dir", os.path.join(bench.dir, "data")]
    for name in ("gateway", "metrics", "health", "admin"):
        command += [f"--{name}-listen", "127.0.0.1:0"]
    return bench.start_ready(command, env)


def full_telemetry(port):
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_TRACES_SAMPLER": "always_on", "LOG_LEVEL": "INFO",
            "OTEL_LOGS_EXPORTER": "none"}  # the access log is written, not exported a second time


def lua(bench):
    path = os.path.join(bench.dir, "post.lua")
    with open(path, "w", encoding="utf-8") as file:
        file.write('wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
                   'wrk.headers["Authorization"] = "Bearer sk-bench"\n'
                   f"wrk.body = [==[{json.dumps(BODY)}]==]\n")
    return path


def wrk(bench, url, connections, seconds, process):
    """Runs wrk; (requests/s, CPU us per request of `process`, p50 us, p99 us). Any failure raises."""
    before = cpu_ns(process.pid)
    done = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", lua(bench), url],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds + 60, check=True)
    time.sleep(1.2)  # what is exported late counts too
    used = cpu_ns(process.pid) - before
    text = done.stdout.decode()
    if "Non-2xx" in text or "Socket errors" in text:
        raise RuntimeError(f"failed requests: {text}")
    requests = int(re.search(r"(\d+) requests in", text).group(1))
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", text).group(1))
    return rate, used / 1000 / requests, percentile(text, "50"), percentile(text, "99")


def percentile(text, which):
    match = re.search(rf"^\s+{which}%\s+([\d.]+)(us|ms|s)", text, re.M)
    return float(match.group(1)) * {"us": 1, "ms": 1000, "s": 1000000}[match.group(2)]


def unary(bench, title):
    """CPU per request with everything on, beside nginx, and beside ourselves with telemetry off."""
    upstream = answering(bench)
    proxy_process, proxy_port = proxy(bench, upstream)
    on, on_at = gateway(bench, upstream, full_telemetry(sink(bench)))
    off, off_at = gateway(bench, upstream, {"OTEL_SDK_DISABLED": "true"})
    arms = {"ours": (on, on_at["gateway"]), "nginx": (proxy_process, f"http://127.0.0.1:{proxy_port}"),
            "off": (off, off_at["gateway"])}
    cpu = {name: [] for name in arms}
    rate = {name: [] for name in arms}
    for index in range(bench.rounds + 1):
        for name, (process, url) in arms.items():
            result = wrk(bench, url + "/v1/chat/completions", 16, 3, process)
            if index:  # the first round warms up
                rate[name].append(result[0])
                cpu[name].append(result[1])
    rates = ", ".join(f"{name} {statistics.median(values):.0f} req/s" for name, values in rate.items())
    exported = counter(on_at["metrics"], "otel_sdk_exporter_span_exported")
    recorded = counter(on_at["metrics"], "otel_sdk_processor_span_processed")
    bench.compare(title, "us CPU/request", {"ours": cpu["ours"], "nginx": cpu["nginx"]}, "<= 1.0x nginx", 1.0,
                  note=f"{rates}; spans exported {exported:.0f} of {recorded:.0f} recorded")
    bench.compare("gateway_telemetry_cost", "us CPU/request", {"ours": cpu["ours"], "off": cpu["off"]}, "<= 1.15x off", 1.15)


def counter(metrics_url, name):
    """Sum of a family's samples."""
    with urllib.request.urlopen(metrics_url + "/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.split("\n") if line.startswith(name) and not line.startswith("#"))


def load(bench, url, *options):
    """`sightline load`; its report. Requests that failed raise."""
    done = subprocess.run([bench.sightline, "load", "--url", url, "--model", "bench", "--key", "sk-bench", "--format", "json", *options],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)
    report = json.loads(done.stdout.decode().strip().split("\n")[-1])
    if report["ok"] != report["sent"]:
        raise RuntimeError(f"failed requests: {report}")
    return report


def mock(bench, *options):
    process, at = bench.start_ready([bench.sightline, "mock", "--listen", "127.0.0.1:0", *options])
    return process, int(at["mock"].rsplit(":", 1)[1])


def sse(bench, title):
    """CPU per paced SSE frame beside nginx."""
    _, upstream = mock(bench, "--ttft", "20", "--itl", "20", "--tokens", "64")
    proxy_process, proxy_port = proxy(bench, upstream)
    on, on_at = gateway(bench, upstream, full_telemetry(sink(bench)))
    arms = {"ours": (on, on_at["gateway"]), "nginx": (proxy_process, f"http://127.0.0.1:{proxy_port}")}
    samples = {name: [] for name in arms}
    for index in range(bench.rounds + 1):
        for name, (process, url) in arms.items():
            before = cpu_ns(process.pid)
            report = load(bench, url, "--stream", "--requests", "768", "--concurrency", "256")
            time.sleep(1.2)
            if index:
                samples[name].append((cpu_ns(process.pid) - before) / 1000 / report["frames"])
    bench.compare(title, "us CPU/frame", samples, "<= 1.0x nginx", 1.0, note="256 streams, 20 ms between frames")


def connections(bench, title):
    """Throughput with 1,024 connections against 64; and what nginx keeps of its own, as the kernel and the peers slow down too."""
    upstream = answering(bench)
    proxy_process, proxy_port = proxy(bench, upstream)
    on, on_at = gateway(bench, upstream, full_telemetry(sink(bench)))
    arms = {"ours": (on, on_at["gateway"]), "nginx": (proxy_process, f"http://127.0.0.1:{proxy_port}")}
    few, many = {name: [] for name in arms}, {name: [] for name in arms}
    for index in range(bench.rounds + 1):
        for name, (process, base) in arms.items():
            for count, times in ((64, few), (1024, many)):
                took = 1 / wrk(bench, base + "/v1/chat/completions", count, 3, process)[0]
                if index:  # the first round warms up
                    times[name].append(took)
    nginx_keeps = statistics.median(few["nginx"]) / statistics.median(many["nginx"])
    bench.compare(title, "s/request", {"ours": many["ours"], "64 connections": few["ours"]}, ">= 0.9x of 64", 1 / 0.9,
                  note=f"nginx, as a plain proxy, keeps {nginx_keeps:.2f}x of its own")


def idle_streams(bench, title):
    """Throughput of 64 connections alone and beside 4,000 streams that say nothing."""
    upstream = answering(bench)
    _, slow = mock(bench, "--ttft", "1", "--itl", "600000", "--tokens", "2")
    path = os.path.join(bench.dir, "two.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write("model_list:\n"
                   f"  - {{model_name: bench, litellm_params: {{model: openai/bench, api_base: 'http://127.0.0.1:{upstream}/v1'}}}}\n"
                   f"  - {{model_name: slow, litellm_params: {{model: openai/slow, api_base: 'http://127.0.0.1:{slow}/v1'}}}}\n"
                   "general_settings: {master_key: sk-bench}\n")
    command = [bench.sightline, "gateway", "-c", path, "--data-dir", os.path.join(bench.dir, "data")]
    for name in ("gateway", "metrics", "health", "admin"):
        command += [f"--{name}-listen", "127.0.0.1:0"]
    process, at = bench.start_ready(command, full_telemetry(sink(bench)))
    url = at["gateway"] + "/v1/chat/completions"
    wrk(bench, url, 64, 2, process)
    alone = [1 / wrk(bench, url, 64, 3, process)[0] for _ in range(bench.rounds)]
    streams = bench.start([bench.sightline, "load", "--url", at["gateway"], "--model", "slow", "--key", "sk-bench", "--stream",
                           "--requests", "4000", "--concurrency", "4000", "--timeout", "600", "--format", "json"])
    deadline = time.monotonic() + 60
    while counter(at["metrics"], "sightline_gateway_requests_in_flight") < 4000 and time.monotonic() < deadline:
        time.sleep(0.2)
    held = counter(at["metrics"], "sightline_gateway_requests_in_flight")
    beside = [1 / wrk(bench, url, 64, 3, process)[0] for _ in range(bench.rounds)]
    bench.stop(streams)
    bench.compare(title, "s/request", {"ours": beside, "alone": alone}, ">= 0.9x of alone", 1 / 0.9, note=f"{held:.0f} streams open")
    if held < 4000:
        bench.rows[-1]["holds"] = False


def hanging(bench):
    """A backend that accepts connections and never answers: a listening socket with nobody behind it."""
    port = free_port()
    bench.start(["python3", "-c", "import socket,time\ns=socket.socket()\ns.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEADDR,1)\n"
                 f"s.bind(('127.0.0.1',{port}))\ns.listen(64)\ntime.sleep(3600)"])
    wait_port(port)
    return port


def dead_backend(bench, title):
    """Latency at a fixed rate with a live, a dead and a hanging telemetry backend; memory bounded, drops counted."""
    upstream = answering(bench)
    arms = {"live": sink(bench), "dead": free_port(), "hanging": hanging(bench)}
    started = {name: gateway(bench, upstream, {**full_telemetry(port), "OTEL_EXPORTER_OTLP_TIMEOUT": "2000"})
               for name, port in arms.items()}
    samples, growth, drops = {name: [] for name in arms}, {}, {}
    for name, (process, at) in started.items():
        wrk(bench, at["gateway"] + "/v1/chat/completions", 16, 2, process)
        growth[name] = -pss_bytes(process.pid)
    for _ in range(bench.rounds):
        for name, (process, at) in started.items():
            samples[name].append(wrk(bench, at["gateway"] + "/v1/chat/completions", 16, 3, process)[2])
    for name, (process, at) in started.items():
        growth[name] += pss_bytes(process.pid)
        drops[name] = counter(at["metrics"], "otel_sdk_processor_span_processed_total{") + 0
    note = "; ".join(f"{name} grew {growth[name] / 1048576:.1f} MiB" for name in arms)
    worst = max(statistics.median(samples["dead"]), statistics.median(samples["hanging"]))
    bench.compare(title, "us p50", {"ours": [worst], "live": samples["live"]}, "<= 1.1x live", 1.1,
                  note=note + f"; dead {statistics.median(samples['dead']):.0f} us, hanging {statistics.median(samples['hanging']):.0f} us")
    if any(value > 64 * 1048576 for value in growth.values()):
        bench.rows[-1]["holds"] = False


CASES = [
    ("gateway_unary", unary),
    ("gateway_sse", sse),
    ("gateway_1024", connections),
    ("gateway_idle_streams", idle_streams),
    ("gateway_dead_backend", dead_backend),
]
