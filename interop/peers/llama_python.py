"""llama-cpp-python with its own server: a host that reaches libllama through ctypes. Always compiled: no wheel exists."""
import os
import shutil

from lib import cache
from peers import python_venv

LOCK = os.path.join(python_venv.LOCKS, "llama_python.txt")
RELEASE = python_venv.pinned("llama_python", "llama-cpp-python")
VERSION = "%s (llama.cpp v0.5.0)" % RELEASE
FLAGS = "-DGGML_NATIVE=OFF -DLLAMA_BUILD_TESTS=OFF -DCMAKE_CXX_FLAGS_RELEASE=-O1 -DCMAKE_C_FLAGS_RELEASE=-O1"
BUILD_TIMEOUT = 3600
MODEL = "tiny"


def _install():
    with open(LOCK) as f:
        return cache.Install("llama_python", f.read() + FLAGS)


def cached():
    return _install().ready()


def _build(folder, log):
    if not shutil.which("g++"):
        raise cache.Missing("needs g++ to build")
    venv = os.path.join(folder, "venv")
    cache.sh([python_venv.find_python(11, 13), "-m", "venv", venv], log, 120)
    env = {"CMAKE_ARGS": FLAGS, "CMAKE_BUILD_PARALLEL_LEVEL": "2"}
    cache.sh([os.path.join(venv, "bin", "pip"), "install", "--quiet", "--disable-pip-version-check", "--no-input",
              "--no-cache-dir", "--require-hashes", "-r", LOCK], log, BUILD_TIMEOUT, env=env)


def install():
    """Returns the folder of the environment."""
    return os.path.join(_install().ensure(_build), "venv")


def command(model_file, port):
    """The server's argv."""
    return [os.path.join(install(), "bin", "python"), "-m", "llama_cpp.server", "--model", model_file, "--model_alias",
            MODEL, "--host", "127.0.0.1", "--port", str(port), "--n_ctx", "1024", "--n_threads", "1"]
