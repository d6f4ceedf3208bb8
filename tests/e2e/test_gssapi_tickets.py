"""Tickets and keytabs of GSSAPI's server side: replays, ends of tickets, clocks, services, and a keytab that is replaced."""
import os
import shutil
import signal
import time

import pytest

import gss5
import peers
import sally
import socks5
from gss5 import Client, configuration, frame


SKEW = 2  # s that clocks may differ by, where `lenient` says so: MIT's tickets last so much longer


@pytest.fixture
def alice(realm):
    return realm.kinit().fetch()


@pytest.fixture
def lenient(realm):
    """A krb5.conf of the gateway's for which clocks may differ by SKEW only."""
    path = f"{realm.dir}/skew.conf"
    with open(realm.config) as f:
        text = f.read()
    with open(path, "w") as f:
        f.write(text.replace("[libdefaults]\n", f"[libdefaults]\n\tclockskew = {SKEW}\n"))
    yield path
    os.unlink(path)


def works(g, credentials, echo, level=2, **how):
    with Client(g.at, credentials, level, **how) as c:
        assert c.connect(echo.host, echo.port)[0] == socks5.OK
        c.send(b"hello")
        assert c.read(5) == b"hello"


# --- replays ---

def replay(g, token):
    """What answers a context token that another connection has used."""
    with Client(g.at, upto="method") as c:
        c.raw_send(frame(gss5.CONTEXT, token))
        return c.raw_rest()


def refused_as_replay(g, token, times=1):
    assert replay(g, token) == b"\1\xff"
    peers.wait_for(lambda: len(g.records("auth-failed", reason="gssapi-replay")) == times, why=g.story)


@pytest.mark.parametrize("mech", [gss5.KRB5, gss5.SPNEGO], ids=["krb5", "SPNEGO"])
def test_a_replayed_token_is_refused(gateway, realm, alice, echo, mech):
    g = gateway(configuration(realm))
    with Client(g.at, alice, 2, mech=mech) as c:
        token = c.sent[0]
        refused_as_replay(g, token)
    refused_as_replay(g, token, 2)
    works(g, alice, echo)  # the same ticket with a token of its own


def test_a_replay_of_a_context_that_was_not_finished(gateway, realm, alice):
    g = gateway(configuration(realm))
    with Client(g.at, alice, upto="context") as c:
        token = c.sent[0]
    refused_as_replay(g, token)


def test_replays_after_authd_was_replaced(gateway, realm, alice, echo):
    g = gateway(configuration(realm), expect_lost=1)
    with Client(g.at, alice) as c:
        token = c.sent[0]
    os.kill(g.children("authd")[0], signal.SIGKILL)
    g.record("child-lost")
    peers.wait_for(lambda: not gss5.refused(g.at, alice), 15, g.story)
    refused_as_replay(g, token)
    works(g, alice, echo)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_replays_after_a_restart_of_the_gateway(gateway, realm, alice, echo, how):
    g = gateway(configuration(realm))
    with Client(g.at, alice) as c:
        token = c.sent[0]
    assert g.stop() == 0 if how == "stop" else g.kill() is None
    g.start()
    refused_as_replay(g, token)
    works(g, alice, echo)


def test_replays_after_a_reload(gateway, realm, alice, echo):
    g = gateway(configuration(realm))
    with Client(g.at, alice) as c:
        token = c.sent[0]
    assert g.reload()["event"] == b"reload"
    refused_as_replay(g, token)
    works(g, alice, echo)


# --- clocks, ends, services ---

@pytest.mark.parametrize("seconds", [600, -600])
def test_a_clock_that_is_wrong(gateway, realm, alice, seconds):
    g = gateway(configuration(realm))
    alice.pretend(begin=-3600).shift_clock(seconds)
    assert gss5.refused(g.at, alice)
    assert g.record("auth-failed")["reason"] == b"clock-skew"


@pytest.mark.parametrize("seconds", [200, -200])
def test_a_clock_that_is_a_little_wrong(gateway, realm, alice, echo, seconds):
    g = gateway(configuration(realm))
    works(g, alice.pretend(begin=-3600).shift_clock(seconds), echo)


def test_an_expired_ticket(gateway, realm, lenient, echo):
    """The client pretends that it lasts; the KDC has sealed its end in it."""
    g = gateway(configuration(realm, config=lenient))
    c = realm.kinit(lifetime="3s").fetch()
    works(g, c, echo)
    ends = c.ends()
    c.pretend(end=3600)
    time.sleep(ends + SKEW + 1.1 - time.time())  # time(2) is a tick behind
    assert gss5.refused(g.at, c)
    assert g.record("auth-failed")["reason"] == b"ticket-expired"
    works(g, realm.kinit().fetch(), echo)


def test_a_ticket_for_a_service_that_is_not_served(gateway, realm, alice, echo):
    """`service`: the keytab has keys of more than may be asked for."""
    g = gateway(configuration(realm, options="service socks"))
    alice.fetch("host/gateway.test")
    assert gss5.refused(g.at, alice, service="host@gateway.test")
    assert g.record("auth-failed")["reason"] == b"wrong-service"
    works(g, alice, echo)
    works(g, alice, echo, service="socks@localhost")


def test_any_service_of_the_keytab(gateway, realm, alice, echo):
    g = gateway(configuration(realm))
    for service in ("host@gateway.test", "socks@gateway.test", "socks@localhost"):
        works(g, alice, echo, service=service)


def test_several_services(gateway, realm, alice, echo):
    g = gateway(configuration(realm, options="service { rcmd, host }"))
    works(g, alice, echo, service="host@gateway.test")
    assert gss5.refused(g.at, alice)


def test_a_service_that_the_keytab_has_not(gateway, realm, alice):
    keytab = realm.make_keytab("host.keytab", "host/gateway.test")
    g = gateway(configuration(realm, keytab=keytab))
    assert gss5.refused(g.at, alice)
    assert g.record("auth-failed")["reason"] in (b"wrong-service", b"gssapi-refused")
    os.unlink(keytab)


@pytest.mark.parametrize("level", [0, 2])
@pytest.mark.parametrize("allowed", [False, True])
def test_the_end_of_a_ticket_ends_the_session(gateway, realm, lenient, echo, allowed, level):
    """At level 0 too, and nowhere with `allow expired`. Another session with a longer ticket goes on."""
    options = "allow { clear, expired }" if allowed else "allow clear"
    g = gateway(configuration(realm, options=options, config=lenient))
    short = realm.kinit(lifetime="4s").fetch()
    with Client(g.at, short, level) as c, Client(g.at, realm.kinit().fetch(), level) as long:
        ends = short.ends()
        for one in (c, long):
            assert one.level == level
            assert one.connect(echo.host, echo.port)[0] == socks5.OK
        while time.time() < ends + SKEW + 2:
            try:
                c.send(b"still here")
                assert c.read(10) == b"still here"
            except (gss5.gssapi.exceptions.GSSError, socks5.Closed, ConnectionError, BrokenPipeError):
                break
            time.sleep(0.1)
        else:
            assert allowed, "it went on"
        if not allowed:
            assert time.time() > ends - 1
            r = g.record("session-close")
            assert (r["reason"], r["user"]) == (b"ticket-expired", b"alice")
        long.send(b"hello")
        assert long.read(5) == b"hello"
        assert len(g.records("session-close")) == (0 if allowed else 1)


def test_the_end_of_a_ticket_ends_an_association(gateway, realm, lenient, serve):
    g = gateway(configuration(realm, config=lenient))
    echo = serve(peers.UdpEcho)
    with gss5.Association(g.at, realm.kinit(lifetime="3s").fetch(), 1) as a:
        a.send(echo.host, echo.port, b"hello")
        assert a.receive()[3] == b"hello"
        assert a.tcp.raw_ended()
    assert g.record("session-close")["reason"] == b"ticket-expired"


# --- another keytab ---

class Own:
    """A keytab that may change, and a service that its tests may give new keys."""

    def __init__(self, realm, service):
        self.realm, self.principal, self.service = realm, f"{service}/gateway.test", f"{service}@gateway.test"
        realm.kadmin(f"addprinc -randkey {self.principal}")
        self.path = realm.make_keytab(f"{service}.keytab", self.principal)

    def rekey(self, keep):
        """New keys in the KDC; a keytab that has them, and the old ones if `keep`."""
        new = f"{self.path}.new"
        if keep:
            shutil.copy(self.path, new)
        assert "randomized" in self.realm.kadmin(f"cpw -randkey {self.principal}")
        self.realm.kadmin(f"ktadd -norandkey -k {new} {self.principal}")
        return new

    def put(self, new):
        os.rename(new, self.path)


@pytest.mark.parametrize("keep", [True, False])
def test_a_reload_brings_a_new_keytab(gateway, realm, echo, keep):
    own = Own(realm, "keep" if keep else "drop")
    g = gateway(configuration(realm, keytab=own.path))
    before = realm.kinit().fetch(own.principal)
    old_session = Client(g.at, before, 2, service=own.service)
    assert old_session.connect(echo.host, echo.port)[0] == socks5.OK
    under_way = Client(g.at, before, upto="context", service=own.service)
    new = own.rekey(keep)
    after = realm.kinit().fetch(own.principal)
    assert gss5.refused(g.at, after, service=own.service)  # the gateway has not the keys
    own.put(new)
    assert g.reload()["event"] == b"reload"
    peers.wait_for(lambda: not gss5.refused(g.at, after, service=own.service), 10, g.story)
    assert under_way.agree(2) == 2  # an exchange that began with the old one
    assert under_way.connect(echo.host, echo.port)[0] == socks5.OK
    old_session.send(b"hello")
    assert old_session.read(5) == b"hello"
    assert gss5.refused(g.at, before, service=own.service) == (not keep)
    for c in (old_session, under_way):
        c.close()


@pytest.mark.parametrize("bad", [b"", b"\5\2", b"no keytab", b"\5\2\0\0\0\x40short"], ids=repr)
def test_a_bad_keytab_leaves_the_old_one_in_force(gateway, realm, echo, bad):
    own = Own(realm, "bad%d" % len(bad))
    g = gateway(configuration(realm, keytab=own.path))
    credentials = realm.kinit().fetch(own.principal)
    with open(f"{own.path}.new", "wb") as f:
        f.write(bad)
    own.put(f"{own.path}.new")
    g.reload()
    works(g, credentials, echo, service=own.service)


def test_a_second_gateway_leaves_the_first_ones_acceptor_alone(gateway, realm, alice, echo):
    """It says that the run directory is taken, and has touched nothing in it."""
    first = gateway(configuration(realm), expect_lost=1)
    here = f"{first.run}/acceptor"
    def state():
        return {name: (os.stat(f"{here}/{name}").st_ino, open(f"{here}/{name}", "rb").read()) for name in os.listdir(here)}
    before = state()
    assert set(before) == {"krb5.conf", "rcache"}
    second = gateway(f'listen on 127.0.0.1 port {peers.free_port()}\nrun directory "{first.run}"\n'
                     f'auth gssapi keytab "{realm.keytab}"\n' + sally.OPEN, whole=True, ready=False)
    status, err = second.fails_to_start()
    assert status == 1 and "run directory" in err, err
    assert state() == before
    os.kill(first.children("authd")[0], signal.SIGKILL)  # the next one finds its directory, too
    first.record("child-lost")
    with Client(first.at, alice, 2) as c:
        assert c.connect(echo.host, echo.port)[0] == socks5.OK
