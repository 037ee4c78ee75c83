/* States of server, deployments and services, under both names that there are; and spans. */
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/flow/server_impl.h"
#include "src/telemetry/vocab.h"

static const char *const server_states[] = {"starting", "running", "stopped", NULL};
static const char *const deployment_states[] = {"loading_services", "ready",   "starting_services",
                                                "running",          "stopped", NULL};
static const char *const service_states[] = {"loading", "syncing", "installing", "ready", NULL};

struct sl_flow_states {
    sl_instrument *server[2], *deployment[2], *service[2]; /* LlamaDeploy's own names, llama_deploy_... */
};

int sl_flow_states_new(sl_flow_server *server)
{
    SL_ASSERT(server && !server->states);
    if (!server->sdk)
        return 0;
    sl_flow_states *s = sl_calloc(1, sizeof *s);
    if (!s)
        return SL_ENOMEM;
    sl_meter *meter = sl_meter_named(server->sdk, "sightline.flow");
    s->server[0] = sl_metric_declare(meter, SL_METRIC_APISERVER_STATE);
    s->server[1] = sl_metric_declare(meter, SL_METRIC_LLAMA_DEPLOY_APISERVER_STATE);
    s->deployment[0] = sl_metric_declare(meter, SL_METRIC_DEPLOYMENT_STATE);
    s->deployment[1] = sl_metric_declare(meter, SL_METRIC_LLAMA_DEPLOY_DEPLOYMENT_STATE);
    s->service[0] = sl_metric_declare(meter, SL_METRIC_SERVICE_STATE);
    s->service[1] = sl_metric_declare(meter, SL_METRIC_LLAMA_DEPLOY_SERVICE_STATE);
    server->states = s;
    return 0;
}

void sl_flow_states_free(sl_flow_server *server)
{
    sl_free(server->states);
    server->states = NULL;
}

/* One sample for each state, as prometheus_client's Enum: 1 for the current one. */
static void say(sl_instrument *instrument, const char *label, const char *const *states, const char *state,
                const sl_attr *attrs, size_t count)
{
    SL_ASSERT(count <= 2);
    sl_attr all[3];
    memcpy(all, attrs, count * sizeof *attrs);
    for (size_t i = 0; states[i]; i++) {
        all[count] = sl_attr_str(label, states[i]);
        sl_gauge_set(sl_instrument_bind(instrument, all, count + 1), strcmp(states[i], state) == 0);
    }
}

void sl_flow_say_server(sl_flow_server *server, const char *state)
{
    static const sl_attr none[1];
    if (!server->states)
        return;
    say(server->states->server[0], "apiserver_state", server_states, state, none, 0);
    say(server->states->server[1], "state", server_states, state, none, 0);
}

void sl_flow_say_deployment(sl_flow_server *server, sl_flow_deployment *deployment, const char *state)
{
    SL_ASSERT(deployment);
    deployment->state = state;
    sl_flow_say_name(server, deployment->file->name, state);
}

void sl_flow_say_gone(sl_flow_server *server, sl_flow_deployment *deployment)
{
    SL_ASSERT(deployment);
    for (size_t i = 0; i < deployment->file->service_count; i++)
        sl_flow_say_service(server, deployment, &deployment->services[i], "");
    sl_flow_say_deployment(server, deployment, "");
}

void sl_flow_say_name(sl_flow_server *server, sl_str deployment, const char *state)
{
    SL_ASSERT(state);
    sl_attr attrs[1] = {sl_attr_of("deployment_name", sl_value_str(deployment))};
    if (!server->states)
        return;
    say(server->states->deployment[0], "deployment_state", deployment_states, state, attrs, 1);
    say(server->states->deployment[1], "state", deployment_states, state, attrs, 1);
}

void sl_flow_say_service(sl_flow_server *server, const sl_flow_deployment *deployment, sl_flow_service *service,
                         const char *state)
{
    SL_ASSERT(deployment && service);
    service->state = state;
    sl_attr attrs[2] = {sl_attr_of("deployment_name", sl_value_str(deployment->file->name)),
                        sl_attr_of("service_name", sl_value_str(service->file->id))};
    if (!server->states)
        return;
    say(server->states->service[0], "service_state", service_states, state, attrs, 2);
    say(server->states->service[1], "state", service_states, state, attrs, 2);
}

/* ---- spans ---- */

sl_span *sl_flow_span(sl_tracer *tracer, const char *name, sl_span_kind kind, const sl_span *parent,
                      const sl_span_context *remote)
{
    SL_ASSERT(name);
    sl_span_options options = {.kind = kind, .parent = parent, .parent_context = parent ? NULL : remote};
    options.root = !parent && !remote;
    return sl_span_start(tracer, sl_str_c(name), &options);
}

void sl_flow_span_fail(sl_span *span, const char *type, const char *message)
{
    sl_span_set_str(span, "success", "False");
    sl_span_set_str(span, "error.type", type ? type : "");
    sl_span_set_str(span, "error.message", message ? message : "");
    sl_span_set_status(span, SL_STATUS_ERROR, message);
}
