"""Prometheus 3.15, built from its Go module (v0.315.0) without the cloud discovery plugins."""
import os

from lib import cache, gobuild

VERSION = "3.15.0"
MODULE = "github.com/prometheus/prometheus"
RELEASE = "v0.315.0"
REPLACES = ("cloud.google.com/go=cloud.google.com/go@v0.123.0",)


def _install():
    return cache.Install("prometheus3", "\n".join((MODULE, RELEASE) + REPLACES))


def cached():
    return _install().ready()


def install():
    """Returns the path of the binary."""
    def build(folder, log):
        gobuild.build_tool(folder, log, "prometheus3", MODULE + "/cmd/prometheus", RELEASE, REPLACES,
                           tags="remove_all_sd",
                           ldflags="-X github.com/prometheus/common/version.Version=" + VERSION)
    return os.path.join(_install().ensure(build), "prometheus3")
