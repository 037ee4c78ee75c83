/*
 * The supervisor: a process with one thread that owns listeners and shared memory, and starts, watches, replaces and
 * ends its children. It does nothing else, so that fork() is always clean and nothing that serves can take it down.
 *
 *     supervisor ── worker 0 … N-1   serve requests; replaced on SIGHUP, restarted when they crash
 *                └─ control          drains the workers' segments, exports, answers /metrics, /health, /traces
 *                └─ helpers          such as the built-in mock
 *
 * SIGTERM, SIGINT: replaceable children are told to drain (SIGTERM); when they have ended, or the drain timeout is
 * over, the others are told to end. A second one ends the patience: who still drains is told to hurry, and killed soon.
 * Whoever ends the supervisor may have sent its signal to all of the tree: children ask what it means
 * (sl_child_may_end, sl_child_must_hurry). SIGHUP: `reload` makes a new generation; its children start, and when all of
 * them are ready the old ones are told to drain; those of kinds with `reloads` are told (SIGHUP) and reload by
 * themselves. A child that crashes is started again after a back-off.
 */
#ifndef SL_GATEWAY_SUPERVISOR_H
#define SL_GATEWAY_SUPERVISOR_H

#include <stdatomic.h>
#include <sys/types.h>

#include "src/base/assert.h"
#include "src/base/str.h"

#define SL_MAX_CHILDREN 256 /* alive at once, of all kinds and generations */
#define SL_MAX_CHILD_KINDS 8

/* What all processes of the tree see (shared memory). Written by the supervisor, `announced` apart. */
typedef struct sl_tree_status {
    _Atomic uint32_t wanted;     /* serving children that should be there */
    _Atomic uint32_t ready;      /* and that have said they are ready */
    _Atomic uint32_t draining;   /* 1 after SIGTERM */
    _Atomic uint32_t hurried;    /* 1 after a second one */
    _Atomic uint32_t served;     /* 1 once nobody serves any more: control and helpers may end */
    _Atomic uint32_t generation; /* 1 at start, one more for each reload that took */
    _Atomic uint32_t restarts;   /* crashed children started again */
    _Atomic uint32_t failed_reloads;
    _Atomic uint32_t announced; /* set to 1 by a child that answers for others, once it has seen all of them ready */
    _Atomic pid_t pids[SL_MAX_CHILDREN + 1]; /* the supervisor's first, then its children's; 0: none */
} sl_tree_status;

/* What a child is told. */
typedef struct sl_child_start {
    unsigned index;   /* 0 to count-1 of its kind */
    unsigned slot;    /* unique among the living of its kind: which segment it records into */
    void *generation; /* what `reload` returned, or the first one */
    sl_tree_status *status;
    int ready_fd; /* sl_child_ready */
} sl_child_start;

typedef struct sl_child_kind {
    const char *name; /* for messages */
    unsigned count;
    unsigned slots;   /* at least count; replaceable kinds need room for two generations */
    bool replaceable; /* replaced on SIGHUP, drained on SIGTERM */
    bool serves;      /* as replaceable ones counted as ready or not, and drained on SIGTERM, but not replaced */
    bool reloads;     /* gets SIGHUP after each reload that took; begins with SIGHUP blocked, so that none kills it */
    /* Runs in the child, from its main thread, with default signal handlers and no other signal blocked. Returns the
     * exit status. */
    int (*run)(void *user, const sl_child_start *start);
    void (*ended)(void *user, unsigned slot, pid_t pid, bool crashed); /* in the supervisor; may be NULL */
    void *user;
} sl_child_kind;

typedef struct sl_supervisor_options {
    const sl_child_kind *kinds; /* started in this order, each kind ready before the next */
    size_t kind_count;
    uint64_t drain_timeout_ms;
    uint64_t cut_ms;           /* how much longer those that serve may take to cut off what is then still under way */
    uint64_t start_timeout_ms; /* for a child to get ready; 0: 15 s */
    void *generation;          /* the first one */
    uint64_t announce_ms;      /* how long on_ready waits for `announced`; 0: not at all */
    /* Makes a new generation from the configuration; NULL: it is bad (already reported), everything stays. May be NULL.
     */
    void *(*reload)(void *user);
    /* Frees a generation that has been replaced, and at the end the last one that `reload` made. May be NULL. */
    void (*release)(void *user, void *generation);
    /* Everything is ready for the first time. Nonzero: end with that status. May be NULL. */
    int (*on_ready)(void *user);
    /* Something worth a log line: NUL-terminated text without a newline. May be NULL. */
    void (*on_note)(void *user, const char *text);
    void *user;
} sl_supervisor_options;

/*
 * Runs until told to end. Returns the exit status: 0 after a drain, 1 when children could not be started.
 * The calling process must have no other thread. Blocks the signals it handles, and leaves them blocked: one more
 * SIGTERM while the process ends does not change its exit status.
 */
int sl_supervisor_run(const sl_supervisor_options *options);

/* In a child: it serves now. */
void sl_child_ready(const sl_child_start *start);
/*
 * In control or a helper that got SIGTERM: whether it may end. Not while others serve who need it, whoever sent the
 * signal; the supervisor sends another one when the time has come. True when the supervisor is gone.
 */
bool sl_child_may_end(const sl_child_start *start);
/* In a child that drains and got SIGTERM again: whether the supervisor has no more patience. */
bool sl_child_must_hurry(const sl_child_start *start);

#endif
