"""A name server whose every octet a test decides, and the records and replies for it to say."""
import socket
import struct

import peers


def rr(owner, kind, ttl, data):
    return owner + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


def wire(name):
    return b"".join(bytes([len(x)]) + x for x in name.split(b".")) + b"\0"


def a(text, ttl=60, owner=b"\xc0\x0c"):
    v6 = ":" in text
    return rr(owner, 28 if v6 else 1, ttl, socket.inet_pton(socket.AF_INET6 if v6 else socket.AF_INET, text))


def soa(ttl, minimum):
    return rr(wire(b"example"), 6, ttl, wire(b"ns.example") + wire(b"root.example") + struct.pack("!5I", 1, 2, 3, 4, minimum))


class Query:
    def __init__(self, octets, port, tcp):
        self.octets, self.port, self.tcp = octets, port, tcp
        self.id, = struct.unpack("!H", octets[:2])
        at, labels = 12, []
        while octets[at]:
            labels.append(octets[at + 1:at + 1 + octets[at]])
            at += octets[at] + 1
        self.sent = b".".join(labels)
        self.name = self.sent.lower()
        self.question = octets[12:at + 5]
        self.type, = struct.unpack("!H", octets[at + 1:at + 3])

    def reply(self, answers=(), authority=(), rcode=0, flags=0x8180, id=None, question=None):
        return struct.pack("!6H", self.id if id is None else id, flags | rcode, 1, len(answers), len(authority), 0) \
            + (self.question if question is None else question) + b"".join(answers) + b"".join(authority)


class Server(peers.NameServer):
    """A name server: `handler(query)` gives the reply's octets, a list of several, or None for none. It may
    sleep."""

    def __init__(self, handler, host="127.0.0.1"):
        self.handler, self.asked, self.host = handler, [], host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        while True:  # a port that is free for both
            tcp = peers.listener(host, backlog=64)
            udp = socket.socket(family, socket.SOCK_DGRAM)
            self.port = tcp.getsockname()[1]
            try:
                udp.bind((host, self.port))
                break
            except OSError:
                tcp.close()
                udp.close()
        self.at = (host, self.port)
        super().__init__(udp, tcp)

    def handle(self, octets, port, tcp):
        q = Query(octets, port, tcp)
        self.asked.append(q)
        got = self.handler(q)
        return [] if got is None else got if isinstance(got, list) else [got]


def one(q):
    """Every name has 192.0.2.1 and 2001:db8::1, but not for long."""
    return q.reply([a("192.0.2.1" if q.type == 1 else "2001:db8::1")])
