/*
 * How a child starts and how it stands to its master, the one peer that it trusts: what the master
 * sends wrongly is a fault of this program, and ends the process.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/child.h"

#define INIT_TIMEOUT \
	30000 /* ms: a machine under load; the master sends INIT before anything else */

#if SANITIZED
/* The leak check at exit traces the process, which the sandbox refuses. */
const char *__asan_default_options(void);
const char *
__asan_default_options(void)
{
	return "detect_leaks=0";
}
#endif

static enum role child_role; /* for messages that go out where no channel runs */

/* Not exit(3): handlers and streams have nothing left to do, and a filter is in force. */
static _Noreturn void
child_die(const char *what)
{
	fprintf(stderr, "sallyport %s: %s: %s\n", role_name(child_role), what, strerror(errno));
	_exit(1);
}

static void
prepare_process(void)
{
	const struct rlimit no_core = { 0, 0 };
	struct sigaction ignore;

	memset(&ignore, 0, sizeof(ignore));
	ignore.sa_handler = SIG_IGN;
	/* A terminal's Ctrl-C and a machine's shutdown reach every process: the end is the master's
	 * to bring about, with every session's closing record. */
	if (setrlimit(RLIMIT_CORE, &no_core) == -1 || sigaction(SIGPIPE, &ignore, NULL) == -1 ||
	    sigaction(SIGINT, &ignore, NULL) == -1 || sigaction(SIGTERM, &ignore, NULL) == -1 ||
	    sigaction(SIGHUP, &ignore, NULL) == -1)
		child_die("cannot prepare the process");
	umask(077);
	closefrom(CHILD_FD + 1);
}

/* Every field, though it comes from the master: a wrong one is a mix-up of versions. */
static bool
init_sound(const struct msg_init *init, uint32_t roles)
{
	static const uint8_t zero[sizeof(init->zero)];

	if (init->role >= ROLE_COUNT || (roles & ROLE_BIT(init->role)) == 0)
		return false;
	for (unsigned l = 0; l < LAYER_COUNT; l++)
		if (init->layers[l] > LAYER_OFF)
			return false;
	return memcmp(init->zero, zero, sizeof(zero)) == 0 &&
	       memchr(init->chroot, '\0', sizeof(init->chroot)) != NULL &&
	       memchr(init->pam_service, '\0', sizeof(init->pam_service)) != NULL &&
	       memchr(init->directory, '\0', sizeof(init->directory)) != NULL &&
	       (init->directory[0] == '/') == ((ROLE_BIT(init->role) & ROLES_GSSAPI) != 0);
}

void
child_init(uint32_t roles, struct msg_init *init)
{
	_Alignas(MSG_ALIGN) uint8_t buf[MSG_PACKET_MAX];
	struct msg m;

	while (child_role < ROLE_COUNT && (roles & ROLE_BIT(child_role)) == 0)
		child_role++;
	prepare_process();
	if (chan_recv_one(CHILD_FD, child_role, ROLE_MASTER, buf, sizeof(buf), &m, INIT_TIMEOUT) ==
	    -1)
		child_die("no start message: this program is started by sallyportd");
	memcpy(init, m.payload, m.type == MSG_INIT ? sizeof(*init) : 0);
	if (m.type != MSG_INIT || !init_sound(init, roles)) {
		errno = EPROTO;
		child_die("wrong start message");
	}
	child_role = init->role;
}

static _Noreturn void
send_failed(enum layer l, const char *what)
{
	struct msg_failed f;
	int error = errno;

	memset(&f, 0, sizeof(f));
	f.layer = l;
	f.error = error;
	snprintf(f.what, sizeof(f.what), "%s", what);
	(void)chan_send_one(CHILD_FD, child_role, ROLE_MASTER, MSG_FAILED, &f, sizeof(f), -1);
	errno = error;
	child_die(what);
}

void
child_fail(const char *what)
{
	send_failed(LAYER_COUNT, what);
}

void
child_enter(const struct sandbox *s, const struct msg_init *init)
{
	struct msg_ready ready;
	enum layer failed;

	memset(&ready, 0, sizeof(ready));
	if (s->role != child_role) {
		errno = EINVAL;
		child_fail("another role's sandbox");
	}
	if (sandbox_enter(s, init, &ready.lacking, &failed) == -1)
		send_failed(failed, "cannot enter the sandbox");
	if (chan_send_one(
		CHILD_FD, child_role, ROLE_MASTER, MSG_READY, &ready, sizeof(ready), -1) == -1)
		child_die("cannot tell the master that it is ready");
}

static void
master_ended(struct chan *c, enum chan_end why)
{
	switch (why) {
	case CHAN_CLOSED:
		_exit(0);
	case CHAN_FAULT:
		break;
	}
	fprintf(stderr, "sallyport %s: fault in a message from the master: %s (%s)\n",
	    role_name(child_role), c->fault != NULL ? c->fault : "?", msg_name(c->fault_type));
	_exit(1);
}

void
child_master(struct chan *c, struct loop *l, const struct msg_init *init,
    bool (*on_msg)(struct chan *, struct msg *))
{
	c->on_msg = on_msg;
	c->on_end = master_ended;
	/* The master and authd always go on reading each other: a verdict must not wait for a
	 * master that waits for it. */
	c->keep_reading = (ROLE_BIT(init->role) & ROLES_AUTHD) != 0;
	if (chan_start(c, l, CHILD_FD, init->role, ROLE_MASTER, 0) == -1)
		child_fail("cannot start the channel to the master");
}

bool
child_policy(struct chan *c, struct msg *m, const struct image **img)
{
	const struct msg_policy *p = m->payload;
	const struct image *new;
	struct msg_policy_ack ack;

	if (*img != NULL && p->version <= (*img)->version)
		return false;
	if ((new = image_map(m->fd, p->size)) == NULL)
		return false;
	if (new->version != p->version) {
		image_unmap(new);
		return false;
	}
	if (*img != NULL)
		image_unmap(*img);
	*img = new;
	memset(&ack, 0, sizeof(ack));
	ack.version = p->version;
	return chan_send(c, MSG_POLICY_ACK, &ack, sizeof(ack), -1) == 0;
}
