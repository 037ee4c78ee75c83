"""Starts Sightline's own parts for a check: gateway, mock, tiny model, OTLP receiver, the recording program."""
import json
import os
import subprocess

from lib import cache, net
from lib.context import Failure, expect, expect_eq
from peers import clients

KEY = "sk-interop-key"
CLIENTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "clients")


def need_binary(ctx):
    if not os.access(ctx.sightline, os.X_OK):
        raise Failure("%s is missing: run make first" % ctx.sightline)


def config_text(models):
    """A config.yaml for {alias: (upstream base URL with /v1, upstream model name)}."""
    lines = ["model_list:"]
    for alias, (base, name) in models.items():
        lines += ["  - model_name: %s" % alias, "    litellm_params:", "      model: openai/%s" % name,
                  "      api_base: %s" % base, "      api_key: sk-upstream-key"]
    lines += ["general_settings:", "  master_key: %s" % KEY]
    return "\n".join(lines) + "\n"


class Gateway:
    """A running gateway: `.url`, `.metrics`, `.health`, `.admin`."""

    def __init__(self, ctx, models, env=None, workers=1):
        need_binary(ctx)
        ready = os.path.join(ctx.dir, "gateway.ready")
        config = ctx.write("config.yaml", config_text(models))
        argv = [ctx.sightline, "gateway", "-c", config, "--ready-file", ready, "--workers", str(workers),
                "--data-dir", ctx.folder("data")]
        for part in ("gateway", "metrics", "health", "admin"):
            argv += ["--%s-listen" % part, "127.0.0.1:0"]
        base = {"OTEL_BSP_SCHEDULE_DELAY": "200", "OTEL_BLRP_SCHEDULE_DELAY": "200",
                "OTEL_METRIC_EXPORT_INTERVAL": "1000"}
        self.ctx = ctx
        self.process = ctx.start("gateway", argv, dict(base, **(env or {})))
        where = ctx.wait_file(ready, 20)
        for key in ("gateway", "metrics", "health", "admin"):
            expect(key in where, "the ready file has no '%s': %s" % (key, where))
        self.url, self.metrics = where["gateway"], where["metrics"] + "/metrics"
        self.health, self.admin = where["health"], where["admin"]

    def chat(self, model, headers=None, stream=False, **more):
        """One chat request; returns the reply of a unary request, the list of frames of a streamed one."""
        body = dict({"model": model, "messages": [{"role": "user", "content": "Is the line clear?"}],
                     "max_tokens": 8}, **more)
        if stream:
            body["stream"] = True
        reply = net.post(self.url + "/v1/chat/completions", body, dict({"authorization": "Bearer " + KEY},
                                                                       **(headers or {})))
        expect_eq(reply.status, 200, "status of POST /v1/chat/completions (%s)" % reply.text()[:200])
        if not stream:
            return reply.json()
        frames = [line[6:] for line in reply.text().split("\n") if line.startswith("data: ")]
        expect(frames and frames[-1] == "[DONE]", "the stream does not end with [DONE]: %s" % frames[-1:])
        return [json.loads(f) for f in frames[:-1]]

    def trace(self, trace_id, seconds=5):
        """The trace as `sightline traces` prints it."""
        def probe():
            text = self.ctx.run([self.ctx.sightline, "traces", trace_id, "--url", self.admin, "--format", "json"],
                                timeout=20, ok=(0, 1))
            found = json.loads(text) if text.strip() else {}
            return found if found.get("spans") else None
        return net.until("trace %s in sightline traces" % trace_id, seconds, probe)


def start_mock(ctx, *options):
    """Starts `sightline mock`; returns its base URL."""
    need_binary(ctx)
    ready = os.path.join(ctx.dir, "mock.ready")
    ctx.start("mock", [ctx.sightline, "mock", "--listen", "127.0.0.1:0", "--ready-file", ready, *options])
    return ctx.wait_file(ready, 20)["mock"]


def tiny_model(ctx):
    """Makes a model file by our own generator; returns its path."""
    need_binary(ctx)
    path = os.path.join(ctx.dir, "tiny.gguf")
    ctx.run([ctx.sightline, "gen", "gguf", path])
    expect(os.path.getsize(path) > 100000, "the generated model is too small")
    return path


class Sink:
    """An OTLP receiver on the official protobuf classes of Python: `.http`, `.grpc`, and what has arrived."""

    def __init__(self, ctx):
        self.path = os.path.join(ctx.dir, "sink.jsonl")
        ready = os.path.join(ctx.dir, "sink.ready")
        ctx.start("sink", [clients.python(), os.path.join(CLIENTS, "otlp_sink.py"), self.path, ready])
        where = ctx.wait_file(ready, 30)
        self.http, self.grpc = where["http"], where["grpc"]

    def requests(self, signal=None):
        """The requests that have arrived, oldest first; Failure when one of them was not valid OTLP."""
        found = []
        with open(self.path) as f:
            for line in f:
                if not line.endswith("\n"):
                    break
                entry = json.loads(line)
                if entry.get("error"):
                    raise Failure("the official OTLP classes refuse our %s: %s" % (entry["signal"], entry["error"]))
                if signal in (None, entry["signal"]):
                    found.append(entry)
        return found

    def spans(self, trace_id=None):
        """All spans so far as (span, scope, resource) of OTLP JSON."""
        out = []
        for entry in self.requests("traces"):
            for r in entry["request"].get("resourceSpans", []):
                for s in r.get("scopeSpans", []):
                    for span in s.get("spans", []):
                        if trace_id in (None, span["traceId"]):
                            out.append((span, s.get("scope", {}), r.get("resource", {})))
        return out


def exporter_env(protocol, endpoint, **more):
    """OTEL_* for all three signals over one protocol."""
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
           "OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "otlp", "OTEL_LOGS_EXPORTER": "otlp"}
    env.update(more)
    return env


def traces_env(protocol, endpoint):
    return exporter_env(protocol, endpoint, OTEL_METRICS_EXPORTER="none", OTEL_LOGS_EXPORTER="none")


def build_recorder(ctx):
    """Compiles examples/record_everything.c against the shared library; returns the program's path."""
    return build_program(ctx, os.path.join("examples", "record_everything.c"))


def build_program(ctx, source):
    """Compiles a program of the source tree against the shared library; returns its path."""
    library = os.path.join(ctx.build, "libsightline.so")
    if not os.path.exists(library):
        raise Failure("%s is missing: run make first" % library)
    program = os.path.join(ctx.dir, os.path.splitext(os.path.basename(source))[0])
    compiler = os.environ.get("CC", "cc")
    try:
        subprocess.run([compiler, "--version"], capture_output=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        raise cache.Missing("needs a C compiler")
    ctx.run([compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", "-I" + os.path.join(ctx.source, "include"), "-o",
             program, os.path.join(ctx.source, source), "-L" + ctx.build, "-lsightline",
             "-Wl,-rpath," + ctx.build], timeout=120)
    return program
