"""GSSAPI: the worker's relay against tests/bench/gss_relay, the same relay on MIT's gss_wrap and gss_unwrap, CPU of all the
server's processes for a GB of data, in turns; and the CPU that a negotiation takes in all processes of the gateway beyond
gss_accept_sec_context itself, which is measured beside it with tickets of the same KDC. The clients make their tokens
before the measured stretch, or only read."""
import os
import statistics
import subprocess

import gateway
import kdc
import measure
from servers import B, Server

ENCTYPES = {18: "aes256-sha1", 17: "aes128-sha1", 19: "aes128-sha256", 20: "aes256-sha384"}
MAIN = 18
AIM = {1: 0.40, 2: 0.25}  # times MIT's relay, at most
AIM_NEGOTIATION = 150  # us, of a gateway that is busy: alone, each step of a client wakes a process
BUSY = 16  # clients
NEGOTIATIONS = {1: 320, BUSY: 2000}  # of a stretch, by clients at a time
ROUNDS = {1: 1, BUSY: 3}  # for each of the others'
OPENSSL = {18: ("aes-256-cbc", "sha1"), 17: ("aes-128-cbc", "sha1"), 19: ("aes-128-cbc", "sha256"), 20: ("aes-256-cbc", "sha384")}

HEAD = 'kerberos config "{0.config}"\nauth gssapi keytab "{0.keytab}"\n'
PASS = "pass connect from any to { any, 127.0.0.0/8 } auth gssapi\n"


class Relay(Server):
    """MIT's."""
    name = "MIT's relay"

    def __init__(self, realm):
        self.realm = realm

    def launch(self):
        self.run(f"{B}/bench/gss_relay", self.realm.keytab, stdout=subprocess.PIPE, text=True,
                 env=dict(os.environ, KRB5_CONFIG=self.realm.config))
        self.port = int(self.p.stdout.readline() or 0)

    def wait(self, step=0):
        return self


def of_client(credentials):
    return dict(os.environ, KRB5_CONFIG=credentials.config, KRB5CCNAME=f"FILE:{credentials.path}")


def alone(credentials, *args):
    """What MIT's library takes with both sides in one process."""
    env = dict(of_client(credentials), CLIENT_CONFIG=credentials.config, ACCEPTOR_CONFIG=credentials.realm.config,
               KRB5_CONFIG=credentials.realm.config)
    out = subprocess.run([f"{B}/bench/gss_load", *map(str, args)], env=env, stdout=subprocess.PIPE, text=True, check=True)
    return {k: float(v) for k, v in (l.split() for l in out.stdout.splitlines())}


class Bench:
    def __init__(self, realm, pairs, mib):
        self.realm, self.pairs, self.mib = realm, pairs, mib
        self.cache = {e: realm.kinit(enctype=e).fetch() for e in ENCTYPES}
        self.gateway = gateway.Gateway(HEAD.format(realm), PASS)
        self.mit = Relay(realm)

    def load(self, server, enctype, units, what, *args):
        return measure.stretch([f"{B}/bench/gss_load", what, server.port, *args], server, of_client(self.cache[enctype]),
                               settle=True, units=units)

    def relay(self, enctype, level, way, pairs, mib):
        gb = mib * 1024 * 1024 / 1e9
        got = [[self.load(s, enctype, gb, "bulk", level, way, mib) for s in (self.gateway, self.mit)] for _ in range(pairs)]
        rate, mit_rate = (statistics.median(r[i].said["rate"] for r in got) for i in range(2))
        return {"enctype": ENCTYPES[enctype], "level": level, "way": way, "rate": rate, "mit_rate": mit_rate,
                "gateway": statistics.median(a.cost for a, _ in got) / 1e6, "mit": statistics.median(b.cost for _, b in got) / 1e6,
                "ratio": statistics.median(a.cost / b.cost for a, b in got), "aim": AIM[level] if enctype == MAIN else None,
                "octets": gb * 1e9 / got[0][0].said["tokens"]}

    def bulk(self):
        for enctype in ENCTYPES:
            pairs, mib = (self.pairs, self.mib) if enctype == MAIN else (1, self.mib // 2)
            for level in (2, 1):
                for way in ("down", "up"):
                    yield self.relay(enctype, level, way, pairs, mib)

    def parts(self):
        """gss_wrap and gss_unwrap alone; and what no program on libcrypto can be below, a token being one stream of its cipher
        and one of its hash."""
        def per_gb(*what):
            out = subprocess.run(["openssl", "speed", "-mr", "-seconds", "1", "-bytes", "61440", *what], capture_output=True,
                                 text=True, check=True).stdout
            return 1e9 / float(out.split("+F:")[1].split(":")[-1])
        for enctype, (cipher, digest) in OPENSSL.items():
            row = {"enctype": ENCTYPES[enctype], "hash": per_gb("-evp", digest), "encipher": per_gb("-evp", cipher),
                   "decipher": per_gb("-decrypt", "-evp", cipher)}
            for level in (2, 1):
                a = alone(self.cache[enctype], "alone", level, self.mib // 2, self.realm.keytab)
                row |= {f"wrap{level}": a["wrap"] / 1e9, f"unwrap{level}": a["unwrap"] / 1e9}
            yield row

    def handshakes(self):
        """The gateway's processes and gss_accept_sec_context alone, in turns."""
        for clients, n in NEGOTIATIONS.items():
            rounds = [(self.load(self.gateway, MAIN, n, "negotiate", 2, n, clients),
                       alone(self.cache[MAIN], "accept", n, self.realm.keytab)["accept"] / 1e3,
                       self.load(self.gateway, MAIN, n, "greet", n, clients)) for _ in range(self.pairs * ROUNDS[clients])]

            def us(of):
                return statistics.median(of(*r) for r in rounds)
            yield {"clients": clients, "sum": us(lambda a, b, c: a.cost), "alone": us(lambda a, b, c: b),
                   "beyond": us(lambda a, b, c: a.cost - b), "greet": us(lambda a, b, c: c.cost),
                   "aim": AIM_NEGOTIATION if clients == BUSY else None,
                   **{k: us(lambda a, b, c: a.said[k]) for k in ("rate", "p50_us", "p99_us")},
                   **{name: us(lambda a, b, c: a.cpu[name] / n / 1e3) for name in ("worker", "authd", "sallyportd")}}


def measured(kinds, pairs, mib):
    """Rows by kind: bulk, handshakes, parts."""
    realm = kdc.Realm().start()
    rcache = f"{realm.dir}/rcache"
    # both accept with a replay cache of the same kind; MIT's own default puts it into /var/tmp, on whatever disk that is
    os.environ["KRB5RCACHENAME"] = f"file2:{rcache}"
    try:
        bench = Bench(realm, pairs, mib)
        try:
            bench.gateway.start()
            bench.mit.start()
            return {kind: list(getattr(bench, kind)()) for kind in kinds}
        finally:
            bench.mit.stop()
            bench.gateway.stop()
    finally:
        if os.path.exists(rcache):
            os.unlink(rcache)
        realm.stop()
