"""The relay: half-close both ways, what is in flight arrives, idle and half-closed time-outs, slow readers."""
import hashlib
import socket
import struct
import threading
import time

import pytest

import peers
import sally
import socks5

CLOSE = "session-close"


@pytest.fixture
def g(gateway):
    return gateway()


def test_half_close_by_the_client(g, serve):
    sink = serve(peers.Sink)
    c, reply = socks5.open_session(g.at, "127.0.0.1", sink.port)
    c.send(b"x" * 1_000_000)
    c.half_close()
    assert struct.unpack("!Q", c.rest())[0] == 1_000_000
    r = g.record(CLOSE)
    assert (r["up"], r["down"]) == (b"1000000", b"8")


def test_half_close_by_the_target(g, serve):
    source = serve(peers.Source, 3_000_000)
    c, reply = socks5.open_session(g.at, "127.0.0.1", source.port)
    got = c.rest()
    assert len(got) == 3_000_000
    c.send(b"still heard")
    c.half_close()
    peers.wait_for(lambda: source.after == b"still heard")
    r = g.record(CLOSE)
    assert (r["up"], r["down"]) == (b"11", b"3000000")
    assert r["reason"] in (b"client-closed", b"target-closed")


def test_what_is_in_flight_arrives_though_the_target_is_done(g, serve):
    source = serve(peers.Source, 20_000_000)
    c, _ = socks5.open_session(g.at, "127.0.0.1", source.port)
    time.sleep(0.5)  # the target has closed, the gateway holds what fits
    got = hashlib.sha256()
    n = 0
    while True:
        data = c.s.recv(30_000)
        if not data:
            break
        got.update(data)
        n += len(data)
    assert n == 20_000_000
    want = hashlib.sha256(((bytes(range(256)) * 256) * 306)[:n])
    assert got.digest() == want.digest()


def test_both_directions_at_once(g, echo):
    c, _ = socks5.open_session(g.at, "127.0.0.1", echo.port)
    data = bytes(range(256)) * 40_000
    sender = threading.Thread(target=lambda: (c.send(data), c.half_close()))
    sender.start()
    got = c.rest()
    sender.join()
    assert got == data


def test_many_sessions_at_once(g, echo):
    clients = [socks5.open_session(g.at, "127.0.0.1", echo.port)[0] for _ in range(200)]
    for i, c in enumerate(clients):
        c.send(b"%d" % i * 50)
    for i, c in enumerate(clients):
        assert c.read(len(b"%d" % i * 50)) == b"%d" % i * 50
        c.close()
    peers.wait_for(lambda: len(g.records(CLOSE)) == 200, why=g.story)
    assert len({r["id"] for r in g.records(CLOSE)}) == 200


def test_a_peer_that_never_reads_costs_a_fixed_number_of_octets(g, serve):
    source = serve(peers.Source, 1 << 40)
    before = memory(g)
    clients = [socks5.open_session(g.at, "127.0.0.1", source.port)[0] for _ in range(30)]
    time.sleep(2)
    grown = memory(g) - before
    assert grown < 30 * 260 * 1024 + (8 << 20 if sally.SANITIZE else 1 << 20), grown  # 240 KiB is one read
    for c in clients:
        c.close()


def memory(g):
    """Octets of memory that the workers hold."""
    total = 0
    for pid in g.children("worker"):
        with open(f"/proc/{pid}/statm") as f:
            total += int(f.read().split()[1]) * 4096
    return total


def test_a_stalled_reader_does_not_stall_others(gateway, serve, echo):
    g = gateway(workers=1)
    source = serve(peers.Source, 1 << 40)
    stalled, _ = socks5.open_session(g.at, "127.0.0.1", source.port)
    time.sleep(0.5)
    c, _ = socks5.open_session(g.at, "127.0.0.1", echo.port)
    for _ in range(20):
        began = time.monotonic()
        c.send(b"ping")
        assert c.read(4) == b"ping"
        assert time.monotonic() - began < 1


def test_idle_timeout(gateway, echo):
    g = gateway("timeout { idle 2s }\n" + sally.OPEN)
    c, _ = socks5.open_session(g.at, "127.0.0.1", echo.port)
    for _ in range(4):  # traffic puts it off
        time.sleep(1)
        c.send(b"x")
        assert c.read(1) == b"x"
    began = time.monotonic()
    assert c.ended()
    assert 1.5 < time.monotonic() - began < 5
    assert g.record(CLOSE)["reason"] == b"idle-timeout"


def test_half_closed_timeout(gateway, serve):
    held = serve(peers.Held)
    g = gateway("timeout { half-closed 2s }\n" + sally.OPEN)
    c, _ = socks5.open_session(g.at, "127.0.0.1", held.port)
    target = held.next()
    began = time.monotonic()
    c.half_close()
    assert target.recv(10) == b""
    assert c.ended()
    assert 1.5 < time.monotonic() - began < 6
    assert g.record(CLOSE)["reason"] == b"half-closed-timeout"


def test_timeouts_of_a_rule_win(gateway, echo):
    g = gateway("timeout { idle 1h }\npass connect from any to 127.0.0.0/8 auth none timeout idle 1s\n")
    c, _ = socks5.open_session(g.at, "127.0.0.1", echo.port)
    assert c.ended()
    assert g.record(CLOSE, reason="idle-timeout")


def test_reset_by_the_target_reaches_the_client(g, serve):
    held = serve(peers.Held)
    c, _ = socks5.open_session(g.at, "127.0.0.1", held.port)
    target = held.next()
    target.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    target.close()
    assert c.ended()
    assert g.record(CLOSE)["reason"] == b"target-reset"


def test_reset_by_the_client_reaches_the_target(g, serve):
    held = serve(peers.Held)
    c, _ = socks5.open_session(g.at, "127.0.0.1", held.port)
    target = held.next()
    c.reset()
    try:
        assert target.recv(10) == b""
    except ConnectionResetError:
        pass
    assert g.record(CLOSE)["reason"] == b"client-reset"
