/*
 * JSON reading without allocation: one validating pass that also finds the values of a few watched paths, and views
 * for walking values afterwards.
 *
 * Promises: accepts exactly the grammar of RFC 8259 in well-formed UTF-8 (no byte order mark, no comments, no trailing
 * commas, nothing behind the value); nesting is limited to SL_MAX_JSON_DEPTH. Escapes of lone surrogates are accepted,
 * as the grammar does; decoding gives U+FFFD for them. Every value is reported as a byte span of the input, so that a
 * caller can replace it in place.
 * Does not: build trees, convert what nobody asks for.
 *
 * Thread rule: an sl_json_watch is constant after init and may be shared; everything else belongs to its caller.
 */
#ifndef SL_WIRE_JSON_SCAN_H
#define SL_WIRE_JSON_SCAN_H

#include "src/base/limits.h"
#include "src/base/str.h"

typedef enum sl_json_type {
    SL_JSON_NONE = 0, /* absent */
    SL_JSON_NULL,
    SL_JSON_FALSE,
    SL_JSON_TRUE,
    SL_JSON_NUMBER,
    SL_JSON_STRING,
    SL_JSON_ARRAY,
    SL_JSON_OBJECT
} sl_json_type;

/* Where and why a text was refused. */
typedef struct sl_json_error {
    size_t offset;
    const char *reason; /* static */
} sl_json_error;

/* A value as it stands in the text: strings with their quotes, containers with their brackets. */
typedef struct sl_json_value {
    sl_json_type type;
    sl_str raw;
} sl_json_value;

/* ---- One pass with watched paths ---- */

#define SL_JSON_MAX_PATHS 48
#define SL_JSON_MAX_NODES 64

/* One step of a watched path. Internal to the scanner. */
typedef struct sl_json_node {
    sl_str key;            /* member name; unused for elements */
    int16_t path;          /* index of the path that ends here, or -1 */
    int16_t first_child;   /* or -1 */
    int16_t next_sibling;  /* or -1 */
    int16_t element_child; /* the child for any array element, or -1 */
    int16_t parent;        /* or -1 */
    bool repeats;          /* stands under [*] */
    uint8_t next_alike;    /* the next child of the same place in by_name, or 0: the root, which is nobody's child */
    uint8_t by_name[64];   /* the first child whose length and first byte lead to this place, or 0 */
} sl_json_node;

/* A set of watched paths, compiled once. Holds views of the path texts, which must outlive it (literals). */
typedef struct sl_json_watch {
    size_t path_count;
    size_t node_count;
    sl_json_node nodes[SL_JSON_MAX_NODES];
} sl_json_watch;

/*
 * Compiles paths such as "model", "stream_options.include_usage", "choices[*].finish_reason", "choices[*]". A name may
 * hold anything but '.' and '['; each path is given once. Result i of a scan belongs to paths[i].
 * Errors: SL_EINVAL (malformed or doubled path), SL_ELIMIT (too many).
 */
SL_MUST_CHECK int sl_json_watch_init(sl_json_watch *watch, const char *const *paths, size_t count);

/*
 * What was found for one path. Of several occurrences the last counts, as in most readers; under [*] a null does not
 * replace an earlier value that is not null.
 */
typedef struct sl_json_found {
    sl_json_type type; /* SL_JSON_NONE: absent */
    bool duplicate;    /* a name on the way stood twice in one object: readers may disagree about the value */
    uint32_t count;    /* occurrences (elements under [*]) */
    uint32_t items;    /* elements or members of a container (saturating) */
    size_t begin;      /* offsets in the text: of the first byte, with quotes or brackets ... */
    size_t end;        /* ... and behind the last */
} sl_json_found;

/*
 * Validates `text` and fills `ret_found[0 .. path_count-1]`; `*ret_root` (may be NULL) is the outermost value, its
 * begin and end let a member be inserted behind '{'. `watch` NULL: validate only.
 * Errors: SL_EPARSE, SL_ELIMIT (nesting): `*ret_error` (may be NULL) says where and why; the results are undefined.
 */
SL_MUST_CHECK int sl_json_scan(sl_str text, const sl_json_watch *watch, sl_json_found *ret_found,
                               sl_json_found *ret_root, sl_json_error *ret_error);

/* The value of a result, as a view of the scanned text; type NONE when absent. */
static inline sl_json_value sl_json_at(sl_str text, const sl_json_found *found)
{
    sl_json_value value = {found->type, {NULL, 0}};
    if (found->type != SL_JSON_NONE)
        value.raw = sl_str_of(text.ptr + found->begin, found->end - found->begin);
    return value;
}

/* ---- Walking ---- */

/* Validates a whole text and gives its outermost value. Errors as sl_json_scan. */
SL_MUST_CHECK int sl_json_parse(sl_str text, sl_json_value *ret_value, sl_json_error *ret_error);

/*
 * Iterates over the elements of an array or the members of an object of a validated text (on other text it ends early,
 * never out of bounds). A value of another type has no items.
 */
typedef struct sl_json_iter {
    const char *at;
    const char *end;
    bool is_object;
} sl_json_iter;
void sl_json_iter_init(sl_json_iter *iter, sl_json_value container);
/* Next item; `ret_key` (may be NULL) gets the name of a member as a string value, NONE in arrays. False at the end. */
bool sl_json_iter_next(sl_json_iter *iter, sl_json_value *ret_key, sl_json_value *ret_value);

/* Member of an object by name; of several the last. Type NONE when absent or not an object. */
sl_json_value sl_json_get(sl_json_value object, const char *name);
/* Number of elements or members. */
size_t sl_json_count(sl_json_value container);

/* ---- Converting ---- */

/* The text between the quotes, escapes as they are. Empty for other types. */
sl_str sl_json_string_raw(sl_json_value value);
/* True when the value is a string of exactly these bytes, after decoding. */
bool sl_json_string_is(sl_json_value value, sl_str text);
/*
 * Decodes a string: `*ret_text` is a view of the input when it has no escapes, else of `buffer`.
 * Errors: SL_EINVAL (not a string), SL_ELIMIT (does not fit), SL_EPARSE (not validated, broken escape).
 */
SL_MUST_CHECK int sl_json_string(sl_json_value value, char *buffer, size_t size, sl_str *ret_text);
/* Decodes the raw text between quotes into a buffer; `*ret_len` bytes, no NUL. Never longer than raw. As above. */
SL_MUST_CHECK int sl_json_unescape(sl_str raw, char *buffer, size_t size, size_t *ret_len);
/*
 * A number with an integral value ("5", "5.0", "5e0") that fits. Errors: SL_EINVAL (not a number), SL_EPARSE (not
 * integral), SL_ELIMIT.
 */
SL_MUST_CHECK int sl_json_i64(sl_json_value value, int64_t *ret_number);
/* Any finite number. Errors: SL_EINVAL (not a number), SL_ELIMIT (out of range or absurdly long). */
SL_MUST_CHECK int sl_json_double(sl_json_value value, double *ret_number);
/* True or false; SL_EINVAL for other types. */
SL_MUST_CHECK int sl_json_bool(sl_json_value value, bool *ret_bool);
/* Name of a type for error texts: "a string", "an object" ... Static. */
const char *sl_json_type_name(sl_json_type type);

#endif
