/* Where `sightline flow collection load` puts rows: the engine's own file, a Qdrant server, or a PostgreSQL server with
 * pgvector. */
#ifndef SL_CLI_COLLECTION_SINK_H
#define SL_CLI_COLLECTION_SINK_H

#include "src/store/collection.h"

#define SL_ROW_SINK_REASON 800

typedef struct sl_row_sink sl_row_sink;

typedef struct sl_row_sink_options {
    sl_str to;                   /* see sl_row_sink_open */
    sl_str name;                 /* of the collection, or the table */
    sl_vector_metric metric;     /* when it is made */
    bool metric_given;           /* and it must have that one if it is there */
    sl_collections *collections; /* for "local" */
} sl_row_sink_options;

/* True for what needs no file of our own. */
bool sl_row_sink_is_remote(sl_str to);
/*
 * `to`: "" or "local"; "qdrant" (the server of QDRANT_URL and QDRANT_API_KEY) or its URL; "pgvector" (that of
 * PGVECTOR_URL), its URL or connection string. `reason` (SL_ROW_SINK_REASON bytes) says what is wrong, here and below.
 * Errors: SL_EINVAL (what is given cannot be used), others when the server does not answer or refuses.
 */
SL_MUST_CHECK int sl_row_sink_open(const sl_row_sink_options *options, char *reason, sl_row_sink **ret_sink);
/* NULL is accepted. */
void sl_row_sink_close(sl_row_sink *sink);
/* Makes the collection where it is not there. Errors: SL_EEXIST (it differs), SL_EINVAL, others. */
SL_MUST_CHECK int sl_row_sink_make(sl_row_sink *sink, size_t dims, char *reason);
/* Puts rows of these dimensions that are valid, in place of those of the same ids; they are on disk then. */
SL_MUST_CHECK int sl_row_sink_put(sl_row_sink *sink, const sl_vector_row *rows, size_t count, char *reason);

#endif
