/*
 * Server-sent events: finds the frames of a stream while its bytes pass through, and reads their fields.
 *
 * Promises: frames are found whatever the line ends (LF, CRLF, CR) and however the bytes are cut; a frame that lies
 * whole in one feed is reported in place, without a copy; otherwise its bytes are gathered, at most the maximum. A
 * frame over the maximum (or without memory) is reported as cut, and the stream goes on: watching never breaks the
 * passing. Does not: change or hold back bytes; the caller forwards what it fed.
 *
 * Source: WHATWG HTML, 9.2.6 Interpreting an event stream. Differences, on purpose: an unfinished frame at the end of
 * the stream can be had (sl_sse_finish), because providers omit the last empty line.
 */
#ifndef SL_WIRE_SSE_H
#define SL_WIRE_SSE_H

#include "src/base/buf.h"
#include "src/base/limits.h"

/* State of one stream. */
typedef struct sl_sse {
    sl_buf carry;       /* the part of the current frame from earlier feeds */
    size_t max_bytes;   /* of one frame */
    uint64_t frames;    /* reported so far */
    bool line_has_text; /* the current line has bytes */
    bool after_cr;      /* the last byte was a CR that ended a line: an LF now belongs to it */
    bool gathering;     /* carry (or a cut) belongs to the frame that is not complete yet */
    bool cut;           /* the current frame was given up */
    uint8_t bom;        /* bytes of a byte order mark seen at the start; 3: settled */
} sl_sse;

/* A frame: its lines with their ends, without the empty line behind it. Never empty, unless cut. */
typedef struct sl_sse_frame {
    sl_str bytes; /* valid until the next call for the stream, and while the fed bytes live */
    bool cut;     /* over the maximum: bytes is empty */
} sl_sse_frame;

/* Starts a stream; `max_bytes` 0 is SL_MAX_SSE_FRAME_BYTES. Allocates nothing yet. */
void sl_sse_init(sl_sse *sse, size_t max_bytes);
/* Frees what was gathered. */
void sl_sse_done(sl_sse *sse);

/*
 * Takes the next frame off the front of `*bytes`. 0: `*ret_frame` is set and `*bytes` begins behind the frame and its
 * empty line; SL_EMORE: all bytes were consumed, no further frame is complete. No other errors.
 */
SL_MUST_CHECK int sl_sse_next(sl_sse *sse, sl_str *bytes, sl_sse_frame *ret_frame);

/* At the end of the stream: the frame that lacks its empty line. 0, or SL_ENOENT when there is none. */
SL_MUST_CHECK int sl_sse_finish(sl_sse *sse, sl_sse_frame *ret_frame);

/* True when the frame's bytes contain `needle`, such as "\"usage\"": only such frames are worth parsing. */
bool sl_sse_frame_has(const sl_sse_frame *frame, sl_str needle);

/*
 * Takes the next line off the front of `*rest` (start with frame.bytes): field name and value without the one space
 * behind the colon; a comment has an empty name. False at the end.
 */
bool sl_sse_line_next(sl_str *rest, sl_str *ret_name, sl_str *ret_value);

/* Value of the last line with this field name ("event", "id"); false when absent. */
bool sl_sse_frame_field(const sl_sse_frame *frame, sl_str name, sl_str *ret_value);

/*
 * Data of the frame: one data line is given in place; several are joined by LF in `scratch` (appended behind clearing
 * it; NULL: SL_EINVAL then). Errors: SL_ENOENT (no data line), SL_ELIMIT, SL_ENOMEM (scratch).
 */
SL_MUST_CHECK int sl_sse_frame_data(const sl_sse_frame *frame, sl_buf *scratch, sl_str *ret_data);

/* True when the data is `[DONE]`, the end mark of OpenAI's streams. */
bool sl_sse_frame_is_done(const sl_sse_frame *frame);

#endif
