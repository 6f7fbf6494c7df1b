#ifndef TIDEGATE_BASE_REAP_H
#define TIDEGATE_BASE_REAP_H

#include "gateway/base/list.h"

/* Nothing dies inside a callback: what has ended is unlinked everywhere, handed to reap_later() and
 * freed when the turn ends. */
struct reap {
	struct list node;
	void (*free)(struct reap *);
};

/* Handing in the same entry twice is an error of the caller (asserted). Zeroed memory is valid. */
void reap_later(struct reap *r, void (*free)(struct reap *));
/* Frees all that was handed in, also what is handed in meanwhile. */
void reap(void);

#endif
