#!/usr/bin/env python3
"""`sightline flow collection load --to`: rows into a server of Qdrant's protocol, and what vector_search then finds there
and in the engine's own file; faults; what a terminal shows. PostgreSQL: interop's check pgvector."""
import http.server
import json
import os
import pty
import random
import subprocess
import threading
import urllib.parse

import lib

STEP = ("name: find\nsteps:\n  - id: each\n    type: loop\n    items: '{{ inputs.queries }}'\n    steps:\n"
        "      - {id: s, type: vector_search, database: '{{ inputs.database }}', index: docs, query: '{{ item }}', top_k: 5,\n"
        "         include_metadata: '{{ inputs.metadata }}', output: [hits]%s}\n")


class Qdrant:
    """Collections in memory, as the REST interface has them; ids are whole numbers or UUIDs."""

    def __init__(self, busy=0):
        self.collections, self.asked, self.keys, self.busy = {}, [], set(), busy
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, status, result):
                body = json.dumps({"status": "ok", "result": result} if status == 200 else {"status": {"error": result}}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def handle_one(self):
                path = urllib.parse.urlsplit(self.path)
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or "null")
                outer.asked.append((self.command, self.path, body))
                outer.keys.add(self.headers.get("api-key"))
                name, _, what = urllib.parse.unquote(path.path)[len("/collections/"):].partition("/")
                if outer.busy:
                    outer.busy -= 1
                    return self.answer(503, "busy")
                return self.answer(*outer.serve(self.command, name, what, body))

            do_GET = do_PUT = do_POST = handle_one

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def serve(self, method, name, what, body):
        there = self.collections.get(name)
        if method == "PUT" and not what:
            self.collections[name] = {"vectors": body["vectors"], "points": {}}
            return 200, True
        if not there:
            return 404, f"Not found: Collection `{name}` doesn't exist!"
        if method == "GET":
            return 200, {"status": "green", "points_count": len(there["points"]), "config": {"params": {"vectors": there["vectors"]}}}
        if method == "PUT":
            for point in body["points"]:
                if not isinstance(point["id"], int) and len(point["id"]) != 36 or len(point["vector"]) != there["vectors"]["size"]:
                    return 400, "Wrong input"
                there["points"][point["id"]] = point
            return 200, {"status": "completed"}
        return 200, {"points": self.query(there, body)}

    @staticmethod
    def query(there, body):
        def cosine(a, b):
            return sum(x * y for x, y in zip(a, b)) / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5

        def passes(payload, condition):
            if "must" in condition:
                return all(passes(payload, each) for each in condition["must"])
            return payload.get(condition["key"]) == condition["match"]["value"]
        wanted = body["with_payload"]
        points = [{"id": p["id"], "score": cosine(p["vector"], body["query"]),
                   "payload": p["payload"] if wanted is True else {k: v for k, v in p["payload"].items() if k in (wanted or [])}}
                  for p in there["points"].values() if passes(p["payload"], body.get("filter", {"must": []}))]
        return sorted(points, key=lambda p: -p["score"])[:body["limit"]]


def rows(count=600):
    rng = random.Random(5)
    names = ("d%d", "%d", "00000000-0000-0000-0000-%012d")
    return [{"id": names[n % 3] % n, "vector": [rng.randint(-99, 99) / 64 or 1 for _ in range(8)], "metadata": {"n": n, "tenth": n / 10},
             **({"namespace": "mine"} if n % 5 == 0 else {})} for n in range(count)]


def write(lines, name="rows.jsonl"):
    path = os.path.join(lib.tmp(), name)
    with open(path, "w") as file:
        file.write("".join(json.dumps(line) + "\n" for line in lines))
    return path


def load(*args, env=None, data=None):
    return lib.run("flow", "collection", "load", *args, env=env, *(["--data-dir", data] if data else []))


def found(database, queries, env, data, more="", metadata=True):
    path = os.path.join(lib.tmp(), "find.yaml")
    with open(path, "w") as file:
        file.write(STEP % more)
    done = lib.run("run", path, "-i", json.dumps({"database": database, "queries": queries, "metadata": metadata}), "--format", "json",
                   "--data-dir", data, env=env)
    lib.equal(done.returncode, 0, done.stderr + done.stdout)
    each = json.loads(done.stdout)["outputs"]["each"]
    rounds = [r["hits"] if isinstance(r, dict) else r for r in (each["results"] if isinstance(each, dict) else each)]
    return [[(h["id"], round(h["score"], 5), {k: v for k, v in (h["metadata"] or {}).items() if k != "namespace"}) for h in hits]
            for hits in rounds]


def test_rows_are_found_in_qdrant_as_here():
    server, data, all_rows = Qdrant(), lib.tmp(), rows()
    env = {"QDRANT_URL": server.url, "QDRANT_API_KEY": "planted-key-91"}
    file = write(all_rows)
    done = load("docs", file, "--to", "qdrant", env=env)
    lib.equal((done.returncode, done.stdout, done.stderr), (0, "docs: 600 rows loaded\n", ""))
    lib.equal(server.keys, {"planted-key-91"})
    lib.equal(server.collections["docs"]["vectors"], {"size": 8, "distance": "Cosine"})
    done = load("docs", file, "--to", server.url, "--format", "json", env=env)  # again: nothing is there twice
    lib.equal(json.loads(done.stdout), {"collection": "docs", "rows": 600})
    lib.equal(len(server.collections["docs"]["points"]), 600)
    lib.equal(load("docs", file, data=data).returncode, 0)
    queries = [row["vector"] for row in all_rows[:20]]
    for more in (", namespace: mine", ", filter: {n: 40}, namespace: mine"):
        here = found("local", queries, env, data, more)
        assert any(here), more
        lib.equal(found("qdrant", queries, env, data, more), here, more)
    plain = found("qdrant", queries, env, data, metadata=False)  # of all namespaces: ids are the rows' all the same
    assert all(len(hits) == 5 and hits[0][0] == all_rows[n]["id"] for n, hits in enumerate(plain)), plain
    ids = server.collections["docs"]["points"]
    assert 1 in ids and "00000000-0000-0000-0000-000000000002" in ids and 10 not in ids, "own ids stay, but for those in a namespace"


def test_batches_and_busy_servers():
    server = Qdrant(busy=2)
    done = load("docs", write(rows(1000)), "--to", "qdrant://" + server.url[7:], "--metric", "euclid")
    lib.equal(done.returncode, 0, done.stderr)
    lib.equal([(m, p, len(b["points"]) if b and "points" in b else 0) for m, p, b in server.asked],
              [("GET", "/collections/docs", 0)] * 3 + [("PUT", "/collections/docs", 0)]
              + [("PUT", "/collections/docs/points?wait=true", n) for n in (256, 256, 256, 232)])
    lib.equal(server.collections["docs"]["vectors"]["distance"], "Euclid")


def test_texts_become_vectors_on_the_way():
    mock, server = lib.mock(), Qdrant()
    done = load("docs", write([{"id": "a", "text": "alpha"}, {"id": "b", "text": "beta"}]), "--to", server.url, "--embed", "openai/e",
                env={"OPENAI_BASE_URL": mock.url("mock") + "/v1", "OPENAI_API_KEY": "k"})
    lib.equal(done.returncode, 0, done.stderr)
    lib.equal(sorted(p["payload"]["text"] for p in server.collections["docs"]["points"].values()), ["alpha", "beta"])


def test_what_goes_wrong_is_said():
    server = Qdrant()
    server.collections["three"] = {"vectors": {"size": 3, "distance": "Dot"}, "points": {}}
    server.collections["named"] = {"vectors": {"a": {"size": 8, "distance": "Dot"}}, "points": {}}
    good, secret = write(rows(3)), {"QDRANT_URL": server.url}
    faults = (
        (("docs", good, "--to", "qdrant"), {}, 2, "QDRANT_URL is not set"),
        (("docs", good, "--to", "pgvector"), {}, 2, "PGVECTOR_URL is not set"),
        (("docs", good, "--to", "pinecone"), {}, 2, '"pinecone" is not known; give local, qdrant, pgvector or a server\'s URL'),
        (("docs", good, "--to", "qdrant"), {"QDRANT_URL": "ftp://x"}, 2, "is no URL of a Qdrant server"),
        (("docs", good, "--to", "http://127.0.0.1:1"), {}, 1, "cannot reach http://127.0.0.1:1"),
        (("three", good, "--to", "qdrant"), secret, 2, "three: collection three has 3 dimensions, the rows 8"),
        (("named", good, "--to", "qdrant"), secret, 2, "single, unnamed vector"),
        (("docs", good + ".none", "--to", "qdrant"), secret, 1, "cannot be opened"),
        (("docs", good, "--to", "qdrant", "--metric", "far"), secret, 2, "--metric"),
        (("docs", write(rows(300) + [{"id": "x", "vector": [1]}]), "--to", "qdrant"), secret, 1, "rows.jsonl:301: the vector has 1 dimensions"),
        (("docs", good, "--to", "postgres://me:hush-hush@127.0.0.1:1/x"), {}, 1, "127.0.0.1"))
    for args, env, code, text in faults:
        done = load(*args, env=env)
        lib.equal(done.returncode, code, done.stderr)
        lib.contains(done.stderr, text)
        assert "hush-hush" not in done.stderr and done.stdout == "", done
    lib.equal(len(server.collections["docs"]["points"]), 256, "the batches before the fault")
    for args in (("list",), ("drop", "docs"), ("search", "docs", "[1]")):
        done = lib.run("flow", "collection", *args, "--to", "qdrant", env=secret)
        lib.equal((done.returncode, "--to: is for load" in done.stderr), (2, True), done.stderr)


def test_a_terminal_sees_how_far_it_is():
    server = Qdrant()
    ours, theirs = pty.openpty()
    done = subprocess.Popen([lib.BINARY, "flow", "collection", "load", "docs", write(rows(600)), "--to", server.url],
                            env=lib.environment(), stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    lib.equal((done.wait(20), done.stdout.read()), (0, b"docs: 600 rows loaded\n"))
    for count in (b"docs: 256 rows", b"docs: 512 rows", b"docs: 600 rows"):
        lib.contains(shown, count)
    assert shown.endswith(b"\033[K"), shown


lib.main(globals())
