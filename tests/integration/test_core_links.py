#!/usr/bin/env python3
"""What the libraries ask of their host: libc alone for the core, no code before main(), no name but the public ones; and
what the program is linked to."""
import os
import re
import subprocess

import lib

CORE = os.path.join(lib.BUILD, "libsightline-core.a")
SHARED = os.path.join(lib.BUILD, "libsightline.so")
LIBC = {"libc.so.6", "libm.so.6", "libpthread.so.0"}
PROGRAM = """
#include <sightline/sightline.h>
#include <stdio.h>
int main(void)
{
    sl_sdk *sdk;
    if (sl_sdk_new(NULL, &sdk) != 0)
        return 1;
    sl_span *span = sl_span_start(sl_tracer_named(sdk, "core"), SL_STR("alone"), NULL);
    sl_span_set_int(span, "answer", 42);
    sl_span_end(span);
    sl_sdk_free(sdk);
    puts("done");
    return 0;
}
"""


def sh(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def plain_build():
    if "san" in os.path.basename(lib.BUILD):
        raise lib.Skip("sanitizers bring their own library and constructors")


def link_core(*flags):
    """A small program against the core alone; its path."""
    folder = lib.tmp()
    with open(folder + "/program.c", "w") as file:
        file.write(PROGRAM)
    sh("cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-I", os.path.join(lib.SOURCE, "include"), folder + "/program.c", CORE, "-lm", *flags,
       "-o", folder + "/program")
    return folder + "/program"


def exported():
    return {line.split()[-1].split("@")[0] for line in sh("nm", "-D", "--defined-only", SHARED).strip().split("\n")}


def public_prototypes():
    folder = os.path.join(lib.SOURCE, "include", "sightline")
    text = "".join(open(os.path.join(folder, name)).read() for name in sorted(os.listdir(folder)))
    return set(re.findall(r"^SL_API[^;({]*?\b(sl_\w+)\s*\(", text, re.M))


def constructors(path):
    """Entries of the file's tables of functions that run before main()."""
    sections = sh("readelf", "-SW", path)
    sizes = re.findall(r"\.(?:preinit_array|init_array|ctors)\S*\s+\S+\s+\S+\s+\S+\s+([0-9a-f]+)", sections)
    return sum(int(size, 16) // 8 for size in sizes)


def test_core_needs_libc_alone():
    plain_build()
    needed = re.findall(r"\(NEEDED\).*\[(.*?)\]", sh("readelf", "-d", link_core("-pthread")))
    strange = {name for name in needed if not name.startswith("ld-linux")} - LIBC
    lib.equal(strange, set())


def test_the_program_loads_late_what_is_rarely_needed():
    """OpenSSL, libcurl and the NATS client bring much along; a function that src/cli/lazy_*.c does not have links them again."""
    needed = re.findall(r"\(NEEDED\).*\[(.*?)\]", sh("readelf", "-d", lib.BINARY))
    lib.equal([name for name in needed if name.startswith(("libcrypto", "libcurl", "libnats", "libpq", "libssl"))], [])


def test_core_program_runs():
    plain_build()
    env = lib.environment({"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"})
    done = subprocess.run([link_core("-pthread")], env=env, capture_output=True, text=True, timeout=30)
    lib.equal(done.returncode, 0, done.stderr)
    lib.contains(done.stdout + done.stderr, "alone")
    lib.contains(done.stdout, "done")


def test_core_takes_nothing_else_from_outside():
    """Every name that the archive leaves open is its own, or libc's."""
    plain_build()
    defined = {line.split()[-1] for line in sh("nm", "--defined-only", CORE).split("\n") if len(line.split()) == 3}
    open_names = {line.split()[-1] for line in sh("nm", "-u", CORE).split("\n") if line.strip().startswith("U ")}
    path = link_core("-pthread")
    host = set()
    for library in re.findall(r"=> (\S+)", sh("ldd", path)):
        host |= {line.split()[-1].split("@")[0] for line in sh("nm", "-D", "--defined-only", library).split("\n") if line.strip()}
    compiler = {"_GLOBAL_OFFSET_TABLE_", "__tls_get_addr", "__stack_chk_fail"}
    lib.equal(sorted(open_names - defined - host - compiler), [])


def test_no_constructors():
    plain_build()
    # What the C runtime itself puts into any shared object.
    folder = lib.tmp()
    with open(folder + "/empty.c", "w") as file:
        file.write("int nothing;\n")
    sh("cc", "-shared", "-fPIC", folder + "/empty.c", "-o", folder + "/empty.so")
    lib.equal(constructors(SHARED), constructors(folder + "/empty.so"), "functions that run when libsightline.so is loaded")
    lib.equal(constructors(CORE), 0, "functions that run before main() in libsightline-core.a")


def test_exports_are_the_public_prototypes():
    plain_build()
    names = {name for name in exported() if name not in ("_init", "_fini", "_edata", "_end", "__bss_start")}
    public = public_prototypes()
    lib.equal(sorted(names - public), [], "exported, but no SL_API prototype")
    lib.equal(sorted(public - names), [], "SL_API prototype, but not exported")


lib.main(globals())
