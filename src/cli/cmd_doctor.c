/* `sightline doctor`: checks the set-up and says how to mend it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/cli/commands.h"
#include "src/cli/doctor_env.h"
#include "src/cli/doctor_net.h"
#include "src/cli/doctor_probe.h"
#include "src/cli/doctor_program.h"
#include "src/cli/ready_file.h"
#include "src/cli/serve.h"
#include "src/cli/server_options.h"
#include "src/llm/config.h"
#include "src/wire/json_scan.h"

extern char **environ;

typedef struct doctor_command_options {
    sl_server_options server; /* first: its table's offsets count from here */
    sl_str key;
    sl_str format;
    uint64_t timeout_ms;
    bool offline;
} doctor_command_options;

#define OPT(member) offsetof(doctor_command_options, member)
static const sl_option options[] = {
    {"key", 'k', SL_OPT_STR, OPT(key), "KEY", "For the gateway; absent: the configuration's, else sk-dev-key.", NULL,
     "SIGHTLINE_KEY"},
    {"offline", 0, SL_OPT_FLAG, OPT(offline), NULL, "Leave out everything that needs the network.", NULL, NULL},
    {"timeout", 't', SL_OPT_MS, OPT(timeout_ms), "SECONDS", "Patience with each address.", "3", NULL},
    {"format", 'f', SL_OPT_STR, OPT(format), "FORMAT", "text or json.", "text", NULL},
    {NULL, 0, SL_OPT_FLAG, 0, NULL, NULL, NULL, NULL}};
static const sl_option *const tables[] = {sl_server_option_table, sl_gateway_option_table, sl_flow_option_table,
                                          options, NULL};

/* ---- configuration ---- */

static void say_diagnostics(sl_doctor *doctor, const sl_config *config)
{
    SL_ASSERT(config);
    for (const sl_diagnostic *d = config->diagnostics; d; d = d->next) {
        char place[32] = "";
        if (d->line)
            snprintf(place, sizeof place, ":%u:%u", d->line, d->column);
        sl_doctor_say(doctor, d->level == SL_DIAG_ERROR ? SL_DOCTOR_FAIL : SL_DOCTOR_WARN, "configuration", NULL,
                      "%s%s: %s", config->path.ptr, place, d->text.ptr);
    }
}

/* The configuration when there is one that can be read; NULL otherwise. */
static sl_config *check_config(sl_doctor *doctor, sl_str path)
{
    SL_ASSERT(path.ptr || !path.len);
    char text[4096];
    sl_config *config = NULL;
    if (!path.len) {
        sl_doctor_say(doctor, SL_DOCTOR_OK, "configuration", NULL,
                      "none given: `sightline up` serves claude-haiku from its own mock");
        return NULL;
    }
    int error = sl_str_to_c(path, text, sizeof text) ? sl_config_load(text, &config) : SL_ETOOBIG;
    if (!config) {
        sl_doctor_say(doctor, SL_DOCTOR_FAIL, "configuration", "check the path and its permissions",
                      "%.*s: cannot be read: %s", (int)path.len, path.ptr,
                      error == SL_EIO ? strerror(errno) : sl_strerror(error));
        return NULL;
    }
    say_diagnostics(doctor, config);
    if (!error)
        sl_doctor_say(doctor, SL_DOCTOR_OK, "configuration", NULL, "%.*s: models %zu, health checks %zu, key %s",
                      (int)path.len, path.ptr, config->deployment_count, config->health_check_count,
                      config->master_key.len ? "set" : "not set");
    return config;
}

/* ---- where things listen ---- */

typedef struct addresses {
    char text[SL_LISTENER_COUNT][SL_ADDR_TEXT_MAX + 8];
    bool asked[SL_LISTENER_COUNT]; /* somebody said where it is */
} addresses;

/* Options and environment first, then the configuration, LlamaDeploy's variables, the defaults. */
static void find_addresses(sl_doctor *doctor, const sl_server_options *server, const sl_config *config,
                           addresses *ret_found)
{
    SL_ASSERT(ret_found);
    for (int i = 0; i < SL_LISTENER_COUNT; i++) {
        sl_listener_id id = (sl_listener_id)i;
        sl_str text = server->listen[i];
        sl_str other = config ? sl_listener_configured(config, id) : sl_str_of(NULL, 0);
        bool given = sl_option_given(&sl_cmd_doctor, sl_listener_option(id));
        char reason[SL_ADDR_REASON_MAX], llama[SL_ADDR_TEXT_MAX];
        const char *source;
        sl_addr addr;
        ret_found->text[i][0] = 0;
        if (!given && !other.len && sl_serve_llama_listen(id, llama, sizeof llama, &source))
            other = sl_str_c(llama);
        if (other.len && !given)
            text = other;
        ret_found->asked[i] = given || other.len;
        if (sl_addr_parse(text, "127.0.0.1", &addr, reason) != 0) {
            sl_doctor_say(doctor, SL_DOCTOR_FAIL, sl_listener_key(id), NULL, "--%s: %s", sl_listener_option(id),
                          reason);
            continue;
        }
        sl_ready ready = {.count = 0};
        sl_ready_add(&ready, sl_listener_key(id), &addr);
        if (ready.count && addr.port)
            snprintf(ret_found->text[i], sizeof ret_found->text[i], "%s", ready.items[0].url);
    }
}

static bool read_file(sl_str path, char *text, size_t size, size_t *ret_len)
{
    SL_ASSERT(ret_len);
    char name[4096];
    FILE *file = sl_str_to_c(path, name, sizeof name) ? fopen(name, "rbe") : NULL;
    if (!file)
        return false;
    *ret_len = fread(text, 1, size, file);
    bool good = !ferror(file);
    fclose(file);
    return good;
}

/* A ready file knows best: it holds the addresses of a running process. */
static void read_ready_file(sl_doctor *doctor, sl_str path, addresses *found)
{
    SL_ASSERT(path.ptr || !path.len);
    char text[8192];
    size_t len = 0;
    sl_json_value root;
    if (!read_file(path, text, sizeof text, &len) || sl_json_parse(sl_str_of(text, len), &root, NULL) != 0) {
        sl_doctor_say(doctor, SL_DOCTOR_FAIL, "ready file", "start the gateway with the same --ready-file",
                      "%.*s: cannot be read, or is no JSON", (int)path.len, path.ptr);
        return;
    }
    for (int i = 0; i < SL_LISTENER_COUNT; i++) {
        sl_str url = sl_json_string_raw(sl_json_get(root, sl_listener_key((sl_listener_id)i)));
        (void)sl_str_to_c(url, found->text[i], sizeof found->text[i]);
        found->asked[i] = true;
    }
}

static void check_listeners(sl_doctor *doctor, const doctor_command_options *o, const sl_config *config)
{
    SL_ASSERT(o);
    addresses found;
    find_addresses(doctor, &o->server, config, &found);
    if (o->server.ready_file.len)
        read_ready_file(doctor, o->server.ready_file, &found);
    if (o->offline)
        return;
    const char *master = getenv("LITELLM_MASTER_KEY");
    sl_doctor_targets targets = {.gateway = found.text[SL_LISTENER_gateway],
                                 .metrics = found.text[SL_LISTENER_metrics],
                                 .health = found.text[SL_LISTENER_health],
                                 .admin = found.text[SL_LISTENER_admin],
                                 .api = found.text[SL_LISTENER_api],
                                 .control = found.text[SL_LISTENER_control],
                                 .queue = found.text[SL_LISTENER_queue],
                                 .flow_key = o->server.api_key,
                                 .gateway_spare = !config && !found.asked[SL_LISTENER_gateway],
                                 .flow_spare = !found.asked[SL_LISTENER_api] && !found.asked[SL_LISTENER_control] &&
                                               !found.asked[SL_LISTENER_queue],
                                 .key = SL_STR("sk-dev-key"),
                                 .timeout_ms = o->timeout_ms};
    if (o->key.len)
        targets.key = o->key;
    else if (config && config->master_key.len)
        targets.key = config->master_key;
    else if (master && *master)
        targets.key = sl_str_c(master);
    sl_doctor_listeners(doctor, &targets);
}

/* What `exec` of a program would need: nothing of servers. */
static void check_program(sl_doctor *doctor, const doctor_command_options *o, const char *argv0)
{
    SL_ASSERT(o && argv0);
    static const sl_env env;
    sl_doctor_environment(doctor, &env);
    sl_doctor_unknown_names(doctor, environ);
    sl_doctor_probe(doctor);
    sl_doctor_program(doctor, argv0);
    if (!o->offline)
        sl_doctor_endpoints(doctor, &env, o->timeout_ms);
}

static void check_all(sl_doctor *doctor, const doctor_command_options *o, const sl_config *config)
{
    SL_ASSERT(o);
    static const sl_env env;
    sl_doctor_environment(doctor, &env);
    sl_doctor_unknown_names(doctor, environ);
    sl_doctor_descriptors(doctor);
    sl_doctor_multiproc(doctor, &env);
    sl_doctor_probe(doctor);
    if (!o->offline)
        sl_doctor_endpoints(doctor, &env, o->timeout_ms);
    check_listeners(doctor, o, config);
}

static int print(const sl_doctor *doctor, bool json)
{
    sl_buf out;
    sl_buf_init(&out, 4u << 20);
    int error = json ? sl_doctor_json(doctor, &out) : sl_doctor_text(doctor, sl_use_colour(STDOUT_FILENO), &out);
    int status = error ? sl_fail(SL_EXIT_FAILED, "doctor: %s", sl_strerror(error)) : sl_print(&out);
    sl_buf_done(&out);
    return status || doctor->failures ? SL_EXIT_FAILED : SL_EXIT_OK;
}

static int run_doctor(const sl_command *command, void *given, char **args, size_t arg_count)
{
    (void)command;
    const doctor_command_options *o = given;
    bool json = sl_str_eq_c(o->format, "json");
    if (!sl_format_is_known(o->format))
        return SL_EXIT_USAGE;
    if (o->timeout_ms == 0 || o->timeout_ms > 600000)
        return sl_fail(SL_EXIT_USAGE, "--timeout: out of range; give more than 0, up to 600 seconds");
    sl_doctor *doctor = sl_calloc(1, sizeof *doctor);
    if (!doctor)
        return sl_fail(SL_EXIT_FAILED, "doctor: out of memory");
    sl_doctor_init(doctor);
    sl_config *config = arg_count ? NULL : check_config(doctor, o->server.config);
    if (arg_count)
        check_program(doctor, o, args[0]);
    else if (!o->server.check)
        check_all(doctor, o, config);
    int status = print(doctor, json);
    if (o->server.check && status == SL_EXIT_FAILED)
        status = SL_EXIT_USAGE;
    sl_config_free(config);
    sl_doctor_done(doctor);
    sl_free(doctor);
    return status;
}

const sl_command sl_cmd_doctor = {
    "doctor",
    "check the set-up and say how to mend it",
    "[options] [-- COMMAND…]",
    "Checks configuration, environment, exporters and their endpoints, sampling, "
    "descriptors, and whether gateway, metrics, health "
    "and admin listeners and the flow server's answer. A line for each: ok, warn or FAIL, what was seen, how "
    "to mend it. Exit status 1 on FAIL. Takes the "
    "options of `up`, so that it looks where that would listen. Secrets are never shown.\n\n"
    "With a COMMAND: what `sightline exec -- COMMAND` would see of it, without running it: "
    "which libllama it is linked to and which of its functions are there, llama.cpp that "
    "is linked in, TLS, libraries that are missing.",
    "  sightline doctor\n"
    "  sightline doctor -c config.yaml --offline\n"
    "  sightline doctor -- llama-server\n"
    "  sightline doctor --ready-file /run/sightline/ready.json --format json\n",
    tables,
    sizeof(doctor_command_options),
    SL_ARGS_COMMAND,
    run_doctor};
