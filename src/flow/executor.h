/*
 * Runs workflows: many at once on one loop, each a graph of steps that begin when what they depend on has ended.
 *
 * Promises: no thread of its own and nothing polled; a step begins in the turn of the loop in which its last dependency
 * ended, unless a limit holds it back; every step ends exactly once; a run's last event is its end, after which no
 * callback of it comes. No single turn of the loop does more than SL_FLOW_TURN_STEPS steps.
 *
 * What templates see, statuses, what is retried: docs/workflows.md. Everything is on the loop's thread.
 */
#ifndef SL_FLOW_EXECUTOR_H
#define SL_FLOW_EXECUTOR_H

#include "src/flow/step.h"

typedef struct sl_executor sl_executor;
typedef struct sl_flow_run sl_flow_run;
typedef struct sl_run_store sl_run_store; /* src/store/run_store.h */

#define SL_FLOW_RUN_ID_BYTES 64 /* with the NUL */
#define SL_FLOW_ERROR_BYTES 512 /* text of a failure, with the NUL */

typedef enum sl_run_status {
    SL_RUN_QUEUED = 0, /* accepted; waits for another run to end (max_runs) */
    SL_RUN_RUNNING,
    SL_RUN_SUCCEEDED,
    SL_RUN_FAILED,
    SL_RUN_CANCELLED
} sl_run_status;
/* "queued", "running", "succeeded", "failed", "cancelled". Static. */
const char *sl_run_status_name(sl_run_status status);

typedef enum sl_step_status {
    SL_STEP_WAITING = 0, /* for what it depends on, or for room */
    SL_STEP_RUNNING,
    SL_STEP_BACKING_OFF, /* between two tries */
    SL_STEP_SUCCEEDED,
    SL_STEP_FAILED,
    SL_STEP_SKIPPED,  /* its condition did not hold */
    SL_STEP_CANCELLED /* the run ended first, or what it depends on failed */
} sl_step_status;
/* "waiting", "running", "retrying", "succeeded", "failed", "skipped", "cancelled". Static. */
const char *sl_step_status_name(sl_step_status status);

/* ---- events ---- */

typedef enum sl_flow_event_kind {
    SL_FLOW_RUN_STARTED = 0,
    SL_FLOW_STEP_STARTED, /* first try */
    SL_FLOW_STEP_RETRIED, /* a try failed, another follows in delay_ms */
    SL_FLOW_STEP_EMITTED, /* sl_step_emit: `name` and `data` */
    SL_FLOW_STEP_ENDED,   /* also of steps that were skipped or cancelled */
    SL_FLOW_RUN_ENDED     /* the last one */
} sl_flow_event_kind;
/* "run_started", "step_started", "step_retried", "step_emitted", "step_ended", "run_ended". Static. */
const char *sl_flow_event_name(sl_flow_event_kind kind);

/* What a callback is told; valid during the call. */
typedef struct sl_flow_event {
    sl_flow_event_kind kind;
    uint64_t seq;               /* 1, 2, 3 ... within the run; goes on after a resume */
    uint64_t time_ns;           /* Unix */
    const sl_step *step;        /* NULL for events of the run */
    const char *path;           /* "id"; inside blocks "loop[3].id", "parallel.id"; "" for events of the run */
    sl_step_status step_status; /* STEP_ENDED */
    unsigned attempts;          /* tries so far */
    uint64_t duration_ns;       /* ended ones: of the step with all its tries, or of the run */
    uint64_t delay_ms;          /* STEP_RETRIED */
    sl_step_error error;        /* what failed */
    const char *message;        /* of a failure, or why it did not run; "" else */
    json_t *outputs;            /* STEP_ENDED: as run outputs show it; borrowed, may be NULL */
    json_t *value;              /* STEP_ENDED: as templates see it; borrowed, may be NULL */
    const char *name;           /* STEP_EMITTED */
    json_t *data;               /* STEP_EMITTED; borrowed, may be NULL */
    sl_step_usage usage;        /* STEP_ENDED: of the step */
} sl_flow_event;

/* Must not block; may cancel runs and start further ones, may not free the executor. */
typedef void (*sl_flow_event_fn)(void *user, sl_flow_run *run, const sl_flow_event *event);

/* The event as servers send it: {"seq","event","time","run_id","step":…}. The caller holds a reference; NULL: no
 * memory. */
json_t *sl_flow_event_json(const sl_flow_run *run, const sl_flow_event *event);

/* ---- executor ---- */

typedef struct sl_executor_options {
    sl_flow_services *services;       /* loop and, when there is one, sdk; outlives the executor */
    const sl_step_kind *const *kinds; /* by sl_step_type; NULL: sl_step_kinds */
    sl_run_store *store;              /* runs with `durable` are recorded here; may be NULL */
    size_t max_concurrency;           /* tries under way, of all runs; 0: SL_FLOW_DEFAULT_TOTAL */
    size_t max_runs;                  /* runs under way; others are queued; 0: SL_FLOW_DEFAULT_RUNS */
    size_t max_queued;                /* runs that wait; 0: SL_FLOW_DEFAULT_QUEUED */
    size_t max_result_bytes;          /* of one step, as JSON; 0: SL_FLOW_MAX_RESULT_BYTES */
    uint64_t seed;                    /* of the jitter; 0: random */
} sl_executor_options;

/* Counts a run that failed without being run. */
void sl_executor_count_failure(sl_executor *executor, sl_str workflow);
/* Counts a workflow that was refused for what is wrong in it. */
void sl_executor_count_refused(sl_executor *executor);
/* Errors: SL_EINVAL, SL_ENOMEM, SL_EIO. */
SL_MUST_CHECK int sl_executor_new(const sl_executor_options *options, sl_executor **ret_executor);
/*
 * Cancels every run and stops; SL_FLOW_RUN_ENDED events come before the return. A durable run stays `running` in the
 * store when `keep_running`: it goes on at the next start. The loop must run once more before sl_executor_free.
 */
void sl_executor_close(sl_executor *executor, bool keep_running);
/* After sl_executor_close, and when every reference to a run has been given back. NULL is accepted. */
void sl_executor_free(sl_executor *executor);

typedef struct sl_executor_stats {
    size_t running, queued; /* runs */
    size_t active;          /* tries under way */
    size_t waiting;         /* steps that could begin but for a limit */
    uint64_t runs_ended, steps_ended;
} sl_executor_stats;
void sl_executor_get_stats(const sl_executor *executor, sl_executor_stats *ret_stats);

/* ---- runs ---- */

typedef struct sl_flow_run_options {
    sl_str run_id;                 /* up to 63 of A-Z a-z 0-9 . _ : -; empty: a new one */
    const sl_span_context *parent; /* of the span workflow.execute; NULL: a trace of its own */
    size_t max_concurrency;        /* tries at once; 0: SL_FLOW_DEFAULT_CONCURRENCY (4) */
    uint64_t timeout_ms;           /* 0: as the file says */
    /*
     * Steps that have ended in an earlier life, path to {"status","attempts","value","error"}: as sl_run_store gives
     * it. Those that succeeded or were skipped are taken as they are; all others run again. Borrowed; NULL: none.
     */
    json_t *resume;
    uint64_t last_seq; /* of the earlier life's events */
    bool durable;      /* steps, events and the end are recorded in the executor's store (where the run exists) */
    sl_flow_event_fn on_event; /* may be NULL */
    void *user;
} sl_flow_run_options;

/*
 * Starts a run; no callback comes before the return. `inputs` (an object, or NULL) is borrowed: a reference is kept.
 * Ownership: `*ret_run` is a reference, given back by sl_flow_run_unref; `ret_run` may be NULL.
 * Errors: SL_EINVAL (run_id, inputs that are no object), SL_EEXIST (a run of that id is under way), SL_EAGAIN (too many
 * are queued), SL_ECLOSED, SL_ENOMEM.
 */
SL_MUST_CHECK int sl_flow_run_start(sl_executor *executor, sl_flow *flow, json_t *inputs,
                                    const sl_flow_run_options *options, sl_flow_run **ret_run);
sl_flow_run *sl_flow_run_ref(sl_flow_run *run);
void sl_flow_run_unref(sl_flow_run *run);
/*
 * Starts every run of the executor's store that was accepted and has not ended: steps that have ended are not run
 * again. `on_event` and `user` are those of all of them. A run whose file does not load any more is ended as failed.
 * `*ret_count` is how many were started. Errors: SL_EINVAL (no store), SL_EIO, SL_ENOMEM, SL_EAGAIN (the rest did not
 * fit: call it again later).
 */
SL_MUST_CHECK int sl_flow_runs_resume(sl_executor *executor, sl_flow_event_fn on_event, void *user, size_t *ret_count);

/* The run of an id that is queued or running, or NULL. Borrowed. */
sl_flow_run *sl_flow_run_find(sl_executor *executor, sl_str run_id);
/* Ends it as cancelled: what is under way is given up. Nothing happens when it has ended. Events come before the
 * return; within a STEP_EMITTED event, in the next turn of the loop. */
void sl_flow_run_cancel(sl_flow_run *run);

/* A random id in the form of a UUID (version 7: ids sort by time). */
void sl_flow_run_new_id(char ret_id[SL_FLOW_RUN_ID_BYTES]);

const char *sl_flow_run_id(const sl_flow_run *run);
const sl_flow *sl_flow_run_flow(const sl_flow_run *run);
sl_run_status sl_flow_run_status(const sl_flow_run *run);
/* Of a run that failed or was cancelled; "" else. */
const char *sl_flow_run_error(const sl_flow_run *run);
sl_step_error sl_flow_run_error_type(const sl_flow_run *run);
/* Lower-case hex; 32 zeros when nothing is recorded. */
void sl_flow_run_trace_id(const sl_flow_run *run, char ret_text[33]);
void sl_flow_run_usage(const sl_flow_run *run, sl_step_usage *ret_usage);
/* Unix nanoseconds; `ret_end` is 0 while it runs. */
void sl_flow_run_times(const sl_flow_run *run, uint64_t *ret_start_ns, uint64_t *ret_end_ns);

/* One row of the table of steps: those of the file's own level in the file's order. */
typedef struct sl_flow_step_view {
    const sl_step *step;
    sl_step_status status;
    unsigned attempts;
    uint64_t start_ns;    /* Unix; 0: never began */
    uint64_t duration_ns; /* so far, while it runs */
    sl_step_error error;
    const char *message;
    json_t *value; /* as templates see it; borrowed, may be NULL. What people see: sl_flow_run_outputs */
    sl_step_usage usage;
    const char *warning; /* what it did otherwise than the file says; borrowed; NULL: nothing */
} sl_flow_step_view;
size_t sl_flow_run_step_count(const sl_flow_run *run);
void sl_flow_run_step_at(const sl_flow_run *run, size_t index, sl_flow_step_view *ret_view);

/* Step id to its outputs, of those that have any. The caller holds a reference; NULL: no memory. */
json_t *sl_flow_run_outputs(const sl_flow_run *run);
/*
 * The whole, as `sightline run --format json` prints it: {"run_id","workflow","status","outputs","steps":[{"id","type",
 * "status","duration_ms","attempts","error"}],"error","trace_id","cost_usd","tokens":{"input","output","total"}}.
 */
json_t *sl_flow_run_report(const sl_flow_run *run);

#endif
