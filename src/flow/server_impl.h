/* The flow plane from inside. Everything is the loop's. */
#ifndef SL_FLOW_SERVER_IMPL_H
#define SL_FLOW_SERVER_IMPL_H

#include <stdatomic.h>

#include "src/base/clock.h"
#include "src/flow/api.h"
#include "src/flow/audit.h"
#include "src/flow/cancels.h"
#include "src/flow/deploy.h"
#include "src/flow/executor.h"
#include "src/flow/letters.h"
#include "src/flow/server.h"
#include "src/flow/server_replies.h"
#include "src/flow/server_store.h"
#include "src/queue/queue_http.h"
#include "src/store/run_store.h"

#define SL_FLOW_ID_MAX 64 /* of tasks, sessions: with NUL */
#define SL_FLOW_MAX_STREAMS 4096
#define SL_FLOW_MAX_WORKFLOWS 512       /* names: each is a topic of the queue */
#define SL_FLOW_MAX_VERSIONS 16384      /* of all workflows together, kept until the process ends */
#define SL_FLOW_MAX_FLOW_DEPLOYMENTS 10 /* as LlamaDeploy's status says */
#define SL_FLOW_LEASE_MS 30000u
#define SL_FLOW_MAKING_BUCKETS 256u /* a power of two */

/* Tasks of a topic that are run here. */
typedef struct sl_flow_consumer sl_flow_consumer;
struct sl_flow_consumer {
    sl_flow_consumer *next;
    sl_flow_server *server;
    sl_flow *flow;  /* the newest version; NULL: answers of workers */
    sl_str service; /* behind the struct, as topic */
    const char *topic;
    int watch;  /* of the queue; below 0: none */
    bool ready; /* there may be messages */
    _Atomic bool mailed;
    sl_mail mail;
};

typedef struct sl_flow_service {
    const sl_deploy_service *file;
    sl_flow_consumer *consumer; /* NULL: a worker */
    const char *state;          /* "loading", "syncing", "installing", "ready" */
} sl_flow_service;

typedef struct sl_flow_deployment {
    bool of_file; /* of the environment: it is up again with the next start */
    size_t refs;  /* the server's, and those of requests that wait for the disk: a reload replaces it meanwhile */
    sl_deploy_file *file;
    sl_flow_service services[SL_DEPLOY_MAX_SERVICES];
    const char *state; /* "loading_services", "ready", "starting_services", "running", "stopped" */
} sl_flow_deployment;

typedef struct sl_flow_task sl_flow_task;       /* server_run.c: a message that is being worked on here */
typedef struct sl_flow_stream sl_flow_stream;   /* server_streams.c */
typedef struct sl_flow_waiter sl_flow_waiter;   /* server_tasks.c: a request that waits for a task's end */
typedef struct sl_flow_making sl_flow_making;   /* server_tasks.c: a task between its request and its answer */
typedef struct sl_flow_leaving sl_flow_leaving; /* api_remove.c: a deployment that is taken down */
typedef struct sl_flow_states sl_flow_states;   /* server_telemetry.c */
typedef struct sl_dead_letters sl_dead_letters; /* server_dead.c */
typedef struct sl_flow_health sl_flow_health;   /* server_health.c */

struct sl_flow_server {
    const sl_flow_server_options *options;
    sl_loop loop;
    sl_sdk *sdk;
    sl_tracer *control_tracer, *workflow_tracer;
    sl_logger *logger;
    sl_flow_states *states;
    sl_flow_health *health; /* NULL: not looked yet */
    sl_mailbox box;
    sl_queue *queue;
    sl_queue_telemetry *queue_telemetry;
    sl_queue_http *broker;
    sl_flow_store *store;
    sl_run_store *runs;
    sl_audit *audit;
    sl_flow_services services;
    sl_executor *executor;
    sl_api *api, *control;
    sl_flow_consumer *consumers;
    sl_flow_consumer *replies, *own_replies; /* that any server of a cluster may read; that are for this one */
    size_t replies_under_way;
    char answers[SL_QUEUE_MAX_TOPIC_BYTES + 1]; /* topic of `own_replies`; empty: there is no other server */
    json_t *flows;                              /* hash of a source: version number as place in `versions` */
    sl_flow **versions;
    size_t version_count, version_cap;
    sl_flow_deployment *deployments[SL_FLOW_MAX_FLOW_DEPLOYMENTS];
    size_t deployment_count;
    sl_flow_leaving *leaving;
    json_t *left;          /* id: {"steps","last_seq"} of runs that an earlier life began */
    json_t *cancelled;     /* ids of runs that were cancelled and are not executed here: until when put, Unix ns */
    uint64_t forgotten_ns; /* until then of messages that were put, `cancelled` is not to be relied on */
    sl_cancels *cancels;   /* NULL: there is no other server */
    sl_dead_letters *dead_letters;
    bool queue_is_new; /* its file was not there at the start */
    bool takes_failed; /* messages that are there could not be taken: tried again in a second */
    bool puts_failed;  /* messages of tasks that are left could not be put: tried again now and then */
    json_t *handlers;  /* names that clients give to runs that are being made */
    sl_flow_task *tasks;
    size_t task_count, max_tasks;
    sl_flow_stream *streams;
    size_t stream_count;
    sl_flow_waiter *waiters;
    sl_flow_making *making[SL_FLOW_MAKING_BUCKETS]; /* by id */
    sl_timer keep;                                  /* extends leases */
    sl_timer tell;                                  /* writes the queue's gauges */
    uint64_t start_ns;                              /* Unix */
    uint64_t pruned_ns;                             /* monotonic */
    const char *topics;                             /* namespace, "llama_deploy" */
    bool draining;
    bool stopping;
    size_t pending; /* puts whose `done` has not come */
    uv_signal_t term, hup;
    uv_timer_t deadline;
    unsigned surfaces_open;
};

/* ---- server_health.c ---- */

/* Tells the board how store, broker and providers are. Once a second; waits for nothing. */
void sl_flow_health_look(sl_flow_server *server);
/* When the store is closed. */
void sl_flow_health_free(sl_flow_server *server);

/* ---- server_flows.c: workflows and deployments ---- */
SL_MUST_CHECK int sl_flows_load(sl_flow_server *server); /* from the store, and the options' files */
void sl_flows_free(sl_flow_server *server);
sl_flow_consumer *sl_flows_find(sl_flow_server *server, sl_str name); /* of /workflows; NULL: none */
/* Adds a workflow or its next version; takes the reference. `*ret_created`: there was none of the name. Errors:
 * SL_ETOOBIG (the name), SL_EEXIST (its topic is that of a deployment's service), SL_ELIMIT, SL_ENOMEM. */
SL_MUST_CHECK int sl_flows_add(sl_flow_server *server, sl_flow *flow, bool *ret_created);
/* To disk; `done` says whether it is there. Errors: SL_ENOMEM; then `done` never comes. */
SL_MUST_CHECK int sl_flows_save(sl_flow_server *server, const sl_flow *flow, void (*done)(void *user, int error),
                                void *user);
/* The version of a hash; NULL: not known. */
sl_flow *sl_flows_version(sl_flow_server *server, sl_str hash);
/* Who reads a topic here; NULL: nobody. */
sl_flow_consumer *sl_consumer_of(sl_flow_server *server, const char *topic);
SL_MUST_CHECK int sl_flows_keep_version(sl_flow_server *server, sl_flow *flow);
/* A consumer of a topic; `flow` may be NULL (answers). Errors: SL_ENOMEM, those of sl_queue_watch. */
SL_MUST_CHECK int sl_consumer_new(sl_flow_server *server, sl_str service, const char *topic, sl_flow *flow,
                                  sl_flow_consumer **ret_consumer);
/* Tells it of messages again; one that is told, or runs nothing, is left alone. Errors: those of sl_queue_watch. */
SL_MUST_CHECK int sl_consumer_watch(sl_flow_consumer *consumer);
void sl_consumer_unwatch(sl_flow_consumer *consumer);
/* Its next message. False: there is none, or it cannot be had now (then it is tried again soon). */
bool sl_consumer_take(sl_flow_consumer *consumer, sl_queue_message **ret_message);
/* There is no memory to work on it: it comes again. Takes the message. */
void sl_consumer_put_off(sl_flow_server *server, sl_queue_message *message);

/* ---- server_deploy.c ---- */
sl_flow_deployment *sl_deployment_find(sl_flow_server *server, sl_str name);
/* Takes the file. On failure `reason` (512 bytes) says why; SL_ECONFIG, SL_EEXIST, SL_ELIMIT, SL_ENOMEM. */
SL_MUST_CHECK int sl_deployment_add(sl_flow_server *server, sl_deploy_file *file, sl_str base_path, bool reload,
                                    char *reason);
void sl_deployments_free(sl_flow_server *server);
sl_flow_deployment *sl_deployment_ref(sl_flow_deployment *deployment);
void sl_deployment_unref(sl_flow_deployment *deployment);
sl_flow_service *sl_deployment_service(sl_flow_deployment *deployment, sl_str id);
SL_MUST_CHECK int sl_deployments_load(sl_flow_server *server);
bool sl_service_is_registered(sl_flow_server *server, sl_str name);

/* ---- api_remove.c: deployments that are taken down ---- */
/* Those whose tasks have ended are gone. */
void sl_leaving_sweep(sl_flow_server *server);
/* One of the name is up again, with what is left of the one before. */
void sl_leaving_is_back(sl_flow_server *server, sl_str name);
/* Goes on with those of an earlier life; after the deployments. Errors: SL_EIO, SL_ENOMEM, those of sl_consumer_new. */
SL_MUST_CHECK int sl_leaving_load(sl_flow_server *server);
void sl_leaving_free(sl_flow_server *server);

/* ---- server_tasks.c: from a request to a message ---- */

/* A task to be made. Views are copied. */
typedef struct sl_task_new {
    sl_str id;      /* empty: a new one */
    bool id_is_new; /* made by the caller just now: no other task has it */
    sl_str service; /* name that the task carries */
    const char *topic;
    sl_flow *flow; /* NULL: a worker runs it */
    sl_str deployment, session;
    json_t *inputs;    /* borrowed; an object, or NULL */
    sl_str input_text; /* as it came; empty: made from inputs */
    sl_str idempotency_key;
    sl_span *parent;
} sl_task_new;
/* After it is durable, or not: on the loop. `id` is valid during the call. */
typedef void (*sl_task_made_fn)(void *user, int error, sl_str id, bool existed);
/* Errors: SL_EAGAIN, SL_ENOMEM, SL_EINVAL, SL_ECLOSED: then `fn` never comes. */
SL_MUST_CHECK int sl_task_make(sl_flow_server *server, const sl_task_new *task, sl_task_made_fn fn, void *user);
/* Answers a request whose task is not made: with what queue or store say of their disks, where that is why. */
void sl_task_refuse(sl_api_request *request, int error, const char *what);
/*
 * The message of a task that was accepted before, put once more; in the place of another one when `place` is not NULL.
 * `done` (may be NULL: it is tried again later) comes on the loop when it is known whether the queue has it. Errors:
 * SL_EAGAIN (the queue has no room now), SL_ENOMEM, SL_ETOOBIG, SL_EIO, SL_ECLOSED; then `done` never comes.
 */
SL_MUST_CHECK int sl_task_put_again(sl_flow_server *server, const sl_run_left *left, const sl_letter_place *place,
                                    void (*done)(void *user, int error), void *user);
/* Adds to a message's data where its run goes on: what steps that have ended gave, up to 1 MiB in all, 512 KiB in a
 * cluster (those for which there is no room run again), and the number of its last event. */
void sl_task_add_left(const sl_flow_server *server, const sl_run_left *left, json_t *data);
/* The topic of its message. Errors: SL_EIO, SL_ETOOBIG. */
SL_MUST_CHECK int sl_task_topic(sl_flow_server *server, const sl_run_left *left,
                                char ret_topic[SL_QUEUE_MAX_TOPIC_BYTES + 1]);
/* Where it goes on when its message comes. Errors: SL_ENOMEM. */
SL_MUST_CHECK int sl_task_keep_left(sl_flow_server *server, const sl_run_left *left);
/* What a worker says of a task, to the server that has it. Takes `data`. `done` as that of a put; NULL: nobody is told.
 * Errors: SL_ENOMEM, those of a put; then `done` never comes. */
SL_MUST_CHECK int sl_answer_put(sl_flow_server *server, const char *topic, const char *action, json_t *data,
                                const char *key, sl_span *span, sl_queue_done_fn done, void *user);
bool sl_task_id_is_good(sl_str id);
/* True when the task is still being made: sl_task_released(task) comes when it is known whether it may run. */
bool sl_task_hold(sl_flow_server *server, const char *id, sl_flow_task *task);

/* How a task has ended. Borrowed. */
typedef struct sl_task_end {
    sl_str id;
    const char *status; /* "succeeded" ... */
    json_t *outputs;
    const char *error, *error_type;
} sl_task_end;
/* Tells waiters and streams. */
void sl_task_ended(sl_flow_server *server, const sl_task_end *end);
/* Answers `request` when the task ends: fn on the loop. Holds a reference of the request. Errors: SL_ENOMEM. */
SL_MUST_CHECK int sl_task_wait(sl_flow_server *server, sl_str id, sl_api_request *request,
                               void (*fn)(sl_api_request *request, const sl_task_end *end, sl_str session),
                               sl_str session);
/* The task will not be: nobody waits for it any more. False: nobody did; who waited has been answered. */
bool sl_task_unwait(sl_flow_server *server, sl_str id);
void sl_waiters_free(sl_flow_server *server);

/* ---- server_run.c: from a message to a result ---- */
void sl_tasks_pump(sl_flow_server *server);
/* A task that was held: it runs, or goes. */
void sl_task_released(sl_flow_task *task, bool accepted);
/* When the message of a run that is executed here was put; 0: none of ours. */
uint64_t sl_task_put_ns(const sl_flow_server *server, sl_str id);
/* Whether its message is held here. */
bool sl_task_is_here(const sl_flow_server *server, sl_str id);
/* A worker whose lease was over has ended it: what is executed of it here ends, and tells nothing. */
void sl_task_overtaken(sl_flow_server *server, const char *id);
/* Whether messages of the consumer are. */
bool sl_consumer_has_tasks(const sl_flow_server *server, const sl_flow_consumer *consumer);
void sl_tasks_extend(sl_flow_server *server);
/* Gives up those under way: they go on at the next start. */
void sl_tasks_abandon(sl_flow_server *server);
/* A message to `topic`, in the trace of `parent`; nobody is told. */
void sl_message_put(sl_flow_server *server, const char *topic, json_t *body, sl_str key, sl_span *parent);

/* ---- server_cancel.c ---- */
/* Cancels a task wherever it is. SL_ENOENT, SL_EEXIST (it has ended). */
SL_MUST_CHECK int sl_task_cancel(sl_flow_server *server, sl_str id);
/* Its messages that were put until then are not run. Errors: SL_ENOMEM. */
SL_MUST_CHECK int sl_task_note_cancelled(sl_flow_server *server, const char *id, uint64_t until_ns);
bool sl_task_is_cancelled(const sl_flow_server *server, const char *id, uint64_t put_ns);
/* The message of a task that was cancelled, or has ended, for the queue's server; `user` is the server. */
bool sl_message_is_unwanted(void *user, sl_str topic, sl_str key, uint64_t put_ns);
/* Somebody runs it; `first`: this is the first that is heard. Who runs what was cancelled is told once more. */
void sl_task_was_heard_of(sl_flow_server *server, const char *id, bool first);
/* Begins to listen to the other servers of a cluster. Errors: those of sl_cancels_new. */
SL_MUST_CHECK int sl_cancels_start(sl_flow_server *server);

/* ---- server_replies.c ---- */
/* Begins to listen to workers. Errors: those of sl_consumer_new, SL_EIO. */
SL_MUST_CHECK int sl_replies_start(sl_flow_server *server);
/* Where a task of this server is answered, put into its message. */
void sl_replies_address(const sl_flow_server *server, json_t *data);
void sl_replies_take(sl_flow_server *server);
/* One QueueMessage from a worker. False: it is none that the control plane knows. */
bool sl_reply_apply(sl_flow_server *server, json_t *message);
/* The task whose end the message tells; empty: none. */
void sl_reply_ends(json_t *message, char ret_id[SL_FLOW_ID_MAX]);
/* On the writer's thread, behind what was written of a run's end: SL_EIO when the run has not ended in the file. */
SL_MUST_CHECK int sl_run_end_is_kept(sl_db *db, const char *id);

/* ---- server_again.c: messages that have come again ---- */
/* A letter asks for a message in the place of one that has come again. `done` on the loop, once: SL_ENOENT, the run has
 * ended or goes on here already; or as that of a put. */
void sl_run_put_in_place(sl_flow_server *server, const json_t *data, void (*done)(void *user, int error), void *user);
/* For the queue's server, of a message that a worker is to have: see sl_queue_http_options.again. `user`: the server.
 */
sl_queue_again sl_message_again(void *user, sl_queue_message *message, char **ret_body);

/* ---- server_dead.c ---- */
/* Begins to listen: tasks fail whose messages become dead letters. Errors: SL_EIO, SL_ENOMEM. */
SL_MUST_CHECK int sl_dead_letters_start(sl_flow_server *server);
/* Fails tasks of an earlier life that have become dead letters since. Errors: those of sl_run_store_each_left. */
SL_MUST_CHECK int sl_dead_letters_take_up(sl_flow_server *server);
/* No task is failed any more; then, behind the end of the queue, freed. */
void sl_dead_letters_stop(sl_flow_server *server);
void sl_dead_letters_free(sl_flow_server *server);
/* As sl_run_store_get has it: what comes of it now is worth more than its failure. */
bool sl_run_failed_by_letter(const json_t *run);

/* ---- server_streams.c ---- */

/* Which events, and how. */
typedef enum sl_stream_shape { SL_STREAM_FULL = 0, SL_STREAM_DATA } sl_stream_shape;
/* Streams a run's events behind `after` or Last-Event-ID to the request: SSE when it accepts that, else ndjson. */
void sl_stream_start(sl_flow_server *server, sl_api_request *request, sl_str id, uint64_t after, sl_stream_shape shape);
/* As a client of llama-agents asks for it. */
typedef struct sl_stream_agents {
    int64_t after; /* number that it has seen, see agents_view.h; -1: none */
    bool sse, internal, qualified;
} sl_stream_agents;
void sl_stream_start_agents(sl_flow_server *server, sl_api_request *request, sl_str id, const sl_stream_agents *wish);
/* What comes behind an event: more; the word that the run has ended; nothing. */
typedef enum sl_stream_then { SL_STREAM_GOES_ON = 0, SL_STREAM_WAITS, SL_STREAM_ENDS } sl_stream_then;
/* An event has happened. One that waits is sent with the next; the last one when the run's end is on disk. */
void sl_streams_push(sl_flow_server *server, sl_str id, uint64_t seq, json_t *event, sl_stream_then then);
void sl_streams_close(sl_flow_server *server);

/* ---- server_telemetry.c ---- */
SL_MUST_CHECK int sl_flow_states_new(sl_flow_server *server);
void sl_flow_states_free(sl_flow_server *server);
void sl_flow_say_server(sl_flow_server *server, const char *state);
void sl_flow_say_deployment(sl_flow_server *server, sl_flow_deployment *deployment, const char *state);
/* It has been removed: no state is current, and nobody is to be woken. */
void sl_flow_say_gone(sl_flow_server *server, sl_flow_deployment *deployment);
/* Of one that is not up. */
void sl_flow_say_name(sl_flow_server *server, sl_str deployment, const char *state);
void sl_flow_say_service(sl_flow_server *server, const sl_flow_deployment *deployment, sl_flow_service *service,
                         const char *state);
sl_span *sl_flow_span(sl_tracer *tracer, const char *name, sl_span_kind kind, const sl_span *parent,
                      const sl_span_context *remote);
void sl_flow_span_fail(sl_span *span, const char *type, const char *message);

/* ---- routes ---- */
extern const sl_api_route sl_flow_api_routes[];
extern const size_t sl_flow_api_route_count;
extern const sl_api_route sl_flow_control_routes[];
extern const size_t sl_flow_control_route_count;

void sl_api_post_workflow(sl_api_request *request);
void sl_api_list_workflows(sl_api_request *request);
void sl_api_get_workflow(sl_api_request *request);
void sl_api_post_run(sl_api_request *request);
void sl_api_list_runs(sl_api_request *request);
void sl_api_get_run(sl_api_request *request);
void sl_api_get_events(sl_api_request *request);
void sl_api_cancel_run(sl_api_request *request);
void sl_api_resume_run(sl_api_request *request);

/* ---- api_agents.c: what clients of llama-agents call ---- */
void sl_api_health(sl_api_request *request);
void sl_api_workflow_schema(sl_api_request *request);
void sl_api_workflow_graph(sl_api_request *request);
void sl_api_workflow_events(sl_api_request *request);
void sl_api_run_workflow(sl_api_request *request);
void sl_api_run_nowait(sl_api_request *request);
void sl_api_list_handlers(sl_api_request *request);
void sl_api_get_handler(sl_api_request *request);
void sl_api_get_result(sl_api_request *request);
void sl_api_cancel_handler(sl_api_request *request);
void sl_api_handler_events(sl_api_request *request);
void sl_api_handler_send(sl_api_request *request);

void sl_api_root(sl_api_request *request);
void sl_api_status(sl_api_request *request);
void sl_api_status_metrics(sl_api_request *request);
void sl_api_create_deployment(sl_api_request *request);
void sl_api_delete_deployment(sl_api_request *request);
void sl_api_list_deployments(sl_api_request *request);
void sl_api_get_deployment(sl_api_request *request);
void sl_api_run_task(sl_api_request *request);
void sl_api_create_task(sl_api_request *request);
void sl_api_list_tasks(sl_api_request *request);
void sl_api_task_events(sl_api_request *request);
void sl_api_task_send_event(sl_api_request *request);
void sl_api_task_results(sl_api_request *request);
void sl_api_create_session(sl_api_request *request);
void sl_api_delete_session(sl_api_request *request);
void sl_api_list_sessions(sl_api_request *request);
void sl_api_get_session(sl_api_request *request);

/* ---- session.c: sessions and tasks that both surfaces show ---- */
/* Whether there is one; empty deployment: of any. Errors: SL_ENOENT, SL_EIO, SL_ENOMEM. */
SL_MUST_CHECK int sl_session_find(sl_flow_server *server, sl_str id, sl_str deployment);
/* A new one; its id is written to `ret_id`. */
void sl_session_make(sl_flow_server *server, sl_str deployment, void (*done)(void *user, int error), void *user,
                     char ret_id[SL_FLOW_ID_MAX]);
void sl_session_delete(sl_flow_server *server, sl_str id, void (*done)(void *user, int error), void *user);
json_t *sl_session_json(sl_str id, json_t *task_ids, json_t *state);
/* TaskDefinitions of a session, or of a deployment (session empty). NULL: SL_EIO or no memory. */
json_t *sl_session_tasks(sl_flow_server *server, sl_str session, sl_str deployment);
/* The task's definition. Errors: SL_ENOENT, SL_EIO, SL_ENOMEM. */
SL_MUST_CHECK int sl_session_task(sl_flow_server *server, sl_str id, json_t **ret_task);
/* NULL: SL_EIO or no memory. */
json_t *sl_session_state(sl_flow_server *server, sl_str id);
/* TaskResult of an ended task; JSON null while it runs. SL_ENOENT. `*ret_failed`: it failed or was cancelled. */
SL_MUST_CHECK int sl_session_result(sl_flow_server *server, sl_str id, json_t **ret_result, bool *ret_failed);
/* What a client reads as the result: a worker's text, or a workflow's outputs. The caller holds a reference. */
json_t *sl_result_value(json_t *outputs);

#endif
