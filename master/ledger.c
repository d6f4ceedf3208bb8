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

#define LEDGER_NAME     "ledger"
#define LEDGER_ASIDE    "ledger.old"
#define LEDGER_MAGIC    0x52474c4c41530a05ull
#define LEDGER_FORMAT   3u         /* counts up when struct ledger_entry changes */
#define LEDGER_HEAD     4096u      /* octets before the first entry: one page */
#define LEDGER_SIZE_MAX (1u << 30) /* octets: above any configuration's sessions */
#define LEDGER_TRIES    16         /* of locking the file that has the name */

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

struct ledger {
	int fd;
	uint8_t *map;
	size_t size;
	uint32_t workers, slots;
	struct ledger_found found;
};

/* Octets of a ledger for so many entries; 0: more than there may be. */
static size_t
ledger_size(uint32_t workers, uint32_t slots)
{
	uint64_t most = (LEDGER_SIZE_MAX - LEDGER_HEAD) / sizeof(struct ledger_entry);

	if (workers == 0 || slots == 0 || (uint64_t)workers * slots > most)
		return 0;
	return LEDGER_HEAD + (size_t)workers * slots * sizeof(struct ledger_entry);
}

static struct ledger_entry *
entry_in(uint8_t *map, size_t i)
{
	return (struct ledger_entry *)(void *)(map + LEDGER_HEAD) + i;
}

/* The state is what makes an entry valid: it is written after the rest, also as the compiler sees
 * it. */
static void
set_state(struct ledger_entry *e, uint32_t state)
{
	__atomic_store_n(&e->state, state, __ATOMIC_SEQ_CST);
}

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
	       sound_addr(&e->outgoing) &&
	       memchr(e->rule_text, '\0', sizeof(e->rule_text)) != NULL &&
	       memchr(e->via, '\0', sizeof(e->via)) != NULL;
}

static bool
sound_head(const struct ledger_head *h, size_t size)
{
	return h->magic == LEDGER_MAGIC && h->format == LEDGER_FORMAT &&
	       h->entry_size == sizeof(struct ledger_entry) &&
	       ledger_size(h->workers, h->slots) == size;
}

/* Hands over what an earlier master left open. False: the file is no ledger of this layout. */
static bool
ledger_orphans(struct ledger *lg, size_t size,
    void (*orphan)(const struct ledger_entry *, uint64_t, void *), void *arg)
{
	struct ledger_head h;

	if (size < LEDGER_HEAD || size > LEDGER_SIZE_MAX)
		return false;
	uint8_t *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, lg->fd, 0);
	if (map == MAP_FAILED)
		return false;
	memcpy(&h, map, sizeof(h));
	bool sound = sound_head(&h, size);
	for (size_t i = 0; sound && i < (size_t)h.workers * h.slots; i++) {
		struct ledger_entry e;

		memcpy(&e, entry_in(map, i), sizeof(e));
		if (e.state == LEDGER_FREE)
			continue;
		if (sound_entry(&e)) {
			lg->found.orphans++;
			if (orphan != NULL)
				orphan(&e, h.instance, arg);
		} else {
			lg->found.unsound++;
		}
		/* Freed one by one: a master killed here repeats at most one record. */
		set_state(entry_in(map, i), LEDGER_FREE);
	}
	munmap(map, size);
	return sound;
}

/* Empties the file, gives it the new size with all its blocks (so that no write to the mapping
 * finds the disk full), and maps it. */
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

	if (ftruncate(lg->fd, 0) == -1)
		return -1;
	if ((e = posix_fallocate(lg->fd, 0, (off_t)lg->size)) != 0) {
		(void)!ftruncate(lg->fd, 0);
		errno = e;
		return -1;
	}
	void *map = mmap(NULL, lg->size, PROT_READ | PROT_WRITE, MAP_SHARED, lg->fd, 0);
	if (map == MAP_FAILED)
		return -1;
	lg->map = map;
	memcpy(lg->map, &h, sizeof(h));
	return 0;
}

/* The file's earlier content, whatever it is, is dealt with; lg->fd is the locked file to fill. */
static int
ledger_inherit(struct ledger *lg, int dirfd,
    void (*orphan)(const struct ledger_entry *, uint64_t, void *), void *arg)
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
    void (*orphan)(const struct ledger_entry *e, uint64_t instance, void *arg), void *arg)
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
	free(lg);
}

struct ledger_entry *
ledger_at(struct ledger *lg, uint32_t w, uint32_t slot)
{
	if (w >= lg->workers || slot >= lg->slots)
		return NULL;
	return entry_in(lg->map, (size_t)w * lg->slots + slot);
}

void
ledger_enter(struct ledger *lg, struct ledger_entry *e, const struct ledger_entry *with)
{
	(void)lg;
	set_state(e, LEDGER_FREE);
	memcpy((char *)e + sizeof(e->state), (const char *)with + sizeof(with->state),
	    sizeof(*e) - sizeof(e->state));
	set_state(e, with->state);
}

void
ledger_leave(struct ledger *lg, struct ledger_entry *e)
{
	(void)lg;
	set_state(e, LEDGER_FREE);
}
