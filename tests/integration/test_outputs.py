#!/usr/bin/env python3
"""What commands print: JSON that is JSON, text that says the same, full disks, closed pipes, odd folders, big and strange inputs."""
import json
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lib  # noqa: E402

FLOW = """name: shapes
steps:
  - id: a
    type: transform
    function: template
    template: "{{ inputs.text }}"
    output: [text]
  - id: b
    type: transform
    depends_on: [a]
    condition: "{{ inputs.more }} == yes"
    function: upper
    inputs: [steps.a.text]
    output: [big]
"""
BROKEN = "name: x\nsteps:\n  - id: a\n    type: nope\n  - id: a\n    type: llm\n"


def write(name, text):
    path = os.path.join(lib.tmp(), name)
    with open(path, "wb") as file:
        file.write(text.encode() if isinstance(text, str) else text)
    return path


def one_object(text):
    """Exactly one JSON value and a new line."""
    assert text.endswith("\n") and not text.endswith("\n\n"), repr(text[-40:])
    return json.loads(text)


def piped(words, env=None, **options):
    return subprocess.Popen([lib.BINARY, *map(str, words)], env=lib.environment(env), stderr=subprocess.PIPE, **options)


# ---- shapes ----


def test_every_format_json_is_one_object():
    flow, broken = write("f.yaml", FLOW), write("b.yaml", BROKEN)
    mock = lib.mock()
    up = lib.gateway(config=lib.config_for(mock.url("mock")))
    lib.chat(up.url("gateway"))
    lib.until(lambda: lib.get(up.url("admin") + "/traces").json(), what="a trace")
    trace = lib.get(up.url("admin") + "/traces").json()[0]["trace_id"]
    folder = lib.tmp()
    cases = [(["docs", "--format", "json"], 0, dict), (["doctor", "--offline", "--format", "json"], 0, dict),
             (["validate", "--format", "json", flow], 0, dict), (["validate", "--format", "json", broken], 2, dict),
             (["run", flow, "-i", '{"text": "x", "more": "no"}', "--format", "json"], 0, dict),
             (["traces", "--url", up.url("admin"), "--format", "json"], 0, list),
             (["traces", "--url", up.url("admin"), "--service", "nobody", "--format", "json"], 0, list),
             (["traces", trace, "--url", up.url("admin"), "--format", "json"], 0, dict),
             (["top", "--url", up.url("metrics") + "/metrics", "--format", "json"], 0, dict),
             (["load", "--url", up.url("gateway"), "--key", "sk-test", "--model", "claude-haiku", "-n", "3", "--format", "json"], 0, dict),
             (["load", "--url", up.url("gateway"), "--key", "wrong", "--model", "claude-haiku", "-n", "3", "--format", "json"], 1, dict),
             (["flow", "collection", "list", "--data-dir", folder, "--format", "json"], 0, (list, dict))]
    for words, status, kind in cases:
        done = lib.run(*words)
        lib.equal(done.returncode, status, (words, done.stderr))
        assert isinstance(one_object(done.stdout), kind), (words, done.stdout[:200])


def test_text_and_json_tell_the_same_run():
    """Strange texts come through both: quotes, new lines, control bytes, scripts from right to left, no terminal commands."""
    flow = write("f.yaml", FLOW)
    for text in ("plain", 'a "quote"', "two\nlines", "tab\tand \\", "\u05d0\u05d1 \u202e", "\U0001f600", "\x1b[31mred\x07", "", "x" * 20000):
        done = lib.run("run", flow, "-i", json.dumps({"text": text, "more": "yes"}), "--format", "json")
        lib.equal(done.returncode, 0, done.stderr)
        told = one_object(done.stdout)
        lib.equal(told["status"], "succeeded")
        lib.equal({s["id"]: s["status"] for s in told["steps"]}, {"a": "succeeded", "b": "succeeded"})
        lib.contains(json.dumps(told["outputs"], ensure_ascii=False), json.dumps(text, ensure_ascii=False)[1:-1], repr(text[:20]))
        plain = lib.run("run", flow, "-i", json.dumps({"text": text, "more": "yes"}))
        lib.equal(plain.returncode, 0, plain.stderr)
        assert "\x1b" not in plain.stdout and "\x07" not in plain.stdout, repr(plain.stdout[:200])


def test_inputs_of_a_run():
    flow = write("f.yaml", FLOW)
    good = [('{"text": "a"}', "a"), ('{"text": 5}', "5"), ('{"text": null}', ""), ('{"text": [1, {"a": "b"}]}', '[1,{"a":"b"}]')]
    for text, shown in good:
        for words in (["-i", text], ["-i", "@" + write("i.json", text)], [f"--input={text}"]):
            done = lib.run("run", flow, *words, "--format", "json")
            lib.equal(done.returncode, 0, (words, done.stderr))
            lib.contains(json.dumps(one_object(done.stdout)["outputs"]), json.dumps(shown)[1:-1], words)
    for text, word in (("{", "--input"), ("[1]", "--input"), ("5", "--input"), ("@/nonexistent/file", "/nonexistent/file"), ('{"a": 1} x', "--input"), ("@" + write("bad.json", b"\xff\xfe{}"), "bad.json")):
        done = lib.run("run", flow, "-i", text)
        lib.equal(done.returncode, 2, (text, done.stderr))
        lib.contains(done.stderr, word, text)
        file = text[1:] if text.startswith("@/tmp") else None
        assert done.stderr.startswith(f"{file}:1:" if file else "sightline: "), done.stderr


def test_validate_tells_all_files_and_all_faults():
    flow, broken, missing = write("f.yaml", FLOW), write("b.yaml", BROKEN), "/nonexistent/none.yaml"
    done = lib.run("validate", flow, broken, missing)
    assert done.returncode in (1, 2), done.returncode
    said = done.stdout + done.stderr
    for word in (f"{broken}:4:", f"{broken}:5:", missing):
        lib.contains(said, word)
    told = one_object(lib.run("validate", broken, "--format", "json").stdout)
    text = json.dumps(told)
    for word in ('"line": 4', '"line": 5', "error"):
        lib.contains(text, word)


# ---- where it goes ----


def test_a_full_disk_is_told():
    """What could not be written is a failure: exit status 1, and a message that says so."""
    flow = write("f.yaml", FLOW)
    cases = [["docs"], ["docs", "--format", "json"], ["docs", "--format", "man", "up"], ["--help"], ["gateway", "--help"], ["--version"],
             ["doctor", "--offline"], ["doctor", "--offline", "--format", "json"], ["validate", "--format", "json", flow],
             ["run", flow, "--format", "json"], ["run", flow], ["gen", "prometheus-rules", "s3"]]
    for words in cases:
        with open("/dev/full", "wb") as full:
            process = piped(words, stdout=full)
            _, said = process.communicate(timeout=30 * lib.SLOW)
        lib.equal(process.returncode, 1, (words, said))
        last = said.decode().rstrip("\n").split("\n")[-1]
        assert re.match(r"sightline: .*(cannot be written|disk|No space).*[;?]?", last), (words, said)


def test_a_pipe_that_is_closed_ends_quietly():
    """As `sightline docs | head -1`: no message, no core."""
    for words in (["docs"], ["docs", "--format", "json"]):
        process = piped(words, stdout=subprocess.PIPE)
        process.stdout.read(10)
        process.stdout.close()
        said = process.stderr.read()
        status = process.wait(20 * lib.SLOW)
        assert status in (0, 1, -signal.SIGPIPE, 128 + signal.SIGPIPE) and b"Traceback" not in said and len(said) < 300, (words, status, said)


def test_folders_that_cannot_be_used():
    """A data folder or a ready file that cannot be written fails the start at once, names the path, and leaves nothing behind."""
    folder = lib.tmp()
    taken = write("file", "x")
    newer = lib.tmp()
    with open(os.path.join(newer, "format"), "w") as file:
        file.write("999\n")
    for words, path in ((["--data-dir", taken], taken), (["--data-dir", taken + "/below"], taken), (["--data-dir", "/proc/sightline"], "/proc/sightline"),
                        (["--data-dir", folder, "--ready-file", "/nonexistent/ready.json"], "/nonexistent/ready.json"),
                        (["--data-dir", folder, "--ready-file", folder], folder)):
        done = lib.run("up", *lib.FREE, "--api-listen", "off", "--control-listen", "off", "--queue-listen", "off", *words, timeout=30)
        lib.equal(done.returncode, 1, (words, done.stderr[-500:]))
        failures = [line for line in done.stderr.split("\n") if path in line]
        assert failures and all(";" in line for line in failures[:1]), (words, done.stderr)
    assert not [name for name in os.listdir(folder) if name.startswith("ready")], os.listdir(folder)


def test_the_ready_file_is_there_at_once_and_whole():
    """Another program that looks all the time sees nothing or all of it, and it is gone or stale only by its pid."""
    folder = lib.tmp()
    path = os.path.join(folder, "ready.json")
    for _ in range(5):
        process = piped(["mock", "--listen", "127.0.0.1:0", "--ready-file", path], stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 10 * lib.SLOW
            told = None
            while time.monotonic() < deadline and told is None:
                try:
                    with open(path) as file:
                        told = json.loads(file.read())
                except FileNotFoundError:
                    continue
                if told["pid"] != process.pid:
                    told = None
            assert told, "no ready file"
            lib.equal(lib.get(told["mock"] + "/mock/ledger").status, 200)
            assert not stat.S_IMODE(os.stat(path).st_mode) & 0o022, "others may write it"
            lib.equal(sorted(os.listdir(folder)), ["ready.json"], "what was written beside it")
        finally:
            process.terminate()
            process.wait(10 * lib.SLOW)
            process.stderr.close()


def test_with_little_room_for_files():
    """A run whose store cannot grow says so, and does not end as if it had succeeded without having kept it."""
    flow = write("f.yaml", FLOW)

    def little():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    process = piped(["run", flow, "-i", '{"text": "x"}', "--data-dir", lib.tmp(), "--format", "json"], stdout=subprocess.PIPE, preexec_fn=little)
    out, said = process.communicate(timeout=30 * lib.SLOW)
    if process.returncode == 0:
        lib.equal(one_object(out.decode())["status"], "succeeded")
    else:
        assert process.returncode in (1, 2) and said.decode().startswith("sightline: "), (process.returncode, said)


def test_with_few_descriptors():
    """`up` says that it cannot open more, or serves; it does not hang and does not crash."""

    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))

    process = piped(["up", *lib.FREE, "--api-listen", "127.0.0.1:0", "--control-listen", "127.0.0.1:0", "--queue-listen", "127.0.0.1:0",
                     "--data-dir", lib.tmp()], stdout=subprocess.DEVNULL, preexec_fn=few)
    try:
        process.wait(8 * lib.SLOW)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.wait(20 * lib.SLOW)
    said = process.stderr.read().decode("utf-8", "replace")
    process.stderr.close()
    assert process.returncode in (0, 1), (process.returncode, said[-1000:])
    assert "Assertion" not in said and "Sanitizer" not in said, said[-2000:]


# ---- what the tables print ----


def test_the_reference_is_the_committed_one():
    with open(lib.SOURCE + "/docs/reference.md") as file:
        committed = file.read()
    sections = set(re.findall(r"^## (.+)$", committed, re.M))
    fresh = set(re.findall(r"^## (.+)$", lib.run("docs").stdout, re.M))
    lib.equal(fresh, sections)


def test_rules_and_dashboards_are_what_they_should_be():
    for name in ("llama_deploy", "workflow_overview", "llm_provider", "llamastack"):
        board = one_object(lib.run("gen", "dashboards", name).stdout)
        assert board["title"] and board["panels"], name
        ids = [p["id"] for p in board["panels"]]
        lib.equal(len(ids), len(set(ids)), name)
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                lib.equal(target["expr"].count("("), target["expr"].count(")"), (name, target["expr"]))
    text = lib.run("gen", "prometheus-rules", "s3").stdout
    names = re.findall(r"alert: (\w+)", text)
    assert names and len(names) == len(set(names)), names


lib.main(globals())
