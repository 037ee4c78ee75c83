#!/usr/bin/env python3
"""Commands that ask a server, in front of servers that are none: broken answers, silence, floods, other services."""
import http.client
import json
import os
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lib  # noqa: E402

BODY = b'{"a": 1}'
# What comes back, whole; None: nothing at all, and the connection stays open.
ANSWERS = {
    "nothing": b"",
    "silence": None,
    "no http": b"hello\r\n\r\n",
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "tls": b"\x15\x03\x01\x00\x02\x02\x28",
    "binary": bytes(range(256)) * 4,
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + BODY,
    "no length": b"HTTP/1.1 200 OK\r\n\r\n" + BODY,
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nContent-Length: 9\r\n\r\n" + BODY,
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + BODY,
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n" + BODY + b"\r\n",
    "status 99": b"HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n",
    "http 9": b"HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "teapot": b"HTTP/1.1 418 I'm a teapot\r\nContent-Length: 0\r\n\r\n",
    "redirect to itself": b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
    "html": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>",
    "other json": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n" + BODY,
    "broken json": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n[{\"a\": 1",
    "deep json": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20000\r\n\r\n" + b"[" * 10000 + b"]" * 10000,
    "strange traces": (lambda body: b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)(json.dumps(
        [{"trace_id": 5, "root": None, "service": [], "start": "x", "duration_ns": -1, "spans": "many", "error": 1}, {}, 7, None]).encode()),
    "terminal commands": (lambda body: b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)(json.dumps(
        [{"trace_id": "0" * 32, "root": "\x1b[2J\x07evil\r\n", "service": "\x9b31m", "start": "2026-01-01T00:00:00Z", "duration_ns": 1, "spans": 1,
          "error": False}]).encode()),
    "an error with terminal commands": (lambda body: b"HTTP/1.1 500 X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)(
        json.dumps({"error": {"message": "\x1b[2J\x07evil\r\n\x9b31m" + "x" * 100, "type": "evil"}}).encode()),
    "a huge head": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300000 + b"\r\nContent-Length: 0\r\n\r\n",
    "a huge length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999\r\n\r\n" + b"x" * 1000,
}


class Peer:
    """A server that gives everybody the same bytes."""

    def __init__(self, answer):
        self.answer = answer
        self.held = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.one, args=(connection,), daemon=True).start()

    def one(self, connection):
        try:
            connection.recv(65536)
            if self.answer is None:
                self.held.append(connection)
                return
            connection.sendall(self.answer)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(2)
            while connection.recv(65536):
                pass
        except OSError:
            pass
        connection.close()

    def close(self):
        self.listener.close()
        for connection in self.held:
            connection.close()


def each_answer(words_of, limit, without=()):
    """Runs the command in front of every answer: it ends in time, tells its reason, and does nothing else."""
    for what, answer in ANSWERS.items():
        if what in without:
            continue
        peer = Peer(answer)
        begun = time.monotonic()
        done = lib.run(*words_of(peer.url), timeout=limit)
        took = time.monotonic() - begun
        peer.close()
        assert done.returncode in (0, 1), (what, done.returncode, done.stderr[-500:])
        assert took < limit * lib.SLOW, (what, took)
        for text in (done.stdout, done.stderr):
            assert "\x1b" not in text and "\x07" not in text and "\x9b" not in text, (what, text[:200])
            assert "Sanitizer" not in text and "Assertion" not in text, (what, text[:2000])
        if done.returncode == 1:
            assert done.stderr.startswith("sightline: ") or done.stdout, (what, done.stderr)
        yield what, done


def test_traces():
    good = {"other json", "strange traces", "terminal commands", "no length"}
    for what, done in each_answer(lambda url: ["traces", "--url", url], 30):
        if what not in good:
            lib.equal(done.returncode, 1, (what, done.stdout[:200]))
            assert "; " in done.stderr or "?" in done.stderr, (what, done.stderr)
    for what, done in each_answer(lambda url: ["traces", "--url", url, "--format", "json"], 30):
        if done.returncode == 0:
            json.loads(done.stdout)


def test_one_trace():
    for _ in each_answer(lambda url: ["traces", "0af7651916cd43dd8448eb211c80319c", "--url", url], 30):
        pass


def test_top():
    for what, done in each_answer(lambda url: ["top", "--once", "--url", url + "/metrics"], 30):
        if what not in ("html", "other json", "no length", "broken json", "deep json", "strange traces", "terminal commands"):
            lib.equal(done.returncode, 1, (what, done.stdout[:200]))


def test_load():
    """What is no answer of a model is an error of a kind that is counted; the report says how many."""
    for what, done in each_answer(lambda url: ["load", "--url", url, "--model", "m", "-n", "2", "-c", "2", "--timeout", "2", "--format", "json"], 30):
        report = json.loads(done.stdout)
        lib.equal(report["sent"], 2, (what, report))
        if what not in ("other json", "html", "no length", "broken json", "deep json", "strange traces", "terminal commands"):
            lib.equal((report["ok"], done.returncode), (0, 1), (what, report))
            lib.equal(sum(report["errors"].values()), 2, (what, report))


def test_steps_of_workflows():
    """A provider that is none fails the step with its reason; the run ends, with status 1."""
    path = os.path.join(lib.tmp(), "f.yaml")
    with open(path, "w") as file:
        file.write("name: f\nsteps:\n  - {id: a, type: llm, provider: openai, model: m, prompt: hi, timeout_seconds: 3, output: [text]}\n")
    for what, answer in ANSWERS.items():
        peer = Peer(answer)
        done = lib.run("run", path, "--format", "json", env={"OPENAI_BASE_URL": peer.url + "/v1", "OPENAI_API_KEY": "sk-x"}, timeout=30)
        peer.close()
        lib.equal(done.returncode, 1, (what, done.stderr[-300:]))
        report = json.loads(done.stdout)
        lib.equal((report["status"], report["steps"][0]["status"]), ("failed", "failed"), what)
        assert report["steps"][0]["error"], (what, report)
        assert "sk-x" not in done.stdout + done.stderr, what


def test_the_gateway():
    """Whatever the upstream is, the client gets an answer in OpenAI's shape, and soon; the gateway goes on."""
    for what, answer in ANSWERS.items():
        if what == "a huge length":
            continue  # it goes on as it is, and no client of these tests has that much room
        peer = Peer(answer)
        gateway = lib.gateway(config=lib.config_for(peer.url).replace("      api_key:", "      timeout: 2\n      api_key:"))
        begun = time.monotonic()
        try:
            reply = lib.chat(gateway.url("gateway"))
        except http.client.IncompleteRead:  # a body that was cut is seen to be cut
            assert what in ("half a body", "bad chunk", "no last chunk"), what
            reply = lib.Reply(502, {}, b'{"error": {"message": "cut", "type": "cut"}}')
        assert time.monotonic() - begun < 8 * lib.SLOW, what
        if reply.status != 200:
            assert reply.status >= 400 or what == "redirect to itself", (what, reply.status)
            if what not in ("teapot", "redirect to itself"):
                error = reply.json()["error"]
                assert error["message"] and error["type"], (what, error)
        lib.equal(lib.get(gateway.url("gateway") + "/v1/models", headers={"Authorization": "Bearer sk-test"}).status, 200, what)
        gateway.stop()
        peer.close()


lib.main(globals())
