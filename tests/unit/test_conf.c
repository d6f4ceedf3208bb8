/*
 * The configuration: what each statement makes. Each case is a text and the lines that a
 * description of the result must hold. What is wrong is in test_conf_errors.c.
 */
#include <pwd.h>
#include <syslog.h>
#include <time.h>

#include "tests/unit/conf_text.h"

/* --- a configuration described --- */

static void
put_strs(FILE *f, const char *what, const struct conf_strs *l)
{
	const struct conf_str *s;

	STAILQ_FOREACH (s, l, entry) {
		fprintf(f, " %s=", what);
		for (size_t i = 0; i < s->len; i++)
			fprintf(f, s->s[i] > ' ' && s->s[i] < 0x7f ? "%c" : "%%%02x",
			    (unsigned char)s->s[i]);
		assert_int_equal(s->s[s->len], '\0');
	}
}

static void
put_table(FILE *f, const struct conf_table *t)
{
	char text[ADDR_TEXT];
	const struct conf_prefix *p;

	STAILQ_FOREACH (p, &t->prefixes, entry)
		fprintf(
		    f, " %s%s", p->negated ? "!" : "", prefix_format(&p->p, text, sizeof(text)));
}

static void
put_egress(FILE *f, const struct conf_egress *e)
{
	char text[ADDR_TEXT];

	const struct conf_addr *a;

	STAILQ_FOREACH (a, &e->addrs, entry)
		fprintf(f, " egress=%s", addr_format(&a->a, text, sizeof(text)));
	if (e->pick == EGRESS_ROUND_ROBIN)
		fprintf(f, " round-robin");
	if (e->device != NULL)
		fprintf(f, " device=%s", e->device);
	if (e->mark != 0)
		fprintf(f, " mark=%u", e->mark);
}

static void
put_times(FILE *f, const struct conf_timeouts *t)
{
	if (t->handshake != 0)
		fprintf(f, " handshake=%u", t->handshake);
	if (t->connect != 0)
		fprintf(f, " connect=%u", t->connect);
	if (t->idle != 0)
		fprintf(f, " idle=%u", t->idle);
	if (t->half_closed != 0)
		fprintf(f, " half-closed=%u", t->half_closed);
	if (t->bind != 0)
		fprintf(f, " bind=%u", t->bind);
	if (t->udp != 0)
		fprintf(f, " udp=%u", t->udp);
}

static void
put_rule(FILE *f, const struct conf_rule *r)
{
	const struct conf_ports *p;

	fprintf(f, "rule %u %s%s commands=%x methods=%x", r->where.line,
	    r->action == RULE_PASS ? "pass" : "block", r->log ? " log" : "", r->commands,
	    r->methods);
	if (r->from != NULL) {
		fprintf(f, " from%s%s:", r->from->name[0] != '\0' ? "=" : "", r->from->name);
		put_table(f, r->from);
	}
	if (r->to_given)
		fprintf(f, " to%s", r->to_any ? "=any" : "");
	if (r->to != NULL) {
		fprintf(f, "%s%s:", r->to->name[0] != '\0' ? "=" : "", r->to->name);
		put_table(f, r->to);
	}
	put_strs(f, "name", &r->to_names);
	STAILQ_FOREACH (p, &r->ports, entry)
		fprintf(f, " port=%u-%u", p->first, p->last);
	put_strs(f, "user", &r->users);
	put_strs(f, "group", &r->groups);
	put_times(f, &r->timeouts);
	put_egress(f, &r->egress);
	STAILQ_FOREACH (p, &r->bind_ports, entry)
		fprintf(f, " bind-port=%u-%u", p->first, p->last);
	fputc('\n', f);
}

static void
put_lists(FILE *f, const struct conf *c)
{
	const struct conf_listen *l;
	const struct conf_server *s;
	const struct conf_prefix *p;
	const struct conf_group *g;
	const struct conf_log *o;
	const struct conf_table *t;
	char text[ADDR_TEXT];

	STAILQ_FOREACH (l, &c->listens, entry)
		fprintf(f, "listen %u %s %u%s\n", l->where.line, l->host, l->port,
		    l->freebind ? " freebind" : "");
	STAILQ_FOREACH (s, &c->servers, entry)
		fprintf(f, "server %s\n", addrport_format(&s->ap, text, sizeof(text)));
	STAILQ_FOREACH (p, &c->nat64, entry)
		fprintf(f, "nat64 %s\n", prefix_format(&p->p, text, sizeof(text)));
	STAILQ_FOREACH (g, &c->groups, entry) {
		fprintf(f, "group %s:", g->name);
		put_strs(f, "user", &g->users);
		fputc('\n', f);
	}
	STAILQ_FOREACH (o, &c->logs, entry)
		fprintf(f, "log %s %s facility=%d %s\n",
		    o->kind == LOGTO_SYSLOG ? "syslog"
		    : o->kind == LOGTO_FILE ? "file"
					    : "stderr",
		    o->format == FORMAT_JSON ? "json" : "logfmt", o->facility >> 3,
		    o->path != NULL ? o->path : "-");
	STAILQ_FOREACH (t, &c->tables, entry) {
		fprintf(f, "table %u <%s>", t->index, t->name);
		put_table(f, t);
		fputc('\n', f);
	}
}

static void
put_serving(FILE *f, const char *what, const struct conf_ports *p, const struct conf_advertise *a)
{
	char text[ADDR_TEXT];

	fprintf(f, "%s ports %u-%u advertise", what, p->first, p->last);
	if (a->v4.family != ADDR_NONE)
		fprintf(f, " %s", addr_format(&a->v4, text, sizeof(text)));
	if (a->v6.family != ADDR_NONE)
		fprintf(f, " %s", addr_format(&a->v6, text, sizeof(text)));
	fputc('\n', f);
}

static char *
describe(const struct conf *c)
{
	char *out;
	size_t size;
	const struct conf_rule *r;
	FILE *f = open_memstream(&out, &size);

	fprintf(f, "workers %u\nrun %s\nusers %s\npam %s\n", c->workers, c->run_directory,
	    c->users_file != NULL ? c->users_file : "-",
	    c->pam_service != NULL ? c->pam_service : "-");
	fprintf(f, "prefer");
	for (unsigned i = 0; i < c->prefer_n; i++)
		fprintf(f, " %s",
		    c->prefer[i] == METHOD_GSSAPI     ? "gssapi"
		    : c->prefer[i] == METHOD_PASSWORD ? "password"
						      : "none");
	fprintf(f, "\negress:");
	put_egress(f, &c->egress);
	fprintf(f, "\ntimes");
	put_times(f, &c->timeouts);
	fprintf(f, "\nlimits %u %u\nupdate %u\noverflow %s\n", c->limit_sessions,
	    c->limit_sessions_per_user, c->log_update, c->log_overflow_drop ? "drop" : "refuse");
	for (unsigned l = 0; l < LAYER_COUNT; l++)
		fprintf(f, "sandbox %s %u%s\n", layer_name((enum layer)l), c->sandbox[l],
		    c->sandbox_given[l] ? " given" : "");
	for (unsigned i = ROLE_MASTER + 1; i < ROLE_COUNT; i++)
		if (c->process[i].given)
			fprintf(f, "process %s %u %u %s\n", role_name((enum role)i),
			    c->process[i].uid, c->process[i].gid,
			    c->process[i].chroot != NULL ? c->process[i].chroot : "-");
	put_serving(f, "bind", &c->bind_ports, &c->bind_advertise);
	put_serving(f, "udp", &c->udp_ports, &c->udp_advertise);
	fprintf(f, "udp replies %s fragments %s limits %u %u\nsocks4 %s\n",
	    c->udp_replies_any ? "any" : "connected", c->udp_fragments ? "on" : "off",
	    c->limit_associations, c->limit_targets, c->socks4 ? "allow" : "deny");
	put_lists(f, c);
	STAILQ_FOREACH (r, &c->rules, entry)
		put_rule(f, r);
	fclose(f);
	replace(out, dir, "@");
	return out;
}

/* Each line of `want` is a line of `have`. */
static void
assert_lines(const char *text, const char *have, const char *want)
{
	char line[1024], padded[8192];

	snprintf(padded, sizeof(padded), "\n%s", have);
	while (*want != '\0') {
		size_t n = strcspn(want, "\n");

		snprintf(line, sizeof(line), "\n%.*s\n", (int)n, want);
		if (strstr(padded, line) == NULL)
			fail_msg(
			    "\"%s\" gave\n%s\nwhich has no line\n%.*s", text, have, (int)n, want);
		want += n + (want[n] == '\n');
	}
}

/* --- the cases: line 1 is "listen on 127.0.0.1" and line 2 a users file, where `users` --- */

#define HEAD "listen on 127.0.0.1\n"

static const struct {
	const char *text, *want;
	bool users;
} good[] = {
	/* listen */
	{ "listen on 10.0.0.1 port 1081", "listen 1 127.0.0.1 1080\nlisten 2 10.0.0.1 1081",
	    false },
	{ "listen on fd00::1 freebind", "listen 2 fd00::1 1080 freebind", false },
	{ "listen on eth0 port 65535 freebind", "listen 2 eth0 65535 freebind", false },
	{ "listen on fe80::1%eth0", "listen 2 fe80::1%eth0 1080", false },
	{ "listen on gw.example.com port 1", "listen 2 gw.example.com 1", false },
	{ "listen on * port 99", "listen 2 * 99", false },
	{ "listen on { ::1, 10.0.0.1\n10.0.0.2 } port 7",
	    "listen 2 ::1 7\nlisten 2 10.0.0.1 7\nlisten 2 10.0.0.2 7", false },
	/* single values */
	{ "workers 4", "workers 4", false },
	{ "run directory \"/run/other\"", "run /run/other", false },
	{ "run directory /run/bare", "run /run/bare", false },
	{ "egress from 192.0.2.7, 2001:db8::7", "egress: egress=192.0.2.7 egress=2001:db8::7",
	    false },
	{ "egress from { 2001:db8::7 }", "egress: egress=2001:db8::7", false },
	{ "egress from 192.0.2.7, 2001:db8::7, 192.0.2.8 round-robin\negress device \"eth1\"\n"
	  "egress mark 0xffffffff",
	    "egress: egress=192.0.2.7 egress=2001:db8::7 egress=192.0.2.8 round-robin device=eth1 mark=4294967295",
	    false },
	{ "egress from { 192.0.2.7\n192.0.2.8 } source-hash",
	    "egress: egress=192.0.2.7 egress=192.0.2.8", false },
	{ "pass auth none egress from ::1 round-robin egress mark 7 egress device eth1",
	    "rule 2 pass commands=0 methods=1 egress=::1 round-robin device=eth1 mark=7", false },
	{ "resolver 192.0.2.53, 2001:db8::53 port 5353",
	    "server 192.0.2.53:53\nserver [2001:db8::53]:5353", false },
	{ "resolver {\n127.0.0.1 port 54\n127.0.0.1\n}", "server 127.0.0.1:54\nserver 127.0.0.1:53",
	    false },
	{ "nat64 2001:db8:64::/96", "nat64 2001:db8:64::/96", false },
	/* auth */
	{ "", "users @/users\npam -", true },
	{ "auth password pam \"sshd\"", "users -\npam sshd", false },
	{ "auth prefer none, password", "prefer none password", false },
	{ "auth prefer { none }", "prefer none", false },
	{ "group web { carol, \"dave e\"\n\"\\x00\\xff\" }",
	    "group web: user=carol user=dave%20e user=%00%ff", false },
	{ "group quota { rate, guard }", "group quota: user=rate user=guard", false },
	{ "group \"log\" alice", "group log: user=alice", false },
	/* log */
	{ "log syslog facility local3 socket \"/dev/other\" format json",
	    "log syslog json facility=19 /dev/other", false },
	{ "log file \"/var/log/a b\" format json\nlog stderr",
	    "log file json facility=3 /var/log/a b\nlog stderr logfmt facility=3 -", false },
	{ "log update 90s\nlog overflow drop", "update 90000\noverflow drop", false },
	{ "log overflow refuse", "overflow refuse", false },
	/* timeout, limit */
	{ "timeout { handshake 100ms, connect 10m\nidle 30d, half-closed 2h }",
	    "times handshake=100 connect=600000 idle=2592000000 half-closed=7200000 bind=120000 udp=120000",
	    false },
	{ "timeout idle 5m\ntimeout connect 3s",
	    "times handshake=30000 connect=3000 idle=300000 half-closed=120000 bind=120000 udp=120000",
	    false },
	{ "limit { sessions 500, sessions per user 20 }", "limits 500 20", false },
	{ "limit sessions per user 7\nlimit sessions 1000000", "limits 1000000 7", false },
	/* process, sandbox */
	{ "process worker uid 64999 chroot \"/var/empty\"", "process worker 64999 64999 /var/empty",
	    false },
	{ "process resolver chroot /a uid 64998", "process resolver 64998 64998 /a", false },
	{ "process password uid 64997\nprocess pam uid 64996",
	    "process password 64997 64997 -\nprocess pam 64996 64996 -", false },
	{ "sandbox seccomp off\nsandbox landlock-net require\nsandbox uid try\nsandbox chroot try",
	    "sandbox seccomp 2 given\nsandbox landlock-net 0 given\nsandbox uid 1 given\nsandbox chroot 1 given",
	    false },
	/* tables, macros */
	{ "staff = \"10.1.0.0/16\"\ntable <a-b_1> { $staff, 10.2.0.0/16, !10.2.9.0/24 }\nblock from <a-b_1>",
	    "table 0 <a-b_1> 10.1.0.0/16 10.2.0.0/16 !10.2.9.0/24\n"
	    "rule 4 block commands=0 methods=0 from=a-b_1: 10.1.0.0/16 10.2.0.0/16 !10.2.9.0/24",
	    false },
	{ "inner = 10.0.0.0/8\nouter = \"$inner, ::1\"\nblock from { $outer }",
	    "rule 4 block commands=0 methods=0 from: 10.0.0.0/8 ::1/128", false },
	{ "all = \"{ 10.0.0.0/8\\n!10.1.0.0/16 } port 7\"\nblock to $all",
	    "rule 3 block commands=0 methods=0 to: 10.0.0.0/8 !10.1.0.0/16 port=7-7", false },
	{ "table <t> file \"t\"\nblock to <t>",
	    "table 0 <t> 192.0.2.0/24 !192.0.2.7/32 2001:db8::/32", false },
	/* rules */
	{ "pass auth none", "rule 2 pass commands=0 methods=1", false },
	{ "pass log connect auth none", "rule 2 pass log commands=2 methods=1", false },
	{ "pass { connect } from any to any auth { none }",
	    "rule 2 pass commands=2 methods=1 to=any", false },
	{ "pass from 10.0.0.0/8", "rule 3 pass commands=0 methods=0 from: 10.0.0.0/8", true },
	{ "block to { .Example.COM., www.example.org, 192.0.2.1 }",
	    "rule 2 block commands=0 methods=0 to: 192.0.2.1/32 name=.example.com name=www.example.org",
	    false },
	{ "block to { any, 127.0.0.0/8, ::1 }",
	    "rule 2 block commands=0 methods=0 to=any: 127.0.0.0/8 ::1/128", false },
	{ "block to \"any\"", "rule 2 block commands=0 methods=0 to name=any", false },
	{ "block to { any, !10.0.0.0/8 }",
	    "rule 2 block commands=0 methods=0 to: 0.0.0.0/0 !10.0.0.0/8 ::/0", false },
	{ "block from { any, !10.0.0.0/8 }",
	    "rule 2 block commands=0 methods=0 from: 0.0.0.0/0 !10.0.0.0/8 ::/0", false },
	{ "table <t> { 10.0.0.0/8, !10.1.0.0/16 }\nblock from { any, <t> }",
	    "rule 3 block commands=0 methods=0 from: 0.0.0.0/0 10.0.0.0/8 !10.1.0.0/16 ::/0",
	    false },
	{ "block from { any, 10.0.0.0/8 }", "rule 2 block commands=0 methods=0", false },
	{ "table <t> { 10.0.0.0/8, 192.0.2.0/24 }\nblock from { 10.0.0.0/8, <t>, !10.7.0.0/16 }",
	    "rule 3 block commands=0 methods=0 from: 10.0.0.0/8 !10.7.0.0/16 192.0.2.0/24", false },
	{ "table <t> { 10.0.0.0/8 }\nblock from { <t>, !10.7.0.0/16 }",
	    "rule 3 block commands=0 methods=0 from: 10.0.0.0/8 !10.7.0.0/16", false },
	{ "block from <t>\ntable <t> { ::/0 }", "rule 2 block commands=0 methods=0 from=t: ::/0",
	    false },
	{ "block port 1-65535", "rule 2 block commands=0 methods=0 port=1-65535", false },
	{ "block port { 80, 443\n\n 1000-2000, }",
	    "rule 2 block commands=0 methods=0 port=80-80 port=443-443 port=1000-2000", false },
	{ "pass user { alice, \"b\\\"\\\\\\t\" } group web auth password",
	    "rule 3 pass commands=0 methods=2 user=alice user=b\"\\%09 group=web", true },
	{ "pass auth password, none timeout idle 10m egress from 192.0.2.1, 2001:db8::1",
	    "rule 3 pass commands=0 methods=3 idle=600000 egress=192.0.2.1 egress=2001:db8::1",
	    true },
	{ "pass auth none timeout { connect 1s, idle 2s, half-closed 3s } egress from 192.0.2.1",
	    "rule 2 pass commands=0 methods=1 connect=1000 idle=2000 half-closed=3000 egress=192.0.2.1",
	    false },
	{ "bind ports 40000-40999\nbind advertise 198.51.100.1, 2001:db8::1",
	    "bind ports 40000-40999 advertise 198.51.100.1 2001:db8::1", false },
	{ "bind ports 1024\nbind advertise { 127.0.0.1 }",
	    "bind ports 1024-1024 advertise 127.0.0.1", false },
	{ "timeout {\nbind 5s\n}",
	    "times handshake=30000 connect=15000 idle=3600000 half-closed=120000 bind=5000 udp=120000",
	    false },
	{ "pass bind port 20 auth none", "rule 2 pass commands=4 methods=1 port=20-20", false },
	{ "pass bind bind port 20 auth none", "rule 2 pass commands=4 methods=1 bind-port=20-20",
	    false },
	{ "pass {\nconnect\nbind\n} port 7 bind port { 20, 1024-65535 } auth none timeout bind 9s",
	    "rule 2 pass commands=6 methods=1 port=7-7 bind=9000 bind-port=20-20 bind-port=1024-65535",
	    false },
	{ "pass auth none bind port 1-9", "rule 2 pass commands=0 methods=1 bind-port=1-9", false },
	{ "udp ports 50000-50999\nudp advertise 2001:db8::1, 198.51.100.1",
	    "udp ports 50000-50999 advertise 198.51.100.1 2001:db8::1", false },
	{ "udp replies any\nudp fragments off\nlimit { associations 7\ntargets per association 9 }",
	    "udp replies any fragments off limits 7 9", false },
	{ "udp replies connected\nudp fragments on\nlimit associations 1000000",
	    "udp replies connected fragments on limits 1000000 256", false },
	{ "timeout {\nudp 5s\n}",
	    "times handshake=30000 connect=15000 idle=3600000 half-closed=120000 bind=120000 udp=5000",
	    false },
	{ "pass connect, udp to any port 53 auth none timeout { udp 10s }",
	    "rule 2 pass commands=a methods=1 to=any port=53-53 udp=10000", false },
	{ "socks4 allow\npass auth none", "socks4 allow", false },
	{ "socks4 deny", "socks4 deny", false },
	/* the lexer */
	{ "# pass\nworkers \\\n 3 # a comment", "workers 3", false },
	{ "workers\t3\r\nlimit sessions 9\r", "workers 3\nlimits 9 0", false },
	{ "include \"more\"\nworkers 5", "limits 77 0\nworkers 5", false },
};

static void
each_statement(void **state)
{
	char text[2048], *said;

	(void)state;
	write_text("users", "");
	assert_int_equal(chmod(in_dir("users"), 0600), 0);
	write_text("more", "limit sessions 77");
	write_text("t", "# a list\n192.0.2.0/24\n\n ! 192.0.2.7 # but one\r\n2001:db8::/32");
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		snprintf(text, sizeof(text), HEAD "%s%s%s%s\n",
		    good[i].users ? "auth password file \"" : "",
		    good[i].users ? in_dir("users") : "", good[i].users ? "\"\n" : "",
		    good[i].text);
		struct conf *c = load_text(text, &said);

		if (c == NULL)
			fail_msg("\"%s\" gave %s", text, said);
		char *have = describe(c);

		assert_lines(good[i].text, have, good[i].want);
		free(have);
		free(said);
		conf_free(c);
	}
}

static void
defaults(void **state)
{
	char *said, *have;
	struct conf *c = load_text(HEAD "pass auth none\n", &said);
	bool root = geteuid() == 0;

	(void)state;
	assert_non_null(c);
	assert_string_equal(said, "");
	have = describe(c);
	assert_lines("defaults", have,
	    "workers 0\nusers -\npam -\nprefer gssapi password none\negress:\nlimits 20000 0\nupdate 0\n"
	    "overflow refuse\ntimes handshake=30000 connect=15000 idle=3600000 half-closed=120000 "
	    "bind=120000 udp=120000\nbind ports 0-0 advertise\nudp ports 0-0 advertise\n"
	    "udp replies connected fragments on limits 1000 256\nsocks4 deny\n"
	    "log syslog logfmt facility=3 -\nsandbox mdwe 1\nsandbox landlock 1\n"
	    "sandbox landlock-net 1\nsandbox landlock-scope 1");
	assert_lines("defaults", have,
	    root
		? "run /run/sallyport\nsandbox chroot 0\nsandbox uid 0\nsandbox capabilities 0\n"
		  "sandbox no_new_privs 0\nsandbox seccomp 0"
		: "sandbox chroot 1\nsandbox uid 1\nsandbox capabilities 1\nsandbox no_new_privs 1\n"
		  "sandbox seccomp 1");
	assert_int_equal(c->log_update, 0);
	assert_int_equal(c->errors, 0);
	free(have);
	free(said);
	conf_free(c);
}

/* Each process has a user of its own that is not root, the packaged one where there is one, and
 * never a number that a statement gives to another. */
static void
users_of_processes(void **state)
{
	char *said, name[64];
	struct conf *c = load_text(HEAD "process resolver uid 64200\npass auth none\n", &said);

	(void)state;
	assert_non_null(c);
	for (unsigned r = ROLE_MASTER + 1; r < ROLE_COUNT; r++) {
		snprintf(name, sizeof(name), "sallyport-%s", role_name((enum role)r));
		const struct passwd *pw = getpwnam(name);

		assert_int_not_equal(c->process[r].uid, 0);
		assert_int_not_equal(c->process[r].gid, 0);
		if (pw != NULL && r != ROLE_RESOLVER)
			assert_int_equal(c->process[r].uid, pw->pw_uid);
		for (unsigned o = ROLE_MASTER + 1; o < r; o++)
			assert_int_not_equal(c->process[r].uid, c->process[o].uid);
	}
	assert_int_equal(c->process[ROLE_RESOLVER].uid, 64200);
	free(said);
	conf_free(c);

	c = load_text(HEAD "process worker uid nobody\npass auth none\n", &said);
	assert_non_null(c);
	assert_int_equal(c->process[ROLE_WORKER].uid, getpwnam("nobody")->pw_uid);
	assert_int_equal(c->process[ROLE_WORKER].gid, getpwnam("nobody")->pw_gid);
	free(said);
	conf_free(c);
}

static void
defines(void **state)
{
	const struct conf_define defs[] = { { "port", "1081" }, { "more", "10.0.0.0/8" } };
	char *said, *have;

	(void)state;
	write_text("c.conf", "port = 1080\nlisten on 127.0.0.1 port $port\nblock from $more\n");
	assert_null(load_file(defs, 1, &said)); /* $more is nowhere */
	assert_string_equal(
	    said, "c.conf:3: macro $more is not defined, expected more = \"...\" further up\n");
	free(said);
	struct conf *c = load_file(defs, 2, &said);
	assert_non_null(c);
	have = describe(c);
	assert_lines("defines", have,
	    "listen 2 127.0.0.1 1081\nrule 3 block commands=0 methods=0 from: 10.0.0.0/8");
	free(have);
	free(said);
	conf_free(c);

	write_text("c.conf", HEAD "pass auth none\n");
	c = load_file(defs, 1, &said);
	assert_non_null(c);
	assert_string_equal(
	    said, "-D:1: warning: macro port is used nowhere in the configuration\n");
	free(said);
	conf_free(c);

	const struct conf_define bad = { "a-b", "" };
	assert_null(load_file(&bad, 1, &said));
	assert_string_equal(said, "-D:1: \"a-b\" names no macro, expected letters, digits and _\n");
	free(said);
}

/* The example of the design, but for the features that come later. */
static void
a_whole_one(void **state)
{
	char *said, *have, text[2048];

	(void)state;
	write_text("users", "");
	write_text("bad.txt", "198.51.100.0/24 # them\n");
	assert_int_equal(chmod(in_dir("users"), 0600), 0);
	snprintf(text, sizeof(text),
	    "staff = \"10.1.0.0/16\"      # a macro\n"
	    "listen on 10.0.0.1 port 1080\nlisten on fd00::1 port 1080\n"
	    "egress from 192.0.2.7, 2001:db8::7\nresolver 192.0.2.53, 2001:db8::53\nworkers 4\n"
	    "log syslog facility daemon format logfmt\n\n"
	    "auth password file \"%s\"\nauth prefer password, none\ngroup web { carol, dave }\n"
	    "timeout { handshake 30s, connect 15s, idle 1h, half-closed 2m }\n"
	    "limit { sessions 20000, sessions per user 200 }\n\n"
	    "table <branch> { $staff, 10.2.0.0/16, !10.2.9.0/24 }\ntable <bad>    file \"bad.txt\"\n\n"
	    "block log from any to <bad>\n"
	    "pass connect from <branch> to .example.com port { 80, 443 } auth none\n"
	    "pass connect from <branch> to any user { alice, bob } auth password\n"
	    "pass connect from any to any port 443 group web auth password timeout idle 10m\n",
	    in_dir("users"));
	struct conf *c = load_text(text, &said);
	assert_string_equal(said, "");
	assert_non_null(c);
	have = describe(c);
	assert_lines("the whole", have,
	    "table 0 <branch> 10.1.0.0/16 10.2.0.0/16 !10.2.9.0/24\ntable 1 <bad> 198.51.100.0/24\n"
	    "rule 18 block log commands=0 methods=0 to=bad: 198.51.100.0/24\n"
	    "rule 19 pass commands=2 methods=1 from=branch: 10.1.0.0/16 10.2.0.0/16 !10.2.9.0/24 to"
	    " name=.example.com port=80-80 port=443-443\n"
	    "rule 20 pass commands=2 methods=2 from=branch: 10.1.0.0/16 10.2.0.0/16 !10.2.9.0/24 to=any"
	    " user=alice user=bob\n"
	    "rule 21 pass commands=2 methods=2 to=any port=443-443 group=web idle=600000");
	free(have);
	free(said);
	conf_free(c);
}

/* Issue 3: 100,000 prefixes load in under a second (processor time: the machine may be busy). */
static void
a_large_table(void **state)
{
	const unsigned n = 100000;
	FILE *f = fopen(in_dir("large"), "w");
	char *said;

	(void)state;
	for (unsigned i = 0; i < n; i++) /* not in order */
		fprintf(f, "%u.%u.%u.0/24\n", 1 + i % 199, i / 199 % 256, i / 199 / 256);
	assert_int_equal(fclose(f), 0);
	clock_t began = clock();
	struct conf *c = load_text(HEAD "table <large> file \"large\"\nblock to <large>\n", &said);
	clock_t took = clock() - began;

	assert_non_null(c);
	unsigned have = 0;
	const struct conf_prefix *p;
	STAILQ_FOREACH (p, &STAILQ_FIRST(&c->tables)->prefixes, entry)
		have++;
	assert_int_equal(have, n);
#ifndef SANITIZED
	assert_true(took < CLOCKS_PER_SEC);
#else
	(void)took;
#endif
	free(said);
	conf_free(c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_statement),
		cmocka_unit_test(defaults),
		cmocka_unit_test(users_of_processes),
		cmocka_unit_test(defines),
		cmocka_unit_test(a_whole_one),
		cmocka_unit_test(a_large_table),
	};

	return cmocka_run_group_tests_name("conf", tests, dir_make, dir_remove);
}
