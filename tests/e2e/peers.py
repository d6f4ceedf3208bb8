"""Servers that the tests reach through a gateway, and the ones that a gateway itself uses (DNS, syslog).
Each listens on loopback addresses, is started by the `serve` fixture and stopped with the test."""
import http.server
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time


def wait_for(what, seconds=20, why="it did not happen in time"):
    """The first true value of what(), or a failure. A machine that stands still for a while is not waited for."""
    waited, last = 0, time.monotonic()
    while True:
        got = what()
        if got:
            return got
        assert waited < seconds, why() if callable(why) else why
        time.sleep(0.02)
        now = time.monotonic()
        waited, last = waited + min(now - last, 1), now


def listener(host="127.0.0.1", port=0, backlog=512):
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if ":" in host:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.bind((host, port))
    s.listen(backlog)
    return s


def wake(s):
    """Ends what other threads wait for on a socket: the port is free only once none of them holds it."""
    try:
        s.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def free_port(host="127.0.0.1"):
    with listener(host) as s:
        return s.getsockname()[1]


class Server:
    """Accepts on host:port and runs talk(socket, peer) for each client in a thread of its own."""

    def __init__(self, host="127.0.0.1", port=0):
        self.s = listener(host, port)
        self.host, self.port = self.s.getsockname()[:2]
        self.peers = []  # what each client came from
        self.threads = []

    def start(self):
        self.acceptor = threading.Thread(target=self.accept, daemon=True)
        self.acceptor.start()

    def peer(self):
        """Where the first client came from, once it is noticed here."""
        return wait_for(lambda: self.peers, why="nobody came")[0]

    def stop(self):
        wake(self.s)
        self.acceptor.join(5)
        self.s.close()

    def accept(self):
        while True:
            try:
                c, peer = self.s.accept()
            except OSError:
                return
            self.peers.append(peer[:2])
            self.accepted(c, peer)

    def accepted(self, c, peer):
        t = threading.Thread(target=self.one, args=(c, peer), daemon=True)
        self.threads.append(t)
        t.start()

    def one(self, c, peer):
        with c:
            try:
                c.settimeout(60)
                self.talk(c, peer)
            except OSError:
                pass

    def talk(self, c, peer):
        raise NotImplementedError


class Echo(Server):
    """Sends back what comes, then its end of file."""

    def talk(self, c, peer):
        while True:
            data = c.recv(65536)
            if not data:
                break
            c.sendall(data)
        c.shutdown(socket.SHUT_WR)


class Sink(Server):
    """Reads to the end of file, then answers with the count of octets it got, eight octets long."""

    def talk(self, c, peer):
        n = 0
        while True:
            data = c.recv(65536)
            if not data:
                break
            n += len(data)
        c.sendall(struct.pack("!Q", n))


class Source(Server):
    """Sends `size` octets, closes its side, and notes in `after` what came afterwards."""

    def __init__(self, size, **how):
        super().__init__(**how)
        self.size, self.after = size, None

    def talk(self, c, peer):
        block = bytes(range(256)) * 256
        left = self.size
        while left:
            left -= c.send(block[:min(left, len(block))])
        c.shutdown(socket.SHUT_WR)
        got = b""
        while True:
            data = c.recv(65536)
            if not data:
                break
            got += data
        self.after = got


class Held(Server):
    """Accepts and hands the sockets to the test, in `clients`, as they came."""

    def __init__(self, **how):
        super().__init__(**how)
        self.clients = []

    def accepted(self, c, peer):
        c.settimeout(20)
        self.clients.append(c)

    def next(self):
        wait_for(lambda: self.clients, why="no connection came")
        return self.clients.pop(0)

    def stop(self):
        super().stop()
        for c in self.clients:
            c.close()


class UdpEcho:
    """Sends each datagram back to where it came from; `seen` lists (octets, from)."""

    def __init__(self, host="127.0.0.1", port=0):
        self.s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.s.bind((host, port))
        self.host, self.port = self.s.getsockname()[:2]
        self.seen, self.stopped = [], False

    def start(self):
        self.thread = threading.Thread(target=self.talk, daemon=True)
        self.thread.start()

    def talk(self):
        while True:
            try:
                octets, peer = self.s.recvfrom(65536)
                if self.stopped:
                    return
                self.seen.append((octets, peer[:2]))
                self.s.sendto(octets, peer)
            except OSError:
                if self.stopped:
                    return

    def stop(self):
        self.stopped = True
        wake(self.s)
        self.thread.join(5)
        self.s.close()


class Full:
    """A listener that does not answer: its queue is full, so further connects wait for their time-out."""

    def __init__(self, host="127.0.0.1"):
        self.s = listener(host, backlog=0)
        self.host, self.port = self.s.getsockname()[:2]
        self.fill = []

    def start(self):
        for _ in range(4):
            c = socket.socket(self.s.family, socket.SOCK_STREAM)
            c.setblocking(False)
            c.connect_ex((self.host, self.port))
            self.fill.append(c)
        time.sleep(0.1)

    def stop(self):
        for c in self.fill:
            c.close()
        self.s.close()


class Web:
    """A web server; /N answers N octets, anything else a small page that names the client's address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            size = self.path.strip("/")
            body = b"0123456789abcdef" * (int(size) // 16) if size.isdigit() else (
                f"<title>sallyport test page</title>you are {self.client_address[0]}\n".encode())
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            self.server.requests.append(self.path)

    def __init__(self, host="127.0.0.1", port=0):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        kind = type("WebServer", (http.server.ThreadingHTTPServer,), {
            "address_family": family, "daemon_threads": True, "request_queue_size": 128})
        self.server = kind((host, port), Web.Handler)
        self.server.requests = []
        self.host, self.port = self.server.server_address[:2]
        self.requests = self.server.requests

    def start(self):
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


# --- DNS ---

def labels(name):
    return b"".join(bytes([len(l)]) + l for l in name.encode().split(b".") if l) + b"\0"


class NameServer:
    """On one port of UDP and TCP: handle(query, port, tcp) gives the replies to a query, each in a thread of its own."""

    def __init__(self, udp, tcp):
        self.udp, self.tcp, self.stopped = udp, tcp, False

    def handle(self, query, port, tcp):
        raise NotImplementedError

    def start(self):
        self.threads = [threading.Thread(target=t, daemon=True) for t in (self.serve_udp, self.serve_tcp)]
        for t in self.threads:
            t.start()

    def stop(self):
        self.stopped = True
        for s, t in zip((self.udp, self.tcp), self.threads):
            wake(s)
            t.join(5)
            s.close()

    def serve_udp(self):
        while True:
            try:
                query, peer = self.udp.recvfrom(4096)
            except OSError:
                return
            if self.stopped:
                return
            threading.Thread(target=self.one_udp, args=(query, peer), daemon=True).start()

    def one_udp(self, query, peer):
        try:
            for reply in self.handle(query, peer[1], False):
                self.udp.sendto(reply, peer)
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
                    for reply in self.handle(c.recv(n, socket.MSG_WAITALL), peer[1], True):
                        c.sendall(struct.pack("!H", len(reply)) + reply)
            except (OSError, struct.error):
                return


class Dns(NameServer):
    """A name server whose every answer the test decides. `zone` maps a name to a dict: A and AAAA lists of
    addresses, ttl, delay (seconds), delay_A, delay_AAAA, rcode. Names it lacks do not exist (NXDOMAIN with an SOA).
    `asked` lists (name, type, source port, query id)."""

    TYPES = {1: "A", 28: "AAAA"}

    def __init__(self, zone, host="127.0.0.1", port=53, negative_ttl=5):
        self.zone = {k.lower(): v for k, v in zone.items()}
        self.negative_ttl = negative_ttl
        self.host, self.port, self.asked = host, port, []
        udp = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((host, port))
        super().__init__(udp, listener(host, port))

    def handle(self, query, port, tcp):
        answer = self.answer(query, port)
        if answer is None:
            return []
        if not tcp and len(answer) > 1232:  # truncated: ask again over TCP
            answer = answer[:2] + struct.pack("!H", 0x8780) + struct.pack("!4H", 1, 0, 0, 0) + self.question(query)
        return [answer]

    @staticmethod
    def question(query):
        at = 12
        while query[at]:
            at += query[at] + 1
        return query[12:at + 5]

    def answer(self, query, port):
        q = self.question(query)
        kind = self.TYPES.get(struct.unpack("!H", q[-4:-2])[0], "?")
        name, at = [], 0
        while q[at]:
            name.append(q[at + 1:at + 1 + q[at]].decode("latin-1"))
            at += q[at] + 1
        name = ".".join(name).lower()
        self.asked.append((name, kind, port, struct.unpack("!H", query[:2])[0]))
        entry = self.zone.get(name)
        if entry is not None:
            delay = entry.get("delay_" + kind, entry.get("delay", 0))
            if delay is None:
                return None  # never answers
            time.sleep(delay)
        rcode = 3 if entry is None else entry.get("rcode", 0)
        found = [] if entry is None or rcode else entry.get(kind, [])
        records = b"".join(
            b"\xc0\x0c" + q[-4:] + struct.pack("!IH", entry.get("ttl", 60), 4 if kind == "A" else 16)
            + socket.inet_pton(socket.AF_INET if kind == "A" else socket.AF_INET6, a) for a in found)
        soa = b""
        if not found and rcode in (0, 3):
            data = b"\0\0" + struct.pack("!5I", 1, 60, 60, 60, self.negative_ttl)
            soa = b"\0" + struct.pack("!HHIH", 6, 1, self.negative_ttl, len(data)) + data
        return (query[:2] + struct.pack("!H", 0x8580 | rcode) + struct.pack("!4H", 1, len(found), bool(soa), 0)
                + q + records + soa)


class Dnsmasq:
    """dnsmasq with the given lines of configuration, on 127.0.0.1:port."""

    def __init__(self, lines, port=53, host="127.0.0.1"):
        self.tmp = tempfile.mkdtemp(prefix="sallyport-dns.")
        self.host, self.port = host, port
        with open(f"{self.tmp}/conf", "w") as f:
            f.write(f"port={port}\nlisten-address={host}\nbind-interfaces\nno-resolv\nno-hosts\nuser=root\n"
                    f"group=root\npid-file=\nlog-facility=-\nlocal=/#/\n" + "\n".join(lines) + "\n")

    def start(self):
        self.p = subprocess.Popen(["/usr/sbin/dnsmasq", "-k", "-C", f"{self.tmp}/conf"],
                                  stderr=open(f"{self.tmp}/log", "wb"))
        wait_for(self.answers, why="dnsmasq did not start")

    def answers(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(0.2)
            try:
                s.connect((self.host, self.port))
                s.send(b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + labels("ready.invalid") + b"\0\1\0\1")
                return s.recv(512)
            except OSError:
                return None

    def stop(self):
        self.p.terminate()
        self.p.wait(10)
        shutil.rmtree(self.tmp, ignore_errors=True)


class Program:
    """A server or a tool that runs until the test ends. `ready()` says that it is up; its output is in `out`."""

    def __init__(self, *argv, ready):
        self.argv, self.ready = [str(a) for a in argv], ready
        self.out = tempfile.TemporaryFile()

    def start(self):
        self.p = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=self.out, stderr=subprocess.STDOUT)
        wait_for(lambda: self.ready() or self.p.poll() is not None, why=self.said)
        assert self.p.poll() is None, self.said()

    def said(self):
        self.out.seek(0)
        return f"{self.argv[0]}: " + self.out.read().decode("utf-8", "replace")

    def stop(self):
        self.p.terminate()
        try:
            self.p.wait(10)
        except subprocess.TimeoutExpired:
            self.p.kill()
            self.p.wait()
        self.out.close()


# --- syslog ---

class Rsyslog:
    """A real rsyslogd on a socket of its own; `lines()` is what it wrote, to `out`. `template` may be any rsyslog one."""

    def __init__(self, extra="", template='%msg%\\n', out=None):
        self.tmp = tempfile.mkdtemp(prefix="sallyport-rsyslog.")
        os.chmod(self.tmp, 0o755)
        self.socket, self.out = f"{self.tmp}/log", out or f"{self.tmp}/out"
        with open(f"{self.tmp}/conf", "w") as f:
            f.write(f'''global(workDirectory="{self.tmp}" parser.escapeControlCharactersOnReceive="off" maxMessageSize="32k")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="{self.socket}" CreatePath="on" RateLimit.Interval="0")
template(name="t" type="string" string="{template}")
{extra}
action(type="omfile" file="{self.out}" template="t" asyncWriting="off" flushOnTXEnd="on")
''')

    def start(self):
        self.p = subprocess.Popen(["/usr/sbin/rsyslogd", "-n", "-f", f"{self.tmp}/conf", "-i", f"{self.tmp}/pid"],
                                  stdout=open(f"{self.tmp}/err", "wb"), stderr=subprocess.STDOUT)
        wait_for(lambda: os.path.exists(self.socket), why=lambda: open(f"{self.tmp}/err").read())

    def lines(self):
        if not os.path.exists(self.out):
            return []
        with open(self.out, "rb") as f:
            return f.read().splitlines(keepends=True)

    def stop(self):
        self.p.terminate()
        try:
            self.p.wait(10)
        except subprocess.TimeoutExpired:
            self.p.kill()
            self.p.wait()
        shutil.rmtree(self.tmp, ignore_errors=True)
