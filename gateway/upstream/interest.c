#include "gateway/upstream/interest.h"

#include "gateway/base/clock.h"
#include "gateway/base/list.h"
#include "gateway/base/log.h"
#include "gateway/base/timer.h"
#include "gateway/core/topic.h"
#include "gateway/core/topictree.h"
#include "gateway/upstream/interest_memory.h"
#include "gateway/upstream/uplink.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

enum line_state {
	LINE_NONE,  /* not subscribed upstream */
	LINE_ASKED, /* in the outstanding SUBSCRIBE */
	LINE_SUBSCRIBED,
	LINE_LEAVING, /* in the outstanding UNSUBSCRIBE */
	LINE_REFUSED, /* not asked for again before the next connection */
};

/* A filter that could be subscribed upstream. */
struct line {
	UT_hash_handle hh;
	struct list todo;      /* interest.subscribe or .unsubscribe; on none */
	struct list at;        /* interest.tops, or cover->covered; on none when dead */
	struct list covered;   /* of struct line.at: those we stand for */
	struct list lingering; /* interest.lingering */
	struct topicleaf leaf; /* in the tree while messages may come by it */
	struct line *cover;    /* NULL: stands for itself */
	int64_t linger_until_ms;
	uint64_t record; /* of interest.memory; 0: none */
	uint32_t refs;   /* wanted filters that need it */
	enum line_state state;
	uint8_t qos; /* highest wanted */
	uint8_t asked_qos;
	bool always, alive, told;
	uint16_t len;
	char filter[];
};

struct want {
	UT_hash_handle hh;
	uint8_t qos;
	uint16_t len;
	char filter[];
};

struct filters {
	char **items;
	size_t n;
};

struct interest {
	struct uplink *uplink;          /* borrowed */
	struct interest_memory *memory; /* borrowed; NULL: none */
	struct timer back; /* armed until those of the last run are not waited for any more */
	struct filters imports, always;
	struct want *wants;
	struct line *lines;
	struct list tops;      /* alive lines that nobody covers */
	struct list lingering; /* oldest first */
	struct list subscribe, unsubscribe;
	struct timer linger;
	struct topictree *tree; /* what messages may come by */
	struct line *request[UPLINK_FILTERS_MAX];
	size_t n_request;
	bool request_unsub, up;
	bool recalled;      /* `back` has been armed, or there was no need */
	int64_t granted_ms; /* of the last answered SUBSCRIBE; 0: none yet */
};

static struct log_limit refusals = LOG_LIMIT(20, 60000);

static struct span line_span(const struct line *l)
{
	return span_of(l->filter, l->len);
}

/* Requests hold pointers to lines, so lines in a request stay. */
static bool in_request(const struct line *l)
{
	return l->state == LINE_ASKED || l->state == LINE_LEAVING;
}

static void set_state(struct interest *i, struct line *l, enum line_state state)
{
	bool comes = state == LINE_ASKED || state == LINE_SUBSCRIBED || state == LINE_LEAVING;

	l->state = state;
	if (comes && !l->leaf.at)
		topictree_insert(i->tree, line_span(l), &l->leaf);
	else if (!comes && l->leaf.at)
		topictree_remove(i->tree, &l->leaf);
	if (comes && !l->record)
		l->record = interest_memory_add(i->memory, line_span(l));
	if (!comes) {
		interest_memory_drop(i->memory, l->record);
		l->record = 0;
	}
}

static uint8_t needed_qos(const struct line *l)
{
	uint8_t qos = l->qos;
	struct list *pos;

	list_for_each(pos, &l->covered)
		qos = MAX(qos, list_entry(pos, struct line, at)->qos);
	return qos;
}

static void line_free(struct interest *i, struct line *l)
{
	set_state(i, l, LINE_NONE);
	list_remove(&l->todo);
	list_remove(&l->at);
	list_remove(&l->lingering);
	HASH_DEL(i->lines, l);
	free(l);
}

/* Puts the line where its condition says; the one place that decides what is asked upstream. Frees
 * it when nothing is left of it. */
static void settle(struct interest *i, struct line *l)
{
	list_remove(&l->todo);
	if (in_request(l))
		return;
	if (l->alive && !l->cover) {
		bool missing = l->state == LINE_NONE ||
			       (l->state == LINE_SUBSCRIBED && needed_qos(l) > l->asked_qos);
		if (missing)
			list_append(&i->subscribe, &l->todo);
		return;
	}
	/* The wider one first: nothing is missed, at worst something comes twice for a moment. */
	if (l->state == LINE_SUBSCRIBED && (!l->cover || l->cover->state == LINE_SUBSCRIBED))
		list_append(&i->unsubscribe, &l->todo);
	else if (!l->alive && l->state != LINE_SUBSCRIBED)
		line_free(i, l);
}

static void settle_covered(struct interest *i, struct line *l)
{
	struct list *pos, *tmp;

	list_for_each_safe(pos, tmp, &l->covered)
		settle(i, list_entry(pos, struct line, at));
}

/* Filters of the same meaning ("#" and "+/#") cover each other: the first one stays on top. */
static struct line *find_cover(struct interest *i, const struct line *l)
{
	struct list *pos;

	list_for_each(pos, &i->tops) {
		struct line *top = list_entry(pos, struct line, at);
		if (top != l && top->state != LINE_REFUSED &&
			topic_covers(line_span(top), line_span(l)))
			return top;
	}
	return NULL;
}

static void put_under(struct interest *i, struct line *l, struct line *cover)
{
	l->cover = cover;
	list_remove(&l->at);
	list_append(&cover->covered, &l->at);
	settle(i, l);
	settle(i, cover);
}

/* Hands the lines under `from` over to `to`. */
static void move_covered(struct interest *i, struct line *from, struct line *to)
{
	while (!list_empty(&from->covered))
		put_under(i, list_first(&from->covered, struct line, at), to);
}

static void put_on_top(struct interest *i, struct line *l)
{
	struct list *pos, *tmp;

	l->cover = NULL;
	list_remove(&l->at);
	if (l->state != LINE_REFUSED) {
		list_for_each_safe(pos, tmp, &i->tops) {
			struct line *top = list_entry(pos, struct line, at);
			if (!topic_covers(line_span(l), line_span(top)))
				continue;
			list_remove(&top->at); /* before its place in the list is lost */
			move_covered(i, top, l);
			put_under(i, top, l);
		}
	}
	list_append(&i->tops, &l->at);
	settle(i, l);
}

static void place(struct interest *i, struct line *l)
{
	struct line *cover = find_cover(i, l);

	if (cover)
		put_under(i, l, cover);
	else
		put_on_top(i, l);
}

/* Its covered lines stand for themselves again. */
static void uncover(struct interest *i, struct line *l)
{
	while (!list_empty(&l->covered)) {
		struct line *child = list_first(&l->covered, struct line, at);
		list_remove(&child->at);
		child->cover = NULL;
		place(i, child);
	}
}

static void line_dies(struct interest *i, struct line *l)
{
	l->alive = false;
	l->qos = 0;
	list_remove(&l->lingering);
	list_remove(&l->at); /* off the tops first, or its children would find it there */
	l->cover = NULL;
	uncover(i, l);
	settle(i, l);
}

static void line_lives(struct interest *i, struct line *l, uint8_t qos)
{
	l->qos = MAX(l->qos, qos);
	list_remove(&l->lingering);
	if (!l->alive) {
		l->alive = true;
		place(i, l);
	} else {
		settle(i, l->cover ? l->cover : l);
	}
}

static struct line *line_get(struct interest *i, const char *filter, size_t len)
{
	struct line *l;

	HASH_FIND(hh, i->lines, filter, len, l);
	if (l)
		return l;
	if (!(l = calloc(1, sizeof(*l) + len + 1)))
		return NULL;
	memcpy(l->filter, filter, len);
	l->len = (uint16_t)len;
	list_init(&l->todo);
	list_init(&l->at);
	list_init(&l->covered);
	list_init(&l->lingering);
	HASH_ADD_KEYPTR(hh, i->lines, l->filter, l->len, l);
	if (!l->hh.tbl) {
		free(l);
		return NULL;
	}
	return l;
}

static void on_linger(struct timer *t)
{
	struct interest *i = container_of(t, struct interest, linger);

	while (!list_empty(&i->lingering)) {
		struct line *l = list_first(&i->lingering, struct line, lingering);
		if (l->linger_until_ms > clock_ms()) {
			timer_arm(t, l->linger_until_ms - clock_ms());
			return;
		}
		line_dies(i, l);
	}
}

static void line_want(struct interest *i, const char *filter, size_t len, uint8_t qos)
{
	struct line *l = line_get(i, filter, len);

	if (!l) {
		log_limited(&refusals, LOG_LEVEL_ERROR, "upstream: no memory to subscribe to %.*s",
			(int)len, filter);
		return;
	}
	l->refs++;
	line_lives(i, l, qos);
}

static void line_leave(struct interest *i, const char *filter, size_t len)
{
	struct line *l;

	HASH_FIND(hh, i->lines, filter, len, l);
	if (!l || l->refs == 0 || --l->refs > 0 || l->always)
		return;
	l->linger_until_ms = clock_ms() + INTEREST_LINGER_MS;
	list_append(&i->lingering, &l->lingering);
	if (!timer_armed(&i->linger))
		timer_arm(&i->linger, INTEREST_LINGER_MS);
}

/* The filters to subscribe to for `filter`: itself where `import` covers it, else those of `import`
 * that overlap it. `add`: take, or give back. */
static void need(struct interest *i, struct span filter, uint8_t qos, bool add)
{
	for (size_t k = 0; k < i->imports.n; k++) {
		if (!topic_covers(span_str(i->imports.items[k]), filter))
			continue;
		if (add)
			line_want(i, (const char *)filter.p, filter.len, qos);
		else
			line_leave(i, (const char *)filter.p, filter.len);
		return;
	}
	for (size_t k = 0; k < i->imports.n; k++) {
		const char *import = i->imports.items[k];
		if (!topic_overlaps(span_str(import), filter))
			continue;
		if (add)
			line_want(i, import, strlen(import), qos);
		else
			line_leave(i, import, strlen(import));
	}
}

void interest_wanted(struct interest *i, struct span filter, uint8_t qos)
{
	struct want *w;

	if (filter.len == 0 || filter.p[0] == '$' || filter.len > UINT16_MAX)
		return;
	HASH_FIND(hh, i->wants, filter.p, filter.len, w);
	if (w) { /* the same with a higher QoS: the new need before the old one ends */
		uint8_t before = w->qos;
		w->qos = MAX(w->qos, qos);
		need(i, filter, w->qos, true);
		need(i, filter, before, false);
		return;
	}
	if (!(w = calloc(1, sizeof(*w) + filter.len + 1)))
		return;
	memcpy(w->filter, filter.p, filter.len);
	w->len = (uint16_t)filter.len;
	w->qos = qos;
	HASH_ADD_KEYPTR(hh, i->wants, w->filter, w->len, w);
	if (!w->hh.tbl) {
		free(w);
		return;
	}
	need(i, filter, qos, true);
}

void interest_unwanted(struct interest *i, struct span filter)
{
	struct want *w;

	HASH_FIND(hh, i->wants, filter.p, filter.len, w);
	if (!w)
		return;
	need(i, filter, w->qos, false);
	HASH_DEL(i->wants, w);
	free(w);
}

static void filters_free(struct filters *f)
{
	for (size_t k = 0; k < f->n; k++)
		free(f->items[k]);
	free(f->items);
	*f = (struct filters){ 0 };
}

static int filters_copy(struct filters *f, const struct conf_list *from)
{
	*f = (struct filters){ .items = calloc(from->n + 1, sizeof(*f->items)) };
	if (!f->items)
		return -ENOMEM;
	for (; f->n < from->n; f->n++) {
		if (!(f->items[f->n] = strdup(from->items[f->n]))) {
			filters_free(f);
			return -ENOMEM;
		}
	}
	return 0;
}

static void set_always(struct interest *i, const struct filters *f, bool always)
{
	for (size_t k = 0; k < f->n; k++) {
		const char *filter = f->items[k];
		struct line *l = line_get(i, filter, strlen(filter));
		if (!l)
			continue;
		l->always = always;
		if (always) {
			line_lives(i, l, 2);
		} else { /* one more who goes: the same way as everybody */
			l->refs++;
			line_leave(i, filter, strlen(filter));
		}
	}
}

int interest_set_imports(
	struct interest *i, const struct conf_list *imports, const struct conf_list *always)
{
	struct filters new_imports, new_always;
	struct want *w, *tmp;

	if (filters_copy(&new_imports, imports) != 0)
		return -ENOMEM;
	if (filters_copy(&new_always, always) != 0) {
		filters_free(&new_imports);
		return -ENOMEM;
	}
	HASH_ITER(hh, i->wants, w, tmp)
	need(i, span_of(w->filter, w->len), w->qos, false);
	set_always(i, &i->always, false);
	filters_free(&i->imports);
	filters_free(&i->always);
	i->imports = new_imports;
	i->always = new_always;
	set_always(i, &i->always, true);
	HASH_ITER(hh, i->wants, w, tmp)
	need(i, span_of(w->filter, w->len), w->qos, true);
	return 0;
}

/* The clients have had the time to come back: what they did not ask for again is given up. */
static void on_back(struct timer *t)
{
	struct interest *i = container_of(t, struct interest, back);
	struct span filter;
	uint64_t record;

	while (interest_memory_take(i->memory, &filter, &record)) {
		struct line *l = line_get(i, (const char *)filter.p, filter.len);
		if (!l || in_request(l))
			continue;
		l->record = record;
		set_state(i, l, LINE_SUBSCRIBED);
		settle(i, l);
	}
}

void interest_set_memory(struct interest *i, struct interest_memory *memory)
{
	i->memory = memory;
}

/* The first connection says whether the broker still has what the last run subscribed to. */
static void recall(struct interest *i, bool session_present)
{
	if (!session_present) {
		timer_disarm(&i->back);
		interest_memory_forget(i->memory);
	} else if (i->memory && !i->recalled) {
		timer_arm(&i->back, INTEREST_RETURN_MS);
	}
	i->recalled = true;
}

struct interest *interest_new(struct uplink *uplink)
{
	struct interest *i = calloc(1, sizeof(*i));

	if (!i || !(i->tree = topictree_new())) {
		free(i);
		return NULL;
	}
	i->uplink = uplink;
	list_init(&i->tops);
	list_init(&i->lingering);
	list_init(&i->subscribe);
	list_init(&i->unsubscribe);
	timer_init(&i->linger, on_linger);
	timer_init(&i->back, on_back);
	return i;
}

void interest_up(struct interest *i, bool session_present)
{
	struct line *l, *tmp;

	i->up = true;
	recall(i, session_present);
	HASH_ITER(hh, i->lines, l, tmp)
	{
		bool gone = !session_present && !in_request(l);
		bool was_refused = l->state == LINE_REFUSED;
		if (gone || was_refused)
			set_state(i, l, LINE_NONE);
		/* With its refusal forgotten it may be covered, or cover, again. */
		if (was_refused && l->alive && !l->cover) {
			list_remove(&l->at);
			place(i, l);
		} else {
			settle(i, l);
		}
	}
}

void interest_down(struct interest *i)
{
	i->up = false;
}

static void subscribed(struct interest *i, struct line *l, uint8_t code)
{
	if (code == UPLINK_UNANSWERED) {
		set_state(i, l, LINE_NONE);
		settle(i, l);
	} else if (code <= 2) {
		set_state(i, l, LINE_SUBSCRIBED);
		settle(i, l);
		settle_covered(i, l);
	} else {
		if (!l->told)
			log_limited(&refusals, LOG_LEVEL_WARN,
				"upstream: the broker refuses our subscription to %s (%s)",
				l->filter, reason_name((enum reason)code));
		l->told = true;
		set_state(i, l, LINE_REFUSED);
		uncover(i, l);
		settle(i, l);
	}
}

static void unsubscribed(struct interest *i, struct line *l, uint8_t code)
{
	set_state(i, l, code == UPLINK_UNANSWERED ? LINE_SUBSCRIBED : LINE_NONE);
	settle(i, l);
}

void interest_granted(struct interest *i, const uint8_t *codes, size_t n)
{
	size_t asked = i->n_request;

	/* None of them may be freed while the others are looked at: that is what in_request() is
	 * for, and it ends line by line. */
	i->n_request = 0;
	for (size_t k = 0; k < asked; k++) {
		uint8_t code = k < n ? codes[k] : UPLINK_UNANSWERED;
		if (i->request_unsub)
			unsubscribed(i, i->request[k], code);
		else
			subscribed(i, i->request[k], code);
	}
	if (!i->request_unsub)
		i->granted_ms = clock_ms();
}

static void ask(struct interest *i, struct list *todo, bool unsub)
{
	struct uplink_filter filters[UPLINK_FILTERS_MAX];
	size_t n = 0;

	for (; n < UPLINK_FILTERS_MAX && !list_empty(todo); n++) {
		struct line *l = list_first(todo, struct line, todo);
		list_remove(&l->todo);
		l->asked_qos = unsub ? l->asked_qos : needed_qos(l);
		filters[n] = (struct uplink_filter){ l->filter, l->asked_qos };
		i->request[n] = l;
	}
	int err = unsub ? i->uplink->ops->unsubscribe(i->uplink, filters, n)
			: i->uplink->ops->subscribe(i->uplink, filters, n);
	if (err) { /* in the next turn */
		while (n-- > 0)
			list_prepend(todo, &i->request[n]->todo);
		return;
	}
	i->n_request = n;
	i->request_unsub = unsub;
	for (size_t k = 0; k < n; k++)
		set_state(i, i->request[k], unsub ? LINE_LEAVING : LINE_ASKED);
}

void interest_turn(struct interest *i)
{
	if (!i->up || i->n_request > 0)
		return;
	if (!list_empty(&i->subscribe))
		ask(i, &i->subscribe, false);
	else if (!list_empty(&i->unsubscribe))
		ask(i, &i->unsubscribe, true);
}

static bool any_matches(const struct filters *f, struct span topic)
{
	for (size_t k = 0; k < f->n; k++)
		if (topic_matches(span_str(f->items[k]), topic))
			return true;
	return false;
}

bool interest_allows(const struct interest *i, struct span topic)
{
	return any_matches(&i->imports, topic) || any_matches(&i->always, topic);
}

static void note_match(struct topicleaf *leaf, void *found)
{
	(void)leaf;
	*(bool *)found = true;
}

bool interest_matches(struct interest *i, struct span topic)
{
	bool found = false;

	topictree_match(i->tree, topic, note_match, &found);
	return found;
}

bool interest_replaying(const struct interest *i)
{
	if (i->n_request > 0 && !i->request_unsub)
		return true;
	return i->granted_ms != 0 && clock_ms() - i->granted_ms < INTEREST_REPLAY_MS;
}

unsigned interest_count(const struct interest *i, unsigned *subscribed_lines)
{
	unsigned n = 0;

	*subscribed_lines = 0;
	for (const struct line *l = i->lines; l; l = l->hh.next, n++)
		if (l->state == LINE_SUBSCRIBED)
			++*subscribed_lines;
	return n;
}

void interest_free(struct interest *i)
{
	struct line *l, *tmp;
	struct want *w, *next;

	if (!i)
		return;
	timer_disarm(&i->linger);
	timer_disarm(&i->back);
	i->memory = NULL; /* it stays subscribed */
	HASH_ITER(hh, i->wants, w, next)
	{
		HASH_DEL(i->wants, w);
		free(w);
	}
	HASH_ITER(hh, i->lines, l, tmp)
	{
		set_state(i, l, LINE_NONE);
		HASH_DEL(i->lines, l);
		free(l);
	}
	filters_free(&i->imports);
	filters_free(&i->always);
	topictree_free(i->tree);
	free(i);
}
