/*
 * Runs of workflows on disk: accepted runs, what their steps gave, their events.
 *
 * Promises: a run is accepted when its transaction is synced, and a run that was accepted is found again, with its
 * ended steps, until it has ended. The same idempotency key of the same workflow is the same run. Events are only ever
 * added. Everything is written by the database's writer thread in the order in which it was given; nothing here waits
 * for it.
 *
 * Thread rule: the loop's thread, callbacks too. Reads are on a connection of their own, on the loop's thread, and
 * bounded (SL_RUN_STORE_PAGE rows).
 */
#ifndef SL_STORE_RUN_STORE_H
#define SL_STORE_RUN_STORE_H

#include <jansson.h>

#include "src/net/loop.h"
#include "src/store/db.h"

typedef struct sl_run_store sl_run_store;

#define SL_RUN_STORE_PAGE 1000u

/* Makes the tables. `db` outlives the store and may hold other tables. Errors: SL_EIO, SL_ENOMEM. */
SL_MUST_CHECK int sl_run_store_new(sl_loop *loop, sl_db *db, sl_run_store **ret_store);
/*
 * Waits until everything given is on disk. Callbacks that have not come are dropped. The loop must run once more before
 * sl_run_store_free.
 */
void sl_run_store_close(sl_run_store *store);
void sl_run_store_free(sl_run_store *store);

/* A run to be accepted. Copied. */
typedef struct sl_run_new {
    sl_str id;
    sl_str workflow;        /* name */
    sl_str hash;            /* of `source`, which is kept once for each */
    sl_str source;          /* the file, so that it can go on as it began */
    sl_str inputs;          /* JSON object */
    sl_str idempotency_key; /* empty: none */
    sl_str traceparent;     /* empty: none */
    uint64_t max_concurrency, timeout_ms;
    uint64_t created_ns;
} sl_run_new;

/*
 * After the commit: `error` 0 and the id; `existed`: a run with this key, or id, had been accepted before. One
 * whose message the queue did not take then (SL_RUN_NOT_TAKEN) is accepted now, with its old id. Errors: SL_EIO,
 * SL_ELIMIT (disk full). The view is valid during the call.
 */
typedef void (*sl_run_accepted_fn)(void *user, int error, sl_str run_id, bool existed);
/* Errors: SL_EAGAIN (too much waits), SL_EINVAL, SL_ENOMEM, SL_ECLOSED; then `fn` never comes. */
SL_MUST_CHECK int sl_run_store_accept(sl_run_store *store, const sl_run_new *run, sl_run_accepted_fn fn, void *user);

/* Whoever runs it has been told of the run: sl_run_left.unsent is false from now on. */
void sl_run_store_sent(sl_run_store *store, sl_str run_id);

/* Error type of a run that failed because its message, or its result, became a dead letter. It is as good as left:
 * whatever is heard of it, a start or an end, takes the place of that failure. */
#define SL_RUN_DEAD_LETTER "dead_letter"
/* error_type of a run whose message the queue did not take: who tries again with its key begins it anew. */
#define SL_RUN_NOT_TAKEN "queue_full"

/* The run runs (again). */
void sl_run_store_started(sl_run_store *store, sl_str run_id, uint64_t start_ns, sl_str trace_id);

/* A run that failed or was cancelled is left again, as if it had not ended: its steps and events stay. */
void sl_run_store_reopen(sl_run_store *store, sl_str run_id);

/* A step that has ended. Copied. */
typedef struct sl_run_step_row {
    sl_str run_id;
    sl_str path; /* "loop[3].id" */
    sl_str type, status;
    unsigned attempts;
    sl_str value; /* JSON as templates see it; empty: none */
    sl_str error, error_type;
    uint64_t end_ns, duration_ns;
    uint64_t input_tokens, output_tokens;
    double cost_usd;
} sl_run_step_row;
void sl_run_store_step(sl_run_store *store, const sl_run_step_row *step);

/* An event, as one JSON object. */
void sl_run_store_event(sl_run_store *store, sl_str run_id, uint64_t seq, sl_str body);

/* A run that has ended. Copied. */
typedef struct sl_run_end_row {
    sl_str run_id;
    sl_str status;
    sl_str error, error_type;
    sl_str outputs; /* JSON object */
    uint64_t end_ns;
    uint64_t input_tokens, output_tokens;
    double cost_usd;
    bool ends_events; /* the run's events end with it, also when their last one has not come */
} sl_run_end_row;
void sl_run_store_ended(sl_run_store *store, const sl_run_end_row *end);

/* Rows that could not be written, since the start; what they held is not on disk. */
uint64_t sl_run_store_failures(const sl_run_store *store);

/*
 * The run:
 * {"run_id","workflow","status","inputs","outputs","error","error_type","idempotency_key","trace_id","created",
 * "started","ended" (RFC 3339 or null),"tokens":{"input","output","total"},"cost_usd","steps":[{"id","type","status",
 * "attempts","duration_ms","error"}]}. Steps inside blocks have their path as id. Errors: SL_ENOENT, SL_EIO, SL_ENOMEM.
 */
SL_MUST_CHECK int sl_run_store_get(sl_run_store *store, sl_str run_id, json_t **ret_run);
/* True when the run is known, has ended, and is not to go on by itself (SL_RUN_DEAD_LETTER). */
bool sl_run_store_is_over(sl_run_store *store, sl_str run_id);

typedef struct sl_run_query {
    sl_str workflow; /* empty: any */
    sl_str status;   /* empty: any */
    sl_str before;   /* id of the last run of the page before; empty: from the newest */
    size_t limit;    /* 0: 100; at most SL_RUN_STORE_PAGE */
} sl_run_query;
/* A list of runs without inputs, outputs and steps, newest first. Errors: as above. */
SL_MUST_CHECK int sl_run_store_list(sl_run_store *store, const sl_run_query *query, json_t **ret_runs);

/* Bodies of events with a seq above `after`, in order. Errors: SL_ENOENT (no such run), SL_EIO, SL_ENOMEM. */
SL_MUST_CHECK int sl_run_store_events(sl_run_store *store, sl_str run_id, uint64_t after, size_t limit,
                                      json_t **ret_events);

/* A run that was accepted and has not ended, as it was given; valid during the call. */
typedef struct sl_run_left {
    sl_run_new run;
    json_t *steps;     /* path to {"status","attempts","value"}: for sl_flow_run_options.resume */
    uint64_t last_seq; /* of its events */
    bool unsent;       /* accepted, or reopened, and sl_run_store_sent did not come */
    bool reopened;     /* and so has had a message before */
} sl_run_left;
/* Tells each, oldest first. Errors: SL_EIO, SL_ENOMEM, or what `fn` returns (then it stops). */
SL_MUST_CHECK int sl_run_store_each_left(sl_run_store *store, int (*fn)(void *user, const sl_run_left *left),
                                         void *user);
/* Tells the one run, when it is left, or failed by a dead letter. Errors: SL_ENOENT; those above. */
SL_MUST_CHECK int sl_run_store_one_left(sl_run_store *store, sl_str run_id,
                                        int (*fn)(void *user, const sl_run_left *left), void *user);

/* Removes runs that ended before a time (Unix nanoseconds), with all they have; after that sources nobody needs. */
void sl_run_store_prune(sl_run_store *store, uint64_t before_ns);

#endif
