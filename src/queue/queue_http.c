/* See queue_http.h, queue_http_impl.h. */
#include "src/queue/queue_http.h"

#include <math.h>
#include <stdio.h>

#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/queue/queue_http_impl.h"
#include "src/queue/queue_message.h"
#include "src/wire/http_field.h"
#include "src/wire/url.h"

/* ---- answers ---- */

void sl_qh_answer(sl_qh_request *request, int status, sl_str body)
{
    request->status = status;
    if (!request->x)
        return;
    sl_http_reply reply = {.status = status, .content_type = "application/json", .body = body};
    if (status == 401)
        reply.fields = SL_STR("WWW-Authenticate: Bearer\r\n");
    if (status == 429 || status == 507)
        reply.fields = SL_STR("Retry-After: 1\r\n");
    sl_exchange_respond(request->x, &reply); /* the request may be gone now */
}

void sl_qh_answer_json(sl_qh_request *request, int status, json_t *body)
{
    char *text = json_dumps(body, JSON_COMPACT);
    json_decref(body);
    if (text)
        sl_qh_answer(request, status, sl_str_c(text));
    else
        sl_qh_answer(request, 500, SL_STR("{\"detail\":\"out of memory\"}"));
    free(text);
}

void sl_qh_fail(sl_qh_request *request, int status, const char *detail)
{
    sl_qh_answer_json(request, status, json_pack("{s:s}", "detail", detail));
}

void sl_qh_fail_error(sl_qh_request *request, int error)
{
    char text[512];
    switch (error) {
    case SL_EINVAL:
        sl_qh_fail(request, 422, "a value is outside its limits");
        return;
    case SL_ETOOBIG:
        sl_qh_fail(request, 413, "the message is too large");
        return;
    case SL_EAGAIN:
        sl_qh_fail(request, 429, "the queue is full; try again later");
        return;
    case SL_ENOENT:
        sl_qh_fail(request, 404, "not found");
        return;
    case SL_ECLOSED:
        sl_qh_fail(request, 503, "the queue is closing");
        return;
    default:
        sl_queue_last_error(request->http->options.queue, text, sizeof text);
        sl_qh_fail(request, error == SL_ELIMIT ? 507 : 500, text[0] ? text : sl_strerror(error));
    }
}

/* ---- the life of a request ---- */

static void free_request(sl_qh_request *request)
{
    sl_queue_http *http = request->http;
    SL_ASSERT(!request->x && !request->busy && !request->waits_for);
    sl_timer_stop(http->options.loop, &request->timer);
    sl_queue_request_over(http->options.telemetry, request->method, request->route, request->status,
                          sl_mono_ns() - request->start_ns);
    json_decref(request->params);
    sl_buf_done(&request->out);
    sl_free(request);
    http->requests--;
}

static void on_async_closed(uv_handle_t *handle)
{
    sl_queue_http *http = handle->data;
    void (*on_closed)(void *user) = http->on_closed;
    void *user = http->closed_user;
    (void)pthread_mutex_destroy(&http->lock);
    sl_free(http->api_key);
    sl_free(http);
    if (on_closed)
        on_closed(user);
}

static void close_when_over(sl_queue_http *http)
{
    if (!http->closing || http->requests || http->async_closed)
        return;
    http->async_closed = true;
    sl_qh_free_topics(http);
    uv_close((uv_handle_t *)&http->async, on_async_closed);
}

static void on_done(void *user, sl_exchange *x, int outcome)
{
    sl_queue_http *http = user;
    sl_qh_request *request = sl_exchange_data(x);
    if (!request)
        return;
    request->x = NULL;
    sl_qh_lease_gone(request, outcome);
    if (!request->busy) {
        free_request(request);
        close_when_over(http);
    }
}

void sl_qh_finished(sl_qh_request *request)
{
    sl_queue_http *http = request->http;
    (void)pthread_mutex_lock(&http->lock);
    request->next = http->finished;
    http->finished = request;
    /* Under the lock: once the loop has this request, the handle may be closed. */
    (void)uv_async_send(&http->async);
    (void)pthread_mutex_unlock(&http->lock);
}

static sl_qh_request *take_finished(sl_queue_http *http)
{
    (void)pthread_mutex_lock(&http->lock);
    sl_qh_request *list = http->finished, *ordered = NULL;
    http->finished = NULL;
    (void)pthread_mutex_unlock(&http->lock);
    while (list) { /* first come first */
        sl_qh_request *next = list->next;
        list->next = ordered;
        ordered = list;
        list = next;
    }
    return ordered;
}

static void on_async(uv_async_t *async)
{
    sl_queue_http *http = async->data;
    sl_qh_request *request = take_finished(http);
    while (request) {
        sl_qh_request *next = request->next;
        request->busy = false;
        bool gone = !request->x;
        request->finish(request);
        if (gone && !request->busy)
            free_request(request);
        request = next;
    }
    if (!http->closing)
        sl_qh_serve_waiting(http);
    close_when_over(http);
}

/* ---- parameters ---- */

bool sl_qh_text(sl_qh_request *request, const char *name, char *text, size_t size)
{
    sl_str path, query, value;
    const json_t *member = json_object_get(request->params, name);
    sl_target_split(sl_exchange_head(request->x)->target, &path, &query);
    if (sl_query_get(query, name, &value)) {
        size_t len;
        if (sl_url_decode(value, true, text, size - 1, &len))
            return false;
        text[len] = 0;
        return true;
    }
    if (json_is_string(member))
        return sl_str_to_c(sl_str_of(json_string_value(member), json_string_length(member)), text, size);
    if (json_is_number(member))
        return snprintf(text, size, "%.15g", json_number_value(member)) < (int)size;
    if (json_is_boolean(member))
        return snprintf(text, size, "%s", json_is_true(member) ? "true" : "false") < (int)size;
    return false;
}

static bool has_param(sl_qh_request *request, const char *name)
{
    sl_str path, query, value;
    sl_target_split(sl_exchange_head(request->x)->target, &path, &query);
    return sl_query_get(query, name, &value) || json_object_get(request->params, name);
}

bool sl_qh_ms(sl_qh_request *request, const char *name, uint64_t fallback, uint64_t *ret_ms)
{
    char text[64];
    double seconds;
    if (!has_param(request, name)) {
        *ret_ms = fallback;
        return true;
    }
    if (!sl_qh_text(request, name, text, sizeof text) || sl_str_to_double(sl_str_c(text), &seconds) || seconds < 0 ||
        seconds > (double)SL_QUEUE_MAX_DELAY_MS / 1000)
        return false;
    *ret_ms = (uint64_t)llround(seconds * 1000);
    return true;
}

bool sl_qh_count(sl_qh_request *request, const char *name, uint64_t fallback, uint64_t max, uint64_t *ret_count)
{
    char text[64];
    uint64_t value = fallback;
    if (has_param(request, name) &&
        (!sl_qh_text(request, name, text, sizeof text) || sl_str_to_u64(sl_str_c(text), &value)))
        return false;
    if (value > max)
        return false;
    *ret_count = value;
    return true;
}

/* ---- puts ---- */

/* The trace of the request, else the one that the message names. */
static const sl_span_context *parent_of(sl_qh_request *request, const sl_queue_message_head *head,
                                        sl_span_context *storage)
{
    char joined[2 * SL_TRACEPARENT_LEN];
    sl_str field = sl_http1_get_list(sl_exchange_head(request->x), SL_HTTP_TRACEPARENT, joined, sizeof joined);
    if (field.len && sl_traceparent_parse(field, storage) == 0)
        return storage;
    if (head && head->has_parent)
        return &head->parent;
    return NULL;
}

static void put_done(void *user, int error, const sl_queue_accepted *accepted)
{
    sl_qh_request *request = user;
    request->error = error;
    request->accepted = *accepted;
    sl_qh_finished(request);
}

static void start_put(sl_qh_request *request, const sl_queue_put *put, const sl_queue_about *about,
                      void (*finish)(sl_qh_request *request))
{
    request->finish = finish;
    request->busy = true;
    int error =
        sl_queue_publish(request->http->options.telemetry, request->http->options.queue, put, about, put_done, request);
    if (error) {
        request->busy = false;
        sl_qh_fail_error(request, error);
    }
}

static void put_finish(sl_qh_request *request)
{
    if (request->error)
        sl_qh_fail_error(request, request->error);
    else
        sl_qh_answer_json(request, request->accepted.duplicate ? 200 : 201,
                          json_pack("{s:s,s:b}", "id", request->accepted.id, "duplicate", request->accepted.duplicate));
}

static void put(sl_qh_request *request, sl_str topic)
{
    const sl_http1_head *head = sl_exchange_head(request->x);
    uint64_t priority, deliveries, delay_ms;
    sl_queue_put p = {.topic = topic,
                      .body = sl_exchange_body(request->x),
                      .idempotency_key = sl_http1_get(head, SL_HTTP_IDEMPOTENCY_KEY)};
    if (!sl_qh_count(request, "priority", 0, SL_QUEUE_PRIORITIES - 1, &priority) ||
        !sl_qh_count(request, "max_deliveries", 0, SL_QUEUE_MAX_DELIVERIES, &deliveries) ||
        !sl_qh_ms(request, "delay", 0, &delay_ms)) {
        sl_qh_fail(request, 422, "priority is 0 to 9, delay a number of seconds, max_deliveries at most 1000");
        return;
    }
    p.priority = (unsigned)priority;
    p.max_deliveries = (unsigned)deliveries;
    p.delay_ms = delay_ms;
    sl_span_context storage;
    sl_queue_about about = {.parent = parent_of(request, NULL, &storage)};
    start_put(request, &p, &about, put_finish);
}

static void unknown_topic(sl_qh_request *request, sl_str topic)
{
    if (!sl_utf8_valid(topic)) { /* no topic has such a name, and no JSON could tell it */
        sl_qh_fail_error(request, SL_EINVAL);
        return;
    }
    char text[SL_QUEUE_MAX_TOPIC_BYTES + 32];
    (void)snprintf(text, sizeof text, "topic %.*s not found", (int)topic.len, topic.ptr);
    sl_qh_fail(request, 404, text);
}

static void simple_finish(sl_qh_request *request)
{
    if (request->error)
        sl_qh_fail_error(request, request->error);
    else
        sl_qh_answer(request, 200, SL_STR("null"));
}

/* A QueueMessage of LlamaDeploy; its id keeps it from being accepted twice. */
static void simple_put(sl_qh_request *request, sl_str topic)
{
    sl_str body = sl_exchange_body(request->x);
    sl_queue_message_head head;
    const char *why = "a QueueMessage is a JSON object";
    json_t *message = json_loadb(body.ptr ? body.ptr : "", body.len, 0, NULL);
    if (!sl_queue_topic_is(request->http->options.queue, topic)) {
        unknown_topic(request, topic);
    } else if (sl_queue_message_check(message, &head, &why)) {
        sl_qh_fail(request, 422, why);
    } else {
        sl_span_context storage;
        sl_queue_about about = {
            .type = head.type, .action = head.action, .parent = parent_of(request, &head, &storage)};
        start_put(request, &(sl_queue_put){.topic = topic, .body = body, .idempotency_key = head.id}, &about,
                  simple_finish);
    }
    json_decref(message);
}

static void make_topic(sl_qh_request *request, sl_str topic)
{
    int error = sl_queue_topic_make(request->http->options.queue, topic);
    if (error)
        sl_qh_fail_error(request, error);
    else
        sl_qh_answer(request, 200, SL_STR("null"));
}

static void home(sl_qh_request *request)
{
    sl_qh_answer(
        request, 200,
        SL_STR("{\"service_name\":\"message_queue\",\"description\":\"Message queue for multi-agent system\"}"));
}

/* ---- routes ---- */

typedef enum route_id {
    ROUTE_HOME,
    ROUTE_TOPIC,
    ROUTE_SIMPLE_PUT,
    ROUTE_SIMPLE_POP,
    ROUTE_STATS,
    ROUTE_PUT,
    ROUTE_LEASE,
    ROUTE_DEAD,
    ROUTE_ACK,
    ROUTE_NACK,
    ROUTE_EXTEND,
    ROUTE_REQUEUE,
    ROUTE_PURGE,
    ROUTE_COUNT
} route_id;

/* A segment "{}" is a name; it is what the handler is given. */
static const struct {
    sl_http_method method;
    const char *segments[4];
    const char *route;
    bool params; /* the body may hold parameters */
} routes[ROUTE_COUNT] = {
    [ROUTE_HOME] = {SL_HTTP_GET, {NULL}, "/", false},
    [ROUTE_TOPIC] = {SL_HTTP_POST, {"topics", "{}"}, "/topics/{topic}", false},
    [ROUTE_SIMPLE_PUT] = {SL_HTTP_POST, {"messages", "{}"}, "/messages/{topic}", false},
    [ROUTE_SIMPLE_POP] = {SL_HTTP_GET, {"messages", "{}"}, "/messages/{topic}", false},
    [ROUTE_STATS] = {SL_HTTP_GET, {"queues"}, "/queues", false},
    [ROUTE_PUT] = {SL_HTTP_POST, {"queues", "{}", "messages"}, "/queues/{topic}/messages", false},
    [ROUTE_LEASE] = {SL_HTTP_POST, {"queues", "{}", "lease"}, "/queues/{topic}/lease", true},
    [ROUTE_DEAD] = {SL_HTTP_GET, {"queues", "{}", "dead"}, "/queues/{topic}/dead", false},
    [ROUTE_ACK] = {SL_HTTP_POST, {"queues", "messages", "{}", "ack"}, "/queues/messages/{id}/ack", true},
    [ROUTE_NACK] = {SL_HTTP_POST, {"queues", "messages", "{}", "nack"}, "/queues/messages/{id}/nack", true},
    [ROUTE_EXTEND] = {SL_HTTP_POST, {"queues", "messages", "{}", "extend"}, "/queues/messages/{id}/extend", true},
    [ROUTE_REQUEUE] = {SL_HTTP_POST, {"queues", "{}", "dead", "requeue"}, "/queues/{topic}/dead/requeue", true},
    [ROUTE_PURGE] = {SL_HTTP_POST, {"queues", "{}", "dead", "purge"}, "/queues/{topic}/dead/purge", true},
};

/* Whether the path has the shape of a route; `*ret_name` is its name, still percent-coded. */
static bool matches(route_id id, const sl_str *segments, size_t count, sl_str *ret_name)
{
    for (size_t i = 0; i < 4; i++) {
        const char *wanted = routes[id].segments[i];
        if (!wanted)
            return count == i;
        if (i >= count)
            return false;
        if (wanted[0] == '{')
            *ret_name = segments[i];
        else if (!sl_str_eq_c(segments[i], wanted))
            return false;
    }
    return count == 4;
}

/* Parts of a path, a '/' at its end apart; more than 5 are as good as 5. */
static size_t split_path(sl_str path, sl_str *segments)
{
    size_t count = 0;
    sl_str rest = sl_str_sub(path, 1, path.len), part;
    while (count < 5 && rest.len && sl_str_split(&rest, '/', &part))
        segments[count++] = part;
    return count;
}

/* The route of a request; ROUTE_COUNT when there is none, and the methods that the path takes. */
static route_id find_route(const sl_http1_head *head, char *name, size_t size, sl_str *ret_name, unsigned *ret_others)
{
    sl_str path, query, segments[5], coded = sl_str_of(NULL, 0);
    sl_target_split(head->target, &path, &query);
    size_t count = split_path(path, segments), len = 0;
    *ret_others = 0;
    for (int id = 0; id < ROUTE_COUNT; id++) {
        if (!matches((route_id)id, segments, count, &coded))
            continue;
        if (routes[id].method != head->method_id) {
            *ret_others |= 1u << routes[id].method;
            continue;
        }
        if (coded.len && sl_url_decode(coded, false, name, size, &len))
            break;
        *ret_name = sl_str_of(name, len);
        return (route_id)id;
    }
    return ROUTE_COUNT;
}

static void dispatch(sl_qh_request *request, route_id id, sl_str name)
{
    switch (id) {
    case ROUTE_HOME:
        home(request);
        break;
    case ROUTE_TOPIC:
        make_topic(request, name);
        break;
    case ROUTE_SIMPLE_PUT:
        simple_put(request, name);
        break;
    case ROUTE_SIMPLE_POP:
        if (sl_queue_topic_is(request->http->options.queue, name))
            sl_qh_pop(request, name);
        else
            unknown_topic(request, name);
        break;
    case ROUTE_STATS:
        sl_qh_stats(request);
        break;
    case ROUTE_PUT:
        put(request, name);
        break;
    case ROUTE_LEASE:
        sl_qh_lease(request, name);
        break;
    case ROUTE_DEAD:
        sl_qh_dead_list(request, name);
        break;
    case ROUTE_ACK:
        sl_qh_ack(request, name);
        break;
    case ROUTE_NACK:
        sl_qh_nack(request, name);
        break;
    case ROUTE_EXTEND:
        sl_qh_extend(request, name);
        break;
    case ROUTE_REQUEUE:
    case ROUTE_PURGE:
        sl_qh_dead_change(request, name, id == ROUTE_REQUEUE);
        break;
    case ROUTE_COUNT:
        break;
    }
}

static bool key_is_good(const sl_queue_http *http, const sl_http1_head *head)
{
    sl_str bearer = sl_http1_get(head, SL_HTTP_AUTHORIZATION), key = sl_http1_get(head, SL_HTTP_X_API_KEY);
    sl_str wanted = sl_str_c(http->api_key);
    if (!http->api_key)
        return true;
    if (bearer.len > 7 && sl_str_ieq(sl_str_sub(bearer, 0, 7), SL_STR("Bearer ")))
        return sl_str_eq_secret(sl_str_trim(sl_str_sub(bearer, 7, bearer.len)), wanted);
    return sl_str_eq_secret(key, wanted);
}

static const char *method_name(sl_http_method id)
{
    static const char *const names[] = {"_OTHER", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"};
    return (size_t)id < sizeof names / sizeof *names ? names[id] : names[0];
}

/* The connection has answered it by itself: no request that can be read. */
static void on_refused(void *user, int status)
{
    const sl_queue_http *http = user;
    sl_queue_request_over(http->options.telemetry, method_name(SL_HTTP_METHOD_NONE), NULL, status, 0);
}

/* Before the body is read. */
static void on_head(void *user, sl_exchange *x)
{
    sl_queue_http *http = user;
    if (key_is_good(http, sl_exchange_head(x)))
        return;
    sl_queue_request_over(http->options.telemetry, method_name(sl_exchange_head(x)->method_id), NULL, 401, 0);
    sl_http_reply reply = {.status = 401,
                           .content_type = "application/json",
                           .fields = SL_STR("WWW-Authenticate: Bearer\r\n"),
                           .body = SL_STR("{\"detail\":\"the API key is missing or wrong\"}")};
    sl_exchange_respond(x, &reply);
}

/* An empty body has no parameters; SL_EPARSE for one that is no JSON object. */
static int read_params(sl_str body, json_t **ret_params)
{
    if (sl_str_trim(body).len == 0)
        return 0;
    json_t *params = json_loadb(body.ptr, body.len, 0, NULL);
    if (json_is_object(params)) {
        *ret_params = params;
        return 0;
    }
    json_decref(params);
    return SL_EPARSE;
}

static void on_request(void *user, sl_exchange *x)
{
    sl_queue_http *http = user;
    sl_qh_request *request = sl_calloc(1, sizeof *request);
    if (!request) {
        sl_exchange_error(x, 500, "server_error", NULL, "out of memory");
        return;
    }
    char name[SL_QUEUE_MAX_TOPIC_BYTES];
    sl_str given = sl_str_of(NULL, 0);
    unsigned others;
    http->requests++;
    request->http = http;
    request->x = x;
    request->start_ns = sl_exchange_start_ns(x);
    request->method = method_name(sl_exchange_head(x)->method_id);
    sl_buf_init(&request->out, SL_MAX_BODY_BYTES);
    sl_exchange_set_data(x, request);
    route_id id = find_route(sl_exchange_head(x), name, sizeof name, &given, &others);
    if (id == ROUTE_COUNT) {
        sl_exchange_allow(x, others);
        sl_qh_fail(request, others ? 405 : 404, others ? "Method Not Allowed" : "Not Found");
        return;
    }
    request->route = routes[id].route;
    if (routes[id].params && read_params(sl_exchange_body(x), &request->params))
        sl_qh_fail(request, 422, "the body is no JSON object");
    else
        dispatch(request, id, given);
}

/* ---- life ---- */

int sl_queue_http_new(const sl_queue_http_options *options, sl_queue_http **ret_http)
{
    SL_ASSERT(options && options->loop && options->queue && ret_http);
    sl_queue_http *http = sl_calloc(1, sizeof *http);
    if (!http)
        return SL_ENOMEM;
    http->options = *options;
    if (!http->options.lease_ms)
        http->options.lease_ms = 30000;
    if (!http->options.max_leased)
        http->options.max_leased = SL_QUEUE_HTTP_LEASED;
    bool keyed = options->api_key && *options->api_key;
    if (keyed)
        http->api_key = sl_strndup(options->api_key, strlen(options->api_key));
    sl_http_handler handler = {
        .user = http, .on_head = on_head, .on_request = on_request, .on_done = on_done, .on_refused = on_refused};
    sl_http_server_options server = {.max_body_bytes =
                                         options->max_body_bytes ? options->max_body_bytes : SL_QUEUE_MAX_BODY_BYTES,
                                     .detail_errors = true};
    int error =
        keyed && !http->api_key ? SL_ENOMEM : sl_http_server_new(options->loop, &handler, &server, &http->server);
    if (!error && uv_async_init(&options->loop->uv, &http->async, on_async)) {
        sl_http_server_close(http->server);
        error = SL_EIO;
    }
    if (error) {
        sl_free(http->api_key);
        sl_free(http);
        return error;
    }
    (void)pthread_mutex_init(&http->lock, NULL);
    http->async.data = http;
    *ret_http = http;
    return 0;
}

int sl_queue_http_listen(sl_queue_http *http, int fd)
{
    SL_ASSERT(http);
    return sl_http_server_listen(http->server, fd);
}

void sl_queue_http_drain(sl_queue_http *http, void (*on_drained)(void *user), void *user)
{
    SL_ASSERT(http);
    http->draining = true;
    sl_http_server_drain(http->server, on_drained, user);
    sl_qh_release_waiting(http);
}

void sl_queue_http_close(sl_queue_http *http, void (*on_closed)(void *user), void *user)
{
    SL_ASSERT(http && !http->closing);
    http->closing = http->draining = true;
    http->on_closed = on_closed;
    http->closed_user = user;
    sl_http_server_close(http->server); /* on_done comes for what is under way, now or when the loop has run */
    close_when_over(http);
}
