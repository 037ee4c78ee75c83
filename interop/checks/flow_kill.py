"""Servers, workers and nodes of a JetStream cluster are killed; what was accepted is done once all the same.

The rounds and their judge are those of the integration test; here they meet a broker that is not Debian's.
"""
import os
import re
import sys

from checks import Row
from lib.context import expect
from peers import nats

ROUNDS = 4


def run(ctx):
    test = os.path.join(ctx.source, "tests", "integration", "test_flow_kill.py")
    said = ctx.run([sys.executable, test, "jetstream"],
                   {"SIGHTLINE": ctx.sightline, "SIGHTLINE_NATS_SERVER": nats.install(), "SIGHTLINE_ROUNDS": str(ROUNDS),
                    "SIGHTLINE_LEDGER": ctx.folder("ledgers")}, timeout=540)
    told = re.search(r"(\d+) rounds in \d+ s: (.*)", said)
    expect("1 passed, 0 failed, 0 skipped" in said and told and int(told[1]) == ROUNDS, said[-500:])
    return "%s rounds: %s" % told.groups()


ROWS = [Row("flow-kill", "full", "nats-server, 3 nodes", nats.VERSION, "kill -9 of server, workers and nodes, JetStream",
            run, needs=[nats.install], limit=600, order=95)]
