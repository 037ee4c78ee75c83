"""The manifests of deploy/ by the published schemas of Kubernetes, strictly; mistakes are refused.

Objects of the Prometheus operator have no schema there: tests/integration/test_deploy.py reads those.
"""
import glob
import os

from checks import Row
from lib.context import Failure, expect
from peers import kubernetes

RELEASES = ("1.30", "1.37")
FOREIGN = "monitoring.coreos.com/"
MISTAKES = (("replicas: 1", "replicaz: 1"), ("periodSeconds: 10", "periodSeconds: often"), ("targetPort: http", "targetPorts: http"))


def validate(ctx, name, text):
    path = ctx.write(name, text)
    for release in RELEASES:
        ctx.run([kubernetes.tool(), "--strict", "-k", release, path], timeout=60)


def refused(ctx, text):
    try:
        validate(ctx, "wrong.yaml", text)
    except Failure:
        return True
    return False


def run(ctx):
    objects = mistakes = 0
    for path in sorted(glob.glob(os.path.join(ctx.source, "deploy", "kubernetes", "*.yaml"))):
        with open(path) as f:
            parts = [part for part in f.read().split("---\n") if FOREIGN not in part]
        text = "---\n".join(parts)
        validate(ctx, os.path.basename(path), text)
        objects += len(parts)
        for right, bad in MISTAKES:
            expect(right in text, "%s has no '%s'" % (path, right))
            expect(refused(ctx, text.replace(right, bad, 1)), "the schemas take '%s'" % bad)
            mistakes += 1
    expect(objects >= 6, "only %d objects" % objects)
    return "%d objects valid for %s, %d mistakes refused" % (objects, " and ".join(RELEASES), mistakes)


ROWS = [Row("kubernetes", "full", "kubernetes-validate", kubernetes.VERSION, "manifests by the published schemas", run,
            needs=[kubernetes.tool], cached=kubernetes.cached, order=38)]
