"""Drives the official OpenAI client of Python; prints what it saw as one JSON object.

    openai_client.py '{"base_url": …, "key": …, "model": …, "cases": ["unary", …]}'

clients/openai_client.mjs does the same in JavaScript, with the same output.
"""
import json
import sys

import openai

TOOLS = [{"type": "function", "function": {
    "name": "weather", "description": "The weather of a city — today.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                   "required": ["city"]}}}]
MESSAGES = [{"role": "system", "content": "Answer in one line."}, {"role": "user", "content": "Grüße! ✓ \"quoted\"\n"}]


def usage_of(usage):
    return [usage.prompt_tokens, usage.completion_tokens, usage.total_tokens] if usage else None


def calls_of(message):
    return [[c.id, c.function.name, c.function.arguments] for c in message.tool_calls or []]


def unary(client, model, **more):
    r = client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=8, temperature=0, **more)
    choice = r.choices[0]
    return {"id": r.id, "model": r.model, "content": choice.message.content, "finish": choice.finish_reason,
            "usage": usage_of(r.usage), "calls": calls_of(choice.message)}


def streamed(client, model, **more):
    out = {"content": "", "finish": None, "usage": None, "chunks": 0, "empty": 0, "calls": []}
    for chunk in client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=8, temperature=0,
                                                stream=True, **more):
        out["chunks"] += 1
        out["usage"] = usage_of(chunk.usage) or out["usage"]
        out["empty"] += not chunk.choices
        for choice in chunk.choices:
            out["content"] += choice.delta.content or ""
            out["finish"] = choice.finish_reason or out["finish"]
            add_calls(out["calls"], choice.delta.tool_calls or [])
    return out


def add_calls(calls, parts):
    for part in parts:
        while len(calls) <= part.index:
            calls.append(["", "", ""])
        call = calls[part.index]
        call[0] += part.id or ""
        call[1] += part.function.name or ""
        call[2] += part.function.arguments or ""


def error(client, model):
    try:
        unary(client, model)
    except openai.APIStatusError as e:
        return {"class": type(e).__name__, "status": e.status_code, "type": e.type, "code": e.code,
                "message": e.message, "body": e.body}
    return {"class": None}


def main():
    job = json.loads(sys.argv[1])
    model = job["model"]
    client = openai.OpenAI(base_url=job["base_url"], api_key=job["key"], max_retries=0, timeout=20)
    stranger = openai.OpenAI(base_url=job["base_url"], api_key="sk-wrong", max_retries=0, timeout=20)
    cases = {
        "models": lambda: sorted(m.id for m in client.models.list()),
        "unary": lambda: unary(client, model),
        "stream": lambda: streamed(client, model),
        "stream_usage": lambda: streamed(client, model, stream_options={"include_usage": True}),
        "tools": lambda: unary(client, model, tools=TOOLS, tool_choice="auto"),
        "tools_stream": lambda: streamed(client, model, tools=TOOLS, tool_choice="auto"),
        "wrong_key": lambda: error(stranger, model),
        "no_model": lambda: error(client, "no-such-model"),
    }
    out = {}
    for name in job["cases"]:
        out[name] = error(client, name) if name.startswith("fail-") else cases[name]()
    print(json.dumps(out))


if __name__ == "__main__":
    main()
