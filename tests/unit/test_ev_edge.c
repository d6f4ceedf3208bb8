/* Sockets that are added with EPOLLET: what is ready is remembered until it is drained, and told
 * for as long as it is waited for; what belongs to a descriptor's last owner is told to no one. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/ev_world.h"

#define TURNS_MS 20 /* many turns of a loop with nothing to do */
#define MANY     300

/* A socket in the loop, its peer, and what its callback does. */
static struct end {
	struct ev ev;
	int peer;
	size_t reads; /* octets that a callback reads at most; 0: none */
	bool drains;  /* and says so */
	bool closes;  /* itself and `other` */
	struct end *other;
	unsigned calls;
	uint32_t events; /* of the last call */
	size_t octets;
	bool ended;
} one, two;

static void
on_end(struct ev *e, uint32_t events)
{
	struct end *x = (struct end *)e;
	char octets[64];
	ssize_t n;

	x->calls++;
	x->events = events;
	if (x->closes) {
		ev_close(loop, &x->other->ev, x->other->ev.fd);
		ev_close(loop, e, e->fd);
		return;
	}
	if ((events & EPOLLIN) == 0 || x->reads == 0)
		return;
	n = recv(e->fd, octets, x->reads, MSG_DONTWAIT);
	if (n > 0)
		x->octets += (size_t)n;
	if (n == 0) {
		x->ended = true;
		assert_int_equal(ev_set(loop, e, 0), 0);
	}
	if (x->drains && (n == -1 || (size_t)n < x->reads))
		ev_drained(e, EPOLLIN);
}

static void
turns(void)
{
	run_for(TURNS_MS);
}

static void
begin(struct end *x, uint32_t events)
{
	int fd[2];

	memset(x, 0, sizeof(*x));
	x->ev.cb = on_end;
	x->reads = sizeof("abcd");
	x->drains = true;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	x->peer = fd[1];
	assert_int_equal(ev_add(loop, &x->ev, fd[0], events | EPOLLET), 0);
}

static void
finish(struct end *x)
{
	ev_close(loop, &x->ev, x->ev.fd);
	close(x->peer);
}

static void
say(const struct end *x, const char *what)
{
	assert_int_equal(write(x->peer, what, strlen(what)), strlen(what));
}

static void
test_called_until_drained(void **state)
{
	(void)state;
	begin(&one, EPOLLIN);
	say(&one, "0123456789ab");
	turns();
	assert_int_equal(one.octets, 12); /* by five at a time */
	assert_int_equal(one.calls, 3);
	turns();
	assert_int_equal(one.calls, 3);
	say(&one, "x");
	turns();
	assert_int_equal(one.calls, 4);
	finish(&one);
}

/* The positive control: who does not say so is called again and again. */
static void
test_called_in_vain(void **state)
{
	(void)state;
	begin(&one, EPOLLIN);
	one.drains = false;
	say(&one, "x");
	turns();
	assert_int_equal(one.octets, 1);
	assert_true(one.calls > 10);
	finish(&one);
}

static void
test_remembered_while_not_waited_for(void **state)
{
	(void)state;
	begin(&one, 0);
	say(&one, "abc");
	turns();
	assert_int_equal(one.calls, 0);
	assert_int_equal(ev_set(loop, &one.ev, EPOLLIN), 0);
	turns();
	assert_int_equal(one.octets, 3);
	/* Waited for and given up before its turn. */
	say(&one, "d");
	assert_int_equal(ev_set(loop, &one.ev, 0), 0);
	turns();
	assert_int_equal(ev_set(loop, &one.ev, EPOLLIN), 0);
	assert_int_equal(ev_set(loop, &one.ev, 0), 0);
	turns();
	assert_int_equal(one.octets, 3);
	finish(&one);
}

/* A call in the next turn, though nothing is ready; one that is not waited for has it later. */
static void
test_rechecked(void **state)
{
	int fd;

	(void)state;
	begin(&one, EPOLLIN);
	fd = one.ev.fd;
	ev_recheck(loop, &one.ev, EPOLLIN);
	turns();
	assert_int_equal(one.calls, 1);
	assert_int_equal(ev_set(loop, &one.ev, 0), 0);
	ev_recheck(loop, &one.ev, EPOLLIN);
	turns();
	assert_int_equal(one.calls, 1);
	assert_int_equal(ev_set(loop, &one.ev, EPOLLIN), 0);
	turns();
	assert_int_equal(one.calls, 2);
	ev_del(loop, &one.ev);
	ev_recheck(loop, &one.ev, EPOLLIN);
	turns();
	assert_int_equal(one.calls, 2);
	close(fd);
	finish(&one);
}

/* Octets and the end in one event: the short read does not hide the end. */
static void
test_end_behind_octets(void **state)
{
	(void)state;
	begin(&one, EPOLLIN);
	say(&one, "abc");
	assert_int_equal(shutdown(one.peer, SHUT_WR), 0);
	turns();
	assert_int_equal(one.octets, 3);
	assert_true(one.ended);
	assert_int_equal(one.calls, 2);
	finish(&one);
}

/* The peer's end does not keep the room to write ready. */
static void
test_room_to_write(void **state)
{
	static char much[64 * 1024];

	(void)state;
	begin(&one, 0);
	assert_int_equal(shutdown(one.peer, SHUT_WR), 0);
	while (send(one.ev.fd, much, sizeof(much), MSG_DONTWAIT) > 0)
		;
	assert_int_equal(errno, EAGAIN);
	ev_drained(&one.ev, EPOLLOUT);
	assert_int_equal(ev_set(loop, &one.ev, EPOLLOUT), 0);
	turns();
	assert_int_equal(one.calls, 0);
	while (recv(one.peer, much, sizeof(much), MSG_DONTWAIT) > 0)
		;
	turns();
	assert_true(one.calls > 0);
	assert_int_equal(one.events, EPOLLOUT);
	ev_drained(&one.ev, EPOLLOUT);
	one.calls = 0;
	assert_int_equal(one.calls, 0);
	finish(&one);
}

/* Both are ready in one turn; whichever is first closes both. */
static void
test_closed_in_its_turn(void **state)
{
	(void)state;
	begin(&one, EPOLLIN);
	begin(&two, EPOLLIN);
	one.closes = two.closes = true;
	one.other = &two;
	two.other = &one;
	say(&one, "x");
	say(&two, "x");
	turns();
	assert_int_equal(one.calls + two.calls, 1);
	assert_int_equal(one.ev.fd, -1);
	assert_int_equal(two.ev.fd, -1);
	finish(&one);
	finish(&two);
}

/* The socket is still open elsewhere, so the kernel goes on telling of it; its number has another
 * owner by then. */
static void
test_the_last_owners_events(void **state)
{
	int elsewhere, number;

	(void)state;
	begin(&one, EPOLLIN);
	number = one.ev.fd;
	elsewhere = dup(number);
	ev_close(loop, &one.ev, number);
	turns(); /* it is closed now */
	begin(&two, EPOLLIN);
	if (two.ev.fd != number) {
		int peer = two.peer, fd = two.ev.fd;

		ev_del(loop, &two.ev);
		assert_int_equal(dup2(fd, number), number);
		assert_int_equal(ev_add(loop, &two.ev, number, EPOLLIN | EPOLLET), 0);
		two.peer = peer;
		close(fd);
	}
	say(&one, "x");
	turns();
	assert_int_equal(one.calls + two.calls, 0);
	say(&two, "y"); /* the control */
	turns();
	assert_int_equal(two.calls, 1);
	finish(&two);
	close(elsewhere);
	close(one.peer);
}

static bool
is_open(int fd)
{
	return fcntl(fd, F_GETFD) != -1;
}

/* Two of three of a turn, neighbours among them, and more than the loop can hold back: those are
 * closed, no others. */
static void
test_closed_with_neighbours(void **state)
{
	struct ev none = { .fd = -1 };
	int number[MANY], base;

	(void)state;
	begin(&one, EPOLLIN);
	base = 500; /* with nothing above */
	for (int i = 0; i < MANY; i++) {
		number[i] = fcntl(one.peer, F_DUPFD_CLOEXEC, base);
		assert_int_equal(number[i], base + i);
	}
	for (int i = MANY - 1; i >= 0; i--) /* backwards: they are put in order */
		if (i % 3 != 1)
			ev_close(loop, &none, number[i]);
	assert_true(is_open(number[0])); /* until the turn is over */
	turns();
	for (int i = 0; i < MANY; i++)
		assert_int_equal(is_open(number[i]), i % 3 == 1);
	for (int i = 1; i < MANY; i += 3)
		ev_close(loop, &none, number[i]);
	turns();
	for (int i = 0; i < MANY; i++)
		assert_false(is_open(number[i]));
	finish(&one);
}

static void
test_moved_with_what_is_ready(void **state)
{
	(void)state;
	begin(&one, EPOLLOUT);
	say(&one, "abc");
	turns();
	assert_int_equal(one.octets, 0);
	two = one;
	two.calls = 0;
	two.ev = (struct ev){ .fd = -1, .cb = on_end };
	assert_int_equal(ev_move(loop, &one.ev, &two.ev, EPOLLIN), 0);
	assert_int_equal(one.ev.fd, -1);
	one.calls = 0;
	turns();
	assert_int_equal(one.calls, 0);
	assert_int_equal(two.octets, 3);
	assert_int_equal(two.calls, 1);
	finish(&two);
}

static void
test_many(void **state)
{
	static struct end all[MANY];

	(void)state;
	for (int i = 0; i < MANY; i++)
		begin(&all[i], EPOLLIN);
	for (int i = 0; i < MANY; i++)
		say(&all[i], "x");
	turns();
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(all[i].octets, 1);
		finish(&all[i]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_called_until_drained, setup, teardown),
		cmocka_unit_test_setup_teardown(test_called_in_vain, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    test_remembered_while_not_waited_for, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rechecked, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end_behind_octets, setup, teardown),
		cmocka_unit_test_setup_teardown(test_room_to_write, setup, teardown),
		cmocka_unit_test_setup_teardown(test_closed_in_its_turn, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_last_owners_events, setup, teardown),
		cmocka_unit_test_setup_teardown(test_closed_with_neighbours, setup, teardown),
		cmocka_unit_test_setup_teardown(test_moved_with_what_is_ready, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
