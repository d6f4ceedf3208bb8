"""A gateway as the GSSAPI client of another (RFC 1961), with a KDC of its own: what curl and browsers cannot speak, the
gateway on their machine does."""
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

import pytest

import peers
import sally
import socks5
from peers import wait_for
from socks5 import BIND, Client, open_session

HOME = "{ any, 127.0.0.0/8, ::1 }"
SECRET = b"nobody but the two gateways' clients should read this line " * 40


class Realm:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="sp.kdc.", dir="/tmp")
        os.chmod(self.dir, 0o755)
        subprocess.run([sys.executable, f"{sally.TOP}/tests/kdc", "start", self.dir], check=True, stdout=subprocess.DEVNULL)
        for name in os.listdir(self.dir):
            os.chmod(f"{self.dir}/{name}", 0o600 if name.endswith("keytab") else 0o644)
        self.env = dict(os.environ, KRB5_CONFIG=f"{self.dir}/krb5.conf")

    def kinit(self, cache, user="alice", life="1h", owner=None):
        subprocess.run(["kinit", "-l", life, "-k", "-t", f"{self.dir}/{user}.keytab", "-c", cache, user], check=True,
                       env=self.env)
        if owner is not None:
            os.chown(cache, owner, owner)

    def stop(self):
        subprocess.run([sys.executable, f"{sally.TOP}/tests/kdc", "stop", self.dir], check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(self.dir, ignore_errors=True)


@pytest.fixture(scope="module")
def realm():
    r = Realm()
    yield r
    r.stop()


def far_gateway(gateway, realm, rule="user alice auth gssapi protection confidentiality", more=""):
    return gateway(f'kerberos config "{realm.dir}/krb5.conf"\nauth gssapi keytab "{realm.dir}/keytab"\n{more}'
                   f"pass connect, bind, udp from any to {HOME} {rule}\n")


def near_gateway(gateway, realm, far, how="", user=None, cache=True, env=None, rule="auth none", **more):
    """The gateway on the user's own machine: with the tickets of who starts it (user), or those of a cache."""
    def before(g):
        if cache:
            realm.kinit(f"{g.dir}/cc", owner=user if user is not None else 64321)
    env = {"KRB5_CONFIG": f"{realm.dir}/krb5.conf"} | (env or {})
    g = gateway(f'process initiator uid 64321\nupstream hq socks5 "localhost" port {far.port} auth gssapi {how}\n'
                f"pass connect, bind, udp from any to {HOME} {rule} via hq\n", ready=False, user=user, env=env, **more)
    if user is not None:
        g.env = g.env | {"KRB5CCNAME": f"FILE:{g.dir}/cc"}
    before(g)
    return g.start()


BY_CACHE = 'ccache "FILE:@DIR@/cc"'


def talk(near, port, far=None):
    c, reply = open_session(near.at, "127.0.0.1", port)
    assert reply[0] == 0, near.story() + (far.story() if far else "")
    c.send(SECRET)
    assert c.read(len(SECRET)) == SECRET
    c.close()


@pytest.mark.parametrize("user", [None, sally.NOBODY], ids=["root", "a user"])
def test_connect_with_a_ticket(gateway, realm, echo, user):
    far = far_gateway(gateway, realm)
    near = near_gateway(gateway, realm, far, "" if user else BY_CACHE, user=user)
    talk(near, echo.port, far)
    r, theirs = near.record("session-close"), far.record("session-close")
    assert (theirs["user"], theirs["method"], theirs["asked"]) == (b"alice", b"gssapi", b"127.0.0.1:%d" % echo.port)
    assert (r["via"], r["up"], r["down"]) == (b"hq", b"%d" % len(SECRET), b"%d" % len(SECRET))
    assert (theirs["up"], theirs["down"]) == (r["up"], r["down"])
