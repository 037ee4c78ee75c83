"""vector_search in a real PostgreSQL with pgvector: the same workflow against it, against the engine in this process and
against Qdrant's protocol finds the same rows with the same scores; what goes wrong is said, and tried again where that
may help."""
import json
import os
import random
import subprocess

from checks import Row
from lib import flow, net
from lib.context import expect, expect_eq
from peers import pgvector

ROWS_IN_TABLE, DIMENSIONS, QUERIES, TOP = 3000, 64, 24, 10
RANDOM_FILTERS = 300
LANGUAGES = ("en", "de", "fr")
FILTERS = (
    None, {"lang": "en"}, {"year": {"$gte": 2000, "$lt": 2010}}, {"$or": [{"lang": "fr"}, {"year": {"$lte": 1995}}]},
    {"tags": "t3"}, {"tags": {"$in": ["t1", "t4"]}}, {"lang": {"$ne": "en"}}, {"lang": {"$nin": ["en", "de"]}},
    {"$not": {"lang": "de", "year": {"$gt": 2005}}}, {"deep.er": 7}, {"deep": {"$exists": True}}, {"tags": None},
    {"weight": 0.1}, {"lang": {"$gt": "de"}}, {"nothing": {"$ne": 1}}, {"lang": "'; DROP TABLE docs; --"})
# One search for each of `queries`, in a loop, several at once.
WORKFLOW = """name: searches
steps:
  - id: each
    type: loop
    items: "{{ inputs.queries }}"
    max_concurrency: 12
    steps:
      - id: find
        type: vector_search
        database: "{{ inputs.database }}"
        index: "{{ inputs.index }}"
        query: "{{ item.vector }}"
        filter: "{{ item.filter }}"
        top_k: %d
%s        output: [hits, about]
"""
# A single search, for what goes wrong; `%s` are more keys.
ONE = """name: one
steps:
  - id: find
    type: vector_search
    database: pgvector
    index: %s
    query: [%s]
%s    output: [hits]
"""
# A search, a pause, the same search on the same connection.
TWICE = """name: twice
steps:
  - {id: first, type: vector_search, database: pgvector, index: docs, query: "{{ inputs.vector }}", output: [hits]}
  - {id: pause, type: action, depends_on: first, action: sleep, seconds: 6}
  - {id: second, type: vector_search, depends_on: pause, database: pgvector, index: docs, query: "{{ inputs.vector }}", output: [hits]}
"""


def documents():
    """Rows of every kind of metadata that filters know; numbers that float32 holds."""
    rng = random.Random(20240607)
    rows = []
    for n in range(ROWS_IN_TABLE):
        metadata = {"text": "document %d" % n, "lang": LANGUAGES[n % 3], "year": 1990 + n % 35, "weight": n % 7 / 10}
        if n % 4:
            metadata["tags"] = ["t%d" % (n % 5), "t%d" % (n % 6)]
        if n % 10 == 0:
            metadata["deep"] = {"er": n % 8}
        if n % 7:
            metadata["flag"] = (True, False, None)[n % 3]
        metadata["mixed"] = ("3", 3, 3.0, ["3", 4.5, None], None, [], {"er": 3})[n % 7]
        rows.append({"id": "d%05d" % n, "vector": [rng.randint(-999, 999) / 1024 for _ in range(DIMENSIONS)],
                     "metadata": metadata})
    return rows


def random_filter(rng, depth=0):
    """Any filter that the format has; many let some rows pass and some not."""
    kind = rng.randint(0, 9)
    if kind == 0 and depth < 3:
        return {"$not": random_filter(rng, depth + 1)}
    if kind <= 2 and depth < 3:
        return {rng.choice(("$and", "$or")): [random_filter(rng, depth + 1) for _ in range(rng.randint(1, 3))]}
    key = rng.choice(("lang", "year", "tags", "deep.er", "mixed.er", "flag", "mixed", "weight", "text", "none"))
    values = ("en", "de", "t1", "t3", 3, 3.0, 4.5, 0.1, 2005, 1990, True, False, None, "3", "")
    ordered = [v for v in values if isinstance(v, (str, int, float)) and not isinstance(v, bool)]
    name = rng.choice(("$eq", "$ne", "$in", "$nin", "$gt", "$gte", "$lt", "$lte", "$exists", ""))
    if name in ("$in", "$nin"):
        return {key: {name: rng.sample(values, rng.randint(0, 4))}}
    if name == "$exists":
        return {key: {name: rng.random() < 0.5}}
    value = rng.choice(ordered if name in ("$gt", "$gte", "$lt", "$lte") else values)
    return {key: {name: value} if name else value}


def sql_text(value):
    return "'" + value.replace("'", "''") + "'"


def fill(server, rows):
    """The same rows as a plain table, as LlamaIndex and LangChain make theirs, and without a column of metadata."""
    values = ",\n".join("(%s, %s, %s, '%s')" % (
        sql_text(r["id"]), sql_text(r["metadata"]["text"]),
        sql_text(json.dumps({k: v for k, v in r["metadata"].items() if k != "text"})), json.dumps(r["vector"])) for r in rows)
    server.ask("""CREATE SCHEMA extensions; CREATE EXTENSION vector SCHEMA extensions;
        SET search_path = public, extensions;
        CREATE TABLE docs (id text PRIMARY KEY, content text, metadata jsonb, embedding vector(%(n)d));
        INSERT INTO docs VALUES %(values)s;
        CREATE TABLE data_llama (id bigserial PRIMARY KEY, text varchar NOT NULL, metadata_ json, node_id varchar,
            embedding vector(%(n)d));
        INSERT INTO data_llama (text, metadata_, node_id, embedding) SELECT content, metadata::json, id, embedding FROM docs;
        CREATE TABLE langchain_pg_collection (uuid uuid PRIMARY KEY, name varchar, cmetadata json);
        CREATE TABLE langchain_pg_embedding (id varchar PRIMARY KEY, collection_id uuid, embedding vector,
            document varchar, cmetadata jsonb);
        INSERT INTO langchain_pg_collection VALUES ('00000000-0000-0000-0000-000000000001', 'mine', NULL),
            ('00000000-0000-0000-0000-000000000002', 'other', NULL);
        INSERT INTO langchain_pg_embedding SELECT id, '00000000-0000-0000-0000-000000000001', embedding, content, metadata
            FROM docs;
        INSERT INTO langchain_pg_embedding SELECT 'other-' || id, '00000000-0000-0000-0000-000000000002', embedding,
            content, metadata FROM docs;
        CREATE SCHEMA "My Schema";
        CREATE TABLE %(plain)s ("Key" varchar PRIMARY KEY, text text, lang text, year int, weight numeric,
            tags jsonb, deep jsonb, "Vec" vector(%(n)d), unused bytea);
        INSERT INTO %(plain)s SELECT id, content, metadata->>'lang', (metadata->>'year')::int,
            (metadata->>'weight')::numeric, metadata->'tags', metadata->'deep', embedding FROM docs;
        CREATE TABLE near (LIKE docs INCLUDING ALL); INSERT INTO near SELECT * FROM docs;
        CREATE INDEX ON near USING hnsw (embedding vector_l2_ops);
        CREATE VIEW slow AS SELECT docs.* FROM docs, pg_sleep(20);
        ANALYZE;""" % {"n": DIMENSIONS, "values": values, "plain": '"My Schema"."Plain ""table"""'})


class Bench:
    def __init__(self, ctx):
        self.ctx = ctx
        self.rows = documents()
        self.server = pgvector.Server(ctx, pgvector.install(), settings=["log_statement=all"])
        fill(self.server, self.rows)
        self.data = ctx.folder("data")
        path = ctx.write("docs.jsonl", "".join(json.dumps(r) + "\n" for r in self.rows))
        for name, metric in (("docs", "cosine"), ("docs-dot", "dot"), ("docs-euclid", "euclid")):
            ctx.run([ctx.sightline, "flow", "collection", "load", name, path, "--metric", metric, "--data-dir", self.data])
        self.qdrant = ctx.own(flow.Upstream({"docs": self.rows}))
        rng = random.Random(7)
        self.queries = [{"vector": [rng.randint(-999, 999) / 1024 for _ in range(DIMENSIONS)],
                         "filter": FILTERS[n % len(FILTERS)]} for n in range(QUERIES)]

    def env(self, **url):
        return {"PGVECTOR_URL": self.server.url(**url), "QDRANT_URL": self.qdrant.url}

    def search(self, database, index, more="", queries=None):
        """The hits of every query."""
        path = self.ctx.write("searches.yaml", WORKFLOW % (TOP, more))
        inputs = {"database": database, "index": index, "queries": queries or self.queries}
        run = flow.Run(self.ctx, path, inputs, self.env(), ["--data-dir", self.data])
        expect_eq(run.report["status"], "succeeded", "%s %s (%s)" % (database, index, run.report["error"]))
        return run.report["outputs"]["each"]

    def one(self, index="docs", dims=DIMENSIONS, more="", env=None, **url):
        path = self.ctx.write("one.yaml", ONE % (index, ", ".join(["0.5"] * dims), more))
        return flow.Run(self.ctx, path, {}, env or self.env(**url))


def hits_of(results):
    """What the loop gives: each round's hits, by whatever name."""
    rounds = results["results"] if isinstance(results, dict) and "results" in results else results
    return [r["hits"] if isinstance(r, dict) and "hits" in r else r for r in rounds]


def same_hits(seen, wanted, what, metadata=True):
    expect_eq(len(seen), len(wanted), "number of searches of " + what)
    for n, (a, b) in enumerate(zip(seen, wanted)):
        name = "%s, query %d" % (what, n)
        expect_eq([h["id"] for h in a], [h["id"] for h in b], "ids of %s" % name)
        for x, y in zip(a, b):
            expect(abs(x["score"] - y["score"]) < 2e-6, "%s: score of %s: %r and %r" % (name, x["id"], x["score"], y["score"]))
            if metadata:
                expect_eq(x["metadata"], y["metadata"], "metadata of %s, %s" % (name, x["id"]))


def check_same(b):
    """Everything finds what the engine in this process finds."""
    wanted = hits_of(b.search("local", "docs"))
    expect(any(not hits for hits in wanted) and sum(len(h) == TOP for h in wanted) > QUERIES / 2, "the filters tell nothing apart")
    same_hits(hits_of(b.search("pgvector", "docs")), wanted, "docs")
    same_hits(hits_of(b.search("postgresql", "public.docs")), wanted, "public.docs")
    same_hits(hits_of(b.search("pgvector", "data_llama")), wanted, "LlamaIndex's table")
    same_hits(hits_of(b.search("pgvector", "langchain_pg_embedding", "        namespace: mine\n")), wanted, "LangChain's table")
    plain = [[dict(h, metadata={k: h["metadata"].get(k) for k in ("lang", "year", "weight", "tags", "deep", "text")}) for h in hits]
             for hits in wanted]
    same_hits(hits_of(b.search("pgvector", 'My Schema.Plain "table"')), plain, "a table without metadata")
    rng = random.Random(99)
    chance = [{"vector": rng.choice(b.queries)["vector"], "filter": random_filter(rng)} for _ in range(RANDOM_FILTERS)]
    same_hits(hits_of(b.search("pgvector", "docs", queries=chance)), hits_of(b.search("local", "docs", queries=chance)), "chance")
    for metric in ("dot", "euclid"):
        same_hits(hits_of(b.search("pgvector", "docs", "        metric: %s\n" % metric)),
                  hits_of(b.search("local", "docs-" + metric)), metric)
    bare = [dict(q, filter=None) for q in b.queries]
    same_hits(hits_of(b.search("qdrant", "docs", queries=bare)), hits_of(b.search("pgvector", "docs", queries=bare)), "Qdrant")
    expect(len(b.qdrant.asked("/points/query")) == QUERIES, "Qdrant's protocol was not spoken")
    return bare


def check_index(b, bare):
    """An HNSW index: its metric is found, and a wide search finds nearly all; connections stay few."""
    exact = hits_of(b.search("local", "docs-euclid", queries=bare))
    seen = hits_of(b.search("pgvector", "near", "        ef_search: 400\n", queries=bare))
    found = sum(h["id"] in {w["id"] for w in wanted} for hits, wanted in zip(seen, exact) for h in hits)
    expect(found >= 0.95 * TOP * QUERIES, "HNSW found %d of %d" % (found, TOP * QUERIES))
    log = open(b.server.process.log).read()
    expect("SET LOCAL hnsw.ef_search = 400" in log, "ef_search was not set")
    expect("DROP TABLE docs" not in "".join(x for x in log.splitlines() if "execute" in x and "DETAIL" not in x), "a value stood in a statement")
    return found / (TOP * QUERIES)


def attributes(span):
    return {a["key"]: next(iter(a["value"].values())) for a in span["attributes"]}


def check_span(b):
    run = b.one(more="    top_k: 3\n")
    spans = [s for s, _, _ in run.spans if s.get("kind") == 3]
    expect_eq(len(spans), 1, "client spans")
    seen = attributes(spans[0])
    wanted = {"db.system.name": "postgresql", "db.operation.name": "SELECT", "db.collection.name": "docs",
              "db.namespace": "postgres", "server.address": "127.0.0.1", "server.port": str(b.server.port),
              "db.response.returned_rows": "3"}
    expect_eq({k: str(seen.get(k)) for k in wanted}, wanted, "attributes")
    expect_eq(spans[0]["name"], "SELECT docs", "name of the span")
    step = next(s for s, _, _ in run.spans if s["name"] == "step.execute:find")
    expect_eq(spans[0]["parentSpanId"], step["spanId"], "its parent")


def fails(run, says, tries=1, error=None):
    step = run.step("find")
    expect_eq(step["status"], "failed", "status (%s)" % step)
    expect(says in (step["error"] or ""), "error: expected '%s', saw '%s'" % (says, step["error"]))
    expect_eq(step["attempts"], tries, "tries after: %s" % step["error"])
    expect("secret" not in json.dumps(run.report) + json.dumps(run.spans), "the password is told")
    if error:
        span = next(s for s, _, _ in run.spans if s.get("kind") == 3)
        expect_eq(attributes(span).get("error.type"), error, "error.type of the span")


RETRY = "    retry: {max_attempts: 2, initial_delay_ms: 10}\n"


def check_faults(b):
    fails(b.one(more=RETRY, password="wrong-secret"), "password authentication failed", 1, "28P01")
    fails(b.one(more=RETRY, user="nobody"), "password authentication failed")
    fails(b.one(more=RETRY, database="nowhere"), 'database "nowhere" does not exist', 1, "3D000")
    fails(b.one("nothing", more=RETRY), 'there is no table "nothing" in database "postgres"')
    fails(b.one("langchain_pg_collection", more=RETRY), "has no column of type vector")
    fails(b.one(dims=3, more=RETRY), "the query has 3 dimensions")
    fails(b.one(more=RETRY, options="?sslmode=require"), "server does not support SSL")
    fails(b.one("slow", more=RETRY, options="?options=-c%20statement_timeout%3D300"), "statement timeout", 3, "57014")
    b.server.ask("CREATE ROLE guest LOGIN PASSWORD '%s'; GRANT USAGE ON SCHEMA extensions TO guest" % pgvector.PASSWORD)
    fails(b.one(more=RETRY, user="guest"), "permission denied for table docs", 1, "42501")


def busy(b):
    return b.server.ask("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%\"slow\"%'"
                        " AND pid <> pg_backend_pid()") == "1"


def check_cancel(b):
    """A step's own time limit ends the search on the server, too."""
    run = b.one("slow", more="    timeout_seconds: 0.7\n")
    fails(run, "")
    expect(run.seconds < 5, "the run took %.1f s" % run.seconds)
    net.until("end of the cancelled search", 5, lambda: not busy(b))
    expect("canceling statement due to user request" in open(b.server.process.log).read(), "it was not cancelled")


def background(b, name, text, inputs):
    path = b.ctx.write(name + ".yaml", text)
    record = os.path.join(b.ctx.dir, name + ".jsonl")
    argv = [b.ctx.sightline, "run", path, "-i", json.dumps(inputs), "--format", "json"]
    env = b.ctx.environment(dict(flow.file_env(record, "traces"), **b.env()))
    return subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL), record


def check_lost(b):
    """A connection that is ended while it works, or while it is idle; a server that is gone."""
    p, _ = background(b, "killed", ONE % ("slow", ", ".join(["0.5"] * DIMENSIONS), RETRY), {})
    for _ in range(3):
        net.until("the search on the server", 10, lambda: busy(b))
        b.server.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'active'"
                     " AND query LIKE '%\"slow\"%' AND pid <> pg_backend_pid()")
    step = json.loads(p.communicate(timeout=30)[0])["steps"][0]
    expect("administrator command (SQLSTATE 57P01)" in step["error"] and step["attempts"] == 3, "a killed search: %s" % step)
    vector = b.queries[0]["vector"]
    p, record = background(b, "twice", TWICE, {"vector": vector})
    net.until("the first search", 10, lambda: b.server.ask(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sightline' AND state = 'idle'") == "1")
    b.server.stop()
    b.server.start()
    report = json.loads(p.communicate(timeout=30)[0])
    expect_eq(report["status"], "succeeded", "a search after the server came back (%s)" % report["error"])
    expect_eq(report["outputs"]["first"], report["outputs"]["second"], "what it found")
    events = [e["name"] for s, _, _ in flow.read_spans(record) for e in s.get("events", [])]
    expect("reconnected" in events, "no connection was made anew: %s" % events)
    b.server.stop()
    fails(b.one(more=RETRY), "Connection refused", 3)


def load(b, table, rows, *options, env=None, code=0):
    """`flow collection load --to`: what it says."""
    path = b.ctx.write("load.jsonl", "".join(json.dumps(r) + "\n" for r in rows))
    done = subprocess.run([b.ctx.sightline, "flow", "collection", "load", table, path, "--to", "pgvector", *options], capture_output=True,
                          text=True, timeout=120, env=b.ctx.environment(env or b.env()))
    expect_eq(done.returncode, code, "status of a load into %s (%s)" % (table, done.stderr))
    return done.stderr if code else done.stdout


def count_of(b, table):
    return int(b.server.ask("SELECT count(*) FROM %s" % table))


def check_loads(b):
    """What `flow collection load --to pgvector` puts there is found as what the engine in this process has: in tables that it
    makes, and in those of LlamaIndex, of LangChain, and with a column for the text. Again, it replaces."""
    wanted = hits_of(b.search("local", "docs"))
    near = hits_of(b.search("local", "docs-euclid"))
    expect_eq(load(b, "loaded", b.rows), "loaded: %d rows loaded\n" % ROWS_IN_TABLE, "the first load")
    load(b, "public.loaded", b.rows[:700] + [dict(b.rows[5], vector=[1] * DIMENSIONS), b.rows[5]])
    expect_eq(count_of(b, "loaded"), ROWS_IN_TABLE, "rows after the second load")
    b.server.ask("CREATE SCHEMA extra")
    load(b, "extra.Near by", b.rows, "--metric", "euclid")
    same_hits(hits_of(b.search("pgvector", "loaded")), wanted, "a table that was made")
    same_hits(hits_of(b.search("pgvector", "extra.Near by")), near, "a table by distance")
    load(b, "products", b.rows[:300], "--metric", "dot")
    b.server.ask('SET search_path = public, extensions; CREATE INDEX ON products USING hnsw (embedding vector_ip_ops)')
    load(b, "products", b.rows, "--metric", "dot")
    bare = [dict(q, filter=None) for q in b.queries]
    found, right = hits_of(b.search("pgvector", "products", queries=bare)), hits_of(b.search("local", "docs-dot", queries=bare))
    share = sum(len({h["id"] for h in x} & {h["id"] for h in y}) for x, y in zip(found, right)) / (TOP * QUERIES)
    expect(share > 0.5, "HNSW of a loaded table finds %.2f" % share)
    b.server.ask("""SET search_path = public, extensions;
        CREATE TABLE data_mine (id bigserial PRIMARY KEY, text varchar NOT NULL, metadata_ json, node_id varchar, embedding vector(%(n)d));
        CREATE TABLE langchain (langchain_id varchar PRIMARY KEY, content text NOT NULL, embedding vector(%(n)d) NOT NULL, langchain_metadata json);
        CREATE TABLE bare (id text PRIMARY KEY, embedding vector(%(n)d))""" % {"n": DIMENSIONS})
    for table in ("data_mine", "langchain"):
        for part in (b.rows, b.rows[100:600]):
            load(b, table, part)
        expect_eq(count_of(b, table), ROWS_IN_TABLE, "rows of " + table)
    same_hits(hits_of(b.search("pgvector", "data_mine")), wanted, "LlamaIndex's table, loaded")
    expect_eq(b.server.ask("SELECT content, langchain_metadata::jsonb ? 'text' FROM langchain WHERE langchain_id = 'd00007'"), "document 7\tf",
              "a row of LangChain's")
    load(b, "loaded", [dict(r, namespace="mine") for r in b.rows[:50]])
    load(b, "data_mine", [dict(r, id="n" + r["id"], namespace="mine") for r in b.rows[:50]])
    for table in ("loaded", "data_mine"):
        hits = hits_of(b.search("pgvector", table, "        namespace: mine\n", queries=bare))
        expect(all({h["id"].lstrip("n") for h in x} <= {r["id"] for r in b.rows[:50]} and len(x) == TOP for x in hits), "a namespace of " + table)
    return check_load_faults(b)


def check_load_faults(b):
    b.server.ask("CREATE ROLE reader LOGIN PASSWORD '%s'; CREATE DATABASE empty; CREATE DATABASE theirs;"
                 " GRANT SELECT ON loaded TO reader" % pgvector.PASSWORD)
    row = {"id": "x", "vector": [0.5] * DIMENSIONS, "metadata": {}}
    faults = (
        ("loaded", [dict(row, vector=[1, 2])], (), {}, 2, 'column "embedding" of table "loaded" has 64 dimensions, the rows 2'),
        ("near", [row], ("--metric", "cosine"), {}, 2, 'table "near" is for euclid, not for cosine'),
        ("langchain_pg_embedding", [row], (), {}, 2, "load it by LangChain"),
        ("bare", [row], (), {}, 2, "no column of metadata"),
        ("a.b.c", [row], (), {}, 1, 'schema "a" does not exist'),
        ("x" * 64, [row], (), {}, 2, "1 to 63 bytes"),
        ("loaded", [dict(row, vector=[0] * DIMENSIONS, id="1"), dict(row, vector=[1e300] * DIMENSIONS)], (), {}, 1, "not finite"),
        ("loaded", [row], ("--metric", "dot"), {}, 2, 'table "loaded" is for cosine, not for dot'),
        ("loaded", [row], (), {"user": "reader"}, 1, "permission denied"),
        ("loaded", [row], (), {"password": "wrong"}, 1, "password authentication failed"),
        ("docs", [row], (), {"database": "none"}, 1, 'database "none" does not exist'),
        ("docs", [row], (), {"database": "theirs", "user": "reader"}, 1, "CREATE EXTENSION vector"))
    for table, rows, options, url, code, text in faults:
        said = load(b, table, rows, *options, env=b.env(**url), code=code)
        expect(text in said and pgvector.PASSWORD not in said, "%s: %s" % (text, said))
    expect_eq(load(b, "docs", [row], env=b.env(database="empty")), "docs: 1 rows loaded\n", "a load that makes the extension")
    expect_eq(count_of(b, "loaded"), ROWS_IN_TABLE + 50, "rows after what went wrong")
    return len(faults)


def run_all(ctx):
    b = Bench(ctx)
    bare = check_same(b)
    share = check_index(b, bare)
    loads = check_loads(b)
    check_span(b)
    check_faults(b)
    check_cancel(b)
    check_lost(b)
    return "%d rows, %d searches each in 5 tables, 3 metrics: the same ids and scores as in process and by Qdrant's protocol; " \
           "%d random filters; HNSW %.0f %%; 15 faults; `collection load` into 5 tables, %d faults" % (
               ROWS_IN_TABLE, QUERIES, RANDOM_FILTERS, 100 * share, loads)


def run_tls(ctx):
    """A server with a certificate of a private authority: what sslmode and sslrootcert say holds."""
    for name, subject in (("ca", "/CN=interop authority"), ("wrong", "/CN=somebody else")):
        ctx.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                 "-subj", subject, "-keyout", name + ".key", "-out", name + ".pem"])
    ctx.run(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost",
             "-keyout", "server.key", "-out", "server.csr"])
    ctx.write("names", "subjectAltName=DNS:localhost\n")
    ctx.run(["openssl", "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
             "-extfile", "names", "-out", "server.pem"])
    files = {name: os.path.join(ctx.dir, name) for name in ("ca.pem", "wrong.pem", "server.pem", "server.key")}
    server = pgvector.Server(ctx, pgvector.debian(), "debian", [
        "ssl=on", "ssl_cert_file=" + files["server.pem"], "ssl_key_file=" + files["server.key"]])
    path = ctx.write("one.yaml", ONE % ("nothing", "0.5", RETRY))

    def ask(host, options):
        url = "postgres://%s:%s@%s:%d/postgres?%s" % (pgvector.USER, pgvector.PASSWORD, host, server.port, options)
        return flow.Run(ctx, path, {}, {"PGVECTOR_URL": url})
    reached = 'there is no table "nothing"'
    fails(ask("localhost", "sslmode=verify-full&sslrootcert=" + files["ca.pem"]), reached)
    fails(ask("127.0.0.1", "sslmode=verify-ca&sslrootcert=" + files["ca.pem"]), reached)
    fails(ask("127.0.0.1", "sslmode=require"), reached)
    fails(ask("127.0.0.1", "sslmode=verify-full&sslrootcert=" + files["ca.pem"]), "does not match host name")
    fails(ask("localhost", "sslmode=verify-full&sslrootcert=" + files["wrong.pem"]), "certificate verify failed")
    fails(ask("localhost", "sslmode=verify-full&sslrootcert=/nowhere.pem"), "does not exist")
    return "verify-full, verify-ca and require connect; a wrong name, a wrong authority and a missing file do not, and are not tried again"


ROWS = [
    Row("pgvector", "quick", "PostgreSQL with pgvector", pgvector.version(),
        "vector_search there, in process and by Qdrant's protocol; loading; faults", run_all, needs=[pgvector.install], limit=120, order=62),
    Row("pgvector-tls", "quick", "PostgreSQL", pgvector.debian_version, "TLS as the connection string says", run_tls,
        needs=[pgvector.debian], limit=60, order=62),
]
