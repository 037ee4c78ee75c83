/*
 * Filters on metadata, as vector databases take them: {"lang": "en", "year": {"$gte": 2020}, "$or": [...]}.
 *
 * Members of an object must all hold. A plain value asks for equality; operators: $eq $ne $in $nin $gt $gte $lt $lte
 * $exists, and $and, $or, $not around whole filters. A member that is a list in the metadata holds for $eq and $in when
 * one of its items does. A member that is missing equals null, so that $ne and $nin of other values hold. Order is
 * among numbers and among texts.
 *
 * Compiled, a filter is immutable: any number of threads may use it.
 */
#ifndef SL_STORE_COLLECTION_FILTER_H
#define SL_STORE_COLLECTION_FILTER_H

#include <jansson.h>

#include "src/base/limits.h"
#include "src/base/str.h"

#define SL_FILTER_REASON 200

typedef struct sl_vector_filter sl_vector_filter;

/*
 * Compiles; references of values are held. `reason` (SL_FILTER_REASON bytes) says what is wrong. Errors: SL_EINVAL,
 * SL_ELIMIT, SL_ENOMEM.
 */
SL_MUST_CHECK int sl_vector_filter_new(json_t *filter, char *reason, sl_vector_filter **ret_filter);
/* NULL is accepted. */
void sl_vector_filter_free(sl_vector_filter *filter);

/* The members that it looks at, each once. */
size_t sl_vector_filter_key_count(const sl_vector_filter *filter);
const char *sl_vector_filter_key(const sl_vector_filter *filter, size_t index);
/* A member of metadata by its name, or by names with dots between them. NULL: it has none. Borrowed. */
json_t *sl_vector_filter_value(const json_t *metadata, const char *key);
/* `values` has the row's value of each key, NULL where there is none. */
bool sl_vector_filter_holds(const sl_vector_filter *filter, json_t *const *values);

/*
 * The same as Qdrant says it: {"must": [...], "should": [...], "must_not": [...]}. NULL: no memory. The caller holds a
 * reference.
 */
json_t *sl_vector_filter_qdrant(const sl_vector_filter *filter);

#endif
