"""PostgreSQL 16 with the extension pgvector, as the wheel pgserver brings them; without TLS, which Debian's server has.

The server refuses to run as root: it then gets a user namespace in which it is somebody else.
"""
import glob
import os
import shutil
import subprocess

from lib import cache, net
from lib.context import Failure
from peers import python_venv

LOCK = "pgvector"
WHEEL = python_venv.pinned(LOCK, "pgserver")
USER = "interop"
PASSWORD = "pg-interop-secret"


def _found(venv):
    return glob.glob(os.path.join(venv, "lib", "python3.*", "site-packages", "pgserver", "pginstall"))


def install():
    """The folder with bin/ and lib/."""
    found = _found(python_venv.install(LOCK, 11, 12))
    if not found:
        raise cache.Missing("the wheel pgserver %s brings no server for this machine" % WHEEL)
    _lead_in()
    return found[0]


def version():
    return "16.2, pgvector 0.6.2 (wheel pgserver %s)" % WHEEL


def debian():
    """The folder of Debian's server, whose build has TLS."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    if not found or not shutil.which("openssl"):
        raise cache.Missing("needs Debian's server and openssl (Debian: postgresql openssl)")
    _lead_in()
    return os.path.dirname(os.path.dirname(found[-1]))


def debian_version():
    try:
        return subprocess.run([os.path.join(debian(), "bin", "postgres"), "--version"], capture_output=True, text=True,
                              timeout=20).stdout.split()[2]
    except cache.Missing:
        return "-"


def _lead_in():
    """What stands before a server's command; Missing when root cannot be somebody else here."""
    if os.geteuid() != 0:
        return []
    words = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    try:
        done = subprocess.run(words + ["true"], capture_output=True, text=True, timeout=20)
    except FileNotFoundError:
        raise cache.Missing("'unshare' is not installed")
    if done.returncode != 0:
        raise cache.Missing("PostgreSQL does not run as root, and user namespaces are not allowed: run as somebody else")
    return words


class Server:
    """A running server: `.port`, `.url()`. Passwords are checked (SCRAM)."""

    def __init__(self, ctx, folder, name="postgres", settings=()):
        self.ctx, self.folder, self.name, self.settings = ctx, folder, name, list(settings)
        self.port = ctx.free_port()
        self.data = os.path.join(ctx.dir, name + "-data")
        secret = ctx.write(name + ".password", PASSWORD + "\n")
        ctx.run(_lead_in() + [self._bin("initdb"), "-D", self.data, "-U", USER, "--auth=scram-sha-256", "--no-sync", "-E", "UTF8",
                              "--locale=C", "--pwfile", secret], timeout=60)
        self.process = None
        self.start()

    def _bin(self, program):
        return os.path.join(self.folder, "bin", program)

    def start(self):
        argv = [self._bin("postgres"), "-D", self.data, "-k", "", "-p", str(self.port), "-c", "listen_addresses=127.0.0.1",
                "-c", "fsync=off"]
        for setting in self.settings:
            argv += ["-c", setting]
        self.process = self.ctx.start(self.name, _lead_in() + argv)
        net.until("PostgreSQL on port %d" % self.port, 30, lambda: self.ask("SELECT 1") == "1")

    def stop(self):
        """At once, with all connections."""
        self.process.terminate()  # TERM waits for clients; INT ends them
        self.process.send_signal(2)
        self.process.wait(20)
        self.ctx.processes.remove(self.process)

    def url(self, user=USER, password=PASSWORD, database="postgres", options=""):
        return "postgres://%s:%s@127.0.0.1:%d/%s%s" % (user, password, self.port, database, options)

    def ask(self, sql):
        """Runs SQL by psql; the rows as text, tabs between columns."""
        client = self._bin("psql")
        try:
            return self.ctx.run([client, "-q", "-X", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-d", self.url(), "-f", "-"],
                                stdin=sql.encode()).strip()
        except Failure as e:
            raise ValueError(str(e))
