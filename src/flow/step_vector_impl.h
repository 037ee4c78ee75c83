/* What the files of vector_search steps share: what a step asks for, and how it ends. */
#ifndef SL_FLOW_STEP_VECTOR_IMPL_H
#define SL_FLOW_STEP_VECTOR_IMPL_H

#include "src/flow/step_action.h"
#include "src/store/collection_filter.h"

/* What the step asks for; views point into its params. */
typedef struct sl_vector_ask {
    sl_str database, index, space;
    json_t *query; /* a list */
    size_t top_k;
    json_t *filter; /* NULL: none */
    bool with_metadata, with_vectors;
    bool mapped; /* the database is not the one that was named */
} sl_vector_ask;

/* True for the names of databases that a PostgreSQL server serves. */
bool sl_vector_is_pg(sl_str database);
/* Asks the configured server; `filter` (may be NULL) and `metadata` are taken over, `vector` is copied. */
void sl_vector_search_pg(sl_step_try *attempt, const sl_vector_ask *ask, const float *vector, sl_vector_filter *filter,
                         json_t *metadata);

/* Ends the step with the results [list, metadata], and the warning (may be NULL) beside them. `list` is taken over. */
void sl_vector_succeed(sl_step_try *attempt, json_t *metadata, const char *warning, json_t *list);

#endif
