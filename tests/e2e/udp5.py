"""UDP ASSOCIATE by raw octets (RFC 1928 sections 4 and 7)."""
import ipaddress
import socket
import struct

import peers
import socks5

SECONDS = 10


def datagram(host, port, data, frag=0, rsv=0):
    return struct.pack("!HB", rsv, frag) + socks5.target(host) + struct.pack("!H", port) + data


def undatagram(octets):
    """(host, port, data) of a reply, whose header carries an address."""
    assert octets[:3] == b"\0\0\0" and octets[3] in (1, 4), octets[:30]
    n = {1: 4, 4: 16}[octets[3]]
    return str(ipaddress.ip_address(octets[4:4 + n])), *struct.unpack("!H", octets[4 + n:6 + n]), octets[6 + n:]


def family(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class Association:
    """A client that has come as far as the reply to UDP ASSOCIATE, with a socket for its datagrams."""

    def __init__(self, at, declared=("0.0.0.0", 0), user=None, password=None, bound=None, relay=None, declare_own=False):
        self.u = socket.socket(family(at[0]), socket.SOCK_DGRAM)
        self.u.settimeout(SECONDS)
        self.c = socks5.Client(at)
        self.u.bind((bound or self.c.s.getsockname()[0], 0))
        if declare_own:
            declared = self.u.getsockname()[:2]
        if user is None:
            assert self.c.greet(0) == 0
        else:
            assert self.c.greet(2) == 2 and self.c.login(user, password) == 0
        self.c.send(socks5.request(*declared, socks5.UDP))
        self.reply = self.c.reply()
        self.relay = relay or self.reply[1:]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.c.close()
        self.u.close()

    def send(self, host, port, data, frag=0):
        self.u.sendto(datagram(host, port, data, frag), self.relay)

    def raw(self, octets):
        self.u.sendto(octets, self.relay)

    def recv(self):
        octets, peer = self.u.recvfrom(70000)
        assert peer[1] == self.relay[1]
        return undatagram(octets)

    def ask(self, host, port, data):
        """What comes back for a datagram: (host, port, data)."""
        self.send(host, port, data)
        return self.recv()

    def silent(self, seconds=0.3):
        self.u.settimeout(seconds)
        try:
            return self.recv()
        except socket.timeout:
            return True
        finally:
            self.u.settimeout(SECONDS)


def closing(g, a):
    """Ends an association and returns its closing record."""
    before = len(g.records("session-close"))
    a.close()
    return peers.wait_for(lambda: g.records("session-close")[before:], why=g.story)[0]


def drops(record):
    """The `drops` of a record as a dict."""
    text = record.get("drops", b"").decode()
    return {k: int(v) for k, v in (d.split(":") for d in text.split(",") if d)}
