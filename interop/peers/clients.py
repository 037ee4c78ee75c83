"""Python: the official OpenAI client, and an OTLP receiver on the official protobuf classes and grpcio."""
import os

from peers import python_venv

OPENAI = python_venv.pinned("clients", "openai")
PROTO = python_venv.pinned("clients", "opentelemetry-proto")
GRPC = python_venv.pinned("clients", "grpcio")


def python():
    """Path of the interpreter that has them."""
    return os.path.join(python_venv.install("clients"), "bin", "python")
