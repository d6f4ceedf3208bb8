"""Real clients of BIND: npm's socks, and an FTP client in active mode (tnftp under Dante's socksify) with pyftpdlib's
server, which takes data connections only where the control connection came from."""
import os
import socket
import subprocess
import tempfile

import pytest

import peers
import sally
from npm_socks import Npm

BIND = "pass bind from any to { any, 127.0.0.0/8, ::1 } auth none\n"


def call_back(npm, answer):
    """The peer that BIND waits for: connects to what the first reply says, reads to the end, answers."""
    at = npm.event("bound")["at"]
    peer = socket.create_connection((at["host"], at["port"]), 20)
    established = npm.event("established")["peer"]
    assert (established["host"], established["port"]) == peer.getsockname()
    npm.say(b"from the client")
    with peer, peer.makefile("rb") as f:
        peer.settimeout(20)
        assert f.read() == b"from the client"
        peer.sendall(answer)


@pytest.mark.parametrize("expected", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("version", [4, 5])
def test_bind(gateway, version, expected):
    g = gateway("socks4 allow\nbind ports 20000-20009\n" + BIND)
    npm = Npm(g, "bind", (expected, 0), version=version)
    call_back(npm, b"from the peer")
    assert npm.event("received")["data"] == "from the peer"
    npm.done()
    r = g.record("session-close", command="bind")
    assert (r["up"], r["down"]) == (b"15", b"13")


def test_bind_blocked(gateway):
    g = gateway("bind ports 20000-20009\n" + sally.OPEN + "pass bind from any to 127.0.0.2 auth none\n")
    assert "NotAllowed" in Npm(g, "bind", ("127.0.0.1", 0)).end("error")["message"]
    assert g.record("session-refused")["command"] == b"bind"


SOCKSIFY = """route {
  from: 0.0.0.0/0 to: 0.0.0.0/0 via: 127.0.0.1 port = %d
  proxyprotocol: socks_v5
  command: bind connect
}
"""
SERVER = """import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer
FTPHandler.authorizer = DummyAuthorizer()
FTPHandler.authorizer.add_anonymous(sys.argv[2], perm="elradfmw")
FTPServer(("127.0.0.1", int(sys.argv[1])), FTPHandler).serve_forever()
"""


def answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def test_ftp_in_active_mode(gateway, serve):
    """The client tells the server, in PORT, the address and port of BIND's first reply; the server connects there."""
    with tempfile.TemporaryDirectory(prefix="sp.", dir="/tmp") as tmp:
        os.mkdir(f"{tmp}/served")
        body = os.urandom(3_000_000)
        with open(f"{tmp}/served/page", "wb") as f:
            f.write(body)
        port = peers.free_port()
        serve(peers.Program, "/usr/bin/python3", "-c", SERVER, port, f"{tmp}/served", ready=lambda: answers(port))
        g = gateway("bind ports 20000-20009\npass connect, bind from any to 127.0.0.0/8 auth none\n")
        with open(f"{tmp}/socks.conf", "w") as f:
            f.write(SOCKSIFY % g.port)
        env = dict(os.environ, SOCKS_CONF=f"{tmp}/socks.conf", SOCKS_AUTOADD_LANROUTES="no", HOME=tmp)
        p = subprocess.run(["socksify", "tnftp", "-A", "-n", "-v", "127.0.0.1", str(port)], capture_output=True, timeout=60, cwd=tmp,
                           env=env, input=b"user anonymous someone\nbinary\nget page\nput page copy\nquit\n")
        said = p.stdout.decode() + p.stderr.decode() + g.story()
        for name in ("page", "served/copy"):
            with open(f"{tmp}/{name}", "rb") as f:
                assert f.read() == body, said
        bound = peers.wait_for(lambda: len(g.records("session-close", command="bind")) == 2 and
                               g.records("session-close", command="bind"), why=g.story)
        assert {(r["up"], r["down"]) for r in bound} == {(b"3000000", b"0"), (b"0", b"3000000")}, said
