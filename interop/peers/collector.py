"""The OpenTelemetry Collector 0.155.0 as a distribution of our own: OTLP in, file exporter out.

The official builder generates the sources only; the build is done without `go mod tidy`, which asks for
modules that only tests need.
"""
import json
import os
import shutil

from lib import cache, gobuild, sightline
from peers import clients

VERSION = "0.155.0"
BUILDER = "v0.155.0"
CORE = "go.opentelemetry.io/collector/"
CONTRIB = "github.com/open-telemetry/opentelemetry-collector-contrib/"
PARTS = {
    "receivers": [CORE + "receiver/otlpreceiver v0.155.0"],
    "exporters": [CORE + "exporter/debugexporter v0.155.0", CONTRIB + "exporter/fileexporter v0.155.0"],
    "processors": [CORE + "processor/batchprocessor v0.155.0"],
}
PROVIDERS = [CORE + "confmap/provider/%sprovider v1.61.0" % p for p in ("env", "file", "yaml", "http", "https")]
EXTRA = [CORE + "service v0.155.0", CORE + "otelcol v0.155.0", CORE + "confmap v1.61.0"]


def _install():
    return cache.Install("otelcol", repr((PARTS, PROVIDERS, EXTRA, BUILDER)))


def cached():
    return _install().ready()


def _manifest():
    lines = ["dist:", "  name: otelcol-sl", "  output_path: ./out", "  version: 0.155.0"]
    for kind, mods in PARTS.items():
        lines.append(kind + ":")
        lines += ["  - gomod: " + m for m in mods]
    lines.append("providers:")
    lines += ["  - gomod: " + m for m in PROVIDERS]
    return "\n".join(lines) + "\n"


def _build(folder, log):
    e = gobuild.env()
    work = os.path.join(folder, "build")
    os.makedirs(work)
    cache.sh(["go", "install", CORE + "cmd/builder@" + BUILDER], log, 1200, work,
             dict(e, GOBIN=work, GOFLAGS="-buildvcs=false -p=2"))
    with open(os.path.join(work, "builder.yaml"), "w") as f:
        f.write(_manifest())
    cache.sh([os.path.join(work, "builder"), "--config", "builder.yaml", "--skip-compilation",
              "--skip-get-modules"], log, 300, work, e)
    with open(os.path.join(work, "out", "go.mod"), "w") as f:
        f.write("module peer/otelcol\n\ngo 1.26.0\n\nrequire (\n")
        f.writelines("\t%s\n" % m for mods in list(PARTS.values()) + [PROVIDERS, EXTRA] for m in mods)
        f.write(")\n")
    cache.sh(["go", "build", "-tags", "remove_all_sd", "-trimpath", "-ldflags=-s -w", "-o",
              os.path.join(folder, "otelcol-sl"), "."], log, gobuild.STEP_TIMEOUT, os.path.join(work, "out"), e)
    shutil.rmtree(work, ignore_errors=True)


def install():
    """Returns the path of the binary."""
    return os.path.join(_install().ensure(_build), "otelcol-sl")


CONFIG = """receivers:
  otlp:
    protocols:
      grpc: {endpoint: "127.0.0.1:%(grpc)d"%(tls)s}
      http: {endpoint: "127.0.0.1:%(http)d"%(tls)s}
exporters:
  file: {path: "%(out)s", flush_interval: 100ms}
service:
  telemetry: {metrics: {level: none}, logs: {level: warn}}
  pipelines:
    traces: {receivers: [otlp], exporters: [file]}
    metrics: {receivers: [otlp], exporters: [file]}
    logs: {receivers: [otlp], exporters: [file]}
"""


TLS = ', tls: {cert_file: "%(dir)s/server.pem", key_file: "%(dir)s/server.key", client_ca_file: "%(dir)s/ca.pem"}'


class Certificates:
    """A certificate authority of the check's own, a server certificate for 127.0.0.1 and one for the client."""

    def __init__(self, ctx):
        self.ctx = ctx
        if not shutil.which("openssl"):
            raise cache.Missing("needs the openssl command")
        self.dir = ctx.folder("tls")
        self._run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=interop CA", "-keyout",
                  "ca.key", "-out", "ca.pem")
        for name in ("server", "client"):
            with open(os.path.join(self.dir, name + ".ext"), "w") as f:
                f.write("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
            self._run("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=" + name, "-keyout", name + ".key", "-out",
                      name + ".csr")
            self._run("x509", "-req", "-in", name + ".csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                      "-days", "2", "-extfile", name + ".ext", "-out", name + ".pem")

    def _run(self, *argv):
        files = [os.path.join(self.dir, a) if a.endswith((".key", ".pem", ".csr", ".ext")) else a for a in argv]
        self.ctx.run(["openssl", *files])

    def path(self, name):
        return os.path.join(self.dir, name)


class Collector:
    """A running collector: `.grpc` and `.http` take OTLP; `.received()` reads its file exporter's output.

    With certificates it speaks TLS only and asks its clients for theirs.
    """

    def __init__(self, ctx, certificates=None):
        self.ctx = ctx
        self.out = os.path.join(ctx.dir, "collected.jsonl")
        ports = {"grpc": ctx.free_port(), "http": ctx.free_port(), "out": self.out, "tls": ""}
        if certificates:
            ports["tls"] = TLS % {"dir": certificates.dir}
        scheme = "https" if certificates else "http"
        self.grpc = "%s://127.0.0.1:%d" % (scheme, ports["grpc"])
        self.http = "%s://127.0.0.1:%d" % (scheme, ports["http"])
        ctx.start("collector", [install(), "--config", ctx.write("collector.yaml", CONFIG % ports)])
        ctx.wait_port(ports["grpc"], 30)
        ctx.wait_port(ports["http"], 30)

    def received(self):
        """{"traces": [request…], …} in canonical OTLP JSON, of the whole lines written so far."""
        if not os.path.exists(self.out):
            return {}
        with open(self.out, "rb") as f:
            data = f.read()
        whole = data[:data.rfind(b"\n") + 1]
        text = self.ctx.run([clients.python(), os.path.join(sightline.CLIENTS, "canon.py")], stdin=whole)
        found = {}
        for line in text.splitlines():
            entry = json.loads(line)
            found.setdefault(entry["signal"], []).append(entry["request"])
        return found
