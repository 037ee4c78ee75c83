/* The listener in front: each request is one call, whose answer is handed on as it comes. */
#include "src/cli/exec_front.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/base/sync.h"
#include "src/net/http_server.h"
#include "src/net/upstream.h"
#include "src/wire/http1_write.h"

#define MAX_HEAD (64u * 1024)

struct sl_exec_front {
    /* Constant. */
    const sl_quota_watch *watch;
    char authority[SL_ADDR_TEXT_MAX];
    /* The loop's. */
    sl_loop loop;
    sl_http_server *server;
    sl_upstream *upstream;
    sl_origin *origin;
    sl_buf fields; /* of the answer at hand */
    /* The owner's. */
    pthread_t thread;
    uv_async_t stop;
};

/* One request with its answer. */
typedef struct passage {
    sl_exec_front *front;
    sl_exchange *x; /* NULL: over */
    sl_call call;
    sl_buf head;
    sl_buf body;
    char *memory; /* of a body that was taken over */
    bool inside;  /* in on_read: it is freed at its end */
} passage;

static void passage_free(passage *p)
{
    sl_call_cancel(&p->call);
    sl_buf_done(&p->head);
    sl_buf_done(&p->body);
    sl_free(p->memory);
    sl_free(p);
}

/* ---- the answer ---- */

static sl_str answer_fields(sl_exec_front *front, const sl_http1_head *head)
{
    SL_ASSERT(front && head);
    sl_buf_clear(&front->fields);
    for (size_t i = 0; i < head->field_count; i++) {
        sl_http_field_id id = head->fields[i].id;
        if (id != SL_HTTP_CONTENT_LENGTH && id != SL_HTTP_DATE && !sl_http1_is_hop_by_hop(head, i))
            (void)sl_http1_put_field(&front->fields, head->fields[i].name, head->fields[i].value);
    }
    return sl_buf_str(&front->fields);
}

static void begin(passage *p, const sl_http1_head *head, sl_str body, bool end)
{
    SL_ASSERT(p->x && head);
    sl_http_stream answer = {.status = head->status,
                             .fields = answer_fields(p->front, head),
                             .has_length = end || head->body == SL_HTTP1_BODY_LENGTH,
                             .length = head->has_content_length ? head->content_length : body.len,
                             .first = body,
                             .last = end};
    if (sl_exchange_begin(p->x, &answer))
        sl_call_pause(&p->call, true);
}

static void on_read(sl_call *call, const sl_http1_head *head, sl_str body, bool end)
{
    SL_ASSERT(call && call->user);
    passage *p = call->user;
    p->inside = true;
    if (head)
        begin(p, head, body, end);
    else if ((body.len || end) && sl_exchange_write(p->x, body, end))
        sl_call_pause(&p->call, true);
    p->inside = false;
    if (!p->x)
        passage_free(p);
}

static void on_fail(sl_call *call, int error, const char *reason)
{
    SL_ASSERT(call && call->user && reason);
    passage *p = call->user;
    char text[SL_ADDR_TEXT_MAX + 256];
    if (sl_exchange_begun(p->x)) {
        sl_exchange_abort(p->x);
        return;
    }
    (void)snprintf(text, sizeof text, "the server at %s does not answer: %.200s", p->front->authority, reason);
    sl_exchange_error(p->x, error == SL_ETIMEOUT ? 504 : 502, "server_error", "upstream_error", text);
}

static const sl_call_handler call_handler = {on_read, on_fail};

/* ---- the request ---- */

bool sl_exec_front_is_work(sl_str method, sl_str target)
{
    sl_str route = sl_probe_route_known(target);
    if (!sl_str_eq_c(method, "POST"))
        return false;
    return sl_probe_route_operation(route).len > 0 || sl_str_ends(route, SL_STR("/rerank")) ||
           sl_str_ends(route, SL_STR("/reranking"));
}

/* True when it has been answered with 429. */
static bool refused(const sl_exec_front *front, sl_exchange *x)
{
    SL_ASSERT(front && x);
    const sl_http1_head *head = sl_exchange_head(x);
    const char *quota;
    unsigned seconds;
    char field[64], body[320];
    if (!sl_exec_front_is_work(head->method, head->target) || !sl_probe_quota_exceeded(front->watch, &quota, &seconds))
        return false;
    (void)snprintf(field, sizeof field, "Retry-After: %u\r\n", seconds);
    (void)snprintf(body, sizeof body,
                   "{\"error\":{\"message\":\"the quota %s of this server is exceeded; try again in %u s\","
                   "\"type\":\"rate_limit_error\",\"param\":null,\"code\":\"quota_exceeded\"}}",
                   quota, seconds);
    const sl_http_reply reply = {
        .status = 429, .content_type = "application/json", .fields = sl_str_c(field), .body = sl_str_c(body)};
    sl_exchange_respond(x, &reply);
    return true;
}

/* Refused before the body is read. */
static void on_head(void *user, sl_exchange *x)
{
    (void)refused(user, x);
}

static int put_head(passage *p, const sl_http1_head *head, size_t body_bytes)
{
    SL_ASSERT(p->front && head);
    bool host = false;
    (void)sl_http1_put_request(&p->head, head->method, head->target);
    for (size_t i = 0; i < head->field_count; i++) {
        sl_http_field_id id = head->fields[i].id;
        if (id == SL_HTTP_CONTENT_LENGTH || id == SL_HTTP_EXPECT || sl_http1_is_hop_by_hop(head, i))
            continue;
        host |= id == SL_HTTP_HOST;
        (void)sl_http1_put_field(&p->head, head->fields[i].name, head->fields[i].value);
    }
    if (!host)
        (void)sl_http1_put_field(&p->head, SL_STR("Host"), sl_str_c(p->front->authority));
    if (body_bytes || head->has_content_length || head->body == SL_HTTP1_BODY_CHUNKED)
        (void)sl_http1_put_field_u64(&p->head, SL_STR("Content-Length"), body_bytes);
    (void)sl_http1_put_end(&p->head);
    return p->head.failed;
}

static passage *passage_new(sl_exec_front *front, sl_exchange *x)
{
    SL_ASSERT(front->origin && x);
    passage *p = sl_calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->front = front;
    sl_buf_init(&p->head, MAX_HEAD);
    sl_buf_init(&p->body, SL_MAX_BODY_BYTES);
    sl_str body = sl_exchange_body(x);
    int error = put_head(p, sl_exchange_head(x), body.len);
    if (!error && !sl_exchange_take_body(x, &p->memory))
        error = sl_buf_put_str(&p->body, body);
    if (error) {
        passage_free(p);
        return NULL;
    }
    p->x = x;
    p->call =
        (sl_call){.handler = &call_handler,
                  .user = p,
                  .pieces = {sl_buf_str(&p->head), p->memory ? sl_str_of(p->memory, body.len) : sl_buf_str(&p->body)},
                  .piece_count = body.len ? 2 : 1,
                  .is_head = sl_exchange_head(x)->method_id == SL_HTTP_HEAD};
    return p;
}

static void on_request(void *user, sl_exchange *x)
{
    sl_exec_front *front = user;
    passage *p = passage_new(front, x);
    sl_exchange_set_data(x, p);
    if (p)
        sl_call_start(&p->call, front->origin);
    else
        sl_exchange_error(x, 503, "server_error", "out_of_memory", "no memory for the request");
}

static void on_writable(void *user, sl_exchange *x)
{
    passage *p = sl_exchange_data(x);
    (void)user;
    if (p)
        sl_call_pause(&p->call, false);
}

static void on_done(void *user, sl_exchange *x, int outcome)
{
    passage *p = sl_exchange_data(x);
    (void)user, (void)outcome;
    if (!p)
        return;
    p->x = NULL;
    if (!p->inside)
        passage_free(p);
}

/* ---- life ---- */

static void on_stop(uv_async_t *async)
{
    sl_exec_front *front = async->data;
    sl_http_server_close(front->server);
    sl_upstream_close(front->upstream);
    uv_close((uv_handle_t *)async, NULL);
}

static void *run(void *user)
{
    sl_exec_front *front = user;
    (void)pthread_setname_np(pthread_self(), "sl-front");
    (void)uv_run(&front->loop.uv, UV_RUN_DEFAULT);
    return NULL;
}

static int open_all(sl_exec_front *front, const sl_exec_front_options *o)
{
    const sl_http_handler handler = {
        .user = front, .on_head = on_head, .on_request = on_request, .on_writable = on_writable, .on_done = on_done};
    const sl_origin_options origin = {.host = sl_str_c(o->server.host), .port = o->server.port};
    int error = sl_http_server_new(&front->loop, &handler, NULL, &front->server);
    if (!error)
        error = sl_upstream_new(&front->loop, NULL, &front->upstream);
    if (!error)
        error = sl_upstream_origin(front->upstream, &origin, &front->origin);
    if (!error)
        error = sl_http_server_listen(front->server, o->listen_fd);
    front->stop.data = front;
    if (!error && uv_async_init(&front->loop.uv, &front->stop, on_stop) != 0)
        error = SL_EIO;
    return error;
}

/* Of one that could not be started it keeps what it has: the program ends then anyway. */
int sl_exec_front_start(const sl_exec_front_options *options, sl_exec_front **ret_front)
{
    SL_ASSERT(options && ret_front && options->listen_fd >= 0 && !options->server.off);
    sl_exec_front *front = sl_calloc(1, sizeof *front);
    if (!front)
        return SL_ENOMEM;
    front->watch = options->watch;
    sl_addr_format(&options->server, front->authority);
    sl_buf_init(&front->fields, MAX_HEAD);
    int error = sl_loop_init(&front->loop);
    if (!error)
        error = open_all(front, options);
    if (!error)
        error = sl_thread_start(&front->thread, run, front);
    if (!error)
        *ret_front = front;
    return error;
}

void sl_exec_front_stop(sl_exec_front *front)
{
    if (!front)
        return;
    (void)uv_async_send(&front->stop);
    (void)pthread_join(front->thread, NULL);
    sl_upstream_free(front->upstream);
    sl_loop_done(&front->loop);
    sl_buf_done(&front->fields);
    sl_free(front);
}

/* ---- where the server is ---- */

/* The value behind the last `name`, or `name=value`; NULL when it is not there. */
static const char *argument(char *const *argv, const char *name)
{
    SL_ASSERT(argv && name);
    const char *found = NULL;
    size_t len = strlen(name);
    for (; argv[0]; argv++) {
        if (strcmp(argv[0], name) == 0 && argv[1])
            found = argv[1];
        else if (strncmp(argv[0], name, len) == 0 && argv[0][len] == '=')
            found = argv[0] + len + 1;
    }
    return found;
}

void sl_exec_front_guess(char *const *argv, sl_addr *ret_server)
{
    SL_ASSERT(argv && ret_server);
    const char *port = argument(argv, "--port"), *host = argument(argv, "--host");
    uint64_t number = 0;
    port = port ? port : getenv("LLAMA_ARG_PORT");
    host = host ? host : getenv("LLAMA_ARG_HOST");
    bool any = !host || !*host || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
    memset(ret_server, 0, sizeof *ret_server);
    (void)snprintf(ret_server->host, sizeof ret_server->host, "%s", any ? "127.0.0.1" : host);
    bool good = port && sl_str_to_u64(sl_str_c(port), &number) == 0 && number > 0 && number < 65536;
    ret_server->port = good ? (uint16_t)number : 8080;
}
