#!/usr/bin/env python3
"""The fake provider: dialects, faults, and a ledger that is exactly what was served."""
import json
import socket
import threading
import urllib.parse

import lib


def ledger(mock):
    return lib.get(mock.url("mock") + "/mock/ledger").json()


def test_chat_unary_and_streamed():
    mock = lib.mock(tokens=7)
    base = mock.url("mock")
    reply = lib.chat(base, headers={"X-Request-Id": "unary-1"})
    lib.equal(reply.status, 200)
    body = reply.json()
    lib.equal(body["usage"]["completion_tokens"], 7)
    lib.equal(body["choices"][0]["finish_reason"], "stop")
    lib.contains(body["choices"][0]["message"]["content"].lower(), "mock")
    reply = lib.chat(base, stream=True, stream_options={"include_usage": True}, headers={"X-Request-Id": "stream-1"})
    frames = lib.events(reply)
    lib.equal(frames[-1], "[DONE]")
    chunks = [json.loads(frame) for frame in frames[:-1]]
    lib.equal(chunks[-1]["usage"]["completion_tokens"], 7)
    text = "".join(c["delta"].get("content") or "" for chunk in chunks for c in chunk["choices"])
    lib.equal(text, body["choices"][0]["message"]["content"])
    seen = {r["id"]: r for r in ledger(mock)["requests"]}
    for name in ("unary-1", "stream-1"):
        lib.equal((seen[name]["completion_tokens"], seen[name]["outcome"]), (7, "ok"))
        lib.equal(seen[name]["model"], "claude-haiku")
    lib.equal(mock.stop(), 0)


def test_no_usage_in_a_stream_unless_asked():
    mock = lib.mock()
    frames = lib.events(lib.chat(mock.url("mock"), stream=True))
    assert not any(json.loads(f).get("usage") for f in frames[:-1])


def test_max_tokens_cuts():
    mock = lib.mock(tokens=16)
    body = lib.chat(mock.url("mock"), max_tokens=3).json()
    lib.equal((body["usage"]["completion_tokens"], body["choices"][0]["finish_reason"]), (3, "length"))


def test_other_endpoints():
    mock = lib.mock(tokens=5)
    base = mock.url("mock")
    body = lib.post(base + "/v1/completions", {"model": "m", "prompt": "a b"}).json()
    lib.equal(body["usage"]["completion_tokens"], 5)
    body = lib.post(base + "/v1/embeddings", {"model": "m", "input": ["a", "b"]}).json()
    lib.equal(body["object"], "list")
    body = lib.post(base + "/v1/messages", {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}).json()
    lib.equal((body["type"], body["usage"]["output_tokens"]), ("message", 5))
    reply = lib.post(base + "/v1/messages", {"model": "m", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "x"}]})
    names = [line[7:] for line in reply.text.split("\n") if line.startswith("event: ")]
    lib.equal((names[0], names[-1]), ("message_start", "message_stop"))
    lib.contains([m["id"] for m in lib.get(base + "/v1/models").json()["data"]], "mock")
    lib.equal(lib.get(base + "/nonsense").status, 404)
    lib.equal(lib.post(base + "/v1/chat/completions", b"{").status, 400)


def test_ledger_is_exact():
    mock = lib.mock(tokens=4)
    done = lib.run("load", "--url", mock.url("mock"), "-n", 500, "-c", 20, "--stream", "--format", "json")
    lib.equal(done.returncode, 0, done.stdout)
    report, book = json.loads(done.stdout), ledger(mock)
    lib.equal(book["served"], 500)
    lib.equal(book["outcomes"]["ok"], 500)
    lib.equal(book["completion_tokens"], report["tokens"])
    lib.equal(len(book["requests"]), 500)
    lib.equal(lib.post(mock.url("mock") + "/mock/reset").status, 200)
    lib.equal(ledger(mock)["served"], 0)


def test_a_client_that_leaves_is_in_the_ledger():
    mock = lib.mock(itl=50, tokens=100)
    parts = urllib.parse.urlsplit(mock.url("mock"))
    body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "x"}]}).encode()
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nX-Request-Id: left\r\n"
                           b"Content-Length: %d\r\n\r\n" % len(body) + body)
        seen = b""
        while seen.count(b"data: ") < 3:
            seen += connection.recv(4096)
    entry = lib.until(lambda: next((r for r in ledger(mock)["requests"] if r["id"] == "left"), None))
    lib.equal(entry["outcome"], "cancelled")
    assert 1 <= entry["completion_tokens"] < 100, entry


def test_faults_one_by_one():
    for kind, check in (("429", lambda r: r.status == 429 and "retry-after" in r.headers), ("500", lambda r: r.status == 500),
                        ("nousage", lambda r: r.status == 200 and "usage" not in r.json()), ("slow", lambda r: r.status == 200),
                        ("split", lambda r: r.status == 200)):
        mock = lib.mock("--fault", f"{kind}=1")
        assert check(lib.chat(mock.url("mock"))), kind
        mock.stop()
    for kind, error in (("reset", "closed"), ("truncate", "closed"), ("badjson", "bad_json"), ("hang", "timeout")):
        mock = lib.mock("--fault", f"{kind}=1")
        for stream in ([], ["--stream"]):
            done = lib.run("load", "--url", mock.url("mock"), "-n", 3, "--timeout", "0.5", "--format", "json", *stream)
            lib.equal((done.returncode, json.loads(done.stdout)["errors"]), (1, {error: 3}), f"{kind} {stream}")
        mock.stop()


def test_a_hanging_request_is_in_the_ledger():
    mock = lib.mock("--fault", "hang=1")
    lib.run("load", "--url", mock.url("mock"), "-n", 2, "--timeout", "0.3")
    lib.until(lambda: ledger(mock)["outcomes"]["hang"] == 2, 5, "two hanging requests in the ledger")


def test_faults_come_at_their_share_and_again_with_the_seed():
    def outcomes(seed):
        mock = lib.mock("--fault", "500=0.2", "--seed", seed)
        lib.run("load", "--url", mock.url("mock"), "-n", 1000, "-c", 1)
        rows = [r["outcome"] for r in sorted(ledger(mock)["requests"], key=lambda r: r["number"])]
        mock.stop()
        return rows

    first, again, other = outcomes(3), outcomes(3), outcomes(4)
    lib.equal(first, again)
    assert first != other
    assert 140 < first.count("500") < 260, first.count("500")


def test_times_are_kept():
    mock = lib.mock(ttft=200, itl=20, tokens=10)
    done = lib.run("load", "--url", mock.url("mock"), "-n", 4, "-c", 4, "--stream", "--format", "json")
    report = json.loads(done.stdout)
    assert 190 <= report["ttft_ms"]["p50"] <= 260 * lib.SLOW, report
    assert 15 <= report["itl_ms"]["p50"] <= 30 * lib.SLOW, report


def test_many_streams_at_once():
    mock = lib.mock(ttft=50, itl=10, tokens=5)
    threads, replies = [], []
    for _ in range(40):
        threads.append(threading.Thread(target=lambda: replies.append(lib.events(lib.chat(mock.url("mock"), stream=True))[-1])))
        threads[-1].start()
    for thread in threads:
        thread.join()
    lib.equal(replies, ["[DONE]"] * 40)


lib.main(globals())
