"""The npm package `socks`, driven by npm/client.js; `make npm` fetches it into the build folder."""
import json
import os
import subprocess
import threading

import sally


class Npm:
    """One run of client.js; `event(name)` waits for that line of it, `end(octets)` sends octets and has its last words."""

    def __init__(self, g, command, to=("0.0.0.0", 0), **more):
        asked = {"command": command, "port": g.port, "to": {"host": to[0], "port": to[1]}, **more}
        env = dict(os.environ, NODE_PATH=f"{sally.BUILD}/npm/node_modules")
        self.p = subprocess.Popen(["node", f"{sally.TOP}/tests/e2e/npm/client.js", json.dumps(asked)], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
        self.timer = threading.Timer(40, self.p.kill)
        self.timer.daemon = True
        self.timer.start()
        self.seen = []

    def event(self, name):
        for line in self.p.stdout:
            self.seen.append(json.loads(line))
            if self.seen[-1]["event"] == name:
                return self.seen[-1]
        raise AssertionError((name, self.seen, self.p.stderr.read().decode()))

    def end(self, name, octets=b""):
        self.say(octets)
        last = self.event(name)
        self.done()
        return last

    def say(self, octets):
        """To the target, and the end."""
        self.p.stdin.write(octets)
        self.p.stdin.close()
        self.p.stdin = None

    def done(self):
        self.p.communicate(timeout=20)
        self.timer.cancel()
