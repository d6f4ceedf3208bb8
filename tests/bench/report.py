"""What came of a run: tables in Markdown, and all figures in JSON."""
import dataclasses
import datetime
import json
import os

import plot
import works

AIM_IDLE = 0.8  # KiB
AIM_MANY = 1.15  # a round trip on 5,000 sessions against one on 64
NOTE = f"""sallyport as it is shipped: every layer of the sandbox, audit to rsyslogd, {works.gateway.PREFIXES:,} prefixes and \
{works.gateway.RULES} rules before the one that passes; the others with one rule at most and no log. User memory is anonymous \
and shared pages of all processes, the difference between {works.FEW} and {works.SESSIONS:,} idle sessions \
(with {works.SMALL} prefixes); what the kernel has for sockets is not in it."""
CPU = "CPU of all the server's processes for a unit of work, as multiples of the floor (medians of the pairs' ratios)"


@dataclasses.dataclass
class Aim:
    """One figure that the gateway is to keep to."""
    what: str
    value: float
    most: float

    @property
    def missed(self):
        return self.value > self.most

    def __str__(self):
        return f"MISSED: at most {self.most:g}" if self.missed else f"at most {self.most:g}"


def machine():
    with open("/proc/cpuinfo") as f:
        model = [l.partition(":")[2].strip() for l in f if l.startswith("model name")][0]
    return f"{datetime.date.today()}, {model}, {os.cpu_count()} CPUs, Linux {os.uname().release}"


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

    def aim(self, what, value, most):
        if value is None or most is None:
            return None
        self.aims.append(Aim(what, value, most))
        return self.aims[-1]

    def ratio(self, work, name):
        return works.ratio(self.of(work, name), self.of(work, "floor"))

    def ratios(self):
        """{label: {server: multiple of the floor}}, which is also what the plot shows."""
        return {w.label: {n: r for n in ("sallyport", *self.peers) if (r := self.ratio(w.name, n))} 
                for w in self.measured if w.name not in works.PASSWORDS}

    def summary(self):
        ratios, rows = self.ratios(), []
        for w in self.measured:
            if w.label not in ratios:
                continue
            of = ratios[w.label]
            floor = works.median(self.of(w.name, "floor"), lambda s: s.cost)
            own = of.get("sallyport")
            rows.append([w.label, figure(floor) and f"{figure(floor)} {w.unit}", own and f"{own:.3f}",
                         self.aim(w.label, own, w.aim), *(figure(of.get(n)) for n in self.peers)])
        return [f"{CPU}:", table(["", "floor", "sallyport", "aim", *self.peers], rows)] if rows else []

    def others(self):
        rows = []

        def row(what, unit, value, most=None):
            """value(server): its figure."""
            of = {n: value(n) for n in ("floor", "sallyport", *self.peers)}
            if any(v is not None for v in of.values()):
                rows.append([f"{what}, {unit}", figure(of["floor"]), figure(of["sallyport"]), self.aim(what, of["sallyport"], most),
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
        return [table(["", "floor", "sallyport", "aim", *self.peers], rows)] if rows else []

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
        return ["Rates (units or MiB a second) and latencies:",
                table(["", "", "rate", "p50, us", "p99, us", "CPU"], rows)] if rows else []

    def gssapi(self):
        parts = self.run.gssapi
        if "bulk" in parts:
            rows = [[r["enctype"], r["level"], r["way"], f"{r['gateway']:.2f}", f"{r['mit']:.2f}", f"{r['ratio']:.3f}",
                     self.aim(f"GSSAPI level {r['level']} {r['way']}", r["ratio"], r["aim"]), f"{r['octets']:.0f}"] for r in parts["bulk"]]
            yield "GSSAPI, CPU s/GB of the whole relay, against the same relay on MIT's gss_wrap and gss_unwrap:"
            yield table(["encryption type", "level", "way", "sallyport", "MIT's relay", "ratio", "aim", "octets a token"], rows)
        if "handshakes" in parts:
            keys = ["worker", "authd", "sallyportd", "sum", "alone", "greet", "beyond"]
            rows = [[r["clients"], *(f"{r[k]:.0f}" for k in keys), self.aim("GSSAPI negotiation", r["beyond"], r["aim"])]
                    for r in parts["handshakes"]]
            yield "GSSAPI negotiation, us of CPU:"
            yield table(["clients at a time", "worker", "authd", "master", "sum", "gss_accept_sec_context alone",
                         "of the sum, to connect and greet", "beyond gss_accept_sec_context", "aim"], rows)
        if "parts" in parts:
            keys = ["wrap2", "unwrap2", "wrap1", "unwrap1", "hash", "encipher", "decipher"]
            rows = [[r["enctype"], *(f"{r[k]:.2f}" for k in keys)] for r in parts["parts"]]
            yield "What GSSAPI's parts take alone, CPU s/GB:"
            yield table(["encryption type", "gss_wrap, level 2", "gss_unwrap", "gss_wrap, level 1", "gss_unwrap", "libcrypto's hash",
                         "its cipher, to encipher", "to decipher"], rows)

    def end(self):
        for server, work, why in dict.fromkeys(self.run.failures):
            yield f"FAILED: {server}, {work}: {why}"
        missed = [f"{a.what} ({figure(a.value, 4)}, at most {a.most:g})" for a in self.aims if a.missed]
        yield f"{self.seconds:.0f} s; aims missed: {'; '.join(missed) or 'none'}"

    def text(self):
        return "\n\n".join([machine(), NOTE, *self.summary(), *self.others(), *self.shares(), *self.gssapi(), *self.details(), *self.end()]) + "\n"

    def figures(self):
        def plain(f):
            if not isinstance(f, works.measure.Stretch):
                return f
            shares = {k: {n: ns / 1e3 / f.units for n, ns in getattr(f, k).items()} for k in ("cpu", "beside")}
            return {"units": f.units, **f.said, "cpu_us_a_unit": f.cost, **shares}
        return {"machine": machine(), "gssapi": self.run.gssapi, "failures": self.run.failures,
                "aims": [dataclasses.asdict(a) | {"missed": a.missed} for a in self.aims],
                "works": {w: {n: [plain(f) for f in got] for n, got in of.items()} for w, of in self.run.stretches.items()}}


def write(run, where, seconds, save=None):
    """Prints the tables, and leaves them in `where` with figures and plot; `save`: a path for the plot to be kept."""
    r = Report(run, seconds)
    text = r.text()
    print(text, end="", flush=True)
    with open(f"{where}/report.md", "w") as f:
        f.write(text)
    with open(f"{where}/figures.json", "w") as f:
        json.dump(r.figures(), f, indent=1)
    plot.write(r.ratios(), machine(), [f"{where}/peers.svg", *([save] if save else [])])
