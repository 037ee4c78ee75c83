#!/usr/bin/env python3
"""The probe inside its host: whatever the host does, it does the same with and without the probe; and what the probe tells.

Hosts and libraries are fakes of tests/probe, built here. Each host runs twice, alone and with the probe preloaded, and
must print, and end, the same. Names of tests say which pitfall of such instruments they guard against.
"""
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import threading

import lib

PLAIN = os.environ.get("SIGHTLINE_PROBE_LIBRARY") or os.path.join(lib.BUILD, "libsightline-llama.so")
# Hosts that have a sanitizer get the library that has it.
PROBE = PLAIN.replace(".so", "-sanitized.so") if lib.SANITIZERS else PLAIN
HERE = os.path.join(lib.SOURCE, "tests", "probe")
_built = {}
FOUND = 32  # SL_PROBE_MODEL_FOUND: a child has it from its parent


def sh(*command, cwd=None):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=cwd)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def folder():
    """Everything that the tests need, built once."""
    if "folder" in _built:
        return _built["folder"]
    if not os.path.exists(PROBE):
        raise lib.Skip("libsightline-llama.so is not built")
    out = lib.tempfile.mkdtemp(prefix="sightline-probe-")
    cc = ["cc", "-O2", "-g", "-Wall", "-I", HERE, "-I", lib.SOURCE, "-I", os.path.join(lib.SOURCE, "include"), "-D_GNU_SOURCE", "-fwrapv", *lib.SANITIZER_FLAGS]
    so = ["-shared", "-fPIC"]
    rpath = ["-L", out, "-Wl,-rpath,$ORIGIN"]
    sh(*cc, *so, f"{HERE}/fake_ggml.c", "-o", f"{out}/libfake_ggml.so")
    for name, flags in (("llama", []), ("llama_old", ["-DFAKE_OLD", "-DFAKE_SALT=100"]), ("llama_b", ["-DFAKE_SALT=200"]),
                        ("llama_c", ["-DFAKE_SALT=300"])):
        sh(*cc, *so, *flags, f"{HERE}/fake_llama.c", "-o", f"{out}/libfake_{name}.so", f"-Wl,-soname,libfake_{name}.so", *rpath,
           "-lfake_ggml")
    for name, library in (("plugin", "llama"), ("plugin_b", "llama_b"), ("plugin_c", "llama_c")):
        sh(*cc, *so, f"{HERE}/plugin.c", "-o", f"{out}/{name}.so", *rpath, f"-lfake_{library}")
    sh(*cc, *so, f"{HERE}/plugin.c", f"{HERE}/fake_llama.c", f"{HERE}/fake_ggml.c", "-DFAKE_SALT=400", "-o", f"{out}/index.node")
    sh(*cc, *so, f"{HERE}/shim.c", "-o", f"{out}/shim.so")
    sh(*cc, f"{HERE}/host_linked.c", "-o", f"{out}/host_linked", *rpath, "-lfake_llama", "-lfake_ggml", "-pthread")
    sh(*cc, f"{HERE}/host_open.c", "-o", f"{out}/host_open", "-ldl")
    sh("c++", "-O2", *lib.SANITIZER_FLAGS, "-I", HERE, f"{HERE}/host_throw.cc", "-o", f"{out}/host_throw", *rpath, "-lfake_llama", "-lfake_ggml")
    sh(*cc, f"{HERE}/ring_dump.c", f"{lib.SOURCE}/src/probe/ring.c", f"{lib.SOURCE}/src/probe/event.c", f"{lib.SOURCE}/src/probe/process_seen.c", "-o", f"{out}/ring_dump")
    _built["folder"] = out
    return out


def rings_in(place):
    """Events of every ring, by the ring's file name; the last of each is about the ring itself."""
    rings = {}
    for path in sorted(glob.glob(f"{place}/*.ring")):
        lines = sh(f"{folder()}/ring_dump", path).strip().split("\n")
        rings[os.path.basename(path)] = [json.loads(line) for line in lines]
    lib.equal(glob.glob(f"{place}/*.new"), [], "left beside the rings")
    return rings


def start(host, *args, env=None, preload=None, place=None, stdin=subprocess.DEVNULL):
    environment = lib.environment(env)
    if preload is not None:
        environment["LD_PRELOAD"] = preload
    if place:
        environment["SIGHTLINE_PROBE_DIR"] = place
    return subprocess.Popen([f"{folder()}/{host}", *args], env=environment, stdin=stdin, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate(timeout=60)
    return out, err, process.returncode


def both(host, *args, env=None, before="", behind="", place=None, alone=True):
    """Runs the host without and with the probe; what it did must be the same. Returns the rings."""
    place = place or lib.tmp()
    probe = ":".join(p for p in (before, PROBE, behind) if p)
    others = ":".join(p for p in (before, behind) if p)
    seen = finish(start(host, *args, env=env, preload=probe, place=place))
    if alone:
        wanted = finish(start(host, *args, env=env, preload=others))
        lib.equal(seen, wanted, "output and exit status with the probe, and without")
    return rings_in(place)


def one(rings):
    lib.equal(len(rings), 1, f"rings: {sorted(rings)}")
    return next(iter(rings.values()))


def kind(events, *names):
    return [e for e in events if e["kind"] in names]


def whole(events, closed=True):
    """Nothing was lost."""
    ring = events[-1]
    lib.equal((ring["dropped"], ring["bad"], ring["closed"]), (0, 0, closed))
    lib.equal(ring["written"], len(events) - 1)


def runs(event):
    return [(r["seq"], r["pos"], r["n"], r["outputs"], r["row"], r["flags"]) for r in event["runs"]]


# ---- what the object asks of its host ----


def test_it_needs_libc_alone():
    folder()
    needed = re.findall(r"\(NEEDED\).*\[(.*?)\]", sh("readelf", "-d", PLAIN))
    strange = {n for n in needed if not n.startswith("ld-linux")} - {"libc.so.6", "libm.so.6"}
    lib.equal(strange, set())


def test_it_exports_the_hooked_names_and_nothing_else():
    folder()
    names = {line.split()[-1].split("@")[0] for line in sh("nm", "-D", "--defined-only", PLAIN).strip().split("\n")}
    text = open(os.path.join(lib.SOURCE, "src", "probe", "host", "hooks.def")).read()
    lib.equal(names, set(re.findall(r"^SL_HOOK\((\w+),", text, re.M)) | {"dlsym", "dlvsym"})


def test_nothing_runs_when_it_is_loaded():
    folder()
    empty = lib.tmp()
    with open(empty + "/empty.c", "w") as file:
        file.write("int nothing;\n")
    sh("cc", "-shared", "-fPIC", empty + "/empty.c", "-o", empty + "/empty.so")

    def constructors(path):
        sizes = re.findall(r"\.(?:preinit_array|init_array|ctors)\S*\s+\S+\s+\S+\s+\S+\s+([0-9a-f]+)", sh("readelf", "-SW", path))
        return sum(int(size, 16) // 8 for size in sizes)
    lib.equal(constructors(PLAIN), constructors(empty + "/empty.so"))


def test_a_program_without_libllama_is_left_alone():
    place = lib.tmp()
    rings = both("host_linked", "hello", place=place)
    lib.equal(rings, {})
    lib.equal(os.listdir(place), [])
    done = subprocess.run(["ls", "/"], env=lib.environment({"LD_PRELOAD": PROBE, "SIGHTLINE_PROBE_DIR": place}), capture_output=True,
                          text=True, timeout=30)
    lib.equal((done.returncode, done.stderr), (0, ""))
    lib.equal(os.listdir(place), [])


# ---- what it tells ----


def test_every_function_of_today():
    events = one(both("host_linked", "all"))
    whole(events)
    attach = events[0]
    lib.equal(attach["kind"], "attach")
    lib.equal([os.path.basename(t) for t in attach["texts"][:2]], ["host_linked", "libfake_llama.so"])
    found = events[1]["texts"][0].split()
    lib.equal({"llama_decode", "llama_process", "llama_model_free", "ggml_backend_buffer_free"} - set(found), set())
    lib.equal(events[-2]["kind"], "exit")
    lib.equal({e["thread"] for e in events[:-1]}, {attach["pid"]})
    lib.equal([e["time"] for e in events[:-1]], sorted(e["time"] for e in events[:-1]))


def test_models():
    events = one(both("host_linked", "all"))
    loads = kind(events, "model_load")
    known, mapped, no_alloc = 16, 2, 8
    lib.equal([(e["texts"], e["flags"], e["weights_bytes"], e["splits"]) for e in loads], [
        (["/missing", ""], 1, 0, 1),
        (["/models/dry.gguf", "fake 0"], no_alloc, 0, 1),
        (["/models/mapped-1.gguf", "fake 0"], known | mapped, 5000, 2),
        (["/dev/null", "fake 0"], 0, 4000, 1),
        (["", "fake 0"], 0, 4000, 1),
        (["/models/tiny.gguf", "fake 0"], 0, 4000, 1),
    ])
    lib.equal([e["model"] for e in loads], [1, 2, 3, 4, 5, 6])
    lib.equal([(e["n_params"], e["size_bytes"], e["n_ctx_train"], e["n_layer"], e["n_embd"]) for e in loads[1:]],
              [(135744, 542976, 4096, 2, 64)] * 5)
    lib.equal((loads[0]["n_params"], loads[0]["n_layer"]), (0, -1))
    lib.equal([e["id"] for e in kind(events, "model_free")], [2, 3, 4, 5, 6])


def test_contexts_and_their_memory_by_use():
    events = one(both("host_linked", "all"))
    made = kind(events, "context_new")
    lib.equal([(e["context"], e["model"], e["kv_bytes"], e["compute_bytes"], e["output_bytes"]) for e in made],
              [(1, 6, 300, 2000, 10), (2, 6, 300, 2000, 10)])
    lib.equal((made[0]["n_ctx"], made[0]["n_batch"], made[0]["n_ubatch"]), (2048, 512, -1))
    lib.equal([e["id"] for e in kind(events, "context_free")], [1, 2])
    buffers = kind(events, "buffer")
    lib.equal(sum(e["bytes"] for e in buffers), 0)
    lib.equal([(e["bytes"], e["owner"], e["phase"], e["name"]) for e in buffers if e["phase"] == 2 and e["owner"] == 1],
              [(10, 1, 2, "CPU"), (300, 1, 2, "CPU"), (2000, 1, 2, "CPU"), (-10, 1, 2, "CPU"), (-300, 1, 2, "CPU"), (-2000, 1, 2, "CPU")])
    lib.equal([e["name"] for e in buffers if abs(e["bytes"]) == 5000], ["CPU_Mapped"] * 2)


def test_batches_become_runs():
    events = one(both("host_linked", "all"))
    decodes = kind(events, "decode")
    last, embedded, shared = 4, 2, 1
    full = [(3, 0, 3, 1, 0, last), (3, 5, 1, 1, 3, last), (4, 5, 1, 1, 3, last | shared)]
    lib.equal([(e["flags"], e["result"], e["n_tokens"], runs(e), e["tokens"]) for e in decodes[:8]], [
        (0, 0, 4, full, [11, 12, 13, 14]),
        (0, 0, 4, [(s, p, n, o, row, f | embedded) for s, p, n, o, row, f in full], []),
        (0, 0, 4, [(0, -1, 4, 1, 0, last)], [11, 12, 13, 14]),
        (0, -1, 0, [], []),
        (0, 1, 1, [(0, -1, 1, 1, 0, last)], [666]),
        (1, 0, 4, full, [11, 12, 13, 14]),
        (0, 0, 4, [(0, -1, 4, 1, 0, last)], [11, 12, 13, 14]),
        (0, 0, 2, [(0, -1, 2, 2, 0, last)], [50, 51]),
    ])
    lib.equal({e["context"] for e in decodes}, {2})


def test_a_batch_that_the_library_refuses_is_not_read():
    decodes = kind(one(both("host_linked", "refused")), "decode")
    lib.equal([(e["result"], e["n_tokens"], runs(e), e["tokens"]) for e in decodes[:1]], [(-1, 1000, [], [])])
    lib.equal(len(decodes), 2)


def test_opaque_batches_are_followed():
    """llama-server calls llama_process since autumn 2026: a hook of llama_decode alone sees nothing there."""
    events = one(both("host_linked", "all"))
    processed = kind(events, "decode")[9:]
    lib.equal([e["flags"] for e in processed], [2, 1, 2, 2])
    lib.equal((runs(processed[0]), processed[0]["tokens"]), ([(1, 0, 2, 0, 0, 0), (1, 2, 1, 1, 2, 4), (9, 2, 1, 1, 2, 5)], [100, 101, 102]))
    lib.equal((runs(processed[1]), processed[1]["tokens"]), ([(2, -1, 1, 0, 0, 2)], []))
    lib.equal((runs(processed[2]), processed[2]["tokens"]), ([(0, 0, 5000, 0, 0, 0)], list(range(5000))))
    lib.equal((processed[3]["n_tokens"], runs(processed[3])), (0, []))


def test_waiting_is_told_once_for_each_batch():
    """And rows where there are several: whose the one row is that a batch has, the batch itself tells."""
    events = one(both("host_linked", "all"))
    order = [e["kind"] for e in events if e["kind"] in ("decode", "sync", "logits")]
    lib.equal(order[:14], ["decode"] * 6 + ["sync", "decode", "sync", "decode", "sync", "logits", "decode", "sync"])


def test_changes_of_memory_once_each():
    """The older functions call the newer ones: one change, one event."""
    events = one(both("host_linked", "all"))
    seen = [(e["flags"], e["seq"], e["seq_to"], e["p0"], e["p1"], e["delta"], e["bytes"]) for e in kind(events, "sequence")]
    rm, cp, keep, add, div, clear, save, load = range(8)
    lib.equal(seen, [
        (clear, -1, -1, -1, -1, 0, 0), (rm, 1, -1, 2, 3, 0, 0), (cp, 1, 2, 3, 4, 0, 0), (keep, 5, -1, -1, -1, 0, 0),
        (add, 1, -1, 2, 3, -4, 0), (div, 1, -1, 2, 3, 2, 0), (rm, 6, -1, 7, 8, 0, 0), (rm, 7, -1, 8, -1, 0, 0),
        (save, 3, -1, -1, -1, 0, 16), (load, 3, -1, -1, -1, 0, 16), (save, 3, -1, -1, -1, 0, 8),
        (load, -1, -1, -1, -1, 0, 0), (save, -1, -1, -1, -1, 0, 0),
    ])
    lib.equal({e["context"] for e in kind(events, "sequence")}, {2})


def test_samples_are_the_outermost_calls():
    events = one(both("host_linked", "all"))
    unknown = -2147483648
    lib.equal([(e["context"], e["chain"], e["row"], e["token"]) for e in kind(events, "sample")],
              [(2, 0, 3, 73), (2, 1, 4, 8), (0, 1, unknown, 23), (2, 2, 5, 8)])
    lib.equal([e["id"] for e in kind(events, "chain")], [1, 2])


def test_a_batch_too_long_for_an_event_is_cut():
    events = one(both("host_linked", "long"))
    whole(events)
    decode = kind(events, "decode")[0]
    lib.equal((decode["n_tokens"], runs(decode)), (200000, [(0, -1, 200000, 1, 0, 4)]))
    assert 30000 < len(decode["tokens"]) < 65536, len(decode["tokens"])
    lib.equal(decode["tokens"][:3] + decode["tokens"][1000:1002], [1000, 1001, 1002, 1000, 1001])


def test_many_threads():
    events = one(both("host_linked", "threads"))
    ring = events[-1]
    lib.equal((ring["bad"], ring["closed"]), (0, True))
    lib.equal(len({e["thread"] for e in kind(events, "decode")}), 6)
    for thread in {e["thread"] for e in kind(events, "decode")}:
        tokens = [e["tokens"][0] for e in kind(events, "decode") if e["thread"] == thread]
        lib.equal(tokens, sorted(tokens))


# ---- where functions are found ----


def test_libraries_opened_by_the_host_itself():
    """Python's ctypes and the like: RTLD_LOCAL and dlsym on a handle, which RTLD_NEXT does not see."""
    for library, names in (("llama", "new"), ("llama_old", "old")):
        events = one(both("host_open", "once", f"{folder()}/libfake_{library}.so"))
        whole(events)
        lib.equal([len(kind(events, k)) for k in ("model_load", "context_new", "decode", "sync", "context_free", "model_free")],
                  [1, 1, 1, 1, 1, 1], names)


def test_presence_leak():
    """The probe exports names that an older libllama has not: those who ask must get the answer they got before."""
    for library in ("llama", "llama_old"):
        rings = both("host_open", "presence", f"{folder()}/libfake_{library}.so")
        lib.equal(rings, {}, "asking is not calling")


def test_two_copies_do_not_mix():
    paths = [f"{folder()}/libfake_{name}.so" for name in ("llama", "llama_old", "llama_b", "llama_c")]
    events = one(both("host_open", "copies", *paths))
    whole(events)
    lib.equal([e["context"] for e in kind(events, "decode")], [1, 2, 3, 4] * 3)
    lib.equal([e["texts"][1] for e in kind(events, "model_load")], ["fake 0", "fake 100", "fake 200", "fake 300"])


def test_plugins_call_the_copy_they_are_linked_to():
    paths = [f"{folder()}/{name}.so" for name in ("plugin", "plugin_b", "plugin_c")]
    events = one(both("host_open", "plugins", *paths))
    whole(events)
    lib.equal(len(kind(events, "decode")), 9)
    both("host_open", "plugins", *reversed(paths))


def test_an_addon_with_all_of_it_inside():
    """Found by what an object defines, not by its name."""
    events = one(both("host_open", "plugins", f"{folder()}/index.node"))
    whole(events)
    lib.equal(os.path.basename(events[0]["texts"][1]), "index.node")
    lib.equal(len(kind(events, "decode")), 3)
    events = one(both("host_open", "plugins", f"{folder()}/index.node", f"{folder()}/plugin.so"))
    lib.equal(len(kind(events, "decode")), 6)


def test_ggml_without_llama_is_left_alone():
    lib.equal(both("host_open", "ggml", f"{folder()}/libfake_ggml.so"), {})


def test_handles_that_are_closed_while_the_library_stays():
    events = one(both("host_open", "closing", f"{folder()}/libfake_llama.so", f"{folder()}/libfake_llama_b.so"))
    whole(events)
    lib.equal(len(kind(events, "decode")), 3)


def test_a_library_closed_and_opened_again():
    paths = [f"{folder()}/libfake_{name}.so" for name in ("llama", "llama_b", "llama", "llama_old", "llama_c", "llama")]
    events = one(both("host_open", "again", *paths))
    whole(events)
    lib.equal(len(kind(events, "decode")), 6)


def test_objects_that_take_the_place_of_functions_too():
    """dlsym must jump: what RTLD_NEXT means depends on who asks."""
    shim = f"{folder()}/shim.so"
    for order in ({"before": shim}, {"behind": shim}):
        events = one(both("host_linked", "all", **order))
        lib.equal(len([e for e in kind(events, "decode") if e["flags"] == 1]), 2)


def test_exceptions_pass_through():
    events = one(both("host_throw"))
    whole(events)
    lib.equal(len(kind(events, "decode")), 500)
    lib.equal(len(kind(events, "context_free", "model_free")), 2)


def test_longjmp_passes_through():
    events = one(both("host_linked", "longjmp"))
    whole(events)
    lib.equal(len(kind(events, "decode")), 1)
    lib.equal({e["phase"] for e in kind(events, "buffer") if e["bytes"] < 0}, {1, 2})


# ---- processes ----


def test_a_forked_child_has_a_ring_of_its_own_once_it_calls_libllama():
    place = lib.tmp()
    rings = both("host_linked", "fork", place=place)
    lib.equal(len(rings), 3, sorted(rings))
    first = next(events for events in rings.values() if not any(e["flags"] & FOUND for e in kind(events, "model_load")))
    whole(first)
    lib.equal([e["tokens"] for e in kind(first, "decode")], [[1], [4]])
    others = sorted(e["tokens"] for events in rings.values() if events is not first for e in kind(events, "decode"))
    lib.equal(others, [[2], [3]])
    parents = {"model_load": 32, "context_new": 2}
    for events in [events for events in rings.values() if events is not first]:
        for what, flag in parents.items():  # inherited: told anew, and said to be
            lib.equal([(e["flags"], e.get("texts")) for e in kind(events, what)], [(flag, e.get("texts")) for e in kind(first, what)])
        (of,) = {e["context"] for e in kind(events, "decode")}
        lib.equal([e["context"] for e in kind(events, "context_new")], [of])
    for name, events in rings.items():
        lib.equal(events[0]["pid"], int(name.split("-")[0]))
        lib.equal({e["thread"] for e in events[:-1]}, {events[0]["pid"]})


def test_fork_while_other_threads_are_at_work():
    # ThreadSanitizer does not know that threads do not go on in a child.
    rings = both("host_linked", "fork_busy", env=lib.sanitizer_options("report_bugs=0") if lib.SANITIZERS == "thread" else None)
    lib.equal(len(rings), 21)
    for events in rings.values():
        own = [e for e in kind(events, "model_load") if not e["flags"] & FOUND]
        lib.equal(len(own), 1)
        lib.equal(len({e["model"] for e in kind(events, "model_load")}), len(kind(events, "model_load")))


def test_vfork_and_spawn():
    place = lib.tmp()
    events = one(both("host_linked", "spawn", place=place))
    whole(events)
    lib.equal(len(kind(events, "decode")), 1)


def test_exec_begins_a_new_ring_and_keeps_the_old():
    rings = both("host_linked", "exec")
    lib.equal(len(rings), 2)
    lib.equal([name.split("-")[1] for name in sorted(rings)], ["1.ring", "2.ring"])
    old, new = (rings[name] for name in sorted(rings))
    lib.equal([e["tokens"] for e in kind(old, "decode")] + [e["tokens"] for e in kind(new, "decode")], [[4], [5]])
    whole(old, closed=False)
    whole(new)


def test_what_was_written_outlives_the_host():
    for mode, decodes in (("kill", 100), ("crash", 1), ("quick", 1)):
        events = one(both("host_linked", mode, env=lib.sanitizer_options("handle_segv=0")))
        whole(events, closed=False)
        lib.equal(len(kind(events, "decode")), decodes)
        lib.equal(kind(events, "exit"), [])


def test_a_stack_that_ends_behind_the_call():
    """Parameters are passed by value: what is behind them on the stack is not touched."""
    if os.uname().machine != "x86_64":
        raise lib.Skip("their length is told on x86-64 alone")
    if "address" in lib.SANITIZERS:
        raise lib.Skip("a hook that has the sanitizer copies all of a parameter")
    events = one(both("host_linked", "edge"))
    assert kind(events, "model_load") and kind(events, "context_new"), events


def test_a_host_that_closes_all_descriptors():
    events = one(both("host_linked", "descriptors"))
    whole(events)
    lib.equal(len(kind(events, "decode")), 1)


def test_a_host_that_changes_its_user():
    if os.geteuid() != 0:
        raise lib.Skip("not root")
    place = lib.tmp()
    os.chmod(place, 0o700)
    for path in (folder(), os.path.dirname(PROBE)):
        if not os.stat(path).st_mode & 1:
            os.chmod(path, 0o755)
    rings = both("host_linked", "user", place=place)
    assert len(rings) <= 1
    place = lib.tmp()
    os.chmod(place, 0o700)
    events = one(both("host_linked", "user_later", place=place))
    whole(events)
    lib.equal(len(kind(events, "decode")), 1)


def test_an_environment_that_is_cleared():
    events = one(both("host_linked", "cleared"))
    lib.equal(len(kind(events, "decode")), 1)


def test_a_title_where_the_environment_was():
    events = one(both("host_linked", "title"))
    lib.equal(len(kind(events, "decode")), 1)


# ---- when something is missing ----


def test_off():
    place = lib.tmp()
    lib.equal(both("host_linked", "all", env={"SIGHTLINE_PROBE": "off"}, place=place), {})
    paths = [f"{folder()}/libfake_{name}.so" for name in ("llama", "llama_b", "llama", "llama_old", "llama_c", "llama")]
    for mode in ("again", "copies", "presence"):
        lib.equal(both("host_open", mode, *paths[:4], env={"SIGHTLINE_PROBE": "off"}, place=place), {})
    plugins = [f"{folder()}/{name}.so" for name in ("plugin_b", "plugin", "plugin_c")]
    lib.equal(both("host_open", "plugins", *plugins, env={"SIGHTLINE_PROBE": "off"}, place=place), {})
    both("host_throw", env={"SIGHTLINE_PROBE": "off"}, place=place)
    lib.equal(os.listdir(place), [])


def test_a_folder_that_is_not_there():
    for place in (lib.tmp() + "/none", "/proc", "/dev/null", "x" * 3000):
        seen = finish(start("host_linked", "all", preload=PROBE, place=place, env={"OTEL_SDK_DISABLED": "true"}))
        lib.equal(seen, finish(start("host_linked", "all", preload="")), place)


def test_a_file_system_that_is_full():
    """Room for the ring is taken when it is made: later there must be no SIGBUS in the host."""
    if os.geteuid() != 0:
        raise lib.Skip("not root")
    place = lib.tmp()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True).returncode != 0:
        raise lib.Skip("mount is not allowed")
    try:
        both("host_linked", "all", place=place)
        lib.equal(os.listdir(place), [])
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_ring_that_nobody_reads_is_full_and_no_more():
    events = one(both("host_linked", "threads"))
    ring = events[-1]
    decodes = len(kind(events, "decode"))
    lib.equal(ring["bad"], 0)
    assert decodes == 12000 or ring["dropped"] > 0, (decodes, ring)


def test_rings_that_are_removed_while_in_use():
    place = lib.tmp()
    process = start("host_linked", "wait", preload=PROBE, place=place, stdin=subprocess.PIPE)
    lib.equal(process.stdout.readline(), "ready\n")
    shutil.rmtree(place)
    process.stdin.write("ddd")
    out, err = process.communicate(timeout=30)
    lib.equal((out.split(), err, process.returncode), (["0"] * 3, "", 0))


def test_only_debugging_prints():
    place = lib.tmp()
    out, err, status = finish(start("host_linked", "short", preload=PROBE, place=place, env={"SIGHTLINE_PROBE_DEBUG": "1"}))
    lib.equal((out, status), ("0\n", 0))
    lib.contains(err, "sightline: attached to ")
    out, err, status = finish(start("host_linked", "short", preload=PROBE, place=place))
    lib.equal(err, "")


def test_a_host_built_with_sanitizers():
    """Their functions take libc's place as well; the loader must have their runtime before the probe."""
    if lib.SANITIZERS:
        raise lib.Skip("every host of this file is, and so is the probe")
    out = folder()
    runtime = sh("cc", "-print-file-name=libasan.so").strip()
    if not os.path.isabs(runtime):
        raise lib.Skip("no sanitizer runtime")
    cc = ["cc", "-O1", "-g", "-fsanitize=address,undefined", "-I", HERE, "-D_GNU_SOURCE", f"{HERE}/host_linked.c", "-L", out,
          "-Wl,-rpath,$ORIGIN", "-lfake_llama", "-lfake_ggml", "-pthread"]
    sh(*cc, "-o", f"{out}/host_asan")
    sh(*cc, "-static-libasan", "-o", f"{out}/host_asan_static")
    for host, order in (("host_asan", {"before": os.path.realpath(runtime)}), ("host_asan_static", {})):
        for mode in ("all", "threads", "fork"):
            rings = both(host, mode, env={"ASAN_OPTIONS": "detect_leaks=0"}, **order)
            assert rings, (host, mode)
    # As `sightline exec` has it: the probe first.
    assert both("host_asan", "all", env={"ASAN_OPTIONS": "detect_leaks=0:verify_asan_link_order=0"})
    thread = sh("cc", "-print-file-name=libtsan.so").strip()
    if os.path.isabs(thread):
        cc[cc.index("-fsanitize=address,undefined")] = "-fsanitize=thread"
        sh(*cc, "-o", f"{out}/host_tsan")
        assert both("host_tsan", "threads", before=os.path.realpath(thread))


def test_rings_of_many_processes_at_once():
    place = lib.tmp()
    folder()
    done = []
    threads = [threading.Thread(target=lambda: done.append(finish(start("host_linked", "short", preload=PROBE, place=place))))
               for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lib.equal(done, [("0\n", "", 0)] * 12)
    rings = rings_in(place)
    lib.equal(len(rings), 12)
    for events in rings.values():
        whole(events)


def test_signals_reach_the_host():
    place = lib.tmp()
    process = start("host_linked", "wait", preload=PROBE, place=place, stdin=subprocess.PIPE)
    lib.equal(process.stdout.readline(), "ready\n")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    lib.equal((err, process.returncode), ("", -signal.SIGTERM))
    whole(one(rings_in(place)), closed=False)


try:
    lib.main(globals())
finally:
    shutil.rmtree(_built.get("folder", ""), ignore_errors=True)
