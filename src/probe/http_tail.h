/*
 * The end of an answer's body without its text: what of it may leave the thread that sent it.
 *
 * The last bytes of an answer tell what the server counted (`timings`, `usage`, `id_slot`), and also what it said. This
 * keeps the structure of JSON (alone, or as the data of server-sent events), names of members, numbers, true, false and
 * null, and the values of a few members that are words of a protocol and not of a conversation (SL_HTTP_TAIL_WORDS).
 * Every other string becomes the empty string; what is neither is left out.
 *
 * It reads from the end to the front: the end of a body is a known place, its middle is not. No allocation, no I/O.
 */
#ifndef SL_PROBE_HTTP_TAIL_H
#define SL_PROBE_HTTP_TAIL_H

#include "src/base/str.h"

/* Members whose string values are kept, when they are short and plain. */
#define SL_HTTP_TAIL_WORDS(X)                                                                                          \
    X("finish_reason")                                                                                                 \
    X("stop_reason")                                                                                                   \
    X("stop_type")                                                                                                     \
    X("status")                                                                                                        \
    X("model")                                                                                                         \
    X("object")                                                                                                        \
    X("type")

/*
 * Writes what may be kept of the end of `body` to the end of `room` (`size` bytes) and returns a view of it: valid for
 * as long as `room`. Stops where the room is full or where the body's beginning is missing.
 */
sl_str sl_http_tail_keep(sl_str body, char *room, size_t size);

#endif
