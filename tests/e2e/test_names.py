"""Names: the resolver never blocks another session, answers are kept for their TTL, /etc/hosts counts, and
A and AAAA are tried as RFC 8305 says. This file has port 53 and /etc/hosts of its own."""
import os
import subprocess
import tempfile
import time

import pytest

import peers
import sally
import socks5

ALL = "pass connect from any to { any, 127.0.0.0/8, ::1 } auth none\n"


@pytest.fixture(scope="module", autouse=True)
def hosts():
    """/etc/hosts and /etc/resolv.conf of this file's own mount namespace; yields the hosts file."""
    with tempfile.TemporaryDirectory(prefix="sp.", dir="/tmp") as tmp:
        for name, text in (("hosts", "127.0.0.1 localhost\n::1 localhost6\n127.0.0.5 Printer.Example printer\n"),
                           ("resolv.conf", "nameserver 127.0.0.1\nsearch wrong.example\n")):
            with open(f"{tmp}/{name}", "w") as f:
                f.write(text)
            target = os.path.realpath(f"/etc/{name}")
            subprocess.run(["mount", "--bind", f"{tmp}/{name}", target], check=True)
        yield f"{tmp}/hosts"
        for name in ("hosts", "resolv.conf"):
            subprocess.run(["umount", os.path.realpath(f"/etc/{name}")], check=True)


def ask(g, name, port, data=b"hello"):
    """(REP, seconds, the session's client) for a connect by name."""
    c = socks5.Client(g.at)
    assert c.greet(0) == 0
    began = time.monotonic()
    reply = c.connect(name, port)
    took = time.monotonic() - began
    if reply[0] == 0:
        c.send(data)
        assert c.read(len(data)) == data
    return reply[0], took, c


def test_a_name_is_resolved_and_recorded(gateway, serve, echo):
    dns = serve(peers.Dns, {"www.example.com": {"A": ["127.0.0.1"]}})
    g = gateway("resolver 127.0.0.1\n" + ALL)
    rep, _, c = ask(g, b"www.example.com", echo.port)
    assert rep == 0
    c.close()
    r = g.record("session-close")
    assert r["asked"] == b"www.example.com:%d" % echo.port
    assert r["target"] == b"127.0.0.1:%d" % echo.port
    assert {(n, k) for n, k, *_ in dns.asked} == {("www.example.com", "A"), ("www.example.com", "AAAA")}


def test_resolv_conf_is_the_default_and_its_search_list_is_not_used(gateway, serve, echo):
    dns = serve(peers.Dns, {"www.example.com": {"A": ["127.0.0.1"]}, "short.wrong.example": {"A": ["127.0.0.1"]}})
    g = gateway(ALL)
    assert ask(g, b"www.example.com", echo.port)[0] == 0
    assert ask(g, b"short", echo.port)[0] == socks5.HOST
    assert not [n for n, *_ in dns.asked if n.endswith("wrong.example")]


def test_case_and_trailing_dot_do_not_matter(gateway, serve, echo):
    serve(peers.Dns, {"www.example.com": {"A": ["127.0.0.1"]}})
    g = gateway("resolver 127.0.0.1\npass connect from any to www.Example.com auth none\n"
                "pass connect from any to 127.0.0.0/8 auth none\n")
    for name in (b"WWW.EXAMPLE.COM", b"www.example.com.", b"wWw.eXaMpLe.CoM."):
        assert ask(g, name, echo.port)[0] == 0


def test_hosts_file(gateway, serve, echo):
    dns = serve(peers.Dns, {})
    g = gateway("resolver 127.0.0.1\n" + ALL)
    for name in (b"localhost", b"LocalHost.", b"printer", b"printer.example", b"PRINTER.EXAMPLE."):
        five = serve(peers.Echo, "127.0.0.5") if name.lower().startswith(b"printer") else echo
        assert ask(g, name, five.port)[0] == 0, name
    assert not dns.asked
    assert peers.Echo("127.0.0.5")


def test_a_change_of_the_hosts_file_is_noticed(gateway, serve, echo, hosts):
    serve(peers.Dns, {})
    g = gateway("resolver 127.0.0.1\n" + ALL)
    assert ask(g, b"later.example", echo.port)[0] == socks5.HOST
    with open(hosts, "a") as f:
        f.write("127.0.0.1 later.example\n")
    peers.wait_for(lambda: ask(g, b"later.example", echo.port)[0] == 0, 15)


def test_ipv6_only_name(gateway, serve):
    serve(peers.Dns, {"six.example": {"AAAA": ["::1"]}})
    echo = serve(peers.Echo, "::1")
    g = gateway("resolver 127.0.0.1\n" + ALL)
    assert ask(g, b"six.example", echo.port)[0] == 0


def test_unknown_and_empty_names(gateway, serve):
    serve(peers.Dns, {"empty.example": {}, "broken.example": {"rcode": 2}})
    g = gateway("resolver 127.0.0.1\ntimeout { connect 5s }\n" + ALL)
    assert ask(g, b"nowhere.example", 80)[0] == socks5.HOST
    assert ask(g, b"empty.example", 80)[0] == socks5.HOST
    g.record("session-refused", reason="name-not-found", asked="nowhere.example:80")
    g.record("session-refused", reason="name-not-found", asked="empty.example:80")
    assert ask(g, b"broken.example", 80)[0] in (socks5.HOST, socks5.GENERAL)
    g.record("session-refused", reason="name-failed", asked="broken.example:80")


def test_a_slow_name_blocks_no_other_session(gateway, serve, echo):
    serve(peers.Dns, {"slow.example": {"A": ["127.0.0.1"], "delay": 4}, "fast.example": {"A": ["127.0.0.1"]},
                      "never.example": {"delay": None}})
    g = gateway("resolver 127.0.0.1\n" + ALL, workers=1)
    waiting = []
    for name in [b"slow.example", b"never.example"] * 20:
        c = socks5.Client(g.at)
        c.send(socks5.greeting(0) + socks5.request(name, echo.port))
        waiting.append(c)
    time.sleep(0.3)
    for host in (b"fast.example", "127.0.0.1"):
        rep, took, _ = ask(g, host, echo.port)
        assert rep == 0 and took < 1.5, (host, took)
    slow = waiting[0]
    assert slow.method() == 0 and slow.reply()[0] == 0


def test_answers_are_kept_for_their_ttl(gateway, serve, echo):
    dns = serve(peers.Dns, {"short.example": {"A": ["127.0.0.1"], "ttl": 2}})
    g = gateway("resolver 127.0.0.1\n" + ALL, workers=1)

    def asked():
        return len([1 for n, k, *_ in dns.asked if k == "A"])

    for _ in range(5):
        assert ask(g, b"short.example", echo.port)[0] == 0
    assert asked() == 1
    time.sleep(2.5)
    assert ask(g, b"short.example", echo.port)[0] == 0
    assert asked() == 2


def test_negative_answers_are_kept_too(gateway, serve):
    dns = serve(peers.Dns, {}, negative_ttl=2)
    g = gateway("resolver 127.0.0.1\n" + ALL, workers=1)
    for _ in range(5):
        assert ask(g, b"nowhere.example", 80)[0] == socks5.HOST
    assert len([1 for n, k, *_ in dns.asked if k == "A"]) == 1
    time.sleep(2.5)
    ask(g, b"nowhere.example", 80)
    assert len([1 for n, k, *_ in dns.asked if k == "A"]) == 2


def test_equal_questions_under_way_are_asked_once(gateway, serve, echo):
    dns = serve(peers.Dns, {"slow.example": {"A": ["127.0.0.1"], "delay": 1}})
    g = gateway("resolver 127.0.0.1\n" + ALL, workers=1)
    clients = []
    for _ in range(20):
        c = socks5.Client(g.at)
        c.send(socks5.greeting(0) + socks5.request(b"slow.example", echo.port))
        clients.append(c)
    for c in clients:
        assert c.method() == 0 and c.reply()[0] == 0
    assert len(dns.asked) <= 4


def test_a_dead_ipv6_address_costs_a_quarter_of_a_second(gateway, serve, echo):
    subprocess.run(["ip", "link", "add", "dead0", "type", "veth", "peer", "name", "dead1"], check=True)
    try:
        subprocess.run(["ip", "addr", "add", "2001:db8:77::1/64", "dev", "dead0", "nodad"], check=True)
        subprocess.run(["ip", "link", "set", "dead0", "up"], check=True)
        subprocess.run(["ip", "link", "set", "dead1", "up"], check=True)
        serve(peers.Dns, {"both.example": {"A": ["127.0.0.1"], "AAAA": ["2001:db8:77::dead"]}})
        g = gateway("resolver 127.0.0.1\npass connect from any to { any, 127.0.0.0/8 } auth none\n")
        rep, took, c = ask(g, b"both.example", echo.port)
        assert rep == 0
        assert took < 1.5, took
        c.close()
        assert g.record("session-close")["target"] == b"127.0.0.1:%d" % echo.port
    finally:
        subprocess.run(["ip", "link", "del", "dead0"])


def test_a_slow_aaaa_answer_does_not_hold_up_a_ready_a(gateway, serve, echo):
    """RFC 8305 section 3: 50 ms for the AAAA answer, then on with A."""
    serve(peers.Dns, {"half.example": {"A": ["127.0.0.1"], "AAAA": ["::1"], "delay_AAAA": 3}})
    g = gateway("resolver 127.0.0.1\n" + ALL)
    rep, took, _ = ask(g, b"half.example", echo.port)
    assert rep == 0 and took < 1.5, took


def test_refused_addresses_are_passed_over(gateway, serve, echo):
    serve(peers.Dns, {"many.example": {"A": ["127.0.0.11", "127.0.0.12", "127.0.0.1"], "AAAA": ["::1"]}})
    g = gateway("resolver 127.0.0.1\n" + ALL)
    assert ask(g, b"many.example", echo.port)[0] == 0


def test_one_deadline_for_all_addresses(gateway, serve):
    full = [serve(peers.Full, f"127.0.0.{n}") for n in (21,)]
    zone = {"stuck.example": {"A": ["127.0.0.21"] + [f"127.0.0.{n}" for n in (22, 23, 24)]}}
    serve(peers.Dns, zone)
    g = gateway("resolver 127.0.0.1\ntimeout { connect 3s }\n" + ALL)
    rep, took, _ = ask(g, b"stuck.example", full[0].port)
    assert rep in (socks5.TTL, socks5.REFUSED)
    assert took < 5


def test_rules_hold_for_the_very_address(gateway, serve, echo):
    """An outsider's name that points inside (DNS rebinding) does not get in."""
    serve(peers.Dns, {"evil.example": {"A": ["127.0.0.1"]}, "mixed.example": {"A": ["127.0.0.2", "127.0.0.1"]}})
    other = serve(peers.Echo, "127.0.0.1")
    g = gateway("resolver 127.0.0.1\npass connect from any to any auth none\n")
    assert ask(g, b"evil.example", other.port)[0] == socks5.NOT_ALLOWED
    h = gateway("resolver 127.0.0.1\nblock from any to 127.0.0.2\n" + ALL)
    rep, _, c = ask(h, b"mixed.example", other.port)
    assert rep == 0
    c.close()
    assert h.record("session-close")["target"] == b"127.0.0.1:%d" % other.port


def test_a_name_that_no_rule_could_pass_is_not_looked_up(gateway, serve):
    dns = serve(peers.Dns, {"www.example.com": {"A": ["127.0.0.1"]}})
    g = gateway("resolver 127.0.0.1\npass connect from any to .example.org auth none\n")
    assert ask(g, b"www.example.com", 80)[0] == socks5.NOT_ALLOWED
    time.sleep(0.3)
    assert not dns.asked


def test_query_ids_and_ports_differ_between_two_starts(gateway, serve):
    """c-ares takes its ids from rand(), which is unseeded in a sandbox without files."""
    seen = []
    for _ in range(2):
        dns = peers.Dns({})
        dns.start()
        g = gateway("resolver 127.0.0.1\n" + ALL, workers=1)
        for n in range(10):
            ask(g, b"n%d.example" % n, 80)
        g.stop()
        dns.stop()
        seen.append([(i, p) for _, _, p, i in dns.asked])
        time.sleep(0.1)
    first, second = seen
    assert [i for i, _ in first] != [i for i, _ in second]
    assert len({i for i, _ in first + second}) > 30
    assert len({p for _, p in first}) > 1


def test_a_large_answer_comes_over_tcp(gateway, serve, echo):
    serve(peers.Dns, {"large.example": {"A": [f"127.1.0.{n}" for n in range(1, 101)] + ["127.0.0.1"]}})
    g = gateway("resolver 127.0.0.1\ntimeout { connect 10s }\n" + ALL)
    rep, _, _ = ask(g, b"large.example", echo.port)
    assert rep in (0, socks5.REFUSED)  # 32 addresses are tried; what matters is that it was resolved
    assert not g.records(reason="name-failed")


def test_with_a_real_name_server(gateway, serve, echo):
    serve(peers.Dnsmasq, ["address=/real.example/127.0.0.1", "host-record=six.example,::1"])
    g = gateway("resolver 127.0.0.1\n" + ALL)
    assert ask(g, b"real.example", echo.port)[0] == 0
    assert ask(g, b"missing.example", echo.port)[0] == socks5.HOST
    six = serve(peers.Echo, "::1")
    assert ask(g, b"six.example", six.port)[0] == 0


def test_a_killed_resolver_is_replaced_and_questions_asked_again(gateway, serve, echo):
    serve(peers.Dns, {"slow.example": {"A": ["127.0.0.1"], "delay": 2}})
    g = gateway("resolver 127.0.0.1\n" + ALL, expect_lost=1)
    c = socks5.Client(g.at)
    c.send(socks5.greeting(0) + socks5.request(b"slow.example", echo.port))
    time.sleep(0.5)
    os.kill(g.children("resolver")[0], 9)
    assert c.method() == 0 and c.reply()[0] == 0
    assert g.record("child-lost")["process"] == b"resolver"
