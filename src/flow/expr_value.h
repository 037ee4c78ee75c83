/*
 * What templates, expressions and their functions agree on about values: how they print, when they are true, equal or
 * in order; and the count of the work that bounds them all.
 */
#ifndef SL_FLOW_EXPR_VALUE_H
#define SL_FLOW_EXPR_VALUE_H

#include <jansson.h>

#include "src/base/buf.h"
#include "src/flow/fault.h"

/* What one evaluation may still do, and where it is. */
typedef struct sl_flow_work {
    uint64_t steps;
    uint64_t bytes; /* that may still be built */
    unsigned line;  /* of the node at hand, for faults */
    unsigned column;
    sl_flow_fault *fault; /* may be NULL */
} sl_flow_work;

/* Counts steps or bytes. SL_ETOOBIG with a fault when that is more than is left. */
SL_MUST_CHECK int sl_flow_spend(sl_flow_work *work, uint64_t steps);
SL_MUST_CHECK int sl_flow_spend_bytes(sl_flow_work *work, uint64_t bytes);
/* SL_EINVAL with this message. */
int sl_flow_wrong(sl_flow_work *work, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The fault of a buffer that failed: SL_ETOOBIG, SL_ENOMEM. */
SL_MUST_CHECK int sl_flow_buf_error(sl_flow_work *work, const sl_buf *buf);

/* The text of an object that has one (SL_FLOW_TEXT_KEY), else the value itself. Borrowed. */
json_t *sl_flow_plain(json_t *value);
/* "list", "number" ...: for messages. Static. */
const char *sl_flow_type_name(const json_t *value);
/* View of a JSON string. */
sl_str sl_flow_str(const json_t *string);
/* Member of an object; NULL when there is none. Borrowed. */
json_t *sl_flow_member(json_t *object, sl_str key);

/*
 * Appends a value as templates print it: text as it is, null as nothing, an object that has a text as that text, all
 * else as JSON. Errors: SL_ETOOBIG, SL_ENOMEM.
 */
SL_MUST_CHECK int sl_flow_put_text(sl_flow_work *work, sl_buf *out, json_t *value);
/* Appends JSON; `indent` 0: in one line. The text of an object is left out. Errors: SL_ETOOBIG, SL_ENOMEM. */
SL_MUST_CHECK int sl_flow_put_json(sl_flow_work *work, sl_buf *out, json_t *value, unsigned indent);
/* Equality of JSON: 1 equals 1.0; an object that has a text equals that text. Errors: SL_ETOOBIG. */
SL_MUST_CHECK int sl_flow_equal(sl_flow_work *work, json_t *a, json_t *b, bool *ret_equal);
/* Order of two numbers or two strings (by bytes): below, equal or above 0. False for everything else. */
bool sl_flow_order(json_t *a, json_t *b, int *ret_order);
/* Counts every node of a value, and refuses what is nested more than SL_MAX_JSON_DEPTH deep. Errors: SL_ETOOBIG. */
SL_MUST_CHECK int sl_flow_measure(sl_flow_work *work, json_t *value);

#endif
