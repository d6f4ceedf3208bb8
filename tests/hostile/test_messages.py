"""Messages that no honest child sends: each costs its sender its life, is logged with the reason, and the others are
served on. Beside each kind stands what an honest child sends, which is accepted."""
import os
import select
import threading
import time

import pytest

import sally
import socks5
from peers import wait_for
from puppets import KILLED, NUMBER, Stage, addrport, end, message, raw, start

USER, PASSWORD = b"alice", b"open sesame"
TEXT = ("resolver 127.0.0.1\n"
        'auth password file "@DIR@/users"\n'
        "block from any to 127.0.0.9\n"
        "pass connect from any to { any, 127.0.0.0/8 } user alice auth password\n"
        "pass connect from any to { any, 127.0.0.0/8 } auth none\n")
BLOCK, PASS_USER, PASS = 0, 1, 2  # rules by index
CLIENT, GATEWAY, TARGET = addrport("127.0.0.1", 5), addrport("127.0.0.1", 1080), addrport("127.0.0.1", 80)
NOWHERE = addrport(None, 0)
CONNECT = 1
NOT_ALLOWED, REFUSED, ENDS, CUT = b"not a message that it may send", b"refused", b"ends inside", b"truncated packet"
MANY = 40000  # octets: more than any packet of the gateway's


@pytest.fixture
def stage():
    with Stage() as s:
        yield s


def users(g):
    g.write_users(sally.user_line(USER.decode(), PASSWORD.decode()))


def open_(p, slot=0, gen=1, version=None, method=0, user=b"", user_len=None, name=b"", asked=TARGET, client=CLIENT,
          command=CONNECT, claim=b"", socks=5, length=None):
    return message("OPEN", slot, gen, p.version() if version is None else version, method, command, command,
                   len(user) if user_len is None else user_len, *client, *GATEWAY, *asked, len(name), len(claim), socks,
                   tail=user + name + claim, length=length)


def attempt(p, slot=0, gen=1, version=None, rule=PASS, target=TARGET):
    return message("ATTEMPT", slot, gen, p.version() if version is None else version, rule, *target, 0)


def close(p, slot=0, gen=1, reason=1, rule=PASS):
    return message("CLOSE", slot, gen, reason, p.version(), rule, 0, 3, 4, 0, 0, bytes(48))


def connected(slot=0, gen=1, target=TARGET):
    return message("CONNECTED", slot, gen, *target, *CLIENT)


def auth(slot=0, gen=1, user=USER, password=PASSWORD, client=CLIENT, lens=None, length=None):
    ulen, plen = lens or (len(user), len(password))
    return message("AUTH_PASSWORD", slot, gen, *client, ulen, plen, tail=user + password, length=length)


def lookup(number=1, families=1, name=b"www.example.com", name_len=None, length=None):
    return message("LOOKUP", number, families, len(name) if name_len is None else name_len, tail=name, length=length)


def session(p, slot=0, gen=1, rule=PASS, method=0, user=b""):
    """An honest session up to its grant."""
    fields, _ = p.ask(open_(p, slot, gen, method=method, user=user) + attempt(p, slot, gen, rule=rule), "GRANT")
    assert fields == (slot, gen)


def login(p, slot=0, gen=1, **how):
    fields, tail = p.ask(auth(slot, gen, **how), "AUTH_RESULT", to=p.given("PEER", role="password"))
    assert fields[:3] == (slot, gen, 1) and tail.startswith(USER)


def serves(g, echo):
    """The gateway carries octets for a client that authenticates and for one that does not."""
    for who in ((), (USER, PASSWORD)):
        c, reply = socks5.open_session(g.at, echo.host, echo.port, *who)
        with c:
            assert reply[0] == socks5.OK, g.story()
            c.send(b"hello")
            assert c.read(5) == b"hello"


# --- a worker against the master: (what, the packets, why it dies) ---

def twice(packet):
    return lambda p: [packet(p), packet(p)]


def after_login(*packets):
    def act(p):
        login(p)
        return [make(p) for make in packets]
    return act


def after_session(*packets):
    def act(p):
        session(p)
        return [make(p) for make in packets]
    return act


def used_accept(p):
    login(p)
    session(p, rule=PASS_USER, method=1, user=USER)
    return [close(p), open_(p, gen=1, method=1, user=USER)]


def used_accept_again(p):
    login(p)
    session(p, rule=PASS_USER, method=1, user=USER)
    return [close(p), open_(p, gen=2, method=1, user=USER)]


MASTER_CASES = [
    ("ready, repeated", lambda p: [message("READY", 0, 0)], REFUSED),
    ("a policy acknowledged that was never sent", lambda p: [message("POLICY_ACK", 99, 0)], REFUSED),
    ("a policy acknowledged again", lambda p: [message("POLICY_ACK", p.version(), 0)], REFUSED),
    ("a verdict, which is authd's", lambda p: [message("VERDICT", 0, 1, p.spawn, 1, 1, 5, *CLIENT, 0, tail=USER)],
     NOT_ALLOWED),
    ("an answer, which is the resolver's", lambda p: [message("ANSWER", 1, 1, 0, 0, 60)], NOT_ALLOWED),
    ("a grant, the wrong way", lambda p: [message("GRANT", 0, 1)], NOT_ALLOWED),
    ("a stop, the wrong way", lambda p: [message("STOP")], NOT_ALLOWED),
    ("an unknown number", lambda p: [raw(999, bytes(16))], NOT_ALLOWED),
    ("half a head", lambda p: [b"\1\0\0\0"], ENDS),
    ("half a message", lambda p: [attempt(p)[:24]], ENDS),
    ("a short open", lambda p: [raw(NUMBER["OPEN"], bytes(20))], NOT_ALLOWED),
    ("a long open", lambda p: [raw(NUMBER["OPEN"], open_(p)[8:] + bytes(1000))], NOT_ALLOWED),
    ("a packet past every limit", lambda p: [bytes(MANY)], CUT),
    ("lengths that do not add up", lambda p: [open_(p, user_len=7)], REFUSED),
    ("lengths that run past the end", lambda p: [open_(p, user=b"x", user_len=255)], REFUSED),
    ("a good message and a bad one behind it", lambda p: [open_(p) + raw(999, b"")], NOT_ALLOWED),
    ("an open of an unknown policy", lambda p: [open_(p, version=77)], REFUSED),
    ("an open in no slot", lambda p: [open_(p, slot=0xffffffff)], REFUSED),
    ("an open of no generation", lambda p: [open_(p, gen=0)], REFUSED),
    ("an open without a client", lambda p: [open_(p, client=NOWHERE)], REFUSED),
    ("an open of an unknown method", lambda p: [open_(p, method=9)], REFUSED),
    ("an open of nobody as password", lambda p: [open_(p, method=1)], REFUSED),
    ("a user without a method", lambda p: [open_(p, user=USER)], REFUSED),
    ("a user in SOCKS4", after_login(lambda p: open_(p, method=1, user=USER, socks=4)), REFUSED),
    ("a user in SOCKS4 without a method", lambda p: [open_(p, user=USER, socks=4)], REFUSED),
    ("a claim in SOCKS5", lambda p: [open_(p, claim=USER)], REFUSED),
    ("a version of SOCKS that is none", lambda p: [open_(p, socks=6)], REFUSED),
    ("a slot opened twice", twice(open_), REFUSED),
    ("a generation used twice", after_session(close, open_), REFUSED),
    ("a user whom authd never accepted", lambda p: [open_(p, method=1, user=USER)], REFUSED),
    ("an accept of another slot", after_login(lambda p: open_(p, slot=1, method=1, user=USER)), REFUSED),
    ("an accept of another generation", after_login(lambda p: open_(p, gen=2, method=1, user=USER)), REFUSED),
    ("an accept of another user", after_login(lambda p: open_(p, method=1, user=b"root")), REFUSED),
    ("an accept used twice", used_accept, REFUSED),
    ("an accept used twice, by the next session", used_accept_again, REFUSED),
    ("an attempt of no session", lambda p: [attempt(p)], REFUSED),
    ("an attempt by no rule", lambda p: [open_(p), attempt(p, rule=500)], REFUSED),
    ("an attempt by default", lambda p: [open_(p), attempt(p, rule=0xffffffff)], REFUSED),
    ("an attempt by a block rule", lambda p: [open_(p), attempt(p, rule=BLOCK)], REFUSED),
    ("an attempt at nothing", lambda p: [open_(p), attempt(p, target=NOWHERE)], REFUSED),
    ("connected without a session", lambda p: [connected()], REFUSED),
    ("connected without a grant", lambda p: [open_(p), connected()], REFUSED),
    ("connected twice", after_session(lambda p: connected(), lambda p: connected()), REFUSED),
    ("a close of no session", lambda p: [close(p)], REFUSED),
    ("a close, repeated", after_session(close, close), REFUSED),
    ("a close for no reason", after_session(lambda p: close(p, reason=0)), REFUSED),
    ("a close for an unknown reason", after_session(lambda p: close(p, reason=200)), REFUSED),
    ("turned away for no reason", lambda p: [message("EARLY", *CLIENT, *GATEWAY, 0, 0)], REFUSED),
    ("a fault of another worker", lambda p: [message("PEER_FAULT", p.spawn, 0)], REFUSED),
]


def survives_none(p, packets):
    for packet in packets:
        p.send(packet)
    return wait_for(lambda: p.recv(ms=200) is None, 10, "the puppet lives on")


def test_worker_to_master(stage, gateway, echo):
    n = len(MASTER_CASES)
    g, cast = start(gateway, stage, TEXT, {"worker": n + 1}, workers=n + 2, before=users)
    honest, cast = cast[0], cast[1:]
    session(honest)
    honest.send(connected())
    for (what, act, reason), p in zip(MASTER_CASES, cast):
        survives_none(p, act(p))
        r = g.record("child-lost", worker=p.spawn)
        assert r["process"] == b"worker" and reason in r["detail"], (what, r)
    # the honest one's session went on all the while
    honest.send(close(honest))
    r = g.record("session-close", worker=honest.spawn)
    assert (r["up"], r["down"], r["reason"]) == (b"3", b"4", b"client-closed")
    login(honest, gen=2)
    session(honest, gen=2, rule=PASS_USER, method=1, user=USER)
    assert g.record("session-open", worker=honest.spawn, user="alice")
    # sessions of the dead got their closing records
    for p in (cast[i] for i, c in enumerate(MASTER_CASES) if c[0] in ("connected twice", "a close for no reason")):
        assert g.record("session-close", worker=p.spawn)["reason"] == b"child-lost"
    honest.s.close()
    wait_for(lambda: len(g.records("child-lost")) == n + 1, 10, g.story)
    wait_for(lambda: len(g.children("worker")) == n + 2, 30, g.story)
    serves(g, echo)
    end(g, [], n + 1)


def test_before_it_is_ready(stage, gateway, echo):
    """A message that comes early stops a start; of a replacement, it is one more child lost."""
    g, (p,) = start(gateway, stage, TEXT, {"worker": 1}, before=users)
    stage.want("worker")
    os.kill(p.pid, 9)
    early = stage.puppet("worker")
    early.settle(100, ack=False)
    survives_none(early, [message("POLICY_ACK", early.version(), 0)])
    assert REFUSED in g.record("child-lost", worker=early.spawn)["detail"]
    wait_for(lambda: len(g.children("worker")) == 2, 10, g.story)
    serves(g, echo)
    end(g, [], 2)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_unexpected_descriptors(stage, gateway, count):
    g, (p,) = start(gateway, stage, TEXT, {"worker": 1}, before=users)
    before = os.listdir(f"/proc/{g.master()}/fd")
    p.send(open_(p), fds=[3] * count)
    wait_for(lambda: p.recv(ms=200) is None)
    detail = g.record("child-lost", worker=p.spawn)["detail"]
    assert (NOT_ALLOWED if count == 1 else CUT) in detail, detail
    wait_for(lambda: len(os.listdir(f"/proc/{g.master()}/fd")) <= len(before), 10, "the master kept them")
    end(g, [], 1)


# --- a worker against the resolver and authd ---

PEER_CASES = [
    ("resolver", "a lookup of no family", lambda p: [lookup(families=0)]),
    ("resolver", "a lookup of a third family", lambda p: [lookup(families=4)]),
    ("resolver", "a name longer than the message", lambda p: [lookup(name_len=200)]),
    ("resolver", "a name shorter than the message", lambda p: [lookup(name_len=3)]),
    ("resolver", "a lookup without a name", lambda p: [message("LOOKUP", 1, 1, 0)]),
    ("resolver", "a name as no worker writes it", lambda p: [lookup(name=b"WWW.Example.com")]),
    ("resolver", "a question asked twice", lambda p: [lookup() + lookup()]),
    ("resolver", "a password", lambda p: [auth()]),
    ("resolver", "an answer, the wrong way", lambda p: [message("ANSWER", 1, 1, 0, 0, 60)]),
    ("resolver", "a policy", lambda p: [raw(NUMBER["POLICY"], bytes(8))]),
    ("resolver", "half a head", lambda p: [b"\1\0"]),
    ("resolver", "half a message", lambda p: [lookup()[:12]]),
    ("resolver", "a packet past every limit", lambda p: [bytes(MANY)]),
    ("password", "no generation", lambda p: [auth(gen=0)]),
    ("password", "no user", lambda p: [auth(user=b"")]),
    ("password", "no password", lambda p: [auth(password=b"")]),
    ("password", "lengths past the end", lambda p: [auth(lens=(255, 255))]),
    ("password", "lengths before the end", lambda p: [auth(lens=(1, 1))]),
    ("password", "a slot asked for twice", lambda p: [auth() + auth()]),
    ("password", "an abort, repeated", lambda p: [auth() + message("AUTH_ABORT", 0, 1) * 2]),
    ("password", "a slot that is none", lambda p: [auth(slot=0xfffffff0)]),
    ("password", "a lookup", lambda p: [lookup()]),
    ("password", "a result, the wrong way", lambda p: [message("AUTH_RESULT", 0, 1, 1, 1, 5, 0, tail=USER)]),
    ("password", "a verdict", lambda p: [message("VERDICT", 0, 1, p.spawn, 1, 1, 5, *CLIENT, 0, tail=USER)]),
    ("password", "a users file", lambda p: [message("USERS")]),
    ("password", "half a message", lambda p: [auth()[:24]]),
    ("password", "a packet past every limit", lambda p: [bytes(MANY)]),
]


def test_worker_to_peers(stage, gateway, echo):
    n = len(PEER_CASES)
    g, cast = start(gateway, stage, TEXT, {"worker": n + 1}, workers=n + 2, before=users)
    honest, cast = cast[0], cast[1:]
    services = g.children("resolver") + g.children("authd")
    for (role, what, packets), p in zip(PEER_CASES, cast):
        for packet in packets(p):
            p.send(packet, to=p.given("PEER", role=role))
        wait_for(lambda: p.recv(ms=200) is None, 10, f"{role}: {what}: the puppet lives on")
        r = g.record("child-lost", worker=p.spawn)
        assert r["process"] == b"worker" and b"broke the rules towards " + role.encode() in r["detail"], (what, r)
        assert len(g.records("child-lost")) == len([c for c in cast if c.s and g.records("child-lost", worker=c.spawn)])
    assert g.children("resolver") + g.children("authd") == services, "a service was lost"
    login(honest)
    fields, _ = honest.ask(lookup(), "ANSWER", to=honest.given("PEER", role="resolver"), ms=20000)
    assert fields[0] == 1
    end(g, [honest], n)


def test_descriptor_to_peers(stage, gateway):
    g, cast = start(gateway, stage, TEXT, {"worker": 2}, workers=3, before=users)
    for role, p in zip(("resolver", "password"), cast):
        packet = lookup() if role == "resolver" else auth()
        p.send(packet, to=p.given("PEER", role=role), fds=[3])
        wait_for(lambda: p.recv(ms=200) is None)
        assert b"broke the rules towards" in g.record("child-lost", worker=p.spawn)["detail"]
    end(g, [], 2)


# --- the resolver and authd against workers and the master ---

RESULT = ("AUTH_RESULT", 0, 1, 1, 1, len(USER), 0)
SERVICE_CASES = [  # role, what, packet, to whom, why it dies
    ("resolver", "addresses that are not there", lambda p: message("ANSWER", 1, 1, 0, 9, 60), "worker", b"towards worker"),
    ("resolver", "an unknown family", lambda p: message("ANSWER", 1, 7, 0, 0, 60), "worker", b"towards worker"),
    ("resolver", "an unknown status", lambda p: message("ANSWER", 1, 1, 77, 0, 60), "worker", b"towards worker"),
    ("resolver", "an answer to no question", lambda p: message("ANSWER", 9, 1, 0, 0, 60), "worker",
     b"towards worker"),
    ("password", "a result of no login", lambda p: message(*RESULT, tail=USER), "worker", b"towards worker"),
    ("resolver", "a login", lambda p: message(*RESULT, tail=USER), "worker", b"towards worker"),
    ("resolver", "an accept", lambda p: message("VERDICT", 0, 1, 3, 1, 1, 5, *CLIENT, 0, tail=USER), "master",
     NOT_ALLOWED),
    ("resolver", "an open", lambda p: open_(p), "master", NOT_ALLOWED),
    ("password", "groups that are not there", lambda p: message("AUTH_RESULT", 0, 1, 1, 1, 5, 70, tail=USER), "worker",
     b"towards worker"),
    ("password", "an answer", lambda p: message("ANSWER", 1, 1, 0, 0, 60), "worker", b"towards worker"),
    ("password", "an unknown verdict", lambda p: message("VERDICT", 0, 1, p.peer_spawn("worker"), 99, 1, 5, *CLIENT, 0,
                                                         tail=USER), "master", REFUSED),
    ("password", "an accept by GSSAPI", lambda p: message("VERDICT", 0, 1, p.peer_spawn("worker"), 1, 2, 5, *CLIENT, 0,
                                                          tail=USER), "master", REFUSED),
    ("password", "no verdict", lambda p: message("VERDICT", 0, 1, p.peer_spawn("worker"), 0, 1, 5, *CLIENT, 0,
                                                 tail=USER), "master", REFUSED),
    ("password", "an accept of nobody", lambda p: message("VERDICT", 0, 1, p.peer_spawn("worker"), 1, 1, 0, *CLIENT, 0),
     "master", REFUSED),
    ("password", "an accept in no slot", lambda p: message("VERDICT", 0xffffffff, 1, p.peer_spawn("worker"), 1, 1, 5,
                                                           *CLIENT, 0, tail=USER), "master", REFUSED),
    ("password", "an accept to itself", lambda p: message("VERDICT", 0, 1, p.spawn, 1, 1, 5, *CLIENT, 0, tail=USER),
     "master", REFUSED),
    ("password", "a users file acknowledged again", lambda p: message("USERS_ACK", 1, 0, b""), "master", REFUSED),
    ("password", "an open", lambda p: open_(p), "master", NOT_ALLOWED),
    ("password", "a packet past every limit", lambda p: bytes(MANY), "master", CUT),
]


@pytest.mark.parametrize("case", SERVICE_CASES, ids=lambda c: f"{c[0]}: {c[1]}")
def test_services(stage, gateway, echo, case):
    role, what, packet, to, reason = case
    g, (p,) = start(gateway, stage, TEXT, {role: 1}, workers=1, before=users)
    p.send(packet(p), to=3 if to == "master" else p.given("PEER", role="worker"))
    wait_for(lambda: p.recv(ms=200) is None, 10, "the puppet lives on")
    r = g.record("child-lost", worker=p.spawn)
    assert r["process"].decode() == role and reason in r["detail"], (what, r)
    wait_for(lambda: len(g.children()) == 3, 10, g.story)
    serves(g, echo)
    end(g, [], 1)


def test_verdict_for_another_session(stage, gateway, echo):
    """A result for a session that waits for none (it began without a password) lets nobody in."""
    g, (p,) = start(gateway, stage, TEXT, {"password": 1}, workers=1, before=users)
    with socks5.Client(g.at) as c:
        assert c.greet(0) == 0
        p.send(message("AUTH_RESULT", 0, 1, 1, 1, len(USER), 0, tail=USER), to=p.given("PEER", role="worker"))
        assert b"towards worker" in g.record("child-lost", worker=p.spawn)["detail"]
        assert c.connect(echo.host, echo.port)[0] == socks5.OK
        r = g.record("session-open")
        assert r["method"] == b"none" and "user" not in r
    serves(g, echo)
    end(g, [], 1)


def test_answer_that_crossed(stage, gateway, echo):
    """An answer to a question that has ended is no fault; one that is repeated while the question stands is."""
    g, (p,) = start(gateway, stage, TEXT, {"resolver": 1}, workers=1, before=users)
    worker = p.given("PEER", role="worker")
    questions = []

    def ask(name, times):
        c = socks5.Client(g.at)
        assert c.greet(0) == 0
        c.send(socks5.request(name, 80))
        asked, families = [], 0
        while families != 3:
            asked += wait_for(lambda: p.recv(worker, 2000))[0]
            families = sum(fields[1] for _, fields, _ in asked)
        for what, (number, which, _), tail in asked:
            assert (what, tail) == ("LOOKUP", name)
            questions.extend((number, f) for f in (1, 2) if which & f)
        for number, family in questions[-2:]:
            p.send(message("ANSWER", number, family, 1, 0, 60) * times, to=worker)
        return c

    with ask(b"www.example.com", 1) as c:
        assert c.reply()[0] == socks5.HOST
    for number, family in questions:
        p.send(message("ANSWER", number, family, 1, 0, 60), to=worker)
    serves(g, echo)
    assert not g.records("child-lost"), g.story()
    ask(b"ftp.example.com", 2).close()
    assert b"towards worker" in g.record("child-lost", worker=p.spawn)["detail"]
    serves(g, echo)
    end(g, [], 1)


# --- floods ---

class Flood(threading.Thread):
    """Sends packet(i), packet(i + 1), ... as fast as they are taken and reads nothing, until it is told to stop. The
    number that counts up is the first of the message."""

    def __init__(self, p, to, packet, numbered=True):
        super().__init__(daemon=True)
        self.p, self.to, self.packet, self.numbered = p, to, packet, numbered
        self.sent, self.over = 0, False
        self.start()

    def run(self):
        while not self.over:
            got = self.p.tell("flood", self.to, self.packet(self.sent).hex(), 500, *([8] if self.numbered else []))
            if got == KILLED:
                return
            self.sent += int(got.split()[0])
            if got.split()[0] == "0":
                time.sleep(0.001)


def rss(pid):
    with open(f"/proc/{pid}/status") as f:
        return [int(l.split()[1]) for l in f if l.startswith("VmRSS")][0]


def served_by_any(g, echo, clients=100):
    """Of many clients at once, those that the kernel hands to a real worker are served (a puppet accepts none)."""
    those = [socks5.Client(g.at) for _ in range(clients)]
    for c in those:
        c.send(socks5.greeting(0))
    ready, _, _ = select.select([c.s for c in those], [], [], 10)
    assert ready, g.story()
    c = [c for c in those if c.s is ready[0]][0]
    assert c.method() == 0 and c.connect(echo.host, echo.port)[0] == socks5.OK
    c.send(b"hello")
    assert c.read(5) == b"hello"
    for c in those:
        c.close()


def test_floods(stage, gateway, echo):
    """Three workers that send without end and never read, to the master, the resolver and authd: a fourth is answered
    by all of them all the while, clients are served by a fifth, and nobody grows."""
    g, cast = start(gateway, stage, TEXT, {"worker": 4}, workers=5, before=users)
    honest = cast[3]
    everyone = [g.master()] + g.children("resolver") + g.children("authd")
    before = {pid: rss(pid) for pid in everyone}
    early = message("EARLY", *CLIENT, *GATEWAY, 22, 0)
    floods = [
        Flood(cast[0], 3, lambda i: early * 50, numbered=False),
        Flood(cast[1], cast[1].given("PEER", role="resolver"), lambda i: lookup(number=i + 1)),
        Flood(cast[2], cast[2].given("PEER", role="password"),
              lambda i: auth(slot=i, password=b"wrong", client=addrport("192.0.2.1", 9))),
    ]
    waits = []
    for gen in range(1, 61):
        began = time.monotonic()
        session(honest, gen=gen)
        honest.send(close(honest, gen=gen))
        login(honest, slot=1, gen=gen, client=addrport("198.51.100.1", 9))
        honest.ask(lookup(number=gen), "ANSWER", to=honest.given("PEER", role="resolver"), ms=20000)
        waits.append(time.monotonic() - began)
    served_by_any(g, echo)
    grown = {pid: rss(pid) - before[pid] for pid in everyone}
    for f in floods:
        f.over = True
        f.join(30)
    print(f"floods: {[f.sent for f in floods]} packets, waits {max(waits):.2f} s, growth {grown} kB")
    assert max(waits) < 8, waits
    # ASan keeps what was freed, up to 256 MiB of it
    assert max(grown.values()) < (160000 if sally.SANITIZE else 16000), f"kB: {grown}"
    assert min(f.sent for f in floods) > 500, [f.sent for f in floods]
    lost = len(g.records("child-lost"))
    assert not g.records("child-lost", process="resolver") and not g.records("child-lost", process="password")
    end(g, cast, lost)


def test_never_reads(stage, gateway, echo):
    """A worker asks for grants and never reads them: the master stops reading it, and serves the others."""
    g, cast = start(gateway, stage, TEXT, {"worker": 2}, workers=2, before=users)
    mute, honest = cast
    before, sent = rss(g.master()), 0
    for gen in range(1, 200001, 100):
        packet = b"".join(open_(mute, gen=k) + attempt(mute, gen=k) + close(mute, gen=k) for k in range(gen, gen + 100))
        got = mute.tell("flood", 3, packet.hex(), 1)
        if got == KILLED or got.split()[0] != "1":
            break
        sent += 100
    for gen in range(1, 21):
        session(honest, gen=gen)
        honest.send(close(honest, gen=gen))
    assert sent < 200000 and not g.records("child-lost", worker=mute.spawn), sent
    assert rss(g.master()) - before < 40000
    end(g, cast, len(g.records("child-lost")))


@pytest.mark.skipif(sally.SANITIZE or os.geteuid() != 0, reason="memfd_create is out of reach in a sanitizer's sandbox")
def test_the_page_of_counts(stage, gateway):
    """A page that shrinks kills its reader: it is sealed, and the filter refuses to try."""
    for text, expected in (("sandbox seccomp off\n", (-1, 1)), ("", KILLED)):
        g, (p,) = start(gateway, stage, TEXT + text, {"worker": 1}, before=users)
        session(p)
        fd = p.given("COUNTS")
        try:
            got = p.sys("ftruncate", fd, 0)
        except Exception:
            got = KILLED
        assert got == expected
        if expected != KILLED:
            own, _ = p.sys("memfd_create", "s:own", 0)
            assert p.sys("ftruncate", own, 0) == (0, 0)  # what is not sealed can be
            p.send(close(p))
        assert g.record("session-close", worker=p.spawn)
        end(g, [p] if expected != KILLED else [], 0 if expected != KILLED else 1)
