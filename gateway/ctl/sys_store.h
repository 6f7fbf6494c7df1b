#ifndef TIDEGATE_CTL_SYS_STORE_H
#define TIDEGATE_CTL_SYS_STORE_H

struct journal;
struct router;

enum store_state { STORE_OK, STORE_FULL, STORE_FAILING };
/* Full: there is no room for a message. */
enum store_state store_state(const struct journal *j);
const char *store_state_name(enum store_state state);

/* The alarm of the storage, $SYS/broker/store/state: "ok", or "full" or "failing" and why. At once
 * when it changes, and then in the log as well. */
struct sys_store {
	int state; /* enum store_state, as published; -1: not yet */
};

/* Each turn; `j` may be NULL. */
void sys_store_look(struct sys_store *s, const struct journal *j, struct router *r);

#endif
