#!/usr/bin/env python3
"""vector_search in PostgreSQL as a user meets it: `sightline run` with PGVECTOR_URL, against a server that speaks just enough."""
import ctypes
import json
import os
import socket
import struct
import threading

import lib

STEP = "name: find\nsteps:\n  - {id: s, type: vector_search, database: pgvector, index: docs, query: [1.0, 0.5], output: [hits, about]%s}\n"
RETRY = ", retry: {max_attempts: 2, initial_delay_ms: 1}"
COLUMNS = [("id", "text", "-1"), ("content", "text", "-1"), ("metadata", "jsonb", "-1"), ("embedding", "vector", "2")]
FOUND = [(b"a", b"0.25", b'{"lang": "en"}', b"alpha", None, b"20"), (b"b", b"0.5", b"{}", None, None, b"3")]


def need_libpq():
    try:
        ctypes.CDLL("libpq.so.5")
    except OSError:
        raise lib.Skip("libpq.so.5 is not installed")


def message(kind, body=b""):
    return kind + struct.pack("!I", len(body) + 4) + body


def row(values):
    return message(b"D", struct.pack("!H", len(values)) + b"".join(
        struct.pack("!i", -1) if v is None else struct.pack("!I", len(v)) + v for v in values))


def head(count):
    return message(b"T", struct.pack("!H", count) + b"c\0" + (struct.pack("!IHIhiH", 0, 0, 25, -1, -1, 0) + b"c\0") * (count - 1)
                   + struct.pack("!IHIhiH", 0, 0, 25, -1, -1, 0))


def fault(severity, state, text):
    fields = (b"S" + severity, b"V" + severity, b"C" + state, b"M" + text)
    return message(b"E", b"".join(f + b"\0" for f in fields) + b"\0")


class Server:
    """PostgreSQL's protocol 3 for one table. `refusals`: what the next searches are answered instead, (state, text); a
    state 28P01 refuses the connection."""

    def __init__(self, refusals=()):
        self.refusals, self.searches, self.values = list(refusals), [], []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def url(self):
        return "postgres://me:hush-hush@127.0.0.1:%d/library?gssencmode=disable&sslmode=disable" % self.port

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(connection.makefile("rwb"),), daemon=True).start()

    def serve(self, file):
        size = struct.unpack("!I", file.read(4))[0]
        file.read(size - 4)
        if self.refusals and self.refusals[0][0] == b"28P01":
            file.write(fault(b"FATAL", *self.refusals.pop(0)))
            return file.close()
        ready = message(b"Z", b"I")
        file.write(message(b"R", struct.pack("!I", 0)) + message(b"K", struct.pack("!II", 1, 2)) + ready)
        file.flush()
        query = ""
        while True:
            kind = file.read(1)
            if kind in (b"", b"X"):
                return file.close()
            body = file.read(struct.unpack("!I", file.read(4))[0] - 4)
            if kind == b"P":
                query = body.split(b"\0")[1].decode()
            elif kind == b"B":
                self.values.append(body)
            elif kind == b"S":
                file.write(message(b"1") + message(b"2") + self.answer(query) + ready)
                file.flush()

    def answer(self, query):
        end = message(b"C", b"SELECT 1\0")
        if query.startswith("SELECT n.nspname"):
            rows = [[b"public", b"docs", n.encode(), t.encode(), b"public", d.encode(), b"", b"f"] for n, t, d in COLUMNS]
            return head(8) + b"".join(map(row, rows)) + end
        self.searches.append(query)
        if self.refusals:
            return fault(b"ERROR", *self.refusals.pop(0))
        return head(6) + b"".join(map(row, FOUND)) + end


def run(url, more="", env=None):
    path = os.path.join(lib.tmp(), "flow.yaml")
    with open(path, "w") as file:
        file.write(STEP % more)
    record = os.path.join(lib.tmp(), "spans.jsonl")
    env = dict({"PGVECTOR_URL": url, "OTEL_TRACES_EXPORTER": "file", "SIGHTLINE_EXPORTER_FILE": record}, **(env or {}))
    done = lib.run("run", path, "--format", "json", "-q", env=env)
    spans = open(record).read() if os.path.exists(record) else ""
    assert "hush-hush" not in done.stdout + done.stderr + spans, "the password is told"
    return done, json.loads(done.stdout) if done.stdout else None, spans


def test_rows_are_found():
    need_libpq()
    server = Server()
    done, report, spans = run(server.url(), ", top_k: 2, filter: {lang: \"x'; --\"}")
    lib.equal(done.returncode, 0)
    lib.equal(report["outputs"]["s"]["hits"], [
        {"id": "a", "score": 0.75, "metadata": {"lang": "en", "text": "alpha"}, "vector": None},
        {"id": "b", "score": 0.5, "metadata": {}, "vector": None}])
    lib.equal(report["outputs"]["s"]["about"],
              {"count": 2, "top_k": 2, "database": "pgvector", "index": "docs", "metric": "cosine"})
    assert "x';" not in server.searches[0] and b"\"x'; --\"" in server.values[-1], server.searches
    for part in ('"SELECT docs"', '"db.system.name"', '"postgresql"', '"db.namespace"', '"library"', '"server.port"'):
        assert part in spans, (part, spans)


def test_what_may_pass_is_tried_again_and_nothing_else():
    need_libpq()
    server = Server([(b"53300", b"sorry, too many clients already"), (b"40001", b"could not serialize access")])
    lib.equal(run(server.url(), RETRY)[1]["steps"][0]["attempts"], 3)
    for state, text in ((b"42501", "permission denied for table docs"), (b"28P01", "password authentication failed")):
        done, report, spans = run(Server([(state, text.encode())] * 3).url(), RETRY)
        lib.equal(done.returncode, 1)
        lib.equal(report["steps"][0]["attempts"], 1)
        assert text in report["steps"][0]["error"], report
        assert '"%s"' % state.decode() in spans, spans


def test_a_server_that_is_not_there():
    need_libpq()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    report = run("host=127.0.0.1 port=%d password=hush-hush" % port, RETRY)[1]
    lib.equal(report["steps"][0]["attempts"], 3)
    assert "Connection refused" in report["steps"][0]["error"], report


def test_not_configured_is_a_warning():
    done, report, _ = run("")
    lib.equal(done.returncode, 0)
    assert 'database "pgvector" is not configured' in report["outputs"]["s"]["about"]["warning"], report


def test_what_is_no_connection_string_is_said_at_once():
    done, _, _ = run("localhost")
    lib.equal(done.returncode, 2)
    assert "PGVECTOR_URL: is no connection string; give such as" in done.stderr, done.stderr


def test_without_the_client_library_all_else_works():
    folder = lib.tmp()
    open(os.path.join(folder, "libpq.so.5"), "w").close()
    done, report, _ = run("postgres://127.0.0.1:1/d", RETRY, env={"LD_LIBRARY_PATH": folder})
    lib.equal(done.returncode, 1)
    lib.equal(report["steps"][0]["attempts"], 1)
    assert "client library cannot be loaded" in report["steps"][0]["error"], report
    assert "install it (Debian: libpq5)" in report["steps"][0]["error"], report
    lib.equal(lib.run("version", env={"LD_LIBRARY_PATH": folder}).returncode, lib.run("version").returncode)


if __name__ == "__main__":
    lib.main(globals())
