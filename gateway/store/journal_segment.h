#ifndef TIDEGATE_STORE_JOURNAL_SEGMENT_H
#define TIDEGATE_STORE_JOURNAL_SEGMENT_H

#include "gateway/base/span.h"
#include "gateway/store/journal.h"

#include <stdbool.h>
#include <stdint.h>

/* One file of the journal as bytes. All numbers are big-endian.
 *
 * Header, 32 octets:  magic "TGJL" | version 16 | header length 16 | number 32 | salt 32 |
 *                     first sequence 64 | zero 32 | CRC-32C of what stands before 32
 * Record:             check 32 | type 8, body length 24 | sequence 64 | body sum 32 | body | zeros
 * to a multiple of 4 The check is the CRC-32C of type, length and sequence, begun with the
 * segment's salt; the body sum is the CRC-32C of the body, begun with the check. So a damaged body
 * does not make the length doubtful, and a stranger's payload that looks like records is not taken
 * for records when the search for the next whole one runs through it: he would have to know the
 * salt, which is random for each segment. Number and salt stand in the file's name too, for the day
 * when the header is the damaged part. */
#define SEGMENT_HEADER  32u
#define SEGMENT_VERSION 1
#define RECORD_HEADER   20u
#define RECORD_ALIGN    4u
#define RECORD_FORGET   0x80 /* body: seq_ranges; its own sequence means nothing */
#define SEQ_MAX         (UINT64_C(1) << 62)

#define SEGMENT_FILE_MAX                                                                           \
	(4u << 20) /* no segment is larger; the rest of a larger file is not looked at */
#define SEGMENT_NAME_MAX 24

struct segment_id {
	uint32_t number, salt;
};
/* Numbers from here on are none of ours: a file was renamed. (2^31 segments are 2 PB.) */
#define SEGMENT_NUMBER_MAX (UINT32_C(1) << 31)

/* "0000002a-9f3ac2e1.seg"; `buf` has SEGMENT_NAME_MAX octets. */
const char *segment_name(struct segment_id id, char *buf);
/* False when it is not the name of a segment. */
bool segment_name_parse(const char *name, struct segment_id *id);

void segment_header_encode(struct segment_id id, uint64_t first_seq, uint8_t out[SEGMENT_HEADER]);
/* 0, -EBADMSG, or -EPROTONOSUPPORT: a whole header of a version that is not ours. */
int segment_header_decode(struct span image, struct segment_id *id, uint64_t *first_seq);

struct record {
	uint64_t seq;
	uint32_t offset;
	uint8_t type;
	struct span body; /* view into the image */
};

/* Octets a record takes in its segment. */
static inline uint32_t record_size(size_t body_len)
{
	return (RECORD_HEADER + (uint32_t)body_len + RECORD_ALIGN - 1) & ~(RECORD_ALIGN - 1);
}

/* Writes record_size(all parts) octets. */
void record_encode(uint32_t salt, uint8_t type, uint64_t seq, const struct span *parts,
	unsigned n_parts, uint8_t *out);
/* Checks one record of `left` octets at most. 0 or -EBADMSG. */
int record_decode(uint32_t salt, const uint8_t *p, size_t left, struct record *out);
/* The same with header and body apart. */
int record_check(
	uint32_t salt, const uint8_t head[RECORD_HEADER], struct span body, struct record *out);

/* Walks through a segment's image and stops at nothing. What is no whole record is told to
 * `damage`: with `torn` when no whole record follows, as after a power cut; zeros at the end are no
 * damage. */
struct segment_scan {
	struct span image;
	uint32_t salt, at;
	void (*damage)(void *arg, uint32_t offset, struct span bytes, bool torn); /* may be NULL */
	void *arg;
};
/* `name`: number and salt by the file's name, used where the header is damaged. -EPROTONOSUPPORT:
 * not for us. */
int segment_scan_init(struct segment_scan *s, struct span image, struct segment_id name);
bool segment_scan_next(struct segment_scan *s, struct record *out);

/* Reads a whole file; pages that the disk doesn't give, *unread of them, come back as zeros. *bytes
 * is the caller's. 0 or a negative errno. Blocking: start-up and commit thread only. */
int segment_load(int dir_fd, const char *name, uint8_t **bytes, uint32_t *len, uint32_t *unread);

#endif
