"""Real clients of UDP ASSOCIATE: npm's socks and python3-socks, and programs that know nothing of SOCKS behind redsocks: dig, and
HTTP/3 over QUIC by ngtcp2's client and server. What they reach are dnsmasq, echoes and gtlsserver."""
import os
import socket
import struct
import subprocess
import tempfile
import time

import pytest

import peers
import sally
from npm_socks import Npm

UDP = "pass udp from any to { any, 127.0.0.0/8, ::1 } auth none\n"
PASSWORD = 'auth password file "@DIR@/users"\npass udp from any to { any, 127.0.0.0/8, ::1 } auth password\n'
ZONE = ["address=/www.example/192.0.2.80", "address=/www.example/2001:db8::80"]


def query(name, kind=1, number=0x1234):
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + peers.labels(name) + struct.pack("!2H", kind, 1)


def answer(octets):
    """(query id, rcode, the first answer's data) of a message with one question."""
    number, flags, _, count = struct.unpack("!4H", octets[:8])
    at = octets.index(b"\0", 12) + 5
    return number, flags & 15, octets[at + 12:] if count else b""


def python_socks(g, rdns=True, user=None, password=None):
    import socks
    s = socks.socksocket(type=socket.SOCK_DGRAM)
    s.set_proxy(socks.SOCKS5, "127.0.0.1", g.port, rdns, user, password)
    s.settimeout(20)
    return s


def listens(port):
    """A UDP socket of this machine is bound to the port."""
    with open("/proc/net/udp") as f:
        return f":{port:04X} " in f.read()


def free_udp_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture
def tmp():
    with tempfile.TemporaryDirectory(prefix="sp.", dir="/tmp") as d:
        os.chmod(d, 0o755)
        yield d


@pytest.fixture
def through(serve, tmp):
    """through(g, port): redsocks takes datagrams on the port that it returns, and sends them to 127.0.0.1:port."""

    def start(g, port, more=""):
        here = free_udp_port()
        with open(f"{tmp}/redsocks", "w") as f:
            f.write("base { log_debug = off; log_info = on; log = stderr; daemon = off; redirector = generic; }\n"
                    f"redudp {{ local_ip = 127.0.0.1; local_port = {here}; ip = 127.0.0.1; port = {g.port};\n"
                    f"dest_ip = 127.0.0.1; dest_port = {port}; udp_timeout = 30; udp_timeout_stream = 60; {more} }}\n")
        serve(peers.Program, "redsocks", "-c", f"{tmp}/redsocks", ready=lambda: listens(here))
        return here

    return start


@pytest.mark.parametrize("rdns", [False, True])
def test_python_socks_asks_dnsmasq(gateway, serve, rdns):
    """With rdns the library declares its address as the name "0", without as 0.0.0.0: neither is its own."""
    serve(peers.Dnsmasq, ZONE)
    g = gateway(UDP)
    s = python_socks(g, rdns)
    for number, (kind, data) in enumerate([(1, b"\xc0\0\2\x50"), (28, bytes.fromhex("20010db8") + bytes(11) + b"\x80")]):
        s.sendto(query("www.example", kind, number), ("127.0.0.1", 53))
        octets, source = s.recvfrom(1000)
        assert source == ("127.0.0.1", 53)
        assert answer(octets) == (number, 0, data)
    s.sendto(query("no.such.example", number=9), ("127.0.0.1", 53))
    assert answer(s.recv(1000))[:2] == (9, 3)
    s.close()
    r = g.record("session-close", command="udp")
    assert (r["datagrams-up"], r["datagrams-down"], r["reason"]) == (b"3", b"3", b"client-closed")
    t = g.record("session-target")
    assert t["target"] == b"127.0.0.1:53"
    assert len(g.records("session-target")) == 1  # told once a target


def test_python_socks_by_name(gateway, serve):
    serve(peers.Dnsmasq, ZONE)
    g = gateway(UDP)
    s = python_socks(g)
    s.sendto(query("www.example"), ("localhost", 53))
    octets, source = s.recvfrom(1000)
    assert (answer(octets)[2], source) == (b"\xc0\0\2\x50", ("127.0.0.1", 53))
    s.close()
    assert g.record("session-target")["asked"] == b"localhost:53"


def test_python_socks_with_a_password(gateway, serve):
    import socks
    echo = serve(peers.UdpEcho)
    g = gateway(PASSWORD, before=lambda g: g.write_users(sally.user_line("alice", "secret")))
    s = python_socks(g, True, "alice", "secret")
    s.sendto(b"signed in", (echo.host, echo.port))
    assert s.recvfrom(100) == (b"signed in", (echo.host, echo.port))
    s.close()
    assert g.record("session-close", command="udp")["user"] == b"alice"
    with pytest.raises(socks.ProxyError):
        python_socks(g, True, "alice", "wrong").sendto(b"not", (echo.host, echo.port))
    assert [octets for octets, _ in echo.seen] == [b"signed in"]


def test_python_socks_to_ipv6(gateway, serve):
    echo = serve(peers.UdpEcho, "::1")
    g = gateway(UDP)
    s = python_socks(g, True)
    s.sendto(b"to IPv6", ("::1", echo.port))
    octets, source = s.recvfrom(100)
    assert (octets, source[1]) == (b"to IPv6", echo.port)
    s.close()


@pytest.mark.parametrize("size", [0, 1, 1472, 9000, 65507 - 10])
def test_sizes(gateway, serve, size):
    """Up to what a datagram with IPv4's header of ten octets (section 7) can hold."""
    echo = serve(peers.UdpEcho)
    g = gateway(UDP)
    s = python_socks(g)
    octets = bytes(n % 251 for n in range(size))
    s.sendto(octets, (echo.host, echo.port))
    assert s.recvfrom(65536)[0] == octets
    s.close()


def test_a_blocked_target(gateway, serve):
    """Its datagrams are dropped, and told once; the association lives on."""
    echo, other = serve(peers.UdpEcho), serve(peers.UdpEcho, "127.0.0.2")
    g = gateway("pass udp from any to 127.0.0.1 auth none\n")
    s = python_socks(g)
    for _ in range(3):
        s.sendto(b"not there", (other.host, other.port))
    s.sendto(b"there", (echo.host, echo.port))
    assert s.recv(100) == b"there"
    s.close()
    assert g.record("session-close", command="udp")["drops"] == b"rules:3"
    assert len(g.records("target-refused")) == 1 and not other.seen


def test_a_rule_for_connect_alone_refuses(gateway):
    import socks
    g = gateway("pass connect from any to { any, 127.0.0.0/8 } auth none\n")
    with pytest.raises(socks.ProxyError, match="0x02"):
        python_socks(g).sendto(b"", ("127.0.0.1", 9))
    assert g.record("session-refused")["reason"] == b"blocked"


def test_dig(gateway, serve, through):
    serve(peers.Dnsmasq, ZONE)
    g = gateway(UDP)
    port = through(g, 53)
    for kind, expected in (("A", "192.0.2.80"), ("AAAA", "2001:db8::80")):
        p = subprocess.run(["dig", "+short", "+tries=1", "+time=10", "@127.0.0.1", "-p", str(port), "www.example", kind],
                           capture_output=True, text=True, timeout=30)
        assert p.stdout.strip() == expected, p.stdout + g.story()
    assert g.record("session-target", target="127.0.0.1:53")["command"] == b"udp"


def test_http3(gateway, serve, through, tmp):
    """QUIC: a handshake, and a few megabytes each of whose datagrams is as full as the path allows."""
    body = os.urandom(3_000_000)
    os.mkdir(f"{tmp}/served")
    os.mkdir(f"{tmp}/got")
    with open(f"{tmp}/served/page", "wb") as f:
        f.write(body)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                    "/CN=localhost", "-keyout", f"{tmp}/key", "-out", f"{tmp}/cert"], check=True, capture_output=True)
    at = free_udp_port()
    serve(peers.Program, "gtlsserver", "-q", "-d", f"{tmp}/served", "127.0.0.1", at, f"{tmp}/key", f"{tmp}/cert",
          ready=lambda: listens(at))
    g = gateway(UDP)
    port = through(g, at)
    p = subprocess.run(["gtlsclient", "-q", "--exit-on-all-streams-close", "--download", f"{tmp}/got", "127.0.0.1", str(port),
                        "https://localhost/page"], capture_output=True, timeout=60)
    assert p.returncode == 0, p.stderr
    with open(f"{tmp}/got/page", "rb") as f:
        assert f.read() == body
    assert g.record("session-target", target=f"127.0.0.1:{at}")


@pytest.mark.parametrize("replies", ["connected", "any"])
def test_tftp(gateway, serve, tmp, replies):
    """A TFTP server (RFC 1350) answers from a port of its own, which the client has sent nothing to."""
    with open(f"{tmp}/page", "wb") as f:
        f.write(bytes(700))
    serve(peers.Dnsmasq, [*ZONE, "enable-tftp", f"tftp-root={tmp}"])
    g = gateway(f"udp replies {replies}\n" + UDP)
    s = python_socks(g)
    s.settimeout(20 if replies == "any" else 1)
    s.sendto(b"\0\1page\0octet\0", ("127.0.0.1", 69))
    if replies == "any":
        got = b""
        for block in (1, 2):
            octets, source = s.recvfrom(1000)
            assert octets[:4] == struct.pack("!HH", 3, block) and source[1] != 69
            got += octets[4:]
            s.sendto(struct.pack("!HH", 4, block), source)
        assert got == bytes(700)
    else:
        with pytest.raises(socket.timeout):
            s.recvfrom(1000)
    s.close()
    r = g.record("session-close", command="udp")
    assert r["datagrams-down"] == (b"2" if replies == "any" else b"0")
    assert (b"reply:" in r.get("drops", b"")) == (replies == "connected"), r


def test_two_at_once_do_not_mix(gateway, serve):
    echo = serve(peers.UdpEcho)
    g = gateway(UDP)
    both = [python_socks(g), python_socks(g)]
    for n in range(50):
        for who, s in enumerate(both):
            s.sendto(b"%d of %d" % (n, who), (echo.host, echo.port))
        for who, s in enumerate(both):
            assert s.recv(100) == b"%d of %d" % (n, who)
    for s in both:
        s.close()
    peers.wait_for(lambda: len(g.records("session-close", command="udp")) == 2, why=g.story)
    assert {r["datagrams-down"] for r in g.records("session-close")} == {b"50"}


def test_it_ends_with_its_connection(gateway, serve):
    """Section 7: the association is gone when the TCP connection is."""
    echo = serve(peers.UdpEcho)
    g = gateway(UDP)
    s = python_socks(g)
    s.sendto(b"first", (echo.host, echo.port))
    assert s.recv(100) == b"first"
    s._proxyconn.close()
    g.record("session-close", command="udp")
    time.sleep(0.1)
    try:
        s.sendto(b"second", (echo.host, echo.port))
    except ConnectionRefusedError:
        pass
    time.sleep(0.2)
    assert [octets for octets, _ in echo.seen] == [b"first"]
    s.close()


@pytest.mark.parametrize("declared", ["0.0.0.0", "127.0.0.9", "localhost"])
def test_associate(gateway, serve, declared):
    """IPv4, IPv6 and a name in one association, whatever address the client declares."""
    g = gateway(UDP)
    four, six = serve(peers.UdpEcho), serve(peers.UdpEcho, "::1")
    npm = Npm(g, "associate", (declared, 0), answers=3, datagrams=[
        {"host": "127.0.0.1", "port": four.port, "data": "by IPv4"},
        {"host": "::1", "port": six.port, "data": "by IPv6"},
        {"host": "localhost", "port": four.port, "data": "by name"}])
    got = {}
    for _ in range(3):
        d = npm.event("datagram")
        assert d["frag"] == 0
        got[d["data"]] = (d["from"]["host"], d["from"]["port"])
    npm.done()
    assert got["by IPv4"] == ("127.0.0.1", four.port) and got["by IPv6"][1] == six.port
    assert got["by name"][1] in (four.port, six.port)
    r = g.record("session-close", command="udp")
    assert (r["datagrams-up"], r["datagrams-down"]) == (b"3", b"3")


def test_associate_over_ipv6(gateway, serve):
    """The relay's address is the one on which the client reached the gateway."""
    g = gateway(UDP)
    echo = serve(peers.UdpEcho)
    npm = Npm(g, "associate", host="::1", answers=1, datagrams=[{"host": "127.0.0.1", "port": echo.port, "data": "over IPv6"}])
    assert npm.event("established")["peer"]["host"] in ("::1", "0000:0000:0000:0000:0000:0000:0000:0001")
    assert npm.event("datagram")["data"] == "over IPv6"
    npm.done()
    assert g.record("session-close", command="udp")["client"].startswith(b"[::1]:")


def test_associate_with_fragments(gateway, serve):
    """Section 7: three fragments make one datagram, the last with the high bit."""
    g = gateway("udp fragments on\n" + UDP)
    echo = serve(peers.UdpEcho)
    npm = Npm(g, "associate", answers=1, datagrams=[
        {"host": "127.0.0.1", "port": echo.port, "data": data, "frag": frag}
        for frag, data in ((1, "one "), (2, "two "), (0x83, "three"))])
    assert npm.event("datagram")["data"] == "one two three"
    npm.done()
    assert g.record("session-close", command="udp")["datagrams-up"] == b"1"
