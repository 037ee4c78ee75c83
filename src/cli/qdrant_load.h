/*
 * Rows into a collection of a Qdrant server, for vector_search steps with database qdrant. One request at a time,
 * waited for; where the server is busy or not there it is tried again.
 *
 * Points of Qdrant have whole numbers or UUIDs as ids. An id that is one, of a row without a namespace, is kept; any
 * other becomes the UUID (version 5, in the name space of OIDs) of NAMESPACE, NUL and ID, so that the same row is the
 * same point each time, and stands in the payload as SL_QDRANT_ID, where the step looks for it. Metadata is the
 * payload, the namespace its member "namespace".
 */
#ifndef SL_CLI_QDRANT_LOAD_H
#define SL_CLI_QDRANT_LOAD_H

#include <jansson.h>

#include "src/store/collection_set.h"

#define SL_QDRANT_REASON 700

typedef struct sl_qdrant_loader sl_qdrant_loader;

/* Connects to nobody yet. `key` may be empty. `reason` (SL_QDRANT_REASON bytes) says what is wrong, here and below.
 * Errors: SL_EINVAL (the URL), SL_ENOMEM. */
SL_MUST_CHECK int sl_qdrant_loader_new(sl_str url, sl_str key, sl_str collection, char *reason,
                                       sl_qdrant_loader **ret_loader);
/* NULL is accepted. */
void sl_qdrant_loader_free(sl_qdrant_loader *loader);
/*
 * Makes the collection when it is not there. `metric` is of a new one; `any`: one that is there keeps its own. Errors:
 * SL_EEXIST (it differs), SL_ECONNECT, SL_EIO (the server says no), SL_ENOMEM.
 */
SL_MUST_CHECK int sl_qdrant_loader_collection(sl_qdrant_loader *loader, size_t dims, sl_vector_metric metric, bool any,
                                              char *reason);
/* Puts rows that are valid, in place of those of the same ids; they are there when it returns 0. Errors: SL_ECONNECT,
 * SL_EIO, SL_ETOOBIG, SL_ENOMEM. */
SL_MUST_CHECK int sl_qdrant_loader_put(sl_qdrant_loader *loader, const sl_vector_row *rows, size_t count, char *reason);

/* ---- for tests ---- */

/* The id of a row's point: a whole number, or a UUID in small letters. `*ret_own`: it is the row's own. A reference. */
json_t *sl_qdrant_id(sl_str space, sl_str id, bool *ret_own);
/* What is put: {"points":[{"id","vector","payload"}]}. Freed by free(); NULL: no memory. */
char *sl_qdrant_points(const sl_vector_row *rows, size_t count);

#endif
