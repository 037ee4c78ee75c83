/* Keys of deployment files. */
#include "src/flow/deploy.h"

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/llm/yaml_tree.h"

sl_service_kind sl_deploy_kind(sl_str path)
{
    if (sl_str_starts(path, SL_STR("http://")) || sl_str_starts(path, SL_STR("https://")))
        return SL_SERVICE_HTTP;
    return sl_str_ends(path, SL_STR(".yaml")) || sl_str_ends(path, SL_STR(".yml")) || sl_str_ends(path, SL_STR(".json"))
               ? SL_SERVICE_WORKFLOW
               : SL_SERVICE_WORKER;
}

/* Text of a key; empty when it is absent. A map or a list there is a fault. */
static sl_str text_of(sl_deploy_file *file, sl_yaml *yaml, sl_yaml_node *map, const char *key)
{
    SL_ASSERT(map && key);
    sl_yaml_node *node = sl_yaml_get(yaml, map, key);
    if (!node || sl_yaml_is_null(node))
        return sl_str_of("", 0);
    if (sl_yaml_is_map(node) || sl_yaml_is_list(node)) {
        sl_config_diag(file->memory, SL_DIAG_ERROR, node, "%s: not a text; write one value", key);
        return sl_str_of("", 0);
    }
    return sl_config_dup(file->memory, sl_yaml_text(node));
}

/* Names go into paths of requests and topics of the queue. */
static bool is_name(sl_str name)
{
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.ptr[i];
        if (c <= ' ' || c == '/' || c == 0x7f || c == '?' || c == '#' || c == '%')
            return false;
    }
    return name.len > 0 && name.len <= 100;
}

static void check_keys(sl_deploy_file *file, sl_yaml *yaml, sl_yaml_node *map, const char *const *known)
{
    SL_ASSERT(known);
    sl_yaml_node *key, *value;
    for (size_t i = 0; sl_yaml_pair(yaml, map, i, &key, &value); i++) {
        bool found = sl_yaml_is_merge(key);
        for (const char *const *k = known; *k; k++)
            found = found || sl_str_eq_c(sl_yaml_text(key), *k);
        if (!found) {
            sl_str text = sl_yaml_text(key);
            sl_config_diag(file->memory, SL_DIAG_WARNING, key, "%.*s: no such key; it is ignored", (int)text.len,
                           text.ptr);
        }
    }
}

static void read_port(sl_deploy_file *file, sl_yaml *yaml, sl_yaml_node *map, sl_deploy_service *service)
{
    SL_ASSERT(service);
    sl_str text = text_of(file, yaml, map, "port");
    uint64_t port = 0;
    if (!text.len)
        return;
    if (sl_str_to_u64(text, &port) != 0 || port > 65535)
        sl_config_diag(file->memory, SL_DIAG_ERROR, sl_yaml_get(yaml, map, "port"),
                       "port: not a port; give a number up to 65535");
    else
        service->port = (uint16_t)port;
}

/* The source: `location`, formerly `name`. A missing one is fine for us. */
static void read_source(sl_deploy_file *file, sl_yaml *yaml, sl_yaml_node *map, sl_deploy_service *service)
{
    SL_ASSERT(service);
    sl_yaml_node *source = sl_yaml_get(yaml, map, "source");
    if (!source || sl_yaml_is_null(source))
        return;
    if (!sl_yaml_is_map(source)) {
        sl_config_diag(file->memory, SL_DIAG_ERROR, source, "source: not a map; give it type and location");
        return;
    }
    sl_str type = text_of(file, yaml, source, "type");
    service->location = text_of(file, yaml, source, "location");
    if (!service->location.len)
        service->location = text_of(file, yaml, source, "name");
    if (!sl_str_eq_c(type, "git") && !sl_str_eq_c(type, "docker") && !sl_str_eq_c(type, "local"))
        sl_config_diag(file->memory, SL_DIAG_ERROR, source, "source.type: \"%.*s\" is none; give local, git or docker",
                       (int)type.len, type.ptr);
    if (service->kind == SL_SERVICE_WORKFLOW && !sl_str_eq_c(type, "local"))
        sl_config_diag(file->memory, SL_DIAG_ERROR, source,
                       "source.type: %.*s: a workflow file is read from this machine; give local", (int)type.len,
                       type.ptr);
}

static void read_service(sl_deploy_file *file, sl_yaml *yaml, sl_yaml_node *key, sl_yaml_node *map)
{
    static const char *const known[] = {"name",
                                        "source",
                                        "path",
                                        "import-path",
                                        "import_path",
                                        "host",
                                        "port",
                                        "env",
                                        "env-files",
                                        "env_files",
                                        "python-dependencies",
                                        "python_dependencies",
                                        "ts-dependencies",
                                        "ts_dependencies",
                                        NULL};
    sl_deploy_service *service = &file->services[file->service_count];
    memset(service, 0, sizeof *service);
    service->id = sl_config_dup(file->memory, sl_yaml_text(key));
    service->line = sl_yaml_line(key);
    if (!is_name(service->id))
        sl_config_diag(file->memory, SL_DIAG_ERROR, key,
                       "services: \"%.*s\" is no name; use up to 100 characters without spaces and slashes",
                       (int)service->id.len, service->id.ptr);
    if (!sl_yaml_is_map(map)) {
        sl_config_diag(file->memory, SL_DIAG_ERROR, map, "services.%s: not a map; give it name, source and path",
                       service->id.ptr);
        return;
    }
    check_keys(file, yaml, map, known);
    service->name = text_of(file, yaml, map, "name");
    service->path = text_of(file, yaml, map, "import-path");
    if (!service->path.len)
        service->path = text_of(file, yaml, map, "import_path");
    if (!service->path.len)
        service->path = text_of(file, yaml, map, "path");
    service->kind = sl_deploy_kind(service->path);
    service->host = text_of(file, yaml, map, "host");
    read_port(file, yaml, map, service);
    read_source(file, yaml, map, service);
    file->service_count++;
}

static void read_services(sl_deploy_file *file, sl_yaml *yaml, sl_yaml_node *root)
{
    SL_ASSERT(file);
    sl_yaml_node *map = sl_yaml_get(yaml, root, "services"), *key, *value;
    if (!map || !sl_yaml_is_map(map) || sl_yaml_pair_count(map) == 0) {
        sl_config_diag(file->memory, SL_DIAG_ERROR, map, "services: missing; name at least one");
        return;
    }
    for (size_t i = 0; sl_yaml_pair(yaml, map, i, &key, &value); i++) {
        if (i == SL_DEPLOY_MAX_SERVICES) {
            sl_config_diag(file->memory, SL_DIAG_ERROR, key, "services: too many; at most %d", SL_DEPLOY_MAX_SERVICES);
            return;
        }
        read_service(file, yaml, key, value);
    }
}

static void read_file(sl_deploy_file *file, sl_yaml *yaml)
{
    static const char *const known[] = {"name",
                                        "control-plane",
                                        "control_plane",
                                        "message-queue",
                                        "message_queue",
                                        "default-service",
                                        "default_service",
                                        "services",
                                        "ui",
                                        NULL};
    sl_yaml_node *root = sl_yaml_root(yaml);
    if (!root || !sl_yaml_is_map(root)) {
        sl_config_diag(file->memory, SL_DIAG_ERROR, root, "not a deployment: give it a name and services");
        return;
    }
    check_keys(file, yaml, root, known);
    file->name = text_of(file, yaml, root, "name");
    if (!is_name(file->name))
        sl_config_diag(file->memory, SL_DIAG_ERROR, sl_yaml_get(yaml, root, "name"),
                       "name: missing, or no name; use up to 100 characters without spaces and slashes");
    read_services(file, yaml, root);
    file->default_service = text_of(file, yaml, root, "default-service");
    if (!file->default_service.len)
        file->default_service = text_of(file, yaml, root, "default_service");
    bool found = !file->default_service.len;
    for (size_t i = 0; i < file->service_count; i++)
        found = found || sl_str_eq(file->services[i].id, file->default_service);
    if (!found)
        sl_config_diag(file->memory, SL_DIAG_ERROR, root,
                       "default-service: \"%.*s\" is not among the services; name one", (int)file->default_service.len,
                       file->default_service.ptr);
    if (sl_yaml_get(yaml, root, "ui"))
        sl_config_diag(file->memory, SL_DIAG_WARNING, sl_yaml_get(yaml, root, "ui"),
                       "ui: not started; start it by itself");
}

int sl_deploy_parse(sl_str text, sl_deploy_file **ret_file)
{
    SL_ASSERT(ret_file);
    if (text.len > SL_DEPLOY_MAX_BYTES)
        return SL_ETOOBIG;
    sl_deploy_file *file = sl_calloc(1, sizeof *file);
    sl_yaml *yaml = NULL;
    int error = file ? 0 : SL_ENOMEM;
    if (file && (!(file->memory = sl_config_empty()) ||
                 !(file->services = sl_calloc(SL_DEPLOY_MAX_SERVICES, sizeof *file->services))))
        error = SL_ENOMEM;
    if (!error)
        error = sl_yaml_parse(text, file->memory, &yaml);
    if (!error)
        read_file(file, yaml);
    sl_yaml_free(yaml);
    if (!error && file->memory->failed)
        error = file->memory->failed;
    if (error && error != SL_ECONFIG) {
        sl_deploy_free(file);
        return error;
    }
    *ret_file = file;
    return file->memory->error_count ? SL_ECONFIG : 0;
}

void sl_deploy_free(sl_deploy_file *file)
{
    if (!file)
        return;
    sl_config_free(file->memory);
    sl_free(file->services);
    sl_free(file);
}
