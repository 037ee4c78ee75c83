"""The README's C program: at most 15 lines, built with pkg-config from an installation, its trace in Jaeger."""
import os
import re
import shutil
import urllib.parse

from checks import Row
from lib import cache, net
from lib.context import Failure, expect, expect_eq
from peers import jaeger

MAX_LINES = 15
SERVICE = "readme-program"


def program_text(path):
    """The first C block of the README that has a main function."""
    with open(path) as f:
        blocks = re.findall(r"^```c\n(.*?)^```", f.read(), re.M | re.S)
    found = [b for b in blocks if re.search(r"\bmain\s*\(", b)]
    if not found:
        raise Failure("the README has no C program")
    lines = [line for line in found[0].split("\n") if line.strip()]
    expect(len(lines) <= MAX_LINES, "the README's program has %d lines" % len(lines))
    return found[0], len(lines)


def build(ctx, source):
    """Installs the library into the check's folder and builds against it as a user would."""
    for tool in ("cmake", "pkg-config", "cc"):
        if not shutil.which(tool):
            raise cache.Missing("needs " + tool)
    prefix = ctx.folder("prefix")
    ctx.run(["cmake", "--install", ctx.build, "--prefix", prefix], timeout=120)
    found = [d for d, _, files in os.walk(prefix) if "sightline.pc" in files]
    expect(len(found) == 1, "sightline.pc in the installation: %s" % found)
    # The file may carry the prefix that was configured; the define says where it is now.
    config = ["pkg-config", "--define-variable=prefix=" + prefix, "--cflags", "--libs", "sightline"]
    flags = ctx.run(config, {"PKG_CONFIG_PATH": found[0]}).split()
    program = os.path.join(ctx.dir, "program")
    ctx.run(["cc", "-o", program, source, *flags], timeout=120)
    return program, os.path.dirname(found[0])


def run(ctx):
    text, lines = program_text(os.path.join(ctx.source, "README.md"))
    program, libraries = build(ctx, ctx.write("program.c", text))
    peer = jaeger.Jaeger(ctx)
    ctx.run([program], {"LD_LIBRARY_PATH": libraries, "OTEL_SERVICE_NAME": SERVICE, "OTEL_METRICS_EXPORTER": "none",
                        "OTEL_LOGS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": peer.http})

    def probe():
        names = [s for s in net.get(peer.query + "/api/services").json()["data"] or [] if s != "jaeger"]
        return names and net.get(peer.query + "/api/traces?service=" + urllib.parse.quote(names[0])).json()["data"]
    traces = net.until("a trace of the README's program", 10, probe)
    expect_eq(len(traces), 1, "traces of the README's program")
    names = sorted(s["operationName"] for s in traces[0]["spans"])
    for name in names:
        expect(name in text, "span '%s' is not in the program" % name)
    return "%d lines; spans %s" % (lines, ", ".join(names))


ROWS = [Row("jaeger-readme", "full", "Jaeger", jaeger.VERSION, "the README's C program, built with pkg-config", run,
            needs=[jaeger.install], cached=jaeger.cached, order=33)]
