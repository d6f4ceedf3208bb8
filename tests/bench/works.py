"""What is measured: each work with its unit, its load generator's arguments and its aim; and how works of a kind are run
over the servers in turns, so that a pair is of one moment."""
import crypt
import dataclasses
import math
import statistics
import subprocess
import time

import gateway
import measure
import processes
import servers
from measure import Failed
from servers import B

WAYS = {"down": "target to client", "up": "client to target"}
ABREAST = 64  # at a time
SESSIONS = 5000  # the most that are open at a time
FEW = 10
STARTS = 5
AIMED = 6  # rounds of a work that is judged, for each of the others': its figure must be known best
FEWER = {"microsocks": 3, "dante": 3, "none": 1}  # rounds at most: what need not be known as well
SMALL = 100  # prefixes: freeing what a large table was read into leaves room in the heap, which sessions would seem not to need


@dataclasses.dataclass(frozen=True)
class Work:
    name: str
    label: str
    args: tuple  # of the load generator; N stands for the number of units
    unit: str = "us"  # of CPU, for what
    first: int = 2000  # units of the stretch by which the others' length is found
    aim: float = None  # times the floor, at most
    judged: bool = False  # as a side of another ratio that has an aim
    settle: bool = False

    def rounds(self, pairs):
        return pairs * (AIMED if self.aim or self.judged else 1)


def counted(number, what):
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def pingpong(sessions, **how):
    """Some on each session, so that the first, which finds no buffer made yet, is few of them."""
    return Work(f"pingpong-{sessions}", f"ping-pong, {counted(sessions, 'session')}", ("pingpong", sessions, "N"),
                first=max(4000, 8 * sessions), **how)


def bulk(way, streams, aim=None):
    return Work(f"bulk-{way}-{streams}", f"bulk, {WAYS[way]}, {counted(streams, 'stream')}", ("bulk", way, streams, "N"), aim=aim,
                unit="us/MiB", first=64)


def udp(size, associations, aim=None):
    return Work(f"udp-{size}-{associations}", f"UDP round trip, {size:,} octets, {counted(associations, 'association')}",
                ("udp", size, associations, "N"), aim=aim)


PASSWORDS = {
    "password": [Work("password", "password", ("greet", "N", ABREAST), first=32, settle=True)],
    "password-light": [Work("password-light", "password, hashed with few rounds", ("greet", "N", ABREAST), first=500, settle=True)],
}
KINDS = {
    "connect": [Work("connect", "connection", ("connect", "N", ABREAST), first=1000, aim=1.35, settle=True)],
    "pingpong": [pingpong(1), pingpong(64, aim=1.08), pingpong(SESSIONS, judged=True)],
    "bulk": [bulk(way, streams, 1.03 if streams == 8 else None) for way in ("down", "up") for streams in (1, 8, 64)],
    "udp": [udp(size, n, 1.05 if size == 512 else None) for size in (64, 512, 1200) for n in (1, 16)],
    **PASSWORDS,
}
SERVERS = {s.name: s for s in (servers.Floor, gateway.Gateway, servers.Microsocks, servers.Dante, servers.Straight)}


def load(work, server, units):
    argv = [f"{B}/bench/load", *(["-p", server.port] if server.port else []), *(["-u"] if work.name.startswith("password") else []),
            *(units if a == "N" else a for a in work.args)]
    return measure.stretch(argv, server, settle=work.settle)


def crypt_alone(hashed, ms=300):
    """us of CPU that crypt(3) takes for a password."""
    began, times = time.thread_time_ns(), 0
    while time.thread_time_ns() - began < ms * 1e6:
        crypt.crypt("bench", hashed)
        times += 1
    return (time.thread_time_ns() - began) / 1e3 / times


class Runner:
    """Runs works over servers, and keeps what came of it: stretches[work][server] is a list, one for each round; a
    number in its place is a figure that is no stretch; failures are (server, work, why)."""

    def __init__(self, names, pairs, seconds):
        self.names, self.pairs, self.seconds = names, pairs, seconds
        self.stretches, self.gssapi, self.failures = {}, {}, []

    def servers(self, kind):
        what = kind.partition("-")[0]
        how = {"sallyport": dict(table=SMALL if kind == "idle" else gateway.PREFIXES, light=kind == "password-light"),
               "microsocks": dict(password=what == "password")}
        return [SERVERS[name](**how.get(name, {})) for name in self.names if what not in SERVERS[name].lacks]

    def attempt(self, work, what, server=None):
        """what(), whose failure costs its own figure alone."""
        try:
            return what()
        except (AssertionError, OSError, subprocess.SubprocessError, Failed) as e:
            self.failures.append((server.name if server else "sallyport", work, f"{type(e).__name__}: {e}"))
            return None

    def rounds(self, kind, works):
        """The works of a kind, on servers that live as long."""
        up = [s for s in self.servers(kind) if self.attempt(kind, s.start, s)]
        try:
            units = {}
            for w in works:
                for s in up:
                    first = self.attempt(w.name, lambda: load(w, s, w.first), s)
                    if first:
                        units[w, s] = max(w.first, int(first.said["rate"] * self.seconds))
            for pair in range(self.pairs * AIMED):
                for w, s in units:
                    if pair < min(w.rounds(self.pairs), FEWER.get(s.name, math.inf)):
                        self.keep(w.name, s, self.attempt(w.name, lambda: load(w, s, units[w, s]), s))
                for s in up:
                    if pair < self.pairs and s.name == "sallyport" and kind.startswith("password"):
                        self.keep(kind.replace("password", "crypt"), s, crypt_alone(s.hashed()))
        finally:
            self.stop(up, kind)

    def keep(self, work, server, figure):
        self.stretches.setdefault(work, {}).setdefault(server.name, []).append(figure)

    def stop(self, up, kind):
        for s in up:
            self.attempt(kind, s.stop, s)

    def idle(self):
        """Octets of user memory for an idle session."""
        def held(server, sessions):
            with measure.Load([f"{B}/bench/load", "-p", server.port, "idle", sessions]) as l:
                l.expect("ready")
                processes.quiet(server.roots())
                octets = processes.memory(server.pid)
                l.go()
                l.expect("done")
                l.end()  # closes its input, and so the sessions
            return octets
        for s in self.servers("idle"):
            if self.attempt("idle", s.start, s):
                self.keep("idle", s, self.attempt("idle", lambda: (-held(s, FEW) + held(s, SESSIONS)) / (SESSIONS - FEW), s))
                self.stop([s], "idle")

    def start(self):
        """Until it answers, from nothing: (wall, CPU) in s."""
        def one(server):
            server.prepare()
            began = time.monotonic()
            server.launch()
            server.wait(0.001)
            wall = time.monotonic() - began
            return wall, sum(processes.cpu(server.pid).values()) / 1e9
        for _ in range(STARTS):
            for s in self.servers("start"):
                self.keep("start", s, self.attempt("start", lambda: one(s), s))
                self.stop([s], "start")


def median(stretches, of):
    got = [of(s) for s in stretches if s is not None]
    return statistics.median(got) if got else None


def ratio(above, below, of=lambda s: s.cost):
    """The median of the pairs' ratios."""
    got = [of(a) / of(b) for a, b in zip(above, below) if a is not None and b is not None and of(b) > 0]
    return statistics.median(got) if got else None
