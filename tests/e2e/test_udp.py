"""UDP ASSOCIATE (RFC 1928 sections 4 and 7): who is heard, where it goes, what comes back, limits, ends, counts."""
import os
import signal
import socket
import threading
import time

import pytest

import peers
import socks5
from udp5 import Association, closing, datagram, drops

OPEN, CLOSE, TARGET, REFUSED = "session-open", "session-close", "session-target", "target-refused"
PASS = "pass udp from any to { any, 127.0.0.0/8, ::1 } auth none\n"


@pytest.fixture
def echo(serve):
    return serve(peers.UdpEcho)


@pytest.fixture
def echo6(serve):
    return serve(peers.UdpEcho, "::1")


def test_targets_of_every_kind_in_one_association(gateway, serve, echo, echo6):
    serve(peers.Dns, {"four.example": {"A": ["127.0.0.1"]}, "six.example": {"AAAA": ["::1"]}})
    g = gateway("resolver 127.0.0.1\n" + PASS)
    a = Association(g.at)
    assert a.reply[:2] == (socks5.OK, "127.0.0.1") and a.reply[2] != 0
    for host, e in (("127.0.0.1", echo), ("::1", echo6), (b"four.example", echo), (b"six.example", echo6),
                    (b"127.0.0.1", echo), ("::ffff:127.0.0.1", echo)):
        assert a.ask(host, e.port, b"to %r" % (host,)) == (e.host, e.port, b"to %r" % (host,)), host
    r = closing(g, a)
    assert (r["datagrams-up"], r["datagrams-down"], r["up"] == r["down"]) == (b"6", b"6", True)
    assert r["reason"] == b"client-closed" and "drops" not in r and r["command"] == b"udp"
    assert r["target"] == b"127.0.0.1:%d" % echo.port  # of the first
    told = [(t["asked"], t["target"]) for t in g.records(TARGET)]
    v4, v6 = b"127.0.0.1:%d" % echo.port, b"[::1]:%d" % echo6.port
    assert told == [(v4, v4), (v6, v6), (b"four.example:%d" % echo.port, v4), (b"six.example:%d" % echo6.port, v6)], told
    assert len(g.records(OPEN)) == 1 and not g.records(REFUSED)


@pytest.mark.parametrize("declared", [("0.0.0.0", 0), ("192.0.2.77", 4444), (b"0.0.0.0", 0), (b"what.example", 99), ("::", 0)])
def test_what_the_client_declares_may_be_wrong(gateway, echo, declared):
    g = gateway(PASS)
    a = Association(g.at, declared)
    assert a.ask("127.0.0.1", echo.port, b"x") == ("127.0.0.1", echo.port, b"x")
    a.close()


def test_over_ipv6(gateway, echo, echo6):
    g = gateway(PASS)
    a = Association(g.at6, ("::", 0))
    assert a.reply[:2] == (socks5.OK, "::1")
    assert a.ask("127.0.0.1", echo.port, b"x")[:2] == ("127.0.0.1", echo.port)
    assert a.ask("::1", echo6.port, b"x")[:2] == ("::1", echo6.port)
    a.close()


def test_the_port_is_learnt_and_then_fixed(gateway, echo):
    g = gateway(PASS)
    a = Association(g.at)
    late = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    late.sendto(b"no datagram of RFC 1928", a.relay)  # a bad one teaches nothing
    assert a.ask("127.0.0.1", echo.port, b"1")[2] == b"1"
    late.sendto(datagram("127.0.0.1", echo.port, b"2"), a.relay)  # another port
    late.close()
    assert a.ask("127.0.0.1", echo.port, b"3")[2] == b"3"
    assert drops(closing(g, a)) == {"header": 1, "source": 1}
    assert [o for o, _ in echo.seen] == [b"1", b"3"]


def test_a_declared_port_is_fixed_at_once(gateway, echo):
    g = gateway(PASS)
    a = Association(g.at, declare_own=True)
    early = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    early.sendto(datagram("127.0.0.1", echo.port, b"2"), a.relay)
    early.close()
    assert a.ask("127.0.0.1", echo.port, b"3")[2] == b"3"
    assert drops(closing(g, a)) == {"source": 1}


def test_strangers_are_not_heard(gateway, echo):
    g = gateway(PASS)
    a = Association(g.at)
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stranger.bind(("127.0.0.2", 0))
    for _ in range(5):
        stranger.sendto(datagram("127.0.0.1", echo.port, b"mine"), a.relay)
    assert a.ask("127.0.0.1", echo.port, b"x")[2] == b"x"
    assert drops(closing(g, a)) == {"source": 5}
    assert [o for o, _ in echo.seen] == [b"x"]
    stranger.close()


@pytest.mark.parametrize("octets", [b"", b"\0", b"\0\0\0\1\1\2\3\4\0", b"\0\1\0\1\x7f\0\0\1\0\x09x", b"\0\0\0\2\x7f\0\0\1\0\x09x",
                                    b"\0\0\0\3\0\0\x09x", b"\0\0\0\3\xffshort\0\x09"])
def test_bad_datagrams(gateway, echo, octets):
    g = gateway(PASS)
    a = Association(g.at)
    a.raw(octets)
    assert a.ask("127.0.0.1", echo.port, b"x")[2] == b"x"
    assert drops(closing(g, a)) == {"header": 1}


def test_replies_only_from_where_the_client_has_sent_to(gateway, serve):
    for how, heard in (("connected", False), ("any", True)):
        g = gateway(f"udp replies {how}\n" + PASS)
        target, other = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        target.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        a = Association(g.at)
        a.send("127.0.0.1", target.getsockname()[1], b"x")
        target.settimeout(5)
        _, outgoing = target.recvfrom(10)
        other.sendto(b"surprise", outgoing)
        if heard:
            assert a.recv() == ("127.0.0.1", other.getsockname()[1], b"surprise")
        target.sendto(b"expected", outgoing)
        assert a.recv() == ("127.0.0.1", target.getsockname()[1], b"expected")
        assert drops(closing(g, a)) == ({} if heard else {"reply": 1})
        target.close()
        other.close()


def test_a_refused_target_is_told_once(gateway, echo):
    g = gateway("block udp from any to 127.0.0.9\nblock udp from any to bad.example\n" + PASS)
    a = Association(g.at)
    for _ in range(4):
        a.send("127.0.0.9", 53, b"x")
        a.send(b"bad.example", 53, b"x")
        a.send("169.254.1.1", 53, b"x")  # special: no rule names it
    assert a.ask("127.0.0.1", echo.port, b"x")[2] == b"x"
    assert drops(closing(g, a)) == {"rules": 12}
    told = {(r["asked"], r.get("target"), r["rule"].rpartition(b":")[2]) for r in g.records(REFUSED)}
    line = len(g.head.splitlines())
    assert told == {(b"127.0.0.9:53", b"127.0.0.9:53", b"%d" % (line + 1)), (b"bad.example:53", None, b"%d" % (line + 2)),
                    (b"169.254.1.1:53", b"169.254.1.1:53", b"default")}, told
    assert len(g.records(REFUSED)) == 3


def test_a_name_whose_addresses_are_refused(gateway, serve, echo):
    serve(peers.Dns, {"in.example": {"A": ["127.0.0.9"]}, "half.example": {"A": ["127.0.0.9", "127.0.0.1"]}})
    g = gateway("resolver 127.0.0.1\nblock udp from any to 127.0.0.9\n" + PASS)
    a = Association(g.at)
    a.send(b"in.example", echo.port, b"x")
    a.send(b"in.example", echo.port, b"x")
    assert a.ask(b"half.example", echo.port, b"y")[2] == b"y"
    assert drops(closing(g, a)) == {"rules": 2}
    r, = g.records(REFUSED)
    assert (r["asked"], r["target"]) == (b"in.example:%d" % echo.port, b"127.0.0.9:%d" % echo.port)


def test_no_rule_for_udp(gateway):
    g = gateway("pass connect from any to any auth none\n")
    a = Association(g.at)
    assert a.reply[0] == socks5.NOT_ALLOWED
    assert g.record("session-refused")["reason"] == b"blocked"
    a.close()


def test_names_do_not_hold_up_others_nor_change_order(gateway, serve, echo):
    serve(peers.Dns, {"slow.example": {"A": ["127.0.0.1"], "delay": 1}, "never.example": {"delay": None}})
    g = gateway("resolver 127.0.0.1\ntimeout { connect 3s }\n" + PASS)
    a = Association(g.at)
    for i in range(20):
        a.send(b"slow.example", echo.port, b"slow %d" % i)
        a.send(b"never.example", echo.port, b"never")
    began = time.monotonic()
    assert a.ask("127.0.0.1", echo.port, b"fast")[2] == b"fast"
    assert time.monotonic() - began < 0.8
    assert [a.recv()[2] for _ in range(20)] == [b"slow %d" % i for i in range(20)]
    time.sleep(3.5)
    assert drops(closing(g, a)) == {"name": 20}


def test_what_waits_for_a_name_is_bounded(gateway, serve, echo):
    serve(peers.Dns, {"never.example": {"delay": None}})
    g = gateway("resolver 127.0.0.1\n" + PASS)
    a = Association(g.at)
    for _ in range(20):
        a.send(b"never.example", echo.port, bytes(30000))
        time.sleep(0.005)
    assert a.ask("127.0.0.1", echo.port, b"x")[2] == b"x"
    d = drops(closing(g, a))
    assert d["name"] == 8 and d["queue"] == 12, d


def test_names_that_do_not_exist(gateway, serve, echo):
    serve(peers.Dns, {})
    g = gateway("resolver 127.0.0.1\nlimit targets per association 3\n" + PASS)
    a = Association(g.at)
    for i in range(10):  # they take no target's place
        a.send(b"no%d.example" % i, 53, b"x")
        time.sleep(0.05)
    a.send(b"a..b", 53, b"x")
    a.send(b"0x7f.1", 53, b"x")
    assert a.ask("127.0.0.1", echo.port, b"x")[2] == b"x"
    assert drops(closing(g, a)) == {"name": 12}
    assert not g.records(REFUSED)


def test_limit_of_targets(gateway, echo):
    g = gateway("limit targets per association 3\n" + PASS)
    a = Association(g.at)
    assert a.ask("127.0.0.1", echo.port, b"x")[2] == b"x"
    for port in range(20001, 20006):
        a.send("127.0.0.1", port, b"x")
    assert a.ask("127.0.0.1", echo.port, b"x")[2] == b"x"
    r = closing(g, a)
    assert drops(r) == {"targets": 3} and len(g.records(TARGET)) == 3


def test_limit_of_associations(gateway, echo):
    g = gateway("limit associations 2\n" + PASS)
    held = [Association(g.at) for _ in range(2)]
    third = Association(g.at)
    assert third.reply[0] != socks5.OK
    assert g.record("session-refused")["reason"] == b"limit-associations"
    closing(g, held.pop())
    fourth = Association(g.at)
    assert fourth.ask("127.0.0.1", echo.port, b"x")[2] == b"x"
    for a in (third, fourth, *held):
        a.close()


def test_udp_ports_and_advertise(gateway, echo):
    g = gateway("udp ports 42000-42001\nudp advertise 198.51.100.1, 2001:db8::1\n" + PASS)
    pair = [Association(g.at) for _ in range(2)]
    assert sorted(a.reply[2] for a in pair) == [42000, 42001]
    assert {a.reply[1] for a in pair} == {"198.51.100.1"}
    third = Association(g.at)
    assert third.reply[0] == socks5.GENERAL
    assert g.record("session-refused")["reason"] == b"no-udp-port"
    six = Association(g.at6, ("::", 0))
    assert six.reply[1] == "2001:db8::1"
    a = pair[0]
    a.relay = ("127.0.0.1", a.reply[2])
    assert a.ask("127.0.0.1", echo.port, b"x")[2] == b"x"
    for a in (*pair, third, six):
        a.close()


def test_egress(gateway, echo, echo6):
    g = gateway("egress from 127.0.0.7\n" + PASS)
    a = Association(g.at)
    assert a.ask("127.0.0.1", echo.port, b"x")[2] == b"x"
    assert echo.seen[0][1][0] == "127.0.0.7"
    a.send("::1", echo6.port, b"x")  # no egress of that family
    assert a.ask("127.0.0.1", echo.port, b"x")[2] == b"x"
    assert drops(closing(g, a)) == {"send": 1} and not echo6.seen


def test_sizes(gateway, echo, echo6):
    g = gateway(PASS)
    a = Association(g.at)
    a.u.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    for n in (0, 1, 512, 1472, 9000, 65000, 65497):  # with its header of 10 it is 65507 long
        data = os.urandom(n)
        assert a.ask("127.0.0.1", echo.port, data) == ("127.0.0.1", echo.port, data), n
    assert drops(closing(g, a)) == {}
    # a reply that does not fit with its header
    big = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    big.bind(("127.0.0.1", 0))
    a = Association(g.at)
    a.send("127.0.0.1", big.getsockname()[1], b"x")
    _, outgoing = big.recvfrom(10)
    for n in (65498, 65507, 65497):
        big.sendto(bytes(n), outgoing)
    assert len(a.recv()[2]) == 65497
    assert drops(closing(g, a)) == {"size": 2}
    big.close()


UDP_SEGMENT = 103  # udp(7): one message that the kernel cuts into datagrams of this length; the last may be shorter


def test_runs_sent_as_one_message_are_datagrams_again(gateway, serve):
    """Client and target both send many datagrams at a time; what arrives is each of them, whole and in order."""
    g = gateway(PASS)
    a = Association(g.at)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target:
        target.bind(("127.0.0.1", 0))
        target.settimeout(5)
        for size, count in ((1, 60), (100, 40), (512, 64), (1400, 40)):
            data = [bytes([i]) * size for i in range(count)]
            data[-1] = data[-1][:max(1, size // 2)]
            run = [datagram("127.0.0.1", target.getsockname()[1], d) for d in data]
            a.u.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(run[0]))
            a.raw(b"".join(run))
            got = [target.recvfrom(65536) for _ in data]
            assert [d for d, _ in got] == data, size
            target.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)
            target.sendto(b"".join(data), got[0][1])
            assert [a.recv()[-1] for _ in data] == data, size
            target.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
        a.u.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
    r = closing(g, a)
    assert (r["datagrams-up"], r["datagrams-down"]) == (b"204", b"204") and "drops" not in r


def test_fragments(gateway, echo):
    g = gateway(PASS)
    a = Association(g.at)
    for i, part in ((1, b"one "), (2, b"two "), (0x83, b"three")):
        a.send("127.0.0.1", echo.port, part, i)
    assert a.recv()[2] == b"one two three"
    a.send("127.0.0.1", echo.port, b"begun ", 1)
    a.send("127.0.0.1", echo.port, b"not ", 3)  # a gap
    a.send("127.0.0.1", echo.port, b"whole", 0x84)
    assert a.ask("127.0.0.1", echo.port, b"x")[2] == b"x"
    assert [o for o, _ in echo.seen] == [b"one two three", b"x"]
    assert drops(closing(g, a)) == {"fragment": 3}


def test_the_same_header_again(gateway, serve, echo):
    """Each datagram is read for itself, however much its header is like the last one's."""
    other = serve(peers.UdpEcho)
    g = gateway(PASS)
    a = Association(g.at)
    for port in (echo.port, echo.port, other.port, other.port, echo.port, other.port, echo.port, echo.port):
        assert a.ask("127.0.0.1", port, b"x")[1:] == (port, b"x")
    assert a.ask("127.0.0.1", echo.port, b"")[2] == b""
    a.send("127.0.0.1", echo.port, b"begun ", 1)
    assert a.ask("127.0.0.1", echo.port, b"whole")[2] == b"whole"  # it ends the sequence
    a.send("127.0.0.1", echo.port, b"end", 0x82)
    a.raw(datagram("127.0.0.1", echo.port, b"")[:-1])
    a.raw(datagram("127.0.0.1", echo.port, b"y", rsv=1))
    assert a.ask("127.0.0.1", echo.port, b"z")[2] == b"z"
    assert [o for o, _ in echo.seen] == [b"x"] * 5 + [b"", b"whole", b"z"]
    assert drops(closing(g, a)) == {"fragment": 2, "header": 2}


def test_fragments_to_a_name(gateway, serve, echo):
    serve(peers.Dns, {"slow.example": {"A": ["127.0.0.1"], "delay": 0.3}})
    g = gateway("resolver 127.0.0.1\n" + PASS)
    a = Association(g.at)
    a.send(b"slow.example", echo.port, b"one ", 1)
    a.send(b"slow.example", echo.port, b"two", 0x82)
    a.send(b"slow.example", echo.port, b"next", 1)
    assert a.recv()[2] == b"one two"
    assert drops(closing(g, a)) == {"fragment": 1}


def test_fragments_off(gateway, echo):
    g = gateway("udp fragments off\n" + PASS)
    a = Association(g.at)
    a.send("127.0.0.1", echo.port, b"one", 1)
    a.send("127.0.0.1", echo.port, b"two", 0x82)
    assert a.ask("127.0.0.1", echo.port, b"x")[2] == b"x"
    assert drops(closing(g, a)) == {"fragment": 2}


def test_unreachable_targets_do_not_end_it(gateway, echo):
    g = gateway(PASS)
    a = Association(g.at)
    nobody = peers.free_port()
    for _ in range(3):
        a.send("127.0.0.1", nobody, b"x")  # ICMP: port unreachable
        a.send("192.0.2.1", 53, b"x")  # no route here
    a.send("127.0.0.1", 0, b"x")
    assert a.ask("127.0.0.1", echo.port, b"x")[2] == b"x"
    assert drops(closing(g, a))["send"] >= 4


def test_it_ends_with_its_connection(gateway, echo):
    g = gateway(PASS)
    for end, reason in ((lambda a: a.c.half_close(), b"client-closed"), (lambda a: a.c.reset(), b"client-reset")):
        a = Association(g.at)
        a.c.send(b"octets that no one reads" * 100)
        assert a.ask("127.0.0.1", echo.port, b"x")[2] == b"x"
        before = len(g.records(CLOSE))
        end(a)
        r = peers.wait_for(lambda: g.records(CLOSE)[before:], why=g.story)[0]
        assert r["reason"] == reason
        a.send("127.0.0.1", echo.port, b"too late")
        assert a.silent()
        a.u.close()
    assert b"too late" not in [o for o, _ in echo.seen]


def test_its_connection_may_say_much(gateway, echo):
    g = gateway(PASS)
    a = Association(g.at)
    a.c.s.settimeout(1)
    try:
        for _ in range(200):
            a.c.send(bytes(65536))
    except socket.timeout:
        pass
    assert a.ask("127.0.0.1", echo.port, b"x")[2] == b"x"
    assert closing(g, a)["reason"] in (b"client-closed", b"client-reset")


def test_idle(gateway, echo):
    g = gateway("timeout { udp 2s }\n" + PASS)
    a = Association(g.at)
    stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stranger.bind(("127.0.0.2", 0))
    for _ in range(4):
        time.sleep(0.8)
        assert a.ask("127.0.0.1", echo.port, b"x")[2] == b"x"
    began = time.monotonic()
    while not g.records(CLOSE):
        stranger.sendto(b"noise", a.relay)  # a stranger keeps nothing alive
        time.sleep(0.1)
        assert time.monotonic() - began < 8, g.story()
    assert 1.5 < time.monotonic() - began < 5
    assert g.record(CLOSE)["reason"] == b"idle-timeout"
    assert a.c.ended()
    stranger.close()
    a.close()


def test_a_lost_worker_leaves_a_closing_record(gateway, echo):
    g = gateway(PASS, workers=1, expect_lost=1)
    a = Association(g.at)
    assert a.ask("127.0.0.1", echo.port, b"12345")[2] == b"12345"
    time.sleep(0.2)  # a reply is counted once the kernel has it
    os.kill(g.children("worker")[0], signal.SIGKILL)
    r = g.record(CLOSE)
    assert (r["reason"], r["up"], r["down"]) == (b"child-lost", b"5", b"5")
    assert "datagrams-up" not in r  # they are told with the end, which was not told
    a.close()


def test_stop_ends_it_with_its_counts(gateway, echo):
    g = gateway(PASS)
    a = Association(g.at)
    assert a.ask("127.0.0.1", echo.port, b"12345")[2] == b"12345"
    g.stop()
    r = g.record(CLOSE)
    assert (r["reason"], r["datagrams-up"], r["down"]) == (b"shutdown", b"1", b"5")
    a.close()


def test_a_new_policy_judges_known_targets_anew(gateway, echo):
    g = gateway(PASS)
    a = Association(g.at)
    assert a.ask("127.0.0.1", echo.port, b"x")[2] == b"x"
    assert g.reload(f"block udp from any to any port {echo.port}\n" + PASS)["event"] == b"reload"
    peers.wait_for(lambda: (a.send("127.0.0.1", echo.port, b"y"), g.records(REFUSED))[1], why=g.story)
    while a.silent() is not True:
        pass
    a.send("127.0.0.1", echo.port, b"y")
    assert a.silent() is True
    assert g.reload(PASS)["event"] == b"reload"
    peers.wait_for(lambda: (a.send("127.0.0.1", echo.port, b"z"), len(g.records(TARGET)) == 2)[1], why=g.story)
    assert a.recv()[2] == b"z"
    assert len(g.records(REFUSED)) == 1
    a.close()


def test_a_user_is_heard_by_the_rules_of_users(gateway, echo):
    import sally
    g = gateway('auth password file "@DIR@/users"\nblock udp from any to any port 9\n'
                "pass udp from any to 127.0.0.0/8 user alice auth password\n",
                before=lambda g: g.write_users(sally.user_line("alice", "x"), sally.user_line("bob", "x")))
    a = Association(g.at, user=b"alice", password=b"x")
    assert a.ask("127.0.0.1", echo.port, b"x")[2] == b"x"
    assert closing(g, a)["user"] == b"alice"
    assert g.record(TARGET)["user"] == b"alice"
    b = Association(g.at, user=b"bob", password=b"x")
    assert b.reply[0] == socks5.NOT_ALLOWED
    b.close()


def test_a_flood_does_not_starve_others(gateway, echo):
    g = gateway(PASS, workers=1)
    flood, a = Association(g.at), Association(g.at)
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.bind(("127.0.0.1", 0))
    packet, over = datagram("127.0.0.1", sink.getsockname()[1], bytes(200)), threading.Event()

    def pour():
        while not over.is_set():
            flood.u.sendto(packet, flood.relay)

    t = threading.Thread(target=pour)
    t.start()
    try:
        slow = 0
        for i in range(300):
            began = time.monotonic()
            assert a.ask("127.0.0.1", echo.port, b"%d" % i)[2] == b"%d" % i
            slow = max(slow, time.monotonic() - began)
    finally:
        over.set()
        t.join()
    assert slow < 1, slow
    r = closing(g, flood)
    assert int(r["datagrams-up"]) > 300
    a.close()
    sink.close()


def test_an_idle_association_takes_little_memory(gateway):
    def memory():
        with open(f"/proc/{g.children('worker')[0]}/statm") as f:
            return int(f.read().split()[1]) * 4096

    g = gateway(PASS, workers=1)
    first = [Association(g.at) for _ in range(20)]
    before = memory()
    more = [Association(g.at) for _ in range(200)]
    if not os.environ.get("SANITIZE"):
        assert memory() - before < 200 * 2048 + 100_000
    for a in first + more:
        a.close()
