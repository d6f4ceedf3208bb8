/*
 * What authd's initiator authenticates with: the files of the upstreams, opened by the master and
 * handed over as descriptors, at its start and at each reload.
 */
#ifndef MASTER_CREDENTIALS_H
#define MASTER_CREDENTIALS_H

#include "master/gateway.h"

/* The file of an upstream, checked; -1 with errno and *what. *what NULL: it could not be opened. */
int credentials_open(const struct conf_upstream *u, const char **what);
/* Hands them to the initiator, behind the policy whose upstreams they belong to. One that cannot be
 * had any more is told; what the initiator has stays. */
void credentials_send(struct gateway *g, struct child *initiator);
/* The initiator's answer. False: it is none. */
bool credentials_ack(struct gateway *g, const struct msg_keytab_ack *a);

#endif
