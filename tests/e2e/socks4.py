"""A SOCKS4 and 4a client of raw octets, and the replies to it."""
import ipaddress
import struct

import socks5

GRANTED, REJECTED = 90, 91
REFUSAL = b"\0\x5b" + bytes(6)


def request(host, port, claim=b"", command=socks5.CONNECT):
    """`host`: octets are a name (4a), text an IPv4 address."""
    named = isinstance(host, bytes)
    return (struct.pack("!BBH", 4, command, port) + (b"\0\0\0\1" if named else ipaddress.IPv4Address(host).packed) + claim
            + b"\0" + (host + b"\0" if named else b""))


class Client(socks5.Client):
    def reply(self):
        """(CD, address as text, port)."""
        version, code, port = struct.unpack("!BBH", self.read(4))
        assert version == 0
        return code, str(ipaddress.IPv4Address(self.read(4))), port

    def ask(self, *args, **how):
        self.send(request(*args, **how))
        return self.reply()
