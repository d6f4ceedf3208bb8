/*
 * An association's life: from the request to the end of its TCP connection. Owns the association
 * and what hangs on it; trusts the master alone.
 */
#include "worker/udp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "worker/connect.h"
#include "worker/link.h"
#include "worker/protected.h"
#include "worker/reply.h"
#include "worker/udp_parts.h"
#include "worker/upstream.h"
#include "worker/worker.h"

/* --- the request --- */

/* The relay's address: the one on which the client reached the gateway, at a free port of `udp
 * ports`, from a random one on. 0, or -1 with errno. */
static int
bind_relay(int fd, const struct addrport *gateway, struct image_ports ports)
{
	uint32_t count = (uint32_t)ports.last - ports.first + 1;
	uint16_t start = 0; /* stays so if it cannot be had: no secret, only spread */

	/* Not arc4random: libbsd's asks for its pid, which the filter forbids. */
	(void)!getrandom(&start, sizeof(start), 0);
	for (uint32_t i = 0; i < count; i++) {
		struct addrport at = *gateway;
		struct sockaddr_storage ss;

		at.port = (uint16_t)(ports.first + (start + i) % count);
		socklen_t len = addr_to_sockaddr(&at, &ss);
		if (bind(fd, (struct sockaddr *)&ss, len) == 0)
			return 0;
		if (errno != EADDRINUSE && errno != EACCES)
			return -1;
	}
	return -1;
}

static int
make_relay(struct session *s)
{
	int fd = connect_datagram_socket(s->hs->gateway.a.family);

	if (fd == -1)
		return -1;
	s->fd[TARGET] = fd; /* closed with the session, whatever comes */
	udp_prepare(fd);
	if (bind_relay(fd, &s->hs->gateway, s->hs->policy->img->udp_ports) == -1)
		return -1;
	return addr_local(fd, &s->hs->outgoing);
}

/* Where the client is told to send to: `udp advertise`, or the address that is bound. */
static void
advertise(struct session *s)
{
	const struct image *img = s->hs->policy->img;
	const struct addr *a = image_at(img, img->udp_advertise);

	for (uint32_t i = 0; i < img->udp_advertise.n; i++)
		if (a[i].family == s->hs->outgoing.a.family)
			s->hs->outgoing.a = a[i];
}

/*
 * DST.ADDR and DST.PORT are where the client says that it will send from; "if the client is not in
 * possession of the information", zeros. Behind NAT, or with several addresses, what it says is
 * wrong: its address is that of its TCP connection, and its port is believed only beside that
 * address.
 */
static uint16_t
declared_port(const struct handshake *hs)
{
	struct addr a = hs->asked.a;

	if (hs->name_len > 0 && !name_is_address(hs->name, hs->name_len, &a))
		return 0;
	a = addr_dial(&a);
	return addr_cmp(&a, &hs->client.a) == 0 ? hs->asked.port : 0;
}

/* Takes over what of the handshake outlives it. NULL: there is no memory. */
static struct udp *
udp_new(struct session *s, uint32_t rule)
{
	struct handshake *hs = s->hs;
	const struct image *img = hs->policy->img;
	struct udp *u = calloc(1, sizeof(*u) + hs->user_len);

	if (u == NULL)
		return NULL;
	u->s = s;
	u->client = hs->client;
	u->client.port = declared_port(hs);
	u->turn = egress_turn(s->w);
	u->twin_fd[CLIENT] = u->twin_fd[TARGET] = -1;
	SLIST_INIT(&u->outs);
	RB_INIT(&u->targets);
	RB_INIT(&u->names);
	u->targets_max = img->udp_targets;
	u->replies_any = img->udp_replies_any != 0;
	u->fragments = img->udp_fragments != 0;
	reassembly_init(&u->reassembly, &s->w->reassembly, u->drops);
	u->method = hs->method;
	u->level = hs->level;
	u->groups = hs->groups;
	u->groups_len = hs->groups_len;
	u->user_len = hs->user_len;
	memcpy(u->user, hs->user, hs->user_len);
	hs->groups = NULL;
	s->idle = rules_rule(img, rule)->timeout_udp;
	if (s->idle == 0)
		s->idle = img->timeout_udp;
	return u;
}

/* The relay, and the question to the master. */
static void
associate(struct session *s, uint32_t rule)
{
	struct handshake *hs = s->hs;

	if (make_relay(s) == -1) {
		bool taken = errno == EADDRINUSE || errno == EACCES;
		session_fail(s, taken ? REASON_UDP_PORTS : REASON_GENERAL, errno, RULE_NONE);
		return;
	}
	advertise(s);
	s->udp = udp_new(s, rule);
	if (s->udp == NULL) {
		session_fail(s, REASON_GENERAL, ENOMEM, RULE_NONE);
		return;
	}
	deadline_arm(s->w->loop, &s->deadline, hs->policy->img->timeout_connect);
	session_open(s);
	link_associate(s, rule);
}

void
udp_associate(struct session *s)
{
	struct handshake *hs = s->hs;
	struct query q = { .known =
			       KNOW_SOURCE | KNOW_METHOD | KNOW_LEVEL | KNOW_USER | KNOW_COMMAND,
		.method = hs->method,
		.level = hs->level,
		.command = COMMAND_UDP,
		.source = hs->client.a,
		.user = hs->user,
		.user_len = hs->user_len,
		.groups = hs->groups,
		.groups_len = hs->groups_len };
	uint32_t rule;

	if (rules_eval(hs->policy->img, &q, &rule) == RULES_BLOCK) {
		session_fail(s, REASON_RULES, 0, rule);
		return;
	}
	uint32_t via = rules_first_via(hs->policy->img, &q);
	if (via != RULE_NONE) {
		const struct image_rule *r = rules_rule(hs->policy->img, via);

		/* The upstream learns our datagrams' address from the first. */
		hs->dest = (struct addrport){ .port = 0 };
		hs->rule = rule;
		deadline_arm(s->w->loop, &s->deadline,
		    r->timeout_connect != 0 ? r->timeout_connect
					    : hs->policy->img->timeout_connect);
		upstream_start(s, via);
		return;
	}
	associate(s, rule);
}

/* By an upstream too: its relay is there. */
bool
udp_associate_via(struct session *s, int tcp, const struct addrport *relay,
    const struct image_upstream *up, uint32_t via)
{
	const struct image *img = s->hs->policy->img;
	uint32_t rule = s->hs->rule;
	enum reason why;
	int fd = egress_socket(
	    s->w, img, rules_rule(img, via), &s->hs->client.a, relay->a.family, SOCK_DGRAM, &why);

	if (fd == -1) {
		session_fail(s, why, errno, RULE_NONE);
		return false;
	}
	associate(s, rule);
	if (s->udp != NULL && udp_leg_new(s->udp, fd, tcp, relay, img, up) == 0)
		return true;
	close(fd);
	if (s->udp != NULL)
		session_fail(s, REASON_GENERAL, errno, RULE_NONE);
	return false;
}

void
udp_granted(struct session *s)
{
	struct loop *l = s->w->loop;

	if (!reply_send(s, REASON_NONE, &s->hs->outgoing))
		return;
	session_set_state(s, SESSION_UDP);
	handshake_free(s);
	if (s->protected[CLIENT] != NULL)
		token_datagrams(s->protected[CLIENT] -> token);
	if (ev_set(l, &s->ev[CLIENT], EPOLLIN) == -1 ||
	    ev_add(l, &s->ev[TARGET], s->fd[TARGET], EPOLLIN | EPOLLET) == -1) {
		session_close(s, REASON_GENERAL, errno);
		return;
	}
	s->last = loop_now(l);
	deadline_arm(l, &s->deadline, s->idle);
}

/* --- while it lives --- */

void
udp_passed(struct udp *u, enum side d, unsigned n, size_t octets)
{
	struct session *s = u->s;
	uint64_t now = loop_now(s->w->loop);

	u->datagrams[d] += n;
	link_count(s, d, octets);
	if (s->last == now)
		return;
	s->last = now;
	deadline_arm(s->w->loop, &s->deadline, s->idle);
}

/* "A UDP association terminates when the TCP connection that the UDP ASSOCIATE request arrived on
 * terminates." What comes on it is no one's, and is thrown away, one buffer a turn: its end stands
 * behind it. */
void
udp_control(struct session *s)
{
	ssize_t n = recv(s->fd[CLIENT], s->w->scratch, GSS_MESSAGE_MAX, 0);

	ev_moved(&s->ev[CLIENT], EPOLLIN, n, GSS_MESSAGE_MAX);
	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n == -1)
		session_close(s, REASON_CLIENT_RESET, errno);
	else if (n == 0)
		session_close(s, REASON_CLIENT_CLOSED, 0);
}

void
udp_timeout(struct session *s)
{
	session_hang_up(s, REASON_IDLE, 0);
}

/* --- its end --- */

void
udp_account(struct session *s, struct msg_close *m)
{
	struct udp *u = s->udp;

	if (u == NULL)
		return;
	reassembly_end(&u->reassembly);
	u->drops[DROP_NAME] += udp_names_waiting(u);
	m->datagrams_up = u->datagrams[UP];
	m->datagrams_down = u->datagrams[DOWN];
	memcpy(m->drops, u->drops, sizeof(m->drops));
}

/* At once: of a few ports it may be the one that the next association is to have. */
static void
close_relay(struct session *s)
{
	ev_del(s->w->loop, &s->ev[TARGET]);
	if (s->fd[TARGET] != -1)
		close(s->fd[TARGET]);
	s->fd[TARGET] = -1;
}

void
udp_free(struct session *s)
{
	struct udp *u = s->udp;

	if (u == NULL)
		return;
	s->udp = NULL;
	reassembly_end(&u->reassembly);
	deadline_disarm(&u->reassembly_due);
	udp_names_free(u);
	udp_twins_free(u);
	udp_targets_free(u);
	udp_leg_free(u);
	close_relay(s);
	free(u->groups);
	free(u);
}
