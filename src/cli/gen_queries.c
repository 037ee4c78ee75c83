/* The queries of rules and dashboards, and whether each names metrics that exist. */
#include <ctype.h>
#include <stdio.h>

#include "src/cli/gen.h"
#include "src/telemetry/prom_name.h"
#include "src/telemetry/vocab.h"

const sl_gen_kind *const sl_gen_kinds[] = {&sl_gen_rules, &sl_gen_dashboards, &sl_gen_kubernetes, &sl_gen_compose,
                                           NULL};

#define SL_RULE_GROUP(...)
#define SL_FOREIGN_METRIC(name)
#define SL_RULE(set, alert, expression, ...) expression,
#define SL_DASHBOARD(...)
#define SL_PANEL(...)
#define SL_QUERY(expression, legend) expression,
static const char *const queries[] = {
#include "src/cli/gen_panels.def"
#include "src/cli/gen_rules.def"
    NULL};
#undef SL_RULE
#undef SL_FOREIGN_METRIC
#define SL_RULE(...)
#define SL_FOREIGN_METRIC(name) name,
static const char *const foreign[] = {
#include "src/cli/gen_rules.def"
    NULL};

const char *sl_gen_query_at(size_t index)
{
    SL_ASSERT(index < sizeof queries / sizeof queries[0]);
    return queries[index];
}

/* ---- metrics ---- */

/* A name, or one of a histogram's three. */
static bool is_metric(sl_str name, const sl_metric_def *def)
{
    static const char *const suffixes[] = {"_bucket", "_sum", "_count"};
    char text[SL_PROM_NAME_BYTES];
    (void)sl_prom_name(sl_str_c(def->name), sl_str_c(def->unit), def->kind, text);
    if (def->kind != SL_HISTOGRAM)
        return sl_str_eq_c(name, text);
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        if (sl_str_starts(name, sl_str_c(text)) && sl_str_eq_c(sl_str_sub(name, strlen(text), name.len), suffixes[i]))
            return true;
    }
    return false;
}

static bool exists(sl_str name)
{
    for (size_t i = 0; foreign[i]; i++) {
        if (sl_str_eq_c(name, foreign[i]))
            return true;
    }
    for (size_t i = 0; i < SL_METRIC_COUNT; i++) {
        if (is_metric(name, sl_metric_def_of((sl_metric_id)i)))
            return true;
    }
    return false;
}

/* ---- queries: just enough of PromQL ---- */

static bool in_name(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == ':';
}

/* Behind a group that is opened here: {labels}, [range], or the list of labels behind by. */
static const char *behind(const char *at, char close)
{
    bool quoted = false;
    for (; *at && (quoted || *at != close); at++) {
        if (*at == '\\' && at[1])
            at++;
        else if (*at == '"')
            quoted = !quoted;
    }
    return *at ? at + 1 : at;
}

static bool is_grouping(sl_str word)
{
    static const char *const words[] = {"by", "without", "on", "ignoring", "group_left", "group_right"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (sl_str_eq_c(word, words[i]))
            return true;
    }
    return false;
}

/* One word: a function and an operator are no metrics. `*at` moves behind it. */
static bool word_is_known(const char **at, char *ret_name, size_t size)
{
    const char *begin = *at;
    while (in_name(**at))
        ++*at;
    sl_str word = sl_str_of(begin, (size_t)(*at - begin));
    const char *next = *at + strspn(*at, " \n");
    if (is_grouping(word)) {
        *at = behind(next, ')');
        return true;
    }
    bool aggregates = sl_str_starts(sl_str_c(next), SL_STR("by ")) || sl_str_starts(sl_str_c(next), SL_STR("without "));
    if (isdigit((unsigned char)*begin) || *next == '(' || aggregates || exists(word))
        return true;
    (void)sl_str_to_c(word, ret_name, size);
    return false;
}

bool sl_gen_query_is_known(const char *query, char *ret_name, size_t size)
{
    SL_ASSERT(query && ret_name && size);
    for (const char *at = query; *at;) {
        if (*at == '{')
            at = behind(at + 1, '}');
        else if (*at == '[')
            at = behind(at + 1, ']');
        else if (!in_name(*at))
            at++;
        else if (!word_is_known(&at, ret_name, size))
            return false;
    }
    return true;
}
