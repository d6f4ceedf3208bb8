"""A master and workers for an authd alone: speaks the messages of common/msg.h, whose numbers are read from there."""
import fcntl
import os
import re
import select
import shutil
import socket
import struct
import subprocess
import tempfile
import time

import sally

with open(f"{sally.TOP}/common/msg.h") as _f:
    _text = _f.read()


def _table(macro):
    body = _text[_text.index(f"#define {macro}(X)"):]
    end = re.search(r"[^\\]\n", body).end()
    return re.findall(r"X\((\w+),", body[:end])


MSG = {name: n for n, name in enumerate(_table("MESSAGES"))}
NAME = {n: name for name, n in MSG.items()}
VERDICT = {name.removeprefix("VERDICT_"): n for n, name in enumerate(_table("VERDICTS"))}
VERDICT_NAME = {n: name for name, n in VERDICT.items()}
LAYERS = [name.removeprefix("LAYER_") for name in _table("LAYERS")]
_roles = re.search(r"enum role \{(.*?)\}", _text, re.S).group(1).replace("\n", " ").split(",")
ROLE = {name.strip().removeprefix("ROLE_"): n for n, name in enumerate(_roles)}
REQUIRE, TRY, OFF = range(3)
HARD = ("CHROOT", "UID", "CAPABILITIES", "NO_NEW_PRIVS", "SECCOMP")


def addrport(address="192.0.2.1", port=1000):
    if address is None:
        return bytes(28)
    v6 = ":" in address
    octets = socket.inet_pton(socket.AF_INET6 if v6 else socket.AF_INET, address)
    return struct.pack("=B3x16sHHI", 6 if v6 else 4, octets, port, 0, 0)


def message(name, payload):
    return struct.pack("=HHI", MSG[name], len(payload), 0) + payload + bytes(-len(payload) % 8)


def ask(slot, user, password, source="192.0.2.1", gen=1, lengths=None):
    """AUTH_PASSWORD."""
    ul, pl = lengths or (len(user), len(password))
    return message("AUTH_PASSWORD", struct.pack("=II", slot, gen) + addrport(source) +
                   struct.pack("=BB2x", ul, pl) + user + password)


def abort(slot, gen=1):
    return message("AUTH_ABORT", struct.pack("=II", slot, gen))


class Closed(Exception):
    pass


class Peer:
    """One end of a channel."""

    def __init__(self, sock):
        self.sock, self.waiting = sock, []

    def send(self, *messages, fd=None):
        data = b"".join(messages)
        if fd is None:
            self.sock.send(data)
        else:
            socket.send_fds(self.sock, [data], [fd])

    def _read(self, seconds):
        if not select.select([self.sock], [], [], max(seconds, 0))[0]:
            return False
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError:
            data = self.sock.recv(65536)
        if not data:
            raise Closed
        while data:
            kind, n, _ = struct.unpack_from("=HHI", data)
            self.waiting.append((NAME[kind], data[8:8 + n]))
            data = data[8 + (n + 7) // 8 * 8:]
        return True

    def get(self, name=None, seconds=20):
        """The next message (of that name: others are an error); (name, payload)."""
        end = time.monotonic() + seconds
        while not self.waiting:
            if not self._read(end - time.monotonic()):
                raise TimeoutError(f"no {name or 'message'} came")
        got = self.waiting.pop(0)
        assert name is None or got[0] == name, got
        return got[1] if name else got

    def all(self, seconds=0):
        """What is there, after a wait."""
        if seconds:
            time.sleep(seconds)
        while self._read(0):
            pass
        got, self.waiting = self.waiting, []
        return got

    def ended(self, seconds=10):
        try:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                self._read(end - time.monotonic())
        except Closed:
            return True
        return False

    # --- typed ---

    def result(self, seconds=20):
        """(slot, accepted, user, groups)"""
        p = self.get("AUTH_RESULT", seconds)
        slot, _, accepted, _, ul, _, gl = struct.unpack_from("=IIBBBBI", p)
        assert len(p) == 16 + ul + gl
        groups, packed = [], p[16 + ul:]
        while packed:
            groups.append(packed[1:1 + packed[0]])
            packed = packed[1 + packed[0]:]
        return slot, bool(accepted), p[16:16 + ul], groups

    def verdict(self, seconds=20):
        """(slot, spawn, verdict, user, client)"""
        return self.as_verdict(self.get("VERDICT", seconds))

    @staticmethod
    def as_verdict(p):
        slot, _, spawn, v, _, ul, _ = struct.unpack_from("=IIIBBBB", p)
        assert len(p) == 48 + ul, len(p)
        return slot, spawn, VERDICT_NAME[v], p[48:], p[16:44]


class Authd:
    """An authd of its own, with no gateway around it; this end is its master."""

    def __init__(self, role="PASSWORD", service="", layers=None, workers=2, wrapper=(), sndbuf=None, uid=61234,
                 directory="", realm=()):
        self.dir = tempfile.mkdtemp(prefix="sp.", dir="/tmp")
        os.mkdir(f"{self.dir}/root", 0o755)
        os.chmod(self.dir, 0o755)
        if role == "ACCEPTOR":
            directory = f"{self.dir}/root"
            self.prepare(directory, uid, *realm)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if sndbuf:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf)
        self.stderr_path = f"{self.dir}/stderr"
        self.p = subprocess.Popen([*wrapper, f"{sally.BUILD}/authd"], stdin=subprocess.DEVNULL,
                                  stderr=open(self.stderr_path, "wb"), close_fds=False, env=sally.environment(),
                                  preexec_fn=lambda: os.dup2(theirs.fileno(), 3))
        theirs.close()
        self.master = Peer(ours)
        self.spawn, self.workers = 100, []
        modes = {name: REQUIRE if name in HARD else TRY for name in LAYERS}
        if role == "PAM":
            modes |= {"CHROOT": OFF}
        modes |= layers or {}
        chroot = f"{self.dir}/root".encode() if modes["CHROOT"] != OFF else b""
        self.master.send(message("INIT", struct.pack("=6I", ROLE[role], 7, uid, uid, 65536, workers) +
                                 bytes(modes[name] for name in LAYERS).ljust((len(LAYERS) + 7) // 8 * 8, b"\0") +
                                 struct.pack("=256s64s256s", chroot, service.encode(), directory.encode())))
        self.master.get("READY")

    @staticmethod
    def prepare(directory, uid, krb5_conf, rcache=None):
        """The acceptor's directory, as the master makes it."""
        with open(f"{directory}/krb5.conf", "w") as f:
            f.write(krb5_conf)
        os.chmod(f"{directory}/krb5.conf", 0o644)
        with open(f"{directory}/rcache", "wb") as f:
            f.write(rcache or b"")
        os.chown(f"{directory}/rcache", uid, uid)
        os.chmod(f"{directory}/rcache", 0o600)

    def keytab(self, path):
        """Gives it a keytab; returns (keys, what) of the acknowledgement."""
        with open(path, "rb") as f:
            self.master.send(message("KEYTAB", struct.pack("=II", 0, 0)), fd=f.fileno())
        index, keys, what = struct.unpack("=II120s", self.master.get("KEYTAB_ACK"))
        assert index == 0
        return keys, what.rstrip(b"\0").decode()

    def policy(self, image, version=1):
        """Gives it a policy image, whose version is `version`."""
        fd = os.memfd_create("policy", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.write(fd, image)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS,
                    fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
        self.master.send(message("POLICY", struct.pack("=II", version, len(image))), fd=fd)
        os.close(fd)
        assert self.master.get("POLICY_ACK")

    def users(self, text):
        """Gives it a users file; returns (users, line, what) of the acknowledgement."""
        path = f"{self.dir}/users"
        with open(path, "wb") as f:
            f.write(text if isinstance(text, bytes) else text.encode())
        return self.users_file(path)

    def users_file(self, path):
        with open(path, "rb") as f:
            self.master.send(message("USERS", b""), fd=f.fileno())
        n, line, what = struct.unpack("=II120s", self.master.get("USERS_ACK"))
        return n, line, what.rstrip(b"\0").decode()

    def worker(self):
        """A worker's end of a new channel; .spawn is its number."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.spawn += 1
        self.master.send(message("PEER", struct.pack("=II", ROLE["WORKER"], self.spawn)), fd=theirs.fileno())
        theirs.close()
        w = Peer(ours)
        w.spawn = self.spawn
        self.workers.append(w)
        return w

    def check(self, w, user, password, source="192.0.2.1", slot=0):
        """One exchange: (verdict, accepted, user of the result, groups, seconds)."""
        began = time.monotonic()
        w.send(ask(slot, user, password, source))
        got = w.result()
        took = time.monotonic() - began
        v = self.master.verdict()
        assert got[0] == v[0] == slot and v[1] == w.spawn and v[4] == addrport(source)
        assert got[1] == (v[2] == "ACCEPT")
        if not got[1]:
            assert (got[2], got[3]) == (b"", [])  # the worker learns nothing but the refusal
            assert v[3] == user
        return v[2], got[1], got[2], got[3], took

    def stop(self):
        if self.master.sock.fileno() == -1:
            return
        try:
            if self.p.poll() is None:
                try:
                    self.master.send(message("STOP", b""))
                except OSError:
                    pass
            status = self.p.wait(10)
            with open(self.stderr_path, "rb") as f:
                err = f.read()
            assert status == 0 and not sally.TROUBLE.search(err), (status, err)
        finally:
            if self.p.poll() is None:
                self.p.kill()
                self.p.wait()
            self.master.sock.close()
            for w in self.workers:
                w.sock.close()
            shutil.rmtree(self.dir, ignore_errors=True)
