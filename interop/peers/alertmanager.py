"""Alertmanager 0.25, from Debian's package, and a webhook that keeps what it is told."""
import json
import os
import shutil
import subprocess

from lib import cache, net

BINARY = "prometheus-alertmanager"


def install():
    """Returns the path of the server; installs the package when root and apt are there."""
    path = shutil.which(BINARY)
    if not path and os.geteuid() == 0 and shutil.which("apt-get"):
        os.makedirs(cache.root(), exist_ok=True)
        log = os.path.join(cache.root(), "alertmanager.log")
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        cache.sh(["apt-get", "update", "-q"], log, 300, env=env)
        cache.sh(["apt-get", "install", "-q", "-y", "--no-install-recommends", BINARY], log, 600, env=env)
        path = shutil.which(BINARY)
    if not path:
        raise cache.Missing("needs the Debian package " + BINARY)
    return path


def version():
    """What is installed; the package's version on Debian 12 when nothing is."""
    path = shutil.which(BINARY)
    if not path:
        return "0.25 (Debian 12)"
    out = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20)
    words = (out.stdout + out.stderr).split()
    return words[words.index("version") + 1] if "version" in words else "unknown"


class Webhook(net.Server):
    """Keeps every alert that arrives: list of {labels, annotations, status}."""

    def __init__(self):
        alerts = self.alerts = []

        class Handler(net.Quiet):
            def do_POST(self):
                alerts.extend(json.loads(self.body())["alerts"])
                self.answer(200, {})

        super().__init__(Handler)


CONFIG = """route: {receiver: hook, group_by: [alertname], group_wait: 1s, group_interval: 1s}
receivers: [{name: hook, webhook_configs: [{url: "%s/hook"}]}]
"""


class Alertmanager:
    """A running Alertmanager: `.address` (HOST:PORT) for Prometheus, `.webhook` for what it tells."""

    def __init__(self, ctx):
        self.webhook = ctx.own(Webhook())
        port = ctx.free_port()
        self.address = "127.0.0.1:%d" % port
        ctx.start("alertmanager", [install(), "--config.file=" + ctx.write("alertmanager.yml", CONFIG % self.webhook.url),
                                   "--storage.path=" + ctx.folder("alertmanager"), "--cluster.listen-address=",
                                   "--web.listen-address=" + self.address])
        ctx.wait_http("http://%s/-/ready" % self.address, 30)
