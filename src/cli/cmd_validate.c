/* `sightline validate`: everything that is wrong in workflow files, before anything runs. */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/cli/commands.h"
#include "src/flow/model.h"
#include "src/wire/json_write.h"

#define MAX_FILES 256

typedef struct validate_command_options {
    sl_str format;
    sl_str_list providers;
    bool strict;
} validate_command_options;

#define OPT(member) offsetof(validate_command_options, member)
static const sl_option options[] = {
    {"format", 'f', SL_OPT_STR, OPT(format), "FORMAT", "text or json.", "text", NULL},
    {"provider", 0, SL_OPT_LIST, OPT(providers), "NAME",
     "A provider that steps may name; with one or more of them every other name is a fault.", NULL, NULL},
    {"strict", 0, SL_OPT_FLAG, OPT(strict), NULL, "Warnings are faults too.", NULL, NULL},
    {NULL, 0, SL_OPT_FLAG, 0, NULL, NULL, NULL, NULL}};
static const sl_option *const tables[] = {options, NULL};

static void put_member(sl_buf *out, const char *name, const char *text)
{
    SL_ASSERT(name && text);
    (void)sl_buf_printf(out, ",\"%s\":", name);
    (void)sl_json_put_string(out, sl_str_c(text));
}

static void put_problem(sl_buf *out, const sl_flow_problem *problem)
{
    SL_ASSERT(out && problem);
    (void)sl_buf_printf(out, "{\"line\":%u,\"column\":%u,\"level\":\"%s\"", problem->line, problem->column,
                        problem->warning ? "warning" : "error");
    put_member(out, "step", problem->step);
    put_member(out, "message", problem->message);
    (void)sl_buf_put_char(out, '}');
}

/* One object, on one line. */
static void put_json(sl_buf *out, const char *path, bool valid, const sl_flow *flow, const sl_flow_problems *problems)
{
    SL_ASSERT(out && path && problems);
    (void)sl_buf_put_c(out, "{\"file\":");
    (void)sl_json_put_string(out, sl_str_c(path));
    (void)sl_buf_printf(out, ",\"valid\":%s", valid ? "true" : "false");
    if (flow) {
        put_member(out, "name", flow->name);
        put_member(out, "version", flow->version);
        (void)sl_buf_printf(out, ",\"steps\":%zu", flow->step_total);
        put_member(out, "sha256", flow->hash);
    }
    (void)sl_buf_printf(out, ",\"errors\":%zu,\"left_out\":%zu,\"problems\":[", problems->errors, problems->left_out);
    for (size_t i = 0; i < problems->count; i++) {
        (void)sl_buf_put_c(out, i ? "," : "");
        put_problem(out, &problems->items[i]);
    }
    (void)sl_buf_put_c(out, "]}\n");
}

static void put_text(sl_buf *out, const char *path, const sl_flow *flow, bool valid)
{
    SL_ASSERT(out && path);
    if (valid && flow)
        (void)sl_buf_printf(out, "%s: valid: workflow %s, version %s, %zu step%s\n", path, flow->name, flow->version,
                            flow->step_total, flow->step_total == 1 ? "" : "s");
}

static int print(sl_buf *out, FILE *stream)
{
    SL_ASSERT(out && stream);
    if (out->failed)
        return sl_fail(SL_EXIT_FAILED, "validate: cannot be printed: %s; is there memory?", sl_strerror(out->failed));
    if (out->len && fwrite(out->data, 1, out->len, stream) != out->len)
        return sl_fail(SL_EXIT_FAILED, "validate: cannot write: is the disk full?");
    sl_buf_clear(out);
    return SL_EXIT_OK;
}

/* One file; an exit status. */
static int validate(const validate_command_options *o, const sl_flow_known *known, const char *path)
{
    SL_ASSERT(o && path);
    static sl_flow_problems problems; /* too large for a stack */
    sl_flow *flow = NULL;
    sl_buf out;
    const char *file = strcmp(path, "-") == 0 ? "/dev/stdin" : path;
    int status, error = sl_flow_load_file_known(file, known, &problems, &flow);
    if (error == SL_ENOMEM)
        return sl_fail(SL_EXIT_FAILED, "%s: %s; make the file smaller", path, sl_strerror(error));
    bool valid = !error && !(o->strict && problems.count);
    sl_buf_init(&out, 1u << 20);
    if (sl_str_eq_c(o->format, "json")) {
        put_json(&out, path, valid, flow, &problems);
        status = print(&out, stdout);
    } else {
        (void)sl_flow_problems_format(&problems, path, &out);
        status = print(&out, stderr);
        put_text(&out, path, flow, valid);
        status = status ? status : print(&out, stdout);
    }
    sl_buf_done(&out);
    sl_flow_unref(flow);
    return status ? status : valid ? SL_EXIT_OK : SL_EXIT_USAGE;
}

static int run_validate(const sl_command *command, void *given, char **args, size_t arg_count)
{
    SL_ASSERT(args || !arg_count);
    (void)command;
    const validate_command_options *o = given;
    const char *names[SL_MAX_LIST];
    char room[SL_MAX_LIST][64];
    sl_flow_known known = {names, o->providers.count};
    if (!arg_count)
        return sl_fail(SL_EXIT_USAGE, "validate: the file is missing; give `sightline validate FILE`");
    if (!sl_format_is_known(o->format))
        return SL_EXIT_USAGE;
    for (size_t i = 0; i < o->providers.count; i++) {
        if (!sl_str_to_c(o->providers.items[i], room[i], sizeof room[i]))
            return sl_fail(SL_EXIT_USAGE, "--provider: longer than %zu bytes; give a shorter name", sizeof room[i] - 1);
        names[i] = room[i];
    }
    int worst = SL_EXIT_OK;
    for (size_t i = 0; i < arg_count; i++) {
        int status = validate(o, &known, args[i]);
        worst = status == SL_EXIT_FAILED || worst == SL_EXIT_OK ? status : worst;
    }
    return worst;
}

const sl_command sl_cmd_validate = {
    "validate",
    "check workflow files",
    "FILE... [options]",
    "Reads workflow files (YAML or JSON) and says everything that is wrong in each, with file, line, column and step: "
    "rings, references to what does not exist, wrong types, keys that are not known, templates that do not parse. "
    "Nothing runs. FILE may be - for standard input. Ends with 0 when all are valid, warnings or not, else with 2.",
    "  sightline validate flow.yaml\n"
    "  sightline validate --strict --format json flows/*.yaml\n",
    tables,
    sizeof(validate_command_options),
    MAX_FILES,
    run_validate};
