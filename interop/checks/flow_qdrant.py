"""`flow collection load --to qdrant` and vector_search against Qdrant's own reading of its interface: the models of its
Python client, which know every member and no other, in front of the engine that this client has in it. (Qdrant's server is
in no package registry.)"""
import json
import os

from checks import Row
from checks.flow_pgvector import FILTERS, QUERIES, TOP, WORKFLOW, documents, hits_of, same_hits
from lib import flow, net
from lib.context import expect, expect_eq
from peers import python_venv

LOCK = "qdrant"
HERE = os.path.dirname(os.path.abspath(__file__))
UNKNOWN = ({"lang": {"$gt": "de"}},)  # Qdrant knows no order of texts


def install():
    return python_venv.install(LOCK, 11, 13)


def version():
    return "%s" % python_venv.pinned(LOCK, "qdrant-client")


def rows_of_every_id():
    """Of the rows a third has whole numbers as ids, a third UUIDs; some stand in a namespace."""
    rows = []
    for n, row in enumerate(documents()[:900]):
        names = (row["id"], str(n), "00000000-0000-4000-8000-%012d" % n)
        rows.append(dict(row, id=names[n % 3], **({"namespace": "mine"} if n % 10 == 9 else {})))
    return rows


def search(ctx, url, data, database, queries, more=""):
    path = ctx.write("searches.yaml", WORKFLOW % (TOP, more))
    run = flow.Run(ctx, path, {"database": database, "index": "docs", "queries": queries}, {"QDRANT_URL": url}, ["--data-dir", data])
    expect_eq(run.report["status"], "succeeded", "%s (%s)" % (database, run.report["error"]))
    return [[dict(h, metadata={k: v for k, v in (h["metadata"] or {}).items() if k != "namespace"}) for h in hits]
            for hits in hits_of(run.report["outputs"]["each"])]


def run(ctx):
    python = os.path.join(install(), "bin", "python")
    log = ctx.start("qdrant", [python, os.path.join(os.path.dirname(HERE), "clients", "qdrant_server.py")]).log
    net.until("the port of the server", 60, lambda: open(log).read().strip())
    url = "http://127.0.0.1:" + open(log).read().strip()
    rows, data = rows_of_every_id(), ctx.folder("data")
    path = ctx.write("docs.jsonl", "".join(json.dumps(r) + "\n" for r in rows))
    load = [ctx.sightline, "flow", "collection", "load", "docs", path]
    for _ in range(2):  # again, nothing is there twice
        expect_eq(ctx.run(load + ["--to", "qdrant"], {"QDRANT_URL": url}), "docs: 900 rows loaded\n", "the load")
    expect_eq(json.loads(net.get(url + "/collections/docs").body)["result"]["points_count"], 900, "points")
    ctx.run(load + ["--data-dir", data])
    vectors = [r["vector"] for r in documents()[900:900 + QUERIES]]
    mine = [{"vector": v, "filter": None} for v in vectors]
    same_hits(search(ctx, url, data, "qdrant", mine, "        namespace: mine\n"),
              search(ctx, url, data, "local", mine, "        namespace: mine\n"), "a namespace")
    ctx.write("docs.jsonl", "".join(json.dumps(dict(r, namespace="")) + "\n" for r in rows))
    ctx.run([*load[:4], "all", path, "--data-dir", data])  # of all namespaces, as Qdrant searches without one
    queries = [{"vector": v, "filter": FILTERS[n % len(FILTERS)]} for n, v in enumerate(vectors)]
    queries = [q for q in queries if q["filter"] not in UNKNOWN]
    wanted = search_all(ctx, url, data, queries)
    same_hits(search(ctx, url, data, "qdrant", queries), wanted, "all rows")
    ctx.run(load + ["--to", url, "--metric", "dot"], ok=(2,))
    native = sum(isinstance(i, int) or i.startswith("00000000-") for i in ids_of(url, queries))
    expect(native > 0, "no id is Qdrant's own")
    return "900 rows with ids of three kinds, twice; %d searches with filters and %d in a namespace: ids, scores and metadata as in process" % (
        len(queries), len(mine))


def search_all(ctx, url, data, queries):
    path = ctx.write("all.yaml", WORKFLOW.replace("{{ inputs.index }}", "all") % (TOP, ""))
    done = flow.Run(ctx, path, {"database": "local", "index": "all", "queries": queries}, {"QDRANT_URL": url}, ["--data-dir", data])
    expect_eq(done.report["status"], "succeeded", "local (%s)" % done.report["error"])
    return hits_of(done.report["outputs"]["each"])


def ids_of(url, queries):
    """Of points, as the server has them."""
    body = json.dumps({"query": queries[0]["vector"], "limit": 50}).encode()
    answer = net.request("POST", url + "/collections/docs/points/query", body, {"Content-Type": "application/json"})
    return [p["id"] for p in json.loads(answer.body)["result"]["points"]]


ROWS = [
    Row("qdrant", "quick", "Qdrant's Python client", version, "collections loaded and searched, by its models and its engine", run,
        needs=[install], limit=120, order=62),
]
