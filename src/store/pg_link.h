/*
 * One connection to a PostgreSQL server, used by one thread: connects, sends statements with their values apart from
 * their text, gives the rows one by one.
 *
 * Promises: nothing is waited for beyond a deadline, or after a wake (but the look-up of a host's name, which the
 * library does within one call); a statement that is given up is cancelled on the server; what comes back says whether
 * the same may work another time. Notices of the server are thrown away.
 */
#ifndef SL_STORE_PG_LINK_H
#define SL_STORE_PG_LINK_H

#include "src/store/libpq.h"
#include "src/store/sql_text.h"

#define SL_PG_REASON 500
#define SL_PG_PLACE_BYTES 256

typedef enum sl_pg_kind {
    SL_PG_FINE = 0,
    SL_PG_AGAIN,   /* connections, resources, shutdowns, conflicts: SQLSTATE 08, 53, 57P0x, 40, 55P03, 58 */
    SL_PG_TIMEOUT, /* also SQLSTATE 57014: the server's own time limit */
    SL_PG_REFUSED, /* password, rights, TLS, anything else */
    SL_PG_INPUT,   /* what was asked for is not there, or not of that type: SQLSTATE 22, 42 */
    SL_PG_TOO_BIG,
    SL_PG_INTERNAL, /* memory, or the library is missing */
    SL_PG_STOPPED   /* somebody woke us up */
} sl_pg_kind;

typedef struct sl_pg_fault {
    sl_pg_kind kind;
    bool broken;      /* the connection is of no more use, and may have been broken before */
    char sqlstate[6]; /* empty: none was told */
    char reason[SL_PG_REASON];
} sl_pg_fault;

typedef struct sl_pg_link {
    const sl_libpq *pq;
    sl_pq_conn *conn; /* NULL: not connected */
    int wake;         /* an eventfd: readable means give up */
    char host[SL_PG_PLACE_BYTES], database[SL_PG_PLACE_BYTES];
    unsigned port;
} sl_pg_link;

/* A row: column by column by the library's functions, row 0. Not SL_PG_FINE: the statement is given up for that. */
typedef sl_pg_kind (*sl_pg_row_fn)(const sl_libpq *pq, const sl_pq_result *row, void *user);

/* Connects by a URL or a connection string. False: `fault` says why. */
bool sl_pg_link_connect(sl_pg_link *link, const char *conninfo, sl_pg_fault *fault);
/* Closes it, when it is connected. */
void sl_pg_link_close(sl_pg_link *link);
/*
 * Runs one statement; `on_row` may be NULL. False: `fault` says why, and the connection is closed when it can not be
 * used further.
 */
bool sl_pg_link_run(sl_pg_link *link, const sl_sql *sql, uint64_t deadline_ns, sl_pg_row_fn on_row, void *user,
                    sl_pg_fault *fault);
/* The same for text without values, and rows. */
bool sl_pg_link_say(sl_pg_link *link, const char *text, uint64_t deadline_ns, sl_pg_fault *fault);

/* What an SQLSTATE means. */
sl_pg_kind sl_pg_kind_of(const char *sqlstate);
/*
 * What a failed connection's text means: takes the SQLSTATE out of it when the server told one ("FATAL:  28P01: ..."),
 * and what stands behind the first line of its message.
 */
void sl_pg_connect_fault(const char *text, sl_pg_fault *fault);
void sl_pg_fault_set(sl_pg_fault *fault, sl_pg_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
