/*
 * Thrift's binary protocol, writing: fields, numbers, texts and lists of structs into a growing buffer.
 *
 * A failed append is remembered by the buffer (`failed`): check it once at the end. Nothing is checked for nesting; the
 * caller writes each struct's fields and its stop. Source: Apache Thrift, "Thrift Binary protocol encoding".
 */
#ifndef SL_WIRE_THRIFT_WRITE_H
#define SL_WIRE_THRIFT_WRITE_H

#include "src/base/buf.h"

enum {
    SL_THRIFT_STOP = 0,
    SL_THRIFT_BOOL = 2,
    SL_THRIFT_DOUBLE = 4,
    SL_THRIFT_I32 = 8,
    SL_THRIFT_I64 = 10,
    SL_THRIFT_STRING = 11,
    SL_THRIFT_STRUCT = 12,
    SL_THRIFT_LIST = 15
};

/* The head of field `id`, for structs; a struct's end. */
void sl_thrift_field(sl_buf *buf, unsigned type, unsigned id);
void sl_thrift_stop(sl_buf *buf);
/* Whole fields. Texts: ill-formed UTF-8 becomes U+FFFD; bytes go as they are. */
void sl_thrift_bool(sl_buf *buf, unsigned id, bool value);
void sl_thrift_i32(sl_buf *buf, unsigned id, uint32_t value);
void sl_thrift_i64(sl_buf *buf, unsigned id, uint64_t value);
void sl_thrift_double(sl_buf *buf, unsigned id, double value);
void sl_thrift_text(sl_buf *buf, unsigned id, sl_str text);
void sl_thrift_bytes(sl_buf *buf, unsigned id, sl_str bytes);

/* A list of structs that is being written; count each struct in `count`. */
typedef struct sl_thrift_list {
    size_t start; /* of its field */
    uint32_t count;
} sl_thrift_list;

sl_thrift_list sl_thrift_list_open(sl_buf *buf, unsigned id);
/* Sets the count. `optional`: an empty list leaves no trace. */
void sl_thrift_list_close(sl_buf *buf, const sl_thrift_list *list, bool optional);

#endif
