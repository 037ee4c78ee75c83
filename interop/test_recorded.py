#!/usr/bin/env python3
"""The comparison itself can fail: what is expected passes, and each single change of a field is noticed.

Run by hand: python3 interop/test_recorded.py
"""
import copy
import os
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from checks import recorded  # noqa: E402
from lib.context import Failure  # noqa: E402

NAMES = ("values", "limits", "server", "client", "producer", "consumer")
IDS = {name: {"trace_id": recorded.REMOTE_TRACE if name in ("server", "client") else "%032x" % (n + 1),
              "span_id": "%016x" % (n + 1), "flags": 1} for n, name in enumerate(NAMES)}
NOW = str(recorded.T0 + 10**9)


def pairs(attributes):
    return [{"key": k, "value": v} for k, v in attributes.items()]


def otlp_span(want):
    flags = want["w3c"]
    if want["remote"] is not None:
        flags |= recorded.HAS_IS_REMOTE | (recorded.IS_REMOTE if want["remote"] else 0)
    span = {"name": want["name"], "kind": want["kind"], "traceId": want["traceId"], "spanId": want["spanId"],
            "parentSpanId": want["parentSpanId"], "traceState": want["traceState"], "flags": flags,
            "startTimeUnixNano": str(want["start"]), "endTimeUnixNano": str(want["end"]),
            "attributes": pairs(want["attributes"]), "droppedAttributesCount": want["dropped"][0],
            "status": {"code": want["status"][0], "message": want["status"][1]}}
    span["events"] = [{"timeUnixNano": str(t), "name": n, "attributes": pairs(a)} for t, n, a in want["events"]]
    span["links"] = [{"traceId": t, "spanId": s, "traceState": state, "attributes": pairs(a)}
                     for t, s, state, a in want["links"]]
    return span


def otlp_metric(name, want):
    description, unit, kind, monotonic, points = want
    data = {"dataPoints": []}
    if kind != "gauge":
        data["aggregationTemporality"] = 2
    if monotonic:
        data["isMonotonic"] = True
    for attributes, value in points:
        point = dict(value, attributes=pairs(attributes), timeUnixNano=NOW, startTimeUnixNano=str(recorded.T0 + 1))
        if "exemplars" in point:
            point["exemplars"] = [{"asDouble": v, "traceId": t, "spanId": s} for v, t, s in point["exemplars"]]
        data["dataPoints"].append(point)
    return {"name": name, "description": description, "unit": unit, kind: data}


def otlp_log(want):
    return {"timeUnixNano": str(want["time"]), "observedTimeUnixNano": NOW, "severityNumber": want["severityNumber"],
            "severityText": want["severityText"], "body": want["body"], "attributes": pairs(want["attributes"]),
            "eventName": want["eventName"], "traceId": want["traceId"], "spanId": want["spanId"],
            "flags": want["flags"]}


def request(outer, middle, inner, items):
    s = recorded.s
    resource = {"service.name": s("record-everything"), "test.suite": s("interop"), "test.run": recorded.i(7),
                "telemetry.sdk.name": s("sightline"), "telemetry.sdk.language": s("c"),
                "telemetry.sdk.version": s("0")}
    scope = {"name": recorded.SCOPE, "version": "1.2.3", "attributes": pairs({"scope.attr": s("s")})}
    return {outer: [{"resource": {"attributes": pairs(resource)},
                     middle: [{"scope": scope, "schemaUrl": recorded.SCHEMA, inner: items}]}]}


def everything():
    spans = [otlp_span(w) for w in recorded.expected_spans(IDS).values()]
    metrics = [otlp_metric(n, w) for n, w in recorded.expected_metrics(IDS).items()]
    logs = [otlp_log(w) for w in recorded.expected_logs(IDS).values()]
    return copy.deepcopy({"traces": [request("resourceSpans", "scopeSpans", "spans", spans)],
                          "metrics": [request("resourceMetrics", "scopeMetrics", "metrics", metrics)],
                          "logs": [request("resourceLogs", "scopeLogs", "logRecords", logs)]})


def places(value, path=()):
    """Paths to every plain value of nested lists and dicts."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None:
        yield path
        return
    for key, item in items:
        yield from places(item, path + (key,))


def changed(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 2 if value != -1e300 else 1e300
    return str(int(value) + 1) if value.isdigit() else ("ef" + value[2:] if len(value) in (16, 32) else value + "x")


# Times that are the clock's, and resource values that are the SDK's own: any sensible value is right.
FREE = ("observedTimeUnixNano", "timeUnixNano", "startTimeUnixNano")


def is_free(signal, path, parent):
    if path[-1] in FREE and not (path[-1] == "timeUnixNano" and signal != "metrics") and (
            signal == "metrics" or path[-1] == "observedTimeUnixNano"):
        return True
    return "resource" in path and path[-1] == "stringValue" and parent["key"].startswith("telemetry.sdk.")


class Comparison(unittest.TestCase):
    def test_expected_passes(self):
        self.assertIn("fields equal", recorded.compare_all(everything(), IDS).replace("log fields", "fields"))

    def test_each_change_is_noticed(self):
        count = 0
        for signal, requests in everything().items():
            for path in list(places(requests)):
                if is_free(signal, path, self.at(requests, path[:-2])):
                    continue
                broken = everything()
                holder = self.at(broken[signal], path[:-1])
                holder[path[-1]] = changed(holder[path[-1]])
                with self.assertRaises(Failure, msg="%s %s" % (signal, path)):
                    recorded.compare_all(broken, IDS)
                count += 1
        self.assertGreater(count, 500)

    def test_each_loss_and_each_double_is_noticed(self):
        inner = {"traces": ("resourceSpans", "scopeSpans", "spans"),
                 "metrics": ("resourceMetrics", "scopeMetrics", "metrics"),
                 "logs": ("resourceLogs", "scopeLogs", "logRecords")}
        for signal, (a, b, c) in inner.items():
            for n in range(len(everything()[signal][0][a][0][b][0][c])):
                broken = everything()
                items = broken[signal][0][a][0][b][0][c]
                lost = items.pop(n)
                self.assertRaises(Failure, recorded.compare_all, broken, IDS)
                if signal != "metrics":  # a later export of a metric is no error
                    items += [lost, copy.deepcopy(lost)]
                    self.assertRaises(Failure, recorded.compare_all, broken, IDS)

    @staticmethod
    def at(value, path):
        for key in path:
            value = value[key]
        return value


if __name__ == "__main__":
    unittest.main()
