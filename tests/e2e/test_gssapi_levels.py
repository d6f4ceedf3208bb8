"""The protection level (RFC 1961 sections 4 and 5): what is asked, answered and then demanded of every token, level 0 and
NEC's unwrapped negotiation where they are allowed, and `protection` as a criterion of the rules."""
import pytest

import gss5
import peers
import socks5
from gss5 import Client, configuration

SECRET = "pass connect from any to 127.0.0.3 user alice auth gssapi protection confidentiality\n"
NAMES = {0: b"clear", 1: b"integrity", 2: b"confidentiality", 3: b"selective"}


@pytest.fixture(scope="module")
def alice(realm):
    return realm.kinit().fetch()


def works(c, echo):
    assert c.connect(echo.host, echo.port)[0] == socks5.OK
    c.send(b"hello")
    assert c.read(5) == b"hello"


def closed(g, c, reason):
    """The gateway ends the connection, sends nothing in clear where all is encapsulated, and says why."""
    assert c.raw_rest() == b""
    return g.record("session-close", "client-refused", reason=reason)


@pytest.mark.parametrize("asked", [1, 2, 3])
def test_what_is_asked_is_answered(gateway, realm, alice, echo, asked):
    g = gateway(configuration(realm))
    with Client(g.at, alice, asked) as c:
        assert c.level == asked
        works(c, echo)


@pytest.mark.parametrize("asked", [1, 2, 3])
def test_a_rule_that_demands_confidentiality_gets_it(gateway, realm, alice, echo, asked):
    """For the users whom it may concern, and for no others."""
    g = gateway(configuration(realm, SECRET + gss5.RULES))
    with Client(g.at, alice, asked) as c:
        assert c.level == 2
        works(c, echo)
    with Client(g.at, realm.kinit("bob"), asked) as c:
        assert c.level == asked
        works(c, echo)


def test_only_rules_of_the_source_count(gateway, realm, alice):
    g = gateway(configuration(realm, "pass from 127.0.0.5 to any auth gssapi protection confidentiality\n" + gss5.RULES))
    for source, level in ((None, 1), ("127.0.0.5", 2)):
        with Client(g.at, alice, 1, source=source) as c:
            assert c.level == level


@pytest.mark.parametrize("asked", [1, 3])
def test_a_client_that_does_not_go_on_at_the_answered_level_is_closed(gateway, realm, alice, echo, asked):
    g = gateway(configuration(realm, SECRET + gss5.RULES))
    with Client(g.at, alice, asked) as c:
        assert c.level == 2
        c.raw_send(c.wrap(socks5.request(echo.host, echo.port), conf=False))
        closed(g, c, "wrong-protection")
    with Client(g.at, alice, asked) as c:
        c.raw_send(socks5.request(echo.host, echo.port))
        closed(g, c, "bad-framing")
    assert not echo.peers


@pytest.mark.parametrize("level,conf", [(1, True), (2, False)])
@pytest.mark.parametrize("when", ["the request", "data"])
def test_tokens_of_another_protection_end_the_session(gateway, realm, alice, echo, level, conf, when):
    g = gateway(configuration(realm))
    with Client(g.at, alice, level) as c:
        if when == "data":
            works(c, echo)
            c.raw_send(c.wrap(b"more", conf=conf))
        else:
            c.raw_send(c.wrap(socks5.request(echo.host, echo.port), conf=conf))
        closed(g, c, "wrong-protection")
    assert len(echo.peers) == (when == "data")


def test_selective_takes_either(gateway, realm, alice, echo):
    """Level 3; what the gateway sends is enciphered (the client checks)."""
    g = gateway(configuration(realm))
    with Client(g.at, alice, 3) as c:
        c.raw_send(c.wrap(socks5.request(echo.host, echo.port), conf=False))
        assert c.reply()[0] == socks5.OK
        for conf in (True, False, False, True):
            c.raw_send(c.wrap(b"hello", conf=conf))
            assert c.read(5) == b"hello"


# --- level 0 ---

@pytest.mark.parametrize("nec", [False, True])
def test_clear_is_not_allowed_by_itself(gateway, realm, alice, echo, nec):
    """Asked for 0, the gateway answers 1, and what comes in clear ends the connection."""
    g = gateway(configuration(realm, options="allow nec" if nec else ""))
    with Client(g.at, alice, 0, nec=nec) as c:
        c.raw_send(socks5.request(echo.host, echo.port))
        closed(g, c, "bad-framing")
    assert not echo.peers
    with Client(g.at, alice, 0, nec=nec) as c:
        assert c.level == 1
        works(c, echo)


@pytest.mark.parametrize("nec", [False, True])
def test_clear_where_it_is_allowed(gateway, realm, alice, echo, nec):
    """As curl does it; the request may come right behind the level."""
    g = gateway(configuration(realm, options="allow { clear, nec }" if nec else "allow clear"))
    with Client(g.at, alice, 0, nec=nec) as c:
        assert c.level == 0
        works(c, echo)
    r = g.record("session-close")
    assert (r["user"], r["method"]) == (b"alice", b"gssapi") and r.get("protection", b"clear") == b"clear"


def test_clear_where_a_rule_demands_more(gateway, realm, alice, echo):
    g = gateway(configuration(realm, SECRET + gss5.RULES, options="allow clear"))
    with Client(g.at, alice, 0) as c:
        assert c.level == 2
        works(c, echo)


# --- NEC's way: the level in one bare octet ---

@pytest.mark.parametrize("level", [1, 2, 3])
def test_nec(gateway, realm, alice, echo, level):
    g = gateway(configuration(realm, options="allow nec"))
    for nec in (True, False):  # those who wrap it are still understood
        with Client(g.at, alice, level, nec=nec) as c:
            assert c.level == level
            works(c, echo)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_nec_is_not_allowed_by_itself(gateway, realm, alice, level):
    g = gateway(configuration(realm, options="allow clear"))
    assert gss5.refused(g.at, alice, level=level, nec=True)
    assert g.record("auth-failed")["method"] == b"gssapi"


# --- what is no level ---

@pytest.mark.parametrize("octets", [b"\4", b"\x7f", b"\xff", b"", b"\1\1", b"\2" * 100], ids=repr)
@pytest.mark.parametrize("options", ["", "allow { clear, nec }"])
def test_no_level(gateway, realm, alice, octets, options):
    g = gateway(configuration(realm, options=options))
    with Client(g.at, alice, upto="context") as c:
        c.raw_send(gss5.frame(gss5.LEVEL, c.ctx.wrap(octets, False).message))
        assert c.raw_rest() == b"\1\xff"
    assert g.record("auth-failed", reason="wrong-level")


def changed(token, at=-1):
    token = bytearray(token)
    token[at] ^= 1
    return bytes(token)


LEVEL_FAULTS = {
    "changed": lambda c: [gss5.frame(gss5.LEVEL, changed(c.ctx.wrap(b"\1", False).message))],
    "cut": lambda c: [gss5.frame(gss5.LEVEL, c.ctx.wrap(b"\1", False).message[:-1])],
    "empty": lambda c: [gss5.frame(gss5.LEVEL, b"")],
    "long": lambda c: [gss5.frame(gss5.LEVEL, bytes(65535))],
    "in data's place": lambda c: [gss5.frame(gss5.DATA, c.ctx.wrap(b"\1", False).message)],
    "another context token": lambda c: [gss5.frame(gss5.CONTEXT, c.sent[0])],
    "skipped one": lambda c: [c.ctx.wrap(b"\1", False) and gss5.frame(gss5.LEVEL, c.ctx.wrap(b"\1", False).message)],
    "in clear": lambda c: [b"\1"],
    "a request": lambda c: [socks5.request("127.0.0.1", 9)],
}


@pytest.mark.parametrize("what", LEVEL_FAULTS)
def test_faults_of_the_level(gateway, realm, alice, what):
    g = gateway(configuration(realm, options="allow nec"), args=["-v"])
    with Client(g.at, alice, upto="context") as c:
        for octets in LEVEL_FAULTS[what](c):
            c.raw_send(octets)
        if what == "in clear":
            c.half_close()
        got = c.raw_rest()
        assert got in (b"\1\xff", b"") and (got or what in ("in clear", "a request", "in data's place")), got
    assert not g.records("auth-ok") and not g.records("session-open")


def test_the_level_is_agreed_once(gateway, realm, alice, echo):
    g = gateway(configuration(realm))
    with Client(g.at, alice, 2) as c:
        c.raw_send(gss5.frame(gss5.LEVEL, c.ctx.wrap(b"\1", False).message))
        closed(g, c, "bad-framing")


# --- a criterion of the rules ---

@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_protection_is_a_criterion(gateway, realm, alice, serve, level):
    """1, 2 and 3 meet integrity; 0 does not. Of confidentiality see the test of the reload."""
    g = gateway(configuration(realm, "pass connect from any to 127.0.0.2 auth gssapi protection integrity\n"
                              "pass connect from any to 127.0.0.1 auth gssapi\n", options="allow clear"))
    for host, met in (("127.0.0.2", level > 0), ("127.0.0.1", True)):
        echo = serve(peers.Echo, host)
        with Client(g.at, alice, level) as c:
            assert c.level == level
            assert c.connect(echo.host, echo.port)[0] == (socks5.OK if met else socks5.NOT_ALLOWED)
    if level:
        assert g.record("session-open")["protection"] == NAMES[level]


def test_a_reload_may_demand_more_than_was_agreed(gateway, realm, alice, echo):
    """The rule that demands it comes after the level was agreed: it is not met, and nothing weaker goes on."""
    g = gateway(configuration(realm, "pass connect from any to 127.0.0.1 auth gssapi\n"), workers=1)
    with Client(g.at, alice, 1) as weak, Client(g.at, alice, 2) as strong, Client(g.at, alice, 3) as either:
        assert (weak.level, strong.level, either.level) == (1, 2, 3)
        g.reload(configuration(realm, "pass connect from any to 127.0.0.2 auth none\n"
                               "pass connect from any to 127.0.0.1 auth gssapi protection confidentiality\n"))
        peers.wait_for(lambda: methodless(g), why="the worker has the old rules")
        assert weak.connect(echo.host, echo.port)[0] == socks5.NOT_ALLOWED
        assert strong.connect(echo.host, echo.port)[0] == socks5.OK
        assert either.connect(echo.host, echo.port)[0] == socks5.NOT_ALLOWED


def methodless(g):
    with socks5.Client(g.at) as c:
        return c.greet(0) == 0
