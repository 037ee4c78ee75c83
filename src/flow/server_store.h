/*
 * What the flow plane keeps on disk beside its runs (src/store/run_store.h, in the same file): workflows, deployments,
 * services, sessions and which tasks they have. Changes go to the writer thread, in their order, and are durable when
 * `done` comes on the loop; reads are small and made at once on a connection of their own.
 */
#ifndef SL_FLOW_SERVER_STORE_H
#define SL_FLOW_SERVER_STORE_H

#include "src/flow/server_mail.h"
#include "src/store/db.h"

typedef struct sl_flow_store sl_flow_store;
typedef struct sl_store_op sl_store_op;

/* One change, in the caller's memory until `done`. */
struct sl_store_op {
    int (*run)(sl_store_op *op, sqlite3 *db); /* on the writer thread; may be NULL: only waits for what came before */
    void (*done)(sl_store_op *op, int error); /* on the loop's thread */
    /* The store's own. */
    sl_mail mail;
    sl_flow_store *store;
    sl_store_op *next;
    int error;
};

/* Opens DIR/flow.db. Errors: SL_EIO, SL_ECONFIG, SL_ENOMEM, with text in `error`. */
SL_MUST_CHECK int sl_flow_store_open(const char *dir, sl_mailbox *box, char *error, size_t error_size,
                                     sl_flow_store **ret_store);
/* Writes what waits, then closes; `done` of all of it has been delivered at the return. NULL is accepted. */
void sl_flow_store_close(sl_flow_store *store);
/* Never fails: what the writer has no room for waits here. */
void sl_flow_store_write(sl_flow_store *store, sl_store_op *op);
sl_db *sl_flow_store_db(sl_flow_store *store);

/*
 * Statements: values are text, `count` of them for ?1, ?2 ... Nobody is told of a change; it is counted when it fails.
 */
void sl_flow_store_put(sl_flow_store *store, const char *sql, const sl_str *values, size_t count);
/* As above, and `done` (may be NULL) is told. Errors: SL_ENOMEM; then it never comes. */
SL_MUST_CHECK int sl_flow_store_put_then(sl_flow_store *store, const char *sql, const sl_str *values, size_t count,
                                         void (*done)(void *user, int error), void *user);
/* Rows of a query, each as a list of texts, until `row` returns false. Errors: SL_EIO; SL_ENOMEM when memory ran out in
 * `row`, so that what it has made may not be whole. */
SL_MUST_CHECK int sl_flow_store_query(sl_flow_store *store, const char *sql, const sl_str *values, size_t count,
                                      bool (*row)(void *user, const sl_str *columns, size_t column_count), void *user);
/* Rows of tasks whose runs have been removed; the newest ones' runs may be on their way. */
void sl_flow_store_prune_tasks(sl_flow_store *store);
/* Changes that failed. */
uint64_t sl_flow_store_failures(const sl_flow_store *store);

#endif
