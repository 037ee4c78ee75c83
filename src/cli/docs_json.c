/* The reference as JSON. */
#include "src/base/assert.h"
#include "src/cli/docs_out.h"
#include "src/cli/docs_tables.h"
#include "src/flow/expr_functions.h"
#include "src/flow/load_keys.h"
#include "src/llm/price.h"
#include "src/telemetry/attributes.h"
#include "src/telemetry/env.h"
#include "src/telemetry/prom_name.h"
#include "src/wire/json_write.h"

/* Members of an object that are texts. */
typedef struct text {
    const char *name, *value;
} text;

#define TEXTS(...) ((const text[]){__VA_ARGS__, {NULL, NULL}})

/* Begins an object with these members. */
static void begin_row(sl_jw *w, const text *texts)
{
    SL_ASSERT(w && texts);
    sl_jw_object(w);
    for (; texts->name; texts++)
        sl_jw_member_c(w, texts->name, texts->value);
}

static void put_words(sl_jw *w, const char *name, const char *words)
{
    SL_ASSERT(words);
    sl_str rest = sl_str_c(words), word;
    sl_jw_member_array(w, name);
    while (*words && sl_str_split(&rest, ' ', &word))
        sl_jw_str(w, word);
    sl_jw_end(w);
}

static void put_options(sl_jw *w, const sl_option *const *tables)
{
    sl_jw_member_array(w, "options");
    for (const sl_option *const *table = tables; *table; table++) {
        for (const sl_option *o = *table; o->name; o++) {
            begin_row(w, TEXTS({"name", o->name}));
            sl_jw_member_str(w, "letter", sl_str_of(&o->letter, o->letter ? 1 : 0));
            sl_jw_member_c(w, "argument", o->arg ? o->arg : "");
            sl_jw_member_c(w, "default", o->fallback ? o->fallback : "");
            sl_jw_member_c(w, "environment", o->env ? o->env : "");
            sl_jw_member_c(w, "help", o->help);
            sl_jw_end(w);
        }
    }
    sl_jw_end(w);
}

static void put_commands(sl_jw *w)
{
    sl_jw_member_array(w, "commands");
    for (const sl_command *const *c = sl_commands; *c; c++) {
        begin_row(w, TEXTS({"name", (*c)->name}, {"summary", (*c)->summary}, {"usage", (*c)->usage}));
        put_options(w, (*c)->tables);
        sl_jw_end(w);
    }
    sl_jw_end(w);
}

static void put_variable(sl_jw *w, const sl_env_def *def)
{
    SL_ASSERT(def);
    begin_row(w, TEXTS({"name", def->name}, {"type", sl_env_type_name(def->type)}, {"default", def->default_text}));
    put_words(w, "values", def->values);
    sl_jw_member_c(w, "group", def->group);
    sl_jw_member_c(w, "help", def->help);
    sl_jw_end(w);
}

static void put_environment(sl_jw *w)
{
    size_t count;
    const sl_env_def *defs = sl_env_defs(&count);
    sl_jw_member_array(w, "environment");
    for (size_t i = 0; i < count; i++)
        put_variable(w, &defs[i]);
    const sl_env_doc *docs = sl_env_docs(&count);
    for (size_t i = 0; i < count; i++) {
        sl_env_def def = {.name = docs[i].name, .type = SL_ENV_STRING, .help = docs[i].help};
        def.default_text = def.values = "";
        def.group = "The program";
        put_variable(w, &def);
    }
    sl_jw_end(w);
}

static void put_key(sl_jw *w, const char *section, const sl_key_def *key)
{
    SL_ASSERT(key);
    const sl_config_doc *doc = sl_config_doc_of(section, key->name);
    begin_row(w, TEXTS({"section", section}, {"key", key->name}, {"type", sl_config_type_name(key->type)}));
    sl_jw_member_bool(w, "effective", key->type != SL_KEY_NOT_YET);
    sl_jw_member_c(w, "default", doc ? doc->fallback : "");
    sl_jw_member_c(w, "help", doc ? doc->help : "");
    sl_jw_end(w);
}

static void put_configuration(sl_jw *w)
{
    size_t count;
    const sl_config_section *sections = sl_config_sections(&count);
    sl_jw_member_array(w, "configuration");
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < sections[i].count; k++)
            put_key(w, sections[i].name, &sections[i].keys[k]);
    }
    sl_jw_end(w);
}

static void put_workflow(sl_jw *w)
{
    size_t count;
    const sl_flow_key *keys = sl_flow_keys(&count);
    sl_jw_member_array(w, "workflow");
    for (size_t i = 0; i < count; i++) {
        begin_row(w, TEXTS({"section", keys[i].section}, {"key", keys[i].name},
                           {"type", sl_flow_key_type_name(keys[i].type)}));
        sl_jw_member_bool(w, "required", keys[i].required);
        sl_jw_member_c(w, "default", keys[i].fallback);
        sl_jw_member_c(w, "help", keys[i].help);
        sl_jw_end(w);
    }
    sl_jw_end(w);
}

static void put_metrics(sl_jw *w)
{
    sl_jw_member_array(w, "metrics");
    for (int id = 0; id < SL_METRIC_COUNT; id++) {
        const sl_metric_def *def = sl_metric_def_of((sl_metric_id)id);
        char name[SL_PROM_NAME_BYTES];
        (void)sl_prom_name(sl_str_c(def->name), sl_str_c(def->unit), def->kind, name);
        begin_row(w, TEXTS({"name", def->name}, {"prometheus", name}, {"vocabulary", sl_vocab_name(def->vocab)},
                           {"kind", sl_docs_kind(def->kind)}, {"unit", def->unit}));
        put_words(w, "labels", def->labels);
        sl_jw_member_array(w, "buckets");
        for (size_t i = 0; i < def->bound_count; i++)
            sl_jw_double(w, def->bounds[i]);
        sl_jw_end(w);
        sl_jw_member_c(w, "help", def->help);
        sl_jw_end(w);
    }
    sl_jw_end(w);
}

static void put_attributes(sl_jw *w)
{
    size_t count;
    const sl_attribute_def *defs = sl_attribute_defs(&count);
    sl_jw_member_array(w, "attributes");
    for (size_t i = 0; i < count; i++) {
        begin_row(w, TEXTS({"name", defs[i].name}, {"type", defs[i].type}));
        put_words(w, "where", defs[i].where);
        sl_jw_member_c(w, "help", defs[i].help);
        sl_jw_end(w);
    }
    sl_jw_end(w);
}

static void put_functions(sl_jw *w)
{
    size_t count;
    const sl_flow_function *functions = sl_flow_functions(&count);
    sl_jw_member_array(w, "functions");
    for (size_t i = 0; i < count; i++) {
        begin_row(w, TEXTS({"name", functions[i].name}, {"arguments", functions[i].args}));
        sl_jw_member_bool(w, "templates", !sl_flow_function_is_lambda(&functions[i]));
        sl_jw_member_c(w, "help", functions[i].help);
        sl_jw_end(w);
    }
    sl_jw_end(w);
}

static void put_price(sl_jw *w, const char *name, double usd)
{
    sl_jw_key(w, sl_str_c(name));
    if (usd >= 0)
        sl_jw_double(w, usd);
    else
        sl_jw_null(w);
}

static void put_prices(sl_jw *w)
{
    sl_price_row row;
    sl_jw_member_array(w, "prices");
    for (size_t i = 0; sl_price_row_at(i, &row); i++) {
        begin_row(w, TEXTS({"name", row.model.ptr}, {"provider", row.provider.ptr}));
        put_price(w, "input_usd_per_million", row.price.input);
        put_price(w, "output_usd_per_million", row.price.output);
        put_price(w, "cache_read_usd_per_million", row.price.cache_read);
        put_price(w, "cache_write_usd_per_million", row.price.cache_write);
        sl_jw_member_c(w, "as_of", sl_price_date());
        sl_jw_end(w);
    }
    sl_jw_end(w);
}

static void put_limits(sl_jw *w)
{
    size_t count;
    const sl_limit_doc *docs = sl_limit_docs(&count);
    sl_jw_member_array(w, "limits");
    for (size_t i = 0; i < count; i++) {
        begin_row(w, TEXTS({"name", docs[i].name}));
        sl_jw_member_u64(w, "value", docs[i].value);
        sl_jw_member_c(w, "unit", docs[i].unit);
        sl_jw_member_c(w, "help", docs[i].help);
        sl_jw_end(w);
    }
    sl_jw_end(w);
}

int sl_docs_json(sl_buf *out)
{
    sl_jw w;
    sl_jw_init(&w, out);
    sl_jw_object(&w);
    put_commands(&w);
    put_environment(&w);
    put_configuration(&w);
    put_workflow(&w);
    put_metrics(&w);
    put_attributes(&w);
    put_functions(&w);
    put_prices(&w);
    put_limits(&w);
    sl_jw_end(&w);
    int error = sl_jw_finish(&w);
    return error ? error : sl_buf_put_char(out, '\n');
}
