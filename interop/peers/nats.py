"""nats-server 2.15, built from its Go module: Debian 12 has 2.9, which does not survive kills of its nodes."""
import os

from lib import cache, gobuild

MODULE = "github.com/nats-io/nats-server/v2"
RELEASE = "v2.15.2"
VERSION = RELEASE[1:]


def _install():
    return cache.Install("nats", MODULE + "\n" + RELEASE)


def install():
    """Returns the path of the binary."""
    def build(folder, log):
        gobuild.build_tool(folder, log, "nats-server", MODULE, RELEASE)
    return os.path.join(_install().ensure(build), "nats-server")
