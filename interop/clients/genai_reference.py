"""One kind of chat call, instrumented by the reference instrumentation for OpenAI's client; prints what it recorded.

    genai_reference.py '{"base_url": …, "model": …, "fail_model": …}'

Runs a unary call, a streamed one and one that the provider refuses, with spans and metrics kept in memory.
Output: {"spans": {case: {name, kind, status, attributes}}, "metrics": {name: {unit, bounds, attributes}}}.
"""
import json
import os
import sys

os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = os.environ.get("CAPTURE", "false")

import openai  # noqa: E402
from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor  # noqa: E402
from opentelemetry.sdk.metrics import MeterProvider  # noqa: E402
from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: E402
from opentelemetry.sdk.trace import TracerProvider  # noqa: E402
from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402

REQUEST = {"messages": [{"role": "user", "content": "Is the line clear?"}], "max_tokens": 8, "temperature": 0.5,
           "top_p": 0.9, "frequency_penalty": 0.25, "presence_penalty": -0.5, "seed": 42, "stop": ["END", "STOP"],
           "n": 1, "response_format": {"type": "text"}}


def span_json(span):
    return {"name": span.name, "kind": span.kind.name, "status": span.status.status_code.name,
            "attributes": {k: list(v) if isinstance(v, tuple) else v for k, v in span.attributes.items()}}


def metrics_json(reader):
    found = {}
    data = reader.get_metrics_data()
    for r in data.resource_metrics if data else []:
        for s in r.scope_metrics:
            for m in s.metrics:
                points = list(m.data.data_points)
                found[m.name] = {"unit": m.unit, "bounds": list(getattr(points[0], "explicit_bounds", [])),
                                 "points": [{"attributes": dict(p.attributes), "count": p.count, "sum": p.sum}
                                            for p in points]}
    return found


def main():
    job = json.loads(sys.argv[1])
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    OpenAIInstrumentor().instrument(tracer_provider=tracers, meter_provider=MeterProvider([reader]))
    client = openai.OpenAI(base_url=job["base_url"], api_key=job["key"], max_retries=0, timeout=20)
    client.chat.completions.create(model=job["model"], **REQUEST)
    list(client.chat.completions.create(model=job["model"], stream=True, stream_options={"include_usage": True},
                                        **REQUEST))
    try:
        client.chat.completions.create(model=job["fail_model"], **REQUEST)
    except openai.APIStatusError:
        pass
    spans = exporter.get_finished_spans()
    out = {case: span_json(s) for case, s in zip(("unary", "stream", "error"), spans)}
    print(json.dumps({"spans": out, "metrics": metrics_json(reader)}))


if __name__ == "__main__":
    main()
