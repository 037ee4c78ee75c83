"""Hosts of libllama that do what hosts do: crash, fork, exec, close descriptors, change their user. With the probe they
show to the outside what they show without it: the same output, the same end.
"""
import glob
import os
import shutil
import signal
import time

from checks import Row
from lib import net, probe, sightline
from lib.context import expect, expect_eq
from peers import llama_releases, python_venv

# Steps of llama_host, and what they are about.
CASES = (
    ("plain", ["facts", "run", "sampler", "run", "fail", "memory", "state"]),
    ("features", ["features", "run", "features"]),
    ("crash", ["run", "crash"]),
    ("abort", ["run", "abort"]),
    ("exit", ["run", "exit"]),
    ("_exit", ["run", "_exit"]),
    ("exec", ["run", "exec", "run", "facts"]),
    ("fork", ["run", "fork", "run", "fork-idle", "run"]),
    ("fork-crash", ["run", "fork", "crash"]),
    ("spawn", ["run", "spawn", "run"]),
    ("twice", ["run", "twice", "run"]),
    ("reload", ["run", "reload", "run"]),
    ("thread", ["run", "thread", "run"]),
    ("descriptors", ["fds", "run", "fds"]),
    ("closefds", ["run", "closefds", "run", "run", "fds"]),
    ("setuid", ["run", "setuid", "run", "fork", "run"]),
)
# What is told of hosts whose end comes in the midst, or that are several processes.
TOLD = (("crash", ["run", "sampler", "run", "crash"]), ("abort", ["run", "abort"]), ("_exit", ["run", "_exit"]),
        ("exec", ["run", "exec", "run"]), ("fork", ["run", "fork", "run"]), ("closefds", ["run", "closefds", "run"]),
        ("setuid", ["run", "setuid", "run"]), ("reload", ["run", "reload"]), ("thread", ["run", "thread"]))
HANGS = (("killed", signal.SIGKILL), ("terminated", signal.SIGTERM))


def ways(ctx, sink):
    """How the probe can be in a host: (name, argv -> argv, environment)."""
    preload = {"LD_PRELOAD": probe.library(ctx)}
    export = probe.export_env(sink)
    return (("exec", lambda argv: probe.exec_argv(ctx, argv), export),
            ("bare", lambda argv: argv, dict(export, **preload)),
            ("bare, nobody listens", lambda argv: argv,
             dict(preload, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")),
            ("off", lambda argv: argv, dict(preload, SIGHTLINE_PROBE="off")),
            ("no folder", lambda argv: argv, dict(preload, SIGHTLINE_PROBE_DIR="/nonexistent/folder")))


def compare(ctx, host, cases, sink):
    count = 0
    for name, steps in cases:
        argv = host.argv + host.first + steps
        plain = probe.run(ctx, argv, host.env)
        for way, wrap, env in ways(ctx, sink):
            with_probe = probe.run(ctx, wrap(argv), dict(env, **host.env))
            with_probe.same_as(plain, "%s %s, %s, %s" % (host.release, host.how, name, way))
            count += 1
    return count


def kill_all(ctx, host, sink):
    """Hosts that a signal ends while they wait."""
    for name, number in HANGS:
        for way, wrap, env in ways(ctx, sink):
            p = ctx.start("hang-" + way.split(",")[0].replace(" ", "-"), wrap(host.argv + host.first + ["run", "hang"]),
                          dict(env, **host.env))
            net.until("%s host hangs" % way, 20, lambda: '"hang"' in open(p.log).read())
            target = children_of(p.pid) if way == "exec" and number == signal.SIGKILL else [p.pid]
            for pid in target[:1]:
                os.kill(pid, number)
            begin = time.monotonic()
            p.wait(20)
            expect(p.returncode in (-number, 128 + number), "%s, %s: status %s" % (name, way, p.returncode))
            expect(time.monotonic() - begin < 5, "%s, %s: took %.1f s to end" % (name, way, time.monotonic() - begin))
            ctx.processes.remove(p)


def children_of(pid):
    """The instrumented program among the children of a parent."""
    out = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open("/proc/%s/stat" % entry) as f:
                    if f.read().rpartition(")")[2].split()[1] == str(pid) and "llama_host" in open(
                            "/proc/%s/cmdline" % entry).read().split("\0")[0]:
                        out.append(int(entry))
            except OSError:
                pass
    return out


def told_until_death(ctx, host, sink, steps, what):
    """What a host did before it ended is told, and its spans are there although it could not close them."""
    service = "%s-%s" % (what, host.release)
    seen = probe.run(ctx, probe.exec_argv(ctx, host.argv + host.first + steps, "--decode-span-every", "1"),
                     dict(probe.export_env(sink, OTEL_SERVICE_NAME=service), **host.env))
    runs = seen.out.count('"last"')

    def complete():
        told = probe.Told(sink, service)
        return told if len(told.named("generate_tokens")) >= 2 * runs else None
    told = net.until("%s, %s: spans of %d runs" % (host.release, what, runs), 10, complete)
    tokens = sum(s["attributes"]["completion.tokens"] for s in told.named("generate_tokens"))
    expect_eq(tokens, 2 * runs * 17, "%s, %s: generated tokens of %d runs" % (host.release, what, runs))
    expect_eq(len(told.named("llama.generate")), 2 * runs, "%s, %s: generations" % (host.release, what))


def run_faults(ctx):
    sink = sightline.Sink(ctx)
    model = open_model(ctx)
    count = 0
    for host in probe.hosts(ctx, model):
        if host.release in ("b4234", "v0.5.0", "b11434"):
            count += compare(ctx, host, CASES, sink)
        if host.release == "v0.5.0" and host.how == "handle":
            kill_all(ctx, host, sink)
            for what, steps in TOLD:
                told_until_death(ctx, host, sink, steps, what)
    return "%d runs end as without the probe" % count


def open_model(ctx):
    """A model that another user may read too."""
    path = sightline.tiny_model(ctx)
    os.chmod(path, 0o644)
    return path


def run_copies(ctx):
    """Two copies of one release, and two releases, in one process: each is served by its own functions."""
    sink = sightline.Sink(ctx)
    model = open_model(ctx)
    plain = probe.build_host(ctx)
    by_build = {r.build: r for r in llama_releases.releases()}
    first = by_build["b6673"]
    copy = os.path.join(ctx.folder("copy"), os.path.basename(first.llama))
    shutil.copy(first.llama, copy)
    for name in os.listdir(os.path.dirname(first.llama)):
        if name != os.path.basename(copy):
            os.symlink(os.path.join(os.path.dirname(first.llama), name), os.path.join(os.path.dirname(copy), name))
    count = 0
    for how in ("handle", "global"):
        host = probe.Host("b6673 twice", how, [plain, "--ggml", first.ggml, "--llama", first.llama, "--again", copy,
                                               "--how", how, "--model", model], {}, [])
        count += compare(ctx, host, (("second", ["run", "second", "features", "second"]),), sink)
    wheel = os.path.join(os.path.dirname(glob.glob(os.path.join(
        python_venv.install("llama_server"), "lib", "python3.*", "site-packages", "*", "bin", "llama-server"))[0]),
        "libllama.so.0")
    new = by_build["v0.5.0"]
    host = probe.Host("v0.5.0 and b10434", "handle", [
        plain, "--ggml", new.ggml, "--llama", new.llama, "--again", wheel, "--again-ggml",
        os.path.join(os.path.dirname(wheel), "libggml.so.0"), "--model", model],
        {"LD_LIBRARY_PATH": os.path.dirname(wheel)}, [])
    count += compare(ctx, host, (("second", ["run", "second", "features", "second"]),), sink)
    told_until_death(ctx, host, sink, ["run", "second", "run"], "two releases")
    return "%d runs" % count


def run_sanitizers(ctx):
    """Hosts built with AddressSanitizer: its runtime wants to be the first library."""
    sink = sightline.Sink(ctx)
    model = open_model(ctx)
    release = llama_releases.releases()[-1]
    count = 0
    for name, flags in (("asan", ["-fsanitize=address"]), ("asan-static", ["-fsanitize=address", "-static-libasan"]),
                        ("ubsan", ["-fsanitize=undefined"]), ("tsan", ["-fsanitize=thread"])):
        program = probe.build_host(ctx, "llama_host_" + name, *flags)
        argv = [program, "--ggml", release.ggml, "--llama", release.llama, "--model", model, "run", "thread", "state",
                "fork-idle"]
        env = {"ASAN_OPTIONS": "detect_leaks=0", "TSAN_OPTIONS": "report_bugs=0"}
        plain = probe.run(ctx, argv, env)
        expect_eq(plain.status, 0, "%s without the probe: %s" % (name, plain.err[-300:]))
        with_probe = probe.run(ctx, probe.exec_argv(ctx, argv), dict(probe.export_env(sink), **env))
        with_probe.same_as(plain, name)
        count += 1
    return "%d builds" % count


def row(name, what, run, order, limit=300):
    return Row(name, "quick", "libllama", llama_releases.VERSION, what, run, needs=[llama_releases.install],
               order=order, limit=limit)


ROWS = [
    row("probe-faults", "hosts behave the same with the probe, whatever happens to them", run_faults, 60),
    row("probe-copies", "two copies of libllama, and two releases, in one process", run_copies, 61),
    row("probe-sanitizers", "hosts built with sanitizers", run_sanitizers, 62),
]
