"""A master and workers for a resolver alone. The channels' messages are packed from common/msg.h's table."""
import fcntl
import os
import re
import select
import signal
import socket
import struct
import subprocess
import tempfile

import sally

PROGRAM = os.path.join(sally.BUILD, "resolver")
with open(os.path.join(sally.TOP, "common/msg.h")) as header:
    HEADER = header.read()
TYPES = re.findall(r"^\tX\(([A-Z_]+), [a-z_]+, ", HEADER, re.M)
LAYERS = len(re.findall(r"^\tX\(LAYER_", HEADER, re.M))
A, AAAA = 1, 2
OK, NO_NAME, NO_DATA, FAILED = range(4)
ROLE_WORKER, ROLE_RESOLVER = 1, 2
TRY, OFF = 1, 2


def pack(kind, payload):
    padding = -len(payload) % 8
    return struct.pack("=HHI", TYPES.index(kind), len(payload), 0) + payload + bytes(padding)


def unpack(packet):
    while packet:
        kind, n, _ = struct.unpack("=HHI", packet[:8])
        yield TYPES[kind], packet[8:8 + n]
        packet = packet[8 + (n + 7) // 8 * 8:]


def addr(text):
    v6 = ":" in text
    octets = socket.inet_pton(socket.AF_INET6 if v6 else socket.AF_INET, text)
    return bytes([6 if v6 else 4, 0, 0, 0]) + octets.ljust(16, b"\0")


SIZE = 192  # of struct image


def image(version, servers, timeout_ms, rounds):
    """A policy image with name servers and nothing else (common/image.h)."""
    listed = b"".join(addr(host) + struct.pack("=HHI", port, 0, 0) for host, port in servers)
    lists = [(0, 0)] * 4 + [(SIZE if servers else 0, len(servers))] + [(0, 0)] * 2
    block = struct.pack("=QII", 0x31594C4C41530A06, SIZE + len(listed), version) + b"".join(struct.pack("=II", *x) for x in lists)
    block += bytes(24 + 8)  # egress; methods
    block += struct.pack("=4I", 1000, 1000, 1000, 1000) + struct.pack("=3I", 10, timeout_ms, rounds)
    return block.ljust(SIZE, b"\0") + listed  # what is for workers is 0


class Channel:
    """One end of a SOCK_SEQPACKET channel."""

    def __init__(self):
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.got = []

    def send(self, kind, payload=b"", fd=None):
        packet = pack(kind, payload)
        if fd is None:
            self.ours.send(packet)
        else:
            socket.send_fds(self.ours, [packet], [fd])

    def read(self, seconds=5):
        """The next message, or None when the channel is closed; fails if nothing comes."""
        if not self.got:
            assert select.select([self.ours], [], [], seconds)[0], "no message came"
            try:
                self.got = list(unpack(self.ours.recv(1 << 16)))
            except ConnectionResetError:
                pass
        return self.got.pop(0) if self.got else None

    def quiet(self, seconds=0.3):
        return not self.got and not select.select([self.ours], [], [], seconds)[0]


class Worker(Channel):
    def __init__(self, spawn):
        super().__init__()
        self.spawn, self.id = spawn, 0

    def ask(self, name, families=A, id=None):
        self.id = id if id is not None else self.id + 1
        self.send("LOOKUP", struct.pack("=IBBH", self.id, families, len(name), 0) + name)
        return self.id

    def answer(self, seconds=5):
        """(id, family, status, addresses, ttl)"""
        m = self.read(seconds)
        assert m is not None, "the resolver closed the channel"
        kind, p = m
        assert kind == "ANSWER"
        id, family, status, n, _, ttl = struct.unpack("=IBBBBI", p[:12])
        assert len(p) == 12 + 20 * n
        found = []
        for at in range(12, len(p), 20):
            v6 = p[at] == 6
            found.append(socket.inet_ntop(socket.AF_INET6 if v6 else socket.AF_INET, p[at + 4:at + (20 if v6 else 8)]))
        return id, family, status, found, ttl

    def lookup(self, name, family=A, seconds=5):
        """(status, addresses, ttl)"""
        id = self.ask(name, family)
        got = self.answer(seconds)
        assert got[:2] == (id, family)
        return got[2:]


class Resolver(Channel):
    def __init__(self, servers, timeout_ms=400, rounds=2, sandbox=True, workers=4):
        super().__init__()
        self.version, self.spawns = 0, 0
        self.root = tempfile.mkdtemp(prefix="sallyport-resolver.")
        os.chmod(self.root, 0o755)
        self.p = subprocess.Popen([PROGRAM], stdin=subprocess.DEVNULL, close_fds=False,
                                  preexec_fn=lambda: os.dup2(self.theirs.fileno(), 3))
        self.theirs.close()
        root = os.getuid() == 0 and sandbox
        self.send("INIT", struct.pack("=6I", ROLE_RESOLVER, 1, 64990 if root else 0, 64990 if root else 0, 0, workers)
                  + bytes([TRY if sandbox else OFF] * LAYERS).ljust(LAYERS + 7, b"\0")
                  + (self.root.encode() if root else b"").ljust(256, b"\0") + bytes(64 + 256))
        assert self.read()[0] == "READY"
        self.policy(servers, timeout_ms, rounds)

    def policy(self, servers, timeout_ms=400, rounds=2):
        self.version += 1
        block = image(self.version, servers, timeout_ms, rounds)
        fd = os.memfd_create("image", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.write(fd, block)
        fcntl.fcntl(fd, 1033, 0xF)  # F_ADD_SEALS: seal, shrink, grow, write
        self.send("POLICY", struct.pack("=II", self.version, len(block)), fd)
        os.close(fd)
        assert self.read() == ("POLICY_ACK", struct.pack("=II", self.version, 0))

    def worker(self):
        self.spawns += 1
        w = Worker(100 + self.spawns)
        self.send("PEER", struct.pack("=II", ROLE_WORKER, w.spawn), w.theirs.fileno())
        w.theirs.close()
        return w

    def end(self):
        """Stops it; it must not have died of itself."""
        try:
            assert self.p.poll() is None, f"the resolver ended with {self.p.returncode}"
            self.send("STOP")
            assert self.p.wait(5) == 0
        finally:
            if self.p.poll() is None:
                self.p.send_signal(signal.SIGKILL)
                self.p.wait()
            os.rmdir(self.root)
