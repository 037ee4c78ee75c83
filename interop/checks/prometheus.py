"""Real Prometheus servers scrape the gateway: text 0.0.4 and OpenMetrics, values equal to what clients saw."""
import math
import urllib.parse

from checks import Row
from lib import net, sightline
from lib.context import expect, expect_eq
from peers import prometheus2, prometheus3

UNARY, STREAMED = 5, 3
TEXT = "text/plain;version=0.0.4"
DURATION = "gen_ai_client_operation_duration_seconds"
CONFIG_2 = """global: {scrape_interval: 1s, evaluation_interval: 1s}
scrape_configs: [{job_name: sightline, static_configs: [{targets: ["%s"]}]}]
"""
CONFIG_3 = """global: {scrape_interval: 1s, evaluation_interval: 1s}
scrape_configs: [{job_name: sightline, scrape_protocols: [%s], static_configs: [{targets: ["%s"]}]}]
"""


class Load:
    """A gateway before a mock, and what its clients were told."""

    def __init__(self, ctx):
        mock = sightline.start_mock(ctx, "--ttft", "5", "--itl", "1", "--tokens", "6")
        self.gateway = sightline.Gateway(ctx, {"mock": (mock + "/v1", "mock")})
        self.traces = set()
        self.input = self.output = 0
        for n in range(UNARY + STREAMED):
            self.one(n, n >= UNARY)

    def one(self, n, stream):
        trace_id = "%032x" % (0xabc000 + n)
        headers = {"traceparent": "00-%s-%016x-01" % (trace_id, n + 1)}
        if stream:
            frames = self.gateway.chat("mock", headers, stream=True, stream_options={"include_usage": True})
            usage = [f["usage"] for f in frames if f.get("usage")]
            expect_eq(len(usage), 1, "frames with usage in a stream that asked for it")
            usage = usage[0]
        else:
            usage = self.gateway.chat("mock", headers)["usage"]
        self.traces.add(trace_id)
        self.input += usage["prompt_tokens"]
        self.output += usage["completion_tokens"]


class Prometheus:
    """A running server; queries by its HTTP API."""

    def __init__(self, ctx, binary, config, *options):
        port = ctx.free_port()
        self.base = "http://127.0.0.1:%d/api/v1/" % port
        ctx.start("prometheus", [binary, "--config.file=" + ctx.write("prometheus.yml", config),
                                 "--storage.tsdb.path=" + ctx.folder("tsdb"),
                                 "--web.listen-address=127.0.0.1:%d" % port, *options])
        ctx.wait_http("http://127.0.0.1:%d/-/ready" % port, 30)

    def api(self, path, **query):
        answer = net.get(self.base + path + "?" + urllib.parse.urlencode(query)).json()
        expect_eq(answer["status"], "success", "Prometheus " + path)
        return answer["data"]

    def query(self, text):
        """[(labels, value)] of an instant query."""
        return [(r["metric"], float(r["value"][1])) for r in self.api("query", query=text)["result"]]

    def number(self, text):
        found = self.query(text)
        return found[0][1] if len(found) == 1 else None


def check_values(prometheus, load):
    count = "sum(%s_count)" % DURATION
    net.until("%s reaches %d" % (count, UNARY + STREAMED), 15,
              lambda: prometheus.number(count) == UNARY + STREAMED)
    expect_eq(prometheus.number('sum(gen_ai_client_token_usage_sum{gen_ai_token_type="input"})'), load.input,
              "input tokens in Prometheus and in the clients' answers")
    expect_eq(prometheus.number('sum(gen_ai_client_token_usage_sum{gen_ai_token_type="output"})'), load.output,
              "output tokens in Prometheus and in the clients' answers")
    expect_eq(prometheus.number('sum(llamastack_requests_total{endpoint="/v1/chat/completions"})'),
              UNARY + STREAMED, "llamastack_requests_total")
    expect_eq(prometheus.number("up"), 1, "up")
    median = prometheus.number("histogram_quantile(0.5, sum by (le) (%s_bucket))" % DURATION)
    expect(median and math.isfinite(median) and 0 < median < 5, "median duration is %s s" % median)
    labels = prometheus.query(DURATION + "_count")[0][0]
    expect_eq((labels.get("gen_ai_operation_name"), labels.get("gen_ai_request_model")), ("chat", "mock"),
              "labels of %s" % DURATION)
    info = prometheus.query("target_info")
    expect(info and info[0][0].get("service_name") == "litellm-gateway", "target_info: %s" % info)
    expect(len(prometheus.query("process_start_time_seconds")) == 1, "process_start_time_seconds is not one series")


def check_target(prometheus, expected_types):
    target = prometheus.api("targets")["activeTargets"][0]
    expect_eq((target["health"], target["lastError"]), ("up", ""), "state of the target")
    types = {m["metric"]: m["type"] for m in prometheus.api("targets/metadata")}
    for name, kind in expected_types.items():
        expect_eq(types.get(name), kind, "type of %s" % name)


def check_exemplars(prometheus, load):
    """Exemplars must have been kept, and lead to traces that were really sent."""
    def probe():
        now = prometheus.number("vector(time())")
        found = prometheus.api("query_exemplars", query=DURATION + "_bucket", start=now - 300, end=now + 60)
        return [e for series in found for e in series["exemplars"]]
    exemplars = net.until("exemplars of %s_bucket" % DURATION, 10, probe)
    for e in exemplars:
        expect(e["labels"].get("trace_id") in load.traces, "exemplar leads to an unknown trace: %s" % e)
        expect(len(e["labels"].get("span_id", "")) == 16 and float(e["value"]) > 0, "exemplar %s" % e)
    return len(exemplars)


def finish(prometheus, load, relay, openmetrics):
    check_values(prometheus, load)
    counter = "llamastack_requests" if openmetrics else "llamastack_requests_total"
    check_target(prometheus, {DURATION: "histogram", "gen_ai_client_token_usage": "histogram", counter: "counter"})
    wanted = "application/openmetrics-text" if openmetrics else "text/plain"
    expect(relay.content_type.startswith(wanted), "the scraper got %s" % relay.content_type)
    expect(("version=1.0.0" if openmetrics else "version=0.0.4") in relay.content_type, relay.content_type)
    expect_eq(relay.body.rstrip().endswith(b"# EOF"), openmetrics, "exposition ends with # EOF")
    kept = ", %d exemplars kept" % check_exemplars(prometheus, load) if openmetrics else ""
    samples = prometheus.number("scrape_samples_scraped")
    return "%d samples, %d requests counted exactly%s" % (samples, UNARY + STREAMED, kept)


def run_2(openmetrics):
    def run(ctx):
        load = Load(ctx)
        relay = ctx.own(net.ScrapeRelay(load.gateway.metrics, None if openmetrics else TEXT))
        prometheus = Prometheus(ctx, prometheus2.install(), CONFIG_2 % relay.url[7:],
                                "--enable-feature=exemplar-storage")
        return finish(prometheus, load, relay, openmetrics)
    return run


def run_3(openmetrics):
    def run(ctx):
        load = Load(ctx)
        relay = ctx.own(net.ScrapeRelay(load.gateway.metrics, None))
        protocol = "OpenMetricsText1.0.0" if openmetrics else "PrometheusText0.0.4"
        prometheus = Prometheus(ctx, prometheus3.install(), CONFIG_3 % (protocol, relay.url[7:]),
                                "--enable-feature=exemplar-storage")
        return finish(prometheus, load, relay, openmetrics)
    return run


def run_promtool(ctx):
    """promtool reads the text format only; it also lints names, types and help texts."""
    load = Load(ctx)
    reply = net.get(load.gateway.metrics, {"accept": "text/plain"})
    expect_eq(reply.status, 200, "status of /metrics")
    ctx.run([prometheus2.promtool(), "check", "metrics"], stdin=reply.body)
    families = sum(line.startswith("# TYPE") for line in reply.text().split("\n"))
    broken = reply.body.replace(b"# TYPE %s histogram" % DURATION.encode(), b"# TYPE %s nonsense" % DURATION.encode())
    expect(broken != reply.body, "no histogram %s in /metrics" % DURATION)
    ctx.run([prometheus2.promtool(), "check", "metrics"], stdin=broken, ok=(1, 3))
    return "%d families, no complaint" % families


ROWS = [
    Row("promtool", "quick", "promtool", prometheus2.version, "check metrics has nothing to say about /metrics",
        run_promtool, needs=[prometheus2.install], order=20),
    Row("prometheus2-text", "quick", "Prometheus", prometheus2.version, "scrapes 0.0.4, values exact",
        run_2(False), needs=[prometheus2.install], order=21),
    Row("prometheus2-openmetrics", "quick", "Prometheus", prometheus2.version,
        "scrapes OpenMetrics, values exact, exemplars kept", run_2(True), needs=[prometheus2.install], order=22),
    Row("prometheus3-text", "full", "Prometheus", prometheus3.VERSION, "scrapes 0.0.4, values exact", run_3(False),
        needs=[prometheus3.install], cached=prometheus3.cached, order=23),
    Row("prometheus3-openmetrics", "full", "Prometheus", prometheus3.VERSION,
        "scrapes OpenMetrics, values exact, exemplars kept", run_3(True), needs=[prometheus3.install],
        cached=prometheus3.cached, order=24),
]
