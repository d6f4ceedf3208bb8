"""Real clients of CONNECT through the gateway: curl, ncat, proxychains4, python3-socks, headless chromium; IPv4 and
IPv6, versions 5 and 4."""
import os
import re
import subprocess
import tempfile
import time

import pytest

import peers
import sally

PASSWORD = 'auth password file "@DIR@/users"\npass connect from any to { any, 127.0.0.0/8, ::1 } auth password\n'


def run(*argv, seconds=60, **how):
    return subprocess.run([str(a) for a in argv], capture_output=True, timeout=seconds, **how)


@pytest.fixture
def g(gateway):
    return gateway()


@pytest.fixture
def locked(gateway):
    return gateway(PASSWORD, before=lambda g: g.write_users(sally.user_line("alice", "secret")))


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
@pytest.mark.parametrize("family", [4, 6])
def test_curl(g, serve, scheme, family):
    web = serve(peers.Web, "127.0.0.1" if family == 4 else "::1")
    host = "127.0.0.1" if family == 4 else "[::1]"
    at = f"127.0.0.1:{g.port}" if family == 4 else f"[::1]:{g.port}"
    p = run("curl", "-sS", "-x", f"{scheme}://{at}", f"http://{host}:{web.port}/")
    assert p.returncode == 0, p.stderr
    assert b"you are " + (b"127.0.0.1" if family == 4 else b"::1") in p.stdout
    assert g.record("session-close")["asked"].decode() == f"{host}:{web.port}"


def test_curl_by_name_and_a_large_file(g, web):
    p = run("curl", "-sS", "-x", f"socks5h://127.0.0.1:{g.port}", f"http://localhost:{web.port}/50000000")
    assert p.returncode == 0 and len(p.stdout) == 50_000_000, p.stderr
    r = g.record("session-close")
    assert r["asked"] == b"localhost:%d" % web.port and int(r["down"]) > 50_000_000


def test_curl_with_a_password(locked, web):
    url = f"http://127.0.0.1:{web.port}/"
    assert run("curl", "-sS", "-x", f"socks5h://alice:secret@127.0.0.1:{locked.port}", url).returncode == 0
    assert run("curl", "-sS", "-x", f"socks5h://alice:wrong@127.0.0.1:{locked.port}", url).returncode == 97
    assert run("curl", "-sS", "-x", f"socks5h://127.0.0.1:{locked.port}", url).returncode == 97
    assert len(web.requests) == 1


@pytest.mark.parametrize("scheme, host", [("socks4", "127.0.0.1"), ("socks4", "localhost"), ("socks4a", "localhost")])
def test_curl_with_version_4(gateway, web, scheme, host):
    """With socks4 curl looks the name up itself; its user's name is a claim, recorded as such."""
    g = gateway("socks4 allow\n" + sally.OPEN)
    p = run("curl", "-sS", f"--{scheme}", f"alice@127.0.0.1:{g.port}", f"http://{host}:{web.port}/")
    assert p.returncode == 0 and b"sallyport test page" in p.stdout, p.stderr
    r = g.record("session-close")
    assert (r["socks"], r["claim"], r.get("user")) == (b"4", b"alice", None)
    assert r["asked"].decode() == f"{host if scheme == 'socks4a' else '127.0.0.1'}:{web.port}"


def test_curl_with_version_4_is_told_why_not(gateway, web):
    """Version 4's own refusals: by the rules, because they ask for a password, and where `socks4 allow` is not there."""
    url = f"http://127.0.0.1:{web.port}/"
    blocked = gateway("socks4 allow\npass connect from any to 127.0.0.2 auth none\n")
    locked = gateway("socks4 allow\n" + PASSWORD, before=lambda g: g.write_users(sally.user_line("alice", "secret")))
    off = gateway()
    for g in (blocked, locked, off):
        p = run("curl", "-sS", "--socks4", f"alice@127.0.0.1:{g.port}", url)
        assert p.returncode == 97 and b"(91)" in p.stderr, p.stderr
    assert blocked.record("session-refused", socks=4)["reason"] == b"blocked"
    assert off.record("client-refused")["reason"] == b"version-not-supported"
    assert not web.requests


def test_curl_sees_why(gateway, serve):
    g = gateway("pass connect from any to 127.0.0.2 auth none\n")
    p = run("curl", "-sS", "-x", f"socks5h://127.0.0.1:{g.port}", "http://127.0.0.1:9/")
    assert p.returncode == 97 and b"(2)" in p.stderr, p.stderr


def test_the_line_that_make_run_prints(g):
    """The gateway through itself: the line that needs no network."""
    with open(f"{sally.TOP}/Makefile") as f:
        line = [l for l in f if "telnet://" in l][0].split('"')[1].replace("\\\\", "\\")
    line = line.replace("127.0.0.1:$(PORT)", f"127.0.0.1:{g.port}")
    p = subprocess.run(["sh", "-c", line.strip()], capture_output=True, timeout=20)
    assert p.stdout.split() == [b"05", b"00"], (line, p.stdout, p.stderr)


def test_ncat(g, serve):
    sink = serve(peers.Echo)
    p = run("ncat", "--proxy-type", "socks5", "--proxy", f"127.0.0.1:{g.port}", "127.0.0.1", sink.port, input=b"through ncat\n")
    assert p.stdout == b"through ncat\n", p.stderr


def test_ncat_with_a_password(locked, echo):
    p = run("ncat", "--proxy-type", "socks5", "--proxy-auth", "alice:secret", "--proxy", f"127.0.0.1:{locked.port}",
            "127.0.0.1", echo.port, input=b"through ncat\n")
    assert p.stdout == b"through ncat\n", p.stderr


def test_proxychains(locked, web):
    with tempfile.TemporaryDirectory(prefix="sp.", dir="/tmp") as tmp:
        with open(f"{tmp}/conf", "w") as f:
            f.write(f"strict_chain\nproxy_dns\n[ProxyList]\nsocks5 127.0.0.1 {locked.port} alice secret\n")
        p = run("proxychains4", "-q", "-f", f"{tmp}/conf", "curl", "-sS", f"http://127.0.0.1:{web.port}/")
    assert p.returncode == 0 and b"sallyport test page" in p.stdout, p.stderr
    assert locked.record("session-close")["user"] == b"alice"


def test_proxychains_with_version_4(gateway, web):
    g = gateway("socks4 allow\n" + sally.OPEN)
    with tempfile.TemporaryDirectory(prefix="sp.", dir="/tmp") as tmp:
        with open(f"{tmp}/conf", "w") as f:
            f.write(f"strict_chain\nproxy_dns\n[ProxyList]\nsocks4 127.0.0.1 {g.port} alice\n")
        p = run("proxychains4", "-q", "-f", f"{tmp}/conf", "curl", "-sS", f"http://127.0.0.1:{web.port}/")
    assert p.returncode == 0 and b"sallyport test page" in p.stdout, p.stderr
    assert g.record("session-close")["socks"] == b"4"


def test_python_socks(locked, serve):
    import socks
    for host in ("127.0.0.1", "::1"):
        echo = serve(peers.Echo, host)
        s = socks.socksocket(10 if ":" in host else 2)
        s.set_proxy(socks.SOCKS5, host, locked.port, True, "alice", "secret")
        s.settimeout(20)
        s.connect((host, echo.port))
        s.sendall(b"through python3-socks")
        assert s.recv(100) == b"through python3-socks"
        s.close()
    s = socks.socksocket()
    s.set_proxy(socks.SOCKS5, "127.0.0.1", locked.port, True, "alice", "wrong")
    with pytest.raises(socks.ProxyError):
        s.connect(("127.0.0.1", 9))


def test_chromium(g, web):
    with tempfile.TemporaryDirectory(prefix="sp.", dir="/tmp", ignore_cleanup_errors=True) as tmp:
        env = dict(os.environ, HOME=tmp, XDG_RUNTIME_DIR=tmp)
        p = run("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                f"--user-data-dir={tmp}/profile", f"--proxy-server=socks5://127.0.0.1:{g.port}", "--proxy-bypass-list=<-loopback>",
                "--disable-background-networking", "--disable-component-update", "--disable-sync", "--dump-dom",
                f"http://localhost:{web.port}/", seconds=150, env=env)
        assert b"sallyport test page" in p.stdout, p.stderr[-3000:]
        peers.wait_for(lambda: g.records(asked=f"localhost:{web.port}"), why=g.story)
        time.sleep(0.5)


def test_many_curls_at_once(g, web):
    urls = [u for n in range(40) for u in ("-o", "/dev/null", f"http://127.0.0.1:{web.port}/{1600 * (n + 1)}")]
    p = run("curl", "-sS", "-Z", "--parallel-max", "20", "-H", "Connection: close", "-x", f"socks5h://127.0.0.1:{g.port}", *urls)
    assert p.returncode == 0, p.stderr
    assert len(web.requests) == 40
    assert re.match(rb"\d+$", g.record("session-close")["duration"])
