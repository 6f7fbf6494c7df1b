#ifndef TIDEGATE_MQTT_MQ_WS_H
#define TIDEGATE_MQTT_MQ_WS_H

#include "gateway/base/span.h"
#include "gateway/base/wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The server's side of RFC 6455 as MQTT uses it (MQTT 3.1.1 and 5.0, 6): the opening handshake and
 * the frames. Bytes in, bytes and values out; no socket, no allocation. */

/* The opening handshake (4.2). A request that is longer is refused. */
#define MQ_WS_REQUEST_MAX 4096
#define MQ_WS_ANSWER_MAX  256

/* How long the request in front of `bytes` is, its empty line included; 0: its end has not come. */
size_t mq_ws_request_size(struct span bytes);
/* Could these bytes be the beginning of a request at all? */
bool mq_ws_request_begins(struct span bytes);
/* Which requests are let in. A browser says of which web page it runs the script (10.2): of the
 * host that is spoken to, or of one of `origins` ("https://panel.example"; "*": of any). */
struct mq_ws_rules {
	const char *path;
	const char *const *origins;
	size_t n_origins;
};
/* Writes the answer to a whole request, for the sub-protocol "mqtt", and returns its status: 101
 * opens the connection, after any other it ends. */
int mq_ws_answer(struct span request, const struct mq_ws_rules *rules, struct writer *w);
/* The answer to what was never read to its end: 400, 431. Returns `status`. */
int mq_ws_refuse(int status, struct writer *w);

/* Frames (5.2) */
enum mq_ws_opcode {
	MQ_WS_CONTINUATION = 0,
	MQ_WS_TEXT = 1,
	MQ_WS_BINARY = 2,
	MQ_WS_CLOSE = 8,
	MQ_WS_PING = 9,
	MQ_WS_PONG = 10,
};

/* Status codes (7.4.1) */
#define MQ_WS_NORMAL      1000
#define MQ_WS_PROTOCOL    1002
#define MQ_WS_UNSUPPORTED 1003

#define MQ_WS_CONTROL_MAX 125
#define MQ_WS_HEAD_MAX    14 /* of a client's frame */
#define MQ_WS_OWN_HEAD    10 /* of ours, which has no mask */

enum mq_ws_event {
	MQ_WS_MORE,       /* all input is taken */
	MQ_WS_GOT_PING,   /* to be answered with `control` */
	MQ_WS_GOT_CLOSE,  /* to be answered with `code` */
	MQ_WS_GOT_BROKEN, /* the peer broke the rules: `code`. Nothing more may be decoded. */
};

/* Zeroed memory is the beginning of a stream. */
struct mq_ws_decoder {
	uint64_t left; /* payload octets of this frame that have not come */
	uint16_t code;
	uint8_t head[MQ_WS_HEAD_MAX];
	uint8_t head_len;
	uint8_t mask_at;
	bool in_frame;   /* the head is whole */
	bool in_message; /* a fragmented message is unfinished (5.4) */
	uint8_t control_len;
	uint8_t control[MQ_WS_CONTROL_MAX];
};

/* Takes input up to the end of the next control frame and writes the payload of data frames to
 * *out, which moves on. `in` and *out may be the same memory: output never overtakes input, and
 * never is longer. Frames of any length pass; none is gathered. */
enum mq_ws_event mq_ws_decode(struct mq_ws_decoder *d, struct span *in, uint8_t **out);

/* The head of a final, unmasked frame. */
void mq_ws_put_head(struct writer *w, enum mq_ws_opcode opcode, uint64_t len);
void mq_ws_put_close(struct writer *w, uint16_t code);

#endif
