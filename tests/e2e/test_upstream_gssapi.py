"""A gateway as the GSSAPI client of another (RFC 1961), with a KDC of its own: what curl and browsers cannot speak, the
gateway on their machine does."""
import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types

import gssapi
import pytest

import gss5
import peers
import sally
import socks5
from peers import wait_for
from gss5 import CLEAR, CONFIDENTIALITY, CONTEXT, DATA, INTEGRITY, LEVEL, SELECTIVE, F, frame
from socks5 import BIND, Client, open_session

SO_RCVBUFFORCE = 33  # Linux; Python has no name for it
HOME = "{ any, 127.0.0.0/8, ::1 }"
SECRET = b"nobody but the two gateways' clients should read this line " * 40


class Realm:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="sp.kdc.", dir="/tmp")
        os.chmod(self.dir, 0o755)
        subprocess.run([sys.executable, f"{sally.TOP}/tests/kdc", "start", self.dir], check=True, stdout=subprocess.DEVNULL)
        for name in os.listdir(self.dir):
            os.chmod(f"{self.dir}/{name}", 0o600 if name.endswith("keytab") else 0o644)
        self.env = dict(os.environ, KRB5_CONFIG=f"{self.dir}/krb5.conf")

    def kinit(self, cache, user="alice", life="1h", owner=None):
        subprocess.run(["kinit", "-l", life, "-k", "-t", f"{self.dir}/{user}.keytab", "-c", cache, user], check=True,
                       env=self.env)
        if owner is not None:
            os.chown(cache, owner, owner)

    def stop(self):
        subprocess.run([sys.executable, f"{sally.TOP}/tests/kdc", "stop", self.dir], check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(self.dir, ignore_errors=True)


@pytest.fixture(scope="module")
def realm():
    r = Realm()
    yield r
    r.stop()


def far_gateway(gateway, realm, rule="user alice auth gssapi protection confidentiality", more=""):
    return gateway(f'kerberos config "{realm.dir}/krb5.conf"\nauth gssapi keytab "{realm.dir}/keytab"\n{more}'
                   f"pass connect, bind, udp from any to {HOME} {rule}\n")


def near_gateway(gateway, realm, far, how="", user=None, cache=True, env=None, rule="auth none", **more):
    """The gateway on the user's own machine: with the tickets of who starts it (user), or those of a cache."""
    def before(g):
        if cache:
            realm.kinit(f"{g.dir}/cc", owner=user if user is not None else 64321)
    env = {"KRB5_CONFIG": f"{realm.dir}/krb5.conf"} | (env or {})
    g = gateway(f'process initiator uid 64321\nupstream hq socks5 "localhost" port {far.port} auth gssapi {how}\n'
                f"pass connect, bind, udp from any to {HOME} {rule} via hq\n", ready=False, user=user, env=env, **more)
    if user is not None:
        g.env = g.env | {"KRB5CCNAME": f"FILE:{g.dir}/cc"}
    before(g)
    return g.start()


BY_CACHE = 'ccache "FILE:@DIR@/cc"'


def talk(near, port, far=None):
    c, reply = open_session(near.at, "127.0.0.1", port)
    assert reply[0] == 0, near.story() + (far.story() if far else "")
    c.send(SECRET)
    assert c.read(len(SECRET)) == SECRET
    c.close()


@pytest.mark.parametrize("user", [None, sally.NOBODY], ids=["root", "a user"])
def test_connect_with_a_ticket(gateway, realm, echo, user):
    far = far_gateway(gateway, realm)
    near = near_gateway(gateway, realm, far, "" if user else BY_CACHE, user=user)
    talk(near, echo.port, far)
    r, theirs = near.record("session-close"), far.record("session-close")
    assert (theirs["user"], theirs["method"], theirs["asked"]) == (b"alice", b"gssapi", b"127.0.0.1:%d" % echo.port)
    assert (r["via"], r["up"], r["down"]) == (b"hq", b"%d" % len(SECRET), b"%d" % len(SECRET))
    assert (theirs["up"], theirs["down"]) == (r["up"], r["down"])


def test_curl_by_two_gateways_and_nothing_readable_between(gateway, realm, web):
    """What curl cannot do itself. The control: the same capture of a chain without protection sees the text."""
    def fetch(near, capture_port):
        seen = Capture(capture_port)
        p = subprocess.run(["curl", "-sS", "-H", f"X-Secret: {SECRET[:1000].decode()}", "--socks5-hostname", f"127.0.0.1:{near.port}",
                            f"http://localhost:{web.port}/"], capture_output=True, timeout=30)
        assert p.returncode == 0, p.stderr.decode() + near.story()
        return seen.stop()
    plain = gateway(f"pass connect from any to {HOME} auth none\n")
    near = gateway(f'upstream hq socks5 "localhost" port {plain.port}\npass connect from any to {HOME} auth none via hq\n')
    octets = fetch(near, plain.port)
    assert SECRET[:50] in octets and b"localhost" in octets
    far = far_gateway(gateway, realm)
    near = near_gateway(gateway, realm, far, BY_CACHE)
    octets = fetch(near, far.port)
    assert len(octets) > 1000 and SECRET[:20] not in octets and b"localhost:" not in octets
    assert b"GET" not in octets and b"HTTP" not in octets
    assert far.record("session-close")["asked"] == b"localhost:%d" % web.port  # the name, unresolved


class Capture:
    """All that goes over lo to or from a port: TCP, and with `udp` every datagram. By a raw socket of the kernel's."""

    def __init__(self, *ports):
        self.ports, self.got, self.stopped = ports, [], False
        self.s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
        self.s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self.s.bind(("lo", 0))
        self.s.settimeout(0.2)
        self.t = threading.Thread(target=self.run, daemon=True)
        self.t.start()

    def run(self):
        while not self.stopped:
            try:
                p = self.s.recv(1 << 17)
            except TimeoutError:
                continue
            if not p:
                continue
            version = p[0] >> 4
            proto, head = (p[9], (p[0] & 15) * 4) if version == 4 else (p[6], 40)
            ports = {int.from_bytes(p[head:head + 2], "big"), int.from_bytes(p[head + 2:head + 4], "big")}
            if ports & set(self.ports):
                self.got.append(p[head + (8 if proto == 17 else (p[head + 12] >> 4) * 4):])

    def stop(self):
        time.sleep(0.5)
        self.stopped = True
        self.t.join()
        self.s.close()
        return b"".join(self.got)


def test_datagrams_are_protected_too(gateway, realm, serve):
    there = serve(peers.UdpEcho)
    far = far_gateway(gateway, realm)
    near = near_gateway(gateway, realm, far, BY_CACHE)
    a = socks5.Association(near.at)
    relay = wait_for(lambda: [r for r in far.records("session-open")], why=far.story)[0]
    # between the gateways: the far relay's port is that which the near one's datagrams go to
    ports = [int(l.split()[1].split(":")[1], 16) for f in ("/proc/net/udp", "/proc/net/udp6") for l in open(f).readlines()[1:]]
    seen = Capture(*[p for p in ports if p not in (a.relay[1], there.port, a.s.getsockname()[1])])
    control = Capture(a.relay[1])
    for i in range(50):
        a.send("localhost".encode() if i % 2 else "127.0.0.1", there.port, SECRET[:1000] + b"%d" % i)
        assert a.receive()[3] == SECRET[:1000] + b"%d" % i
    octets, client_side = seen.stop(), control.stop()
    assert SECRET[:50] in client_side
    assert len(octets) > 50 * 1000 and SECRET[:20] not in octets
    assert relay["user"] == b"alice"
    # what fits without the token's octets about it, and not with them, is dropped and counted
    a.send("127.0.0.1", there.port, b"x" * (65507 - 10))
    a.send("127.0.0.1", there.port, b"after")
    assert a.receive()[3] == b"after"
    a.close()
    r = near.record("session-close")
    assert (r["drops"], r["datagrams-up"], r["datagrams-down"], r["via"]) == (b"size:1", b"51", b"51", b"hq")


def test_64_mebibytes_both_ways(gateway, realm, echo):
    far = far_gateway(gateway, realm)
    near = near_gateway(gateway, realm, far, BY_CACHE)
    c, reply = open_session(near.at, "127.0.0.1", echo.port)
    assert reply[0] == 0
    block, sent = os.urandom(1 << 20), hashlib.sha256()

    def send():
        for i in range(64):
            piece = bytes([i]) + block[1:]
            sent.update(piece)
            c.send(piece)
        c.half_close()
    t = threading.Thread(target=send)
    t.start()
    got, n = hashlib.sha256(), 0
    while True:
        more = c.s.recv(1 << 18)
        if not more:
            break
        got.update(more)
        n += len(more)
    t.join()
    assert n == 64 << 20 and got.digest() == sent.digest()
    c.close()
    r = near.record("session-close")
    assert (r["up"], r["down"]) == (b"%d" % n, b"%d" % n)


@pytest.mark.parametrize("how, rule, level", [
    ("protection integrity", "user alice auth gssapi protection integrity", True),
    ("protection integrity", "user alice auth gssapi protection confidentiality", True),  # more than asked for
    ("", "user alice auth gssapi", True),
])
def test_levels(gateway, realm, echo, how, rule, level):
    far = far_gateway(gateway, realm, rule)
    near = near_gateway(gateway, realm, far, f"{how} {BY_CACHE}")
    talk(near, echo.port, far)


def refused(near, reason, rep=socks5.GENERAL):
    c, reply = open_session(near.at, "127.0.0.1", 9)
    assert reply == (rep, "0.0.0.0", 0)
    assert c.rest() == b""
    c.close()
    r = near.record("session-close")
    assert (r["reason"], r["via"]) == (reason, b"hq")


def test_no_ticket_and_an_expired_one(gateway, realm, echo):
    far = far_gateway(gateway, realm)
    near = near_gateway(gateway, realm, far, BY_CACHE, cache=False)
    refused(near, b"upstream-no-credentials")
    near = near_gateway(gateway, realm, far, BY_CACHE, cache=False)
    realm.kinit(f"{near.dir}/cc", life="2s", owner=64321)
    time.sleep(3)
    refused(near, b"upstream-no-credentials")
    realm.kinit(f"{near.dir}/cc", owner=64321)  # kinit is all that it takes
    time.sleep(2.1)
    talk(near, echo.port)


@pytest.mark.parametrize("octets", [b"", b"no cache of tickets at all", None], ids=["empty", "junk", "unreadable"])
def test_a_cache_of_the_starters_that_is_none(gateway, realm, echo, octets):
    """libkrb5 would die of it: the initiator says so, and lives. Mended, it serves without a restart."""
    with tempfile.NamedTemporaryFile(prefix="sp.cc.", dir=realm.dir) as f:
        f.write(octets or b"")
        f.flush()
        os.chown(f.name, *(2 * [64321 if octets is not None else 0]))
        near = near_gateway(gateway, realm, far_gateway(gateway, realm), cache=False, env={"KRB5CCNAME": f"FILE:{f.name}"})
        refused(near, b"upstream-no-credentials")
        assert near.records("child-lost") == [] and "initiator: socks@localhost:" in near.stderr()
        realm.kinit(f.name, owner=64321)
        time.sleep(2.1)
        talk(near, echo.port)


def test_a_service_that_is_none_and_a_user_who_may_not(gateway, realm):
    far = far_gateway(gateway, realm)
    near = near_gateway(gateway, realm, far, f'service "nfs" {BY_CACHE}')
    refused(near, b"upstream-auth-failed")
    assert "initiator: nfs@localhost:" in near.stderr()
    near = near_gateway(gateway, realm, far_gateway(gateway, realm, "user bob auth gssapi"), BY_CACHE)
    refused(near, b"upstream-refused", socks5.NOT_ALLOWED)


def test_a_keytab_of_the_gateways_own(gateway, realm, echo):
    far = far_gateway(gateway, realm)
    near = near_gateway(gateway, realm, far, f'keytab "{realm.dir}/alice.keytab" principal "alice"', cache=False)
    for _ in range(3):
        talk(near, echo.port, far)
    assert {r["user"] for r in far.records("session-open")} == {b"alice"}


def test_bind_and_early_octets(gateway, realm, serve):
    far = far_gateway(gateway, realm)
    near = near_gateway(gateway, realm, far, BY_CACHE)
    c = Client(near.at)
    assert c.greet(0) == 0
    rep, host, port = c.connect("127.0.0.1", 0, command=BIND)
    assert rep == 0
    with socket.create_connection((host, port), 10) as peer:
        peer.sendall(b"from the peer")
        assert c.reply() == (0, *peer.getsockname())
        assert c.read(13) == b"from the peer"
        c.send(b"to it")
        assert peer.recv(5) == b"to it"
    c.close()

    class Greets(peers.Server):
        def talk(self, s, peer):
            s.sendall(b"welcome")
            s.recv(1)
    early = serve(Greets)
    for _ in range(20):
        c, reply = open_session(near.at, "127.0.0.1", early.port)
        assert reply[0] == 0 and c.read(7) == b"welcome"
        c.close()


def test_the_initiator_dies_and_another_takes_its_place(gateway, realm, echo):
    far = far_gateway(gateway, realm)
    near = near_gateway(gateway, realm, far, BY_CACHE, expect_lost=1)
    c, reply = open_session(near.at, "127.0.0.1", echo.port)
    assert reply[0] == 0
    pid, = near.children("authd")
    os.kill(pid, 9)
    near.record("child-lost", process="initiator")
    c.send(b"a session needs it no more")
    assert c.read(26) == b"a session needs it no more"
    c.close()
    wait_for(lambda: near.children("authd") and near.children("authd") != [pid])
    wait_for(lambda: open_session(near.at, "127.0.0.1", echo.port)[1][0] == 0)


class Mit(peers.Server):
    """An upstream on MIT's own GSSAPI. It answers the level that is asked for, or `level`; puts `token` in place of its
    token of the context; echoes what comes after the request, and keeps what the gateway asked for and said."""

    def __init__(self, keytab, level=None, token=None):
        super().__init__()
        self.keytab, self.level, self.token = keytab, level, token
        self.flags, self.asked, self.messages, self.after = None, None, [], None

    def read(self, s, n):
        got = b""
        while len(got) < n:
            more = s.recv(n - len(got))
            if not more:
                raise EOFError(got)
            got += more
        return got

    def frame(self, s, kind):
        version, got = self.read(s, 2)
        assert (version, got) == (1, kind)
        return self.read(s, int.from_bytes(self.read(s, 2), "big"))

    def talk(self, s, peer):
        try:
            self.serve(s)
        except EOFError as e:
            self.after = e.args[0]

    def serve(self, s):
        assert self.read(s, 3) == b"\5\1\1"
        s.sendall(b"\5\1")
        ctx = gssapi.SecurityContext(creds=gssapi.Credentials(usage="accept", store={"keytab": self.keytab}), usage="accept")
        while not ctx.complete:
            token = ctx.step(self.frame(s, CONTEXT)) or b""
            s.sendall(frame(CONTEXT, token if self.token is None else self.token))
        self.flags = ctx.actual_flags
        got = ctx.unwrap(self.frame(s, LEVEL))
        self.asked = (got.message, got.encrypted)
        level = got.message[0] if self.level is None else self.level
        s.sendall(frame(LEVEL, ctx.wrap(bytes([level]), False).message))
        answers = b"\5\0\0\1\x7f\0\0\1\0\x09"
        while True:
            got = ctx.unwrap(self.frame(s, DATA))
            self.messages.append(got)
            s.sendall(frame(DATA, ctx.wrap(answers or got.message, level >= CONFIDENTIALITY).message))
            answers = b""


@pytest.fixture
def mit(realm, monkeypatch):
    """Makes an upstream of MIT's, with the realm's keytab."""
    monkeypatch.setenv("KRB5_CONFIG", f"{realm.dir}/krb5.conf")
    monkeypatch.setenv("KRB5RCACHENAME", "none:")  # else one stays behind in /var/tmp
    made = []

    def make(**how):
        made.append(Mit(f"{realm.dir}/keytab", **how))
        made[-1].start()
        return made[-1]
    yield make
    for m in made:
        m.stop()


def test_what_an_upstream_is_asked_for(gateway, realm, mit, monkeypatch):
    """Section 3.2; without delegation, of which the control has that these tickets could do it."""
    up = mit()
    near = near_gateway(gateway, realm, up, BY_CACHE)
    talk(near, 9)
    for f in (F.mutual_authentication, F.replay_detection, F.out_of_sequence_detection, F.confidentiality, F.integrity):
        assert up.flags & f
    assert not up.flags & F.delegate_to_peer
    assert up.asked == (bytes([CONFIDENTIALITY]), False)
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{near.dir}/cc")
    mine = types.SimpleNamespace(env=contextlib.nullcontext)
    with gss5.Client(("127.0.0.1", up.port), mine, service="socks@localhost", flags=gss5.FLAGS + [F.delegate_to_peer]):
        assert up.flags & F.delegate_to_peer


@pytest.mark.parametrize("how, answer, encrypted", [
    ("protection integrity", INTEGRITY, False), ("protection integrity", CONFIDENTIALITY, True),
    ("protection integrity", SELECTIVE, True), ("", CONFIDENTIALITY, True)])
def test_the_answered_level_holds_towards_an_upstream(gateway, realm, mit, how, answer, encrypted):
    """Sections 4.4 and 5, as MIT's gss_unwrap sees it."""
    up = mit(level=answer)
    near = near_gateway(gateway, realm, up, f"{how} {BY_CACHE}")
    talk(near, 9)
    assert up.asked == (bytes([INTEGRITY if how else CONFIDENTIALITY]), False)
    assert up.messages[0].message[:3] == b"\5\1\0" and b"".join(m.message for m in up.messages[1:]) == SECRET
    assert {m.encrypted for m in up.messages} == {encrypted}


@pytest.mark.parametrize("how, answer", [
    ("", CLEAR), ("", INTEGRITY), ("", SELECTIVE), ("", 4), ("protection integrity", CLEAR), ("protection integrity", 4)])
def test_an_answered_level_that_is_too_low_ends_the_connection(gateway, realm, mit, how, answer):
    """Section 4.4: nothing more is said, not even in a token."""
    up = mit(level=answer)
    near = near_gateway(gateway, realm, up, f"{how} {BY_CACHE}")
    refused(near, b"upstream-auth-failed")
    assert wait_for(lambda: up.after is not None) and (up.after, up.messages) == (b"", [])


@pytest.mark.parametrize("token", [b"", b"no token", b"\x60" * 65535], ids=["none", "short", "the longest"])
def test_a_context_that_fails_ends_the_connection(gateway, realm, mit, token):
    """Section 3.5; none is no token of MIT's, of whom mutual authentication was required."""
    up = mit(token=token)
    near = near_gateway(gateway, realm, up, BY_CACHE)
    refused(near, b"upstream-auth-failed")
    assert wait_for(lambda: up.after is not None) and (up.after, up.asked) == (b"", None)


@pytest.mark.skipif(sally.SANITIZE, reason="the sanitizers' build has another environment")
def test_the_initiator_is_bound(gateway, realm, echo):
    """A user of its own, no capabilities, its filter on every thread; of the environment what it needs, and no more."""
    far = far_gateway(gateway, realm)
    near = near_gateway(gateway, realm, far, BY_CACHE, env={"SECRET_OF_THE_STARTER": "1"})
    talk(near, echo.port, far)
    pid, = near.children("authd")
    threads = os.listdir(f"/proc/{pid}/task")
    assert len(threads) > 4
    for t in threads:
        with open(f"/proc/{pid}/task/{t}/status") as f:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1" and int(status["CapEff"], 16) == 0
        assert status["Uid"].split() == ["64321"] * 4 and status["Groups"].strip() == ""
    with open(f"/proc/{pid}/environ", "rb") as f:
        names = {e.partition(b"=")[0] for e in f.read().split(b"\0") if e}
    assert names <= {b"KRB5_CONFIG", b"KRB5CCNAME"}
