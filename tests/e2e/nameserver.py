"""A name server whose every octet a test decides, and the records and replies for it to say."""
import socket
import struct
import threading


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


class Server:
    """A name server: `handler(query)` gives the reply's octets, a list of several, or None for none. It may
    sleep."""

    def __init__(self, handler, host="127.0.0.1"):
        self.handler, self.asked, self.host = handler, [], host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        while True:  # a port that is free for both
            self.tcp = socket.socket(family, socket.SOCK_STREAM)
            self.tcp.bind((host, 0))
            self.port = self.tcp.getsockname()[1]
            self.udp = socket.socket(family, socket.SOCK_DGRAM)
            try:
                self.udp.bind((host, self.port))
                break
            except OSError:
                self.tcp.close()
                self.udp.close()
        self.tcp.listen(64)
        self.at = (host, self.port)

    def start(self):
        threading.Thread(target=self.serve_udp, daemon=True).start()
        threading.Thread(target=self.serve_tcp, daemon=True).start()

    def stop(self):
        for x in (self.udp, self.tcp):
            try:
                x.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits in it
            except OSError:
                pass
            x.close()

    def handle(self, octets, port, tcp):
        q = Query(octets, port, tcp)
        self.asked.append(q)
        got = self.handler(q)
        return [] if got is None else got if isinstance(got, list) else [got]

    def serve_udp(self):
        while True:
            try:
                octets, peer = self.udp.recvfrom(4096)
            except OSError:
                return
            if peer is None:
                return
            threading.Thread(target=self.one_udp, args=(octets, peer), daemon=True).start()

    def one_udp(self, octets, peer):
        try:
            for x in self.handle(octets, peer[1], False):
                self.udp.sendto(x, peer)
        except OSError:
            pass

    def serve_tcp(self):
        while True:
            try:
                c, peer = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self.one_tcp, args=(c, peer), daemon=True).start()

    def one_tcp(self, c, peer):
        with c:
            try:
                c.settimeout(10)
                while True:
                    n, = struct.unpack("!H", c.recv(2, socket.MSG_WAITALL))
                    for x in self.handle(c.recv(n, socket.MSG_WAITALL), peer[1], True):
                        c.sendall(struct.pack("!H", len(x)) + x)
            except (OSError, struct.error):
                return


def one(q):
    """Every name has 192.0.2.1 and 2001:db8::1, but not for long."""
    return q.reply([a("192.0.2.1" if q.type == 1 else "2001:db8::1")])
