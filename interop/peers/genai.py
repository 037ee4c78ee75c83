"""Python: the reference instrumentation of OpenAI calls (opentelemetry-instrumentation-openai-v2)."""
import os

from peers import python_venv

VERSION = python_venv.pinned("genai", "opentelemetry-instrumentation-openai-v2")


def python():
    """Path of the interpreter that has it."""
    return os.path.join(python_venv.install("genai"), "bin", "python")
