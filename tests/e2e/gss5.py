"""A SOCKS5 client of RFC 1961 on MIT's GSSAPI (python3-gssapi): negotiates the context and the protection level, and from
then on speaks in tokens, where a test does not have it misbehave. What a test wants wrong it sends with raw_send()."""
import socket
import struct

import gssapi

import kdc
import socks5

CONTEXT, LEVEL, DATA, ABORT = 1, 2, 3, 0xff
CLEAR, INTEGRITY, CONFIDENTIALITY, SELECTIVE = range(4)
PIECE = 60000  # octets of data in a token, where nothing else is asked
KRB5 = gssapi.OID.from_int_seq("1.2.840.113554.1.2.2")
SPNEGO = gssapi.OID.from_int_seq("1.3.6.1.5.5.2")
F = gssapi.RequirementFlag
FLAGS = [F.mutual_authentication, F.replay_detection, F.out_of_sequence_detection, F.confidentiality, F.integrity]
UDP_FLAGS = [f for f in FLAGS if f != F.out_of_sequence_detection]  # RFC 1961 section 3.2


def frame(kind, token):
    """RFC 1961 sections 3.4, 4.3 and 5."""
    return struct.pack("!BBH", 1, kind, len(token)) + token


class Aborted(Exception):
    """The gateway sent X'01 FF' (section 3.8)."""


def context(credentials, service=kdc.SOCKS, mech=None, flags=FLAGS, lifetime=None):
    """An initiator's context; MIT reads the environment when it is made and at each step."""
    with credentials.env():
        creds = gssapi.Credentials(usage="initiate", mechs=[mech] if mech else None)
        name = gssapi.Name(service, gssapi.NameType.hostbased_service)
        bits = 0
        for f in flags:
            bits |= f
        return gssapi.SecurityContext(name=name, creds=creds, mech=mech, flags=bits, usage="initiate", lifetime=lifetime)


class Client(socks5.Client):
    """A connection that comes as far as `upto`: "method", "context", "level" (the default). send(), read(), reply(),
    connect(), rest() are of the data in the tokens once the level is agreed."""

    def __init__(self, at, credentials=None, level=INTEGRITY, upto="level", service=kdc.SOCKS, mech=None, flags=FLAGS,
                 nec=False, **how):
        super().__init__(at, **how)
        self.credentials, self.mech, self.service, self.flags = credentials, mech, service, flags
        self.level, self.plain, self.sent = None, b"", []  # sent: the tokens of the context, ours
        self.received = []  # the gateway's
        steps = ["method", "context", "level"]
        try:
            if steps.index(upto) >= 0:
                got = self.greet(1)
                assert got == 1, f"method {got:#x}"
            if steps.index(upto) >= 1:
                self.establish()
            if steps.index(upto) >= 2:
                self.agree(level, nec)
        except BaseException:
            self.close()
            raise

    # --- as octets ---

    def raw_send(self, octets):
        self.s.sendall(octets)

    def send_slowly_raw(self, octets):
        socks5.Client.send_slowly(self, octets, 1, 0.0005)

    def raw_read(self, n):
        return socks5.Client.read(self, n)

    def read_frame(self):
        """(mtyp, token); Aborted."""
        version, kind = self.raw_read(2)
        assert version == 1, version
        if kind == ABORT:
            raise Aborted
        length, = struct.unpack("!H", self.raw_read(2))
        return kind, self.raw_read(length)

    # --- the context (sections 3.2 to 3.7) ---

    def context(self):
        self.ctx = context(self.credentials, self.service, self.mech, self.flags)
        return self.ctx

    def step(self, token=None):
        with self.credentials.env():
            return self.ctx.step(token)

    def exchange(self, token):
        """One message of the client's, and the gateway's answer to it."""
        self.sent.append(token)
        self.raw_send(frame(CONTEXT, token))
        return self.answer()

    def answer(self):
        kind, token = self.read_frame()
        assert kind == CONTEXT, kind
        self.received.append(token)
        return token

    def establish(self):
        self.context()
        token = self.step()
        while token is not None:
            answer = self.exchange(token)
            if self.ctx.complete:
                assert answer == b"", answer  # section 3.6: ready
                break
            token = self.step(answer)
        assert self.ctx.complete
        return self

    # --- the level (section 4) ---

    def agree(self, level, nec=False):
        """Asks for a level; what was answered is what holds from now on."""
        self.raw_send(frame(LEVEL, bytes([level]) if nec else self.ctx.wrap(bytes([level]), False).message))
        kind, token = self.read_frame()
        assert kind == LEVEL, kind
        if not nec:
            got = self.ctx.unwrap(token)
            assert not got.encrypted  # section 4.4: conf_req FALSE
            token = got.message
        assert len(token) == 1
        self.asked, self.level = level, token[0]
        return self.level

    # --- data (section 5) ---

    def conf(self):
        return self.level >= CONFIDENTIALITY

    def wrap(self, data, conf=None):
        """A message of section 5."""
        conf = self.conf() if conf is None else conf
        got = self.ctx.wrap(data, conf)
        assert got.encrypted == conf
        return frame(DATA, got.message)

    def unwrap(self, token):
        got = self.ctx.unwrap(token)
        assert got.encrypted == self.conf(), f"level {self.level}, encrypted: {got.encrypted}"
        return got.message

    def send(self, octets, piece=PIECE):
        if not self.level:
            return self.raw_send(octets)
        for i in range(0, len(octets), piece):
            self.raw_send(self.wrap(octets[i:i + piece]))

    def read_token(self):
        """The data of the next token."""
        kind, token = self.read_frame()
        assert kind == DATA, kind
        return self.unwrap(token)

    def read(self, n):
        if not self.level:
            return self.raw_read(n)
        while len(self.plain) < n:
            self.plain += self.read_token()
        got, self.plain = self.plain[:n], self.plain[n:]
        return got

    def rest(self):
        if not self.level:
            return super().rest()
        got = [self.plain]
        self.plain = b""
        while True:
            try:
                got.append(self.read_token())
            except socks5.Closed as e:
                assert e.args[0] == b"", "the stream ends inside a message"
                return b"".join(got)

    def raw_rest(self):
        return super().rest()

    def raw_ended(self):
        """True where the gateway ends the connection and sends nothing that was not asked for."""
        try:
            return self.raw_rest() == b""
        except ConnectionResetError:
            return True


def open_session(at, credentials, host, port, level=INTEGRITY, **how):
    """A client that has come as far as the reply to CONNECT: (client, reply)."""
    c = Client(at, credentials, level, **how)
    return c, c.connect(host, port)


class Association:
    """UDP ASSOCIATE whose datagrams travel in tokens; `tcp` is the connection that it lives by."""

    def __init__(self, at, credentials, level=INTEGRITY, declared=("0.0.0.0", 0), flags=UDP_FLAGS, **how):
        self.tcp = Client(at, credentials, level, flags=flags, **how)
        self.tcp.send(socks5.request(*declared, command=socks5.UDP))
        rep, addr, port = self.tcp.reply()
        assert rep == socks5.OK, rep
        self.relay = (addr, port)
        self.s = self.socket()

    def socket(self, source=None):
        s = socket.socket(socket.AF_INET6 if ":" in self.relay[0] else socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(socks5.SECONDS)
        if source:
            s.bind((source, 0))
        s.connect(self.relay)
        return s

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.s.close()
        self.tcp.close()

    def make(self, host, port, data, conf=None):
        """A datagram as it goes to the relay."""
        plain = socks5.datagram(host, port, data)
        return self.tcp.wrap(plain, conf) if self.tcp.level else plain

    def send(self, host, port, data, conf=None):
        self.s.send(self.make(host, port, data, conf))

    def parse(self, octets):
        """(FRAG, source address, source port, data); the whole of a datagram is one message."""
        if self.tcp.level:
            version, kind, length = struct.unpack_from("!BBH", octets)
            assert (version, kind, length) == (1, DATA, len(octets) - 4), octets[:4]
            octets = self.tcp.unwrap(octets[4:])
        return socks5.parse_datagram(octets)

    def receive(self):
        return self.parse(self.s.recv(65536))

    def silent(self, seconds=0.3):
        self.s.settimeout(seconds)
        try:
            return self.s.recv(65536) == b""
        except TimeoutError:
            return True
        finally:
            self.s.settimeout(socks5.SECONDS)


# --- configurations ---

ANY = "{ any, 127.0.0.0/8, ::1 }"
RULES = f"pass from any to {ANY} auth gssapi\n"


def configuration(realm, rules=RULES, options="", keytab=None, config=None):
    """`auth gssapi` with this realm's keytab, and rules."""
    return (f'kerberos config "{config or realm.config}"\n'
            f'auth gssapi keytab "{keytab or realm.keytab}" {options}\n{rules}')


def refused(at, credentials, **how):
    """True where the gateway answers X'01 FF' and closes, RFC 1961 section 3.8, before a level was agreed."""
    try:
        Client(at, credentials, **how).close()
    except Aborted:
        return True
    return False
