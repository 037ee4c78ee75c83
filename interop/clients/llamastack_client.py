"""Drives Llama Stack's own client against a server that speaks its OpenAI dialect; prints what it saw as JSON.

    llamastack_client.py '{"base_url": …, "key": …, "model": …}'
"""
import json
import sys

from llama_stack_client import APIStatusError, LlamaStackClient

MESSAGES = [{"role": "user", "content": "Is the line clear?"}]


def usage_of(usage):
    return [usage.prompt_tokens, usage.completion_tokens, usage.total_tokens] if usage else None


def streamed(client, model, **more):
    out = {"content": "", "finish": None, "usage": None, "chunks": 0}
    for chunk in client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=8, stream=True, **more):
        out["chunks"] += 1
        out["usage"] = usage_of(getattr(chunk, "usage", None)) or out["usage"]
        for choice in chunk.choices:
            out["content"] += choice.delta.content or ""
            out["finish"] = choice.finish_reason or out["finish"]
    return out


def main():
    job = json.loads(sys.argv[1])
    client = LlamaStackClient(base_url=job["base_url"], api_key=job["key"], max_retries=0, timeout=30)
    stranger = LlamaStackClient(base_url=job["base_url"], api_key="sk-wrong", max_retries=0, timeout=30)
    one = client.chat.completions.create(model=job["model"], messages=MESSAGES, max_tokens=8)
    out = {"models": sorted(m.id for m in client.models.list()),
           "unary": {"content": one.choices[0].message.content, "finish": one.choices[0].finish_reason,
                     "usage": usage_of(getattr(one, "usage", None))},
           "stream": streamed(client, job["model"]),
           "stream_usage": streamed(client, job["model"], stream_options={"include_usage": True})}
    try:
        stranger.chat.completions.create(model=job["model"], messages=MESSAGES)
        out["wrong_key"] = None
    except APIStatusError as e:
        out["wrong_key"] = [type(e).__name__, e.status_code]
    print(json.dumps(out))


if __name__ == "__main__":
    main()
