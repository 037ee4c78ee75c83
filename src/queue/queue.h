/*
 * The message queue: one interface, engines behind it. Embedded: durable in one file, push, at least once with
 * idempotency keys, leases (visibility timeout), dead letters, delay, priorities, back-pressure.
 *
 * A message is accepted when `done` says 0: it is then on disk. It goes to one consumer at a time; if that one neither
 * acknowledges nor extends its lease in time, it goes to another, and after `max_deliveries` to the dead letters. A
 * message put again with the same idempotency key, while the first waits or within the retention after its end, is
 * answered with the first one's id and not stored.
 */
#ifndef SL_QUEUE_QUEUE_H
#define SL_QUEUE_QUEUE_H

#include "src/base/limits.h"
#include "src/base/str.h"

typedef struct sl_queue sl_queue;

#define SL_QUEUE_ID_BYTES 37 /* UUID text and NUL */
#define SL_QUEUE_PRIORITIES 10
#define SL_QUEUE_MAX_TOPIC_BYTES 255
#define SL_QUEUE_MAX_KEY_BYTES 255
#define SL_QUEUE_MAX_BODY_BYTES (4u * 1024 * 1024)

typedef struct sl_queue_put {
    sl_str topic;           /* created when it is not there, up to max_topics */
    sl_str body;            /* opaque; copied */
    sl_str idempotency_key; /* may be empty */
    sl_str trace;           /* traceparent of the producer's span; may be empty */
    unsigned priority;      /* 0 (default) to 9; higher first */
    uint64_t delay_ms;
    unsigned max_deliveries; /* 0: the queue's default, 5 */
} sl_queue_put;

/* Makes a topic that is empty; nothing when it is there. Errors: SL_EINVAL, SL_EAGAIN (max_topics), SL_ENOMEM. It is on
 * disk soon, at the latest with its first message. Any thread. */
SL_MUST_CHECK int sl_queue_topic_make(sl_queue *queue, sl_str topic);
/* True when the topic is known (NATS: could be). Any thread. */
bool sl_queue_topic_is(sl_queue *queue, sl_str topic);

typedef struct sl_queue_accepted {
    char id[SL_QUEUE_ID_BYTES];
    bool duplicate; /* its idempotency key was known: `id` is the first one's */
} sl_queue_accepted;

/* Called from a thread of the engine (embedded: the writer thread), once. 0: durable. SL_EAGAIN: back-pressure. */
typedef void (*sl_queue_done_fn)(void *user, int error, const sl_queue_accepted *accepted);

/* Errors at once: SL_EINVAL, SL_ETOOBIG, SL_EAGAIN (the topic or the queue is full), SL_ECLOSED, SL_ENOMEM. Any thread.
 */
SL_MUST_CHECK int sl_queue_put_start(sl_queue *queue, const sl_queue_put *put, sl_queue_done_fn done, void *user);
/* The same, waiting for the disk. */
SL_MUST_CHECK int sl_queue_put_wait(sl_queue *queue, const sl_queue_put *put, sl_queue_accepted *ret_accepted);

/* A leased message; valid while the queue is open. Freed by sl_queue_message_free, which does not acknowledge it. */
typedef struct sl_queue_message {
    char id[SL_QUEUE_ID_BYTES];
    sl_str topic, body, trace, idempotency_key;
    uint64_t lease;    /* token: of this delivery alone */
    unsigned delivery; /* 1 for the first */
    unsigned priority;
    uint64_t put_ns;   /* Unix time, accepted */
    uint64_t ready_ns; /* Unix time from which it could be taken: put, or the end of its delay or of the last lease */
    uint64_t taken_ns; /* Unix time of this delivery */
} sl_queue_message;

/*
 * Takes at most one message for `lease_ms`. SL_EAGAIN: none is ready; sl_queue_watch (below) tells when. One whose
 * body cannot be read is passed over: it comes again after the lease, and goes to the dead letters in the end; SL_EIO:
 * there are many of them. Any thread.
 */
SL_MUST_CHECK int sl_queue_take(sl_queue *queue, sl_str topic, uint64_t lease_ms, sl_queue_message **ret_message);
void sl_queue_message_free(sl_queue_message *message);
/*
 * Registers a consumer of a topic: `fn` is called from a thread of the engine when something has become ready (edge;
 * take until SL_EAGAIN, now or when there is room again). It must not block, nor call watch or unwatch; wake your loop.
 * Returns an id for sl_queue_unwatch, or an error. After sl_queue_unwatch `fn` is not running and will not be called.
 */
int sl_queue_watch(sl_queue *queue, sl_str topic, void (*fn)(void *user), void *user);
void sl_queue_unwatch(sl_queue *queue, int id);

typedef void (*sl_queue_end_fn)(void *user, int error);
/* Done with it: durable when `done` (may be NULL) says 0. SL_ENOENT: the lease was over; somebody else has or had it.
 * Any thread. */
SL_MUST_CHECK int sl_queue_ack(sl_queue *queue, const char *id, uint64_t lease, sl_queue_end_fn done, void *user);
/* Gives it back, to be ready after `delay_ms`; counts as a delivery. `dead`: to the dead letters at once, with
 * `reason`. */
SL_MUST_CHECK int sl_queue_nack(sl_queue *queue, const char *id, uint64_t lease, uint64_t delay_ms, bool dead,
                                sl_str reason);
/* The lease ends `lease_ms` from now. */
SL_MUST_CHECK int sl_queue_extend(sl_queue *queue, const char *id, uint64_t lease, uint64_t lease_ms);

/* ---- words ---- */

#define SL_QUEUE_MAX_WORD_BYTES 1024

/*
 * Tells every process that uses the cluster, this one too if it listens. Nothing is kept: who does not listen now never
 * hears it. The embedded engine has one process: nobody is told. Errors: SL_EINVAL, SL_EAGAIN (no way to the cluster).
 * Any thread.
 */
SL_MUST_CHECK int sl_queue_tell(sl_queue *queue, sl_str word);
/* Listens, once for a queue: `fn` is called from a thread of the engine until the queue is closed, and must not block.
 * Errors: SL_EIO, SL_ENOMEM. */
SL_MUST_CHECK int sl_queue_hear(sl_queue *queue, void (*fn)(void *user, sl_str word), void *user);

/* ---- dead letters ---- */

typedef struct sl_queue_dead {
    char id[SL_QUEUE_ID_BYTES];
    sl_str topic, body, trace, idempotency_key, reason;
    unsigned deliveries, priority;
    uint64_t put_ns, dead_ns; /* Unix time */
} sl_queue_dead;
/*
 * Calls `fn` for up to `max` dead letters of a topic, oldest first, beginning behind `after` (an id; empty: with the
 * first). The views are valid during the call. Returns how many, or SL_ENOENT (no such topic), SL_EIO. Any thread but
 * the engine's; it reads the disk.
 */
int sl_queue_dead_list(sl_queue *queue, sl_str topic, sl_str after, size_t max,
                       void (*fn)(void *user, const sl_queue_dead *dead), void *user);
/*
 * Tells of every message that becomes a dead letter from now on, once for a queue: `fn` is called from a thread of the
 * engine until the queue is closed, when the letter is on disk, and must not block. In a cluster every process is told,
 * whoever it was that gave the message up, also of what the cluster then cannot store; the letter's id is empty there.
 * Errors: SL_EIO, SL_ENOMEM.
 */
SL_MUST_CHECK int sl_queue_hear_dead(sl_queue *queue, void (*fn)(void *user, const sl_queue_dead *dead), void *user);
/* `count`: how many it was done to, also when there was an error. Called from a thread of the engine, once. */
typedef void (*sl_queue_count_fn)(void *user, int error, uint64_t count);
/*
 * Makes one dead letter (or with an empty `id` all of the topic) ready again, as if never delivered; or removes them
 * for good. Durable when `done` comes; no such id: a count of 0. Errors: SL_ENOENT (no such topic), SL_EAGAIN,
 * SL_ENOMEM.
 */
SL_MUST_CHECK int sl_queue_dead_requeue(sl_queue *queue, sl_str topic, sl_str id, sl_queue_count_fn done, void *user);
SL_MUST_CHECK int sl_queue_dead_purge(sl_queue *queue, sl_str topic, sl_str id, sl_queue_count_fn done, void *user);

typedef struct sl_queue_topic_stats {
    char topic[SL_QUEUE_MAX_TOPIC_BYTES + 1];
    uint64_t ready, delayed, leased, dead;
    uint64_t put, taken, acked, redelivered, duplicates, rejected; /* since start */
    uint64_t oldest_ready_ns;                                      /* age of the oldest ready message; 0: none */
} sl_queue_topic_stats;
/* Fills up to `max`; returns how many topics there are. */
size_t sl_queue_get_stats(sl_queue *queue, sl_queue_topic_stats *stats, size_t max);

/* ---- the embedded engine ---- */

typedef struct sl_queue_options {
    const char *path;           /* file, "…/queue.db" */
    uint64_t max_waiting;       /* messages over all topics, dead ones too; 2,000,000 when 0; beyond: SL_EAGAIN */
    uint64_t max_topic_waiting; /* messages of one topic; as max_waiting when 0 */
    uint64_t cache_bytes;       /* bodies kept in memory, the others are read when they are taken; 64 MiB when 0 */
    uint64_t max_topics;        /* 1,024 when 0 */
    uint64_t key_retention_ms;  /* how long an ended message's idempotency key is remembered; 24 h when 0 */
    unsigned max_deliveries;    /* 5 when 0 */
} sl_queue_options;

/* Errors: SL_EIO, SL_ECONFIG, SL_ENOMEM, with text in `error`. */
SL_MUST_CHECK int sl_queue_open(const sl_queue_options *options, char *error, size_t error_size, sl_queue **ret_queue);
/* Leases end with it: what was taken and not acknowledged is delivered again after the next opening. */
void sl_queue_close(sl_queue *queue);

/* Syncs to disk and messages they covered: so that "durable" can be counted. */
typedef struct sl_queue_disk_stats {
    uint64_t commits; /* one sync of the log each, before anybody is told */
    uint64_t failed_commits;
    uint64_t jobs;  /* puts, acknowledgements and the like that they covered */
    uint64_t bytes; /* of the files */
} sl_queue_disk_stats;
void sl_queue_get_disk_stats(sl_queue *queue, sl_queue_disk_stats *ret_stats);
/* The last failure of the disk, for people, with the way out; empty when there was none. Any thread. */
void sl_queue_last_error(sl_queue *queue, char *text, size_t size);
/* False: a cluster that cannot be reached now. Any thread; waits for nothing. */
bool sl_queue_is_connected(sl_queue *queue);

/* ---- NATS JetStream: many processes, many machines ---- */

/*
 * The same promises over a cluster, with what its broker does not do done here: a message is accepted when a majority
 * of the replicas has it; keys of ended messages are kept in a stream of their own, where the end of a message is
 * claimed (so that of two deliveries of one key only one acknowledgement succeeds: the other gets SL_ENOENT). A put
 * with a known key is answered with the first one's id within two minutes; later, it is only its acknowledgement that
 * fails. Priorities order what this process has fetched ahead. SL_EAGAIN from `done` of a put: the cluster did not
 * answer in time; put it again with the same key.
 */
typedef struct sl_queue_nats_options {
    const char *url;           /* nats://host:port, several separated by commas */
    unsigned replicas;         /* of each stream: 1, 3 or 5; 0: 3 when the cluster has as many nodes, else 1 */
    uint64_t key_retention_ms; /* 24 h when 0 */
    uint64_t ack_wait_ms;      /* after which the messages of a process that has died go to others; 30 s when 0 */
    unsigned max_deliveries;   /* 5 when 0 */
} sl_queue_nats_options;

/* Errors: SL_ENOTSUP (built without libnats), SL_ECONNECT, SL_EIO, SL_ENOMEM, with text in `error`. */
SL_MUST_CHECK int sl_queue_nats_open(const sl_queue_nats_options *options, char *error, size_t error_size,
                                     sl_queue **ret_queue);

#endif
