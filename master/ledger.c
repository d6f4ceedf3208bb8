/*
 * The ledger of open sessions. Owns `ledger` in the run directory, its lock and its mapping; trusts
 * what this process wrote, and nothing of what an earlier one left: sizes, ranges and texts of it
 * are checked before anything is handed on.
 */
#include "master/ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/image.h"

#define LEDGER_NAME     "ledger"
#define LEDGER_ASIDE    "ledger.old"
#define LEDGER_MAGIC    0x52474c4c41530a05ull
#define LEDGER_FORMAT   4u           /* counts up when the layout changes */
#define LEDGER_HEAD     4096u        /* octets before the first entry: one page */
#define LEDGER_SIZE_MAX (1ull << 40) /* octets, most a hole: above any configuration's sessions */
#define LEDGER_TRIES    16           /* of locking the file that has the name */

/*
 * The texts of an entry are two packed runs: those of the client, and what was decided. Each stands
 * in the entry itself where it fits, else in the entry's slot in the far part of the file, which
 * begins on the page after the last entry. That part is a hole, but for the slots that were needed.
 */
#define FAR_CLIENT     1u
#define FAR_DECIDED    2u
#define FAR_DECIDED_AT (USER_MAX + NAME_MAX_LEN + CLAIM_MAX) /* in the slot */
#define FAR_SIZE       1088u                                 /* octets of a slot */

struct ledger_head {
	uint64_t magic;
	uint32_t format;
	uint32_t entry_size;
	uint64_t instance;
	uint32_t workers;
	uint32_t slots;
};

_Static_assert(sizeof(struct ledger_head) <= LEDGER_HEAD, "the head has its page");
_Static_assert(sizeof(struct ledger_entry) % 8 == 0, "entries stay aligned");
_Static_assert(sizeof(struct ledger_entry) <= 300, "an idle session takes under 0.8 KiB in all");
_Static_assert(FAR_SIZE >= FAR_DECIDED_AT + LEDGER_VIA_MAX + LEDGER_RULE_MAX, "the longest fit");
_Static_assert(LEDGER_VIA_MAX >= UPSTREAM_NAME_MAX, "an upstream's name fits");

struct ledger {
	int fd;
	uint8_t *map;
	size_t size, far; /* of the file; where its far part begins */
	uint32_t workers, slots;
	uint8_t *backed; /* bit per entry: its far slot has its blocks */
	struct ledger_found found;
};

/* Where the far part begins after so many entries. */
static size_t
far_start(size_t entries)
{
	size_t end = LEDGER_HEAD + entries * sizeof(struct ledger_entry);

	return (end + LEDGER_HEAD - 1) / LEDGER_HEAD * LEDGER_HEAD;
}

/* Octets of a ledger for so many entries; 0: more than there may be. */
static size_t
ledger_size(uint32_t workers, uint32_t slots)
{
	uint64_t most =
	    (LEDGER_SIZE_MAX - 2 * LEDGER_HEAD) / (sizeof(struct ledger_entry) + FAR_SIZE);

	if (workers == 0 || slots == 0 || (uint64_t)workers * slots > most)
		return 0;
	return far_start((size_t)workers * slots) + (size_t)workers * slots * FAR_SIZE;
}

static struct ledger_entry *
entry_in(uint8_t *map, size_t i)
{
	return (struct ledger_entry *)(void *)(map + LEDGER_HEAD) + i;
}

static size_t
index_of(const struct ledger *lg, const struct ledger_entry *e)
{
	return (size_t)(e - entry_in(lg->map, 0));
}

/* The state is what makes an entry valid: it is written after the rest, also as the compiler sees
 * it. */
static void
set_state(struct ledger_entry *e, uint32_t state)
{
	__atomic_store_n(&e->state, state, __ATOMIC_SEQ_CST);
}

/* What a killed master leaves is in the order in which the source has it. */
static void
in_order(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* --- texts --- */

static size_t
client_len(const struct ledger_entry *e)
{
	return (size_t)e->user_len + e->name_len + e->claim_len;
}

/* Octets of an entry that are left for what was decided. */
static size_t
decided_room(const struct ledger_entry *e)
{
	return LEDGER_NEAR - ((e->far & FAR_CLIENT) != 0 ? 0 : client_len(e));
}

static struct ledger_octets
take(const uint8_t **at, size_t len)
{
	struct ledger_octets o = { *at, len };

	*at += len;
	return o;
}

/* The texts of an entry that is sound, with its far slot. */
static struct ledger_text
texts_of(const struct ledger_entry *e, const uint8_t *far)
{
	const uint8_t *client = (e->far & FAR_CLIENT) != 0 ? far : e->near;
	const uint8_t *decided = (e->far & FAR_DECIDED) != 0
				     ? far + FAR_DECIDED_AT
				     : e->near + (LEDGER_NEAR - decided_room(e));
	struct ledger_text t;

	t.user = take(&client, e->user_len);
	t.name = take(&client, e->name_len);
	t.claim = take(&client, e->claim_len);
	t.via = take(&decided, e->via_len);
	t.rule = take(&decided, e->rule_len);
	return t;
}

static uint8_t *
put(uint8_t *at, struct ledger_octets o)
{
	if (o.len > 0)
		memmove(at, o.at, o.len);
	return at + o.len;
}

static uint8_t *
far_slot(const struct ledger *lg, const struct ledger_entry *e)
{
	return lg->map + lg->far + index_of(lg, e) * FAR_SIZE;
}

/* Gives the entry's far slot its blocks. NULL: the disk is full. */
static uint8_t *
far_back(struct ledger *lg, const struct ledger_entry *e)
{
	size_t i = index_of(lg, e);
	uint8_t *slot = far_slot(lg, e);
	int error;

	if ((lg->backed[i / 8] & 1u << i % 8) != 0)
		return slot;
	do
		error = posix_fallocate(lg->fd, (off_t)(slot - lg->map), FAR_SIZE);
	while (error == EINTR);
	if (error != 0)
		return NULL;
	lg->backed[i / 8] |= (uint8_t)(1u << i % 8);
	return slot;
}

/* Octets of the packed texts of a found entry are all within it or its far slot. */
static bool
sound_texts(const struct ledger_entry *e)
{
	if ((e->far & ~(FAR_CLIENT | FAR_DECIDED)) != 0 || e->via_len > LEDGER_VIA_MAX)
		return false;
	if ((e->far & FAR_CLIENT) == 0 && client_len(e) > LEDGER_NEAR)
		return false;
	return (e->far & FAR_DECIDED) != 0 || (size_t)e->via_len + e->rule_len <= decided_room(e);
}

/* --- the file --- */

/* A regular file of ours that no one else may write; its mode is mended. */
static int
ledger_ours(int fd, struct stat *st)
{
	if (fstat(fd, st) == -1)
		return -1;
	if (!S_ISREG(st->st_mode) || st->st_uid != geteuid() || st->st_nlink > 1) {
		errno = EPERM;
		return -1;
	}
	if ((st->st_mode & 07777) != 0600)
		return fchmod(fd, 0600);
	return 0;
}

/*
 * Opens and locks the file that has the name now: between open and lock its owner may have removed
 * or renamed it, and a lock on that one would guard nothing.
 */
static int
ledger_lock(int dirfd, struct stat *st)
{
	struct stat named;
	int fd;

	for (int i = 0; i < LEDGER_TRIES; i++) {
		fd = openat(dirfd, LEDGER_NAME,
		    O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
		if (fd == -1) {
			if (errno == ELOOP || errno == EISDIR || errno == ENXIO)
				errno = EPERM;
			return -1;
		}
		if (flock(fd, LOCK_EX | LOCK_NB) == -1)
			goto fail;
		if (fstat(fd, st) == -1)
			goto fail;
		if (fstatat(dirfd, LEDGER_NAME, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
		    named.st_ino == st->st_ino && named.st_dev == st->st_dev) {
			if (ledger_ours(fd, st) == -1)
				goto fail;
			return fd;
		}
		close(fd);
	}
	errno = EAGAIN;
	return -1;
fail:
	fd_drop(fd);
	return -1;
}

static bool
sound_addr(const struct addrport *ap)
{
	uint8_t f = ap->a.family;

	return f == ADDR_NONE || f == ADDR_V4 || f == ADDR_V6;
}

static bool
sound_entry(const struct ledger_entry *e)
{
	return e->state <= LEDGER_CONNECTED && e->method < METHOD_COUNT && e->level < LEVEL_COUNT &&
	       e->command < COMMAND_COUNT && e->reason < REASON_COUNT && sound_addr(&e->client) &&
	       sound_addr(&e->gateway) && sound_addr(&e->asked) && sound_addr(&e->target) &&
	       sound_addr(&e->outgoing) && sound_texts(e);
}

static bool
sound_head(const struct ledger_head *h, size_t size)
{
	return h->magic == LEDGER_MAGIC && h->format == LEDGER_FORMAT &&
	       h->entry_size == sizeof(struct ledger_entry) &&
	       ledger_size(h->workers, h->slots) == size;
}

/* Hands over one entry as it was found, if it is sound. Its far slot is read, not mapped: a hole
 * there must not need memory. */
static void
hand_over(struct ledger *lg, const struct ledger_entry *e, off_t slot, uint64_t instance,
    ledger_orphan *orphan, void *arg)
{
	uint8_t far[FAR_SIZE];

	if (!sound_entry(e) ||
	    (e->far != 0 && pread(lg->fd, far, sizeof(far), slot) != (ssize_t)sizeof(far))) {
		lg->found.unsound++;
		return;
	}
	struct ledger_text t = texts_of(e, far);
	lg->found.orphans++;
	if (orphan != NULL)
		orphan(e, &t, instance, arg);
}

/* Hands over what an earlier master left open. False: the file is no ledger of this layout. */
static bool
ledger_orphans(struct ledger *lg, size_t size, ledger_orphan *orphan, void *arg)
{
	struct ledger_head h;

	if (size < LEDGER_HEAD || size > LEDGER_SIZE_MAX)
		return false;
	uint8_t *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, lg->fd, 0);
	if (map == MAP_FAILED)
		return false;
	memcpy(&h, map, sizeof(h));
	bool sound = sound_head(&h, size);
	size_t n = (size_t)h.workers * h.slots;
	for (size_t i = 0; sound && i < n; i++) {
		struct ledger_entry e;

		memcpy(&e, entry_in(map, i), sizeof(e));
		if (e.state == LEDGER_FREE)
			continue;
		hand_over(lg, &e, (off_t)(far_start(n) + i * FAR_SIZE), h.instance, orphan, arg);
		/* Freed one by one: a master killed here repeats at most one record. */
		set_state(entry_in(map, i), LEDGER_FREE);
	}
	munmap(map, size);
	return sound;
}

/* Empties the file, gives it the new size, with all the blocks of its entries (so that no write to
 * the mapping finds the disk full), and maps it: without read-ahead, which would fill the hole of
 * the far part with pages. */
static int
ledger_make(struct ledger *lg, uint64_t instance)
{
	const struct ledger_head h = {
		.magic = LEDGER_MAGIC,
		.format = LEDGER_FORMAT,
		.entry_size = sizeof(struct ledger_entry),
		.instance = instance,
		.workers = lg->workers,
		.slots = lg->slots,
	};
	int e;

	lg->far = far_start((size_t)lg->workers * lg->slots);
	if (ftruncate(lg->fd, 0) == -1 || ftruncate(lg->fd, (off_t)lg->size) == -1)
		return -1;
	if ((e = posix_fallocate(lg->fd, 0, (off_t)lg->far)) != 0) {
		(void)!ftruncate(lg->fd, 0);
		errno = e;
		return -1;
	}
	void *map = mmap(NULL, lg->size, PROT_READ | PROT_WRITE, MAP_SHARED, lg->fd, 0);
	if (map == MAP_FAILED)
		return -1;
	madvise(map, lg->size, MADV_RANDOM);
	lg->map = map;
	memcpy(lg->map, &h, sizeof(h));
	return 0;
}

/* The file's earlier content, whatever it is, is dealt with; lg->fd is the locked file to fill. */
static int
ledger_inherit(struct ledger *lg, int dirfd, ledger_orphan *orphan, void *arg)
{
	struct stat st;

	if ((lg->fd = ledger_lock(dirfd, &st)) == -1)
		return -1;
	if (st.st_size == 0 || ledger_orphans(lg, (size_t)st.st_size, orphan, arg))
		return 0;
	if (renameat(dirfd, LEDGER_NAME, dirfd, LEDGER_ASIDE) == -1)
		return -1;
	lg->found.set_aside = true;
	/* The lock on the old file is held until the new one has its own. */
	int old = lg->fd;
	lg->fd = ledger_lock(dirfd, &st);
	fd_drop(old);
	if (lg->fd != -1 && st.st_size != 0) {
		errno = EAGAIN; /* someone made it in between, and is gone */
		return -1;
	}
	return lg->fd == -1 ? -1 : 0;
}

struct ledger *
ledger_open(const char *dir, uint64_t instance, uint32_t workers, uint32_t slots,
    ledger_orphan *orphan, void *arg)
{
	struct ledger *lg = calloc(1, sizeof(*lg));
	int dirfd = -1;

	if (lg == NULL)
		return NULL;
	lg->fd = -1;
	lg->workers = workers;
	lg->slots = slots;
	if ((lg->size = ledger_size(workers, slots)) == 0) {
		errno = EINVAL;
		goto fail;
	}
	if ((lg->backed = calloc(((size_t)workers * slots + 7) / 8, 1)) == NULL)
		goto fail;
	if ((dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) == -1)
		goto fail;
	if (ledger_inherit(lg, dirfd, orphan, arg) == -1 || ledger_make(lg, instance) == -1)
		goto fail;
	close(dirfd);
	return lg;
fail:;
	int e = errno;
	if (dirfd != -1)
		close(dirfd);
	if (lg->fd != -1)
		close(lg->fd);
	free(lg->backed);
	free(lg);
	errno = e;
	return NULL;
}

struct ledger_found
ledger_found(const struct ledger *lg)
{
	return lg->found;
}

void
ledger_close(struct ledger *lg, const char *dir_to_remove_file_from)
{
	if (lg == NULL)
		return;
	if (dir_to_remove_file_from != NULL) {
		int dirfd = open(dir_to_remove_file_from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (dirfd != -1) {
			/* The name is ours while the lock is. */
			unlinkat(dirfd, LEDGER_NAME, 0);
			close(dirfd);
		}
	}
	munmap(lg->map, lg->size);
	close(lg->fd);
	free(lg->backed);
	free(lg);
}

struct ledger_entry *
ledger_at(struct ledger *lg, uint32_t w, uint32_t slot)
{
	if (w >= lg->workers || slot >= lg->slots)
		return NULL;
	return entry_in(lg->map, (size_t)w * lg->slots + slot);
}

/* As much of o as there is room for, off that room. */
static struct ledger_octets
cut(struct ledger_octets o, size_t *room)
{
	if (o.len > *room)
		o.len = *room;
	*room -= o.len;
	return o;
}

bool
ledger_enter(
    struct ledger *lg, struct ledger_entry *e, enum ledger_state state, const struct ledger_text *t)
{
	struct ledger_octets user = t->user, name = t->name, claim = t->claim;
	size_t room = LEDGER_NEAR;
	bool is_long = user.len + name.len + claim.len > room;
	uint8_t *far = is_long ? far_back(lg, e) : NULL;

	set_state(e, LEDGER_FREE);
	if (is_long && far == NULL) {
		user = cut(user, &room);
		name = cut(name, &room);
		claim = cut(claim, &room);
	}
	put(put(put(far != NULL ? far : e->near, user), name), claim);
	e->far = far != NULL ? FAR_CLIENT : 0;
	e->user_len = (uint8_t)user.len;
	e->name_len = (uint8_t)name.len;
	e->claim_len = (uint8_t)claim.len;
	e->via_len = 0;
	e->rule_len = 0;
	set_state(e, state);
	return far != NULL || !is_long;
}

/* The last octets of o that there is room for, off that room. */
static struct ledger_octets
cut_to_end(struct ledger_octets o, size_t *room)
{
	size_t over = o.len > *room ? o.len - *room : 0;

	o = (struct ledger_octets){ o.at + over, o.len - over };
	*room -= o.len;
	return o;
}

void
ledger_decided(struct ledger *lg, struct ledger_entry *e, const struct ledger_octets *via,
    struct ledger_octets rule)
{
	struct ledger_octets by = via != NULL ? *via : ledger_text(lg, e).via;
	size_t room = decided_room(e), via_most = LEDGER_VIA_MAX, rule_most = LEDGER_RULE_MAX;
	uint8_t *far = NULL, *at = e->near + (LEDGER_NEAR - room);

	by = cut_to_end(by, &via_most);
	rule = cut_to_end(rule, &rule_most);
	if (by.len + rule.len > room && (far = far_back(lg, e)) != NULL)
		at = far + FAR_DECIDED_AT;
	if (far == NULL) {
		rule = cut_to_end(rule, &room);
		by = cut_to_end(by, &room);
	}
	/* A master that is killed here leaves no rule rather than half of one. */
	e->via_len = 0;
	e->rule_len = 0;
	in_order();
	put(put(at, by), rule);
	e->far = (uint8_t)((e->far & FAR_CLIENT) | (far != NULL ? FAR_DECIDED : 0));
	in_order();
	e->via_len = (uint8_t)by.len;
	e->rule_len = (uint8_t)rule.len;
}

struct ledger_text
ledger_text(const struct ledger *lg, const struct ledger_entry *e)
{
	return texts_of(e, far_slot(lg, e));
}

void
ledger_leave(struct ledger *lg, struct ledger_entry *e)
{
	(void)lg;
	set_state(e, LEDGER_FREE);
}
