#include "gateway/store/journal_segment.h"

#include "gateway/base/wire.h"
#include "gateway/store/crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC     0x54474a4cu /* TGJL */
#define READ_STEP (256u << 10)
#define PAGE      4096u

const char *segment_name(struct segment_id id, char *buf)
{
	snprintf(buf, SEGMENT_NAME_MAX, "%08x-%08x.seg", id.number, id.salt);
	return buf;
}

bool segment_name_parse(const char *name, struct segment_id *id)
{
	char again[SEGMENT_NAME_MAX];

	if (strlen(name) >= SEGMENT_NAME_MAX ||
		sscanf(name, "%8x-%8x", &id->number, &id->salt) != 2)
		return false;
	/* Signs, blanks and short numbers that sscanf lets pass don't survive the way back. */
	return strcmp(segment_name(*id, again), name) == 0;
}

void segment_header_encode(struct segment_id id, uint64_t first_seq, uint8_t out[SEGMENT_HEADER])
{
	struct writer w = writer_of(out, SEGMENT_HEADER);

	wr_u32(&w, MAGIC);
	wr_u16(&w, SEGMENT_VERSION);
	wr_u16(&w, SEGMENT_HEADER);
	wr_u32(&w, id.number);
	wr_u32(&w, id.salt);
	wr_u64(&w, first_seq);
	wr_u32(&w, 0);
	wr_u32(&w, crc32c(0, out, w.len));
}

int segment_header_decode(struct span image, struct segment_id *id, uint64_t *first_seq)
{
	struct reader r = reader_of(image);
	uint32_t magic = rd_u32(&r);
	uint16_t version = rd_u16(&r);
	uint16_t length = rd_u16(&r);
	struct segment_id found;

	found.number = rd_u32(&r);
	found.salt = rd_u32(&r);
	uint64_t seq = rd_u64(&r);
	rd_u32(&r);
	uint32_t sum = rd_u32(&r);
	if (r.bad || magic != MAGIC || crc32c(0, image.p, SEGMENT_HEADER - 4) != sum)
		return -EBADMSG;
	if (version != SEGMENT_VERSION || length != SEGMENT_HEADER)
		return -EPROTONOSUPPORT;
	*id = found;
	*first_seq = seq;
	return 0;
}

void record_encode(uint32_t salt, uint8_t type, uint64_t seq, const struct span *parts,
	unsigned n_parts, uint8_t *out)
{
	size_t body_len = 0;
	for (unsigned i = 0; i < n_parts; i++)
		body_len += parts[i].len;

	uint32_t size = record_size(body_len);
	struct writer w = writer_of(out, size);
	wr_u32(&w, 0); /* the check, known below */
	wr_u32(&w, (uint32_t)type << 24 | (uint32_t)body_len);
	wr_u64(&w, seq);
	uint32_t check = crc32c(salt, out + 4, 12);
	uint32_t sum = check;
	for (unsigned i = 0; i < n_parts; i++)
		sum = crc32c(sum, parts[i].p, parts[i].len);
	wr_u32(&w, sum);
	for (unsigned i = 0; i < n_parts; i++)
		wr_span(&w, parts[i]);
	memset(out + w.len, 0, size - w.len);

	struct writer front = writer_of(out, 4);
	wr_u32(&front, check);
}

/* Reads and checks what stands before the body. */
static int decode_head(uint32_t salt, const uint8_t *p, struct record *out, uint32_t *sum)
{
	struct reader r = reader_of(span_of(p, RECORD_HEADER));
	uint32_t check = rd_u32(&r);
	uint32_t word = rd_u32(&r);

	out->type = (uint8_t)(word >> 24);
	out->body.len = word & 0xffffff;
	out->seq = rd_u64(&r);
	*sum = rd_u32(&r);
	if (out->body.len > JOURNAL_BODY_MAX || out->seq == 0 || out->seq > SEQ_MAX)
		return -EBADMSG;
	if (out->type == 0 || (out->type >= JOURNAL_TYPES && out->type != RECORD_FORGET))
		return -EBADMSG;
	return crc32c(salt, p + 4, 12) == check ? 0 : -EBADMSG;
}

static uint32_t check_of(const uint8_t *head)
{
	struct reader r = reader_of(span_of(head, 4));

	return rd_u32(&r);
}

int record_check(
	uint32_t salt, const uint8_t head[RECORD_HEADER], struct span body, struct record *out)
{
	uint32_t sum;

	if (decode_head(salt, head, out, &sum) < 0 || out->body.len != body.len)
		return -EBADMSG;
	out->body = body;
	return crc32c(check_of(head), body.p, body.len) == sum ? 0 : -EBADMSG;
}

int record_decode(uint32_t salt, const uint8_t *p, size_t left, struct record *out)
{
	uint32_t sum;

	if (left < RECORD_HEADER || decode_head(salt, p, out, &sum) < 0 ||
		out->body.len > left - RECORD_HEADER)
		return -EBADMSG;
	out->body.p = p + RECORD_HEADER;
	return crc32c(check_of(p), out->body.p, out->body.len) == sum ? 0 : -EBADMSG;
}

int segment_scan_init(struct segment_scan *s, struct span image, struct segment_id name)
{
	struct segment_id inside = name;
	uint64_t first_seq;
	int err = segment_header_decode(image, &inside, &first_seq);

	if (err == -EPROTONOSUPPORT)
		return err;
	/* A renamed file still tells its own salt. A damaged header is looked at like a damaged
	 * record. */
	*s = (struct segment_scan){ .image = image,
		.salt = err < 0 ? name.salt : inside.salt,
		.at = err < 0 ? 0 : SEGMENT_HEADER };
	return 0;
}

static bool try_at(const struct segment_scan *s, uint32_t at, struct record *out)
{
	out->offset = at;
	return at < s->image.len &&
	       record_decode(s->salt, s->image.p + at, s->image.len - at, out) == 0;
}

/* Where the next whole record begins, or the image's end. */
static uint32_t resync(const struct segment_scan *s, struct record *out)
{
	uint32_t end = (uint32_t)s->image.len;

	for (uint32_t at = s->at; end - at >= RECORD_HEADER; at += RECORD_ALIGN)
		if (try_at(s, at, out))
			return at;
	return end;
}

static void tell_damage(struct segment_scan *s, uint32_t to, bool torn)
{
	while (torn && to > s->at && s->image.p[to - 1] == 0)
		to--;
	if (to > s->at && s->damage)
		s->damage(s->arg, s->at, span_of(s->image.p + s->at, to - s->at), torn);
}

bool segment_scan_next(struct segment_scan *s, struct record *out)
{
	uint32_t end = (uint32_t)s->image.len;

	if (s->at >= end)
		return false;
	if (!try_at(s, s->at, out)) {
		uint32_t at = resync(s, out);
		tell_damage(s, at, at == end);
		s->at = at;
		if (at == end)
			return false;
	}
	/* The padding of the last record may be cut off. */
	s->at = MIN(end, s->at + record_size(out->body.len));
	return true;
}

/* A failing disk loses a page here and there; what is around it can still be read. */
static uint32_t read_pages(int fd, uint8_t *bytes, uint32_t at, uint32_t end)
{
	uint32_t unread = 0;

	for (ssize_t n = 1; n != 0 && at < end;) {
		uint32_t step = MIN(PAGE, end - at);
		n = pread(fd, bytes + at, step, at);
		at += n > 0 ? (uint32_t)n : step;
		unread += n < 0;
	}
	return unread;
}

static uint32_t read_all(int fd, uint8_t *bytes, uint32_t len)
{
	uint32_t unread = 0;

	for (uint32_t at = 0; at < len;) {
		uint32_t step = MIN(READ_STEP, len - at);
		ssize_t n = pread(fd, bytes + at, step, at);
		if (n <= 0) {
			unread += read_pages(fd, bytes, at, at + step);
			n = step;
		}
		at += (uint32_t)n;
	}
	return unread;
}

int segment_load(int dir_fd, const char *name, uint8_t **bytes, uint32_t *len, uint32_t *unread)
{
	struct stat st;
	int err = 0;
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		err = -errno;
	else if (!S_ISREG(st.st_mode))
		err = -EINVAL;
	if (err == 0) {
		*len = (uint32_t)MIN(st.st_size, (off_t)SEGMENT_FILE_MAX);
		*bytes = calloc(1, *len + 1u);
		err = *bytes ? 0 : -ENOMEM;
	}
	if (err == 0)
		*unread = read_all(fd, *bytes, *len);
	close(fd);
	return err;
}
