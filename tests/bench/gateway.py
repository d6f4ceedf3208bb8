"""The gateway as it is shipped: every layer of the sandbox, a worker for each CPU, the audit trail to a real rsyslogd, a
table of 100,000 prefixes, and 50 rules before the one that passes what the load asks for."""
import os
import random
import subprocess

import peers
import processes
import sally
from measure import Failed
from servers import B, Server

PREFIXES, RULES = 100_000, 50
RUN = "/run/sallyport"

HEAD = """listen on 127.0.0.1 port @PORT@
run directory "{run}"
log syslog facility daemon socket "{socket}" format logfmt
limit sessions 20000
table <bad> file "@DIR@/bad.txt"
table <staff> {{ 10.1.0.0/16, 10.2.0.0/16, !10.2.9.0/24 }}
auth password file "@DIR@/users"
group web {{ carol, dave }}
"""
# What the load's sessions are tried against first, again and again with other numbers.
BEFORE = """block log from any to <bad>
block connect from <bad> to any
block connect from any to .ads{i}.example
pass connect from <staff> to .example.com port {{ 80, 443 }} auth none
pass connect from any to 10.9.{i}.0/24 port 443 user user{i} auth password
block udp from any to any port {{ {i}, 137-139 }}
pass connect from any to any port {i} group web auth password
block connect from 10.{i}.0.0/16 to any port {{ 25, 110-143 }}
pass connect from 10.3.{i}.0/24 to {{ any, !192.168.0.0/16 }} auth none
block from any to www{i}.example.net port 1-1023
""".splitlines()
PASS = """pass connect, udp from any to { any, 127.0.0.0/8 } auth password
pass connect, udp from any to { any, 127.0.0.0/8 } auth none
"""


def prefixes(number):
    """The same each time; none of them holds 127.0.0.1."""
    some, found = random.Random(1), {}
    while len(found) < number * 4 // 5:
        length = some.choice((16, 20, 22, 24, 24, 24, 28, 32))
        a = some.randrange(1 << 24, 224 << 24) >> 32 - length << 32 - length
        if a >> 24 not in (0, 127):
            found[f"{a >> 24}.{a >> 16 & 255}.{a >> 8 & 255}.{a & 255}/{length}"] = None
    while len(found) < number:
        found[f"2a{some.randrange(256):02x}:{some.randrange(1, 65536):x}:{some.randrange(1, 65536):x}::/48"] = None
    return list(found)


def rules(own):
    """`own`: one that passes more."""
    return "".join(BEFORE[i % len(BEFORE)].format(i=i + 1) + "\n" for i in range(RULES)) + own + PASS


class Syslog(peers.Rsyslog):
    """Debian's rsyslogd, which writes each record to a file."""

    def start(self):
        if os.path.exists(self.out):
            os.unlink(self.out)
        super().start()
        return self

    def count(self, *events):
        args = [a for e in events for a in ("-e", f"event={e} ")]
        return int(subprocess.run(["grep", "-c", *args, self.out], capture_output=True, text=True).stdout or 0)

    def has(self, event, seconds=10):
        """Whether there is such a record, or comes: rsyslogd may not even have begun to read."""
        try:
            return peers.wait_for(lambda: self.count(event), seconds)
        except AssertionError:
            return 0

    def trouble(self):
        """What the trail says that went wrong: what is measured is a gateway that serves and records everything."""
        if not self.has("stop"):
            return "its stop was not recorded"
        opened, closed = self.count("session-open"), self.count("session-close")
        if opened != closed:
            return f"{opened} sessions were recorded at their beginning, {closed} at their end"
        bad = self.count("child-lost", "session-refused", "records-lost")
        return f"{bad} records of lost children, refused sessions or lost records" if bad else None


class Gateway(Server):
    name = "sallyport"

    def __init__(self, head="", rule="", table=PREFIXES, light=False):
        """`head`, `rule`: more of the configuration. `light`: the password is hashed with few rounds."""
        self.head, self.rule, self.table, self.light = head, rule, table, light

    def prepare(self):
        self.syslog = Syslog(out=f"{B}/bench/syslog.log").start()
        head = HEAD.format(socket=self.syslog.socket, run=RUN)
        self.sally = sally.Gateway(head + self.head + rules(self.rule), whole=True, build=B)
        with open(f"{self.sally.dir}/bad.txt", "w") as f:
            f.writelines(p + "\n" for p in prefixes(self.table))
        if self.light:
            self.sally.write_users(sally.user_line("bench", "bench"))
        else:
            subprocess.run([f"{B}/sallyportctl", "passwd", "-f", self.sally.users, "add", "bench"], input=b"bench\n", check=True)
        self.port = self.sally.port

    def launch(self):
        self.p = self.sally.launch().p

    def wait(self, step=0.01):
        try:
            return super().wait(step)
        except Failed as e:
            raise Failed(f"{e}\n{self.sally.story()}")

    def beside(self):
        return [self.syslog.p.pid]

    def hashed(self):
        """The password's, as the users file has it."""
        with open(self.sally.users) as f:
            return f.read().split(":")[1]

    def stop(self):
        if not self.p:
            return
        self.p = None
        self.syslog.has("start")  # one that is stopped while it starts records neither
        try:
            self.sally.finish()
        finally:
            processes.quiet([self.syslog.p.pid])
            trouble = self.syslog.trouble()
            self.syslog.stop()
        if trouble:
            raise Failed(f"{trouble}: see {self.syslog.out}")
