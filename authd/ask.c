/*
 * The one round of a password. Owns the throttle. Trusts neither the worker, whose message is
 * checked, nor the client, who is slowed here.
 */
#include "authd/ask.h"

#include <stddef.h>
#include <string.h>

#include "authd/throttle.h"
#include "common/wire.h"

#define DELAY_STEP THROTTLE_FIRST /* ms: delays are multiples, for the loop's deadline queues */

static struct {
	struct loop *loop;
	struct throttle *throttle;
} here;

int
ask_init(struct loop *l)
{
	here.loop = l;
	here.throttle = throttle_new();
	return here.throttle != NULL ? 0 : -1;
}

/* How long the throttle holds x now; no exchange is held for longer than THROTTLE_MAX in all. */
static uint64_t
delay_of(const struct exchange *x)
{
	uint64_t now = loop_now(here.loop), last = x->arrived + THROTTLE_MAX;
	uint64_t ms = throttle_delay(here.throttle, now, &x->source, x->user, x->user_len);

	if (ms > 0 && now + ms > last)
		ms = last > now ? last - now : 0;
	return (ms + DELAY_STEP - 1) / DELAY_STEP * DELAY_STEP;
}

static void
on_delay(struct deadline *d)
{
	exchange_queue((struct exchange *)((char *)d - offsetof(struct exchange, delay)));
}

/* Tries sent all at once wait for each other's failures too: asked again before each check. */
bool
ask_hold(struct exchange *x)
{
	uint64_t ms = delay_of(x);

	if (ms == 0)
		return false;
	if (queue_hold(&x->worker->lane, &x->source, &x->item) == -1)
		exchange_refuse(x, VERDICT_BUSY);
	else
		deadline_arm(here.loop, &x->delay, ms);
	return true;
}

bool
ask_password(struct worker *w, const struct msg *m)
{
	struct wire in = wire_from(m->payload, m->len);
	struct msg_auth_password a;

	wire_copy(&in, &a, sizeof(a));
	const uint8_t *user = wire_take(&in, a.user_len);
	const uint8_t *password = wire_take(&in, a.password_len);
	if (!wire_done(&in) || a.user_len == 0 || a.password_len == 0 ||
	    !exchange_sane(&a.sid, &a.client) || exchange_find(w, a.sid.slot) != NULL)
		return false;

	struct exchange *x = exchange_new(w, &a.sid, &a.client);
	x->delay.cb = on_delay;
	x->user_len = a.user_len;
	x->password_len = a.password_len;
	memcpy(x->user, user, a.user_len);
	memcpy(x->password, password, a.password_len);
	if (!ask_hold(x))
		exchange_queue(x);
	return true;
}

void
ask_checked(const struct exchange *x, enum verdict_code v)
{
	uint64_t now = loop_now(here.loop);

	switch (v) {
	case VERDICT_ACCEPT:
		throttle_succeeded(here.throttle, &x->source, x->user, x->user_len);
		break;
	case VERDICT_UNKNOWN:
	case VERDICT_WRONG:
	case VERDICT_LOCKED:
	case VERDICT_EXPIRED:
		/* Also where the client did not wait for it, or leaving early would cost nothing.
		 */
		throttle_failed(here.throttle, now, &x->source, x->user, x->user_len);
		break;
	case VERDICT_NONE:
	case VERDICT_BUSY:
	case VERDICT_ABORTED:
	case VERDICT_FAILED:
	case VERDICT_GSSAPI: /* these are no answers to a password */
	case VERDICT_REPLAY:
	case VERDICT_SKEW:
	case VERDICT_TICKET:
	case VERDICT_SERVICE:
	case VERDICT_ENCTYPE:
	case VERDICT_LEVEL:
	case VERDICT_NO_NAME:
	case VERDICT_COUNT:
		break;
	}
}
