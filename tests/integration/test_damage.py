#!/usr/bin/env python3
"""Files that are not as they were left, or not as they should be: damaged, cut, empty, of a newer version, somebody else's."""
import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lib  # noqa: E402

ADDRESSES = [word for name in ("metrics", "health", "admin", "api", "control", "queue") for word in (f"--{name}-listen", "127.0.0.1:0")]
ECHO = "name: echo\nsteps:\n  - {id: a, type: transform, function: template, template: '{{ inputs.x }}', output: [text]}\n"


def server(folder, *args, **options):
    return lib.Process("flow", "server", *ADDRESSES, "--drain-timeout", "5", "--data-dir", folder, *args, **options)


def ended(api, run):
    lib.until(lambda: lib.get(f"{api}/runs/{run}").json()["status"] not in ("queued", "running"), what=f"the end of {run}")
    return lib.get(f"{api}/runs/{run}").json()


def used_folder():
    """A data folder with a workflow, runs and messages in it, as a server that was stopped leaves it."""
    folder = lib.tmp()
    process = server(folder)
    api = process.url("api")
    lib.equal(lib.request("POST", api + "/workflows", ECHO.encode()).status, 201)
    for i in range(5):
        ended(api, lib.post(api + "/workflows/echo/runs", {"inputs": {"x": i}}).json()["run_id"])
    for i in range(5):
        lib.equal(lib.request("POST", process.url("queue") + "/queues/t/messages", b"message %d" % i).status, 201)
    lib.equal(process.stop(), 0)
    return folder


def files_of(folder):
    for base, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(base, name)
            if os.path.getsize(path) and not name.endswith("-shm"):
                yield path


def start_or_say_why(folder, path, what):
    """It serves, or ends with 1 and a line that names the file and what to do. Nothing hangs, nothing crashes."""
    done = None
    try:
        process = server(folder)
    except AssertionError as error:
        done = str(error)
    if done is None:
        for name in ("api", "control", "queue"):
            reply = lib.get(process.url(name) + "/")
            assert reply.status < 500, (what, name, reply.status, reply.text[:200])
        reply = lib.get(process.url("api") + "/runs")
        assert reply.status in (200, 500, 503), (what, reply.status)
        status = process.stop()
        assert status in (0, 1), (what, status, process.output()[-1500:])
        assert "Assertion" not in process.output() and "Sanitizer" not in process.output(), process.output()[-1500:]
        return True
    assert "ended with 1" in done, (what, done[-1500:])
    said = [line for line in done.split("\n") if line.startswith("sightline: ")]
    assert any(os.path.basename(path) in line or os.path.dirname(path) in line for line in said) and any(";" in line for line in said), (what, said)
    return False


# ---- damage ----


def test_files_that_are_cut():
    whole = used_folder()
    for path in files_of(whole):
        name = os.path.relpath(path, whole)
        for part in (0, 1, 100, 0.5, 0.99):
            folder = lib.tmp() + "/data"
            shutil.copytree(whole, folder)
            victim = os.path.join(folder, name)
            size = os.path.getsize(victim)
            os.truncate(victim, part if isinstance(part, int) else int(size * part))
            start_or_say_why(folder, victim, (name, "cut to", part))


def test_files_with_other_bytes_in_them():
    whole = used_folder()
    dice = random.Random(7)
    for path in files_of(whole):
        name = os.path.relpath(path, whole)
        for how in ("head", "page", "everywhere", "text"):
            folder = lib.tmp() + "/data"
            shutil.copytree(whole, folder)
            victim = os.path.join(folder, name)
            with open(victim, "r+b") as file:
                data = bytearray(file.read())
                if how == "head":
                    data[:100] = dice.randbytes(min(100, len(data)))
                elif how == "page":
                    at = min(len(data) // 2, 4096)
                    data[at:at + 512] = dice.randbytes(len(data[at:at + 512]))
                elif how == "everywhere":
                    for _ in range(max(1, len(data) // 200)):
                        data[dice.randrange(len(data))] = dice.randrange(256)
                else:
                    data = bytearray(b"this is no database\n")
                file.seek(0)
                file.truncate()
                file.write(data)
            start_or_say_why(folder, victim, (name, how))


def test_what_was_whole_stays_beside_what_is_not():
    """One damaged database does not take the others with it: put right, all that was accepted is there again."""
    folder = used_folder()
    for name in os.listdir(folder):
        if not name.endswith(".db"):
            continue
        path = os.path.join(folder, name)
        kept = open(path, "rb").read()
        with open(path, "wb") as file:
            file.write(b"\0" * len(kept))
        start_or_say_why(folder, path, name)
        for suffix in ("-wal", "-shm"):
            if os.path.exists(path + suffix):
                os.unlink(path + suffix)
        with open(path, "wb") as file:
            file.write(kept)
    process = server(folder)
    lib.equal(lib.get(process.url("api") + "/workflows").json()["workflows"], ["echo"])
    lib.equal(len(lib.get(process.url("api") + "/runs").json()["runs"]), 5)
    lib.equal(process.stop(), 0)


def killed_folder(count):
    """What a server leaves that was killed: its logs have everything. With runs that wait, by their number."""
    folder = lib.tmp()
    process = server(folder, "--flow-runs", 0)
    api = process.url("api")
    lib.equal(lib.request("POST", api + "/workflows", ECHO.encode()).status, 201)
    runs = {lib.post(api + "/workflows/echo/runs", {"inputs": {"x": f"number {i} " + "y" * 2500}, "idempotency_key": f"k{i}"}).json()["run_id"]: i
            for i in range(count)}
    for pid in [process.process.pid] + children(process.process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.process.wait()
    return folder, runs


def children(pid):
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/stat") as file:
                if int(file.read().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(name))
    return found


def succeed(process, runs):
    for run, i in runs.items():
        done = ended(process.url("api"), run)
        lib.equal((done["status"], done["outputs"]["a"]["text"][:len(f"number {i} ")]), ("succeeded", f"number {i} "))


def test_a_log_that_is_damaged_in_its_midst_is_not_cut_off_there():
    """SQLite would read it up to the damage, and what was accepted behind it would be gone without a word."""
    whole, runs = killed_folder(12)
    for name in ("flow.db-wal", "queue.db-wal"):
        for part in (0.0, 0.3, 0.7):
            folder = lib.tmp() + "/data"
            shutil.copytree(whole, folder)
            victim = os.path.join(folder, name)
            frame = int((os.path.getsize(victim) - 32) // 4120 * part)
            with open(victim, "r+b") as file:
                file.seek(32 + frame * 4120 + 24 + 500)
                kept = file.read(64)
                file.seek(-64, 1)
                file.write(os.urandom(64))
            size = os.path.getsize(victim)
            assert not start_or_say_why(folder, victim, (name, frame)), f"{name} was taken with a damaged frame {frame}"
            lib.equal(os.path.getsize(victim), size)
            with open(victim, "r+b") as file:  # put right, it is all there
                file.seek(32 + frame * 4120 + 24 + 500)
                file.write(kept)
            if part:
                continue
            process = server(folder, "--flow-runs", 4)
            succeed(process, runs)
            lib.equal(process.stop(), 0)


def test_runs_go_on_without_a_queue_that_was_moved_away():
    """The way out that is told of a damaged queue: the runs are in the other file, and get new messages."""
    folder, runs = killed_folder(8)
    for name in os.listdir(folder):
        if name.startswith("queue.db"):
            os.unlink(os.path.join(folder, name))
    process = server(folder, "--flow-runs", 4)
    succeed(process, runs)
    lib.equal(process.stop(), 0)


def test_a_damaged_message_does_not_hold_up_the_others():
    whole, runs = killed_folder(12)
    process = server(whole, "--flow-runs", 0)
    lib.equal(process.stop(), 0)  # the log goes home
    path = os.path.join(whole, "queue.db")
    with open(path, "r+b") as file:
        at = file.read().index(b"number 5 ")
        file.seek(at // 4096 * 4096)
        file.write(os.urandom(4096))
    process = server(whole, "--flow-runs", 4)
    hit = {run for run, i in runs.items() if i == 5}
    succeed(process, {run: i for run, i in runs.items() if run not in hit})
    lib.equal([lib.get(f"{process.url('api')}/runs/{run}").json()["status"] for run in hit], ["queued"])
    process.signal(signal.SIGKILL)


def test_a_disk_that_is_full_refuses_clearly_and_keeps_what_it_took():
    folder = lib.tmp()

    def mount(*options):
        return subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", folder], stderr=subprocess.DEVNULL).returncode == 0
    if os.geteuid() != 0 or not mount("size=6m"):
        raise lib.Skip("a file system of its own cannot be mounted here")
    try:
        process = server(folder, "--flow-runs", 0)
        url = process.url("api") + "/workflows/echo/runs"
        lib.equal(lib.request("POST", process.url("api") + "/workflows", ECHO.encode()).status, 201)
        accepted, refused = {}, []
        for i in range(200):
            reply = lib.post(url, {"inputs": {"x": f"number {i} " + "y" * 100000}, "idempotency_key": f"k{i}"})
            if reply.status == 202:
                accepted[reply.json()["run_id"]] = i
            else:
                refused.append((i, reply))
            if len(refused) == 3:
                break
        assert len(accepted) > 5 and len(refused) == 3, (len(accepted), len(refused))
        for _, reply in refused:
            lib.equal(reply.status, 503, reply.text)
            lib.contains(reply.json()["detail"], "the disk is full")
            lib.contains(reply.json()["detail"], "what was accepted is kept")
        lib.equal({lib.get(f"{process.url('api')}/runs/{run}").json()["status"] for run in accepted}, {"queued"})
        for pid in [process.process.pid] + children(process.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.process.wait()
        subprocess.run(["mount", "-o", "remount,size=400m", folder], check=True)
        process = server(folder, "--flow-runs", 4)
        succeed(process, accepted)
        for i, _ in refused:  # and the key does not stand for the refusal; what could not even be refused has run
            reply = lib.post(process.url("api") + "/workflows/echo/runs", {"inputs": {"x": f"number {i} "}, "idempotency_key": f"k{i}"})
            lib.equal(reply.status, 202, reply.text)
            succeed(process, {reply.json()["run_id"]: i})
        lib.equal(process.stop(), 0)
        print(f"     {len(accepted)} accepted before the disk was full: {refused[0][1].json()['detail']}")
    finally:
        process.process.kill()
        subprocess.run(["umount", "-l", folder], stderr=subprocess.DEVNULL)


# ---- other hands ----


def test_a_newer_format_is_refused_with_the_way_out():
    """user_version is the mark of the format: one that is too new is refused, nothing in it is changed."""
    whole = used_folder()
    for path in files_of(whole):
        if not path.endswith(".db"):
            continue
        folder = lib.tmp() + "/data"
        shutil.copytree(whole, folder)
        victim = os.path.join(folder, os.path.relpath(path, whole))
        connection = sqlite3.connect(victim)
        before = connection.execute("pragma user_version").fetchone()[0]
        connection.execute("pragma user_version = 9999")
        connection.commit()
        connection.close()
        if before == 0:
            continue
        assert not start_or_say_why(folder, victim, "a newer format"), f"{victim} was taken"
        connection = sqlite3.connect(victim)
        lib.equal(connection.execute("pragma user_version").fetchone()[0], 9999)
        connection.close()


def test_two_servers_cannot_have_one_folder():
    folder = lib.tmp()
    process = server(folder)
    done = lib.run("flow", "server", *ADDRESSES, "--data-dir", folder, timeout=20)
    lib.equal(done.returncode, 1, done.stderr)
    lib.contains(done.stderr, folder)
    assert done.stderr.startswith("sightline: "), done.stderr
    lib.equal(lib.get(process.url("api") + "/workflows").status, 200)
    process.signal(signal.SIGKILL)  # its locks go with it
    process.process.wait()
    deadline = time.monotonic() + 15 * lib.SLOW  # once its children have drained
    while True:
        try:
            again = server(folder)
            break
        except AssertionError:
            assert time.monotonic() < deadline, "the folder is held for ever"
    lib.equal(again.stop(), 0)


def test_folders_are_for_their_owner():
    """What holds prompts and answers is not for others to read."""
    folder = used_folder()
    for base, folders, names in os.walk(folder):
        for name in names:
            mode = stat.S_IMODE(os.stat(os.path.join(base, name)).st_mode)
            assert not mode & 0o022, (name, oct(mode))


def test_a_folder_that_goes_away_under_way():
    """The server answers errors, not lies: a run that could not be kept is not accepted."""
    folder = lib.tmp() + "/data"
    os.mkdir(folder)
    process = server(folder)
    api = process.url("api")
    lib.equal(lib.request("POST", api + "/workflows", ECHO.encode()).status, 201)
    shutil.rmtree(folder)
    for i in range(5):
        reply = lib.post(api + "/workflows/echo/runs", {"inputs": {"x": i}})
        assert reply.status in (202, 500, 503), (reply.status, reply.text)
    assert lib.get(api + "/workflows").status in (200, 500, 503)
    process.signal(signal.SIGTERM)
    process.process.wait(30 * lib.SLOW)


# ---- files that people write ----


def test_ready_files_that_are_none():
    """`doctor` reads them: what is no JSON, stale, or of another program is told, not believed."""
    for text in ("", "{", "[]", '{"pid": "x"}', '{"pid": 999999999, "gateway": 5}', '{"gateway": "nonsense://x"}', "\x00\x01", "x" * 100000):
        path = os.path.join(lib.tmp(), "ready.json")
        with open(path, "w") as file:
            file.write(text)
        done = lib.run("doctor", "--offline", "--ready-file", path, "--format", "json", timeout=20)
        assert done.returncode in (0, 1, 2), (text[:20], done.returncode, done.stderr)
        if done.returncode != 2:
            json.loads(done.stdout)


def test_workflows_at_the_start_that_are_none():
    """All faults of all files, each at its place; nothing is started, nothing is left in the data folder."""
    folder = lib.tmp()
    good, bad, worse = (os.path.join(folder, name) for name in ("good.yaml", "bad.yaml", "worse.yaml"))
    for path, text in ((good, ECHO), (bad, "name: b\nsteps:\n  - {id: a, type: nope}\n"), (worse, "name: [\n")):
        with open(path, "w") as file:
            file.write(text)
    done = lib.run("flow", "server", *ADDRESSES, "--data-dir", folder + "/data", "-w", good, "-w", bad, "-w", worse, "-w", "/nonexistent/x.yaml", timeout=20)
    lib.equal(done.returncode, 2, done.stderr)
    for word in (f"{bad}:3:", f"{worse}:", "/nonexistent/x.yaml"):
        lib.contains(done.stderr, word)
    assert f"{good}:" not in done.stderr, done.stderr
    assert not os.path.exists(folder + "/data") or not os.listdir(folder + "/data"), os.listdir(folder + "/data")


def test_strange_files_as_configuration():
    """A folder, a device, a pipe without an end, a link to itself: said at once."""
    folder = lib.tmp()
    os.symlink("loop", folder + "/loop")
    os.mkfifo(folder + "/fifo")
    with open(folder + "/big", "w") as file:
        file.write("# " + "x" * (9 << 20) + "\n")
    for path in (folder, folder + "/loop", folder + "/big", "/dev/null/x"):
        for words in (["gateway", "--check", "-c", path], ["validate", path], ["run", path]):
            begun = time.monotonic()
            done = lib.run(*words, timeout=20)
            assert done.returncode in (1, 2) and path in done.stdout + done.stderr, (words, done.returncode, done.stderr)
            assert time.monotonic() - begun < 10 * lib.SLOW, words
    lib.equal(lib.run("gateway", "--check", "-c", "/dev/null").returncode, 0)


lib.main(globals())
