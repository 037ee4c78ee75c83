#!/usr/bin/env python3
"""What `make install` leaves: files, pkg-config, CMake package, programs built against them."""
import os
import re
import subprocess

import lib

PREFIX = "/opt/sightline"
state = {}


def sh(*command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def root():
    """The folder that was installed into; once for all tests of this file."""
    if "root" not in state:
        folder = os.path.join(lib.BUILD, "tests", "install")
        subprocess.run(["rm", "-rf", folder], check=True)
        sh("cmake", "--install", lib.BUILD, "--prefix", folder + PREFIX)
        state["root"] = folder
    return state["root"]


def find(name):
    for folder, _, files in os.walk(root()):
        if name in files:
            return os.path.join(folder, name)
    raise AssertionError(f"{name} is not installed")


def plain_build(what):
    if lib.SANITIZERS:
        raise lib.Skip(what)


def pkg_config(*args, name="sightline"):
    """Asks the installed file, with its prefix moved to where it was put."""
    lib.need("pkg-config")
    path = os.path.dirname(find(f"{name}.pc"))
    env = dict(os.environ, PKG_CONFIG_PATH=path)
    return sh("pkg-config", f"--define-variable=prefix={root()}{PREFIX}", *args, name, env=env).split()


def build(folder, flags):
    """The README's program, as folder/program."""
    with open(folder + "/program.c", "w") as file:
        file.write(readme_program())
    sh("cc", "-std=c11", "-Wall", "-Wextra", "-Werror", *lib.SANITIZER_FLAGS, folder + "/program.c", "-o", folder + "/program", *flags)


def readme_program():
    with open(os.path.join(lib.SOURCE, "README.md")) as file:
        return re.search(r"```c\n(.*?)```", file.read(), re.S).group(1)


def test_files_are_there():
    for name in ("sightline", "libsightline.so", "libsightline-llama.so", "libsightline.a", "libsightline-core.a", "sightline.h", "sightline.pc", "sightline-core.pc",
                 "sightlineConfig.cmake", "sightlineConfigVersion.cmake", "sightline.1", "sightline-gateway.1", "sightline-load.1",
                 "_sightline", "sightline.fish"):
        find(name)
    version = open(os.path.join(lib.SOURCE, "VERSION")).read().strip()
    lib.equal(sh(find("sightline.h").replace("include/sightline/sightline.h", "bin/sightline"), "--version").strip(), f"sightline {version}")
    text = open(find("sightline.pc")).read()
    lib.contains(text, f"Version: {version}\n")
    lib.contains(text, "Libs.private: -lcurl -lssl -lcrypto -lnghttp2 -lz")


def test_a_build_of_ones_own_finds_the_probe():
    """llama-otel.cmake, from where it is installed, and the script that starts a server."""
    plain_build("the hook library is not built with sanitizers")
    folder = lib.tmp()
    for name in ("run_instrumented.sh", "libsightline-llama-hook.a", "libsightline-llama-hook.options"):
        find(name)
    assert os.access(find("run_instrumented.sh"), os.X_OK)
    for shared in ("OFF", "ON"):
        build_folder = os.path.join(folder, shared)
        sh("cmake", "-S", os.path.join(lib.SOURCE, "tests", "probe"), "-B", build_folder, "-DLLAMA_OTEL_ENABLE=ON",
           f"-DCMAKE_PROJECT_TOP_LEVEL_INCLUDES={find('llama-otel.cmake')}", f"-DBUILD_SHARED_LIBS={shared}")
        sh("cmake", "--build", build_folder)
        done = subprocess.run([os.path.join(build_folder, "host", "llama-host"), "m.gguf", "2"], stdin=subprocess.DEVNULL,
                              env=lib.environment({"SIGHTLINE_PROBE_DIR": folder}), capture_output=True, text=True, timeout=30)
        lib.equal((done.returncode, done.stdout), (0, "good=2\n"), done.stderr)
    lib.equal(len([n for n in os.listdir(folder) if n.endswith(".ring")]), 2)


def test_public_headers_stand_alone():
    folder = os.path.dirname(find("sightline.h"))
    for name in sorted(os.listdir(folder)):
        for compiler in (["cc", "-std=c11", "-x", "c"], ["c++", "-std=c++17", "-x", "c++"]):
            sh(*compiler, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-I", os.path.dirname(folder), "-", input=f"#include <sightline/{name}>\n")


def test_readme_program_shared():
    folder = lib.tmp()
    build(folder, pkg_config("--cflags", "--libs"))
    env = lib.environment({"LD_LIBRARY_PATH": os.path.dirname(find("libsightline.so")), "OTEL_TRACES_EXPORTER": "console",
                           "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"})
    done = subprocess.run([folder + "/program"], env=env, capture_output=True, text=True, timeout=30)
    lib.equal(done.returncode, 0, done.stderr)
    lib.contains(done.stdout + done.stderr, "answer")
    lib.contains(done.stdout + done.stderr, "my-model")


def test_readme_program_static():
    folder = lib.tmp()
    archive = find("libsightline.a")
    flags = [archive if f == "-lsightline" else f for f in pkg_config("--cflags", "--libs", "--static")]
    build(folder, flags)
    done = subprocess.run([folder + "/program"], env=lib.environment({"OTEL_SDK_DISABLED": "true"}), timeout=30)
    lib.equal(done.returncode, 0)


def test_core_needs_libc_alone():
    plain_build("a sanitizer brings its own library")
    folder = lib.tmp()
    build(folder, pkg_config("--cflags", "--libs", name="sightline-core"))
    needed = re.findall(r"\(NEEDED\).*\[(.*?)\]", sh("readelf", "-d", folder + "/program"))
    needed = {name for name in needed if not name.startswith("ld-linux")}
    assert needed <= {"libc.so.6", "libm.so.6", "libpthread.so.0"}, needed
    done = subprocess.run([folder + "/program"], env=lib.environment({"OTEL_SDK_DISABLED": "true"}), timeout=30)
    lib.equal(done.returncode, 0)


def test_examples_build_and_run():
    folder = os.path.join(lib.SOURCE, "examples")
    env = lib.environment({"LD_LIBRARY_PATH": os.path.dirname(find("libsightline.so")), "OTEL_TRACES_EXPORTER": "console",
                           "OTEL_METRICS_EXPORTER": "console", "OTEL_LOGS_EXPORTER": "console", "OTEL_EXPORTER_PROMETHEUS_PORT": "0"})
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".c"):
            continue
        program = os.path.join(lib.tmp(), "program")
        sh("cc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", *lib.SANITIZER_FLAGS, os.path.join(folder, name), "-o", program, *pkg_config("--cflags", "--libs"))
        done = subprocess.run([program], env=env, capture_output=True, text=True, timeout=60)
        lib.equal(done.returncode, 0, f"{name}: {done.stderr[-500:]}")


def test_cmake_package():
    folder = lib.tmp()
    with open(folder + "/CMakeLists.txt", "w") as file:
        file.write("cmake_minimum_required(VERSION 3.22)\nproject(user C)\nfind_package(sightline REQUIRED)\n"
                   "add_executable(shared program.c)\ntarget_link_libraries(shared sightline::sightline)\n"
                   "add_executable(core program.c)\ntarget_link_libraries(core sightline::core)\n")
    with open(folder + "/program.c", "w") as file:
        file.write(readme_program())
    sh("cmake", "-S", folder, "-B", folder + "/build", f"-DCMAKE_PREFIX_PATH={root()}{PREFIX}", "-DCMAKE_C_FLAGS=" + " ".join(lib.SANITIZER_FLAGS))
    sh("cmake", "--build", folder + "/build")
    for name in ("shared", "core"):
        done = subprocess.run([f"{folder}/build/{name}"], env=lib.environment({"OTEL_SDK_DISABLED": "true"}), timeout=30)
        lib.equal(done.returncode, 0, name)


def test_exported_symbols_are_public_ones():
    listing = sh("nm", "-D", "--defined-only", find("libsightline.so"))
    names = [line.split()[-1].split("@")[0] for line in listing.strip().split("\n")]
    strange = [n for n in names if not n.startswith("sl_") and not n.startswith("_")]
    lib.equal(strange, [])
    headers = "".join(open(os.path.join(folder, f)).read() for folder, _, files in os.walk(os.path.dirname(find("sightline.h"))) for f in files)
    hidden = [n for n in names if n.startswith("sl_") and not re.search(rf"\b{n}\b", headers)]
    lib.equal(hidden, [], "exported, but in no public header")


lib.main(globals())
