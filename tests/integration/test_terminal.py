#!/usr/bin/env python3
"""Commands that draw on a terminal: what they show, how they are left, that the terminal is as it was afterwards."""
import os
import pty
import select
import signal
import subprocess
import termios
import time

import lib


class Terminal:
    """A command of the program on a terminal of its own."""

    def __init__(self, *args, stdin=None):
        self.fd, child = pty.openpty()
        self.before = termios.tcgetattr(child)
        self.child = child  # kept open: what the command changed can be looked at when it has ended
        self.text = ""
        self.process = subprocess.Popen([lib.BINARY, *map(str, args)], env=lib.environment({"TERM": "xterm"}), stdout=child, stderr=child,
                                        stdin=child if stdin is None else stdin, start_new_session=True)

    def read(self, seconds=0.2):
        if select.select([self.fd], [], [], seconds)[0]:
            self.text += os.read(self.fd, 65536).decode("utf-8", "replace")

    def expect(self, part, seconds=20):
        """Waits for a text, and takes all up to its end away."""
        deadline = time.monotonic() + seconds * lib.SLOW
        while part not in self.text:
            assert time.monotonic() < deadline, f"{part!r} did not come: {self.text!r}"
            self.read()
        seen, _, self.text = self.text.partition(part)
        return seen

    def type(self, text):
        os.write(self.fd, text)

    def wait(self, seconds=20):
        """The exit status; what is written meanwhile is read, or the command would wait for us."""
        deadline = time.monotonic() + seconds * lib.SLOW
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"{self.process.args} did not end: {self.text!r}"
            self.read(0.05)
        while select.select([self.fd], [], [], 0)[0]:
            self.read(0)
        return self.process.returncode

    def is_as_before(self):
        return termios.tcgetattr(self.child) == self.before

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.child)
        os.close(self.fd)


def served():
    """A gateway that has answered three requests."""
    upstream = lib.mock()
    gateway = lib.gateway(config=lib.config_for(upstream.url("mock")))
    for _ in range(3):
        lib.equal(lib.chat(gateway.url("gateway")).status, 200)
    return gateway


def top(gateway, **options):
    return Terminal("top", "--interval", "0.1", "--url", gateway.url("metrics") + "/metrics", **options)


def test_top_redraws_until_it_is_left():
    gateway = served()
    leave = ((lambda t: t.type(b"q"), "q"), (lambda t: t.type(b"Q"), "Q"), (lambda t: t.type(b"xyzq"), "other keys before"),
             (lambda t: t.process.send_signal(signal.SIGINT), "SIGINT"), (lambda t: t.process.send_signal(signal.SIGTERM), "SIGTERM"))
    for act, name in leave:
        terminal = top(gateway)
        try:
            terminal.expect("\033[2J\033[H")
            terminal.expect("claude-haiku")
            terminal.expect("q: quit")
            assert not terminal.is_as_before(), "keys are read one by one, without an echo"
            terminal.expect("q: quit")
            act(terminal)
            lib.equal(terminal.wait(), 0, name)
            assert terminal.is_as_before(), name
        finally:
            terminal.close()


def test_top_shows_what_changes():
    gateway = served()
    terminal = top(gateway)
    try:
        terminal.expect("q: quit")
        for _ in range(5):
            lib.equal(lib.chat(gateway.url("gateway")).status, 200)
        terminal.expect("claude-haiku")
        terminal.expect("q: quit")
        terminal.type(b"q")
        lib.equal(terminal.wait(), 0)
    finally:
        terminal.close()


def test_top_ends_when_nobody_can_press_a_key():
    gateway = served()
    terminal = top(gateway, stdin=subprocess.DEVNULL)
    try:
        lib.equal(terminal.wait(), 0)
        lib.contains(terminal.text, "claude-haiku")
        assert terminal.is_as_before()
    finally:
        terminal.close()


def test_top_says_when_the_gateway_has_gone():
    gateway = served()
    terminal = top(gateway)
    try:
        terminal.expect("q: quit")
        gateway.stop()
        lib.equal(terminal.wait(), 1)
        lib.contains(terminal.text, "sightline: ")
        lib.contains(terminal.text, "is `sightline up` running?")
        assert terminal.is_as_before()
    finally:
        terminal.close()


def test_traces_are_followed():
    gateway = served()
    terminal = Terminal("traces", "--follow", "--url", gateway.url("admin"))
    try:
        terminal.expect("POST /v1/chat/completions")
        terminal.expect("\033[H\033[2J")
        lib.equal(lib.chat(gateway.url("gateway")).status, 200)
        terminal.expect("\033[H\033[2J")
        terminal.expect("POST /v1/chat/completions")
        gateway.stop()
        lib.equal(terminal.wait(), 1)
        lib.contains(terminal.text, "is `sightline up` running?")
    finally:
        terminal.close()


def test_load_tells_how_far_it_is():
    upstream = lib.mock(ttft=50)
    terminal = Terminal("load", "--url", upstream.url("mock") + "/v1", "--model", "mock", "--duration", "2", "--concurrency", "2")
    try:
        terminal.expect("under way")
        terminal.expect("\r\033[K")  # the line is taken away before the report
        lib.equal(terminal.wait(), 0)
        lib.contains(terminal.text, "tokens")
        assert "under way" not in terminal.text, terminal.text
    finally:
        terminal.close()


def test_values_that_are_out_of_range_are_refused():
    for args in (["doctor", "--timeout", "0"], ["load", "--url", "http://127.0.0.1:1", "--rate", "0"],
                 ["load", "--url", "http://127.0.0.1:1", "--timeout", "0"], ["mock", "--tokens", "0"], ["mock", "--listen", "off"],
                 ["mock", "--tokens", "1000001"], ["load", "--url", "http://127.0.0.1:1", "--concurrency", "100000000"]):
        done = lib.run(*args)
        lib.equal(done.returncode, 2, " ".join(args))
        lib.contains(done.stderr, args[-2], " ".join(args))
    lib.equal(lib.run("mock", "--listen", "192.0.2.1:1").returncode, 1, "an address that is not ours")
    gone = lib.run("mock", "--listen", "127.0.0.1:0", "--ready-file", "/nonexistent/folder/ready")
    lib.equal(gone.returncode, 1)
    lib.contains(gone.stderr, "/nonexistent/folder/ready: cannot be written")


if __name__ == "__main__":
    lib.main(globals())
