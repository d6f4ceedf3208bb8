/*
 * The shared page of live byte counts. The master makes and seals it; a reader checks the seals,
 * since a mapped file that its other holder may shrink kills with SIGBUS.
 */
#include "common/counts.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fd.h"

#define COUNTS_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static size_t
counts_size(uint32_t slots)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (slots * sizeof(struct counts) + page - 1) / page * page;
}

int
counts_create(uint32_t slots)
{
	int fd = memfd_create("sallyport-counts", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd == -1)
		return -1;
	if (ftruncate(fd, (off_t)counts_size(slots)) == -1 ||
	    fcntl(fd, F_ADD_SEALS, COUNTS_SEALS) == -1) {
		fd_drop(fd);
		return -1;
	}
	return fd;
}

struct counts *
counts_map(int fd, uint32_t slots, int writable)
{
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals == -1 || fstat(fd, &st) == -1)
		return NULL;
	if ((seals & COUNTS_SEALS) != COUNTS_SEALS || st.st_size != (off_t)counts_size(slots)) {
		errno = EINVAL;
		return NULL;
	}
	void *p = mmap(
	    NULL, counts_size(slots), PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
	return p == MAP_FAILED ? NULL : p;
}

void
counts_unmap(struct counts *c, uint32_t slots)
{
	if (c != NULL)
		munmap(c, counts_size(slots));
}
