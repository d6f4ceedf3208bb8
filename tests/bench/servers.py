"""The servers that are measured besides the gateway (gateway.py): the floor, what Debian has, and none at all. Each is in
its cheapest form: no log, one rule. `port` is None where the load goes straight to its targets."""
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import peers
import processes
import sally
from measure import Failed

B = os.environ["SALLYPORT_BUILD"]
START = 40  # s


def greeted(port):
    """Whether a SOCKS server answers there, and not only a listener."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as s:
            s.sendall(b"\5\1\0")
            return len(s.recv(2)) == 2
    except (ConnectionRefusedError, ConnectionResetError):
        return False


class Server:
    """`name` is what SERVERS and the tables call it; `lacks` the works that it has nothing for."""
    name, lacks, port, p = None, (), None, None

    @property
    def pid(self):
        return self.p.pid if self.p else None

    def beside(self):
        """Processes that work for it and are no part of it."""
        return []

    def roots(self):
        return [pid for pid in (self.pid, *self.beside()) if pid]

    def run(self, *argv, **how):
        """In a session of its own, as the gateway, which is a daemon, has one: the kernel shares processors out by sessions
        (autogroups), and round trips through a server in the load's own had a third of the p99, at the same CPU."""
        self.p = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, start_new_session=True,
                                  **dict({"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}, **how))

    def prepare(self):
        """What is there before it starts."""

    def launch(self):
        raise NotImplementedError

    def start(self):
        try:
            self.prepare()
            self.launch()
            return self.wait()
        except Failed:
            self.stop()
            raise

    def wait(self, step=0.01):
        end = time.monotonic() + START
        while not greeted(self.port):
            if self.p.poll() is not None or time.monotonic() > end:
                raise Failed(f"{self.name} does not answer{'' if self.p.poll() is None else f': status {self.p.poll()}'}")
            time.sleep(step)
        return self

    def stop(self):
        if not self.p:
            return
        pids = processes.tree(self.pid)
        self.p.terminate()
        end = time.monotonic() + 5
        while any(map(sally.alive, pids)) and time.monotonic() < end:
            time.sleep(0.01)
            self.p.poll()
        for pid in filter(sally.alive, pids):
            os.kill(pid, signal.SIGKILL)
        self.p.wait()
        self.p = None


class Straight(Server):
    """No proxy at all."""
    name = "none"
    lacks = "password", "idle", "start"

    def start(self):
        return self


class Floor(Server):
    name = "floor"

    def launch(self):
        self.run(f"{B}/bench/floor", 0, stdout=subprocess.PIPE, text=True)
        self.port = int(self.p.stdout.readline() or 0)


class Microsocks(Server):
    name = "microsocks"
    lacks = ("udp",)

    def __init__(self, password=False):
        self.more = ["-u", "bench", "-P", "bench"] if password else []

    def prepare(self):
        self.port = peers.free_port()

    def launch(self):
        self.run("microsocks", "-i", "127.0.0.1", "-p", self.port, *self.more)


DANTE = """logoutput: {dir}/log
internal: 127.0.0.1 port = {port}
external: 127.0.0.1
clientmethod: none
socksmethod: none
user.unprivileged: nobody
client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 command: connect udpassociate }}
socks pass {{ from: 0.0.0.0/0 to: 127.0.0.0/8 command: udpreply }}
"""


class Dante(Server):
    """Passwords, which it has for the machine's own users only, are left out."""
    name = "dante"
    lacks = ("password",)

    def prepare(self):
        self.port, self.dir = peers.free_port(), tempfile.mkdtemp(prefix="dante.", dir="/tmp")
        with open(f"{self.dir}/conf", "w") as f:
            f.write(DANTE.format(dir=self.dir, port=self.port))

    def launch(self):
        self.run("/usr/sbin/danted", "-f", f"{self.dir}/conf", "-p", f"{self.dir}/pid")

    def stop(self):
        super().stop()
        shutil.rmtree(self.dir, ignore_errors=True)
