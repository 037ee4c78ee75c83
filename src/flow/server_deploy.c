/* Deployments that are up: their services, where their tasks go, their states. */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/flow/server_impl.h"
#include "src/llm/json_text.h"
#include "src/telemetry/env.h"

#define REASON_BYTES 512

sl_flow_deployment *sl_deployment_find(sl_flow_server *server, sl_str name)
{
    SL_ASSERT(server);
    for (size_t i = 0; i < server->deployment_count; i++) {
        if (sl_str_eq(server->deployments[i]->file->name, name))
            return server->deployments[i];
    }
    return NULL;
}

sl_flow_service *sl_deployment_service(sl_flow_deployment *deployment, sl_str id)
{
    SL_ASSERT(deployment);
    for (size_t i = 0; i < deployment->file->service_count; i++) {
        if (sl_str_eq(deployment->services[i].file->id, id))
            return &deployment->services[i];
    }
    return NULL;
}

static bool first_row(void *user, const sl_str *columns, size_t count)
{
    (void)columns;
    (void)count;
    *(bool *)user = true;
    return false;
}

bool sl_service_is_registered(sl_flow_server *server, sl_str name)
{
    bool found = false;
    int error =
        sl_flow_store_query(server->store, "select name from services where name = ?1", &name, 1, first_row, &found);
    return found && !error;
}

/* The file of a workflow service: below the base path, the source's folder, as written; the first that is there. */
static bool find_file(sl_str base, const sl_deploy_service *service, char *path, size_t size)
{
    SL_ASSERT(path);
    char tries[2][PATH_MAX];
    const char *file = service->path.ptr;
    (void)snprintf(tries[0], PATH_MAX, "%.*s/%s", (int)base.len, base.ptr, file);
    (void)snprintf(tries[1], PATH_MAX, "%.*s/%s/%s", (int)base.len, base.ptr,
                   service->location.len ? service->location.ptr : ".", file);
    for (size_t i = 0; i < 2; i++) {
        FILE *there = fopen(tries[i], "re");
        if (there) {
            (void)fclose(there);
            return (size_t)snprintf(path, size, "%s", tries[i]) < size;
        }
    }
    (void)snprintf(path, size, "%s", tries[0]);
    return false;
}

/* A workflow of one step, which posts the inputs to the service. */
static int load_http(const sl_deploy_service *service, char *reason, sl_flow **ret_flow)
{
    json_t *root =
        json_pack("{s:s,s:[{s:s,s:s,s:s,s:s,s:s,s:s,s:[s],s:{s:i,s:s}}]}", "name", service->id.ptr, "steps", "id",
                  "answer", "type", "action", "action", "http", "method", "POST", "url", service->path.ptr, "body",
                  "{{ inputs }}", "output", "result", "retry", "max_attempts", 3, "backoff", "exponential");
    char *text = root ? sl_json_text(root) : NULL;
    sl_flow_problems *problems = sl_calloc(1, sizeof *problems);
    int error = text && problems ? sl_flow_load(sl_str_c(text), problems, ret_flow) : SL_ENOMEM;
    if (error == SL_ECONFIG)
        (void)snprintf(reason, REASON_BYTES, "service %s: %.240s", service->id.ptr, problems->items[0].message);
    sl_free(problems);
    free(text);
    json_decref(root);
    return error;
}

static int load_flow(sl_str base, const sl_deploy_service *service, char *reason, sl_flow **ret_flow)
{
    SL_ASSERT(service->kind != SL_SERVICE_WORKER);
    char path[PATH_MAX];
    if (service->kind == SL_SERVICE_HTTP)
        return load_http(service, reason, ret_flow);
    if (!find_file(base, service, path, sizeof path)) {
        (void)snprintf(reason, REASON_BYTES, "service %s: %.200s: no such file; give base_path as the server sees it",
                       service->id.ptr, path);
        return SL_ECONFIG;
    }
    sl_flow_problems *problems = sl_calloc(1, sizeof *problems);
    int error = problems ? sl_flow_load_file(path, problems, ret_flow) : SL_ENOMEM;
    if (error == SL_ECONFIG || error == SL_EIO) {
        const sl_flow_problem *p = &problems->items[0];
        for (size_t i = 0; i < problems->count && p->warning; i++)
            p = &problems->items[i];
        (void)snprintf(reason, REASON_BYTES, "service %s: %.150s:%u: %.240s", service->id.ptr, path, p->line,
                       p->message);
        error = SL_ECONFIG;
    }
    sl_free(problems);
    return error;
}

/* The topic of a service that is run here. It must be its own: not cut off, nor another's, as names hold dots. */
static int topic_of(sl_flow_server *server, const sl_deploy_file *file, const sl_deploy_service *service, char *reason,
                    char topic[SL_QUEUE_MAX_TOPIC_BYTES + 1])
{
    SL_ASSERT(file && service);
    const char *name = service->id.ptr;
    int len = snprintf(topic, SL_QUEUE_MAX_TOPIC_BYTES + 1, "%s.%s.%s", server->topics, file->name.ptr, name);
    if (len < 0 || len > SL_QUEUE_MAX_TOPIC_BYTES) {
        (void)snprintf(reason, REASON_BYTES,
                       "service %s: its topic, of namespace, deployment and service, would have %d bytes; at most %d: "
                       "give it a shorter name",
                       name, len, SL_QUEUE_MAX_TOPIC_BYTES);
        return SL_ECONFIG;
    }
    const sl_flow_consumer *c = sl_consumer_of(server, topic);
    if (!c || sl_str_eq(c->service, service->id)) /* of this deployment, which is loaded anew */
        return 0;
    (void)snprintf(reason, REASON_BYTES,
                   "service %s: its topic %.255s is that of another workflow; give it another name", name, topic);
    return SL_ECONFIG;
}

/* Where the service's tasks go, to the flow, of which it takes no reference. */
static int start_service(sl_flow_server *server, sl_flow_deployment *d, sl_flow_service *service, sl_flow *flow)
{
    SL_ASSERT(service->file);
    char topic[SL_QUEUE_MAX_TOPIC_BYTES + 1], reason[REASON_BYTES];
    if (!flow)
        return 0;
    if (topic_of(server, d->file, service->file, reason, topic)) /* two services of one file */
        return SL_ECONFIG;
    sl_flow_consumer *c = sl_consumer_of(server, topic); /* a reload, or one that was being taken down */
    int error = c ? sl_consumer_watch(c) : sl_consumer_new(server, service->file->id, topic, flow, &c);
    if (error)
        return error;
    if (c->flow != flow) {
        sl_flow_unref(c->flow);
        c->flow = sl_flow_ref(flow);
    }
    service->consumer = c;
    return 0;
}

/* All flows of the services that have one. Nothing is changed before every one of them is good. */
static int load_all(sl_flow_server *server, const sl_flow_deployment *d, sl_str base, char *reason, sl_flow **flows)
{
    SL_ASSERT(d->file);
    int error = 0;
    for (size_t i = 0; i < d->file->service_count && !error; i++) {
        if (d->file->services[i].kind == SL_SERVICE_WORKER)
            continue;
        char topic[SL_QUEUE_MAX_TOPIC_BYTES + 1];
        error = topic_of(server, d->file, &d->file->services[i], reason, topic);
        if (!error)
            error = load_flow(base, &d->file->services[i], reason, &flows[i]);
        if (error == SL_ECONFIG && server->executor)
            sl_executor_count_refused(server->executor);
        if (!error)
            error = sl_flows_keep_version(server, flows[i]);
    }
    return error;
}

static void say_started(sl_flow_server *server, sl_flow_deployment *d)
{
    SL_ASSERT(d);
    sl_flow_say_deployment(server, d, "loading_services");
    for (size_t i = 0; i < d->file->service_count; i++) {
        sl_flow_say_service(server, d, &d->services[i], "loading");
        sl_flow_say_service(server, d, &d->services[i], "ready");
    }
    sl_flow_say_deployment(server, d, "ready");
    sl_flow_say_deployment(server, d, "starting_services");
    sl_flow_say_deployment(server, d, "running");
}

static int start_all(sl_flow_server *server, sl_flow_deployment *d, sl_str base, char *reason)
{
    SL_ASSERT(d->file);
    sl_flow *flows[SL_DEPLOY_MAX_SERVICES] = {NULL};
    int error = load_all(server, d, base, reason, flows);
    for (size_t i = 0; i < d->file->service_count && !error; i++) {
        d->services[i].file = &d->file->services[i];
        error = start_service(server, d, &d->services[i], flows[i]);
    }
    for (size_t i = 0; i < d->file->service_count; i++)
        sl_flow_unref(flows[i]);
    if (!error) /* one that is refused has no state: what is up under its name goes on */
        say_started(server, d);
    return error;
}

sl_flow_deployment *sl_deployment_ref(sl_flow_deployment *deployment)
{
    SL_ASSERT(deployment && deployment->refs > 0);
    deployment->refs++;
    return deployment;
}

void sl_deployment_unref(sl_flow_deployment *deployment)
{
    SL_ASSERT(deployment && deployment->refs > 0);
    if (--deployment->refs > 0)
        return;
    sl_deploy_free(deployment->file);
    sl_free(deployment);
}

static size_t place_of(const sl_flow_server *server, const sl_flow_deployment *d)
{
    size_t i = 0;
    while (i < server->deployment_count && server->deployments[i] != d)
        i++;
    return i;
}

int sl_deployment_add(sl_flow_server *server, sl_deploy_file *file, sl_str base_path, bool reload, char *reason)
{
    SL_ASSERT(file && reason);
    sl_flow_deployment *old = sl_deployment_find(server, file->name);
    sl_flow_deployment *d = NULL;
    int error = 0;
    reason[0] = 0;
    if (old && !reload) {
        (void)snprintf(reason, REASON_BYTES, "Deployment '%s' already exists; reload it with reload=true",
                       file->name.ptr);
        error = SL_EEXIST;
    } else if (!old && server->deployment_count == SL_FLOW_MAX_FLOW_DEPLOYMENTS) {
        (void)snprintf(reason, REASON_BYTES, "Reached the maximum number of deployments: %d",
                       SL_FLOW_MAX_FLOW_DEPLOYMENTS);
        error = SL_ELIMIT;
    } else if (!(d = sl_calloc(1, sizeof *d))) {
        error = SL_ENOMEM;
    } else {
        d->refs = 1;
        d->of_file = old && old->of_file;
        d->file = file;
        error = start_all(server, d, base_path, reason);
    }
    if (error) {
        if (d)
            sl_free(d);
        sl_deploy_free(file);
        return error;
    }
    size_t place = place_of(server, old);
    if (old)
        sl_deployment_unref(old);
    else
        place = server->deployment_count++;
    server->deployments[place] = d;
    sl_leaving_is_back(server, d->file->name);
    return 0;
}

/* ---- at the start ---- */

static bool load_row(void *user, const sl_str *columns, size_t count)
{
    sl_flow_server *server = user;
    sl_deploy_file *file = NULL;
    char reason[REASON_BYTES] = "its file cannot be read any more";
    SL_ASSERT(count == 3);
    (void)count;
    int error = sl_deploy_parse(columns[1], &file);
    if (error)
        sl_deploy_free(file);
    else
        error = sl_deployment_add(server, file, columns[2], false, reason);
    if (error) {
        sl_flow_say_name(server, columns[0], "stopped");
        (void)fprintf(stderr, "sightline: flow: deployment %.*s is not up: %s\n", (int)columns[0].len, columns[0].ptr,
                      reason);
    }
    return true;
}

/* A deployment file of the environment: paths in it are below its own folder. It takes the place of a stored one. */
static void load_file(sl_flow_server *server, const char *path)
{
    SL_ASSERT(path);
    char reason[REASON_BYTES] = "it cannot be read";
    sl_deploy_file *file = NULL;
    char *text = sl_calloc(1, SL_DEPLOY_MAX_BYTES + 1);
    FILE *in = text ? fopen(path, "re") : NULL;
    size_t len = in ? fread(text, 1, SL_DEPLOY_MAX_BYTES + 1, in) : 0;
    int error = in && !ferror(in) ? sl_deploy_parse(sl_str_of(text, len), &file) : SL_EIO;
    const char *slash = strrchr(path, '/');
    if (error)
        sl_deploy_free(file);
    else
        error = sl_deployment_add(server, file, slash ? sl_str_of(path, (size_t)(slash - path)) : SL_STR("."), true,
                                  reason);
    if (!error) /* it has the file now */
        sl_deployment_find(server, file->name)->of_file = true;
    if (error)
        (void)fprintf(stderr, "sightline: flow: %s: the deployment is not up: %s\n", path, reason);
    if (in)
        (void)fclose(in);
    sl_free(text);
}

/* LLAMA_DEPLOY_APISERVER_DEPLOYMENT_FILE_PATH, and the files in ..._RC_PATH. */
static void load_environment(sl_flow_server *server)
{
    static const sl_env env;
    char path[PATH_MAX], folder[PATH_MAX];
    sl_str rc = sl_env_text(&env, SL_VAR_LLAMA_DEPLOY_APISERVER_RC_PATH);
    struct dirent *entry;
    if (sl_str_to_c(sl_env_text(&env, SL_VAR_LLAMA_DEPLOY_APISERVER_DEPLOYMENT_FILE_PATH), path, sizeof path) && *path)
        load_file(server, path);
    if (!sl_str_to_c(rc.len ? rc : SL_STR("./.llama_deploy_rc"), folder, sizeof folder))
        return;
    DIR *dir = opendir(folder);
    while (dir && (entry = readdir(dir))) {
        sl_str name = sl_str_c(entry->d_name);
        if ((sl_str_ends(name, SL_STR(".yml")) || sl_str_ends(name, SL_STR(".yaml"))) &&
            (size_t)snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) < sizeof path)
            load_file(server, path);
    }
    if (dir)
        (void)closedir(dir);
}

int sl_deployments_load(sl_flow_server *server)
{
    int error = sl_flow_store_query(server->store, "select name, source, base_path from deployments order by rowid",
                                    NULL, 0, load_row, server);
    if (!error)
        load_environment(server);
    return error;
}

void sl_deployments_free(sl_flow_server *server)
{
    for (size_t i = 0; i < server->deployment_count; i++) {
        sl_flow_say_deployment(server, server->deployments[i], "stopped");
        sl_deployment_unref(server->deployments[i]);
    }
    server->deployment_count = 0;
}
