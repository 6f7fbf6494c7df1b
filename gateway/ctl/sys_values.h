#ifndef TIDEGATE_CTL_SYS_VALUES_H
#define TIDEGATE_CTL_SYS_VALUES_H

#include "gateway/ctl/sys.h"

#include <stddef.h>

/* The values of $SYS, as they are at one look. */
struct sys_values;

/* `from` is borrowed. */
struct sys_values *sys_values_new(const struct sys_sources *from);
void sys_values_free(struct sys_values *v);
/* So many clients were connected at once, between two looks. */
void sys_values_peak(struct sys_values *v, size_t connected);
/* Publishes what has changed. */
void sys_values_look(struct sys_values *v);

#endif
