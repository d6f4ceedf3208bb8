"""One stretch of a load against a server: a load generator says "ready", is told to go, and says "done"; between the two
the server's CPU is counted, with what it still does for the load after that where the work says so."""
import contextlib
import dataclasses
import subprocess
import threading

import processes

SECONDS = 180  # a load generator that takes longer hangs


class Failed(Exception):
    """Something did not run: no figure."""


@dataclasses.dataclass
class Stretch:
    units: float
    said: dict  # what the load generator measured: seconds, rate, p50_us, p99_us, lost
    cpu: dict  # ns of CPU by process of the server
    beside: dict  # likewise of others: rsyslogd, the load generator

    @property
    def sum(self):
        return sum(self.cpu.values())

    @property
    def cost(self):
        """us of CPU of all the server's processes for a unit."""
        return self.sum / 1e3 / self.units


class Load:
    """A load generator, up to its end. Used in `with`, which leaves none behind."""

    def __init__(self, argv, env=None):
        self.argv = [str(a) for a in argv]
        self.p = subprocess.Popen(self.argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.timer = threading.Timer(SECONDS, self.p.kill)
        self.timer.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.timer.cancel()
        if self.p.poll() is None:
            self.p.kill()
        self.p.wait()
        for f in (self.p.stdin, self.p.stdout, self.p.stderr):
            with contextlib.suppress(BrokenPipeError):
                f.close()

    def expect(self, word):
        line = self.p.stdout.readline()
        if line != word + "\n":
            self.fail(f"expected {word}, got {line!r}")

    def fail(self, why):
        self.p.kill()
        raise Failed(f"{' '.join(self.argv)}: {why}: {self.p.stderr.read().strip() or f'status {self.p.wait()}'}")

    def go(self):
        try:
            self.p.stdin.write("go\n")
            self.p.stdin.flush()
        except BrokenPipeError:
            self.fail("ended early")

    def end(self):
        """Lets it close what it has open, and returns what it measured."""
        with contextlib.suppress(BrokenPipeError):
            self.p.stdin.close()
        said = dict(l.split() for l in self.p.stdout.read().splitlines())
        if self.p.wait() != 0:
            self.fail("failed")
        return {k: float(v) for k, v in said.items()}


def stretch(argv, server, env=None, settle=False, units=None):
    """Runs a load against `server`. `settle`: what it does after the last unit is of the stretch too. `units`: how many,
    where the load generator does not say it."""
    with Load(argv, env) as load:
        load.expect("ready")
        processes.quiet(server.roots())
        before = snapshot(server, load)
        load.go()
        load.expect("done")
        if settle:
            processes.quiet(server.roots())
        after = snapshot(server, load)
        said = load.end()
    processes.quiet(server.roots())  # what closing took is not the next stretch's
    own, beside = (processes.spent(b, a) for b, a in zip(before, after))
    return Stretch(said.get("units", units), said, own, beside)


def snapshot(server, load):
    own = processes.cpu(server.pid) if server.pid else {}
    beside = {name: ns for pid in [load.p.pid, *server.beside()] for name, ns in processes.cpu(pid).items()}
    return own, beside
