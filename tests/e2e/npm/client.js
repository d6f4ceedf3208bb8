// What the tests have the npm package `socks` do: one JSON object on the command line, one on a line of
// standard output for each thing that happens. Standard input goes to the target; the end is the target's.
//
//   {"command": "connect" | "bind" | "associate", "version": 4 | 5, "port": N, "user": ..., "password": ...,
//    "to": {"host": ..., "port": N}, "datagrams": [{"host": ..., "port": N, "data": ..., "frag": N}], "answers": N}
"use strict";

const dgram = require("dgram");
const { SocksClient } = require("socks");

const SECONDS = 20; // as the tests': nothing here waits longer
const asked = JSON.parse(process.argv[2]);

function say(what, more) {
  process.stdout.write(JSON.stringify({ event: what, ...more }) + "\n");
}

function relayed(socket) {
  let got = "";
  socket.on("data", (d) => { got += d.toString("latin1"); });
  socket.on("end", () => { say("received", { data: got }); socket.end(); });
  socket.resume();
  process.stdin.pipe(socket);
}

// Everything to send goes at once; each answer is told; the association ends with its connection.
function associated(info) {
  const udp = dgram.createSocket(info.remoteHost.host.includes(":") ? "udp6" : "udp4");
  let left = asked.answers;
  const ended = () => { udp.close(); info.socket.end(); };
  udp.on("message", (message) => {
    const { remoteHost, data, frameNumber } = SocksClient.parseUDPFrame(message);
    say("datagram", { from: remoteHost, data: data.toString("latin1"), frag: frameNumber });
    if (--left === 0)
      ended();
  });
  for (const { host, port, data, frag } of asked.datagrams) {
    const frame = SocksClient.createUDPFrame({
      frameNumber: frag || 0, remoteHost: { host, port }, data: Buffer.from(data, "latin1") });
    udp.send(frame, info.remoteHost.port, info.remoteHost.host);
  }
}

const client = new SocksClient({
  command: asked.command,
  destination: asked.to,
  proxy: { host: asked.host || "127.0.0.1", port: asked.port, type: asked.version || 5,
    userId: asked.user, password: asked.password },
});
client.on("error", (e) => { say("error", { message: e.message }); process.exitCode = 1; process.stdin.destroy(); });
client.on("bound", (info) => say("bound", { at: info.remoteHost }));
client.on("established", (info) => {
  say("established", { peer: info.remoteHost });
  if (asked.command === "associate")
    associated(info);
  else
    relayed(info.socket);
});
client.connect();
setTimeout(() => { say("error", { message: "it took too long" }); process.exit(1); }, SECONDS * 1000).unref();
