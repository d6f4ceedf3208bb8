/*
 * The configuration: what each error says, and where. Each case must give exactly the messages
 * named, so that no error hides another and none brings a second one with it.
 */
#include "tests/unit/conf_text.h"

#define CRITERIA "auth, bind, egress, from, group, port, protection, timeout, to, user or via"

#define STATEMENTS                                                                                       \
	"NAME = VALUE, auth, bind, block, egress, group, include, kerberos, limit, listen, log, nat64, " \
	"pass, process, resolver, run, sandbox, socks4, table, timeout, udp, upstream or workers"

/* The text stands behind a first line "listen on 127.0.0.1". */
static const struct {
	const char *text, *want;
} bad[] = {
	/* words */
	{ "frobnicate on", "c.conf:2: unknown word \"frobnicate\", expected " STATEMENTS },
	{ "lisen on 10.0.0.1",
	    "c.conf:2: unknown word \"lisen\", expected " STATEMENTS "; did you mean listen?" },
	{ "pass conect from any",
	    "c.conf:2: unknown word \"conect\", expected the end of the line, auth, bind, "
	    "connect, egress, from, group, log, port, protection, timeout, to, udp"
	    ", user, via or '{'; did you mean connect?" },
	{ "workers 4 5", "c.conf:2: unexpected \"5\", expected the end of the line" },
	{ "workers", "c.conf:2: the line ends too early, expected a name or value" },
	{ "workers from",
	    "c.conf:2: unexpected \"from\", a word of the language, expected a name or value; quote it if it is a name" },
	{ "group web user",
	    "c.conf:2: unexpected \"user\", a word of the language, expected a name or value or '{'; quote it if it is a name" },
	{ "group user alice",
	    "c.conf:2: unexpected \"user\", a word of the language, expected a name or value; quote it if it is a name" },
	{ "group g { a, file }",
	    "c.conf:2: unexpected \"file\", a word of the language, expected a name or value, a line break or '}'; quote it if it is a name" },
	{ "group g { }",
	    "c.conf:2: a list has nothing in it, expected a name or value or a line break" },
	{ "block to {\n}",
	    "c.conf:3: a list has nothing in it, expected a name or value, <table>, any or '!'" },
	{ "pass from { 10.0.0.0/8\nworkers 0",
	    "c.conf:2: a { is never closed, expected a } behind the list\n"
	    "c.conf:3: \"0\" is no number of workers, expected a number from 1 to 256" },
	{ "group any x",
	    "c.conf:2: unexpected \"any\", a word of the language, expected a name or value; quote it if it is a name" },
	{ "block from { !10.0.0.0/8\nblock",
	    "c.conf:2: a { is never closed, expected a } behind the list" },
	{ "pass connect from any to any port { 80, 443",
	    "c.conf:2: a { is never closed, expected a } behind the list" },
	{ "limit {", "c.conf:2: a { is never closed, expected a } behind the list" },
	{ "}", "c.conf:2: unexpected \"}\", expected " STATEMENTS },
	/* words of later versions */
	{ "pass auth none quota 1",
	    "c.conf:2: \"quota\" is not in this version, expected the end of the line, "
	    "auth, bind, egress, from, group, port, protection, timeout, to, user, via or ','" },
	{ "egress guard require",
	    "c.conf:2: \"guard\" is not in this version, expected device, from or mark" },
	{ "limit bandwidth 1",
	    "c.conf:2: \"bandwidth\" is not in this version, expected associations, sessions, targets or '{'" },
	/* upstreams */
	{ "pass auth none via hq",
	    "c.conf:2: upstream \"hq\" is not defined, expected upstream \"hq\" socks5 HOST port N" },
	{ "upstream hq socks5 \"h\"", "c.conf:2: the line ends too early, expected port" },
	{ "process initiator chroot \"/x\"",
	    "c.conf:2: process initiator has a chroot, expected none: Kerberos needs its configuration and caches" },
	/* the lexer */
	{ "run directory \"/a",
	    "c.conf:2: a quoted string does not end, expected \" on the same line" },
	{ "run directory \"/\\q\"",
	    "c.conf:2: unknown escape in a quoted string, expected \\\", \\\\, \\n, \\t or \\xHH" },
	{ "run directory \"/\\x0g\"",
	    "c.conf:2: unknown escape in a quoted string, expected \\\", \\\\, \\n, \\t or \\xHH" },
	{ "run directory /\x01", "c.conf:2: octet 0x01 stands outside quotes, expected a word" },
	{ "block from <a",
	    "c.conf:2: < without a table's name and >, expected <name> of letters, digits, - "
	    "and _" },
	{ "workers $", "c.conf:2: $ without a name, expected a macro's name behind it" },
	{ "workers $n", "c.conf:2: macro $n is not defined, expected n = \"...\" further up" },
	{ "n = 1\nn = 2", "c.conf:3: macro n is defined twice, expected once (first: c.conf:2)" },
	{ "n = \"$n\"\nworkers $n",
	    "c.conf:3: macro $n leads back to itself or too deep, expected at most "
	    "16 inside each other" },
	{ "n = \"abc\nworkers $n",
	    "c.conf:2: a quoted string does not end, expected \" on the same line" },
	/* include */
	{ "include \"missing\"",
	    "c.conf:2: cannot read missing: No such file or directory, expected a readable file" },
	{ "include \"a\\nb\"",
	    "c.conf:2: cannot read a\\x0ab: No such file or directory, expected a readable file" },
	{ "include \".\"", "c.conf:2: cannot read .: Is a directory, expected a readable file" },
	{ "include \"wrong\"\nworkers 0",
	    "wrong:3: unexpected \"x\", expected the end of the line\n"
	    "c.conf:3: \"0\" is no number of workers, expected a number from 1 to 256" },
	{ "include \"open\"\nworkers 0",
	    "open:1: a { is never closed, expected a } behind the list\n"
	    "c.conf:3: \"0\" is no number of workers, expected a number from 1 to 256" },
	{ "include \"round\"",
	    "round:1: include of round goes round in a circle or too deep, expected at "
	    "most 16 files inside each other" },
	/* values */
	{ "workers 257",
	    "c.conf:2: \"257\" is no number of workers, expected a number from 1 to 256" },
	{ "workers -1",
	    "c.conf:2: \"-1\" is no number of workers, expected a number from 1 to 256" },
	{ "workers 99999999999999999999",
	    "c.conf:2: \"99999999999999999999\" is no number of workers, expected a number from 1 to 256" },
	{ "listen on 10.0.0.1 port 0",
	    "c.conf:2: \"0\" is no port, expected a number from 1 to 65535" },
	{ "listen on 10.0.0.1 port 65536",
	    "c.conf:2: \"65536\" is no port, expected a number from 1 to 65535" },
	{ "listen on 10.0.0.1:1080",
	    "c.conf:2: \"10.0.0.1:1080\" is nothing to listen on, expected 10.0.0.1 port 1080" },
	{ "listen on [::1]:1080",
	    "c.conf:2: \"[::1]:1080\" is nothing to listen on, expected ::1 port 1080" },
	{ "listen on fe80::1",
	    "c.conf:2: \"fe80::1\" is link-local and needs an interface, expected fe80::1%eth0 with the interface's name" },
	{ "egress from fe80::1",
	    "c.conf:2: fe80::1 is no address to go out from, expected one of this machine's" },
	{ "listen on 10.0.1",
	    "c.conf:2: \"10.0.1\" is nothing to listen on, expected an address, a name, "
	    "an interface or *" },
	{ "listen on 127.0.0.1 port 1080",
	    "c.conf:2: listen on 127.0.0.1 port 1080 stands a second time, "
	    "expected it once (first: c.conf:1)" },
	{ "run directory \"run\"",
	    "c.conf:2: \"run\" is not a run directory, expected an absolute path" },
	{ "run directory \"/\\x00\"",
	    "c.conf:2: \"/\\x00\" is not a run directory, expected 1 to 80 octets without NUL" },
	{ "egress from 192.0.2.1, 192.0.2.1",
	    "c.conf:2: egress from \"192.0.2.1\" stands twice in the list, expected it once" },
	{ "egress device eth0\negress device eth1",
	    "c.conf:3: egress device stands a second time, expected it once (first: c.conf:2)" },
	{ "egress device \"a b\"",
	    "c.conf:2: \"a b\" is no device, expected the name of a network interface" },
	{ "egress device sixteen-octets-x",
	    "c.conf:2: \"sixteen-octets-x\" is not a device, expected 1 to 15 octets without NUL" },
	{ "egress mark 0", "c.conf:2: \"0\" is no mark, expected a number from 1 to 4294967295 or "
			   "0x1 to 0xffffffff" },
	{ "egress mark 0x",
	    "c.conf:2: \"0x\" is no mark, expected a number from 1 to 4294967295 or 0x1 to 0xffffffff" },
	{ "egress mark 4294967296",
	    "c.conf:2: \"4294967296\" is no mark, expected a number from 1 to 4294967295 or 0x1 to "
	    "0xffffffff" },
	{ "pass auth none egress mark 1 egress mark 2",
	    "c.conf:2: egress stands twice in a rule, expected it once, with a list in { }" },
	{ "egress from eth0",
	    "c.conf:2: \"eth0\" is no address for egress from, expected an IPv4 or IPv6 "
	    "address" },
	{ "egress from 224.0.0.1",
	    "c.conf:2: 224.0.0.1 is no address to go out from, expected one of this machine's" },
	{ "egress from ::ffff:192.0.2.1",
	    "c.conf:2: ::ffff:192.0.2.1 is no address to go out from, expected one of this machine's" },
	{ "resolver dns.example",
	    "c.conf:2: \"dns.example\" is no address for resolver, expected an IPv4 or IPv6 address" },
	{ "resolver ::1, ::1",
	    "c.conf:2: resolver ::1 stands twice in the list, expected it once" },
	{ "nat64 64:ff9b:1::/80",
	    "c.conf:2: 64:ff9b:1::/80 is no NAT64 prefix, expected an IPv6 prefix of "
	    "length 32, 40, 48, 56, 64 or 96" },
	{ "nat64 10.0.0.0/8",
	    "c.conf:2: 10.0.0.0/8 is no NAT64 prefix, expected an IPv6 prefix of length "
	    "32, 40, 48, 56, 64 or 96" },
	{ "nat64 2001:db8::/96\nnat64 2001:db8::/96",
	    "c.conf:3: nat64 2001:db8::/96 stands a second time, expected it once (first: c.conf:2)" },
	{ "auth prefer none, none",
	    "c.conf:2: auth prefer has none twice, expected each method once" },
	{ "auth prefer password",
	    "c.conf:2: auth prefer has no method that is configured, expected an auth "
	    "password or auth gssapi statement, or none in the list" },
	{ "auth password file users",
	    "c.conf:2: \"users\" is not a users file, expected an absolute path" },
	{ "auth password file \"/nonexistent/users\"",
	    "c.conf:2: cannot open the users file /nonexistent/users: No such file or directory, expected a "
	    "readable file (sallyportctl passwd add makes it)" },
	{ "auth password pam \"../x\"",
	    "c.conf:2: \"../x\" is no PAM service's name, expected the name of a "
	    "file in /etc/pam.d" },
	{ "group a b\ngroup a c",
	    "c.conf:3: group \"a\" is defined a second time, expected it once (first: c.conf:2)" },
	{ "group a { b, b }", "c.conf:2: user \"b\" stands twice in the list, expected it once" },
	{ "group a \"\"", "c.conf:2: \"\" is no user, expected 1 to 255 octets" },
	{ "timeout idle 5",
	    "c.conf:2: \"5\" is no time for idle, expected a number with ms, s, m, h or d "
	    "behind it, from 100ms to 30d" },
	{ "timeout { connect 11m, handshake 99ms }",
	    "c.conf:2: \"11m\" is no time for connect, expected a number with ms, s, m, h or d behind it, from "
	    "100ms to 10m\n"
	    "c.conf:2: \"99ms\" is no time for handshake, expected a number with ms, s, m, h or d behind it, "
	    "from 100ms to 10m" },
	{ "timeout { idle 1h idle 2h }",
	    "c.conf:2: unexpected \"idle\", expected a line break, ',' or '}'" },
	{ "timeout { idle 1h, idle 2h }",
	    "c.conf:2: idle stands a second time, expected it once (first: c.conf:2)" },
	{ "limit { sessions 0 }",
	    "c.conf:2: \"0\" is no limit of sessions, expected a number from 1 to 1000000" },
	{ "limit { sessions 5, sessions per user 6 }",
	    "c.conf:2: limit sessions per user 6 is above limit sessions 5, expected it below" },
	{ "sandbox hull try",
	    "c.conf:2: unknown sandbox layer \"hull\", expected chroot, uid, capabilities, "
	    "no_new_privs, mdwe, landlock, landlock-net, landlock-scope or seccomp" },
	{ "sandbox mdwe try\nsandbox mdwe off",
	    "c.conf:3: sandbox mdwe stands a second time, expected it once (first: c.conf:2)" },
	{ "process worker chroot empty",
	    "c.conf:2: \"empty\" is not a chroot, expected an absolute path" },
	{ "process worker chroot \"/..\"",
	    "c.conf:2: chroot \"/..\" is no other place, expected a directory of its own" },
	{ "process pam chroot /a",
	    "c.conf:2: process pam has a chroot, expected none: PAM's modules need "
	    "the files" },
	{ "process worker uid no.such",
	    "c.conf:2: no user \"no.such\" on this machine, expected a user's name "
	    "or number" },
	{ "process worker uid root",
	    "c.conf:2: user \"root\" is root or in root's group, expected a user "
	    "without rights" },
	{ "process worker uid 0",
	    "c.conf:2: \"0\" is no user's number, expected a number from 1 to 4294967294" },
	{ "process worker uid 7 uid 8\nprocess worker uid 9",
	    "c.conf:2: uid stands twice for one process, expected it once\n"
	    "c.conf:3: process worker stands a second time, expected it once (first: c.conf:2)\n"
	    "c.conf:3: uid stands twice for one process, expected it once" },
	{ "process worker uid 64990\nprocess resolver uid 64990",
	    "c.conf:3: process worker and process resolver share the user 64990, expected each to have its "
	    "own" },
	{ "bind ports 1000-2000",
	    "c.conf:2: bind ports \"1000-2000\" reaches below 1024, expected ports from there up" },
	{ "bind ports 2000-1024",
	    "c.conf:2: the range \"2000-1024\" is reversed, expected 1024-2000" },
	{ "bind ports 2000\nbind ports 2000",
	    "c.conf:3: bind ports stands a second time, expected it once (first: c.conf:2)" },
	{ "bind advertise 192.0.2.1, ::1, 192.0.2.2",
	    "c.conf:2: bind advertise has a second IPv4 address 192.0.2.2, expected one a family" },
	{ "bind advertise 224.0.0.1",
	    "c.conf:2: 224.0.0.1 is no address to be reached at, expected one of a host" },
	{ "bind advertise 0.0.0.0",
	    "c.conf:2: 0.0.0.0 is no address to be reached at, expected one of a host" },
	{ "block bind bind port 20",
	    "c.conf:2: bind port stands in a block rule, expected it in a pass rule" },
	{ "pass connect bind port 20 auth none",
	    "c.conf:2: bind port stands in a rule without the command bind, expected bind among its "
	    "commands" },
	{ "pass auth none bind port 20 bind port 21",
	    "c.conf:2: bind stands twice in a rule, expected it once, with a list in { }" },
	{ "pass auth none bind port 0",
	    "c.conf:2: \"0\" is no port, expected a number from 1 to 65535 or a range N-M" },
	{ "udp ports 53",
	    "c.conf:2: udp ports \"53\" reaches below 1024, expected ports from there up" },
	{ "udp advertise gw.example",
	    "c.conf:2: \"gw.example\" is no address for udp advertise, expected an IPv4 or IPv6 "
	    "address" },
	{ "udp replies any\nudp replies connected",
	    "c.conf:3: udp replies stands a second time, expected it once (first: c.conf:2)" },
	{ "udp fragments on\nudp fragments off",
	    "c.conf:3: udp fragments stands a second time, expected it once (first: c.conf:2)" },
	{ "udp fragments maybe", "c.conf:2: unknown word \"maybe\", expected off or on" },
	{ "limit targets per association 65536",
	    "c.conf:2: \"65536\" is no limit of targets per association, expected a number from 1 to "
	    "65535" },
	{ "timeout udp 31d",
	    "c.conf:2: \"31d\" is no time for udp, expected a number with ms, s, m, h or d behind "
	    "it, from 100ms to 30d" },
	{ "pass udp, udp auth none",
	    "c.conf:2: command udp stands twice in a rule, expected it once" },
	{ "socks4 allow\nsocks4 allow\npass auth none",
	    "c.conf:3: socks4 stands a second time, expected it once (first: c.conf:2)" },
	/* log */
	{ "log syslog facility nowhere",
	    "c.conf:2: unknown facility \"nowhere\", expected one of syslog(3): daemon, auth, authpriv, local0 "
	    "to local7, user" },
	{ "log stderr facility daemon",
	    "c.conf:2: log file and log stderr have no facility, expected it with log syslog" },
	{ "log stderr format json format logfmt",
	    "c.conf:2: format stands twice in a log statement, expected it once" },
	{ "log file \"x\"", "c.conf:2: \"x\" is not a log file, expected an absolute path" },
	{ "log stderr\nlog stderr",
	    "c.conf:3: a second log to the same place, expected one (first: c.conf:2)" },
	{ "log update 2d",
	    "c.conf:2: \"2d\" is no time for log update, expected a number with ms, s, m, h or "
	    "d behind it, from 100ms to 1d" },
	{ "log overflow", "c.conf:2: the line ends too early, expected drop or refuse" },
	/* what may stand once */
	{ "workers 2\nworkers 2",
	    "c.conf:3: workers stands a second time, expected it once (first: c.conf:2)" },
	{ "workers 2\nworkers x",
	    "c.conf:3: workers stands a second time, expected it once (first: c.conf:2)\n"
	    "c.conf:3: \"x\" is no number of workers, expected a number from 1 to 256" },
	{ "run directory /a\nrun directory /a",
	    "c.conf:3: run directory stands a second time, expected it once (first: c.conf:2)" },
	{ "resolver ::1\nresolver ::2",
	    "c.conf:3: resolver stands a second time, expected it once (first: c.conf:2)" },
	{ "egress from 10.0.0.1\negress from ::2",
	    "c.conf:3: egress from stands a second time, expected it once (first: c.conf:2)" },
	{ "auth prefer none\nauth prefer none",
	    "c.conf:3: auth prefer stands a second time, expected it once (first: c.conf:2)" },
	{ "log update 1m\nlog update 1m",
	    "c.conf:3: log update stands a second time, expected it once (first: c.conf:2)" },
	{ "log overflow drop\nlog overflow drop",
	    "c.conf:3: log overflow stands a second time, expected it once (first: c.conf:2)" },
	{ "limit sessions 5\nlimit { sessions 5 }",
	    "c.conf:3: limit sessions stands a second time, expected it once (first: c.conf:2)" },
	/* tables */
	{ "block from <t>\ntable <t> { 10.0.0.0/8 }\ntable <t> { 10.0.0.0/8 }",
	    "c.conf:4: table <t> is defined a second time, expected it once (first: c.conf:3)" },
	{ "frobnicate\nblock from <u>",
	    "c.conf:2: unknown word \"frobnicate\", expected " STATEMENTS
	    "\nc.conf:3: table <u> is not defined, expected table <u> { ... }" },
	{ "tabel <u> { 10.0.0.0/8 }\nblock from <u>",
	    "c.conf:2: unknown word \"tabel\", expected " STATEMENTS "; did you mean table?" },
	{ "$u\nblock from <u>",
	    "c.conf:2: macro $u is not defined, expected u = \"...\" further up" },
	{ "block from <u>", "c.conf:2: table <u> is not defined, expected table <u> { ... }" },
	{ "block from <t>\ntable <t> file \"missing\"",
	    "c.conf:3: cannot read table <t> from missing: No such file or directory, expected a readable "
	    "file" },
	{ "block from <t>\ntable <t> file \"badlist\"",
	    "badlist:2: \"10.0.0.1/8\" has bits set behind its length, expected 10.0.0.0/8\n"
	    "badlist:3: \"nonsense\" is no prefix, expected ADDRESS or ADDRESS/LENGTH\n"
	    "badlist:4: \"\" is no prefix, expected ADDRESS or ADDRESS/LENGTH\n"
	    "badlist:7: 192.0.2.0/24 stands both with and without !, expected it once (first: badlist:5)" },
	{ "block from <t>\ntable <t> { 10.0.0.0/8\n10.0.0.0/8 }",
	    "c.conf:4: 10.0.0.0/8 stands twice, expected it once (first: c.conf:3)" },
	{ "block from <t>\ntable <t> { !10.0.0.0/8 }",
	    "c.conf:3: a list has nothing but ! prefixes, expected one that they are taken from, or any" },
	{ "block from { <t>, 192.0.2.1, !10.1.0.0/16 }\ntable <t> { 10.0.0.0/8\n10.1.0.0/16 }",
	    "c.conf:4: 10.1.0.0/16 stands both with and without !, expected it once (first: c.conf:2)" },
	{ "table <t> 10.0.0.0/8", "c.conf:2: unknown word \"10.0.0.0/8\", expected file or '{'" },
	{ "table <t> { any }",
	    "c.conf:2: unexpected \"any\", expected a name or value, a line break or '!'" },
	/* prefixes */
	{ "block from 10.0.0.1/8",
	    "c.conf:2: \"10.0.0.1/8\" has bits set behind its length, expected 10.0.0.0/8" },
	{ "block to 10.0.0.0/33",
	    "c.conf:2: \"10.0.0.0/33\" is no prefix, expected a length from 0 to 32" },
	{ "block to ::/129", "c.conf:2: \"::/129\" is no prefix, expected a length from 0 to 128" },
	{ "block to 10.0.0/8",
	    "c.conf:2: \"10.0.0/8\" is no prefix, expected ADDRESS or ADDRESS/LENGTH" },
	{ "block to 1.2.3",
	    "c.conf:2: \"1.2.3\" is no prefix, expected ADDRESS or ADDRESS/LENGTH" },
	{ "block to 0x7f.1",
	    "c.conf:2: \"0x7f.1\" is an address in another spelling, expected the usual one" },
	{ "block to ::ffff:10.0.0.0/104",
	    "c.conf:2: ::ffff:10.0.0.0/104 is another spelling that no rule sees, expected 10.0.0.0/8" },
	{ "block to 2002:c000:200::/40",
	    "c.conf:2: 2002:c000:200::/40 is another spelling that no rule sees, expected 192.0.2.0/24" },
	{ "block to 2002:c000:207:1::/64",
	    "c.conf:2: 2002:c000:207:1::/64 is another spelling that no rule sees, expected 192.0.2.7/32" },
	{ "block to ::/96",
	    "c.conf:2: ::/96 is another spelling that no rule sees, expected 0.0.0.0/0" },
	{ "block to ::",
	    "c.conf:2: ::/128 is another spelling that no rule sees, expected ::1/128" },
	{ "block to 0.0.0.0",
	    "c.conf:2: 0.0.0.0/32 is another spelling that no rule sees, expected "
	    "127.0.0.1/32" },
	{ "nat64 2001:db8:64::/48\nblock to 2001:db8:64:a00::/56",
	    "c.conf:3: 2001:db8:64:a00::/56 is another spelling that no rule sees, expected 10.0.0.0/8" },
	{ "block from example.com",
	    "c.conf:2: \"example.com\" is no prefix, expected ADDRESS or ADDRESS/LENGTH in from" },
	{ "block to !example.com",
	    "c.conf:2: \"example.com\" is no prefix, expected ADDRESS or ADDRESS/LENGTH behind !" },
	{ "block to *.example.com",
	    "c.conf:2: \"*.example.com\" has a *, expected \".example.com\", which "
	    "covers the name and all below it" },
	{ "block to \"a b\"",
	    "c.conf:2: \"a b\" is neither an address nor a name, expected ADDRESS[/LENGTH], "
	    "a host's name or .SUFFIX" },
	{ "block to .",
	    "c.conf:2: \".\" is neither an address nor a name, expected ADDRESS[/LENGTH], a "
	    "host's name or .SUFFIX" },
	{ "block to { a.b, A.B. }",
	    "c.conf:2: name \"a.b\" stands twice in the list, expected it once" },
	{ "block to { any, any }", "c.conf:2: any stands twice in the list, expected it once" },
	/* rules */
	{ "block port 80-20", "c.conf:2: the range \"80-20\" is reversed, expected 20-80" },
	{ "block port 0-9",
	    "c.conf:2: \"0-9\" is no port, expected a number from 1 to 65535 or a range N-M" },
	{ "block port { 1-, 99999, http }",
	    "c.conf:2: \"1-\" is no port, expected a number from 1 to 65535 or a range N-M\n"
	    "c.conf:2: \"99999\" is no port, expected a number from 1 to 65535 or a range N-M\n"
	    "c.conf:2: \"http\" is no port, expected a number from 1 to 65535 or a range N-M" },
	{ "block port 65536",
	    "c.conf:2: \"65536\" is no port, expected a number from 1 to 65535 or a range N-M" },
	{ "block from 10.0.0.1/8 port 9 x",
	    "c.conf:2: unknown word \"x\", expected the end of the line, " CRITERIA
	    "\nc.conf:2: \"10.0.0.1/8\" has bits set behind its length, expected 10.0.0.0/8" },
	{ "block port { 80, 80 }", "c.conf:2: port 80 stands twice in the list, expected it once" },
	{ "block connect, connect",
	    "c.conf:2: command connect stands twice in a rule, expected it once" },
	{ "block auth none, none", "c.conf:2: auth none stands twice in a rule, expected it once" },
	{ "block from any from any",
	    "c.conf:2: from stands twice in a rule, expected it once, with a list in { }" },
	{ "pass auth none timeout handshake 3s",
	    "c.conf:2: timeout handshake stands in a rule, expected it outside: a rule is met behind the "
	    "handshake" },
	{ "pass auth none timeout idle 3s timeout idle 4s",
	    "c.conf:2: timeout idle stands twice in a rule, expected it once" },
};

static void
each_error(void **state)
{
	(void)state;
	write_text("wrong", "\n\nlimit sessions 5 x\n");
	write_text("open", "table <open> { 10.0.0.0/8");
	write_text("round", "include \"round\"\n");
	write_text("badlist", "# x\n10.0.0.1/8\nnonsense\n!\n192.0.2.0/24\n\n! 192.0.2.0/24\n");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_error(bad[i].text, bad[i].want);
}

/* Errors of every kind in one file are all said, each at its line. */
static void
all_of_them(void **state)
{
	static const struct {
		unsigned line;
		const char *what;
	} want[] = { { 1, "unknown word \"lisen\"" }, { 2, "is no port" }, { 3, "does not end" },
		{ 4, "unexpected \"5\"" }, { 5, "not in this version" }, { 6, "10.0.0.1/8" },
		{ 6, "\"7x\" is no port" }, { 8, "unknown word \"3s\"" },
		{ 8, "\"9x\" is no time" }, { 9, "never closed" }, { 11, "no user" },
		{ 12, "cannot read" }, { 13, "another spelling" }, { 15, "unexpected" },
		{ 17, "\"-1\"" } };
	char *said, line[80];

	(void)state;
	assert_null(load_text("lisen on ::1\n"
			      "listen on ::1 port 70000\n"
			      "run directory \"/x\n"
			      "workers 4 5\n"
			      "pass quota hq\n"
			      "pass from 10.0.0.1/8 port {\n7x } auth none\n"
			      "timeout { connect foo 3s, idle 9x }\n"
			      "table <t> { 10.0.0.0/8\n\n"
			      "process worker uid no.such\n"
			      "include \"nothing\"\n"
			      "block to { 192.0.2.1, ::ffff:1.2.3.4 }\n"
			      "x = 3\n"
			      "pass from { ! } auth none\n"
			      "\\\n"
			      "limit sessions -1",
	    &said));
	replace(said, "c.conf:7:", "c.conf:6:"); /* of two lines in one statement */
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		snprintf(line, sizeof(line), "c.conf:%u: ", want[i].line);
		const char *at = said;
		bool found = false;

		while ((at = strstr(at, line)) != NULL && !found) {
			const char *what = strstr(at, want[i].what);

			found = what != NULL && what < strchr(at, '\n');
			at = strchr(at, '\n');
		}
		if (!found)
			fail_msg("%s%s is missing from\n%s", line, want[i].what, said);
	}
	free(said);
}

/* What is no error but worth a word. */
static void
warnings(void **state)
{
	char *said;

	(void)state;
	struct conf *c =
	    load_text("listen on ::1\ntable <t> { ::/0 }\nblock\npass auth none\n", &said);
	assert_non_null(c);
	assert_string_equal(said,
	    "c.conf:2: warning: table <t> is used by no rule\n"
	    "c.conf:4: warning: the rule is never reached: c.conf:3 blocks everything before it\n");
	free(said);
	conf_free(c);
	c = load_text("listen on ::1\nsocks4 allow\nauth password pam other\npass\n", &said);
	assert_non_null(c);
	assert_string_equal(said,
	    "c.conf:2: warning: socks4 allow serves no one: no pass rule has auth none, and "
	    "SOCKS4 has no authentication\n");
	free(said);
	conf_free(c);
	c = load_text("listen on ::1\n", &said);
	assert_non_null(c);
	assert_string_equal(
	    said, "c.conf:1: warning: no pass rule: every client will be turned away\n");
	free(said);
	conf_free(c);
	write_text("c.conf", "listen on ::1\npass auth none\n");
	assert_int_equal(chmod(in_dir("c.conf"), 0646), 0);
	c = load_file(NULL, 0, &said);
	assert_non_null(c);
	assert_string_equal(
	    said, "c.conf: warning: anyone may write this file and so decide who gets through\n");
	free(said);
	conf_free(c);
	assert_int_equal(chmod(in_dir("c.conf"), 0600), 0);
	assert_int_equal(chmod(dir, 0777), 0);
	c = load_file(NULL, 0, &said);
	assert_non_null(c);
	assert_string_equal(
	    said, "c.conf: warning: anyone may replace this file: its directory is open to all\n");
	free(said);
	conf_free(c);
	assert_int_equal(chmod(dir, 0700), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(in_dir("c.conf"), 65534, 65534), 0);
		c = load_file(NULL, 0, &said);
		assert_non_null(c);
		assert_ptr_equal(
		    strstr(said, "c.conf: warning: this file belongs to user 65534"), said);
		assert_int_equal(count_lines(said), 1);
		free(said);
		conf_free(c);
	}
	remove(in_dir("c.conf"));
}

static void
whole_files(void **state)
{
	char *said;

	(void)state;
	assert_null(load_text("pass auth none\n\n", &said));
	assert_string_equal(said,
	    "c.conf:2: no listen statement, expected at least one listen on ADDRESS "
	    "port N\n");
	free(said);
	assert_null(load_text("", &said));
	assert_string_equal(said,
	    "c.conf:1: no listen statement, expected at least one listen on ADDRESS "
	    "port N\n");
	free(said);
	remove(in_dir("c.conf"));
	assert_null(load_file(NULL, 0, &said));
	assert_string_equal(said,
	    "c.conf: cannot read the configuration: No such file or directory, "
	    "expected a readable file\n");
	free(said);
	assert_int_equal(mkfifo(in_dir("c.conf"), 0600), 0); /* must not wait for a writer */
	assert_null(load_file(NULL, 0, &said));
	assert_string_equal(said, "c.conf: cannot read the configuration: Invalid argument, "
				  "expected a readable file\n");
	free(said);
	remove(in_dir("c.conf"));
}

/* The users file must be root's (or ours) and no one else's. */
static void
users_files(void **state)
{
	char text[256], *said;

	(void)state;
	write_text("users", "");
	snprintf(text, sizeof(text),
	    "listen on ::1\nauth password file \"%s\"\npass auth password\n", in_dir("users"));
	assert_int_equal(chmod(in_dir("users"), 0600), 0);
	struct conf *c = load_text(text, &said);
	assert_non_null(c);
	assert_string_equal(said, "");
	free(said);
	conf_free(c);
	assert_int_equal(chmod(in_dir("users"), 0644), 0);
	assert_null(load_text(text, &said));
	assert_ptr_equal(strstr(said, "c.conf:2: the users file "), said);
	assert_non_null(
	    strstr(said, "is not safe: it is open to others, expected mode 0600 or 0640\n"));
	assert_int_equal(count_lines(said), 1);
	free(said);
	assert_int_equal(rename(in_dir("users"), in_dir("other")), 0);
	assert_int_equal(chmod(in_dir("other"), 0600), 0);
	assert_int_equal(symlink(in_dir("other"), in_dir("users")), 0);
	assert_null(load_text(text, &said));
	assert_non_null(strstr(said, "is a symbolic link"));
	assert_int_equal(count_lines(said), 1);
	free(said);
	snprintf(text, sizeof(text),
	    "listen on ::1\nauth password file \"%s\"\nauth password pam \"other\"\n",
	    in_dir("other"));
	assert_null(load_text(text, &said));
	assert_string_equal(said,
	    "c.conf:3: both auth password file and auth password pam are there, "
	    "expected one of them\n");
	free(said);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_error),
		cmocka_unit_test(all_of_them),
		cmocka_unit_test(warnings),
		cmocka_unit_test(whole_files),
		cmocka_unit_test(users_files),
	};

	return cmocka_run_group_tests_name("conf_errors", tests, dir_make, dir_remove);
}
