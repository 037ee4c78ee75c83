/* pgvector's inside: one search, and the session that makes searches (pgvector_session.c). */
#ifndef SL_STORE_PGVECTOR_IMPL_H
#define SL_STORE_PGVECTOR_IMPL_H

#include "src/store/pgvector.h"

/* What is asked, with everything that it points to, and what came of it. */
typedef struct sl_pg_search {
    sl_pg_query query;
    sl_vector_filter *filter;
    float *vector;
    char *texts; /* of the query's names, one after another */
    sl_pgvector_answer answer;
} sl_pg_search;

/* Copies the query; the filter is taken over, also on failure. Errors: SL_ENOMEM. */
SL_MUST_CHECK int sl_pg_search_init(sl_pg_search *search, const sl_pg_query *query, sl_vector_filter *filter);
void sl_pg_search_done(sl_pg_search *search);

/* A table that a connection has looked at. */
typedef struct sl_pg_known {
    char index[SL_PG_INDEX_BYTES]; /* empty: no table */
    uint64_t until_ns;             /* after which it is looked at again */
    sl_pg_table table;
} sl_pg_known;

/* A connection and what is known of its database; used by one thread. */
typedef struct sl_pg_session {
    sl_pg_link link;
    sl_pg_known known[SL_MAX_PGVECTOR_TABLES];
    unsigned next; /* whose place is taken next */
} sl_pg_session;

/* Makes a search: connects where it must, and once more when the connection turns out to be broken. Never fails: the
 * answer says what came of it. */
void sl_pg_session_search(sl_pg_session *session, const char *conninfo, uint64_t answer_ms, sl_pg_search *search);
/* Closes the connection and forgets the tables. */
void sl_pg_session_reset(sl_pg_session *session);

#endif
