#!/usr/bin/env python3
"""The harness itself: what a sanitizer finds in a process that no test looks at fails the test all the same."""
import importlib.machinery
import importlib.util
import os
import subprocess
import sys

import lib

FAULTS = {"address": ("heap-use-after-free", "int *p = malloc(4); free(p); return *p;"),
          "leak": ("LeakSanitizer: detected memory leaks", "volatile char *p = malloc(77); p = 0; return 0;"),
          "undefined": ("signed integer overflow", "return argc + __INT_MAX__ == 5;"),
          "thread": ("data race", "pthread_t t; pthread_create(&t, 0, add, 0); add(0); pthread_join(t, 0); return 0;")}
PROGRAM = """
#include <pthread.h>
#include <stdlib.h>
int shared;
void *add(void *p) { shared++; return p; }
int main(int argc, char **argv) { (void)argv; %s }
"""


def test_what_a_sanitizer_finds_is_noticed():
    """In a child whose output and status nobody asks for."""
    if not lib.SANITIZERS:
        raise lib.Skip("this build has no sanitizer")
    program = os.path.join(lib.tmp(), "program")
    kinds = [kind for kind in FAULTS if kind in lib.SANITIZERS or kind == "leak" and "address" in lib.SANITIZERS]
    for kind in kinds:
        subprocess.run([lib.need("cc"), "-O0", *lib.SANITIZER_FLAGS, "-x", "c", "-", "-o", program], input=(PROGRAM % FAULTS[kind][1]).encode(), check=True)
        done = subprocess.run([program], env=lib.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60, text=True)
        lib._listen(done.stderr)
        lib.contains(lib._found_by_sanitizers(), FAULTS[kind][0], kind)
        lib.equal(lib._found_by_sanitizers(), "", "taken away")


def test_the_runner_notices_too():
    """A unit test passes, but its child has said something that only a sanitizer says."""
    loader = importlib.machinery.SourceFileLoader("runner", os.path.join(lib.SOURCE, "tests", "run"))
    runner = importlib.util.module_from_spec(importlib.util.spec_from_loader("runner", loader))
    loader.exec_module(runner)
    for text, failed in (("nothing", 0), ("==17==ERROR: AddressSanitizer: heap-use-after-free", 1), ("==17==ERROR: LeakSanitizer: detected", 1),
                         ("WARNING: ThreadSanitizer: data race (pid=17)", 1), ("src/base/buf.c:3:4: runtime error: shift exponent", 1)):
        code = f"print({text!r}); print('2 passed, 0 failed')"
        result = runner.run_one("test_it", [sys.executable, "-c", code], 60, dict(os.environ))
        lib.equal(result[1:4], (2, failed, 0), text)


lib.main(globals())
