"""Every configuration in etc/examples/ is right and runs, and does what it says (ports, paths and networks are set
to this test's by macros or by replacing the lines that name them)."""
import glob
import os
import re
import subprocess

import pytest

import peers
import sally
import socks5

EXAMPLES = sorted(glob.glob(f"{sally.TOP}/etc/examples/*.conf"))


def placed(path):
    """The example's text with its run directory, logs and users file in the test's directory."""
    with open(path) as f:
        text = f.read()
    text = re.sub(r'run directory "[^"]*"', 'run directory "@DIR@/run"', text)
    text = re.sub(r'(log file) "[^"]*"', r'\1 "@DIR@/log"', text)
    text = re.sub(r'(auth password file) "[^"]*"', r'\1 "@DIR@/users"', text)
    text = re.sub(r'(auth gssapi keytab) "[^"]*"', r'\1 "@DIR@/keytab"', text)
    return text


def needs_realm(path):
    """Kerberos needs a KDC's keys: such an example is read here, and run by the tests of GSSAPI."""
    with open(path) as f:
        return "auth gssapi" in f.read()


def test_there_are_six():
    assert len(EXAMPLES) >= 6, EXAMPLES


@pytest.mark.parametrize("path", EXAMPLES, ids=os.path.basename)
def test_it_is_right(path):
    _, err = sally.check(placed(path))
    assert not [l for l in err.splitlines() if re.match(r".*:\d+: ", l) and "users" not in l and "keytab" not in l], err


@pytest.mark.parametrize("path", [p for p in EXAMPLES if not needs_realm(p)],
                         ids=os.path.basename)
def test_it_runs(gateway, path):
    text = placed(path)
    for address in re.findall(r"^\s*listen on ([0-9a-f.:]+)", text, re.M):
        if not address.startswith("127.") and address != "::1":
            subprocess.run(["ip", "addr", "add", address, "dev", "lo"], check=False, capture_output=True)
    g = gateway(text, whole=True, before=lambda g: g.write_users(sally.user_line("alice", "secret")))
    assert len(g.children()) >= 2
    listens = re.findall(r"^\s*listen on ([0-9a-f.:]+)(?: port (\d+))?", text, re.M)
    assert listens, text
    for address, port in listens:
        c = socks5.Client((address, int(port or 1080)))
        c.send(socks5.greeting(0, 2))
        assert c.method() in (0, 2)
        c.close()


def test_the_readmes_configuration_runs(gateway):
    """The first one, and the lines to add to it."""
    with open(f"{sally.TOP}/README.md") as f:
        text = "".join(t for language, t in re.findall(r"^```(\w*)\n(.*?)^```$", f.read(), re.S | re.M) if not language)
    assert text.startswith("staff = ") and "auth password file" in text and "socks4 allow" in text
    path_free = re.sub(r'(log file|auth password file) "[^"]*/', r'\1 "@DIR@/', text)
    subprocess.run(["ip", "addr", "add", "10.0.0.1", "dev", "lo"], check=True)
    g = gateway(path_free + 'run directory "@DIR@/run"\n', whole=True,
                before=lambda g: g.write_users(sally.user_line("alice", "secret")))
    with socks5.Client(("10.0.0.1", 1080), source="10.0.0.1") as c:
        assert c.ended()  # it is not one of the staff
    assert g.children("authd")


def test_local_carries_curl(gateway, web):
    g = gateway(placed(f"{sally.TOP}/etc/examples/local.conf"), whole=True)
    for at in ("127.0.0.1:1080", "[::1]:1080"):
        p = subprocess.run(["curl", "-sS", "-x", f"socks5h://{at}", f"http://127.0.0.1:{web.port}/"], capture_output=True, timeout=30)
        assert p.returncode == 0, p.stderr
    peers.wait_for(lambda: g.stderr().count("event=session-close") == 2, why=g.story)


def test_udp_carries_what_it_says_and_no_more(gateway, serve):
    for address in ("10.1.0.1", "10.1.0.2", "10.1.0.53"):
        subprocess.run(["ip", "addr", "add", address, "dev", "lo"], check=False, capture_output=True)
    server = serve(peers.UdpEcho, "10.1.0.53", 53)
    g = gateway(placed(f"{sally.TOP}/etc/examples/udp.conf") + 'log file "@DIR@/log"\nrun directory "@DIR@/run"\n', whole=True,
                before=lambda g: g.write_users(sally.user_line("alice", "secret")))
    with socks5.Association(("10.1.0.1", 1080), source="10.1.0.2") as a:
        assert a.relay[0] == "10.1.0.1" and 50000 <= a.relay[1] <= 50999
        a.send("10.1.0.53", 54, b"another port")
        a.send("10.1.0.53", 53, b"a question")
        assert a.receive() == (0, "10.1.0.53", 53, b"a question")
    assert g.record("target-refused")["target"] == b"10.1.0.53:54"
    assert [octets for octets, _ in server.seen] == [b"a question"]


def test_two_local_gateways_the_second_says_why_not(gateway):
    text = placed(f"{sally.TOP}/etc/examples/local.conf")
    gateway(text, whole=True)
    status, err = gateway(text, whole=True, ready=False).fails_to_start()
    assert status == 1 and "1080" in err and "listen on" in err, err


def test_make_run_needs_no_root(gateway, echo):
    """What `make run` starts, as a user without rights."""
    with open(f"{sally.TOP}/etc/examples/local.conf") as f:
        text = f.read()
    g = gateway(text, whole=True, user=sally.NOBODY, env={"XDG_RUNTIME_DIR": "", "HOME": "/nonexistent"})
    assert socks5.open_session(("127.0.0.1", 1080), "127.0.0.1", echo.port)[1][0] == 0
    assert g.stop() == 0
