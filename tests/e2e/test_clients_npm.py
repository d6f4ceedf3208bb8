"""The npm package `socks` through the gateway: CONNECT. For BIND and UDP ASSOCIATE see test_clients_bind.py and
test_clients_udp.py."""
import json

import pytest

import peers
import sally
from npm_socks import Npm

PASSWORD = 'auth password file "@DIR@/users"\npass connect from any to { any, 127.0.0.0/8, ::1 } auth password\n'


def test_the_lock_has_hashes_and_names_no_host():
    with open(f"{sally.TOP}/tests/e2e/npm/package-lock.json") as f:
        text = f.read()
    packages = [p for name, p in json.loads(text)["packages"].items() if name]
    assert packages and all(p["integrity"].startswith("sha512-") for p in packages)
    assert "resolved" not in text and "://" not in text


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_connect(gateway, serve, host):
    g = gateway()
    echo = serve(peers.Echo, "::1" if host == "::1" else "127.0.0.1")
    npm = Npm(g, "connect", (host, echo.port))
    assert npm.end("received", b"through npm's socks")["data"] == "through npm's socks"
    assert g.record("session-close", command="connect")["asked"].decode() == (
        f"[::1]:{echo.port}" if host == "::1" else f"{host}:{echo.port}")


def test_connect_with_a_password(gateway, echo):
    g = gateway(PASSWORD, before=lambda g: g.write_users(sally.user_line("alice", "secret")))
    npm = Npm(g, "connect", ("127.0.0.1", echo.port), user="alice", password="secret")
    assert npm.end("received", b"signed in")["data"] == "signed in"
    assert "Authentication failed" in Npm(g, "connect", ("127.0.0.1", echo.port), user="alice", password="no").end("error")["message"]


def test_connect_blocked(gateway, echo):
    g = gateway("pass connect from any to 127.0.0.2 auth none\n")
    assert "NotAllowed" in Npm(g, "connect", ("127.0.0.1", echo.port)).end("error")["message"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_connect_by_version_4(gateway, echo, host):
    g = gateway("socks4 allow\n" + sally.OPEN)
    npm = Npm(g, "connect", (host, echo.port), version=4, user="a claim")
    assert npm.end("received", b"version 4")["data"] == "version 4"
    r = g.record("session-close", socks=4)
    assert (r["claim"], r.get("user"), r["asked"].decode()) == (b"a claim", None, f"{host}:{echo.port}")
