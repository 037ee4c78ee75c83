#!/usr/bin/env python3
"""The load client: what it counts, when it sends, how it fails."""
import json
import signal
import socket
import subprocess
import threading
import time

import lib

KEYS = {"sent", "ok", "errors", "duration_s", "latency_ms", "ttft_ms", "itl_ms", "tokens", "tokens_per_s", "requests_per_s", "frames", "bytes"}


def load(*args, timeout=60):
    done = lib.run("load", "--format", "json", *args, timeout=timeout)
    return done.returncode, json.loads(done.stdout)


def serve(answer):
    """A server that gives `answer` (bytes, or a function of the connection) to each connection; its URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def one(connection):
        with connection:
            connection.recv(65536)
            answer(connection) if callable(answer) else connection.sendall(answer)

    def loop():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    threading.Thread(target=loop, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def stream(*frames):
    body = "".join(frames).encode()
    return (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)) + body


TOKEN = 'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'


def test_report_has_every_key():
    mock = lib.mock(tokens=5)
    status, report = load("--url", mock.url("mock"), "-n", 20, "-c", 4, "--stream")
    lib.equal((status, set(report)), (0, KEYS))
    lib.equal((report["sent"], report["ok"], report["errors"], report["tokens"]), (20, 20, {}, 100))
    for name in ("latency_ms", "ttft_ms", "itl_ms"):
        values = [report[name][key] for key in ("p50", "p90", "p99", "max")]
        assert values == sorted(values) and (values[-1] > 0 or name == "itl_ms"), (name, values)  # frames may come at once
    # A frame for the role, one for each token, the end of the choice, usage, [DONE]: what curl counts too.
    frames = len(lib.events(lib.chat(mock.url("mock"), stream=True, stream_options={"include_usage": True})))
    lib.equal(report["frames"], 20 * frames)


def test_unary_has_no_token_times():
    mock = lib.mock()
    _, report = load("--url", mock.url("mock"), "-n", 3)
    lib.equal(report["ttft_ms"], {"p50": None, "p90": None, "p99": None, "max": None})
    lib.equal(report["frames"], 0)


def test_text_report():
    mock = lib.mock()
    done = lib.run("load", "--url", mock.url("mock"), "-n", 5, "--stream")
    lib.equal(done.returncode, 0)
    for word in ("5 sent, 5 ok, 0 failed", "latency", "first token", "inter-token", "tokens"):
        lib.contains(done.stdout, word)


def test_every_protocol():
    mock = lib.mock(tokens=6)
    for path, tokens in (("/v1", 6), ("/v1/chat/completions", 6), ("/v1/completions", 6), ("/v1/messages", 6), ("/v1/embeddings", 0)):
        for extra in ([], ["--stream"]):
            status, report = load("--url", mock.url("mock") + path, "-n", 2, *extra)
            lib.equal((status, report["ok"], report["tokens"]), (0, 2, 2 * tokens), path)


def test_parallel_is_concurrency():
    mock = lib.mock(ttft=300)
    begun = time.monotonic()
    _, report = load("--url", mock.url("mock"), "-n", 5, "--parallel", 5)
    assert time.monotonic() - begun < 1.2 * lib.SLOW, report


def test_parallel_alone_is_one_request_each():
    """As the llama.cpp guide's client: `--url URL --prompt TEXT --parallel 5` asks five times at once."""
    mock = lib.mock(ttft=300)
    begun = time.monotonic()
    status, report = load("--url", mock.url("mock"), "--prompt", "Write a poem about AI", "--parallel", 3)
    lib.equal((status, report["sent"], report["ok"]), (0, 3, 3))
    assert time.monotonic() - begun < 1.2 * lib.SLOW, report


def test_duration_ends_the_run():
    mock = lib.mock()
    _, report = load("--url", mock.url("mock"), "--duration", 1, "-c", 2)
    assert 0.9 < report["duration_s"] < 1.5 * lib.SLOW, report
    assert report["ok"] == report["sent"] > 10


def test_rate_is_kept():
    mock = lib.mock()
    _, report = load("--url", mock.url("mock"), "--duration", 2, "--rate", 100, "-c", 50)
    assert abs(report["sent"] - 200) <= 1, report


def test_times_count_from_when_a_request_was_due():
    """A server that serves one at a time in 100 ms, asked 50 times a second: those who had to wait must show."""
    mock = lib.mock(ttft=100)
    _, report = load("--url", mock.url("mock"), "-n", 40, "--rate", 50, "-c", 1)
    assert report["latency_ms"]["max"] > 2500, report
    assert report["latency_ms"]["p50"] > 1000, report


def test_missing_end_mark():
    status, report = load("--url", serve(stream(TOKEN, TOKEN)), "-n", 2, "--stream")
    lib.equal((status, report["errors"], report["frames"]), (1, {"no_done": 2}, 4))


def test_error_in_a_stream():
    status, report = load("--url", serve(stream(TOKEN, 'data: {"error":{"message":"overloaded"}}\n\n', "data: [DONE]\n\n")), "-n", 1, "--stream")
    lib.equal((status, report["errors"]), (1, {"stream_error": 1}))
    lib.contains(report["first_error"], "overloaded")


def test_a_frame_that_is_no_json():
    _, report = load("--url", serve(stream(TOKEN, "data: {oops\n\n", "data: [DONE]\n\n")), "-n", 1, "--stream")
    lib.equal(report["errors"], {"bad_json": 1})


def test_comments_are_no_faults():
    _, report = load("--url", serve(stream(": keep-alive\n\n", TOKEN, "data: [DONE]\n\n")), "-n", 1, "--stream")
    lib.equal((report["ok"], report["tokens"]), (1, 1))


def test_not_a_stream():
    reply = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    _, report = load("--url", serve(reply), "-n", 1, "--stream")
    lib.equal(report["errors"], {"not_streamed": 1})


def test_garbage_is_a_protocol_error():
    _, report = load("--url", serve(b"SSH-2.0-OpenSSH\r\n\r\n"), "-n", 1)
    lib.equal(report["errors"], {"protocol": 1})


def test_other_statuses_are_named():
    _, report = load("--url", serve(b"HTTP/1.1 418 Teapot\r\nContent-Length: 5\r\nConnection: close\r\n\r\nshort"), "-n", 2)
    lib.equal((report["errors"], report["first_error"]), ({"http_418": 2}, "short"))


def test_no_server():
    status, report = load("--url", "http://127.0.0.1:1", "-n", 3)
    lib.equal((status, report["sent"], report["errors"]), (1, 3, {"connect": 3}))
    status, report = load("--url", "http://does-not-exist.invalid", "-n", 1)
    lib.equal((status, list(report["errors"])), (1, ["resolve"]))


def test_all_hanging_ends_in_time():
    mock = lib.mock("--fault", "hang=1")
    begun = time.monotonic()
    status, report = load("--url", mock.url("mock"), "-n", 60, "-c", 10, "--timeout", "0.2")
    lib.equal((status, report["errors"]), (1, {"timeout": 60}))
    assert time.monotonic() - begun < 6 * lib.SLOW


def test_interrupt_reports_what_there_is():
    mock = lib.mock(ttft=100)
    process = subprocess.Popen([lib.BINARY, "load", "--url", mock.url("mock"), "--duration", "60", "-c", "3", "--format", "json"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=lib.environment())
    time.sleep(0.6 * lib.SLOW)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=10 * lib.SLOW)
    report = json.loads(out)
    assert report["ok"] > 0
    lib.equal(report["sent"], report["ok"] + sum(report["errors"].values()))


def test_the_key_is_sent_and_never_shown():
    seen = []

    def answer(connection):
        connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=lambda: [(lambda c: (seen.append(c.recv(65536)), answer(c), c.close()))(listener.accept()[0])], daemon=True).start()
    done = lib.run("load", "--url", f"http://127.0.0.1:{listener.getsockname()[1]}", "-n", 1, "--key", "sk-planted-1")
    lib.contains(seen[0], b"Authorization: Bearer sk-planted-1\r\n")
    assert "sk-planted-1" not in done.stdout + done.stderr
    lib.equal(done.returncode, 1)


def test_thousands_of_streams():
    lib.need_descriptors(2500)
    mock = lib.mock(ttft=100, itl=20, tokens=20)
    count = 2000 // lib.SLOW
    status, report = load("--url", mock.url("mock"), "-n", count, "-c", count, "--stream", timeout=120)
    lib.equal((status, report["ok"], report["tokens"]), (0, count, 20 * count))


lib.main(globals())
