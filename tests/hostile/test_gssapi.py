"""GSSAPI's messages as no honest child sends them: a worker towards the acceptor and the master, and an acceptor towards
workers and the master. Each costs its sender its life and gives nothing; beside each stands the whole exchange as it
should be, with real tickets."""
import os
import signal
import struct
import time

import pytest

import gss5
import sally
import socks5
from peers import wait_for
from puppets import ADDRPORT, NUMBER, SID, Stage, addrport, end, message, raw, start

CLIENT, GATEWAY, TARGET = addrport("127.0.0.1", 5), addrport("127.0.0.1", 1080), addrport("127.0.0.1", 80)
NOWHERE = addrport(None, 0)
CONTEXT, LEVEL = 1, 2
GSSAPI, PASSWORD = 2, 1  # enum method
ACCEPT, GSSAPI_REFUSED = 1, 9
NOT_ALLOWED, REFUSED = b"not a message that it may send", b"refused"
PIECE = 4096
ALICE = b"alice"
RULES = ("pass connect from any to { any, 127.0.0.0/8 } user alice auth gssapi\n"
         "pass connect from any to { any, 127.0.0.0/8 } auth none\n")
GSS, NONE = 0, 1  # rules by index


@pytest.fixture
def stage():
    with Stage() as s:
        yield s


@pytest.fixture
def text(realm):
    return "resolver 127.0.0.1\n" + gss5.configuration(realm, RULES)


@pytest.fixture
def alice(realm):
    return realm.kinit().fetch()


# --- messages ---

def piece(kind, octets, total, at=0, slot=0, gen=1, client=CLIENT, name="AUTH_TOKEN"):
    return raw(NUMBER[name], struct.pack(f"<{SID}II{ADDRPORT}B3x", slot, gen, total, at, *client, kind) + octets)


def token(kind, octets, name="AUTH_TOKEN", **how):
    """A token as its pieces."""
    return [piece(kind, octets[at:at + PIECE], len(octets), at, name=name, **how)
            for at in range(0, max(len(octets), 1), PIECE)]


def result(slot, gen, accepted=1, method=GSSAPI, level=1, user=ALICE, groups=b"", user_len=None, groups_len=None):
    return raw(NUMBER["AUTH_RESULT"], struct.pack(f"<{SID}BBBBI", slot, gen, accepted, method,
                                                  len(user) if user_len is None else user_len, level,
                                                  len(groups) if groups_len is None else groups_len) + user + groups)


def verdict(spawn, slot=0, gen=1, code=ACCEPT, method=GSSAPI, level=1, user=ALICE, client=CLIENT):
    return raw(NUMBER["VERDICT"], struct.pack(f"<{SID}IBBBB{ADDRPORT}I", slot, gen, spawn, code, method, len(user), level,
                                              *client, 0) + user)


def keys(slot, gen, level=1, enctype=18, acceptor=1, subkey=1, lifetime=3600, zero=0, more=b""):
    direction = os.urandom(96) + struct.pack("<Q", 1)
    return raw(NUMBER["AUTH_KEYS"], struct.pack(f"<{SID}IIIBBBB", slot, gen, lifetime, zero, enctype, level, acceptor,
                                                subkey, 0) + direction * 2 + more)


def keys_clear(slot, gen, lifetime=3600):
    """Level 0: the ticket's end alone."""
    return raw(NUMBER["AUTH_KEYS"], struct.pack(f"<{SID}II216x", slot, gen, lifetime, 0))


def open_(p, slot=0, gen=1, method=GSSAPI, level=1, user=ALICE, client=CLIENT):
    return raw(NUMBER["OPEN"], struct.pack(f"<{SID}IBBBB{ADDRPORT}{ADDRPORT}{ADDRPORT}BBBB", slot, gen, p.version(), method,
                                           1, 1, len(user), *client, *GATEWAY, *TARGET, 0, 0, 5, level) + user)


def attempt(p, rule, slot=0, gen=1):
    return message("ATTEMPT", slot, gen, p.version(), rule, *TARGET, 0)


def close(p, slot=0, gen=1):
    return message("CLOSE", slot, gen, 1, p.version(), GSS, 0, 3, 4, 0, 0, bytes(48))


class Exchange:
    """The client's side of an exchange, through a puppet worker that is honest so far."""

    def __init__(self, p, credentials, slot=0, gen=1):
        self.p, self.to, self.slot, self.gen = p, p.given("PEER", role="acceptor"), slot, gen
        self.ctx, self.credentials = gss5.context(credentials), credentials
        with credentials.env():
            self.first = self.ctx.step()
        self.got = []

    def send(self, kind, octets):
        for packet in token(kind, octets, slot=self.slot, gen=self.gen):
            assert self.p.send(packet, self.to) == "1 0"

    def next(self, name):
        """The next message of this name for this session: its payload as fields and tail."""
        while True:
            for i, (n, fields, tail) in enumerate(self.got):
                if n == name and fields[:2] == (self.slot, self.gen):
                    del self.got[i]
                    return fields, tail
            got = self.p.recv(self.to, 5000)
            assert got and got[0], f"no {name}"
            self.got += got[0]

    def reply(self, kind):
        octets = b""
        while True:
            fields, tail = self.next("AUTH_REPLY")
            assert fields[3] == len(octets) and fields[-1] == kind
            octets += tail
            if len(octets) == fields[2]:
                return octets

    def context(self):
        self.send(CONTEXT, self.first)
        with self.credentials.env():
            self.ctx.step(self.reply(CONTEXT))
        assert self.ctx.complete
        return self

    def level(self, level):
        self.send(LEVEL, self.ctx.wrap(bytes([level]), False).message)
        return self

    def accepted(self, level):
        """The rest of an exchange; the fields of AUTH_KEYS."""
        self.context().level(level)
        assert self.ctx.unwrap(self.reply(LEVEL)).message == bytes([level])
        found = self.next("AUTH_KEYS")[0]
        fields, tail = self.next("AUTH_RESULT")
        assert fields[2:4] == (1, GSSAPI) and tail.startswith(ALICE)
        return found

    def denied(self):
        fields, _ = self.next("AUTH_RESULT")
        assert fields[2] == 0
        return True


def serves(g, echo, alice):
    """Clients with GSSAPI are served, by the real workers."""
    wait_for(lambda: g.children("authd"), 10, g.story)

    def once():
        try:  # where the kernel hands it to a puppet, nothing comes
            c, reply = gss5.open_session(g.at, alice, echo.host, echo.port, 2, seconds=2)
        except (gss5.Aborted, socks5.Closed, ConnectionError, TimeoutError):
            return False
        with c:
            assert reply[0] == socks5.OK
            c.send(b"hello")
            return c.read(5) == b"hello"
    wait_for(once, 40, g.story)


def dies(p, what=""):
    wait_for(lambda: p.recv(ms=200) is None, 10, f"{what}: the puppet lives on")


def finish(g, p, lost=0):
    """Ends a gateway with an acceptor in it that ends when it is told to."""
    g.p.send_signal(signal.SIGTERM)
    wait_for(lambda: any(name == "STOP" for name, _, _ in p.recv(ms=200)[0]), 20, g.story)
    p.leave()
    g.expect_lost = lost
    g.finish()


# --- a worker against the acceptor ---

def fresh(*packets):
    """What is sent before any exchange."""
    return lambda p, e: [m for packet in packets for m in (packet(e) if callable(packet) else packet)]


def after_context(make):
    def act(p, e):
        e.context()
        return make(e)
    return act


ACCEPTOR_CASES = [
    ("no generation", fresh(lambda e: [piece(CONTEXT, b"x", 1, gen=0)])),
    ("a slot that is none", fresh(lambda e: [piece(CONTEXT, b"x", 1, slot=0xfffffff0)])),
    ("a client of no family", fresh(lambda e: [piece(CONTEXT, b"x", 1, client=(9, bytes(16), 1, 0, 0))])),
    ("an unknown kind", fresh(lambda e: [piece(3, b"x", 1)])),
    ("no kind", fresh(lambda e: [piece(0, b"x", 1)])),
    ("a first piece that is not the first", fresh(lambda e: [piece(CONTEXT, b"x", 10, at=1)])),
    ("a total past every limit", fresh(lambda e: [piece(CONTEXT, b"x", 65536)])),
    ("a total past every number", fresh(lambda e: [piece(CONTEXT, b"x", 0xffffffff)])),
    ("a piece past the total", fresh(lambda e: [piece(CONTEXT, b"xx", 1)])),
    ("an empty piece of something", fresh(lambda e: [piece(CONTEXT, b"", 10)])),
    ("a piece past every limit", fresh(lambda e: [piece(CONTEXT, bytes(PIECE + 1), 2 * PIECE)])),
    ("a gap", fresh(lambda e: [piece(CONTEXT, b"x", 10), piece(CONTEXT, b"x", 10, at=2)])),
    ("a piece repeated", fresh(lambda e: [piece(CONTEXT, b"x", 10), piece(CONTEXT, b"x", 10)])),
    ("a place that wraps", fresh(lambda e: [piece(CONTEXT, b"x", 10), piece(CONTEXT, b"x", 10, at=0xffffffff)])),
    ("another total", fresh(lambda e: [piece(CONTEXT, b"x", 10), piece(CONTEXT, b"x", 11, at=1)])),
    ("another kind", fresh(lambda e: [piece(CONTEXT, b"x", 10), piece(LEVEL, b"x", 10, at=1)])),
    ("another generation", fresh(lambda e: [piece(CONTEXT, b"x", 10), piece(CONTEXT, b"x", 10, at=1, gen=2)])),
    ("two tokens at once", fresh(lambda e: [b"".join(token(CONTEXT, e.first) * 2)])),
    ("a level with the context", fresh(lambda e: [b"".join(token(CONTEXT, e.first) + token(LEVEL, b"\1"))])),
    ("two levels", after_context(lambda e: [b"".join(token(LEVEL, e.ctx.wrap(b"\1", False).message) * 2)])),
    ("a password", fresh(lambda e: [message("AUTH_PASSWORD", 0, 1, *CLIENT, 1, 1, tail=b"ab")])),
    ("a lookup", fresh(lambda e: [message("LOOKUP", 1, 1, 1, tail=b"a")])),
    ("keys", fresh(lambda e: [keys(0, 1)])),
    ("a reply, the wrong way", fresh(lambda e: token(CONTEXT, b"x", name="AUTH_REPLY"))),
    ("a result, the wrong way", fresh(lambda e: [result(0, 1)])),
    ("a verdict", fresh(lambda e: [verdict(e.p.spawn)])),
    ("a keytab", fresh(lambda e: [raw(NUMBER["KEYTAB"], bytes(8))])),
    ("an abort, repeated", fresh(lambda e: [piece(CONTEXT, b"x", 10), message("AUTH_ABORT", 0, 1) * 2])),
    ("half a message", fresh(lambda e: [piece(CONTEXT, b"x", 1)[:24]])),
    ("a packet past every limit", fresh(lambda e: [bytes(40000)])),
]


def test_worker_to_acceptor(stage, gateway, text, echo, alice):
    n = len(ACCEPTOR_CASES)
    g, cast = start(gateway, stage, text, {"worker": n + 1}, workers=n + 2)
    honest, cast = cast[0], cast[1:]
    authd = g.children("authd")
    for (what, act), p in zip(ACCEPTOR_CASES, cast):
        e = Exchange(p, alice)
        for packet in act(p, e):
            p.send(packet, e.to)
        dies(p, what)
        r = g.record("child-lost", worker=p.spawn)
        assert r["process"] == b"worker" and b"broke the rules towards acceptor" in r["detail"], (what, r)
    assert g.children("authd") == authd, "the acceptor was lost"
    assert not g.records("auth-ok"), g.records("auth-ok")
    for gen, level in ((1, 1), (2, 2), (3, 3)):
        e = Exchange(honest, alice, gen=gen)
        found = e.accepted(level)
        assert found[4:7] == (18, level, 1)  # its enctype, and whose side it is
        assert honest.ask(open_(honest, gen=gen, level=level) + attempt(honest, GSS, gen=gen), "GRANT")[0] == (0, gen)
        honest.send(close(honest, gen=gen))
    end(g, [honest], n)


def test_a_descriptor_with_a_token(stage, gateway, text, alice):
    g, (p,) = start(gateway, stage, text, {"worker": 1}, workers=2)
    e = Exchange(p, alice)
    before = len(os.listdir(f"/proc/{g.children('authd')[0]}/fd"))
    p.send(token(CONTEXT, e.first)[0], e.to, fds=[3])
    dies(p)
    assert b"broke the rules towards acceptor" in g.record("child-lost", worker=p.spawn)["detail"]
    wait_for(lambda: len(os.listdir(f"/proc/{g.children('authd')[0]}/fd")) <= before, 10, "it kept the descriptor")
    end(g, [], 1)


def test_what_crossed_is_no_fault(stage, gateway, text, alice):
    """An abort, and what the worker had sent before it learnt that the exchange was over."""
    g, (p,) = start(gateway, stage, text, {"worker": 1}, workers=1)
    for gen, spoilt in ((1, b"no token"), (2, None)):
        e = Exchange(p, alice, gen=gen)
        if spoilt:
            e.send(CONTEXT, spoilt)
            assert e.denied()
            p.send(message("AUTH_ABORT", 0, gen), e.to)
        else:
            p.send(piece(CONTEXT, e.first[:100], len(e.first), gen=gen), e.to)
            p.send(message("AUTH_ABORT", 0, gen), e.to)
            assert e.denied()
    assert g.record("auth-failed", reason="aborted")
    Exchange(p, alice, gen=3).accepted(2)
    p.send(message("AUTH_ABORT", 0, 3), e.to)  # after its end
    Exchange(p, alice, gen=4).accepted(1)
    assert not g.records("child-lost")
    end(g, [p], 0)


def test_exchanges_do_not_mix(stage, gateway, text, alice):
    """Two at once, their pieces in turns; and a token of one in the other is refused by GSSAPI, not believed."""
    g, (p,) = start(gateway, stage, text, {"worker": 1}, workers=1)
    a, b = Exchange(p, alice, slot=1), Exchange(p, alice, slot=2)
    for x, y in zip(token(CONTEXT, a.first[:600] + a.first[600:], slot=1), token(CONTEXT, b.first, slot=2)):
        p.send(x, a.to)
        p.send(y, b.to)
    for e in (a, b):
        other = b if e is a else a
        while not any(n == "AUTH_REPLY" and f[:2] == (e.slot, 1) for n, f, _ in e.got):
            more = p.recv(e.to, 5000)[0]
            e.got += more
            other.got += more
        with alice.env():
            e.ctx.step(e.reply(CONTEXT))
    wrapped = b.ctx.wrap(b"\1", False).message
    a.send(LEVEL, wrapped)
    b.send(LEVEL, wrapped)
    assert a.denied()
    b.got += [m for m in a.got if m[1][0] == 2]
    assert b.next("AUTH_RESULT")[0][2] == 1
    end(g, [p], 0)


def test_a_worker_that_begins_and_never_ends(stage, gateway, text, echo, alice):
    """Tokens begun in every slot, of many sources: the acceptor stays small, and others are served meanwhile."""
    g, (p,) = start(gateway, stage, text, {"worker": 1}, workers=2)
    to, (authd,) = p.given("PEER", role="acceptor"), g.children("authd")
    before, sent = rss(authd), 0
    for slot in range(1500):
        packets = [piece(CONTEXT, bytes(PIECE), 65535, at, slot=slot, client=addrport(f"10.{slot >> 8}.{slot & 255}.1", 9))
                   for at in range(0, 15 * PIECE, PIECE)]
        for packet in packets:
            if p.tell("flood", to, packet.hex(), 1).split()[0] != "1":
                break
            sent += 1
        while p.recv(to, 0) not in (None, ([], None)):
            pass
    grown = rss(authd) - before
    print(f"{sent} pieces, {grown} kB")
    assert sally.SANITIZE or grown < 64000, grown  # ASan keeps what is freed
    serves(g, echo, alice)
    end(g, [p], len(g.records("child-lost")))


def rss(pid):
    with open(f"/proc/{pid}/status") as f:
        return [int(l.split()[1]) for l in f if l.startswith("VmRSS")][0]


# --- a worker against the master: what it says of an accept ---

def accepted(level, *packets):
    def act(p, alice):
        Exchange(p, alice).accepted(level)
        return [make(p) for make in packets]
    return act


OPEN_CASES = [
    ("a user whom authd never accepted", lambda p, a: [open_(p)]),
    ("a verdict, which is authd's", lambda p, a: [verdict(p.spawn)]),
    ("keys", lambda p, a: [keys(0, 1)]),
    ("a token", lambda p, a: token(CONTEXT, b"x")),
    ("more protection than was agreed", accepted(1, lambda p: open_(p, level=2))),
    ("other protection than was agreed", accepted(1, lambda p: open_(p, level=3))),
    ("less protection than was agreed", accepted(2, lambda p: open_(p, level=1))),
    ("no protection where some was agreed", accepted(2, lambda p: open_(p, level=0))),
    ("a level that is none", accepted(2, lambda p: open_(p, level=4))),
    ("an accept as one of a password", accepted(1, lambda p: open_(p, method=PASSWORD, level=0))),
    ("an accept as one of a password, with its level", accepted(1, lambda p: open_(p, method=PASSWORD))),
    ("a level without authentication", lambda p, a: [open_(p, method=0, user=b"", level=1)]),
    ("an accept of another slot", accepted(1, lambda p: open_(p, slot=1))),
    ("an accept of another generation", accepted(1, lambda p: open_(p, gen=2))),
    ("an accept of another user", accepted(1, lambda p: open_(p, user=b"root"))),
    ("an accept used twice", accepted(1, open_, close, lambda p: open_(p, gen=2))),
    ("an accept of a context without its level", lambda p, a: [Exchange(p, a).context() and open_(p)]),
]


def test_worker_to_master(stage, gateway, text, echo, alice):
    n = len(OPEN_CASES)
    g, cast = start(gateway, stage, text, {"worker": n + 2}, workers=n + 3)
    honest, thief, cast = cast[0], cast[1], cast[2:]
    for (what, act), p in zip(OPEN_CASES, cast):
        for packet in act(p, alice):
            p.send(packet)
        dies(p, what)
        r = g.record("child-lost", worker=p.spawn)
        assert r["process"] == b"worker" and (REFUSED in r["detail"] or NOT_ALLOWED in r["detail"]), (what, r)
    # another worker's accept, of the same slot and generation
    Exchange(honest, alice).accepted(2)
    thief.send(open_(thief, level=2))
    dies(thief)
    assert REFUSED in g.record("child-lost", worker=thief.spawn)["detail"]
    assert honest.ask(open_(honest, level=2) + attempt(honest, GSS), "GRANT")[0] == (0, 1)
    honest.send(close(honest))
    r = g.record("session-close", worker=honest.spawn)
    assert (r["user"], r["protection"]) == (ALICE, b"confidentiality")
    end(g, [honest], n + 1)


# --- an acceptor against workers and the master ---

class Asked:
    """A real client and what the real worker has sent of it to a puppet acceptor."""

    def __init__(self, g, p, alice):
        self.c = gss5.Client(g.at, alice, upto="method")
        self.c.context()
        self.c.raw_send(gss5.frame(CONTEXT, self.c.step()))
        self.worker = p.given("PEER", role="worker")
        got = wait_for(lambda: p.recv(self.worker, 2000)[0])
        assert got[0][0] == "AUTH_TOKEN"
        self.slot, self.gen = got[0][1][:2]
        self.p = p

    def reply(self, kind, octets):
        return b"".join(token(kind, octets, "AUTH_REPLY", slot=self.slot, gen=self.gen, client=NOWHERE))

    def sees(self, kind):
        got, octets = self.c.read_frame()
        assert got == kind
        return octets

    def level_sent(self):
        """The context is done, and the client has sent a level, which has come here."""
        self.p.send(self.reply(CONTEXT, b"a token"), self.worker)
        assert self.sees(CONTEXT) == b"a token"
        self.c.raw_send(gss5.frame(LEVEL, b"a level"))
        got = wait_for(lambda: self.p.recv(self.worker, 2000)[0])
        assert got[0][0] == "AUTH_TOKEN" and got[0][1][-1] == LEVEL and got[0][2] == b"a level"
        return self

    def accept(self, level=1, said=None):
        """The end of an exchange as an honest acceptor tells it."""
        self.p.send(verdict(self.p.peer_spawn("worker"), self.slot, self.gen, level=level, client=self.client()))
        return self.reply(LEVEL, bytes([level])) + (keys if level else keys_clear)(
            self.slot, self.gen, **({"level": level} if level else {})) + result(self.slot, self.gen, level=level)

    def client(self):
        return addrport(*self.c.s.getsockname())


WORKER_CASES = [  # what, whether the level is there, the packets
    ("a reply to nobody", False, lambda a: [b"".join(token(CONTEXT, b"x", "AUTH_REPLY", slot=a.slot + 1, gen=1, client=NOWHERE))]),
    ("a result of no exchange", False, lambda a: [result(a.slot + 1, 1)]),
    ("keys of no exchange", False, lambda a: [keys(a.slot + 1, 1)]),
    ("keys before the context", False, lambda a: [keys(a.slot, a.gen)]),
    ("an accept before the context", False, lambda a: [result(a.slot, a.gen)]),
    ("an accept with a context alone", False, lambda a: [a.reply(CONTEXT, b"x") + result(a.slot, a.gen)]),
    ("a level before the context", False, lambda a: [a.reply(LEVEL, b"\1")]),
    ("two tokens for one", False, lambda a: [a.reply(CONTEXT, b"x") + a.reply(CONTEXT, b"y")]),
    ("a gap", False, lambda a: [piece(CONTEXT, b"x", 10, 0, a.slot, a.gen, NOWHERE, "AUTH_REPLY") +
                                piece(CONTEXT, b"x", 10, 2, a.slot, a.gen, NOWHERE, "AUTH_REPLY")]),
    ("another total", False, lambda a: [piece(CONTEXT, b"x", 10, 0, a.slot, a.gen, NOWHERE, "AUTH_REPLY") +
                                        piece(CONTEXT, b"x", 11, 1, a.slot, a.gen, NOWHERE, "AUTH_REPLY")]),
    ("a piece past the total", False, lambda a: [piece(CONTEXT, b"xx", 1, 0, a.slot, a.gen, NOWHERE, "AUTH_REPLY")]),
    ("a total past every limit", False, lambda a: [piece(CONTEXT, b"x", 65536, 0, a.slot, a.gen, NOWHERE, "AUTH_REPLY")]),
    ("an unknown kind", False, lambda a: [piece(7, b"x", 1, 0, a.slot, a.gen, NOWHERE, "AUTH_REPLY")]),
    ("an accept without keys", True, lambda a: [a.reply(LEVEL, b"\1") + result(a.slot, a.gen)]),
    ("an accept without the level's reply", True, lambda a: [keys(a.slot, a.gen) + result(a.slot, a.gen)]),
    ("keys twice", True, lambda a: [a.reply(LEVEL, b"\1") + keys(a.slot, a.gen) * 2]),
    ("keys of another level", True, lambda a: [a.reply(LEVEL, b"\1") + keys(a.slot, a.gen, 2) + result(a.slot, a.gen)]),
    ("keys and level 0", True, lambda a: [a.reply(LEVEL, b"\0") + keys(a.slot, a.gen) + result(a.slot, a.gen, level=0)]),
    ("keys of level 0", True, lambda a: [a.reply(LEVEL, b"\0") + keys(a.slot, a.gen, 0) + result(a.slot, a.gen, level=0)]),
    ("keys of level 0 and no acceptor", True, lambda a: [a.reply(LEVEL, b"\0") + keys(a.slot, a.gen, 0, 0, 0, 0)]),
    ("level 0 without a ticket's end", True, lambda a: [a.reply(LEVEL, b"\0") + result(a.slot, a.gen, level=0)]),
    ("a ticket's end twice", True, lambda a: [a.reply(LEVEL, b"\0") + keys_clear(a.slot, a.gen) * 2]),
    ("a ticket's end and level 1", True, lambda a: [a.reply(LEVEL, b"\1") + keys_clear(a.slot, a.gen) + result(a.slot, a.gen)]),
    ("keys of level 4", True, lambda a: [a.reply(LEVEL, b"\4") + keys(a.slot, a.gen, 4)]),
    ("keys of an unknown enctype", True, lambda a: [a.reply(LEVEL, b"\1") + keys(a.slot, a.gen, enctype=23) + result(a.slot, a.gen)]),
    ("keys of an initiator", True, lambda a: [a.reply(LEVEL, b"\1") + keys(a.slot, a.gen, acceptor=0) + result(a.slot, a.gen)]),
    ("longer keys", True, lambda a: [keys(a.slot, a.gen, more=bytes(8))]),
    ("an accept as a password's", True, lambda a: [a.reply(LEVEL, b"\1") + keys(a.slot, a.gen) + result(a.slot, a.gen, method=PASSWORD)]),
    ("an accept of nobody", True, lambda a: [a.reply(LEVEL, b"\1") + keys(a.slot, a.gen) + result(a.slot, a.gen, user=b"")]),
    ("a level above 3", True, lambda a: [a.reply(LEVEL, b"\4") + result(a.slot, a.gen, level=4)]),
    ("groups that are not there", True, lambda a: [a.reply(LEVEL, b"\1") + keys(a.slot, a.gen) + result(a.slot, a.gen, groups_len=70)]),
    ("two results", True, lambda a: [result(a.slot, a.gen, accepted=0, user=b"") * 2]),
    ("an answer", True, lambda a: [message("ANSWER", 1, 1, 0, 0, 60)]),
]


@pytest.mark.parametrize("case", WORKER_CASES, ids=lambda c: c[0])
def test_acceptor_to_worker(stage, gateway, text, echo, alice, case):
    what, level, packets = case
    g, (p,) = start(gateway, stage, text, {"acceptor": 1}, workers=1)
    a = Asked(g, p, alice)
    if level:
        a.level_sent()
    for packet in packets(a):
        p.send(packet, a.worker)
    dies(p, what)
    r = g.record("child-lost", worker=p.spawn)
    assert r["process"] == b"acceptor" and b"towards worker" in r["detail"], (what, r)
    a.c.s.settimeout(10)
    try:  # nothing but what was right before, and the end
        a.c.raw_rest()
    except ConnectionResetError:
        pass
    a.c.close()
    assert not g.records("session-open"), g.story()
    wait_for(lambda: len(g.children()) == 3, 10, g.story)
    serves(g, echo, alice)
    end(g, [], 1)


def test_an_acceptor_that_keeps_to_the_rules(stage, gateway, text, echo, alice):
    """The control of the cases above: the messages in their order, and the client is let in, here at level 0."""
    g, (p,) = start(gateway, stage, text.replace('keytab"', 'keytab" allow clear'), {"acceptor": 1}, workers=1)
    a = Asked(g, p, alice).level_sent()
    p.send(a.accept(0), a.worker)
    assert a.sees(LEVEL) == b"\0"
    a.c.raw_send(socks5.request(echo.host, echo.port))
    assert socks5.Client.read(a.c, 2) == b"\5\0"
    assert g.record("session-open")["user"] == ALICE
    b = Asked(g, p, alice).level_sent()
    p.send(b.accept(2), b.worker)
    assert b.sees(LEVEL) == b"\2"
    d = Asked(g, p, alice)
    p.send(verdict(p.peer_spawn("worker"), d.slot, d.gen, GSSAPI_REFUSED, level=0, user=b"", client=d.client()))
    p.send(result(d.slot, d.gen, accepted=0, level=0, user=b""), d.worker)
    assert d.c.raw_rest() == b"\1\xff"
    for x in (a, b, d):
        x.c.close()
    g.record("session-close")
    finish(g, p)


def test_an_accept_that_the_master_never_had(stage, gateway, text, echo, alice):
    """The worker believes its acceptor and opens a session in good faith; the master does not."""
    g, (p,) = start(gateway, stage, text, {"acceptor": 1}, workers=1)
    a = Asked(g, p, alice).level_sent()
    p.send(a.reply(LEVEL, b"\0") + keys_clear(a.slot, a.gen) + result(a.slot, a.gen, level=0), a.worker)
    assert a.sees(LEVEL) == b"\0"
    a.c.raw_send(socks5.request(echo.host, echo.port))
    a.c.s.settimeout(10)
    try:
        assert a.c.raw_rest() == b""
    except ConnectionResetError:
        pass
    assert REFUSED in g.record("child-lost", process="worker")["detail"]
    assert not g.records("session-open")
    a.c.close()
    wait_for(lambda: g.children("worker"), 10, g.story)
    finish(g, p, 1)


VERDICT_CASES = [
    ("an unknown verdict", lambda p, w: verdict(w, code=99)),
    ("no verdict", lambda p, w: verdict(w, code=0)),
    ("an accept of nobody", lambda p, w: verdict(w, user=b"")),
    ("an accept in no slot", lambda p, w: verdict(w, slot=0xffffffff)),
    ("an accept of no generation", lambda p, w: verdict(w, gen=0)),
    ("an accept to itself", lambda p, w: verdict(p.spawn)),
    ("a level that is none", lambda p, w: verdict(w, level=4)),
    ("a level of a refusal", lambda p, w: verdict(w, code=GSSAPI_REFUSED, level=2)),
    ("a password's accept", lambda p, w: verdict(w, method=PASSWORD, level=0)),
    ("an accept without a method", lambda p, w: verdict(w, method=0, level=0)),
    ("an open", lambda p, w: open_(p)),
    ("keys", lambda p, w: keys(0, 1)),
    ("a keytab acknowledged again", lambda p, w: message("KEYTAB_ACK", 0, 1, b"")),
    ("a users file acknowledged", lambda p, w: message("USERS_ACK", 1, 0, b"")),
]


@pytest.mark.parametrize("case", VERDICT_CASES, ids=lambda c: c[0])
def test_acceptor_to_master(stage, gateway, text, echo, alice, case):
    what, packet = case
    g, (p,) = start(gateway, stage, text, {"acceptor": 1}, workers=1)
    p.send(packet(p, p.peer_spawn("worker")))
    dies(p, what)
    r = g.record("child-lost", worker=p.spawn)
    assert r["process"] == b"acceptor" and (REFUSED in r["detail"] or NOT_ALLOWED in r["detail"]), (what, r)
    wait_for(lambda: len(g.children()) == 3, 10, g.story)
    serves(g, echo, alice)
    end(g, [], 1)


def test_a_password_role_gives_no_protection(stage, gateway, text, echo):
    """A verdict of GSSAPI, or with a level, from the role that checks passwords."""
    both = 'auth password file "@DIR@/users"\n' + text
    for how in ({"level": 0}, {"method": PASSWORD, "level": 1}):
        with Stage() as own:
            g, (p,) = start(gateway, own, both, {"password": 1}, workers=1,
                            before=lambda g: g.write_users(sally.user_line("alice", "a")))
            p.send(verdict(p.peer_spawn("worker"), **how))
            dies(p)
            assert REFUSED in g.record("child-lost", worker=p.spawn)["detail"]
            wait_for(lambda: len(g.children()) == 4, 10, g.story)
            end(g, [], 1)
