// A caller that is instrumented with the OpenTelemetry SDK of JavaScript: one CLIENT span around one chat request.
//   node otel_caller.mjs '{"url": …, "key": …, "model": …, "otlp": …, "sampled": true, "state": "vendor=x"}'
// The headers are made by the SDK's own propagators (W3C trace context and baggage), the span is exported by its own
// OTLP exporter. Prints the ids and headers as JSON. Run with the folder of node_modules in MODULES.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(process.env.MODULES + "/"));
const api = require("@opentelemetry/api");
const { NodeSDK, tracing, resources } = require("@opentelemetry/sdk-node");
const { OTLPTraceExporter } = require("@opentelemetry/exporter-trace-otlp-proto");

const job = JSON.parse(process.argv[2]);
const Sampler = job.sampled ? tracing.AlwaysOnSampler : tracing.AlwaysOffSampler;
const sdk = new NodeSDK({
  serviceName: "js-caller",
  resource: resources.resourceFromAttributes({ "test.suite": "interop" }),
  sampler: new Sampler(),
  spanProcessors: [new tracing.SimpleSpanProcessor(new OTLPTraceExporter({ url: job.otlp + "/v1/traces" }))],
  instrumentations: [],
});
sdk.start();

// tracestate comes from further up: a remote parent of the span.
const far = { traceId: job.trace_id, spanId: "00000000000000aa", isRemote: true,
  traceFlags: job.sampled ? api.TraceFlags.SAMPLED : api.TraceFlags.NONE,
  traceState: api.createTraceState(job.state) };
let context = api.trace.setSpanContext(api.ROOT_CONTEXT, far);
context = api.propagation.setBaggage(context,
  api.propagation.createBaggage({ "user.tier": { value: "gold & more" } }));

const tracer = api.trace.getTracer("interop", "1.0.0");
const span = tracer.startSpan("ask", { kind: api.SpanKind.CLIENT }, context);
const headers = { "content-type": "application/json", authorization: `Bearer ${job.key}` };
api.propagation.inject(api.trace.setSpan(context, span), headers);
const reply = await fetch(job.url + "/v1/chat/completions", {
  method: "POST", headers, signal: AbortSignal.timeout(20000),
  body: JSON.stringify({ model: job.model, messages: [{ role: "user", content: "hi" }] }) });
const body = await reply.json();
span.setAttribute("http.response.status_code", reply.status);
span.end();
await sdk.shutdown();
const { traceId, spanId } = span.spanContext();
console.log(JSON.stringify({ status: reply.status, content: body.choices?.[0]?.message?.content, trace_id: traceId,
  span_id: spanId, headers: { traceparent: headers.traceparent, tracestate: headers.tracestate,
    baggage: headers.baggage } }));
