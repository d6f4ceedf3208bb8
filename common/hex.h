/* Hexadecimal digits. */
#ifndef COMMON_HEX_H
#define COMMON_HEX_H

/* The digit's value, or -1. Any int: the end of a file is no digit. */
static inline int
hex_value(int c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

#endif
