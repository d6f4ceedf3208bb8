/*
 * libgssapi and libkrb5 wipe most keys that they free, but not all (a context's subkey and the keys
 * derived of it were found in this process after the context's end), and none that they have had on
 * the stack. So here every piece of memory is wiped as it is freed: the executable's free() and
 * realloc() are what all its libraries call. Not in a sanitizer build, which has its own.
 */
#include "authd/wipe.h"

#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* More than any chain of calls of these libraries takes, but for recursion on what a client sent.
 */
#define STACK_OCTETS (64u * 1024)

#ifndef SANITIZED

void __libc_free(void *p); /* glibc's own, which free() is a name of */

void
free(void *p)
{
	if (p == NULL)
		return;
	/* With -flto _FORTIFY_SOURCE knows what the caller asked for, and this is more. */
	__asm__ volatile("" : "+r"(p));
	explicit_bzero(p, malloc_usable_size(p));
	__libc_free(p);
}

/* glibc's would move what there is and free it by itself. */
void *
realloc(void *p, size_t size)
{
	size_t has = p != NULL ? malloc_usable_size(p) : 0;
	void *more;

	if (p != NULL && size == 0) {
		free(p);
		return NULL;
	}
	if (p != NULL && size <= has)
		return p;
	if ((more = malloc(size)) == NULL || p == NULL)
		return more;
	memcpy(more, p, has);
	free(p);
	return more;
}

#endif

__attribute__((noinline)) void
wipe_stack(void)
{
	uint8_t dead[STACK_OCTETS];

	explicit_bzero(dead, sizeof(dead));
}
