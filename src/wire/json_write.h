/*
 * JSON writing into a growing buffer, with commas set by itself.
 *
 * Promises: what comes out is valid JSON in valid UTF-8, whatever strings go in: control characters are escaped,
 * ill-formed UTF-8 becomes U+FFFD. Errors of the buffer (memory, maximum) and of use (a value without its name, an
 * unbalanced end, too deep) are remembered; check once by sl_jw_finish.
 *
 *     sl_jw w;
 *     sl_jw_init(&w, &buf);
 *     sl_jw_object(&w);
 *     sl_jw_key(&w, SL_STR("model"));
 *     sl_jw_str(&w, model);
 *     sl_jw_member_i64(&w, "tokens", 5);
 *     sl_jw_end(&w);
 *     int error = sl_jw_finish(&w);
 */
#ifndef SL_WIRE_JSON_WRITE_H
#define SL_WIRE_JSON_WRITE_H

#include "src/base/buf.h"
#include "src/base/limits.h"

/* How numbers that JSON lacks are written. */
typedef enum sl_jw_nonfinite {
    SL_JW_NULL = 0,  /* null */
    SL_JW_STRING = 1 /* "NaN", "Infinity", "-Infinity" (the JSON mapping of protobuf) */
} sl_jw_nonfinite;

typedef struct sl_jw {
    sl_buf *buf; /* not owned */
    uint32_t depth;
    bool has_items;   /* of the open container (or the top) */
    bool key_pending; /* a name was written, its value must follow */
    sl_jw_nonfinite nonfinite;
    int error;
    uint64_t is_object[SL_MAX_JSON_DEPTH / 64]; /* one bit for each open container */
} sl_jw;

/* Writes to `buf` (appends). Several values at the top are not separated: one writer, one value, or lines by hand. */
void sl_jw_init(sl_jw *writer, sl_buf *buf);

/* Open an object or an array; close the innermost one. */
void sl_jw_object(sl_jw *writer);
void sl_jw_array(sl_jw *writer);
void sl_jw_end(sl_jw *writer);

/* Name of the next member. */
void sl_jw_key(sl_jw *writer, sl_str name);

/* Values. */
void sl_jw_str(sl_jw *writer, sl_str text);
void sl_jw_i64(sl_jw *writer, int64_t number);
void sl_jw_u64(sl_jw *writer, uint64_t number);
void sl_jw_double(sl_jw *writer, double number);
void sl_jw_bool(sl_jw *writer, bool value);
void sl_jw_null(sl_jw *writer);
/* A value that is JSON already; not checked. */
void sl_jw_raw(sl_jw *writer, sl_str json);
/* Unsigned decimal as a string ("123"): 64-bit numbers in the JSON mapping of protobuf. */
void sl_jw_u64_string(sl_jw *writer, uint64_t number);
/* Lower-case hex of bytes as a string: trace and span ids. */
void sl_jw_hex(sl_jw *writer, const uint8_t *bytes, size_t len);

/* Name and value in one call; `name` is a C string. */
void sl_jw_member_str(sl_jw *writer, const char *name, sl_str text);
void sl_jw_member_c(sl_jw *writer, const char *name, const char *text);
void sl_jw_member_i64(sl_jw *writer, const char *name, int64_t number);
void sl_jw_member_u64(sl_jw *writer, const char *name, uint64_t number);
void sl_jw_member_double(sl_jw *writer, const char *name, double number);
void sl_jw_member_bool(sl_jw *writer, const char *name, bool value);
void sl_jw_member_null(sl_jw *writer, const char *name);
void sl_jw_member_raw(sl_jw *writer, const char *name, sl_str json);
void sl_jw_member_object(sl_jw *writer, const char *name);
void sl_jw_member_array(sl_jw *writer, const char *name);

/* First error of the writer or its buffer; SL_EINVAL also when containers are still open. 0 when all is well. */
SL_MUST_CHECK int sl_jw_finish(sl_jw *writer);

/* Appends `text` as a JSON string with quotes; without them. For text put together by hand. */
int sl_json_put_string(sl_buf *buf, sl_str text);
int sl_json_put_escaped(sl_buf *buf, sl_str text);

#endif
