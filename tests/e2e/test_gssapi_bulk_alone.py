"""Bulk in tokens, which the worker awaits several of at a time (worker/moderate.h): it arrives whole, and delays neither its
own end nor what is no bulk."""
import struct
import time

import pytest

import peers
import socks5
from gss5 import Client, configuration

BLOCK = 6_000_000  # octets: more than 8 ms of bulk
DELAY = 0.002      # s: what each small message would wait, were it awaited with others


class Counter(peers.Server):
    """Answers each BLOCK octets with a number, and after them sends back what comes."""

    def __init__(self, blocks):
        super().__init__()
        self.blocks = blocks

    def talk(self, c, peer):
        for i in range(self.blocks):
            left = BLOCK
            while left:
                data = c.recv(min(left, 1 << 20))
                assert data.strip(b"x") == b""
                left -= len(data)
            c.sendall(struct.pack("!Q", i))
        while data := c.recv(65536):
            c.sendall(data)


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("blocks,each", [(1, 8), (30, 1)])
def test_bulk_and_then_small_messages(gateway, realm, serve, level, blocks, each):
    """In one go, and in blocks of which each has its answer."""
    g, target = gateway(configuration(realm), workers=1), serve(Counter, blocks * each)
    with Client(g.at, realm.kinit().fetch(), level) as c:
        assert c.connect(target.host, target.port)[0] == socks5.OK
        piece = 60000
        for i in range(blocks):
            made = b"".join(c.wrap(b"x" * piece) for _ in range(each * BLOCK // piece))
            c.raw_send(made)
            for k in range(each):
                assert c.read(8) == struct.pack("!Q", i * each + k)
        took = []
        for _ in range(100):
            began = time.monotonic()
            c.send(b"hello")
            assert c.read(5) == b"hello"
            took.append(time.monotonic() - began)
    assert sorted(took)[25] < DELAY, took
    assert g.record("session-close")["up"] == str(blocks * each * BLOCK + 500).encode()
