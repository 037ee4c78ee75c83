#!/usr/bin/env python3
"""`sightline flow collection`: load, list, search, drop; JSON lines, CSV, embeddings; faults with their places."""
import json
import os

import lib

ROWS = """\
{"id": "a", "vector": [1, 0], "metadata": {"text": "alpha", "year": 2019}}
{"id": "b", "vector": [0, 1], "metadata": {"text": "beta", "year": 2021}}

{"id": 3, "vector": [1, 1], "metadata": {"text": "gamma", "year": 2023}}
{"id": "a", "vector": [1, 0], "namespace": "other"}
"""

FOLDERS = [""]  # of the test that runs: each test's are removed behind it


def folder():
    if not os.path.isdir(FOLDERS[0]):
        FOLDERS[0] = lib.tmp()
    return FOLDERS[0]


def write(name, text):
    path = os.path.join(folder(), name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def collection(*args, data="collections", **options):
    return lib.run("flow", "collection", *args, "--data-dir", os.path.join(folder(), data), **options)


def ids(*args, data="collections", **options):
    done = collection("search", *args, "--format", "json", data=data, **options)
    lib.equal((done.returncode, done.stderr), (0, ""))
    return [hit["id"] for hit in json.loads(done.stdout)]


def test_the_life_of_a_collection():
    done = collection("load", "k", write("rows.jsonl", ROWS))
    lib.equal((done.returncode, done.stdout, done.stderr), (0, "k: 4 rows loaded\n", ""))
    listed = json.loads(collection("list", "--format", "json").stdout)
    lib.equal(listed, [{"name": "k", "dimensions": 2, "metric": "cosine", "rows": 4}])
    lib.equal(ids("k", "[1, 0.1]"), ["a", "3", "b"])
    lib.equal(ids("k", "[1, 0.1]", "--top-k", "1"), ["a"])
    lib.equal(ids("k", "[1, 0.1]", "--filter", '{"year": {"$gt": 2020}}'), ["3", "b"])
    lib.equal(ids("k", "[1, 0.1]", "--namespace", "other"), ["a"])
    done = collection("search", "k", "[1, 0]", "--top-k", "1", "--vectors", "--format", "json")
    lib.equal(json.loads(done.stdout), [{"id": "a", "score": 1.0, "metadata": {"text": "alpha", "year": 2019},
                                         "vector": [1.0, 0.0]}])
    lib.contains(collection("search", "k", "[1, 0]").stdout, '1.000000  a  {"text":"alpha","year":2019}')
    done = collection("load", "k", write("more.jsonl", '{"id": "b", "vector": [2, 0.1]}\n'))
    lib.equal(done.returncode, 0)
    lib.equal(ids("k", "[1, 0.05]"), ["b", "a", "3"])
    lib.equal(collection("drop", "k").stdout, "k: dropped\n")
    lib.equal(collection("drop", "k").returncode, 1)
    lib.equal(collection("list", "--format", "json").stdout, "[]\n")


def test_metric_is_kept():
    path = write("metric.jsonl", '{"id": "a", "vector": [1]}\n')
    lib.equal(collection("load", "m", path, "--metric", "dot", data="metric").returncode, 0)
    lib.equal(collection("load", "m", path, data="metric").returncode, 0)
    done = collection("load", "m", path, "--metric", "euclid", data="metric")
    lib.equal(done.returncode, 2)
    lib.contains(done.stderr, "it is there already, with 1 dimensions and metric dot")


def test_csv_and_standard_input():
    table = 'id,vector,year,text\na,"[1,0]",2019,"alpha, ""first"""\nb,"[0,1]",2021,beta\n'
    lib.equal(collection("load", "t", write("t.csv", table), data="csv").returncode, 0)
    done = collection("search", "t", "[1, 0]", "--format", "json", data="csv")
    lib.equal(json.loads(done.stdout)[0], {"id": "a", "score": 1.0, "metadata": {"year": 2019, "text": 'alpha, "first"'}})
    done = collection("load", "t", "-", data="csv", stdin='{"id": "c", "vector": [3, 3]}\n')
    lib.equal(done.stdout, "t: 1 rows loaded\n")


def test_faults_have_their_places():
    for number, (text, says) in enumerate([
            ('{"vector": [1, 0]}\n{"vector": [1]}\n', ":2: the vector has 1 dimensions, the collection 2"),
            ('{"vector": [1, 0]}\nnonsense\n', ":2: "),
            ('{"vector": [1, "x"]}\n', ":1: the vector holds something that is no number"),
            ('{"vector": [1e999]}\n', ":1: "),
            ('{"text": "hello"}\n', ":1: the row has no vector; use --embed"),
            ('\n\n{"id": ""}\n', ":3: the row has neither vector nor text"),
            ('{"id": "", "vector": [1]}\n', ":1: the id must have"),
    ]):
        path = write(f"fault-{number}.jsonl", text)
        done = collection("load", f"f{number}", path, data="faults")
        lib.equal(done.returncode, 1, text)
        lib.contains(done.stderr, path + says)


def test_usage():
    for args, says in [((), "what to do is missing"), (("fly",), '"fly" is not known'), (("load", "k"), "give `sightline"),
                       (("search", "k"), "give `sightline"), (("drop",), "give `sightline"),
                       (("search", "k", "hello"), "for a text use --embed"),
                       (("search", "k", "[1]", "--filter", "{"), "--filter: it is no JSON object"),
                       (("search", "k", "[1]", "--filter", '{"$x":1}'), "--filter: filter: $x"),
                       (("load", "k", "x", "--metric", "far"), "--metric: must be"),
                       (("load", "k", "x", "--embed", "model"), "must be PROVIDER/MODEL"),
                       (("list", "--format", "xml"), "is not known; give text or json")]:
        done = collection(*args, data="usage")
        lib.equal(done.returncode, 2, str(args))
        lib.contains(done.stderr, says)
    done = collection("load", "k", "/nonexistent.jsonl", data="usage")
    lib.equal(done.returncode, 1)
    done = collection("search", "nothing", "[1]", data="usage")
    lib.equal(done.returncode, 1)
    lib.contains(done.stderr, 'there is no collection "nothing"')


def test_texts_are_embedded():
    upstream = lib.mock()
    env = {"OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": upstream.url("mock") + "/v1"}
    rows = "".join(json.dumps({"id": str(i), "text": f"text number {i}"}) + "\n" for i in range(300))
    done = collection("load", "e", write("texts.jsonl", rows), "--embed", "openai/mock-embedding", data="embed", env=env)
    lib.equal((done.returncode, done.stderr), (0, ""))
    lib.equal(json.loads(collection("list", "--format", "json", data="embed").stdout)[0]["rows"], 300)
    found = ids("e", "text number 7", "--embed", "openai/mock-embedding", "--top-k", "1", data="embed", env=env)
    lib.equal(len(found), 1)
    done = collection("search", "e", "x", "--embed", "nobody/model", data="embed", env=env)
    lib.equal(done.returncode, 2)
    lib.contains(done.stderr, "the provider is not configured")


lib.main(globals())
