"""Fixtures of the end-to-end and the hostile tests. What they hand out is in tests/e2e/: sally.py
(gateways), peers.py (servers to reach through them), socks5.py (a client of raw octets), records.py
(the audit trail read back)."""
import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "e2e"))

import kdc  # noqa: E402
import peers  # noqa: E402
import sally  # noqa: E402

sys.dont_write_bytecode = True


@pytest.fixture
def gateway():
    """gateway(text, ...) starts a gateway with that configuration and returns it, ready; see sally.py.
    Each is stopped at the end, and must then have ended well: no sanitizer report, no child lost that
    the test did not announce."""
    running = []

    def start(text=sally.OPEN, ready=True, before=None, **how):
        """`ready=False`: not started. `before(g)`: done first, as writing the users file."""
        g = sally.Gateway(text, **how)
        running.append(g)
        if before:
            before(g)
        return g.start() if ready else g

    yield start
    for g in running:
        g.finish()


@pytest.fixture
def serve():
    """serve(peers.Echo, ...) starts a server, stopped at the end."""
    running = []

    def start(kind, *args, **how):
        s = kind(*args, **how)
        running.append(s)
        s.start()
        return s

    yield start
    for s in running:
        s.stop()


@pytest.fixture(scope="module")
def realm():
    """A Kerberos realm with its KDC, for all tests of a file; see kdc.py."""
    r = kdc.Realm()
    yield r.start()
    r.stop()


@pytest.fixture
def echo(serve):
    return serve(peers.Echo)


@pytest.fixture
def web(serve):
    return serve(peers.Web)
