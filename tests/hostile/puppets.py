"""Children taken over by an attacker. A Stage is a build folder in which every child is a puppet
(tests/hostile/puppet.c): real until a test asks for one to play with. Also the messages, packed as common/msg.h
has them."""
import os
import shutil
import signal
import socket
import struct
import threading

import sally
from peers import wait_for

MASTER = 3  # a child's descriptor of its channel to the master
ROLES = ["master", "worker", "resolver", "password", "pam", "acceptor", "initiator"]
LAYERS = ["chroot", "uid", "capabilities", "no_new_privs", "mdwe", "landlock", "landlock-net", "landlock-scope",
          "seccomp"]
KILLED = "killed"  # instead of an answer: the puppet is gone

# Fixed parts, little-endian as both machines are; checked against the C side by Puppet.check_layout().
SID = "II"
ADDRPORT = "B3x16sHHI"
LAYOUT = {
    "READY": "<II", "POLICY_ACK": "<II", "PEER_FAULT": "<II", "PEER": "<II", "COUNTS": "<II", "POLICY": "<II",
    "OPEN": f"<{SID}IBBBB{ADDRPORT}{ADDRPORT}{ADDRPORT}BBBx", "ATTEMPT": f"<{SID}II{ADDRPORT}I", "GRANT": f"<{SID}",
    "REFUSE": f"<{SID}II", "CONNECTED": f"<{SID}{ADDRPORT}{ADDRPORT}", "CLOSE": f"<{SID}IIIiQQQQ48s",
    "LISTEN": f"<{SID}II{ADDRPORT}I", "STRANGER": f"<{SID}II{ADDRPORT}I", "LISTENING": f"<{SID}{ADDRPORT}{ADDRPORT}",
    "ASSOCIATE": f"<{SID}II{ADDRPORT}I", "TARGET": f"<{SID}II{ADDRPORT}BB2x",
    "EARLY": f"<{ADDRPORT}{ADDRPORT}II", "AUTH_PASSWORD": f"<{SID}{ADDRPORT}BB2x", "AUTH_ABORT": f"<{SID}",
    "AUTH_RESULT": f"<{SID}BBBxI", "VERDICT": f"<{SID}IBBBx{ADDRPORT}I", "LOOKUP": "<IBB2x", "ANSWER": "<IBBBxI",
    "STOP": "<", "LISTENER": f"<II{ADDRPORT}I", "USERS_ACK": "<II120s", "FAILED": "<Ii56s", "USERS": "<",
    "AUTH_TOKEN": f"<{SID}II{ADDRPORT}B3x", "AUTH_REPLY": f"<{SID}II{ADDRPORT}B3x",
    "AUTH_KEYS": f"<{SID}IIIBBBB96sQ96sQ", "KEYTAB": "<II", "KEYTAB_ACK": "<II120s",
    "MARK": "<IBB2x", "MARKED": "<IBB2x", "BESIDE": "<", "TWIN": f"<{SID}I", "TWINNED": f"<{SID}II",
    "UPSTREAM_BEGIN": f"<{SID}B7x", "UPSTREAM_RESULT": f"<{SID}BB6x",
}
NUMBER = {}  # filled by check_layout()


def addrport(host, port):
    """The fields of a struct addrport."""
    if host is None:
        return (0, bytes(16), 0, 0, 0)
    family = 6 if ":" in host else 4
    octets = socket.inet_pton(socket.AF_INET6 if family == 6 else socket.AF_INET, host)
    return (family, octets.ljust(16, b"\0"), port, 0, 0)


def raw(number, payload, length=None):
    """A message: head, payload, padding. `length` lies about it."""
    head = struct.pack("<HHI", number, len(payload) if length is None else length, 0)
    return head + payload + bytes(-len(payload) % 8)


def message(name, *fields, tail=b"", length=None):
    return raw(NUMBER[name], struct.pack(LAYOUT[name], *fields) + tail, length)


def parse(packet):
    """The messages of a packet: (name, fields, tail)."""
    names, found = {n: name for name, n in NUMBER.items()}, []
    while packet:
        number, length, _ = struct.unpack_from("<HHI", packet)
        payload = packet[8:8 + length]
        fixed = struct.calcsize(LAYOUT[names[number]])
        found.append((names[number], struct.unpack(LAYOUT[names[number]], payload[:fixed]), payload[fixed:]))
        packet = packet[8 + length + -length % 8:]
    return found


class Killed(Exception):
    """The puppet is gone."""


class Puppet:
    def __init__(self, role, spawn, pid):
        self.role, self.spawn, self.pid = role, spawn, pid
        self.s = None
        self.seen = []  # every message of the master, with its descriptor

    def tell(self, *words):
        """A command's answer, or KILLED."""
        try:
            self.s.send(" ".join(str(w) for w in words).encode())
            answer = self.s.recv(300000)
        except (BrokenPipeError, ConnectionResetError):
            return KILLED
        return answer.decode() if answer else KILLED

    def enter(self):
        assert self.tell("enter") == "0 0"

    def sys(self, name, *args):
        """(result, errno) of a system call."""
        return self.numbers("sys", name, *args)

    def numbers(self, *words):
        answer = self.tell(*words)
        if answer == KILLED:
            raise Killed
        return tuple(int(n) for n in answer.split())

    def send(self, packet, to=MASTER, fds=()):
        return self.tell("send", to, packet.hex(), *fds)

    def recv(self, fd=MASTER, ms=2000):
        """[(name, fields, tail)] and the packet's descriptor; ([], None) if nothing came; None at the end."""
        answer = self.tell("recv", fd, ms)
        if answer in (KILLED, "eof"):
            return None
        if answer == "none":
            return [], None
        packet, passed = answer.split()
        return parse(bytes.fromhex(packet)), int(passed)

    def settle(self, ms=100, ack=True):
        """Takes what the master has sent so far, acknowledging it as an honest child does."""
        while True:
            got = self.recv(MASTER, ms)
            if not got or not got[0]:
                return self
            for name, fields, tail in got[0]:
                self.seen.append((name, fields, tail, got[1]))
                if name == "POLICY" and ack:
                    self.send(message("POLICY_ACK", fields[0], 0))
                if name == "USERS" and ack:
                    self.send(message("USERS_ACK", 1, 0, b""))
                if name == "KEYTAB" and ack:
                    self.send(message("KEYTAB_ACK", 0, 1, b""))

    def given(self, name, **match):
        """Of the messages seen: the descriptor of the last of this name (and of this peer role)."""
        for n, fields, _, fd in reversed(self.seen):
            if n == name and ("role" not in match or fields[0] == ROLES.index(match["role"])):
                return fd
        raise AssertionError(f"no {name} {match} among {[s[0] for s in self.seen]}")

    def peer_spawn(self, role):
        return [f for n, f, _, _ in self.seen if n == "PEER" and f[0] == ROLES.index(role)][-1][1]

    def version(self):
        return [f for n, f, _, _ in self.seen if n == "POLICY"][-1][0]

    def ask(self, packet, want, to=MASTER, ms=5000):
        """Sends and waits for a message of this name: its fields and tail."""
        assert self.send(packet, to) == "1 0"
        while True:
            got = self.recv(to, ms)
            assert got and got[0], f"no {want}"
            for name, fields, tail in got[0]:
                self.seen.append((name, fields, tail, got[1]))
                if name == want:
                    return fields, tail

    def leave(self):
        """The puppet's own end; the master sees a status of 0."""
        self.s.close()

    def check_layout(self):
        for line in self.tell("table").splitlines():
            name, number, fixed = line.split()
            NUMBER[name] = int(number)
            if name in LAYOUT:
                assert struct.calcsize(LAYOUT[name]) == int(fixed), f"{name}: the tests' layout is old"


class Stage:
    """`with Stage() as s:`; s.build is the build folder. s.want(role, n) makes the next n processes of that role
    puppets; s.puppet() is the next one that has come and waits for its first command."""

    def __init__(self):
        self.build = sally.tempfile.mkdtemp(prefix="sp.", dir="/tmp")
        self.lock = threading.Condition()
        self.wanted, self.asked, self.here = {}, {}, []

    def __enter__(self):
        os.chmod(self.build, 0o755)
        os.mkdir(f"{self.build}/real")
        for program in sally.PROGRAMS:
            child = program in ("worker", "resolver", "authd")
            shutil.copy(f"{sally.BUILD}/{program}", f"{self.build}/real" if child else self.build)
            if child:
                shutil.copy(f"{sally.BUILD}/hostile/puppet", f"{self.build}/{program}")
        self.s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.s.bind(f"{self.build}/puppet.sock")
        os.chmod(f"{self.build}/puppet.sock", 0o777)
        self.s.listen(256)
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.s.shutdown(socket.SHUT_RDWR)
        self.s.close()
        for p in self.asked.values():
            if p.s:
                p.s.close()
        shutil.rmtree(self.build, ignore_errors=True)

    def want(self, role, n=1):
        with self.lock:
            self.wanted[role] = self.wanted.get(role, 0) + n

    def serve(self):
        while True:
            try:
                c, _ = self.s.accept()
            except OSError:
                return
            threading.Thread(target=self.hello, args=(c,), daemon=True).start()

    def hello(self, c):
        words = c.recv(200).decode().split()
        if not words:
            c.close()
        elif words[0] == "here":
            with self.lock:
                p = self.asked[int(words[1])]
                p.s = c
                c.settimeout(60)
                self.here.append(p)
                self.lock.notify_all()
        else:
            role, spawn, pid = words[0], int(words[1]), int(words[2])
            with self.lock:
                obey = self.wanted.get(role, 0) > 0
                if obey:
                    self.wanted[role] -= 1
                    self.asked[pid] = Puppet(role, spawn, pid)
            c.send(b"obey" if obey else b"real")
            c.close()

    def puppet(self, role=None, seconds=20):
        with self.lock:
            assert self.lock.wait_for(lambda: [p for p in self.here if role in (None, p.role)], seconds), "no puppet"
            p = [p for p in self.here if role in (None, p.role)][0]
            self.here.remove(p)
        if not NUMBER:
            p.check_layout()
        return p


def start(gateway, stage, text, puppets, enter=True, **how):
    """A gateway with `puppets` ({role: n}) in it, entered and served with what the master sends, and READY."""
    for role, n in puppets.items():
        stage.want(role, n)
    g = gateway(text, ready=False, build=stage.build, **how)
    g.launch()
    cast = []
    for role, n in puppets.items():
        cast += [stage.puppet(role) for _ in range(n)]
    if enter:
        for p in cast:
            p.enter()
        for p in cast:
            p.settle(100)
        wait_for(lambda: g.heard("READY=1"), 30, g.story)
    return g, cast


def end(g, cast, lost):
    """Ends a gateway with all puppets in it: so many children were lost before, and none in the end."""
    g.p.send_signal(signal.SIGTERM)
    wait_for(lambda: g.heard("STOPPING=1"), 10, g.story)
    for p in cast:
        p.leave()
    g.expect_lost = lost
    assert len(g.records("child-lost")) == lost, g.story()
    g.finish()


class Alone:
    """A puppet without a gateway: started as the master does, with an INIT of the test's making."""

    def __init__(self, stage, role, off=(), uid=54321, chroot="", tries=()):
        program = {"worker": "worker", "resolver": "resolver"}.get(role, "authd")
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        modes = bytes(2 if l in off else 1 if l in tries else 0 for l in LAYERS)
        init = struct.pack(f"<IIIIII{len(LAYERS)}s7s256s64s256s", ROLES.index(role), 1, uid, uid, 64, 1, modes, bytes(7),
                           chroot.encode(), b"", (chroot or "/").encode() if role == "acceptor" else b"")
        stage.want(role)
        self.pid = os.fork()
        if self.pid == 0:
            os.dup2(its.fileno(), MASTER)
            null = os.open("/dev/null", os.O_RDWR)
            os.dup2(null, 0)
            os.dup2(null, 1)
            os.execve(f"{stage.build}/{program}", [role], {})
        its.close()
        self.s = mine
        mine.send(raw(0, init))
        self.puppet = stage.puppet(role)

    def end(self):
        """(signal, exit status) of the process."""
        self.s.close()
        if self.puppet.s:
            self.puppet.s.close()
        _, status = os.waitpid(self.pid, 0)
        return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, os.WEXITSTATUS(status)
