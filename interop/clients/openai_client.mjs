// Drives the official OpenAI client of JavaScript; prints what it saw as one JSON object.
// The same job and the same output as openai_client.py. Run with the folder of node_modules in MODULES.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(process.env.MODULES + "/"));
const OpenAI = require("openai").default;

const TOOLS = [{ type: "function", function: {
  name: "weather", description: "The weather of a city — today.",
  parameters: { type: "object", properties: { city: { type: "string" }, days: { type: "integer" } },
    required: ["city"] } } }];
const MESSAGES = [{ role: "system", content: "Answer in one line." },
  { role: "user", content: "Grüße! ✓ \"quoted\"\n" }];

const usageOf = (u) => (u ? [u.prompt_tokens, u.completion_tokens, u.total_tokens] : null);

async function unary(client, model, more = {}) {
  const r = await client.chat.completions.create({ model, messages: MESSAGES, max_tokens: 8, temperature: 0, ...more });
  const choice = r.choices[0];
  const calls = (choice.message.tool_calls ?? []).map((c) => [c.id, c.function.name, c.function.arguments]);
  return { id: r.id, model: r.model, content: choice.message.content, finish: choice.finish_reason,
    usage: usageOf(r.usage), calls };
}

function addCalls(calls, parts) {
  for (const part of parts) {
    calls[part.index] ??= ["", "", ""];
    const call = calls[part.index];
    call[0] += part.id ?? "";
    call[1] += part.function?.name ?? "";
    call[2] += part.function?.arguments ?? "";
  }
}

async function streamed(client, model, more = {}) {
  const out = { content: "", finish: null, usage: null, chunks: 0, empty: 0, calls: [] };
  const stream = await client.chat.completions.create(
    { model, messages: MESSAGES, max_tokens: 8, temperature: 0, stream: true, ...more });
  for await (const chunk of stream) {
    out.chunks += 1;
    out.usage = usageOf(chunk.usage) ?? out.usage;
    out.empty += chunk.choices.length === 0 ? 1 : 0;
    for (const choice of chunk.choices) {
      out.content += choice.delta.content ?? "";
      out.finish = choice.finish_reason ?? out.finish;
      addCalls(out.calls, choice.delta.tool_calls ?? []);
    }
  }
  return out;
}

async function error(client, model) {
  try {
    await unary(client, model);
  } catch (e) {
    return { class: e.constructor.name, status: e.status ?? null, type: e.type ?? null, code: e.code ?? null,
      message: e.message, body: e.error ?? null };
  }
  return { class: null };
}

const job = JSON.parse(process.argv[2]);
const options = { baseURL: job.base_url, maxRetries: 0, timeout: 20000 };
const client = new OpenAI({ ...options, apiKey: job.key });
const stranger = new OpenAI({ ...options, apiKey: "sk-wrong" });
const cases = {
  models: async () => {
    const ids = [];
    for await (const m of client.models.list()) ids.push(m.id);
    return ids.sort();
  },
  unary: () => unary(client, job.model),
  stream: () => streamed(client, job.model),
  stream_usage: () => streamed(client, job.model, { stream_options: { include_usage: true } }),
  tools: () => unary(client, job.model, { tools: TOOLS, tool_choice: "auto" }),
  tools_stream: () => streamed(client, job.model, { tools: TOOLS, tool_choice: "auto" }),
  wrong_key: () => error(stranger, job.model),
  no_model: () => error(client, "no-such-model"),
};
const out = {};
for (const name of job.cases) {
  out[name] = name.startsWith("fail-") ? await error(client, name) : await cases[name]();
}
console.log(JSON.stringify(out));
