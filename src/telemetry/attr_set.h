/*
 * Attribute sets of metrics: sorted, without duplicates, in the two forms in which they leave.
 *
 * The encoded form is also the identity: two sets are equal when their bytes are.
 */
#ifndef SL_TELEMETRY_ATTR_SET_H
#define SL_TELEMETRY_ATTR_SET_H

#include <sightline/metrics.h>

#include "src/base/buf.h"

#define SL_MAX_METRIC_ATTRS 128
#define SL_MAX_ATTR_SET_BYTES (64u * 1024) /* of either form */

/* A set in the making. Views point to the caller's strings. */
typedef struct sl_attr_set {
    size_t count;
    size_t refused; /* bad keys, and what did not fit */
    sl_attr items[SL_MAX_METRIC_ATTRS];
} sl_attr_set;

/* How a stream changes attributes (sl_view). */
typedef struct sl_attr_rules {
    const sl_view_attr *items;
    size_t count;
    bool keep_only;
} sl_attr_rules;

/* Fills the set: renamed and filtered by the rules (NULL: as they are), sorted by key; of equal keys the last wins. */
void sl_attr_set_init(sl_attr_set *set, const sl_attr *attrs, size_t count, const sl_attr_rules *rules);
/* Appends each attribute as an OTLP KeyValue under field number `field`. Errors: SL_ELIMIT, SL_ENOMEM. */
int sl_attr_set_encode(const sl_attr_set *set, uint32_t field, sl_buf *out);
/*
 * Appends Prometheus labels: a="x",b="y". Keys that become one name share a label, values joined by ';'. Names in
 * `reserved` ("le" of histograms; NULL: none) get the prefix "exported_". Errors: SL_ELIMIT, SL_ENOMEM.
 */
int sl_attr_set_labels(const sl_attr_set *set, const char *reserved, sl_buf *out);
/* Appends the text of a value: strings as they are, arrays and maps as JSON. */
int sl_value_text(const sl_value *value, sl_buf *out);

#endif
