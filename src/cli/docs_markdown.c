/* The reference as Markdown. */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/cli/docs_out.h"
#include "src/cli/docs_tables.h"
#include "src/flow/actions.h"
#include "src/flow/expr_functions.h"
#include "src/flow/load_keys.h"
#include "src/llm/price.h"
#include "src/telemetry/attributes.h"
#include "src/telemetry/env.h"
#include "src/telemetry/log_line.h"
#include "src/telemetry/prom_name.h"

/* Text within a table's cell: a bar would end it. */
static void put_cell(sl_buf *out, const char *text)
{
    (void)sl_buf_put_c(out, " ");
    for (; *text; text++) {
        if (*text == '|')
            (void)sl_buf_put_char(out, '\\');
        (void)sl_buf_put_char(out, *text);
    }
    (void)sl_buf_put_c(out, " |");
}

/* The same as code; nothing for an empty text. */
static void put_code(sl_buf *out, const char *text)
{
    SL_ASSERT(text);
    if (*text)
        (void)sl_buf_printf(out, " `%s` |", text);
    else
        (void)sl_buf_put_c(out, "  |");
}

static void put_code_words(sl_buf *out, const char *words)
{
    SL_ASSERT(words);
    sl_str rest = sl_str_c(words), word;
    bool first = true;
    (void)sl_buf_put_char(out, ' ');
    while (*words && sl_str_split(&rest, ' ', &word)) {
        bool maybe = sl_str_ends(word, SL_STR("?"));
        (void)sl_buf_printf(out, "%s`%.*s`%s", first ? "" : " ", (int)(word.len - maybe), word.ptr, maybe ? "?" : "");
        first = false;
    }
    (void)sl_buf_put_c(out, " |");
}

/* ---- commands ---- */

static void put_options(sl_buf *out, const sl_option *const *tables)
{
    (void)sl_buf_put_c(out, "| option | default | environment | |\n|---|---|---|---|\n");
    for (const sl_option *const *table = tables; *table; table++) {
        for (const sl_option *o = *table; o->name; o++) {
            char name[128], letter[8] = "";
            if (o->letter)
                snprintf(letter, sizeof letter, "-%c, ", o->letter);
            snprintf(name, sizeof name, "%s--%s%s%s", letter, o->name, o->arg ? " " : "", o->arg ? o->arg : "");
            (void)sl_buf_put_char(out, '|');
            put_code(out, name);
            put_code(out, o->fallback ? o->fallback : "");
            put_code(out, o->env ? o->env : "");
            put_cell(out, o->help);
            (void)sl_buf_put_char(out, '\n');
        }
    }
}

static void put_commands(sl_buf *out)
{
    (void)sl_buf_put_c(
        out, "Every command takes `--help` and `--version`, and ends with 0 (good), 1 (the work failed) or 2 (usage or "
             "configuration). Errors go to standard error as `sightline: what: why; remedy`.\n");
    for (const sl_command *const *c = sl_commands; *c; c++) {
        (void)sl_buf_printf(out, "\n### sightline %s\n\n`sightline %s %s`\n\n%s\n\n", (*c)->name, (*c)->name,
                            (*c)->usage, (*c)->text);
        put_options(out, (*c)->tables);
        if ((*c)->examples)
            (void)sl_buf_printf(out, "\n```\n%s```\n", (*c)->examples);
    }
}

/* ---- the other sections ---- */

static void put_environment(sl_buf *out)
{
    size_t count;
    const sl_env_def *defs = sl_env_defs(&count);
    const char *group = "";
    (void)sl_buf_put_c(
        out, "An empty variable is an unset one. A value that cannot be read is reported and ignored. Variables that "
             "stand for options are listed with the commands.\n");
    for (size_t i = 0; i < count; i++) {
        if (strcmp(group, defs[i].group) != 0) {
            group = defs[i].group;
            (void)sl_buf_printf(out, "\n### %s\n\n| variable | type | default | values | |\n|---|---|---|---|---|\n",
                                group);
        }
        (void)sl_buf_put_char(out, '|');
        put_code(out, defs[i].name);
        put_cell(out, sl_env_type_name(defs[i].type));
        put_code(out, defs[i].default_text);
        put_code_words(out, defs[i].values);
        put_cell(out, defs[i].help);
        (void)sl_buf_put_char(out, '\n');
    }
    const sl_env_doc *docs = sl_env_docs(&count);
    (void)sl_buf_put_c(out, "\n### The program\n\n| variable | |\n|---|---|\n");
    for (size_t i = 0; i < count; i++) {
        (void)sl_buf_put_char(out, '|');
        put_code(out, docs[i].name);
        put_cell(out, docs[i].help);
        (void)sl_buf_put_char(out, '\n');
    }
}

static void put_key(sl_buf *out, const char *section, const sl_key_def *key)
{
    SL_ASSERT(key);
    const sl_config_doc *doc = sl_config_doc_of(section, key->name);
    (void)sl_buf_put_char(out, '|');
    put_code(out, key->name);
    put_cell(out, sl_config_type_name(key->type));
    put_cell(out, doc ? doc->fallback : "");
    put_cell(out, doc ? doc->help : "");
    (void)sl_buf_put_char(out, '\n');
}

static void put_configuration(sl_buf *out)
{
    size_t count;
    const sl_config_section *sections = sl_config_sections(&count);
    (void)sl_buf_put_c(
        out,
        "A LiteLLM `config.yaml` is read as it is; keys that have no effect yet are warned of, with file, line and "
        "column. `sightline gateway --check -c FILE` shows all faults at once. Options beat variables, variables beat "
        "the file.\n");
    for (size_t i = 0; i < count; i++) {
        (void)sl_buf_printf(out, "\n### %s\n\n| key | type | default | |\n|---|---|---|---|\n",
                            i ? sections[i].name : "The file");
        for (size_t k = 0; k < sections[i].count; k++)
            put_key(out, sections[i].name, &sections[i].keys[k]);
    }
}

/* What a number may be, as "1 to 100"; nothing for other values. */
static void put_range(sl_buf *out, const sl_flow_key *key)
{
    SL_ASSERT(key);
    if (key->min != 0 || key->max != 0)
        (void)sl_buf_printf(out, " %.15g to %.15g |", key->min, key->max);
    else
        (void)sl_buf_put_c(out, "  |");
}

static void put_transforms(sl_buf *out)
{
    SL_ASSERT(out);
    size_t count;
    const sl_transform_def *functions = sl_transform_defs(&count);
    (void)sl_buf_put_c(out, "\n### Functions of transform steps\n\n| function | |\n|---|---|\n");
    for (size_t i = 0; i < count; i++) {
        (void)sl_buf_put_char(out, '|');
        put_code(out, functions[i].name);
        put_cell(out, functions[i].help);
        (void)sl_buf_put_char(out, '\n');
    }
}

static void put_actions(sl_buf *out)
{
    SL_ASSERT(out);
    size_t count;
    const sl_action *actions = sl_actions(&count);
    (void)sl_buf_put_c(out,
                       "\n### Actions\n\nAny other name is a webhook's, when one of that name is configured; else the "
                       "step warns and does nothing.\n\n| action | keys | |\n|---|---|---|\n");
    for (size_t i = 0; i < count; i++) {
        (void)sl_buf_put_char(out, '|');
        put_code(out, actions[i].name);
        put_cell(out, actions[i].params);
        put_cell(out, actions[i].help);
        (void)sl_buf_put_char(out, '\n');
    }
}

static void put_workflow(sl_buf *out)
{
    size_t count;
    const sl_flow_key *keys = sl_flow_keys(&count);
    const char *section = "";
    (void)sl_buf_put_c(out,
                       "YAML or JSON; docs/workflows.md explains them, `sightline validate FILE` checks them. A key "
                       "that is marked * must be there. Steps of type llm, transform and action pass keys that "
                       "are not listed on, to the provider, the function or the action.\n");
    for (size_t i = 0; i < count; i++) {
        char name[64];
        if (strcmp(section, keys[i].section) != 0) {
            section = keys[i].section;
            sl_step_type type;
            (void)sl_buf_printf(
                out, "\n### %s%s\n\n| key | type | default | range | |\n|---|---|---|---|---|\n",
                sl_step_type_of(sl_str_c(section), &type) ? "Steps of type " : "Workflow files: ", section);
        }
        (void)snprintf(name, sizeof name, "%s%s", keys[i].name, keys[i].required ? "*" : "");
        (void)sl_buf_put_char(out, '|');
        put_code(out, name);
        put_cell(out, sl_flow_key_type_name(keys[i].type));
        put_cell(out, keys[i].fallback);
        put_range(out, &keys[i]);
        put_cell(out, keys[i].help);
        (void)sl_buf_put_char(out, '\n');
    }
    put_transforms(out);
    put_actions(out);
}

static void put_bounds(sl_buf *out, const sl_metric_def *def)
{
    (void)sl_buf_put_char(out, ' ');
    for (size_t i = 0; i < def->bound_count; i++) {
        (void)sl_buf_put_c(out, i ? " " : "");
        (void)sl_buf_put_double(out, def->bounds[i]);
    }
    (void)sl_buf_put_c(out, " |");
}

static void put_metrics(sl_buf *out)
{
    int vocab = -1;
    (void)sl_buf_put_c(
        out,
        "Names as OpenTelemetry has them, and as they stand on the metrics page. A label with `?` is not always there. "
        "Times are in seconds. The page also has `target_info`, whose labels are the resource's attributes.\n");
    for (int id = 0; id < SL_METRIC_COUNT; id++) {
        const sl_metric_def *def = sl_metric_def_of((sl_metric_id)id);
        char name[SL_PROM_NAME_BYTES];
        if ((int)def->vocab != vocab) {
            vocab = (int)def->vocab;
            (void)sl_buf_printf(out,
                                "\n### %s\n\n| metric | on the page | kind | unit | labels | buckets | "
                                "|\n|---|---|---|---|---|---|---|\n",
                                sl_vocab_name(def->vocab));
        }
        (void)sl_prom_name(sl_str_c(def->name), sl_str_c(def->unit), def->kind, name);
        (void)sl_buf_put_char(out, '|');
        put_code(out, def->name);
        put_code(out, name);
        put_cell(out, sl_docs_kind(def->kind));
        put_cell(out, def->unit);
        put_code_words(out, def->labels);
        put_bounds(out, def);
        put_cell(out, def->help);
        (void)sl_buf_put_char(out, '\n');
    }
}

static void put_attributes(sl_buf *out)
{
    size_t count;
    const sl_attribute_def *defs = sl_attribute_defs(&count);
    (void)sl_buf_put_c(out, "`server`: SERVER spans of the gateway; `client`: CLIENT spans, one for each attempt "
                            "upstream; `log`: the access "
                            "record; `probe`: spans of a llama.cpp host under `sightline exec`. Prompt and answer text "
                            "are in none of them unless asked for.\n\n| attribute | "
                            "type | where | |\n|---|---|---|---|\n");
    for (size_t i = 0; i < count; i++) {
        (void)sl_buf_put_char(out, '|');
        put_code(out, defs[i].name);
        put_cell(out, defs[i].type);
        put_cell(out, defs[i].where);
        put_cell(out, defs[i].help);
        (void)sl_buf_put_char(out, '\n');
    }
    (void)sl_buf_put_c(out, "\nEvents of CLIENT spans: `gen_ai.first_token` and `gen_ai.last_token`, of streams.\n");
}

static void put_logs(sl_buf *out)
{
    (void)sl_buf_put_c(
        out, "One line for each record, on standard error. `LOG_FORMAT=text`:\n\n"
             "```\n2025-11-14T10:30:45.123Z INFO workflow_id=abc123 workflow_name=\"rag-pipeline\" message=\"Starting "
             "workflow execution\"\n```\n\n"
             "Time in UTC with milliseconds, level, attributes in their order, then `event_name`, `trace_id` and "
             "`span_id` when there are any, "
             "`message` last.\n\n"
             "Quoting: numbers and booleans are bare. Ids of workflows and traces and enumerated values are bare (");
    sl_str key;
    for (size_t i = 0; (key = sl_log_bare_key(i)).len; i++)
        (void)sl_buf_printf(out, "%s`%.*s`", i ? ", " : "", (int)key.len, key.ptr);
    (void)sl_buf_put_c(
        out,
        "), as long as they need no quotes; every other string is quoted, free text and names alike. Inside "
        "quotes: `\\\"`, `\\\\`, `\\n`, `\\r`, `\\t`, and `\\uXXXX` for other control characters, so that a record "
        "is always one line. Maps are flattened with dots, arrays are shown as JSON.\n\n"
        "`LOG_FORMAT=json`: one object for each record with `timestamp`, `level`, `message`, `trace_id`, "
        "`span_id` and the attributes.\n\n"
        "In both: an attribute that is called as a field of the line (`timestamp`, `level`, `message`, and "
        "`event_name`, `trace_id`, `span_id` where the record has them) is shown as `attributes.NAME`. One that is "
        "called `attributes.NAME` itself gets the prefix once more, so that no two come out alike.\n\n"
        "Levels: `TRACE DEBUG INFO WARN ERROR CRITICAL`, any case; `WARNING` is `WARN`, `FATAL` is `CRITICAL`.\n");
}

/* "list, start[, end]": what may be left out in brackets. */
static void put_arguments(sl_buf *out, const sl_flow_function *function)
{
    size_t min, max, i = 0;
    sl_flow_function_arity(function, &min, &max);
    sl_str rest = sl_str_c(function->args), name;
    while (function->args[0] && sl_str_split(&rest, ',', &name)) {
        (void)sl_buf_put_c(out, i == min ? "[" : "");
        (void)sl_buf_put_c(out, i ? ", " : "");
        (void)sl_buf_put_str(out, sl_str_trim(name));
        i++;
    }
    (void)sl_buf_put_c(out, i > min ? "]" : "");
}

static void put_functions(sl_buf *out)
{
    size_t count;
    const sl_flow_function *functions = sl_flow_functions(&count);
    (void)sl_buf_put_c(out, "Expressions of workflow files call them; templates too, as `{{name argument …}}`, but for "
                            "those that take a lambda (`x => …`).\n\n"
                            "| function | | in templates |\n|---|---|---|\n");
    for (size_t i = 0; i < count; i++) {
        (void)sl_buf_printf(out, "| `%s(", functions[i].name);
        put_arguments(out, &functions[i]);
        (void)sl_buf_put_c(out, ")` |");
        put_cell(out, functions[i].help);
        (void)sl_buf_printf(out, " %s |\n", sl_flow_function_is_lambda(&functions[i]) ? "no" : "yes");
    }
}

static void put_errors(sl_buf *out)
{
    (void)sl_buf_put_c(out, "As OpenAI answers: `{\"error\":{\"message\":…,\"type\":…,\"param\":null,\"code\":…}}`.\n\n"
                            "| status | when |\n|---|---|\n"
                            "| 400 | the request is ambiguous HTTP, or its body is no usable JSON; ambiguous HTTP also "
                            "closes the connection |\n"
                            "| 401 | the key is missing or wrong |\n"
                            "| 404 | no such path, or no such model |\n"
                            "| 405 | another method belongs to the path |\n"
                            "| 408 | the client was too slow with its request |\n"
                            "| 413 | the body is too large |\n"
                            "| 431 | the head is too large, or has too many fields |\n"
                            "| 502 | the upstream could not be reached, or did not answer in HTTP |\n"
                            "| 503 | no deployment can serve the request now |\n"
                            "| 504 | the upstream did not answer in time |\n\n"
                            "Other answers of the upstream pass as they are.\n");
}

static void put_price(sl_buf *out, double usd)
{
    (void)sl_buf_put_char(out, ' ');
    if (usd >= 0)
        (void)sl_buf_put_double(out, usd);
    (void)sl_buf_put_c(out, " |");
}

static void put_prices(sl_buf *out)
{
    (void)sl_buf_printf(
        out,
        "List prices of the providers, as of %s, in USD for each million tokens; standard tier. The cost of "
        "a workflow is computed from them unless the configuration says what a model costs (model_info). A "
        "date or `-latest` behind a name makes no difference unless the name stands here with it. Tokens of "
        "a cache cost as input where nothing is said. The cost of other models is not known.\n\n",
        sl_price_date());
    (void)sl_buf_put_c(out,
                       "| provider | model | input | output | cache read | cache write |\n|---|---|---|---|---|---|\n");
    sl_price_row row;
    for (size_t i = 0; sl_price_row_at(i, &row); i++) {
        (void)sl_buf_printf(out, "| %.*s |", (int)row.provider.len, row.provider.ptr);
        put_code(out, row.model.ptr);
        put_price(out, row.price.input);
        put_price(out, row.price.output);
        put_price(out, row.price.cache_read);
        put_price(out, row.price.cache_write);
        (void)sl_buf_put_char(out, '\n');
    }
}

static void put_limits(sl_buf *out)
{
    size_t count;
    const sl_limit_doc *docs = sl_limit_docs(&count);
    (void)sl_buf_put_c(out, "| limit | | |\n|---|---|---|\n");
    for (size_t i = 0; i < count; i++) {
        (void)sl_buf_put_char(out, '|');
        put_code(out, docs[i].name);
        (void)sl_buf_printf(out, " %llu %s |", docs[i].value, docs[i].unit);
        put_cell(out, docs[i].help);
        (void)sl_buf_put_char(out, '\n');
    }
}

static const struct {
    const char *name;
    const char *title;
    void (*put)(sl_buf *out);
} sections[] = {
#define SECTION_ROW(name, title) {#name, title, put_##name},
    SL_DOCS_SECTION_MAP(SECTION_ROW)
#undef SECTION_ROW
};

int sl_docs_markdown(const char *section, sl_buf *out)
{
    SL_ASSERT(out);
    bool found = false;
    if (!section)
        (void)sl_buf_put_c(out, "# Reference\n\nPrinted by `sightline docs` from the tables that the program runs on; "
                                "`make docs` writes it anew.\n");
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        if (section && strcmp(section, sections[i].name) != 0)
            continue;
        (void)sl_buf_printf(out, "%s## %s\n\n", section ? "" : "\n", sections[i].title);
        sections[i].put(out);
        found = true;
    }
    return found ? out->failed : SL_ENOENT;
}
