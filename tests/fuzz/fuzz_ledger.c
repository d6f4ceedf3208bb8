/*
 * A ledger file of arbitrary octets is opened without harm: what is handed over is within its
 * ranges, and the ledger works afterwards. The input: an octet that says how much of a sound head
 * comes first, whether the size is made to fit, and whether the last octets that there are go into
 * the part of the long texts; then the file.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "master/ledger.h"

#define HEAD    4096 /* octets before the first entry */
#define WORKERS 2u
#define SLOTS   4u
#define FAR     (2 * HEAD) /* where the long texts begin */
#define TAIL    1000u      /* octets for them, where they have any */
#define MOST    (8 * HEAD)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[] = "/tmp/sallyport-fuzz-ledger.XXXXXX";
static uint8_t sound[HEAD];
static size_t whole; /* octets of a ledger that is sound */

_Static_assert(HEAD + WORKERS * SLOTS * sizeof(struct ledger_entry) <= FAR, "one page of entries");

static void
path_of(char *buf, size_t size, const char *name)
{
	snprintf(buf, size, "%s/%s", dir, name);
}

static void
clean(void)
{
	char path[100];

	path_of(path, sizeof(path), "ledger");
	unlink(path);
	path_of(path, sizeof(path), "ledger.old");
	unlink(path);
	rmdir(dir);
}

/* The directory, and the head of a ledger that is sound. */
static void
start(void)
{
	char path[100];
	int fd;

	if (mkdtemp(dir) == NULL)
		abort();
	atexit(clean);
	ledger_close(ledger_open(dir, 1, WORKERS, SLOTS, NULL, NULL), NULL);
	path_of(path, sizeof(path), "ledger");
	if ((fd = open(path, O_RDONLY)) == -1 || read(fd, sound, HEAD) != HEAD)
		abort();
	whole = (size_t)lseek(fd, 0, SEEK_END);
	if (whole <= FAR || whole > MOST)
		abort();
	close(fd);
}

/* Reads it, and fails where it goes past its place. */
static void
check(const struct ledger_entry *e, struct ledger_octets o)
{
	unsigned sum = 0;
	bool in_entry = o.at >= e->near && o.at <= e->near + LEDGER_NEAR;

	if (o.len > 255 || (in_entry && o.len > (size_t)(e->near + LEDGER_NEAR - o.at)))
		abort();
	for (size_t i = 0; i < o.len; i++)
		sum += o.at[i];
	if (sum > 255u * 255)
		abort();
}

static void
orphan(const struct ledger_entry *e, const struct ledger_text *t, uint64_t instance, void *arg)
{
	(void)instance;
	(void)arg;
	check(e, t->user);
	check(e, t->name);
	check(e, t->claim);
	check(e, t->via);
	check(e, t->rule);
	if (e->state == LEDGER_FREE || e->state > LEDGER_CONNECTED || e->method >= METHOD_COUNT ||
	    e->command >= COMMAND_COUNT || e->reason >= REASON_COUNT)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int started;
	static uint8_t file[MOST];
	char path[100];
	size_t head, len;

	if (!started++)
		start();
	if (size == 0)
		return 0;
	head = data[0] & 0x3f;
	if (head == 0x3f)
		head = HEAD;
	memset(file, 0, sizeof(file));
	memcpy(file, sound, head);
	len = size - 1 < sizeof(file) - head ? size - 1 : sizeof(file) - head;
	size_t tail = (data[0] & 0x80) != 0 ? (len < TAIL ? len : TAIL) : 0;
	memcpy(file + head, data + 1, len - tail);
	if (tail > 0)
		memcpy(file + FAR, data + 1 + len - tail, tail);
	len = (data[0] & 0x40) != 0 ? whole : head + len;

	path_of(path, sizeof(path), "ledger");
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd == -1 || write(fd, file, len) != (ssize_t)len)
		abort();
	close(fd);
	struct ledger *lg = ledger_open(dir, 2, 1, 2, orphan, NULL);
	if (lg == NULL || ledger_at(lg, 0, 1)->state != LEDGER_FREE)
		abort();
	ledger_close(lg, NULL);
	return 0;
}
