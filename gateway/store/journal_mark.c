#include "gateway/store/journal_impl.h"

uint64_t journal_mark(struct journal *j)
{
	if (!journal_has_unsafe(j))
		return j->mark;
	/* Taken between journal_turn() and the loop's sleep, it still gets its turn. */
	if (!j->marked && !j->closing)
		timer_arm(&j->commit_timer, 0);
	j->marked = true;
	return j->mark + 1;
}

bool journal_reached(const struct journal *j, uint64_t mark)
{
	return mark <= j->reached;
}

bool journal_failing(const struct journal *j)
{
	return j->error != 0;
}
