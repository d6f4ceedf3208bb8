/*
 * Telling the service manager (sd_notify(3)): a datagram to $NOTIFY_SOCKET; nothing without it.
 */
#ifndef MASTER_NOTIFY_H
#define MASTER_NOTIFY_H

/* "READY=1", "STOPPING=1", ...: several are separated by newlines. Failures are ignored: there is
 * nobody to tell. */
void notify(const char *state);

#endif
