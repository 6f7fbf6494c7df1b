#ifndef TIDEGATE_CORE_REGISTRY_H
#define TIDEGATE_CORE_REGISTRY_H

#include "gateway/core/session.h"

/* What session.c needs of sessions.c and nobody else does. */

/* Borrowed; changes its content with sessions_set_conf(). */
const struct sessions_conf *sessions_conf(const struct sessions *all);
const struct autosub *sessions_autosub(const struct sessions *all);
bool sessions_full(const struct sessions *all);
/* 0 or -ENOMEM. */
int sessions_add(struct sessions *all, struct session *s);
void sessions_remove(struct sessions *all, struct session *s);
void sessions_attached(struct sessions *all, const struct session *s, bool attached);
struct session_store;
/* Borrowed; NULL: none. */
struct session_store *sessions_store(const struct sessions *all);
void sessions_set_store(struct sessions *all, struct session_store *st);

#endif
