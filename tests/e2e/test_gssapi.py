"""GSSAPI as clients use it (RFC 1961): contexts of krb5 and of SPNEGO in all their rounds, encapsulated sessions of every
encryption type, names and rules, and the audit trail. Levels, faults, tickets and datagrams have files of their own."""
import os
import threading

import pytest

import gss5
import kdc
import peers
import sally
import socks5
import spnego
from gss5 import Client, F, FLAGS, configuration

NAMES = {1: b"integrity", 2: b"confidentiality", 3: b"selective"}


@pytest.fixture
def g(gateway, realm):
    return gateway(configuration(realm))


@pytest.fixture(scope="module")
def alice(realm):
    return realm.kinit().fetch()


def carries(c, echo, octets=b"hello"):
    assert c.connect(echo.host, echo.port)[0] == socks5.OK
    c.send(octets)
    assert c.read(len(octets)) == octets


@pytest.mark.parametrize("mech", [gss5.KRB5, gss5.SPNEGO, None], ids=["krb5", "SPNEGO", "default"])
@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_session(g, alice, echo, level, mech):
    with Client(g.at, alice, level, mech=mech) as c:
        assert c.level == level
        carries(c, echo)
        c.half_close()
        assert c.rest() == b""
    r = g.record("auth-ok")
    assert (r["user"], r["method"]) == (b"alice", b"gssapi") and r["client"].startswith(b"127.0.0.1:")
    for event in ("session-open", "session-close"):
        r = g.record(event)
        assert (r["user"], r["method"], r["protection"]) == (b"alice", b"gssapi", NAMES[level])
    assert (r["reason"], r["up"], r["down"]) == (b"client-closed", b"5", b"5")


@pytest.mark.parametrize("enctype", kdc.ENCTYPES)
def test_encryption_types(gateway, realm, echo, enctype):
    g = gateway(configuration(realm))
    credentials = realm.kinit(enctype=enctype)
    data = os.urandom(200000)
    for level in (1, 2):
        with Client(g.at, credentials, level) as c:
            carries(c, echo, data)


def without(*flags):
    return [f for f in FLAGS if f not in flags]


@pytest.mark.parametrize("mech", [gss5.KRB5, gss5.SPNEGO], ids=["krb5", "SPNEGO"])
@pytest.mark.parametrize("what,flags,rounds,last", [
    ("mutual", FLAGS, 1, False), ("one way", without(F.mutual_authentication), 1, True),
    ("three ways", FLAGS + [F.dce_style], 2, True)], ids=lambda w: w if isinstance(w, str) else "")
def test_rounds(g, alice, echo, mech, what, flags, rounds, last):
    """Section 3.6: each token of GSSAPI's goes to the client, and where it has none, one of length zero."""
    with Client(g.at, alice, 2, mech=mech, flags=flags) as c:
        assert len(c.sent) == len(c.received) == rounds
        assert (c.received[-1] == b"") == (last and mech == gss5.KRB5)
        carries(c, echo)


@pytest.mark.parametrize("mechanisms,optimistic,states", [
    ([spnego.KRB5], None, [1, 0]), ([spnego.KRB5, spnego.UNKNOWN], None, [1, 0]),
    ([spnego.UNKNOWN, spnego.KRB5], b"?", [3, 1, None]), ([spnego.UNKNOWN, spnego.KRB5], None, [3, 1, None])],
    ids=["no first token", "no first token, two", "another first", "another first, no token"])
@pytest.mark.parametrize("level", [1, 2])
def test_spnego_in_several_rounds(g, alice, echo, mechanisms, optimistic, states, level):
    """Also with the checksums of the list, which move the sequence numbers on before any data."""
    with Client(g.at, alice, upto="method", mech=gss5.KRB5) as c:
        c.context()
        assert spnego.establish(c, mechanisms, optimistic) == states
        assert c.agree(level) == level
        carries(c, echo, os.urandom(100000))


def test_an_empty_token_asks_what_there_is(g, alice, echo):
    """An empty first token, as Windows sends it: the answer names the mechanisms, and the client begins."""
    with Client(g.at, alice, upto="method", mech=gss5.SPNEGO) as c:
        hints = c.exchange(b"")
        assert hints.startswith(b"\x60") and spnego.KRB5 in hints
        c.context()
        c.step(c.exchange(c.step()))
        assert c.ctx.complete and c.agree(2) == 2
        carries(c, echo)


def test_delegated_credentials_are_dropped(g, realm, echo):
    """Section 3.2 has clients delegate; the gateway takes none: nothing of them is kept in its places."""
    credentials = realm.kinit(options=["-f"])
    with Client(g.at, credentials, 2, flags=FLAGS + [F.delegate_to_peer]) as c:
        assert len(c.sent[0]) > 1200  # the ticket-granting ticket is in it
        assert F.delegate_to_peer in c.ctx.actual_flags
        carries(c, echo)
        authd, = g.children("authd")
        root = f"/proc/{authd}/root"
        kept = [os.path.join(d, f) for d, _, files in os.walk(root) for f in files] if os.readlink(root) != "/" else []
        assert not [f for f in kept if "krb5cc" in f or "ccache" in f.lower()], kept
        assert not [f for f in os.listdir("/tmp") if f.startswith("krb5cc")]


def test_everything_octet_by_octet(g, alice, echo):
    """However the client's octets are cut up, and the request directly behind the level."""
    with Client(g.at, alice, upto="method") as c:
        c.context()
        token = c.step()
        c.send_slowly_raw(gss5.frame(gss5.CONTEXT, token))
        c.step(c.answer())
        said = gss5.frame(gss5.LEVEL, c.ctx.wrap(b"\2", False).message)
        c.level = 2
        said += c.wrap(socks5.request(echo.host, echo.port)) + c.wrap(b"hello")
        c.send_slowly_raw(said)
        kind, token = c.read_frame()
        assert kind == gss5.LEVEL and c.ctx.unwrap(token).message == b"\2"
        assert c.reply()[0] == socks5.OK and c.read(5) == b"hello"


def test_all_at_once_behind_the_context(g, alice, echo):
    """Level, request and data in one segment."""
    with Client(g.at, alice, upto="context") as c:
        said = gss5.frame(gss5.LEVEL, c.ctx.wrap(b"\1", False).message)
        c.level = 1
        c.raw_send(said + c.wrap(socks5.request(echo.host, echo.port)) + c.wrap(b"a") + c.wrap(b"b" * 50000))
        kind, token = c.read_frame()
        assert kind == gss5.LEVEL and c.ctx.unwrap(token).message == b"\1"
        assert c.reply()[0] == socks5.OK and c.read(50001) == b"a" + b"b" * 50000


def test_a_request_over_several_tokens(g, alice, echo):
    with Client(g.at, alice, 2) as c:
        c.send(socks5.request(b"localhost", echo.port), piece=1)
        assert c.reply()[0] in (socks5.OK, socks5.NOT_ALLOWED, socks5.HOST)
    with Client(g.at, alice, 2) as c:
        c.send(socks5.request(echo.host, echo.port), piece=3)
        assert c.reply()[0] == socks5.OK


@pytest.mark.parametrize("level", [1, 2])
def test_failures_are_encapsulated(gateway, realm, alice, level):
    g = gateway(configuration(realm, "pass connect from any to 127.0.0.2 auth gssapi\n"))
    with Client(g.at, alice, level) as c:
        assert c.connect("127.0.0.1", 9)[0] == socks5.NOT_ALLOWED
        assert c.rest() == b""
    with Client(g.at, alice, level) as c:
        c.send(socks5.request("127.0.0.2", 9, command=9))
        assert c.reply()[0] == socks5.COMMAND
        assert c.rest() == b""
    assert g.record("session-refused", reason="blocked")["protection"] == NAMES[level]


@pytest.mark.parametrize("level", [1, 2, 3])
def test_both_replies_of_bind(g, alice, level):
    with Client(g.at, alice, level) as c:
        c.send(socks5.request("127.0.0.1", 0, command=socks5.BIND))
        rep, host, port = c.reply()
        assert rep == socks5.OK
        with peers.socket.create_connection((host, port)) as peer:
            assert c.reply() == (socks5.OK, *peer.getsockname())
            peer.sendall(b"from the peer")
            assert c.read(13) == b"from the peer"
            c.send(b"to the peer")
            assert peer.recv(100) == b"to the peer"


# --- much data, and little ---

@pytest.mark.parametrize("level", [2, 1])
def test_64_mib_both_ways(g, alice, echo, level):
    """At once, compared octet by octet."""
    size, block = 64 << 20, os.urandom(1 << 20)
    largest = []
    with Client(g.at, alice, level, seconds=120) as c:
        assert c.connect(echo.host, echo.port)[0] == socks5.OK
        one_at_a_time = threading.Lock()  # MIT's contexts are not for two threads at once
        sent = threading.Event()

        def send():
            for n in range(0, size, len(block)):
                for i in range(0, len(block), gss5.PIECE):
                    with one_at_a_time:
                        token = c.wrap(block[i:i + gss5.PIECE])
                    c.raw_send(token)
            sent.set()
            c.half_close()
        t = threading.Thread(target=send, daemon=True)
        t.start()
        got, rest = 0, b""
        while got + len(rest) < size:
            kind, token = c.read_frame()
            with one_at_a_time:
                rest += c.unwrap(token)
            largest.append(len(token))
            while len(rest) >= len(block):
                assert rest[:len(block)] == block
                rest, got = rest[len(block):], got + len(block)
        assert (got, rest) == (size, b"")
        t.join(60)
        assert sent.is_set() and c.rest() == b""
    assert 55000 < max(largest) <= 65535, max(largest)
    r = g.record("session-close")
    assert (r["up"], r["down"]) == (b"%d" % size, b"%d" % size)


# octets of a token beyond its data: 16 of header, and checksum; or confounder, header again, checksum
@pytest.mark.parametrize("enctype,level,over", [(18, 1, 28), (18, 2, 60), (17, 2, 60), (19, 1, 32), (19, 2, 64), (20, 1, 40), (20, 2, 72)])
def test_the_largest_token(g, realm, echo, enctype, level, over):
    with Client(g.at, realm.kinit(enctype=enctype), level) as c:
        assert c.connect(echo.host, echo.port)[0] == socks5.OK
        data = os.urandom(65535 - over)
        for _ in range(3):
            token = c.wrap(data)
            assert len(token) == 4 + 65535
            c.raw_send(token)
            assert c.read(len(data)) == data


@pytest.mark.parametrize("level", [1, 2])
def test_the_smallest_tokens(g, alice, echo, level):
    """Of one octet, and of none, which carry nothing and harm nothing."""
    with Client(g.at, alice, level) as c:
        assert c.connect(echo.host, echo.port)[0] == socks5.OK
        data = os.urandom(3000)
        said = b"".join(c.wrap(data[i:i + 1]) + (c.wrap(b"") if i % 7 == 0 else b"") for i in range(len(data)))
        c.raw_send(said)
        assert c.read(len(data)) == data


def test_a_slow_stream_is_not_held_back(g, alice, serve):
    """What comes is wrapped and sent at once."""
    held = serve(peers.Held)
    with Client(g.at, alice, 2, seconds=2) as c:
        assert c.connect(held.host, held.port)[0] == socks5.OK
        s = held.next()
        for n in range(20):
            s.sendall(bytes([n]))
            assert c.read_token() == bytes([n])
        for n in range(20):
            c.send(bytes([n]))
            assert s.recv(10) == bytes([n])


def test_a_client_that_does_not_read_stops_the_target(g, alice, serve):
    """And loses nothing."""
    size = 48 << 20
    source = serve(peers.Source, size)
    with Client(g.at, alice, 2) as c:
        assert c.connect(source.host, source.port)[0] == socks5.OK
        worker = max(g.children("worker"), key=rss)
        before = rss(worker)
        peers.time.sleep(1)
        assert rss(worker) - before < 2000
        got = 0
        while got < size:
            data = c.read_token()
            assert data == (bytes(range(256)) * (len(data) // 256 + 2))[got % 256:got % 256 + len(data)]
            got += len(data)
    assert got == size


def rss(pid):
    with open(f"/proc/{pid}/status") as f:
        return [int(l.split()[1]) for l in f if l.startswith("VmRSS")][0]


# --- who ---

def reply(g, credentials, host, port, **how):
    with Client(g.at, credentials, **how) as c:
        return c.connect(host, port)[0]


def test_users_and_groups(gateway, realm, alice, echo):
    g = gateway(configuration(realm, "group web { bob, \"carol/admin@SALLYPORT.TEST\" }\n"
                              "pass connect from any to 127.0.0.1 user alice auth gssapi\n"
                              "pass connect from any to 127.0.0.2 group web auth gssapi\n"))
    free = peers.free_port("127.0.0.2")
    bob = realm.kinit("bob")
    assert reply(g, alice, echo.host, echo.port) == socks5.OK
    assert reply(g, alice, "127.0.0.2", free) == socks5.NOT_ALLOWED
    assert reply(g, bob, echo.host, echo.port) == socks5.NOT_ALLOWED
    assert reply(g, bob, "127.0.0.2", free) == socks5.REFUSED
    assert gss5.refused(g.at, realm.kinit("carol"))  # auth_to_local gives carol/admin no name
    assert g.record("auth-failed", reason="no-local-name")["user"] == b"carol/admin@SALLYPORT.TEST"


def test_whole_principals(gateway, realm, alice, echo):
    g = gateway(configuration(realm, "pass connect from any to 127.0.0.1 user \"carol/admin@SALLYPORT.TEST\" auth gssapi\n",
                              "names principal"))
    assert reply(g, realm.kinit("carol"), echo.host, echo.port) == socks5.OK
    assert g.record("session-open")["user"] == b"carol/admin@SALLYPORT.TEST"
    assert reply(g, alice, echo.host, echo.port) == socks5.NOT_ALLOWED


def test_auth_to_local(gateway, realm, echo):
    config = f"{realm.dir}/mapped.conf"
    with open(realm.config) as f:
        text = f.read()
    with open(config, "w") as f:
        f.write(text.replace("\t\tkdc = ", "\t\tauth_to_local = RULE:[2:$2-$1](admin-.*)s/^admin-//\n\t\tauth_to_local = DEFAULT\n\t\tkdc = "))
    try:
        g = gateway(configuration(realm, "pass connect from any to 127.0.0.1 user carol auth gssapi\n", config=config))
        assert reply(g, realm.kinit("carol"), echo.host, echo.port) == socks5.OK
        assert g.record("session-open")["user"] == b"carol"
    finally:
        os.unlink(config)


def test_methods(gateway, realm, alice, echo):
    """`auth prefer`, and rules that only one method meets."""
    g = gateway('auth password file "@DIR@/users"\nauth prefer password, gssapi, none\n' + configuration(
        realm, "pass connect from any to 127.0.0.1 auth password\npass connect from any to 127.0.0.2 auth gssapi\n"),
        before=lambda g: g.write_users(sally.user_line("alice", "a")))
    for offered, chosen in (((1, 2), 2), ((2, 1), 2), ((0, 1), 1), ((1,), 1), ((0,), 0xff)):
        with socks5.Client(g.at) as c:
            assert c.greet(*offered) == chosen
    assert reply(g, alice, echo.host, echo.port) == socks5.NOT_ALLOWED
    assert reply(g, alice, "127.0.0.2", peers.free_port("127.0.0.2")) == socks5.REFUSED
