/*
 * The helper: asks PAM for one user, account phase and groups included. It holds no channel of the
 * gateway, so that a module has nothing to speak to; it trusts PAM's answer and the machine's user
 * and group data bases.
 */
#include "authd/pam_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <security/pam_appl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/addr.h"

#define HELPER_FD    3      /* the pipe; everything above it is closed */
#define GROUPS_START 64     /* groups of one user: room at first */
#define GROUPS_LIMIT 65536  /* NGROUPS_MAX of Linux */
#define PASSWD_MAX   262144 /* octets of one entry's strings */

struct claim {
	char user[USER_MAX + 1];
	char password[PASSWORD_MAX + 1];
};

static char *
answer_to(const struct pam_message *m, const struct claim *c)
{
	switch (m->msg_style) {
	case PAM_PROMPT_ECHO_OFF:
		return strdup(c->password);
	case PAM_PROMPT_ECHO_ON:
		return strdup(c->user);
	default:
		return NULL;
	}
}

/* The conversation: there is no one to ask, only what the client sent. libpam wipes the answers. */
static int
converse(int n, const struct pam_message **m, struct pam_response **out, void *arg)
{
	const struct claim *c = arg;
	struct pam_response *r;

	if (n <= 0 || n > PAM_MAX_NUM_MSG || (r = calloc((size_t)n, sizeof(*r))) == NULL)
		return PAM_CONV_ERR;
	for (int i = 0; i < n; i++) {
		if (m[i]->msg_style == PAM_ERROR_MSG || m[i]->msg_style == PAM_TEXT_INFO)
			continue;
		if ((r[i].resp = answer_to(m[i], c)) != NULL)
			continue;
		for (int k = 0; k < i; k++) {
			if (r[k].resp != NULL)
				explicit_bzero(r[k].resp, strlen(r[k].resp));
			free(r[k].resp);
		}
		free(r);
		return PAM_CONV_ERR;
	}
	*out = r;
	return PAM_SUCCESS;
}

/* Instead of libpam's sleep after a failure: the throttle slows the client, and holds no process.
 */
static void
no_delay(int status, unsigned usec, void *arg)
{
	(void)status;
	(void)usec;
	(void)arg;
}

static enum verdict_code
verdict_of(int rc, bool account)
{
	switch (rc) {
	case PAM_SUCCESS:
		return VERDICT_ACCEPT;
	case PAM_USER_UNKNOWN:
		return VERDICT_UNKNOWN;
	case PAM_ACCT_EXPIRED:
	case PAM_NEW_AUTHTOK_REQD:
	case PAM_AUTHTOK_EXPIRED:
	case PAM_CRED_EXPIRED:
		return VERDICT_EXPIRED;
	case PAM_PERM_DENIED:
	case PAM_AUTH_ERR:
		return account ? VERDICT_LOCKED : VERDICT_WRONG;
	case PAM_CRED_INSUFFICIENT:
	case PAM_MAXTRIES:
		return VERDICT_WRONG;
	default:
		return VERDICT_FAILED;
	}
}

/* The user as the modules left it. 0 or -1. */
static int
take_user(pam_handle_t *ph, struct pam_result *r)
{
	const void *item = NULL;

	if (pam_get_item(ph, PAM_USER, &item) != PAM_SUCCESS || item == NULL)
		return -1;
	size_t len = strlen(item);
	if (len == 0 || len > USER_MAX)
		return -1;
	memcpy(r->user, item, len);
	r->user_len = (uint8_t)len;
	return 0;
}

static int
ask_pam(const char *service, const struct exchange *x, struct pam_result *r)
{
	struct claim c = { 0 };
	const struct pam_conv conv = { .conv = converse, .appdata_ptr = &c };
	char rhost[ADDR_TEXT];
	const int flags = PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK;
	pam_handle_t *ph = NULL;
	bool account = false;

	memcpy(c.user, x->user, x->user_len);
	memcpy(c.password, x->password, x->password_len);
	int rc = pam_start(service, c.user, &conv, &ph);
	if (rc == PAM_SUCCESS)
		rc = pam_set_item(ph, PAM_RHOST, addr_format(&x->client.a, rhost, sizeof(rhost)));
	if (rc == PAM_SUCCESS)
		rc = pam_set_item(ph, PAM_FAIL_DELAY, (const void *)no_delay);
	if (rc == PAM_SUCCESS)
		rc = pam_authenticate(ph, flags);
	if (rc == PAM_SUCCESS) {
		account = true;
		rc = pam_acct_mgmt(ph, flags);
	}
	r->verdict = (uint8_t)verdict_of(rc, account);
	int error = rc == PAM_SUCCESS ? take_user(ph, r) : 0;
	if (ph != NULL)
		pam_end(ph, rc);
	explicit_bzero(&c, sizeof(c));
	return error;
}

/* The primary group of a user: 1, 0 where the machine does not know the user, -1 on an error. */
static int
primary_group(const char *user, gid_t *gid)
{
	struct passwd pw, *found = NULL;
	char *buf = malloc(PASSWD_MAX);
	int error = ENOMEM;

	if (buf != NULL)
		error = getpwnam_r(user, &pw, buf, PASSWD_MAX, &found);
	if (found != NULL)
		*gid = found->pw_gid;
	free(buf);
	if (found != NULL)
		return 1;
	return error == 0 || error == ENOENT ? 0 : -1;
}

/* Packs the names of the groups; one without a name can stand in no rule. */
static int
pack_groups(const gid_t *list, int n, struct pam_result *r)
{
	for (int i = 0; i < n; i++) {
		const struct group *g = getgrgid(list[i]);
		size_t len = g != NULL ? strlen(g->gr_name) : 0;

		if (len == 0)
			continue;
		if (len > UINT8_MAX || len + 1 > sizeof(r->groups) - r->groups_len)
			return -1;
		r->groups[r->groups_len] = (uint8_t)len;
		memcpy(r->groups + r->groups_len + 1, g->gr_name, len);
		r->groups_len += (uint32_t)len + 1;
	}
	return 0;
}

/* All groups or an error: with one left out, a rule that blocks it would not hold. */
static int
take_groups(struct pam_result *r)
{
	const char *user = (const char *)r->user;
	gid_t gid;
	int room = GROUPS_START, n, known = primary_group(user, &gid), error = -1;
	gid_t *list = NULL;

	if (known <= 0)
		return known;
	for (;;) {
		free(list);
		if ((list = calloc((size_t)room, sizeof(*list))) == NULL)
			return -1;
		n = room;
		if (getgrouplist(user, gid, list, &n) != -1) {
			error = pack_groups(list, n, r);
			break;
		}
		if (n <= room || n > GROUPS_LIMIT)
			break;
		room = n;
	}
	free(list);
	return error;
}

/* Leaves the gateway behind: its descriptors, its process group, its ignored signals. */
static void
leave(int fd)
{
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (dup3(fd, HELPER_FD, O_CLOEXEC) == -1)
		_exit(1);
	closefrom(HELPER_FD + 1);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
}

void
pam_helper(const char *service, const struct exchange *x, int fd)
{
	struct pam_result r = { 0 };

	leave(fd);
	if (ask_pam(service, x, &r) == -1 || (r.verdict == VERDICT_ACCEPT && take_groups(&r) == -1))
		r.verdict = VERDICT_FAILED;
	_exit(write(HELPER_FD, &r, sizeof(r)) == (ssize_t)sizeof(r) ? 0 : 1);
}
