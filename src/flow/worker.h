/*
 * A worker of the flow plane: takes tasks of its workflows from a queue elsewhere, over HTTP, runs them, and sends what
 * happens back as messages.
 *
 *     POST /queues/{ns}.{workflow}/lease     held open until there is work
 *     POST /queues/{ns}.control_plane/messages   each event and the result, in order, with an idempotency key
 *     POST /queues/messages/{id}/extend      while it runs
 *     POST /queues/messages/{id}/ack         once the result has been accepted
 *
 * Promises: a task is acknowledged only after its result is on the queue's disk; a queue that does not answer is tried
 * again; a worker that dies leaves its tasks to the next when their leases end. The trace goes on from the message's.
 */
#ifndef SL_FLOW_WORKER_H
#define SL_FLOW_WORKER_H

#include "src/flow/model.h"
#include "src/flow/models.h"

typedef struct sl_flow_worker_options {
    sl_loop *loop;
    sl_sdk *sdk;                /* may be NULL */
    sl_flow_services *services; /* with loop, upstream */
    const char *queue_url;      /* "http://127.0.0.1:8001", or "nats://host:port,…": the cluster itself */
    sl_str key;                 /* bearer token; may be empty */
    sl_str ca_file;             /* of an https queue; may be empty */
    sl_flow *const *flows;
    size_t flow_count;
    size_t concurrency; /* runs at once; 0: 8 */
    uint32_t drain_timeout_ms;
    uint32_t lease_ms;            /* of a task; it is extended while it runs; 0: 30 s */
    sl_flow_models_fn reload;     /* SIGHUP: adds the models as they are now configured; NULL: it is not looked at */
    void (*on_ready)(void *user); /* the first requests for work are on their way */
    void *user;
} sl_flow_worker_options;

/* Works until SIGTERM or SIGINT. Errors: SL_EINVAL (the URL), SL_ENOMEM, SL_EIO, SL_ETLS, SL_ECONNECT (a cluster; said
 * on stderr), SL_ENOTSUP. */
SL_MUST_CHECK int sl_flow_worker_run(const sl_flow_worker_options *options);

#endif
