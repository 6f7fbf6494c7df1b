#include "gateway/ctl/sys_store.h"

#include "gateway/base/log.h"
#include "gateway/ctl/sys_publish.h"
#include "gateway/store/journal.h"

#include <errno.h>
#include <string.h>

#define MESSAGE_BYTES 1024

const char *store_state_name(enum store_state state)
{
	static const char *const names[] = { "ok", "full", "failing" };
	return names[state];
}

enum store_state store_state(const struct journal *j)
{
	if (journal_failing(j))
		return STORE_FAILING;
	return journal_room_for(j, MESSAGE_BYTES) == -ENOSPC ? STORE_FULL : STORE_OK;
}

static void tell(int before, enum store_state now, const struct journal *j, struct router *r)
{
	static struct log_limit limit = LOG_LIMIT(10, 60000);
	struct journal_status s;

	journal_status(j, &s);
	if (now == STORE_FAILING) { /* the journal itself has logged it */
		sys_publish_value(
			r, "store/state", "failing: %s", strerror(s.error ? -s.error : EIO));
	} else if (now == STORE_FULL) {
		sys_publish_value(r, "store/state",
			"full: %llu bytes of at most %llu; what must be stored is refused",
			(unsigned long long)s.disk_bytes, (unsigned long long)s.max_bytes);
		log_limited(&limit, LOG_LEVEL_WARN,
			"store: full, %llu bytes of at most %llu; what must be stored is refused",
			(unsigned long long)s.disk_bytes, (unsigned long long)s.max_bytes);
	} else {
		sys_publish_value(r, "store/state", "ok");
		if (before == STORE_FULL)
			log_limited(&limit, LOG_LEVEL_NOTICE, "store: there is room again");
	}
}

void sys_store_look(struct sys_store *s, const struct journal *j, struct router *r)
{
	enum store_state now = j ? store_state(j) : STORE_OK;

	if (!j || (int)now == s->state)
		return;
	tell(s->state, now, j, r);
	s->state = (int)now;
}
