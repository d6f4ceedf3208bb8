/*
 * Twins of an association's sockets (worker/udp_twin.c): what comes while one is being made, and
 * what is left in one that ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* after those that it needs */
#include <cmocka.h>

#include "master/twins.h"
#include "tests/unit/worker_world.h"
#include "worker/udp.h"
#include "worker/udp_parts.h"

#define ENOUGH 70 /* datagrams in a row */

static int control, client, target;
static int stranger = -1; /* sends to each twin before it has its peer */
static bool refused;      /* the worker does not adopt: the target's way has changed */
static bool can = true;   /* the master does what it is asked for */
static unsigned asked;
static struct sockaddr_in client_at, target_at, relay, outgoing;
static uint8_t in[65536];

static void
to(int fd, const void *data, size_t len, const struct sockaddr_in *at)
{
	assert_int_equal(
	    sendto(fd, data, len, 0, (const struct sockaddr *)at, sizeof(*at)), (ssize_t)len);
}

/* From the client to the target. */
static void
ask(const char *data)
{
	uint8_t d[64] = { 0, 0, 0, 1 };

	memcpy(d + 4, &target_at.sin_addr, 4);
	memcpy(d + 8, &target_at.sin_port, 2);
	memcpy(d + 10, data, strlen(data));
	to(client, d, 10 + strlen(data), &relay);
}

/* How many with these data have come to the target (header 0) or the client (10). */
static unsigned
come(int fd, size_t header, const char *data)
{
	socklen_t len = sizeof(outgoing);
	unsigned n = 0;
	ssize_t got;

	while ((got = recvfrom(fd, in, sizeof(in), 0,
		    fd == target ? (struct sockaddr *)&outgoing : NULL,
		    fd == target ? &len : NULL)) != -1)
		n += (size_t)got == header + strlen(data) &&
		     memcmp(in + header, data, strlen(data)) == 0;
	return n;
}

static struct udp *
association(void)
{
	for (uint32_t i = 0; i < W.w->touched; i++)
		if (W.w->slots[i].udp != NULL)
			return W.w->slots[i].udp;
	fail_msg("no association");
	return NULL;
}

/* The master's part. */
static bool
on_msg(struct chan *c, struct msg *m)
{
	static int beside = -1;
	struct msg_twinned t = { .done = 1 };

	if (m->type != MSG_BESIDE && m->type != MSG_TWIN)
		return world_on_msg(c, m);
	if (m->type == MSG_BESIDE) {
		beside = m->fd;
		m->fd = -1;
		return true;
	}
	memcpy(&t.of, m->payload, sizeof(t.of));
	asked++;
	t.done = can && twins_bind(m->fd, beside);
	assert_true(t.done == 1 || !can);
	close(beside);
	if (stranger != -1)
		to(stranger, "\0\0\0\1\x7f\0\0\1\0\7mine", 14,
		    t.of.side == CLIENT ? &relay : &outgoing);
	if (refused && t.of.side == TARGET) {
		association()->twin_out = NULL;
		to(target, "down", 4, &outgoing);
	}
	assert_int_equal(chan_send(c, MSG_TWINNED, &t, sizeof(t), -1), 0);
	return true;
}

static void
associate(void)
{
	uint8_t reply[10];

	world_start(&world_default);
	W.master.on_msg = on_msg;
	target = world_udp(&target_at);
	client = world_udp(&client_at);
	control = client_new();
	client_send(control, "\5\1\0", 3);
	client_read(control, reply, 2);
	client_send(control, "\5\3\0\1\0\0\0\0\0\0", 10);
	world_grant_association();
	client_read(control, reply, 10);
	relay = world_relay(reply);
}

static struct msg_close
dissociate(void)
{
	struct msg_close c = world_closing(control);

	close(client);
	close(target);
	world_end();
	return c;
}

/* Until both have a twin. */
static struct udp *
busy(void)
{
	struct udp *u = association();

	for (unsigned i = 0; i < ENOUGH; i++) {
		ask("up");
		world_run(0);
	}
	world_until(u->twin[CLIENT] != NULL && u->twin[TARGET] != NULL);
	assert_int_equal(come(target, 0, "up"), ENOUGH);
	return u;
}

static void
test_they_have_one_peer_each(void **state)
{
	struct sockaddr_in at;
	socklen_t len = sizeof(at);

	(void)state;
	associate();
	struct udp *u = busy();
	assert_int_equal(getpeername(u->twin[CLIENT]->ev.fd, (struct sockaddr *)&at, &len), 0);
	assert_memory_equal(&at, &client_at, sizeof(at));
	assert_int_equal(getsockname(u->twin[CLIENT]->ev.fd, (struct sockaddr *)&at, &len), 0);
	assert_memory_equal(&at, &relay, sizeof(at));
	assert_int_equal(getpeername(u->twin[TARGET]->ev.fd, (struct sockaddr *)&at, &len), 0);
	assert_memory_equal(&at, &target_at, sizeof(at));
	assert_int_equal(getsockname(u->twin[TARGET]->ev.fd, (struct sockaddr *)&at, &len), 0);
	assert_memory_equal(&at, &outgoing, sizeof(at));
	dissociate();
}

/* Nobody can bind there too, once they are made. */
static void
test_the_port_is_shared_with_nobody(void **state)
{
	int one = 1, s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)state;
	associate();
	busy();
	assert_int_equal(setsockopt(s, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)), 0);
	assert_int_equal(bind(s, (struct sockaddr *)&relay, sizeof(relay)), -1);
	assert_int_equal(bind(s, (struct sockaddr *)&outgoing, sizeof(outgoing)), -1);
	close(s);
	dissociate();
}

/* Between bind and connect a twin gets what anybody sends: it stands before what its peer sends. */
static void
test_strangers_that_came_too_early(void **state)
{
	struct sockaddr_in at;

	(void)state;
	associate();
	stranger = world_udp(&at);
	ask("first"); /* so that `outgoing` is known */
	world_run(5);
	assert_int_equal(come(target, 0, "first"), 1);
	struct udp *u = busy();
	world_run(5);
	assert_false(u->twin[CLIENT]->mixed);
	assert_false(u->twin[TARGET]->mixed);
	ask("up");
	to(target, "down", 4, &outgoing);
	world_run(5);
	assert_int_equal(come(target, 0, "up"), 1);
	assert_int_equal(come(client, 10, "down"), 1);
	close(stranger);
	stranger = -1;
	struct msg_close c = dissociate();
	assert_int_equal(c.drops[DROP_SOURCE], 1);
	assert_int_equal(c.drops[DROP_REPLY], 1);
	assert_int_equal(c.datagrams_up, ENOUGH + 2);
	assert_int_equal(c.datagrams_down, 1);
}

/* What came meanwhile is heard, and another one is asked for. */
static void
test_one_that_is_of_no_use(void **state)
{
	(void)state;
	associate();
	ask("first");
	world_run(5);
	assert_int_equal(come(target, 0, "first"), 1);
	refused = true;
	struct udp *u = association();
	for (unsigned i = 0; i < ENOUGH; i++) {
		ask("up");
		world_run(0);
	}
	world_until(u->twin[CLIENT] != NULL);
	world_run(5);
	assert_null(u->twin[TARGET]);
	assert_int_equal(come(client, 10, "down"), 1);
	assert_int_equal(come(target, 0, "up"), ENOUGH);
	refused = false;
	busy();
	struct msg_close c = dissociate();
	assert_int_equal(c.datagrams_up, 2 * ENOUGH + 1);
	assert_int_equal(c.datagrams_down, 1);
}

/* All goes on without, and it is not asked again and again. */
static void
test_one_that_cannot_be(void **state)
{
	(void)state;
	associate();
	struct udp *u = association();
	can = false;
	asked = 0;
	for (unsigned i = 0; i < 3 * ENOUGH; i++) {
		ask("up");
		world_run(0);
	}
	world_run(5);
	can = true;
	assert_int_equal(asked, 2);
	assert_true(u->twin_fd[CLIENT] == -1 && u->twin_fd[TARGET] == -1);
	assert_int_equal(come(target, 0, "up"), 3 * ENOUGH);
	dissociate();
}

/* Its association has ended when the answer comes. */
static void
test_one_that_is_too_late(void **state)
{
	(void)state;
	associate();
	W.master.on_msg = world_on_msg;
	struct udp *u = association();
	for (unsigned i = 0; i < ENOUGH; i++) {
		ask("up");
		world_run(0);
	}
	world_until(u->twin_fd[TARGET] != -1);
	int fds[SIDES] = { u->twin_fd[CLIENT], u->twin_fd[TARGET] };
	struct msg_twinned t = { .of = { .sid = session_sid(u->s), .side = TARGET }, .done = 1 };
	close(control);
	world_until(world_count(MSG_CLOSE) == 1);
	assert_int_equal(fcntl(fds[CLIENT], F_GETFD), -1);
	assert_int_equal(fcntl(fds[TARGET], F_GETFD), -1);
	assert_int_equal(chan_send(&W.master, MSG_TWINNED, &t, sizeof(t), -1), 0);
	world_run(5);
	close(client);
	close(target);
	world_end();
}

/* Past half of the descriptors none is asked for. */
static void
test_descriptors_are_left_for_sessions(void **state)
{
	(void)state;
	associate();
	struct udp *u = association();
	asked = 0;
	W.w->descriptors = (rlim_t)u->s->fd[TARGET] * 2;
	for (unsigned i = 0; i < 2 * ENOUGH; i++) {
		ask("up");
		world_run(0);
	}
	world_run(5);
	assert_int_equal(come(target, 0, "up"), 2 * ENOUGH);
	assert_int_equal(asked, 0);
	assert_true(u->twin[CLIENT] == NULL && u->twin[TARGET] == NULL);
	W.w->descriptors = 1000;
	busy();
	dissociate();
}

static void
test_what_waits_in_one_that_ends_is_sent_on(void **state)
{
	(void)state;
	associate();
	struct udp *u = busy();
	int fd = u->twin[TARGET]->ev.fd;
	world_run(5);
	for (unsigned i = 0; i < 200; i++)
		to(target, "down", 4, &outgoing);
	u->twin[TARGET]->until = 1;
	ask("up");
	udp_relay(u->s); /* before the loop hears of either */
	udp_twins(u);
	assert_null(u->twin[TARGET]);
	assert_int_equal(recv(fd, in, sizeof(in), MSG_DONTWAIT), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(come(client, 10, "down"), 200);
	/* it goes on, and another one comes */
	world_run(5);
	assert_int_equal(come(target, 0, "up"), 1);
	busy();
	to(target, "down", 4, &outgoing);
	world_run(5);
	assert_int_equal(come(client, 10, "down"), 1);
	struct msg_close c = dissociate();
	assert_int_equal(c.datagrams_up, 2 * ENOUGH + 1);
	assert_int_equal(c.datagrams_down, 201);
	for (unsigned why = 0; why < DROP_COUNT; why++)
		assert_int_equal(c.drops[why], 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_they_have_one_peer_each),
		cmocka_unit_test(test_the_port_is_shared_with_nobody),
		cmocka_unit_test(test_strangers_that_came_too_early),
		cmocka_unit_test(test_one_that_is_of_no_use),
		cmocka_unit_test(test_one_that_cannot_be),
		cmocka_unit_test(test_one_that_is_too_late),
		cmocka_unit_test(test_descriptors_are_left_for_sessions),
		cmocka_unit_test(test_what_waits_in_one_that_ends_is_sent_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
