/*
 * What a hostile worker may say about its sessions: every lie is refused, with an honest session
 * beside it as the control; and every session gets exactly one closing record.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/counts.h"
#include "master/sessions.h"

#define SLOTS 16

static char dir[] = "/tmp/test_sessions.XXXXXX";
static char log_path[64], conf_path[64];
static struct loop *loop;
static struct conf *conf;
static struct log *logs;
static struct early *early;
static struct policies *policies;
static struct sessions *sessions;
static struct child worker[2], authd;
static int peer[2];
static struct counts *page;
static bool late_verdict; /* drain_authd finds alice's accept for slot 1, generation 1 */

static const struct addrport client = { .a = { .family = ADDR_V4, .b = { 127, 0, 0, 1 } },
	.port = 4000 };
static const struct addrport target = { .a = { .family = ADDR_V4, .b = { 192, 0, 2, 1 } },
	.port = 80 };

static bool
nothing(struct chan *c, struct msg *m)
{
	(void)c;
	(void)m;
	return true;
}

static void
no_end(struct chan *c, enum chan_end why)
{
	(void)c;
	(void)why;
}

static bool verdict(struct child *w, uint32_t slot, uint32_t gen, const char *user, unsigned code);

static void
drain(void *arg)
{
	(void)arg;
	if (late_verdict)
		verdict(&worker[0], 1, 1, "alice", VERDICT_ACCEPT);
}

static void
start_worker(unsigned i, uint32_t spawn)
{
	int sv[2];

	memset(&worker[i], 0, sizeof(worker[i]));
	worker[i].role = ROLE_WORKER;
	worker[i].index = i;
	worker[i].spawn = spawn;
	worker[i].chan.on_msg = nothing;
	worker[i].chan.on_end = no_end;
	assert_int_equal(chan_pair(sv), 0);
	assert_int_equal(
	    chan_start(&worker[i].chan, loop, sv[0], ROLE_MASTER, ROLE_WORKER, spawn), 0);
	peer[i] = sv[1];
	int fd = sessions_worker_start(sessions, &worker[i]);
	assert_true(fd >= 0);
	if (i == 0) {
		page = counts_map(fd, SLOTS, 1);
		assert_non_null(page);
	}
	close(fd);
}

static void
write_conf(const char *limits)
{
	FILE *f = fopen(conf_path, "w");

	assert_non_null(f);
	fprintf(f,
	    "run directory \"%s\"\nlisten on 127.0.0.1\nlog file \"%s\"\n"
	    "auth password pam \"login\"\n%s"
	    "block from any to 203.0.113.0/24\npass log from any to any auth none\n",
	    dir, log_path, limits);
	fclose(f);
}

static int
setup_with(const char *limits)
{
	struct image_inputs in = {
		.hosts_path = "/dev/null", .resolv_conf_path = "/dev/null", .workers = 2
	};

	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(log_path, sizeof(log_path), "%s/log", dir);
	snprintf(conf_path, sizeof(conf_path), "%s/conf", dir);
	write_conf(limits);
	late_verdict = false;
	loop = loop_new();
	conf = conf_load(conf_path, NULL, 0, stderr);
	assert_non_null(conf);
	logs = log_open(loop, conf, stderr);
	early = early_new(loop, logs);
	policies = policies_new();
	assert_int_equal(policies_add(policies, conf, &in), 0);
	struct sessions_setup s = { .loop = loop,
		.log = logs,
		.early = early,
		.policies = policies,
		.run_directory = dir,
		.instance = 1,
		.workers = 2,
		.slots = SLOTS,
		.drain_authd = drain };
	sessions = sessions_new(&s);
	assert_non_null(sessions);
	sessions_configure(sessions, conf);
	start_worker(0, 10);
	start_worker(1, 11);
	authd = (struct child){ .role = ROLE_PAM, .spawn = 5 };
	return 0;
}

static int
setup(void **state)
{
	(void)state;
	return setup_with("");
}

static int
teardown(void **state)
{
	char path[80];

	(void)state;
	for (int i = 0; i < 2; i++) {
		sessions_worker_end(sessions, &worker[i], REASON_SHUTDOWN);
		chan_stop(&worker[i].chan);
		close(peer[i]);
	}
	counts_unmap(page, SLOTS);
	sessions_free(sessions);
	policies_free(policies);
	early_free(early);
	log_close(logs, 100);
	conf_free(conf);
	loop_free(loop);
	unlink(log_path);
	unlink(conf_path);
	snprintf(path, sizeof(path), "%s/ledger", dir);
	unlink(path);
	assert_int_equal(rmdir(dir), 0);
	return 0;
}

/* How often `text` stands in the trail. */
static unsigned
records(const char *text)
{
	FILE *f = fopen(log_path, "r");
	char line[4096];
	unsigned n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL)
		n += strstr(line, text) != NULL;
	fclose(f);
	return n;
}

/* --- messages --- */

static struct msg
message(enum msg_type t, const void *p, size_t len)
{
	return (struct msg){ .type = t, .payload = p, .len = len, .fd = -1 };
}

static bool
verdict(struct child *w, uint32_t slot, uint32_t gen, const char *user, unsigned code)
{
	struct {
		struct msg_verdict v;
		char user[USER_MAX];
	} p = { .v = { .sid = { slot, gen },
		    .spawn = w->spawn,
		    .verdict = (uint8_t)code,
		    .method = METHOD_PASSWORD,
		    .user_len = (uint8_t)strlen(user),
		    .client = client } };
	struct msg m = message(MSG_VERDICT, &p, sizeof(p.v) + strlen(user));

	memcpy(p.user, user, strlen(user));
	return sessions_verdict(sessions, &authd, w, &m);
}

struct open_message {
	struct msg_open o;
	char tail[USER_MAX + NAME_MAX_LEN + CLAIM_MAX];
};

static struct open_message
open_for(uint32_t slot, uint32_t gen, const char *user)
{
	struct open_message p = { .o = { .sid = { slot, gen },
				      .version = 1,
				      .method = user[0] != '\0' ? METHOD_PASSWORD : METHOD_NONE,
				      .command = COMMAND_CONNECT,
				      .command_raw = 1,
				      .user_len = (uint8_t)strlen(user),
				      .client = client,
				      .gateway = client,
				      .asked = target,
				      .socks = 5 } };

	memcpy(p.tail, user, strlen(user));
	return p;
}

static bool
send_open(struct child *w, const struct open_message *p)
{
	struct msg m =
	    message(MSG_OPEN, p, sizeof(p->o) + p->o.user_len + p->o.name_len + p->o.claim_len);

	return sessions_open(sessions, w, &m);
}

static bool
do_open(struct child *w, uint32_t slot, uint32_t gen, const char *user)
{
	struct open_message p = open_for(slot, gen, user);

	return send_open(w, &p);
}

static bool
attempt(struct child *w, uint32_t slot, uint32_t gen, uint32_t version, uint32_t rule)
{
	struct msg_attempt a = {
		.sid = { slot, gen }, .version = version, .rule = rule, .target = target
	};
	struct msg m = message(MSG_ATTEMPT, &a, sizeof(a));

	return sessions_attempt(sessions, w, &m);
}

static bool
connected(struct child *w, uint32_t slot, uint32_t gen)
{
	struct msg_connected c = { .sid = { slot, gen }, .target = target, .outgoing = client };
	struct msg m = message(MSG_CONNECTED, &c, sizeof(c));

	return sessions_connected(sessions, w, &m);
}

static bool
do_close(struct child *w, uint32_t slot, uint32_t gen, uint32_t reason)
{
	struct msg_close c = { .sid = { slot, gen },
		.reason = reason,
		.version = 1,
		.rule = RULE_NONE,
		.up = 5,
		.down = 7 };
	struct msg m = message(MSG_CLOSE, &c, sizeof(c));

	return sessions_close(sessions, w, &m);
}

/* What the master has answered last: GRANT, REFUSE, or MSG_COUNT for nothing. */
static unsigned
answer(unsigned i)
{
	static unsigned char buf[MSG_PACKET_MAX];
	struct msg_head h = { .type = MSG_COUNT };

	chan_flush(&worker[i].chan);
	while (recv(peer[i], buf, sizeof(buf), MSG_DONTWAIT) > 0)
		memcpy(&h, buf, sizeof(h));
	return h.type;
}

/* --- tests --- */

static void
test_honest_session(void **state)
{
	(void)state;
	assert_true(do_open(&worker[0], 1, 1, ""));
	assert_int_equal(answer(0), MSG_COUNT); /* no grant before the attempt */
	assert_true(attempt(&worker[0], 1, 1, 1, 1));
	assert_int_equal(records("event=session-open"), 1); /* the record first ... */
	assert_int_equal(answer(0), MSG_GRANT);             /* ... then the grant */
	assert_true(attempt(&worker[0], 1, 1, 1, 1));       /* RFC 8305: another address */
	assert_int_equal(answer(0), MSG_COUNT);
	assert_true(connected(&worker[0], 1, 1));
	assert_true(do_close(&worker[0], 1, 1, REASON_CLIENT_CLOSED));
	assert_int_equal(records("event=session-close"), 1);
	assert_int_equal(records("up=5 down=7"), 1);
	assert_int_equal(sessions_count(sessions), 0);
	assert_true(do_open(&worker[0], 1, 2, "")); /* the slot again */
}

static void
test_user_needs_accept(void **state)
{
	(void)state;
	assert_false(do_open(&worker[0], 1, 1, "alice")); /* authd never accepted */
	assert_true(verdict(&worker[0], 1, 1, "alice", VERDICT_WRONG));
	assert_false(do_open(&worker[0], 1, 1, "alice"));
	assert_true(verdict(&worker[0], 1, 1, "alice", VERDICT_ACCEPT));
	assert_false(do_open(&worker[1], 1, 1, "alice")); /* another worker's */
	assert_false(do_open(&worker[0], 2, 1, "alice")); /* another session's */
	assert_false(do_open(&worker[0], 1, 2, "alice"));
	assert_false(do_open(&worker[0], 1, 1, "bobby"));
	assert_true(do_open(&worker[0], 1, 1, "alice"));
	assert_true(do_close(&worker[0], 1, 1, REASON_RULES));
	assert_false(do_open(&worker[0], 1, 2, "alice")); /* an accept is used once */
	assert_int_equal(records("event=auth-failed"), 1);
	assert_int_equal(records("event=auth-ok"), 1);
}

static void
test_verdict_on_its_way(void **state)
{
	(void)state;
	late_verdict = true;
	assert_true(do_open(&worker[0], 1, 1, "alice"));
	late_verdict = false;
	assert_false(do_open(&worker[0], 2, 1, "alice"));
}

static void
test_open_is_checked(void **state)
{
	struct open_message p;

	(void)state;
#define BAD(change)                                      \
	do {                                             \
		p = open_for(3, 1, "");                  \
		change;                                  \
		assert_false(send_open(&worker[0], &p)); \
	} while (0)
	BAD(p.o.sid.slot = SLOTS);
	BAD(p.o.sid.gen = 0);
	BAD(p.o.version = 2);
	BAD(p.o.version = 0);
	BAD(p.o.method = METHOD_COUNT);
	BAD(p.o.method = METHOD_PASSWORD); /* without a user */
	BAD(p.o.user_len = 3);             /* a user without a method */
	BAD(p.o.command = COMMAND_COUNT);
	BAD(p.o.name_len = 3); /* a name and an address */
	BAD(p.o.asked.a.family = ADDR_NONE);
	BAD(p.o.client.a.family = ADDR_NONE);
	BAD(p.o.socks = 0);
	BAD(p.o.socks = 3);
	BAD(p.o.claim_len = 3); /* SOCKS5 has none */
	p = open_for(3, 1, "");
	assert_true(send_open(&worker[0], &p));
	assert_false(send_open(&worker[0], &p)); /* twice */
	assert_true(do_close(&worker[0], 3, 1, REASON_RULES));
	assert_false(send_open(&worker[0], &p));               /* a generation is used once */
	struct msg m = message(MSG_OPEN, &p, sizeof(p.o) + 1); /* an octet that no length claims */
	p.o.sid.gen = 2;
	assert_false(sessions_open(sessions, &worker[0], &m));
	m.len--;
	assert_true(sessions_open(sessions, &worker[0], &m));
}

/* What a SOCKS4 client says of itself is told as that, and makes no one of it. */
static void
test_claim(void **state)
{
	struct open_message p = open_for(1, 1, "");

	(void)state;
	p.o.socks = 4;
	p.o.claim_len = 5;
	memcpy(p.tail, "alice", 5);
	assert_true(send_open(&worker[0], &p));
	assert_true(attempt(&worker[0], 1, 1, 1, 1));
	assert_true(do_close(&worker[0], 1, 1, REASON_CLIENT_CLOSED));
	assert_int_equal(records("claim=alice"), 2);
	assert_int_equal(records("socks=4"), 2);
	assert_int_equal(records("user=alice"), 0);
	/* Not even where authd has accepted the user for this very session. */
	assert_true(verdict(&worker[0], 1, 2, "alice", VERDICT_ACCEPT));
	p = open_for(1, 2, "alice");
	p.o.socks = 4;
	assert_false(send_open(&worker[0], &p));
}

static void
test_order_of_messages(void **state)
{
	(void)state;
	assert_false(attempt(&worker[0], 1, 1, 1, 1)); /* before open */
	assert_false(do_close(&worker[0], 1, 1, REASON_RULES));
	assert_true(do_open(&worker[0], 1, 1, ""));
	assert_false(connected(&worker[0], 1, 1));     /* before attempt */
	assert_false(attempt(&worker[0], 1, 1, 1, 0)); /* a block rule */
	assert_false(attempt(&worker[0], 1, 1, 1, 2)); /* no such rule */
	assert_false(attempt(&worker[0], 1, 1, 1, RULE_NONE));
	assert_false(attempt(&worker[0], 1, 1, 7, 1));
	assert_false(attempt(&worker[1], 1, 1, 1, 1)); /* another worker's session */
	assert_false(do_close(&worker[1], 1, 1, REASON_RULES));
	assert_true(attempt(&worker[0], 1, 1, 1, 1));
	assert_false(connected(&worker[0], 1, 2));
	assert_true(connected(&worker[0], 1, 1));
	assert_false(connected(&worker[0], 1, 1));
	assert_false(attempt(&worker[0], 1, 1, 1, 1)); /* CONNECT connects once */
	assert_false(do_close(&worker[0], 1, 1, REASON_COUNT));
	assert_false(do_close(&worker[0], 1, 1, REASON_NONE));
	assert_true(do_close(&worker[0], 1, 1, REASON_IDLE));
	assert_false(do_close(&worker[0], 1, 1, REASON_IDLE)); /* one close */
	assert_int_equal(records("event=session-close"), 1);
}

static void
test_worker_lost(void **state)
{
	(void)state;
	assert_true(do_open(&worker[0], 1, 1, ""));
	assert_true(attempt(&worker[0], 1, 1, 1, 1));
	assert_true(do_open(&worker[0], 2, 1, ""));
	assert_true(do_open(&worker[1], 2, 1, ""));
	atomic_store(&page[1].gen, 1);
	atomic_store(&page[1].up, 1234);
	sessions_worker_end(sessions, &worker[0], REASON_CHILD_LOST);
	assert_int_equal(records("event=session-close"), 1);
	assert_int_equal(records("up=1234"), 1); /* from the page that the worker shared */
	assert_int_equal(records("event=session-refused"), 1);
	assert_int_equal(records("reason=child-lost"), 2);
	assert_int_equal(sessions_count(sessions), 1); /* the other worker's lives */
}

static void
test_limits_refuse(void **state)
{
	teardown(NULL);
	setup_with("limit { sessions 2, sessions per user 1 }\n");
	(void)state;
	assert_true(verdict(&worker[0], 1, 1, "alice", VERDICT_ACCEPT));
	assert_true(verdict(&worker[0], 2, 1, "alice", VERDICT_ACCEPT));
	assert_true(do_open(&worker[0], 1, 1, "alice"));
	assert_true(do_open(&worker[0], 2, 1, "alice"));
	assert_int_equal(answer(0), MSG_REFUSE);
	assert_true(attempt(&worker[0], 2, 1, 1, 1)); /* it crossed our refusal: no fault, ... */
	assert_int_equal(answer(0), MSG_COUNT);       /* ... and no grant */
	assert_false(connected(&worker[0], 2, 1));
	assert_true(do_close(&worker[0], 2, 1, REASON_GENERAL));
	assert_int_equal(records("reason=limit-sessions-per-user"), 1);
	assert_true(do_open(&worker[0], 3, 1, ""));
	assert_true(do_open(&worker[1], 4, 1, ""));
	assert_int_equal(answer(1), MSG_REFUSE);
	assert_true(do_close(&worker[1], 4, 1, REASON_GENERAL));
	assert_int_equal(records("reason=limit-sessions "), 0);
	assert_int_equal(records("reason=limit-sessions"), 2);
	assert_true(do_close(&worker[0], 3, 1, REASON_RULES));
	assert_true(do_open(&worker[1], 4, 2, "")); /* room again */
	assert_int_equal(answer(1), MSG_COUNT);
}

static void
test_verdict_is_checked(void **state)
{
	(void)state;
	assert_false(verdict(&worker[0], SLOTS, 1, "alice", VERDICT_ACCEPT));
	assert_false(verdict(&worker[0], 1, 0, "alice", VERDICT_ACCEPT));
	assert_false(verdict(&worker[0], 1, 1, "", VERDICT_ACCEPT));
	assert_false(verdict(&worker[0], 1, 1, "alice", VERDICT_COUNT));
	assert_false(verdict(&worker[0], 1, 1, "alice", VERDICT_NONE));
	assert_true(verdict(&worker[0], 1, 1, "alice", VERDICT_ACCEPT));
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_honest_session),
		TEST(test_user_needs_accept),
		TEST(test_verdict_on_its_way),
		TEST(test_open_is_checked),
		TEST(test_claim),
		TEST(test_order_of_messages),
		TEST(test_worker_lost),
		TEST(test_limits_refuse),
		TEST(test_verdict_is_checked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
