"""Runs llama.cpp under `sightline exec` for a check, and reads what the probe told."""
import collections
import json
import os
import re
import subprocess

from checks import tree
from lib import cache, net, sightline
from lib.context import Failure, expect, expect_eq
from peers import llama_build, llama_releases

HOST_SOURCE = os.path.join(sightline.CLIENTS, "llama_host.c")
KV_BYTES_PER_TOKEN = 2 * 2 * 32 * 2  # of the tiny model: layers, K and V, width, bytes of a half
PARAMETERS, MODEL_BYTES = 138304, 553216

# One way to have libllama: `release` of the libraries, `how` they are bound, `argv` up to the steps, `env`, `steps` first.
Host = collections.namedtuple("Host", "release how argv env first")


def compiler():
    cc = os.environ.get("CC", "cc")
    try:
        subprocess.run([cc, "--version"], capture_output=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        raise cache.Missing("needs a C compiler")
    return cc


def build_host(ctx, name="llama_host", *flags):
    """Compiles the host that binds by dlopen."""
    program = os.path.join(ctx.dir, name)
    ctx.run([compiler(), "-std=gnu17", "-O1", "-g", *flags, "-o", program, HOST_SOURCE], timeout=120)
    return program


def link_host(ctx, library, folder):
    """Compiles the host linked to one release, without position independence: calls go through its PLT."""
    out = ctx.run(["nm", "-D", "--defined-only", library])
    names = sorted(set(re.findall(r" T (llama_\w+)$", out, re.M)) & set(used_names()))
    header = os.path.join(folder, "names.h")
    with open(header, "w") as f:
        f.write("static void link_names(api *f)\n{\n%s}\n" % "".join("    f->%s = %s;\n" % (n, n) for n in names))
    program = os.path.join(folder, "llama_host")
    ctx.run([compiler(), "-std=gnu17", "-O1", "-g", "-no-pie", "-fno-pie", '-DLINKED="%s"' % header, "-o", program,
             HOST_SOURCE, library, "-Wl,--allow-shlib-undefined,-rpath," + os.path.dirname(library)], timeout=120)
    return program


def used_names():
    with open(HOST_SOURCE) as f:
        return re.findall(r"X\([^,]+, (llama_\w+),", f.read())


def hosts(ctx, model):
    """Every release by every way to bind it."""
    plain = build_host(ctx)
    found = [(r.build, r.ggml, r.llama) for r in llama_releases.releases()]
    if llama_build.cached():
        bins = llama_build.install()
        found.append(("b" + llama_build.BUILD, os.path.join(bins, "libggml.so"), os.path.join(bins, "libllama.so")))
    for release, ggml, llama in found:
        new = release == "b" + llama_build.BUILD
        env = {"LD_LIBRARY_PATH": os.path.dirname(llama)} if new else {}
        first = ["process"] if new else []
        for how in ("handle", "global"):
            yield Host(release, how, [plain, "--ggml", ggml, "--llama", llama, "--how", how, "--model", model], env,
                       first)
        linked = link_host(ctx, llama, ctx.folder("linked-" + release))
        yield Host(release, "linked", [linked, "--ggml", ggml, "--model", model], env, first)


class Outcome:
    """What one run of a program showed to the outside."""

    def __init__(self, p, out, err):
        self.status, self.out, self.err = p.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")

    def steps(self):
        return [json.loads(line) for line in self.out.split("\n") if line.startswith("{")]

    def step(self, name):
        return next(s for s in self.steps() if s["step"] == name)

    def same_as(self, other, what):
        expect_eq(self.status, other.status, "%s: exit status, stderr '%s'" % (what, self.err[-300:]))
        expect_eq(self.out, other.out, "%s: standard output" % what)
        expect_eq(self.err, other.err, "%s: standard error" % what)


def run(ctx, argv, env=None, timeout=60):
    """Runs a program whatever its end is."""
    p = subprocess.Popen(argv, env=ctx.environment(env), cwd=ctx.dir, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE)
    try:
        out, err = p.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        p.kill()
        p.communicate()
        raise Failure("%s: did not end within %d s" % (" ".join(argv)[:200], timeout))
    return Outcome(p, out, err)


def library(ctx):
    path = os.path.join(ctx.build, "libsightline-llama.so")
    if not os.path.exists(path):
        raise Failure("%s is missing: run make first" % path)
    return path


def exec_argv(ctx, argv, *options):
    """`argv` under the parent, without listeners."""
    return [ctx.sightline, "exec", "--metrics-listen", "off", "--view", "off", *options, "--", *argv]


def certificate(ctx):
    """Paths of a key and of its certificate, for a server of the check's own."""
    key, cert = os.path.join(ctx.dir, "key.pem"), os.path.join(ctx.dir, "cert.pem")
    try:
        ctx.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                 "-subj", "/CN=localhost", "-keyout", key, "-out", cert], timeout=30)
    except FileNotFoundError:
        raise cache.Missing("needs openssl")
    return key, cert


def export_env(sink, protocol="http/protobuf", **more):
    env = {"OTEL_BSP_SCHEDULE_DELAY": "200", "OTEL_METRIC_EXPORT_INTERVAL": "500",
           "OTEL_BSP_MAX_QUEUE_SIZE": "65536"}
    env.update(sightline.exporter_env(protocol, sink.grpc if protocol == "grpc" else sink.http))
    env.update(more)
    return env


class Server:
    """A program that serves HTTP, under `sightline exec`: `.base`, `.metrics` (URL of the probe's page)."""

    def __init__(self, ctx, name, argv, port, env=None, options=(), ready="/health", view="off", scheme="http"):
        self.ctx = ctx
        self.base = "%s://127.0.0.1:%d" % (scheme, port)
        file = os.path.join(ctx.dir, name + ".ready")
        self.process = ctx.start(name, [ctx.sightline, "exec", "--metrics-listen", "127.0.0.1:0", "--view", view,
                                        "--ready-file", file, *options, "--", *argv], env)
        self.metrics = ctx.wait_file(file, 20)["metrics"] + "/metrics"
        ctx.wait_http(self.base + ready, 60)

    def page(self):
        """The probe's metrics as {series: value}."""
        return parse_page(net.get(self.metrics).text())

    def stop(self):
        return self.ctx.stop(self.process)


def parse_page(text):
    """Prometheus text as {name or name{labels}: value}; exemplars are left out."""
    out = {}
    for line in text.split("\n"):
        if line and not line.startswith("#"):
            series, _, value = line.split(" # ")[0].strip().rpartition(" ")
            out[series] = float(value)
    return out


def total(page, name, **labels):
    """Sum over the series of a name whose labels hold the given values."""
    found = [v for s, v in page.items() if s.split("{")[0] == name
             and all('%s="%s"' % (k, w) in s for k, w in labels.items())]
    return sum(found) if found else None


def service_of(resource):
    return next((tree.plain(p["value"]) for p in resource.get("attributes", []) if p["key"] == "service.name"), None)


class Told:
    """All spans of a sink, or those of one service, by id and by trace."""

    def __init__(self, sink, service=None):
        found = [f for f in sink.spans() if service in (None, service_of(f[2]))]
        self.spans = tree.from_otlp(found)
        self.by_trace = collections.defaultdict(dict)
        self.links = {}
        for span, _scope, _resource in found:
            self.by_trace[span["traceId"]][span["spanId"]] = self.spans[span["spanId"]]
            self.links[span["spanId"]] = [(x["traceId"], x["spanId"]) for x in span.get("links", [])]

    def named(self, name):
        return [s for s in self.spans.values() if s["name"] == name]


def children(spans, parent, name):
    return [s for s in spans.values() if s["parent"] == parent and s["name"] == name]
