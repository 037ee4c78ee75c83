/*
 * Collections of vectors: kept in SQLite, searched in memory, exactly.
 *
 * Promises: what sl_collections_put has accepted is on disk and part of the next search; a collection that another
 * process has changed is read again before it is searched; a search looks at every row that the filter lets through,
 * on all cores, and takes about as long as reading the rows once; the same data gives the same answer, ties ordered by
 * id.
 *
 * A collection is loaded by its first search, and then stays in memory as long as there is room: those that were
 * searched last, together up to a quarter of the machine's memory, but always the one that is being searched.
 * Everything here blocks: not for an event loop's thread. Any thread, any number at once.
 */
#ifndef SL_STORE_COLLECTION_H
#define SL_STORE_COLLECTION_H

#include "src/store/collection_set.h"

#define SL_COLLECTIONS_FILE "collections.db" /* in the data folder */
#define SL_COLLECTION_REASON SL_FILTER_REASON

typedef struct sl_collections sl_collections;

/*
 * Opens the file, which is made when absent; NULL: nothing is kept on disk. Errors: SL_EIO, SL_ECONFIG (newer format),
 * SL_ENOMEM, with text in `error`.
 */
SL_MUST_CHECK int sl_collections_open(const char *path, char *error, size_t error_size,
                                      sl_collections **ret_collections);
/* Memory for collections that are kept on disk, instead of a quarter of the machine's. */
void sl_collections_set_room(sl_collections *collections, uint64_t bytes);
/* No call may be under way. NULL is accepted. */
void sl_collections_close(sl_collections *collections);

/*
 * Makes a collection. One of that name with the same dimensions and metric is fine. On failure `reason`
 * (SL_COLLECTION_REASON bytes) is a text for people, here and below. Errors: SL_EEXIST (it differs), SL_EINVAL,
 * SL_ELIMIT, SL_EIO, SL_ENOMEM.
 */
SL_MUST_CHECK int sl_collections_create(sl_collections *collections, sl_str name, size_t dims, sl_vector_metric metric,
                                        char *reason);
/*
 * Puts rows, all or none, in place of those of the same ids; durable when it returns 0. Batches of a thousand are fast.
 * Errors: SL_ENOENT (no such collection), SL_EINVAL, SL_ELIMIT (disk full), SL_EIO, SL_ENOMEM.
 */
SL_MUST_CHECK int sl_collections_put(sl_collections *collections, sl_str name, const sl_vector_row *rows, size_t count,
                                     char *reason);
/* Removes a collection with its rows. Errors: SL_ENOENT, SL_EIO. */
SL_MUST_CHECK int sl_collections_drop(sl_collections *collections, sl_str name, char *reason);
/*
 * The nearest rows, best first; of no namespace but the query's (the default one has no name). Errors: SL_ENOENT,
 * SL_EINVAL, SL_ETOOBIG, SL_EIO, SL_ENOMEM, SL_ECLOSED (stopped). Ownership: sl_vector_hits_free.
 */
SL_MUST_CHECK int sl_collections_search(sl_collections *collections, const sl_vector_query *query, char *reason,
                                        sl_vector_hits **ret_hits);

typedef struct sl_collection_info {
    char name[SL_MAX_COLLECTION_NAME_BYTES + 1];
    size_t dims;
    sl_vector_metric metric;
    uint64_t rows;
    uint64_t memory_bytes; /* 0: not loaded */
} sl_collection_info;

/* Fills up to `max`, by name. Errors: SL_EIO, SL_ENOMEM. */
SL_MUST_CHECK int sl_collections_list(sl_collections *collections, sl_collection_info *infos, size_t max,
                                      size_t *ret_count, char *reason);

/* True when it may be the name of a collection: 1 to 128 bytes, letters, digits, and ._-/: not at the front. */
bool sl_collection_name_is_valid(sl_str name);

#endif
