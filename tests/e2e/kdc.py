"""A Kerberos realm for tests (tests/kdc), and its clients: credential caches of alice, bob and carol/admin, with the
lifetime, service and encryption type that a test wants, and with a clock or an end of ticket that lie."""
import contextlib
import os
import shutil
import struct
import subprocess
import tempfile
import time

import sally

NAME = "SALLYPORT.TEST"
AES128_SHA1, AES256_SHA1, AES128_SHA256, AES256_SHA384 = ENCTYPES = 17, 18, 19, 20
SOCKS = "socks@gateway.test"  # as GSSAPI's host-based names have it


class Credentials:
    """A credential cache; `config` is the krb5.conf that goes with it."""

    def __init__(self, realm, path, config):
        self.realm, self.path, self.config = realm, path, config

    @contextlib.contextmanager
    def env(self):
        """For MIT's library in this process: it reads both anew for each context."""
        before = {k: os.environ.get(k) for k in ("KRB5_CONFIG", "KRB5CCNAME")}
        os.environ.update(KRB5_CONFIG=self.config, KRB5CCNAME=f"FILE:{self.path}")
        try:
            yield
        finally:
            for k, v in before.items():
                os.environ.pop(k) if v is None else os.environ.update({k: v})

    def run(self, *argv):
        env = dict(os.environ, KRB5_CONFIG=self.config, KRB5CCNAME=f"FILE:{self.path}")
        p = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60)
        assert p.returncode == 0, f"{argv}: {p.stdout}{p.stderr}"
        return p.stdout

    def fetch(self, service="socks/gateway.test"):
        """The service's ticket, now, so that nothing need be asked of the KDC later."""
        self.run("kvno", "-q", service)
        return self

    def edit(self, change):
        with open(self.path, "r+b") as f:
            data = change(f.read())
            f.seek(0)
            f.truncate()
            f.write(data)
        return self

    def shift_clock(self, seconds):
        """The client's clock from now on: MIT's caches carry its difference from the KDC's in their head."""
        def change(data):
            version, length = struct.unpack_from("!HH", data)
            assert version == 0x504
            head = struct.pack("!HHii", 1, 8, seconds, 0)
            return struct.pack("!HH", version, len(head)) + head + data[4 + length:]
        return self.edit(change)

    @staticmethod
    def times(data):
        """Where authtime, starttime, endtime and renew_till of a credential stand."""
        now = time.time()
        for at in range(len(data) - 16):
            auth, begin, end, renew = struct.unpack_from("!4I", data, at)
            if abs(auth - now) < 3600 and auth <= begin + 1 and begin < end < now + 90000 and (renew == 0 or renew >= end):
                yield at, (auth, begin, end, renew)

    def ends(self):
        """When the last ticket ends, in seconds since 1970."""
        with open(self.path, "rb") as f:
            return max(end for _, (_, _, end, _) in self.times(f.read()))

    def pretend(self, begin=0, end=0):
        """The cache says that its tickets begin and end at other times than the KDC has sealed in them: MIT's client
        believes it, and uses them."""
        def change(data):
            for at, (auth, b, e, renew) in list(self.times(data)):
                data = data[:at] + struct.pack("!4I", auth + begin, b + begin, e + end, renew) + data[at + 16:]
            return data
        return self.edit(change)


class Realm:
    def __init__(self, *args):
        self.dir = tempfile.mkdtemp(prefix="kdc.", dir="/tmp")
        os.chmod(self.dir, 0o755)
        self.args, self.caches = args, 0
        self.config, self.keytab = f"{self.dir}/krb5.conf", f"{self.dir}/keytab"

    def start(self):
        p = subprocess.run([f"{sally.TOP}/tests/kdc", "start", self.dir, *self.args], capture_output=True, text=True, timeout=60)
        assert p.returncode == 0, p.stdout + p.stderr
        return self

    def stop(self):
        subprocess.run([f"{sally.TOP}/tests/kdc", "stop", self.dir], check=True, timeout=60)
        shutil.rmtree(self.dir, ignore_errors=True)

    def kadmin(self, *commands):
        """kadmin.local's answer; its own status says nothing."""
        env = dict(os.environ, KRB5_CONFIG=self.config, KRB5_KDC_PROFILE=f"{self.dir}/kdc.conf")
        p = subprocess.run(["/usr/sbin/kadmin.local", "-r", NAME], env=env, input="".join(c + "\n" for c in commands),
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        return p.stdout

    def make_keytab(self, name, *principals):
        """A keytab with the keys that these have now."""
        path = f"{self.dir}/{name}"
        said = self.kadmin(f"ktadd -norandkey -k {path} {' '.join(principals)}")
        assert os.path.exists(path), said
        return path

    def kinit(self, user="alice", lifetime=None, service=None, enctype=None, options=()):
        """Credentials of a user (alice, bob, carol), from the user's keytab."""
        self.caches += 1
        config = f"{self.dir}/krb5-{enctype}.conf" if enctype else self.config
        c = Credentials(self, f"{self.dir}/cc.{self.caches}", config)
        principal = {"carol": "carol/admin"}.get(user, user)
        c.run("kinit", *(["-l", lifetime] if lifetime else []), *(["-S", service] if service else []), *options,
              "-k", "-t", f"{self.dir}/{user}.keytab", principal)
        return c
