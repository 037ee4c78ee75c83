/* The flow process: what is opened, in which order it is closed. */
#include "src/flow/server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/flow/server_agents.h"
#include "src/flow/server_impl.h"
#include "src/flow/services_env.h"
#include "src/store/collection.h"
#include "src/telemetry/sdk_impl.h"

#define KEEP_MS (SL_FLOW_LEASE_MS / 3)
#define TELL_MS 1000u
#define PRUNE_NS 600000000000u /* ten minutes */
#define REASON_BYTES 512

/* ---- ends ---- */

static void stop(sl_flow_server *server)
{
    if (!server->stopping)
        uv_stop(&server->loop.uv);
    server->stopping = true;
}

static void on_deadline(uv_timer_t *timer)
{
    stop(timer->data);
}

/* Now and then: runs that ended long ago go. */
static void prune(sl_flow_server *server)
{
    uint64_t keep_ns = server->options->keep_runs_ms * 1000000u;
    if (!keep_ns || sl_mono_ns() - server->pruned_ns < PRUNE_NS)
        return;
    server->pruned_ns = sl_mono_ns();
    sl_run_store_prune(server->runs, sl_now_ns() - keep_ns);
    sl_flow_store_prune_tasks(server->store);
    sl_agents_forget(server);
}

/* Every second: what the queue holds. */
static void on_tell(sl_timer *timer)
{
    sl_flow_server *server = (sl_flow_server *)(void *)((char *)timer - offsetof(sl_flow_server, tell));
    sl_queue_telemetry_refresh(server->queue_telemetry);
    sl_flow_health_look(server);
    if (server->takes_failed) {
        server->takes_failed = false;
        sl_replies_take(server);
        sl_tasks_pump(server);
    }
    sl_timer_set(&server->loop, &server->tell, on_tell, TELL_MS);
}

static void put_what_is_left(sl_flow_server *server);

/* While draining: over when no run is under way. */
static void on_watch(sl_timer *timer)
{
    sl_flow_server *server = (sl_flow_server *)(void *)((char *)timer - offsetof(sl_flow_server, keep));
    if (server->draining && server->task_count == 0 && server->pending == 0) {
        stop(server);
        return;
    }
    sl_tasks_extend(server);
    prune(server);
    sl_leaving_sweep(server);
    sl_llm_client_sweep(server->services.llm);
    put_what_is_left(server);
    sl_timer_set(&server->loop, &server->keep, on_watch, server->draining ? SL_TIMER_TICK_MS : KEEP_MS);
}

/* The first SIGTERM lets runs end; a second one does not, unless it only came twice. */
static void on_term(uv_signal_t *handle, int number)
{
    sl_flow_server *server = handle->data;
    (void)number;
    if (server->draining) {
        if (!server->options->must_hurry || server->options->must_hurry(server->options->user))
            stop(server);
        return;
    }
    server->draining = true;
    sl_flow_say_server(server, "stopped");
    if (server->options->drain_timeout_ms)
        (void)uv_timer_start(&server->deadline, on_deadline, server->options->drain_timeout_ms, 0);
    sl_timer_stop(&server->loop, &server->keep);
    sl_timer_set(&server->loop, &server->keep, on_watch, SL_TIMER_TICK_MS);
}

/* Steps that start from now on use the models of the configuration as it is. */
static void on_hup(uv_signal_t *handle, int number)
{
    sl_flow_server *server = handle->data;
    (void)number;
    if (server->draining)
        return;
    int error = sl_flow_models_reload(&server->services, server->options->reload, server->options->user);
    if (!error)
        sl_log(server->logger, SL_INFO, "reload: steps that start from now on use the models of the new configuration",
               NULL, 0);
    else if (error == SL_ENOMEM)
        (void)fprintf(stderr, "sightline: flow: reload: workflows keep the models they have: out of memory\n");
}

/* ---- opening ---- */

static int fail(const char *what, int error, const char *reason)
{
    (void)fprintf(stderr, "sightline: flow: %s: %s\n", what, reason && *reason ? reason : sl_strerror(error));
    return error;
}

/* What is kept cannot be read. */
static int fail_kept(const sl_flow_server *server, const char *what, int error)
{
    char reason[4096 + 256];
    if (error != SL_EIO && error != SL_EPARSE)
        return fail(what, error, NULL);
    (void)snprintf(reason, sizeof reason,
                   "%s; a file in %s is damaged: put a copy in its place, or start with another --data-dir",
                   sl_strerror(error), server->options->data_dir);
    return fail(what, error, reason);
}

static int open_sdk(sl_flow_server *server)
{
    const sl_flow_server_options *o = server->options;
    if (!o->segment)
        return 0;
    sl_sdk_internal_options internal = {
        .segment = o->segment, .record_only = true, .default_service_name = "llama-deploy-apiserver"};
    int error = sl_sdk_new_internal(&o->sdk, &internal, &server->sdk);
    if (error)
        return fail("telemetry cannot start", error, NULL);
    server->control_tracer = sl_tracer_named(server->sdk, "sightline.control_plane");
    server->workflow_tracer = sl_tracer_named(server->sdk, "sightline.workflow");
    server->logger = sl_logger_named(server->sdk, "sightline.flow");
    return sl_flow_states_new(server);
}

static int open_queue(sl_flow_server *server)
{
    char path[4200], reason[REASON_BYTES] = "";
    (void)snprintf(path, sizeof path, "%s/queue.db", server->options->data_dir);
    sl_queue_options o = {.path = path};
    server->queue_is_new = !server->options->cluster.len && access(path, F_OK) != 0;
    char url[1024];
    int error;
    if (server->options->cluster.len) {
        sl_queue_nats_options cluster = {.url = url, .ack_wait_ms = SL_FLOW_LEASE_MS};
        error = sl_str_to_c(server->options->cluster, url, sizeof url)
                    ? sl_queue_nats_open(&cluster, reason, sizeof reason, &server->queue)
                    : SL_ETOOBIG;
    } else {
        error = sl_queue_open(&o, reason, sizeof reason, &server->queue);
    }
    if (error)
        return fail("the queue cannot be opened", error, reason);
    if (server->sdk && (error = sl_queue_telemetry_new(server->sdk, server->queue, &server->queue_telemetry)) != 0)
        return fail("the queue's telemetry", error, NULL);
    return 0;
}

static int open_store(sl_flow_server *server)
{
    char path[4200], reason[REASON_BYTES] = "";
    int error = sl_flow_store_open(server->options->data_dir, &server->box, reason, sizeof reason, &server->store);
    if (error)
        return fail("the store cannot be opened", error, reason);
    error = sl_run_store_new(&server->loop, sl_flow_store_db(server->store), &server->runs);
    if (error)
        return fail("the runs cannot be opened", error, NULL);
    (void)snprintf(path, sizeof path, "%s/audit.jsonl", server->options->data_dir);
    error = sl_audit_open(path, &server->audit);
    return error ? fail("the audit log cannot be opened", error, NULL) : 0;
}

static int open_services(sl_flow_server *server)
{
    sl_flow_services *s = &server->services;
    char path[4200], reason[REASON_BYTES] = "";
    s->loop = &server->loop;
    s->sdk = server->sdk;
    s->queue = server->queue;
    int error = sl_llm_client_new(&server->loop, server->sdk, &s->llm);
    if (!error)
        error = sl_upstream_new(&server->loop, NULL, &s->upstream);
    if (!error)
        error = sl_llm_endpoints_from_env(s->llm);
    if (error)
        return fail("OPENAI_BASE_URL, ANTHROPIC_BASE_URL", error, NULL);
    (void)snprintf(path, sizeof path, "%s/%s", server->options->data_dir, SL_COLLECTIONS_FILE);
    error = sl_collections_open(path, reason, sizeof reason, &s->collections);
    if (error)
        return fail("the collections cannot be opened", error, reason);
    char wrong[SL_SERVICES_REASON];
    if (sl_flow_services_from_env(s, wrong))
        return fail("the services of steps", SL_ECONFIG, wrong);
    if (server->options->services && (error = server->options->services(server->options->user, s)) != 0)
        return fail("the services of steps", error, NULL);
    sl_executor_options o = {.services = s, .store = server->runs, .max_runs = server->max_tasks};
    error = sl_executor_new(&o, &server->executor);
    return error ? fail("the executor", error, NULL) : 0;
}

static int open_surface(sl_flow_server *server, const char *name, const sl_api_route *routes, size_t count, int fd,
                        sl_api **ret_api)
{
    sl_api_options o = {.name = name,
                        .title = routes == sl_flow_api_routes ? "API server" : "control plane",
                        .routes = routes,
                        .route_count = count,
                        .key = server->options->key,
                        .sdk = server->sdk,
                        .user = server};
    int error = sl_api_new(&server->loop, &o, ret_api);
    if (!error && fd >= 0)
        error = sl_api_listen(*ret_api, fd);
    return error ? fail(name, error, NULL) : 0;
}

static int open_surfaces(sl_flow_server *server)
{
    const sl_flow_server_options *o = server->options;
    static char key[1024];
    int error = open_surface(server, "sightline.apiserver", sl_flow_api_routes, sl_flow_api_route_count, o->api_fd,
                             &server->api);
    if (!error)
        error = open_surface(server, "sightline.control_plane", sl_flow_control_routes, sl_flow_control_route_count,
                             o->control_fd, &server->control);
    if (error || o->queue_fd < 0)
        return error;
    if (!sl_str_to_c(o->key, key, sizeof key))
        return fail("--api-key", SL_ETOOBIG, NULL);
    sl_queue_http_options q = {.loop = &server->loop,
                               .queue = server->queue,
                               .telemetry = server->queue_telemetry,
                               .api_key = key,
                               .is_unwanted = sl_message_is_unwanted,
                               .again = sl_message_again,
                               .user = server};
    error = sl_queue_http_new(&q, &server->broker);
    if (!error)
        error = sl_queue_http_listen(server->broker, o->queue_fd);
    return error ? fail("the queue's server", error, NULL) : 0;
}

/* A signal that has come already is told of in the first turn of the loop, when all is open. */
static int open_reload(sl_flow_server *server)
{
    sigset_t hup;
    if (uv_signal_init(&server->loop.uv, &server->hup) != 0)
        return SL_EIO;
    server->hup.data = server;
    if (uv_signal_start(&server->hup, on_hup, SIGHUP) != 0)
        return SL_EIO;
    sigemptyset(&hup);
    sigaddset(&hup, SIGHUP);
    return sigprocmask(SIG_UNBLOCK, &hup, NULL) == 0 ? 0 : SL_EIO;
}

static int open_handles(sl_flow_server *server)
{
    if (uv_timer_init(&server->loop.uv, &server->deadline) != 0)
        return SL_EIO;
    server->deadline.data = server;
    if (uv_signal_init(&server->loop.uv, &server->term) != 0)
        return SL_EIO;
    server->term.data = server;
    if (uv_signal_start(&server->term, on_term, SIGTERM) != 0)
        return SL_EIO;
    return server->options->reload ? open_reload(server) : 0;
}

/* ---- what an earlier life has left ---- */

typedef struct leaving {
    sl_flow_server *server;
    bool unsent; /* some */
} leaving;

static int count_left(void *user, const sl_run_left *left)
{
    leaving *l = user;
    sl_flow_server *server = l->server;
    l->unsent |= left->unsent || server->queue_is_new;
    if (!sl_str_eq_c(left->run.hash, "worker") && !sl_flows_version(server, left->run.hash)) {
        sl_flow_problems *problems = sl_calloc(1, sizeof *problems);
        sl_flow *flow = NULL;
        if (problems && sl_flow_load(left->run.source, problems, &flow) == 0) {
            int error = sl_flows_keep_version(server, flow);
            sl_flow_unref(flow);
            if (error)
                return error;
        }
        sl_free(problems);
    }
    return left->last_seq ? sl_task_keep_left(server, left) : 0;
}

/* The queue has the message in most cases, and knows its key then. One that was damaged and moved away has none. */
static int put_left(void *user, const sl_run_left *left)
{
    leaving *l = user;
    const struct timespec moment = {0, 1000000};
    int error;
    if (!left->unsent && !l->server->queue_is_new)
        return 0;
    while ((error = sl_task_put_again(l->server, left, NULL, NULL, NULL)) == SL_EAGAIN && l->server->pending > 0) {
        sl_mailbox_deliver(&l->server->box); /* room comes with what is done */
        (void)nanosleep(&moment, NULL);
    }
    if (error)
        (void)fprintf(stderr, "sightline: flow: run %.*s waits: its message cannot be put: %s\n", (int)left->run.id.len,
                      left->run.id.ptr, sl_strerror(error));
    l->server->puts_failed |= error != 0;
    return 0;
}

/* Once more, without waiting. */
static int put_later(void *user, const sl_run_left *left)
{
    sl_flow_server *server = user;
    int error = left->unsent ? sl_task_put_again(server, left, NULL, NULL, NULL) : 0;
    server->puts_failed |= error != 0;
    return error == SL_EAGAIN ? SL_EAGAIN : 0;
}

static void put_what_is_left(sl_flow_server *server)
{
    if (!server->puts_failed || server->draining)
        return;
    server->puts_failed = false;
    if (sl_run_store_each_left(server->runs, put_later, server) != 0)
        server->puts_failed = true;
}

/* Runs that were accepted and have not ended: their messages are in the queue, but for a crash between the two. */
static int take_up(sl_flow_server *server)
{
    leaving l = {server, 0};
    int error = sl_run_store_each_left(server->runs, count_left, &l);
    if (!error && l.unsent)
        error = sl_run_store_each_left(server->runs, put_left, &l);
    return error ? fail_kept(server, "runs of an earlier start cannot be taken up", error) : 0;
}

static int open_work(sl_flow_server *server)
{
    server->left = json_object();
    server->cancelled = json_object();
    server->handlers = json_object();
    if (!server->left || !server->cancelled || !server->handlers)
        return SL_ENOMEM;
    int error = sl_flows_load(server);
    if (error)
        return fail_kept(server, "the workflows cannot be loaded", error);
    error = sl_cancels_start(server);
    if (!error)
        error = sl_replies_start(server); /* first: what is put again says where to answer */
    if (!error)
        error = sl_dead_letters_start(server);
    if (!error)
        error = take_up(server);
    if (!error)
        error = sl_dead_letters_take_up(server);
    if (!error)
        error = sl_deployments_load(server);
    if (!error)
        error = sl_leaving_load(server);
    return error ? fail_kept(server, "the deployments cannot be loaded", error) : 0;
}

/* ---- closing ---- */

static void broker_closed(void *user)
{
    sl_flow_server *server = user;
    server->broker = NULL;
}

static void close_handle(uv_handle_t *handle)
{
    if (handle->loop && !uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void close_surfaces(sl_flow_server *server)
{
    sl_dead_letters_stop(server);
    sl_streams_close(server);
    if (server->executor) {
        sl_tasks_abandon(server);
        sl_executor_close(server->executor, true);
    }
    sl_api_close(server->api);
    sl_api_close(server->control);
    if (server->broker)
        sl_queue_http_close(server->broker, broker_closed, server);
    for (sl_flow_consumer *c = server->consumers; c; c = c->next)
        sl_consumer_unwatch(c);
    sl_timer_stop(&server->loop, &server->keep);
    sl_timer_stop(&server->loop, &server->tell);
    while (server->pending > 0 || server->broker)
        (void)uv_run(&server->loop.uv, UV_RUN_ONCE);
}

static void close_all(sl_flow_server *server)
{
    close_surfaces(server);
    sl_deployments_free(server);
    sl_leaving_free(server);
    if (server->runs)
        sl_run_store_close(server->runs);
    if (server->services.llm)
        sl_llm_client_close(server->services.llm);
    if (server->services.upstream)
        sl_upstream_close(server->services.upstream);
    close_handle((uv_handle_t *)&server->deadline);
    close_handle((uv_handle_t *)&server->term);
    close_handle((uv_handle_t *)&server->hup);
    (void)uv_run(&server->loop.uv, UV_RUN_NOWAIT);
    sl_run_store_free(server->runs);
    sl_flow_store_close(server->store);
    sl_flow_health_free(server);
    sl_queue_telemetry_free(server->queue_telemetry);
    if (server->queue)
        sl_queue_close(server->queue);
    sl_mailbox_deliver(&server->box);
    sl_cancels_free(server->cancels);
    sl_dead_letters_free(server);
    sl_mailbox_close(&server->box);
    sl_waiters_free(server);
    (void)uv_run(&server->loop.uv, UV_RUN_DEFAULT);
    sl_executor_free(server->executor);
    sl_llm_client_free(server->services.llm);
    sl_upstream_free(server->services.upstream);
    sl_collections_close(server->services.collections);
    sl_flow_services_done(&server->services);
    sl_api_free(server->api);
    sl_api_free(server->control);
    sl_flows_free(server);
    sl_audit_close(server->audit);
    json_decref(server->left);
    json_decref(server->cancelled);
    json_decref(server->handlers);
    sl_flow_states_free(server);
    sl_mailbox_done(&server->box);
}

/* ---- the process ---- */

static int open_all(sl_flow_server *server)
{
    int error = open_handles(server);
    if (!error)
        error = open_sdk(server);
    if (!error) {
        sl_flow_say_server(server, "starting");
        error = open_queue(server);
    }
    if (!error)
        error = open_store(server);
    if (!error)
        error = open_services(server);
    if (!error)
        error = open_work(server);
    if (!error)
        error = open_surfaces(server);
    return error;
}

int sl_flow_server_run(const sl_flow_server_options *options)
{
    SL_ASSERT(options && options->data_dir);
    sl_flow_server *server = sl_calloc(1, sizeof *server);
    if (!server)
        return 1;
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGINT, SIG_IGN);
    if (!options->reload) /* else one that waits would be lost */
        (void)signal(SIGHUP, SIG_IGN);
    server->options = options;
    server->topics = sl_flow_namespace();
    if (!server->topics) {
        sl_free(server);
        return 1;
    }
    server->max_tasks = options->max_runs;
    server->start_ns = sl_now_ns();
    if (sl_loop_init(&server->loop) != 0) {
        sl_free(server);
        return 1;
    }
    int error = sl_mailbox_init(&server->box, &server->loop);
    if (error) {
        sl_loop_done(&server->loop);
        sl_free(server);
        return 1;
    }
    error = open_all(server);
    if (!error) {
        sl_flow_say_server(server, "running");
        sl_timer_set(&server->loop, &server->keep, on_watch, KEEP_MS);
        sl_timer_set(&server->loop, &server->tell, on_tell, TELL_MS);
        if (options->on_ready)
            options->on_ready(options->user);
        (void)uv_run(&server->loop.uv, UV_RUN_DEFAULT);
    }
    close_all(server);
    sl_loop_done(&server->loop);
    if (server->sdk) {
        (void)sl_sdk_shutdown(server->sdk, 1000);
        sl_sdk_free(server->sdk);
    }
    sl_free(server);
    return error ? 1 : 0;
}
