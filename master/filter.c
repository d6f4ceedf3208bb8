/*
 * The master's confinement (see master/filter.h). It is not against the master's own rights, which
 * it needs, but against what an error in it could be used for; filter and bounding set are
 * inherited by all that it starts.
 */
#include <errno.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/sandbox_rules.h"
#include "master/filter.h"

static const cap_value_t kept[] = {
	CAP_SETUID, /* the children's: uid, groups, chroot, and the end of the bounding set, */
	CAP_SETGID, /* which they leave behind while they start */
	CAP_SYS_CHROOT,
	CAP_SETPCAP,
	CAP_NET_BIND_SERVICE, /* listeners below port 1024 */
	CAP_KILL,             /* children of other uids */
	CAP_DAC_OVERRIDE,     /* configuration, logs and run directory, which need not be root's */
	CAP_CHOWN,            /* the replay cache, which is the acceptor's */
	/* The last, kept for `egress mark` only: SO_MARK takes it since Linux 5.17, or
	 * CAP_NET_ADMIN, which could do far more. Raw sockets, which it is meant for, the filter
	 * refuses all the same (common/sandbox_denied.c). */
	CAP_NET_RAW,
};
static unsigned nkept;

static bool
is_kept(cap_value_t cap)
{
	for (unsigned i = 0; i < nkept; i++)
		if (kept[i] == cap)
			return true;
	return false;
}

static int
cut_bounding(void)
{
	for (cap_value_t cap = 0; cap < cap_max_bits(); cap++)
		if (!is_kept(cap) && cap_get_bound(cap) == 1 && cap_drop_bound(cap) == -1)
			return -1;
	return 0;
}

/* Of what is held already, so a start with fewer (a container, a unit's bounding set) works. */
static int
cut_capabilities(void)
{
	cap_t held, cut = NULL;
	int result = -1, saved;

	if (geteuid() != 0)
		return 0; /* none to cut; the bounding set of one without any means nothing */
	if ((held = cap_get_proc()) == NULL || (cut = cap_init()) == NULL || cut_bounding() == -1)
		goto done;
	for (unsigned i = 0; i < nkept; i++) {
		cap_flag_value_t has;

		if (cap_get_flag(held, kept[i], CAP_PERMITTED, &has) == -1)
			goto done;
		if (has == CAP_SET &&
		    (cap_set_flag(cut, CAP_PERMITTED, 1, &kept[i], CAP_SET) == -1 ||
			cap_set_flag(cut, CAP_EFFECTIVE, 1, &kept[i], CAP_SET) == -1))
			goto done;
	}
	if (cap_reset_ambient() == 0)
		result = cap_set_proc(cut);
done:
	saved = errno;
	cap_free(held);
	cap_free(cut);
	errno = saved;
	return result;
}

static int
refuse_new_privs(void)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static int
load_filter(void)
{
	return sandbox_filter(sandbox_denied, SANDBOX_NDENIED, SCMP_ACT_ALLOW);
}

int
master_harden(const uint8_t layers[LAYER_COUNT], bool marks, uint32_t *lacking, enum layer *failed)
{
	/* The filter before the cut: where no_new_privs is off it takes CAP_SYS_ADMIN. */
	static const struct {
		enum layer layer;
		int (*enter)(void);
	} steps[] = {
		{ LAYER_NO_NEW_PRIVS, refuse_new_privs },
		{ LAYER_SECCOMP, load_filter },
		{ LAYER_CAPABILITIES, cut_capabilities },
	};

	nkept = sizeof(kept) / sizeof(kept[0]) - (marks ? 0 : 1);
	*lacking = 0;
	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		uint8_t mode = layers[steps[i].layer];

		if (mode == LAYER_OFF || steps[i].enter() == 0)
			continue;
		if (mode == LAYER_REQUIRE) {
			*failed = steps[i].layer;
			return -1;
		}
		*lacking |= 1u << steps[i].layer;
	}
	return 0;
}
