"""Zipkin 3.5.1 (slim: in memory, no plug-ins), one jar of Maven Central, pinned by its hash; runs on Java 17."""
import hashlib
import os
import shutil

from lib import cache, net

VERSION = "3.5.1"
ARTIFACT = "io.zipkin:zipkin-server:%s:jar:slim" % VERSION
JAR = "zipkin-server-%s-slim.jar" % VERSION
SHA256 = "7956e7f2c64b7073e1362b81e697fceb5fe61e121ad3cb48d545461026964b0f"
PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"


def _install():
    return cache.Install("zipkin", "\n".join((ARTIFACT, SHA256)))


def cached():
    return _install().ready() and bool(shutil.which("java"))


def _check(path):
    with open(path, "rb") as f:
        if hashlib.sha256(f.read()).hexdigest() != SHA256:
            raise cache.Missing("%s is not the pinned file" % JAR)


def install():
    """Returns the path of the jar."""
    for tool in ("java", "mvn"):
        if not shutil.which(tool) and not (tool == "mvn" and _install().ready()):
            raise cache.Missing("needs Java 17 and Maven (Debian: openjdk-17-jre-headless maven)")

    def build(folder, log):
        cache.sh(["mvn", "-q", "-B", PLUGIN, "-Dartifact=" + ARTIFACT, "-DoutputDirectory=" + folder], log, 900, folder)
        _check(os.path.join(folder, JAR))
    return os.path.join(_install().ensure(build), JAR)


class Zipkin:
    """A running Zipkin: `.spans` takes v2 JSON; `.trace(id)` reads back by its query API."""

    def __init__(self, ctx, port=0):
        port = port or ctx.free_port()
        self.base = "http://127.0.0.1:%d" % port
        self.spans = self.base + "/api/v2/spans"
        ctx.start("zipkin", ["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-jar", install()],
                  {"QUERY_PORT": str(port), "SELF_TRACING_ENABLED": "false"})
        ctx.wait_http(self.base + "/health", 90)

    def trace(self, trace_id, spans, seconds=15):
        """The spans of a trace, once there are at least `spans`."""
        def probe():
            reply = net.get("%s/api/v2/trace/%s" % (self.base, trace_id))
            found = reply.json() if reply.status == 200 else []
            return found if len(found) >= spans else None
        return net.until("trace %s in Zipkin" % trace_id, seconds, probe)
