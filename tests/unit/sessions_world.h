/*
 * The master's sessions with two workers that the test plays, a log file and a ledger of their own.
 * Included by their tests after cmocka.h.
 */
#ifndef TESTS_UNIT_SESSIONS_WORLD_H
#define TESTS_UNIT_SESSIONS_WORLD_H

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

static inline bool
nothing(struct chan *c, struct msg *m)
{
	(void)c;
	(void)m;
	return true;
}

static inline void
no_end(struct chan *c, enum chan_end why)
{
	(void)c;
	(void)why;
}

static inline bool verdict(
    struct child *w, uint32_t slot, uint32_t gen, const char *user, unsigned code);

static inline void
drain(void *arg)
{
	(void)arg;
	if (late_verdict)
		verdict(&worker[0], 1, 1, "alice", VERDICT_ACCEPT);
}

static inline void
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

static inline void
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

static inline int
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

static inline int
setup(void **state)
{
	(void)state;
	return setup_with("");
}

static inline int
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
static inline unsigned
records(const char *text)
{
	FILE *f = fopen(log_path, "r");
	char line[4096];
	unsigned n = 0;

	log_flush(logs);
	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL)
		n += strstr(line, text) != NULL;
	fclose(f);
	return n;
}

/* --- messages --- */

static inline struct msg
message(enum msg_type t, const void *p, size_t len)
{
	return (struct msg){ .type = t, .payload = p, .len = len, .fd = -1 };
}

/* By authd as it is. */
static inline bool
verdict_as(struct child *w, uint32_t slot, uint32_t gen, const char *user, unsigned code,
    enum method method, unsigned level)
{
	struct {
		struct msg_verdict v;
		char user[USER_MAX];
	} p = { .v = { .sid = { slot, gen },
		    .spawn = w->spawn,
		    .verdict = (uint8_t)code,
		    .method = (uint8_t)method,
		    .level = (uint8_t)level,
		    .user_len = (uint8_t)strlen(user),
		    .client = client } };
	struct msg m = message(MSG_VERDICT, &p, sizeof(p.v) + strlen(user));

	memcpy(p.user, user, strlen(user));
	return sessions_verdict(sessions, &authd, w, &m);
}

static inline bool
verdict(struct child *w, uint32_t slot, uint32_t gen, const char *user, unsigned code)
{
	return verdict_as(w, slot, gen, user, code, METHOD_PASSWORD, LEVEL_CLEAR);
}

struct open_message {
	struct msg_open o;
	char tail[USER_MAX + NAME_MAX_LEN + CLAIM_MAX];
};

static inline struct open_message
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

static inline bool
send_open(struct child *w, const struct open_message *p)
{
	struct msg m =
	    message(MSG_OPEN, p, sizeof(p->o) + p->o.user_len + p->o.name_len + p->o.claim_len);

	return sessions_open(sessions, w, &m);
}

static inline bool
do_open(struct child *w, uint32_t slot, uint32_t gen, const char *user)
{
	struct open_message p = open_for(slot, gen, user);

	return send_open(w, &p);
}

static inline bool
attempt(struct child *w, uint32_t slot, uint32_t gen, uint32_t version, uint32_t rule)
{
	struct msg_attempt a = {
		.sid = { slot, gen }, .version = version, .rule = rule, .target = target
	};
	struct msg m = message(MSG_ATTEMPT, &a, sizeof(a));

	return sessions_attempt(sessions, w, &m);
}

static inline bool
connected(struct child *w, uint32_t slot, uint32_t gen)
{
	struct msg_connected c = { .sid = { slot, gen }, .target = target, .outgoing = client };
	struct msg m = message(MSG_CONNECTED, &c, sizeof(c));

	return sessions_connected(sessions, w, &m);
}

static inline bool
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
static inline unsigned
answer(unsigned i)
{
	static unsigned char buf[MSG_PACKET_MAX];
	struct msg_head h = { .type = MSG_COUNT };

	chan_flush(&worker[i].chan);
	while (recv(peer[i], buf, sizeof(buf), MSG_DONTWAIT) > 0)
		memcpy(&h, buf, sizeof(h));
	return h.type;
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

#endif
