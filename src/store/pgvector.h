/*
 * Searches in tables of a PostgreSQL server that has the extension pgvector.
 *
 * Promises: at most SL_MAX_PGVECTOR_CONNECTIONS connections, made when they are needed and closed when they were not
 * for a minute; a search never makes its caller wait; one that is cancelled is cancelled on the server too; a
 * connection that was broken while it was idle is made anew once, unseen; only SELECTs are sent, every value apart from
 * the text of the statement; an answer is bounded. Each connection has a thread of its own, since looking up a host's
 * name and telling a server to stop block within the client library.
 *
 * Does not: write, make tables or indexes. The library is looked for at the first search (libpq.h).
 */
#ifndef SL_STORE_PGVECTOR_H
#define SL_STORE_PGVECTOR_H

#include <jansson.h>

#include "src/store/pg_link.h"
#include "src/store/pgvector_sql.h"

typedef struct sl_pgvector sl_pgvector;
typedef struct sl_pgvector_request sl_pgvector_request;

typedef struct sl_pgvector_options {
    const char *conninfo; /* postgres://... or "host=... dbname=..." */
    const char *library;  /* NULL: SL_LIBPQ_FILE */
    uint64_t answer_ms;   /* longest time from connection to the last row; 0: two minutes */
    uint64_t idle_ms;     /* after which a connection is closed; 0: a minute */
} sl_pgvector_options;

/* What came of a search. */
typedef struct sl_pgvector_answer {
    sl_pg_fault fault; /* kind SL_PG_FINE: the list is there */
    json_t *list;      /* [{"id","score","metadata","vector"}], best first */
    sl_vector_metric metric;
    bool reconnected;
    char host[SL_PG_PLACE_BYTES], database[SL_PG_PLACE_BYTES];
    unsigned port; /* 0: no connection was tried */
} sl_pgvector_answer;

/* Neither connects nor starts a thread. Errors: SL_ENOMEM. */
SL_MUST_CHECK int sl_pgvector_new(const sl_pgvector_options *options, sl_pgvector **ret_pool);
/*
 * Ends what is under way and closes the connections; all requests have been cancelled or freed. A thread that does not
 * come back within seconds (a name server, a dead host) is left behind with its memory. NULL is accepted.
 */
void sl_pgvector_close(sl_pgvector *pool);

/*
 * Asks for a search; everything is copied, but the filter is taken over, also on failure. `done` is called once from
 * another thread, with a lock held: it may do no more than wake somebody, who then looks at the answer. Any thread.
 * Errors: SL_EAGAIN (too many wait), SL_ENOMEM.
 */
SL_MUST_CHECK int sl_pgvector_search(sl_pgvector *pool, const sl_pg_query *query, sl_vector_filter *filter,
                                     void (*done)(void *user), void *user, sl_pgvector_request **ret_request);
/* After `done`. Valid until it is freed; the list may be taken out of it. */
sl_pgvector_answer *sl_pgvector_answer_of(sl_pgvector_request *request);
/* Frees a request; one that is under way is cancelled, and `done` is not called from now on. NULL is accepted. */
void sl_pgvector_request_free(sl_pgvector_request *request);

#endif
