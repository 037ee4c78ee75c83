"""Memory of the gateway: at rest, and of open streams that are all delivered."""
import threading
import time

from gateway import full_telemetry, gateway, load, mock, sink
from lib import pss_bytes


def idle(bench, title):
    """PSS over all processes of a gateway with one worker, after a request, at rest."""
    values = []
    _, upstream = mock(bench)
    for _ in range(max(3, bench.rounds)):
        process, at = gateway(bench, upstream, full_telemetry(sink(bench)))
        load(bench, at["gateway"], "--requests", "1")
        time.sleep(1.5)
        values.append(pss_bytes(process.pid) / 1048576)
        bench.stop(process)
    bench.absolute(title, "MiB PSS", values, "< 12 MiB", 12)


def streams(bench, title):
    """5,000 streams at once: memory of each while all are open, and every frame delivered."""
    tokens, count = 60, 5000
    _, upstream = mock(bench, "--ttft", "3000", "--itl", "300", "--tokens", str(tokens))
    process, at = gateway(bench, upstream, full_telemetry(sink(bench)))
    load(bench, at["gateway"], "--requests", "100", "--concurrency", "100")
    time.sleep(1)
    before, peak, done = pss_bytes(process.pid), 0, threading.Event()

    def watch():
        nonlocal peak
        while not done.wait(0.5):
            peak = max(peak, pss_bytes(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        report = load(bench, at["gateway"], "--stream", "--requests", str(count), "--concurrency", str(count), "--timeout", "120")
    finally:
        done.set()
        watcher.join()
    expected = count * (tokens + 3)  # the tokens, the finish frame, usage (the load client asks for it), [DONE]
    bench.absolute(title, "KiB/stream", [(peak - before) / 1024 / count], "<= 12 KiB", 12,
                   note=f"{report['frames']} frames of {expected} delivered on {count} streams")
    if report["frames"] != expected:
        bench.rows[-1]["holds"] = False


CASES = [("idle_memory", idle), ("stream_memory", streams)]
