"""kubernetes-validate: the published JSON schemas of Kubernetes, from PyPI, pinned by hashes."""
import os

from peers import python_venv

VERSION = python_venv.pinned("kubernetes", "kubernetes-validate")


def tool():
    """Path of the program."""
    return os.path.join(python_venv.install("kubernetes"), "bin", "kubernetes-validate")


def cached():
    return python_venv.is_installed("kubernetes")
