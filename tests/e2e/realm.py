"""A Kerberos realm for tests (tests/kdc) and its clients, by MIT's own GSSAPI."""
import os
import shutil
import signal
import subprocess
import tempfile

import gssapi

import sally
from peers import wait_for

KRB5 = gssapi.OID.from_int_seq("1.2.840.113554.1.2.2")
SPNEGO = gssapi.OID.from_int_seq("1.3.6.1.5.5.2")
FLAGS = (gssapi.RequirementFlag.mutual_authentication | gssapi.RequirementFlag.integrity |
         gssapi.RequirementFlag.confidentiality | gssapi.RequirementFlag.replay_detection |
         gssapi.RequirementFlag.out_of_sequence_detection)


class Realm:
    def __init__(self, *options):
        self.dir = tempfile.mkdtemp(prefix="sp-realm.", dir="/tmp")
        self.where = f"{self.dir}/kdc"
        subprocess.run([f"{sally.TOP}/tests/kdc", "start", self.where, *options], check=True, capture_output=True)
        self.conf = f"{self.where}/krb5.conf"
        os.environ["KRB5_CONFIG"] = self.conf
        self.keytab = f"{self.where}/keytab"

    def run(self, argv, text=None, conf=None):
        env = dict(os.environ, KRB5_CONFIG=conf or self.conf, KRB5_KDC_PROFILE=f"{self.where}/kdc.conf",
                   PATH=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        p = subprocess.run(argv, env=env, input=text, text=True, capture_output=True)
        assert p.returncode == 0, p.stdout + p.stderr
        return p.stdout

    def admin(self, *commands):
        return self.run(["kadmin.local"], "\n".join(commands) + "\n")

    def kinit(self, who="alice", *options, principal=None, conf=None):
        """A credential cache with a fresh ticket of alice, bob or carol (carol/admin)."""
        fd, cache = tempfile.mkstemp(prefix="cc.", dir=self.dir)
        os.close(fd)
        principal = principal or {"carol": "carol/admin"}.get(who, who)
        self.run(["kinit", "-c", cache, "-k", "-t", f"{self.where}/{who}.keytab", *options, principal], conf=conf)
        return cache

    def client(self, cache, service="socks@gateway.test", mech=KRB5, flags=FLAGS, kind=None):
        """The initiator's side of a context."""
        creds = gssapi.Credentials(usage="initiate", store={"ccache": f"FILE:{cache}"})
        name = gssapi.Name(service, kind or gssapi.NameType.hostbased_service)
        return gssapi.SecurityContext(name=name, creds=creds, mech=mech, flags=flags, usage="initiate")

    def restart(self):
        """The KDC reads its configuration anew."""
        with open(f"{self.where}/pid") as f:
            pid = int(f.read())
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not sally.alive(pid), 10)
        self.run(["krb5kdc", "-r", "SALLYPORT.TEST", "-P", f"{self.where}/pid"])
        wait_for(lambda: os.path.exists(f"{self.where}/pid"), 10)

    def stop(self):
        subprocess.run([f"{sally.TOP}/tests/kdc", "stop", self.where], check=True, capture_output=True)
        shutil.rmtree(self.dir, ignore_errors=True)
