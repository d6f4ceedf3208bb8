"""libsallyport as a program's author has it: the installed header and library, and the man page's example."""
import re
import socket
import subprocess
import threading

import pytest

import peers
import sally
import socks5
from test_install import make

LANGUAGES = {"c99": ["gcc", "-x", "c", "-std=c99"], "c17": ["gcc", "-x", "c", "-std=c17"], "c++98": ["clang", "-x", "c++", "-std=c++98"],
             "c++20": ["clang", "-x", "c++", "-std=c++20"]}
STRICT = ["-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
CALLS = {"parse", "header", "header_len", "from", "to", "space"}


@pytest.fixture
def installed(tmp_path):
    make("install", f"DESTDIR={tmp_path}")
    return str(tmp_path)


def example():
    """The program in the man page, as a reader sees it."""
    with open(f"{sally.TOP}/etc/man/sallyport.3") as f:
        page = f.read()
    text, = re.findall(r"^\.Sh EXAMPLES.*?^\.Bd -literal\n(.*?)^\.Ed", page, re.M | re.S)
    return text.replace("\\e", "\\")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_header_stands_alone(installed, language):
    call = '#include <sallyport.h>\nint main(void) { return sallyport_udp_space(100, SALLYPORT_IPV4, 0) == 90 ? 0 : 1; }\n'
    p = subprocess.run([*LANGUAGES[language], *STRICT, f"-I{installed}/usr/include", "-fsyntax-only", "-"], input=call, text=True,
                       capture_output=True, timeout=60)
    assert p.returncode == 0, p.stderr


def test_the_library_is_its_functions_alone(installed):
    """Nothing else of the gateway in it, no state, and no name but its own."""
    out = subprocess.run(["nm", "-P", f"{installed}/usr/lib/libsallyport.a"], capture_output=True, text=True, check=True).stdout
    symbols = [l.split()[:2] for l in out.splitlines() if len(l.split()) >= 2]
    if not sally.SANITIZE:
        assert not [n for n, kind in symbols if kind in "BbDdC"], out
    assert {n for n, kind in symbols if kind == "T"} == {f"sallyport_udp_{c}" for c in CALLS}


def test_every_function_is_in_the_man_page():
    with open(f"{sally.TOP}/etc/man/sallyport.3") as f:
        assert set(re.findall(r"^\.Fn sallyport_udp_(\w+) \"", f.read(), re.M)) == CALLS


def relay_once(s, seen):
    """Plays a gateway's relay for one datagram: answers it from 192.0.2.1:7 in capitals."""
    got, peer = s.recvfrom(65536)
    seen.append(got)
    name = got[4]
    s.sendto(b"\0\0\0\1\xc0\0\2\1\0\7" + got[5 + name + 2:].upper(), peer)


@pytest.fixture
def program(installed, tmp_path):
    """The man page's example, compiled and linked as its reader would."""
    path = f"{tmp_path}/example"
    more = ["-fsanitize=address,undefined"] if sally.SANITIZE else []
    p = subprocess.run(["gcc", "-x", "c", "-std=c99", *STRICT, *more, f"-I{installed}/usr/include", "-", "-x", "none", "-o", path,
                        f"-L{installed}/usr/lib", "-lsallyport"], input=example(), text=True, capture_output=True, timeout=60)
    assert p.returncode == 0, p.stderr
    return path


def run(program, relay, name, port):
    p = subprocess.run([program, relay[0], str(relay[1]), name, str(port)], capture_output=True, text=True, timeout=20)
    assert p.returncode == 0, p.stderr
    return p.stdout


def test_the_example_runs(program):
    seen = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        s.settimeout(20)
        t = threading.Thread(target=relay_once, args=(s, seen))
        t.start()
        assert run(program, s.getsockname(), "host.example", 7) == "HELLO\n"
        t.join()
    assert seen == [b"\0\0\0\3\x0chost.example\0\7hello"]
    assert subprocess.run([program], capture_output=True, timeout=20).returncode == 1


def test_the_example_runs_through_a_gateway(program, gateway, serve):
    echo = serve(peers.UdpEcho)
    g = gateway("pass udp from any to 127.0.0.0/8 auth none\n")
    with socks5.Association(g.at) as a:
        assert run(program, a.relay, "localhost", echo.port) == "hello\n"
    assert [octets for octets, _ in echo.seen] == [b"hello"]
