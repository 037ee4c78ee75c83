"""Jaeger 2, built from its Go module (cmd/jaeger 2.13 = module v1.76.0)."""
import os

from lib import cache, gobuild

VERSION = "2.13 (module v1.76.0)"
MODULE = "github.com/jaegertracing/jaeger"
RELEASE = "v1.76.0"
REPLACES = ("github.com/Shopify/sarama=github.com/Shopify/sarama@v1.33.0",)


def _install():
    return cache.Install("jaeger2", "\n".join((MODULE, RELEASE) + REPLACES))


def cached():
    return _install().ready()


def install():
    """Returns the path of the binary."""
    def build(folder, log):
        gobuild.build_tool(folder, log, "jaeger2", MODULE + "/cmd/jaeger", RELEASE, REPLACES, go_sum_of=MODULE)
    return os.path.join(_install().ensure(build), "jaeger2")
