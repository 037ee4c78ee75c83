/* A configuration put to use: origins, groups of deployments, local answers. */
#include "src/gateway/gateway.h"

#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/hash.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/gateway/gw_impl.h"
#include "src/gateway/telemetry.h"
#include "src/llm/provider.h"
#include "src/llm/tables.h"
#include "src/wire/http1_write.h"
#include "src/wire/json_write.h"
#include "src/wire/pct.h"

#define ARENA_MAX (64u * 1024 * 1024)
#define MODELS_MAX (4u * 1024 * 1024)

/* ---- routes ---- */

static const sl_str route_texts[SL_GW_ROUTE_COUNT] = {
    [SL_GW_ROUTE_CHAT] = {"/v1/chat/completions", 20}, [SL_GW_ROUTE_COMPLETION] = {"/v1/completions", 15},
    [SL_GW_ROUTE_EMBEDDINGS] = {"/v1/embeddings", 14}, [SL_GW_ROUTE_MODELS] = {"/v1/models", 10},
    [SL_GW_ROUTE_MODEL] = {"/v1/models/{model}", 18},  [SL_GW_ROUTE_OTHER] = {"", 0},
};

sl_str sl_gw_route_text(sl_gw_route route)
{
    SL_ASSERT(route >= 0 && route < SL_GW_ROUTE_COUNT);
    return route_texts[route];
}

static sl_str without_v1(sl_str path)
{
    return sl_str_starts(path, SL_STR("/v1/")) ? sl_str_sub(path, 3, path.len) : path;
}

sl_gw_route sl_gw_route_of(sl_str path, sl_llm_operation operation)
{
    switch (operation) {
    case SL_LLM_CHAT:
        return SL_GW_ROUTE_CHAT;
    case SL_LLM_COMPLETION:
        return SL_GW_ROUTE_COMPLETION;
    case SL_LLM_EMBEDDINGS:
        return SL_GW_ROUTE_EMBEDDINGS;
    default:
        break;
    }
    sl_str rest = without_v1(path);
    if (sl_str_eq(rest, SL_STR("/models")))
        return SL_GW_ROUTE_MODELS;
    if (sl_str_starts(rest, SL_STR("/models/")) && rest.len > 8)
        return SL_GW_ROUTE_MODEL;
    return SL_GW_ROUTE_OTHER;
}

/* ---- groups ---- */

sl_gw_group *sl_gw_find_group(sl_gateway *gateway, sl_str model)
{
    SL_ASSERT(gateway);
    size_t mask = gateway->index_size - 1;
    for (size_t i = sl_hash_str(model) & mask; gateway->index[i]; i = (i + 1) & mask) {
        sl_gw_group *group = &gateway->groups[gateway->index[i] - 1];
        if (sl_str_eq(group->name, model))
            return group;
    }
    return gateway->any;
}

sl_gw_target *sl_gw_pick(sl_gateway *gateway, sl_gw_request *request)
{
    SL_ASSERT(request);
    sl_gw_group *group = request->group;
    SL_ASSERT(group && group->count > 0);
    unsigned start = 0;
    if (group->count > 1) {
        gateway->random = gateway->random * 6364136223846793005u + 1442695040888963407u;
        start = (unsigned)((gateway->random >> 33) % group->count);
    }
    for (unsigned i = 0; i < group->count; i++) {
        unsigned at = (start + i) % group->count;
        if (request->tried & (UINT64_C(1) << at))
            continue;
        request->tried |= UINT64_C(1) << at;
        return group->targets[at];
    }
    return NULL;
}

static void index_group(sl_gateway *gateway, size_t number)
{
    SL_ASSERT(gateway);
    size_t mask = gateway->index_size - 1;
    size_t i = sl_hash_str(gateway->groups[number].name) & mask;
    while (gateway->index[i])
        i = (i + 1) & mask;
    gateway->index[i] = (uint32_t)number + 1;
}

static int add_to_group(sl_gateway *gateway, sl_gw_target *target)
{
    SL_ASSERT(target);
    sl_str name = target->deployment->model_name;
    sl_gw_group *group = NULL;
    for (size_t i = 0; i < gateway->group_count && !group; i++) {
        if (sl_str_eq(gateway->groups[i].name, name))
            group = &gateway->groups[i];
    }
    if (!group) {
        group = &gateway->groups[gateway->group_count++];
        group->name = name;
        if (sl_str_eq(name, SL_STR("*")))
            gateway->any = group;
        index_group(gateway, gateway->group_count - 1);
    }
    if (group->count == SL_GW_MAX_GROUP)
        return SL_ECONFIG;
    group->targets[group->count++] = target;
    return 0;
}

/* ---- targets ---- */

/* Request line and the fields that are the same for every request. */
static int make_prefix(sl_gateway *gateway, sl_gw_target *target, sl_llm_operation operation)
{
    SL_ASSERT(target && gateway);
    const sl_deployment *d = target->deployment;
    sl_buf *text = &gateway->loop->scratch;
    sl_buf_clear(text);
    bool default_port = d->port == (d->tls ? 443 : 80);
    bool v6 = sl_str_chr(d->host, ':') != SL_NPOS;
    sl_str path = sl_llm_operation_path(operation);
    (void)sl_buf_put_str(text, SL_STR("POST "));
    (void)sl_buf_put_str(text, d->base_path);
    (void)sl_buf_put_str(text, path);
    (void)sl_buf_put_str(text, SL_STR(" HTTP/1.1\r\nHost: "));
    (void)sl_buf_printf(text, v6 ? "[%.*s]" : "%.*s", (int)d->host.len, d->host.ptr);
    if (!default_port)
        (void)sl_buf_printf(text, ":%u", (unsigned)d->port);
    (void)sl_buf_put_str(text, SL_STR("\r\n"));
    if (d->api_key.len) {
        (void)sl_buf_put_str(text, SL_STR("Authorization: Bearer "));
        (void)sl_buf_put_str(text, d->api_key);
        (void)sl_buf_put_str(text, SL_STR("\r\n"));
    }
    if (text->failed)
        return text->failed;
    target->prefix[operation] = sl_arena_dup(&gateway->arena, sl_buf_str(text));
    return target->prefix[operation].ptr ? 0 : SL_ENOMEM;
}

static int make_model_json(sl_gateway *gateway, sl_gw_target *target)
{
    SL_ASSERT(target);
    const sl_deployment *d = target->deployment;
    if (sl_str_eq(d->model_name, d->upstream_model) || sl_str_eq(d->upstream_model, SL_STR("*")))
        return 0;
    sl_buf *text = &gateway->loop->scratch;
    sl_buf_clear(text);
    if (sl_json_put_string(text, d->upstream_model) != 0)
        return SL_ENOMEM;
    target->model_json = sl_arena_dup(&gateway->arena, sl_buf_str(text));
    return target->model_json.ptr ? 0 : SL_ENOMEM;
}

static int make_target(sl_gateway *gateway, sl_gw_target *target, const sl_deployment *d)
{
    SL_ASSERT(target && d && gateway);
    target->deployment = d;
    const sl_provider *provider = sl_provider_find(d->provider);
    target->provider = provider ? sl_str_c(provider->genai) : d->provider;
    sl_origin_options origin = {
        .host = d->host, .port = d->port, .tls = d->tls, .ca_file = d->ca_file, .tls_insecure = d->tls_insecure};
    int error = sl_upstream_origin(gateway->upstream, &origin, &target->origin);
    if (error)
        return error == SL_ENOMEM ? error : SL_ECONFIG;
    error = make_model_json(gateway, target);
    for (int op = SL_LLM_CHAT; op < SL_LLM_OPERATION_COUNT && !error; op++)
        error = make_prefix(gateway, target, (sl_llm_operation)op);
    return error ? error : add_to_group(gateway, target);
}

static int make_targets(sl_gateway *gateway)
{
    SL_ASSERT(gateway);
    size_t count = gateway->config->deployment_count;
    gateway->targets = sl_calloc(count + 1, sizeof *gateway->targets);
    gateway->groups = sl_calloc(count + 1, sizeof *gateway->groups);
    gateway->index_size = 16;
    while (gateway->index_size < 2 * (count + 1))
        gateway->index_size *= 2;
    gateway->index = sl_calloc(gateway->index_size, sizeof *gateway->index);
    if (!gateway->targets || !gateway->groups || !gateway->index)
        return SL_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        int error = make_target(gateway, &gateway->targets[i], &gateway->config->deployments[i]);
        if (error)
            return error;
        gateway->target_count++;
    }
    return 0;
}

/* ---- GET /v1/models ---- */

static void put_model(sl_jw *w, const sl_gw_group *group)
{
    SL_ASSERT(group);
    sl_jw_object(w);
    sl_jw_member_str(w, "id", group->name);
    sl_jw_member_c(w, "object", "model");
    sl_jw_member_i64(w, "created", 1677610602);
    sl_jw_member_str(w, "owned_by", group->targets[0]->provider);
    sl_jw_end(w);
}

static int make_models(sl_gateway *gateway)
{
    sl_buf text;
    sl_jw w;
    sl_buf_init(&text, MODELS_MAX);
    sl_jw_init(&w, &text);
    sl_jw_object(&w);
    sl_jw_member_c(&w, "object", "list");
    sl_jw_member_array(&w, "data");
    for (size_t i = 0; i < gateway->group_count; i++)
        put_model(&w, &gateway->groups[i]);
    sl_jw_end(&w);
    sl_jw_end(&w);
    int error = sl_jw_finish(&w);
    if (!error) {
        gateway->models = sl_arena_dup(&gateway->arena, sl_buf_str(&text));
        error = gateway->models.ptr ? 0 : SL_ENOMEM;
    }
    sl_buf_done(&text);
    return error;
}

/* ---- local answers ---- */

typedef struct local_answer {
    const char *path;
    const char *body;
} local_answer;

/* LiteLLM's users probe the gateway's own port; a worker that answers at all is alive and ready. */
static const local_answer health_answers[] = {
    {"/health/liveliness", "\"I'm alive!\""},
    {"/health/liveness", "\"I'm alive!\""},
    {"/health/readiness", "{\"status\":\"healthy\"}"},
    {"/health/live", "{\"status\":\"healthy\"}"},
    {"/health/ready", "{\"status\":\"healthy\"}"},
    {"/health", "{\"status\":\"healthy\"}"},
    {"/ready", "{\"status\":\"healthy\"}"},
};

static void respond_json(sl_exchange *x, sl_str body)
{
    sl_http_reply reply = {.status = 200, .content_type = "application/json", .body = body};
    sl_exchange_respond(x, &reply);
}

/* The deployments of a name as it stands in a path, where clients encode a slash, or do not; NULL: none of that name.
 */
static sl_gw_group *find_in_path(sl_gateway *gateway, sl_str name)
{
    SL_ASSERT(gateway);
    char text[SL_OPENAI_MODEL_MAX];
    if (name.len > sizeof text)
        return NULL;
    name = sl_str_of(text, sl_pct_decode(name, text));
    sl_gw_group *group = sl_gw_find_group(gateway, name);
    return group && sl_str_eq(group->name, name) ? group : NULL;
}

static void answer_model(sl_gw_request *request, sl_str path)
{
    SL_ASSERT(request);
    sl_gateway *gateway = request->gateway;
    sl_gw_group *group = find_in_path(gateway, sl_str_sub(without_v1(path), 8, path.len));
    if (!group) {
        sl_gw_fail(request, 404, "model_not_found", "model_not_found", "this model does not exist");
        return;
    }
    sl_buf text;
    sl_jw w;
    sl_buf_init(&text, 4096);
    sl_jw_init(&w, &text);
    put_model(&w, group);
    request->status = 200;
    sl_gw_set_state(request, SL_GW_ANSWERED);
    if (sl_jw_finish(&w) == 0)
        respond_json(request->x, sl_buf_str(&text));
    else
        sl_exchange_error(request->x, 500, "server_error", NULL, "out of memory");
    sl_buf_done(&text);
}

bool sl_gw_is_probe(sl_str path)
{
    for (size_t i = 0; i < sizeof health_answers / sizeof *health_answers; i++) {
        if (sl_str_eq_c(path, health_answers[i].path))
            return true;
    }
    return false;
}

static bool answer_health(sl_gw_request *request, sl_str path)
{
    for (size_t i = 0; i < sizeof health_answers / sizeof *health_answers; i++) {
        if (!sl_str_eq_c(path, health_answers[i].path))
            continue;
        request->probe = true;
        request->status = 200;
        sl_gw_set_state(request, SL_GW_ANSWERED);
        respond_json(request->x, sl_str_c(health_answers[i].body));
        return true;
    }
    return false;
}

bool sl_gw_answer_locally(sl_gw_request *request, const sl_http1_head *head, sl_str path)
{
    SL_ASSERT(head);
    bool reads = head->method_id == SL_HTTP_GET || head->method_id == SL_HTTP_HEAD;
    if (!reads)
        return false;
    if (request->state == SL_GW_ACCEPTED)
        return answer_health(request, path);
    if (request->route == SL_GW_ROUTE_MODELS) {
        request->status = 200;
        sl_gw_set_state(request, SL_GW_ANSWERED);
        respond_json(request->x, request->gateway->models);
        return true;
    }
    if (request->route == SL_GW_ROUTE_MODEL) {
        answer_model(request, path);
        return true;
    }
    return false;
}

/* ---- life ---- */

static void on_refused(void *user, int status)
{
    sl_gw_trace_refused(user, status);
}

static void on_connection(void *user, int change)
{
    sl_gw_trace_connection(user, change);
}

static int start_server(sl_gateway *gateway, const sl_gateway_options *options)
{
    SL_ASSERT(options && gateway);
    sl_http_handler handler = {.user = gateway,
                               .on_head = sl_gw_on_head,
                               .on_request = sl_gw_on_request,
                               .on_writable = sl_gw_on_writable,
                               .on_done = sl_gw_on_done,
                               .on_refused = on_refused,
                               .on_connection = on_connection};
    sl_http_server_options server = options->server;
    const sl_config *config = options->config;
    if (!server.max_body_bytes)
        server.max_body_bytes = config->max_body_bytes;
    if (!server.head_timeout_ms)
        server.head_timeout_ms = config->head_timeout_ms;
    if (!server.body_timeout_ms)
        server.body_timeout_ms = config->body_timeout_ms;
    if (!server.idle_timeout_ms)
        server.idle_timeout_ms = config->idle_timeout_ms;
    if (!server.write_timeout_ms)
        server.write_timeout_ms = config->write_timeout_ms;
    return sl_http_server_new(gateway->loop, &handler, &server, &gateway->server);
}

int sl_gateway_new(sl_loop *loop, const sl_gateway_options *options, sl_gateway **ret_gateway)
{
    SL_ASSERT(loop && options && options->config && ret_gateway);
    sl_llm_init();
    sl_gateway *gateway = sl_calloc(1, sizeof *gateway);
    if (!gateway)
        return SL_ENOMEM;
    gateway->loop = loop;
    gateway->config = options->config;
    sl_arena_init(&gateway->arena, 16 * 1024, ARENA_MAX);
    sl_buf_init(&gateway->fields, 4 * SL_MAX_HEAD_BYTES);
    sl_rng rng;
    sl_rng_init(&rng);
    gateway->random = sl_rng_next(&rng);
    int error = sl_upstream_new(loop, NULL, &gateway->upstream);
    if (!error)
        error = make_targets(gateway);
    if (!error)
        error = make_models(gateway);
    if (!error && options->sdk)
        error = sl_gw_telemetry_new(options->sdk, &gateway->telemetry);
    if (!error)
        error = start_server(gateway, options);
    if (error) {
        sl_gateway_close(gateway);
        sl_gateway_free(gateway);
        return error;
    }
    *ret_gateway = gateway;
    return 0;
}

int sl_gateway_listen(sl_gateway *gateway, int fd)
{
    SL_ASSERT(gateway);
    return sl_http_server_listen(gateway->server, fd);
}

void sl_gateway_drain(sl_gateway *gateway, void (*on_drained)(void *user), void *user)
{
    SL_ASSERT(gateway);
    sl_http_server_drain(gateway->server, on_drained, user);
}

void sl_gateway_close(sl_gateway *gateway)
{
    if (!gateway)
        return;
    gateway->closing = true;
    sl_http_server_close(gateway->server);
    gateway->server = NULL;
    sl_upstream_close(gateway->upstream);
}

void sl_gateway_free(sl_gateway *gateway)
{
    if (!gateway)
        return;
    SL_ASSERT(!gateway->server && gateway->in_flight == 0);
    sl_gw_free_idle(gateway);
    sl_upstream_free(gateway->upstream);
    for (size_t i = 0; gateway->targets && i < gateway->target_count; i++) {
        for (int op = 0; op < SL_LLM_OPERATION_COUNT; op++)
            sl_gw_bound_free(gateway->targets[i].bound[op]);
    }
    sl_gw_telemetry_free(gateway->telemetry);
    sl_free(gateway->targets);
    sl_free(gateway->groups);
    sl_free(gateway->index);
    sl_arena_done(&gateway->arena);
    sl_buf_done(&gateway->fields);
    sl_free(gateway);
}

size_t sl_gateway_in_flight(const sl_gateway *gateway)
{
    SL_ASSERT(gateway);
    return gateway->in_flight;
}
