"""What came of a run: tables in Markdown, and all figures in JSON."""
import contextlib
import dataclasses
import json
import os

import gssapi
import plot
import works
from machine import machine, versions

TOP = os.environ["SALLYPORT_TOP"]
AIM_IDLE = 0.8  # KiB
AIM_MANY = 1.15  # a round trip on 5,000 sessions against one on 64
LEVELS = {1: "integrity", 2: "confidentiality"}  # RFC 1961, section 4.3
NOTE = f"""sallyport as it is shipped: every layer of the sandbox, audit to rsyslogd, {works.gateway.PREFIXES:,} prefixes and \
{works.gateway.RULES} rules before the one that passes; the others with one rule at most and no log. What rsyslogd takes is not \
counted. User memory is anonymous and shared pages of all processes, the difference between {works.FEW} and {works.SESSIONS:,} \
idle sessions (with {works.SMALL} prefixes); what the kernel has for sockets is not in it.

Aim: the most this project allows itself; what is above it is missed. That is no error, the status stays 0. An empty cell: no \
aim, or nothing to measure (microsocks has no UDP, dante only the passwords of the machine's own users), or a failure, which is \
named at the end."""
RATIOS = """CPU of all the server's processes for a unit of work. floor: CPU time; the others: multiples of it. A ratio is the median \
of the pairs' ratios, not the ratio of the CPU columns."""
GSSAPI = f"""GSSAPI, CPU s/GB of the whole relay, against the same relay on MIT's gss_wrap and gss_unwrap. A ratio is the median of \
the pairs' ratios, not the ratio of the columns; of the encryption types behind {gssapi.ENCTYPES[gssapi.MAIN]} it is that of one pair. \
MB/s: of one session, whose client makes its tokens beforehand, or only reads them:"""
RATES = f"""Rates (units a second, of bulk MiB a second), latencies and CPU of a unit. A latency is that of one unit of many under \
way, so it includes waiting: {works.ABREAST} at a time of connections, passwords and round trips (on one session 1), 16 \
datagrams an association. none: no proxy, the load goes straight to its targets."""


@dataclasses.dataclass
class Aim:
    """One figure that the gateway is to keep to."""
    what: str
    value: float
    most: float

    @property
    def missed(self):
        return self.value > self.most


def table(heads, rows):
    """Markdown; what is None has no figure."""
    def line(cells):
        return "| " + " | ".join("" if c is None else str(c) for c in cells) + " |"
    return "\n".join([line(heads), "|" + "---|" * len(heads), *map(line, rows)])


def figure(value, digits=3):
    """So many digits that count."""
    if value is None:
        return None
    return f"{value:,.0f}" if abs(value) >= 10 ** (digits - 1) else f"{value:.{digits}g}"


class Report:
    def __init__(self, run, seconds):
        self.run, self.seconds, self.aims = run, seconds, []
        self.measured = [w for ws in works.KINDS.values() for w in ws if w.name in run.stretches]
        self.peers = [n for n in run.names if n not in ("floor", "sallyport", "none")]

    def of(self, work, name):
        """The figures of a work's rounds."""
        return self.run.stretches.get(work, {}).get(name, [])

    def aim(self, what, value, most, shown):
        """The cells of a figure and of its aim."""
        if value is None or most is None:
            return [shown, None]
        self.aims.append(Aim(what, value, most))
        return [f"**{shown}** (missed)" if self.aims[-1].missed else shown, f"{most:g}"]

    def ratio(self, work, name):
        return works.ratio(self.of(work, name), self.of(work, "floor"))

    def ratios(self):
        """{label: {server: multiple of the floor}}, which is also what the plot shows."""
        return {w.label: {n: r for n in ("sallyport", *self.peers) if (r := self.ratio(w.name, n))} 
                for w in self.measured if w.name not in works.PASSWORDS}

    def rounds(self):
        fewer = [f"of {n} {min(most, self.run.pairs)}" for n, most in works.FEWER.items() if n in self.run.names]
        aimed = f"of works with an aim, and of ping-pong on {works.SESSIONS:,} sessions, {self.run.pairs * works.AIMED}"
        return f"Rounds: {', '.join([str(self.run.pairs), aimed, *fewer])}. Few say little: with one, a ratio is often 20 % off."

    def summary(self):
        if "floor" not in self.run.names:
            return ["no ratios: SERVERS is without floor"] if any(w.name not in works.PASSWORDS for w in self.measured) else []
        ratios, rows = self.ratios(), []
        for w in self.measured:
            if w.label not in ratios:
                continue
            of = ratios[w.label]
            floor = works.median(self.of(w.name, "floor"), lambda s: s.cost)
            own = of.get("sallyport")
            rows.append([w.label, figure(floor) and f"{figure(floor)} {w.unit}",
                         *self.aim(w.label, own, w.aim, own and f"{own:.3f}"), *(figure(of.get(n)) for n in self.peers)])
        return [RATIOS, self.rounds(), table(["", "floor", "sallyport", "aim", *self.peers], rows)] if rows else []

    def others(self):
        rows = []

        def row(what, unit, value, most=None):
            """value(server): its figure."""
            of = {n: value(n) for n in ("floor", "sallyport", *self.peers)}
            if any(v is not None for v in of.values()):
                rows.append([f"{what}, {unit}", figure(of["floor"]), *self.aim(what, of["sallyport"], most, figure(of["sallyport"])),
                             *(figure(of[n]) for n in self.peers)])

        def at_median(work, of=float):
            return lambda n: works.median(self.of(work, n), of)
        row(f"ping-pong on {works.SESSIONS:,} sessions against 64", "times",
            lambda n: works.ratio(self.of(f"pingpong-{works.SESSIONS}", n), self.of("pingpong-64", n)), AIM_MANY)
        row("password (sallyport's hashed with yescrypt)", "us of CPU", at_median("password", lambda s: s.cost))
        row("crypt(3) alone", "us of CPU", at_median("crypt"))
        row("password, beyond crypt(3) (few rounds)", "us of CPU", self.beyond)
        row("idle session, user memory", "KiB", at_median("idle", lambda octets: octets / 1024), AIM_IDLE)
        row(f"start ({works.gateway.PREFIXES:,} prefixes)", "ms of CPU", at_median("start", lambda s: s[1] * 1e3))
        row("start until it answers", "ms", at_median("start", lambda s: s[0] * 1e3))
        return ["Each row in its own unit:", table(["", "floor", "sallyport", "aim", *self.peers], rows)] if rows else []

    def shares(self):
        """Which process of the gateway takes what of a connection, and rsyslogd, which is none of them, beside it."""
        got = [s for s in self.of("connect", "sallyport") if s is not None]

        def shown(kind, leave=()):
            names = [n for n in (getattr(got[0], kind) if got else ()) if n not in leave]
            us = {n: works.median(got, lambda s: getattr(s, kind)[n] / 1e3 / s.units) for n in names}
            return ", ".join(f"{n} {figure(v)}" for n, v in us.items() if v >= 0.1)
        return [f"Of a connection through sallyport, us of CPU: {shown('cpu')}; not counted: {shown('beside', ('load',))}."] if got else []

    def beyond(self, name):
        """us of a password's check that are not crypt(3)'s, where that takes few, so that its own unevenness does not hide
        them. The floor and microsocks have no hash."""
        costs = self.of("password-light", name)
        alone = self.of("crypt-light", name) or [0.0] * len(costs)
        return works.median([(s, a) for s, a in zip(costs, alone) if s], lambda p: p[0].cost - p[1])

    def details(self):
        rows = []
        for w in self.measured:
            for n in self.run.names:
                got = [s for s in self.of(w.name, n) if s is not None]
                if got:
                    said = [works.median(got, lambda s: s.said[k]) if k in got[0].said else None for k in ("rate", "p50_us", "p99_us")]
                    cost = None if n == "none" else works.median(got, lambda s: s.cost)
                    rows.append([w.label, n, *map(figure, said), cost and f"{figure(cost)} {w.unit}"])
        return [RATES, table(["", "", "rate", "p50, us", "p99, us", "CPU"], rows)] if rows else []

    def gssapi(self):
        parts = self.run.gssapi
        if "bulk" in parts:
            rows = []
            for r in parts["bulk"]:
                what = f"{LEVELS[r['level']]}, {works.WAYS[r['way']]}"
                rows.append([what, r["enctype"], f"{r['gateway']:.2f}", f"{r['mit']:.2f}",
                             *self.aim(f"GSSAPI {what}", r["ratio"], r["aim"], f"{r['ratio']:.3f}"), f"{r['octets']:.0f}",
                             figure(r["rate"]), figure(r["mit_rate"])])
            yield GSSAPI
            yield table(["", "encryption type", "sallyport", "MIT's relay", "ratio", "aim", "octets a token",
                         "MB/s", "MIT's relay, MB/s"], rows)
        if "handshakes" in parts:
            keys = ["worker", "authd", "sallyportd", "sum", "alone", "greet"]
            rows = [[r["clients"], *(f"{r[k]:.0f}" for k in keys),
                     *self.aim("GSSAPI negotiation", r["beyond"], r["aim"], f"{r['beyond']:.0f}"),
                     *(figure(r[k]) for k in ("rate", "p50_us", "p99_us"))] for r in parts["handshakes"]]
            yield (f"GSSAPI negotiation, us of CPU (busy, {self.run.pairs * gssapi.ROUNDS[gssapi.BUSY]} rounds, alone {self.run.pairs}); "
                   "rate and latencies have the clients' own work in them:")
            yield table(["clients at a time", "worker", "authd", "master", "sum", "gss_accept_sec_context alone",
                         "of the sum, to connect and greet", "beyond gss_accept_sec_context", "aim", "a second", "p50, us", "p99, us"],
                        rows)
        if "parts" in parts:
            keys = ["wrap2", "unwrap2", "wrap1", "unwrap1", "hash", "encipher", "decipher"]
            rows = [[r["enctype"], *(f"{r[k]:.2f}" for k in keys)] for r in parts["parts"]]
            yield "What GSSAPI's parts take alone, CPU s/GB:"
            yield table(["encryption type", *(f"{call}, {LEVELS[level]}" for level in (2, 1) for call in ("gss_wrap", "gss_unwrap")),
                         "libcrypto's hash", "libcrypto's cipher, to encipher", "libcrypto's cipher, to decipher"], rows)

    def end(self):
        failed = list(dict.fromkeys(self.run.failures))
        for server, work, why in failed:
            yield f"FAILED: {server}, {work}: {why}"
        missed = [f"{a.what} ({figure(a.value, 4)}, at most {a.most:g})" for a in self.aims if a.missed]
        met = f"{len(self.aims) - len(missed)} of {len(self.aims)} met" if self.aims else "none judged"
        if missed:
            yield f"Missed: {'; '.join(missed)}"
        yield f"{self.seconds:.0f} s; aims: {met}; failed measurements: {len(failed)}"

    def text(self):
        measured = [*self.summary(), *self.others(), *self.shares(), *self.gssapi(), *self.details()]
        return "\n\n".join([machine(), versions(TOP), NOTE, *measured, *self.end()]) + "\n"

    def figures(self):
        def plain(f):
            if not isinstance(f, works.measure.Stretch):
                return f
            shares = {k: {n: ns / 1e3 / f.units for n, ns in getattr(f, k).items()} for k in ("cpu", "beside")}
            return {"units": f.units, **f.said, "cpu_us_a_unit": f.cost, **shares}
        return {"machine": machine(), "versions": versions(TOP), "gssapi": self.run.gssapi, "failures": self.run.failures,
                "aims": [dataclasses.asdict(a) | {"missed": a.missed} for a in self.aims],
                "works": {w: {n: [plain(f) for f in got] for n, got in of.items()} for w, of in self.run.stretches.items()}}


def write(run, where, seconds, suffix="", save=None):
    """Prints the tables, and leaves them in `where` with figures and plot, `suffix` being in the files' names; `save`: a path
    for the plot to be kept."""
    r = Report(run, seconds)
    text = r.text()
    print(text, flush=True)
    files = {kind: f"{where}/{name}{suffix}.{kind}" for name, kind in (("report", "md"), ("figures", "json"), ("peers", "svg"))}
    with open(files["md"], "w") as f:
        f.write(text)
    with open(files["json"], "w") as f:
        json.dump(r.figures(), f, indent=1)
    if not plot.write(r.ratios(), machine(), [files["svg"], *([save] if save else [])]):
        with contextlib.suppress(FileNotFoundError):  # an older one's
            os.unlink(files.pop("svg"))
    print(f"In {where}: {', '.join(map(os.path.basename, files.values()))}", flush=True)
