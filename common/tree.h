/*
 * libbsd's red-black trees with file-local functions. Its own RB_GENERATE_STATIC needs a macro that
 * it leaves out on Linux.
 */
#ifndef COMMON_TREE_H
#define COMMON_TREE_H

#include <bsd/sys/tree.h>

#define TREE_GENERATE(name, type, field, cmp) \
	RB_GENERATE_INTERNAL(name, type, field, cmp, static __attribute__((unused)))

#endif
