"""A SOCKS5 client of raw octets (RFC 1928, RFC 1929): says exactly what a test wants said."""
import ipaddress
import socket
import struct

CONNECT, BIND, UDP = 1, 2, 3
OK, GENERAL, NOT_ALLOWED, NET, HOST, REFUSED, TTL, COMMAND, ATYP = range(9)
SECONDS = 20  # no test waits longer for one answer


def greeting(*methods):
    return bytes([5, len(methods), *methods])


def credentials(user, password):
    return bytes([1, len(user)]) + user + bytes([len(password)]) + password


def target(host):
    """ATYP and DST.ADDR: octets are a name, text an address."""
    if isinstance(host, bytes):
        return bytes([3, len(host)]) + host
    a = ipaddress.ip_address(host)
    return bytes([1 if a.version == 4 else 4]) + a.packed


def request(host, port, command=CONNECT, rsv=0):
    return bytes([5, command, rsv]) + target(host) + struct.pack("!H", port)


class Closed(Exception):
    """The gateway closed the connection before what was waited for was whole."""


class Client:
    """One connection to the gateway."""

    def __init__(self, at, source=None, seconds=SECONDS):
        family = socket.AF_INET6 if ":" in at[0] else socket.AF_INET
        self.s = socket.socket(family, socket.SOCK_STREAM)
        self.s.settimeout(seconds)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            self.s.bind((source, 0))
        self.s.connect(at)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.s.close()

    def reset(self):
        """Closes with RST."""
        self.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.s.close()

    def send(self, octets):
        self.s.sendall(octets)

    def send_slowly(self, octets, size=1, pause=0.001):
        """In pieces, each in a segment of its own."""
        import time
        for i in range(0, len(octets), size):
            self.s.sendall(octets[i:i + size])
            time.sleep(pause)

    def half_close(self):
        self.s.shutdown(socket.SHUT_WR)

    def read(self, n):
        got = b""
        while len(got) < n:
            more = self.s.recv(n - len(got))
            if not more:
                raise Closed(got)
            got += more
        return got

    def rest(self):
        """Everything up to the gateway's end of file; an RST is an error here."""
        got = b""
        while True:
            more = self.s.recv(65536)
            if not more:
                return got
            got += more

    def ended(self):
        """True if the gateway ends the connection, by end of file or RST, and sends nothing before."""
        try:
            return self.rest() == b""
        except ConnectionResetError:
            return True

    def greet(self, *methods):
        self.send(greeting(*(methods or (0,))))
        return self.method()

    def method(self):
        version, method = self.read(2)
        assert version == 5
        return method

    def login(self, user, password):
        """The status octet of RFC 1929."""
        self.send(credentials(user, password))
        version, status = self.read(2)
        assert version == 1
        return status

    def reply(self):
        """(REP, BND.ADDR as text, BND.PORT)."""
        version, rep, rsv, atyp = self.read(4)
        assert (version, rsv) == (5, 0)
        addr = self.read({1: 4, 4: 16}[atyp])
        return rep, str(ipaddress.ip_address(addr)), struct.unpack("!H", self.read(2))[0]

    def connect(self, host, port, **how):
        self.send(request(host, port, **how))
        return self.reply()


def open_session(at, host, port, user=None, password=None, **how):
    """A client that has come as far as the reply to CONNECT: (client, reply)."""
    c = Client(at, **how)
    method = c.greet(2) if user is not None else c.greet(0)
    if user is not None:
        assert method == 2
        assert c.login(user, password) == 0, "the password was refused"
    else:
        assert method == 0, f"method {method:#x}"
    return c, c.connect(host, port)


def datagram(host, port, data, frag=0, rsv=0):
    """The UDP request header of RFC 1928 section 7 and its data."""
    return struct.pack("!HB", rsv, frag) + target(host) + struct.pack("!H", port) + data


def parse_datagram(octets):
    """(FRAG, address as text, port, data) of a datagram from the relay."""
    rsv, frag, atyp = struct.unpack("!HBB", octets[:4])
    assert rsv == 0
    end = 4 + {1: 4, 4: 16}[atyp]
    return frag, str(ipaddress.ip_address(octets[4:end])), struct.unpack("!H", octets[end:end + 2])[0], octets[end + 2:]


class Association:
    """A UDP association: `tcp` is the connection that it lives by, `relay` where its datagrams go."""

    def __init__(self, at, declared=("0.0.0.0", 0), user=None, password=None, source=None):
        self.tcp = Client(at, source=source)
        assert self.tcp.greet(0 if user is None else 2) == (0 if user is None else 2)
        if user is not None:
            assert self.tcp.login(user, password) == 0
        self.tcp.send(request(*declared, command=UDP))
        rep, addr, port = self.tcp.reply()
        assert rep == OK, rep
        self.relay = (addr, port)
        self.s = self.socket(source)

    def socket(self, source=None):
        """A socket that sends to the relay from this address; `s` is the first."""
        s = socket.socket(socket.AF_INET6 if ":" in self.relay[0] else socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(SECONDS)
        if source:
            s.bind((source, 0))
        s.connect(self.relay)
        return s

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.s.close()
        self.tcp.close()

    def send(self, host, port, data, frag=0):
        self.s.send(datagram(host, port, data, frag))

    def receive(self):
        """(FRAG, source address, source port, data)."""
        return parse_datagram(self.s.recv(65536))
