/*
 * Every key of workflow files, out of the table that declares them: values of other types, values at and beyond their
 * bounds, keys left out, keys misspelt; in YAML and in JSON. Each fault is told once, with the key, at its place.
 */
#include <math.h>
#include <stdio.h>

#include "src/flow/load_keys.h"
#include "src/flow/test_load.h"

/* A sound step of each type, but for what is tested: one key a line. */
static const char *const sound[][2] = {
    {"llm", "provider: p\nmodel: m\nprompt: x\n"},
    {"embed", "provider: p\nmodel: m\ninput: x\n"},
    {"vector_search", "database: d\nindex: i\nquery: [1]\n"},
    {"transform", "function: merge\n"},
    {"action", "action: log\n"},
    {"parallel", "tasks: [{id: t1, type: action, action: log}]\n"},
    {"branch", "condition: '{{ inputs.x }}'\nbranches: {x: {id: b1, type: action, action: log}}\n"},
    {"loop", "items: [1]\nsteps: [{id: l1, type: action, action: log}]\n"},
};

typedef struct document {
    char text[4096];
    unsigned line, column; /* of the value */
} document;

static const char *sound_of(const char *type)
{
    for (size_t i = 0; i < sizeof sound / sizeof *sound; i++)
        if (strcmp(sound[i][0], type) == 0)
            return sound[i][1];
    return NULL;
}

static void add_line(document *d, unsigned indent, sl_str line)
{
    size_t len = strlen(d->text);
    (void)snprintf(d->text + len, sizeof d->text - len, "%*s%.*s\n", (int)indent, "", (int)line.len, line.ptr);
}

static unsigned lines_of(const char *text)
{
    unsigned n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

/* The lines of a text, but for the one that has the key. */
static void add_lines(document *d, unsigned indent, const char *lines, const char *but)
{
    sl_str rest = sl_str_c(lines), line;
    while (sl_str_split(&rest, '\n', &line)) {
        size_t colon = sl_str_chr(line, ':');
        if (line.len && !(but && sl_str_eq_c(sl_str_sub(line, 0, colon), but)))
            add_line(d, indent, line);
    }
}

/* A workflow that is sound but for `key: value` in the section instead of `out`; NULL: nothing instead. */
static void make_without(document *d, const char *section, const char *out, const char *key, const char *value)
{
    char line[1024];
    unsigned indent = 4;
    bool of_workflow = strcmp(section, "workflow") == 0, of_retry = strcmp(section, "retry") == 0;
    const char *type = sound_of(section) ? section : "action";
    d->text[0] = '\0';
    add_lines(d, 0, "name: w\nversion: v\n", of_workflow ? out : NULL);
    if (of_workflow)
        indent = 0;
    if (!of_workflow || strcmp(out, "steps") != 0) {
        add_line(d, 0, SL_STR("steps:"));
        add_line(d, 2, SL_STR("-"));
        (void)snprintf(line, sizeof line, "id: a\ntype: %s\n", type);
        add_lines(d, 4, line, of_workflow ? NULL : out);
        add_lines(d, 4, sound_of(type), of_workflow ? NULL : out);
    }
    if (of_retry) {
        add_line(d, 4, SL_STR("retry:"));
        indent = 6;
    }
    if (!value)
        return;
    d->line = lines_of(d->text) + 1;
    d->column = indent + (unsigned)strlen(key) + 3;
    (void)snprintf(line, sizeof line, "%s: %s", key, value);
    add_line(d, indent, sl_str_c(line));
}

static void make(document *d, const char *section, const char *key, const char *value)
{
    make_without(d, section, key, key, value);
}

static sl_flow_problems problems;

/* The errors of a text; frees what was loaded. */
static size_t errors_of(const document *d)
{
    sl_flow *flow = NULL;
    memset(&problems, 0, sizeof problems);
    int error = sl_flow_load(sl_str_c(d->text), &problems, &flow);
    if ((error != 0) != (problems.errors > 0) || (flow != NULL) != (error == 0))
        sl_test_failed(__FILE__, __LINE__, "%d with %zu errors in\n%s", error, problems.errors, d->text);
    sl_flow_unref(flow);
    return problems.errors;
}

/* An empty one at line 0 when there is none. */
static const sl_flow_problem *first_error(void)
{
    static const sl_flow_problem none = {.line = 0};
    for (size_t i = 0; i < problems.count; i++)
        if (!problems.items[i].warning)
            return &problems.items[i];
    return &none;
}

/* At least one error, the first at the value's line, and it names the key. */
static void expect_error(const sl_flow_key *key, const char *value)
{
    document d;
    make(&d, key->section, key->name, value);
    size_t errors = errors_of(&d);
    const sl_flow_problem *p = first_error();
    bool there = p->line == d.line && p->column == d.column;
    if (!errors || !there || !strstr(p->message, key->name))
        sl_test_failed(__FILE__, __LINE__, "%s.%s: %s: %zu errors, %u:%u not %u:%u, %s", key->section, key->name, value,
                       errors, p->line, p->column, d.line, d.column, p->message);
}

static void expect_sound(const sl_flow_key *key, const char *value)
{
    document d;
    make(&d, key->section, key->name, value);
    if (errors_of(&d))
        sl_test_failed(__FILE__, __LINE__, "%s.%s: %s: %s\n%s", key->section, key->name, value, first_error()->message,
                       d.text);
}

/* ---- types ---- */

/* What is no value of the type; NULL ends. */
static const char *const *wrong_values(const sl_flow_key *key)
{
    static const char *const none[] = {NULL};
    static const char *const words[] = {"{a: b}", "[a]", NULL};
    static const char *const lists_of_words[] = {"{a: b}", "[[a]]", "[{a: b}]", "''", NULL};
    static const char *const texts[] = {"{a: b}", "[a]", NULL};
    static const char *const text_lists[] = {"{a: b}", NULL};
    static const char *const numbers[] = {"many", "[1]", "{a: 1}", "true", "'5'", "''", NULL};
    static const char *const wholes[] = {"many", "1.5", "[1]", "{a: 1}", "true", "'5'", "''", NULL};
    static const char *const bools[] = {"maybe", "yes", "1", "[true]", "{a: true}", "'true'", NULL};
    static const char *const lists[] = {"x", "{a: b}", "5", NULL};
    static const char *const maps[] = {"x", "[a]", "5", NULL};
    static const char *const backoffs[] = {"lineal", "5", "[linear]", "''", NULL};
    static const char *const functions[] = {"frobnicate", "5", "[merge]", "{a: b}", NULL};
    static const char *const conditions[] = {"{a: b}", "[a]", "'{{'", NULL};
    static const char *const expressions[] = {"{a: b}", "[a]", "'1 +'", "'nope(1)'", NULL};
    switch (key->type) {
    case SL_FLOW_WORD:
        return words;
    case SL_FLOW_WORDS:
        return lists_of_words;
    case SL_FLOW_TEXT:
        return texts;
    case SL_FLOW_TEXTS:
        return text_lists;
    case SL_FLOW_WHOLE:
        return wholes;
    case SL_FLOW_NUMBER:
    case SL_FLOW_SECONDS:
        return numbers;
    case SL_FLOW_BOOL:
        return bools;
    case SL_FLOW_LIST:
        return lists;
    case SL_FLOW_MAP:
    case SL_FLOW_SECTION:
        return maps;
    case SL_FLOW_BACKOFF:
        return backoffs;
    case SL_FLOW_FUNCTION:
        return functions;
    case SL_FLOW_CONDITION:
        return conditions;
    case SL_FLOW_EXPRESSION:
        return expressions;
    default:
        return none;
    }
}

/* Deeper in the value than its beginning: the place is that of the item or of the text's fault. */
static bool is_within(const char *value)
{
    return value[0] == '[' || strstr(value, "{{") || strchr(value, '+') || strchr(value, '(');
}

SL_TEST(values_of_other_types_are_told_at_their_place)
{
    size_t count;
    const sl_flow_key *keys = sl_flow_keys(&count);
    for (size_t i = 0; i < count; i++)
        for (const char *const *value = wrong_values(&keys[i]); *value; value++) {
            document d;
            if (!is_within(*value)) {
                expect_error(&keys[i], *value);
                continue;
            }
            make(&d, keys[i].section, keys[i].name, *value);
            if (!errors_of(&d) || first_error()->line != d.line || first_error()->column < d.column)
                sl_test_failed(__FILE__, __LINE__, "%s.%s: %s", keys[i].section, keys[i].name, *value);
        }
}

/* ---- bounds ---- */

static void number_text(char *text, size_t size, double number)
{
    (void)snprintf(text, size, "%.10g", number);
}

SL_TEST(numbers_hold_up_to_their_bounds_and_no_further)
{
    size_t count, bounded = 0;
    const sl_flow_key *keys = sl_flow_keys(&count);
    for (size_t i = 0; i < count; i++) {
        const sl_flow_key *k = &keys[i];
        if (k->min >= k->max)
            continue;
        char text[40];
        double step = k->type == SL_FLOW_WHOLE ? 1 : 0.0005;
        bounded++;
        number_text(text, sizeof text, k->min);
        expect_sound(k, text);
        number_text(text, sizeof text, k->max);
        expect_sound(k, text);
        number_text(text, sizeof text, k->min - step);
        expect_error(k, text);
        number_text(text, sizeof text, k->max + (k->type == SL_FLOW_WHOLE ? 1 : k->max * 0.001));
        expect_error(k, text);
        expect_error(k, "-1e300");
        expect_error(k, "99999999999999999999");
    }
    CHECK(bounded > 8);
}

/* ---- names ---- */

SL_TEST(what_is_needed_is_missed_by_name)
{
    size_t count, needed = 0;
    const sl_flow_key *keys = sl_flow_keys(&count);
    for (size_t i = 0; i < count; i++) {
        document d;
        if (!keys[i].required)
            continue;
        needed++;
        make(&d, keys[i].section, keys[i].name, NULL);
        size_t errors = errors_of(&d);
        if (!errors || !strstr(first_error()->message, keys[i].name))
            sl_test_failed(__FILE__, __LINE__, "%s.%s left out: %zu errors: %s", keys[i].section, keys[i].name, errors,
                           first_error()->message);
    }
    CHECK(needed > 15);
}

static bool is_known(const char *section, const char *name)
{
    return sl_flow_key_of(section, sl_str_c(name)) ||
           (strcmp(section, "workflow") != 0 && sl_flow_key_of("step", sl_str_c(name)));
}

/* A letter too many is never taken for the key, and the key is proposed. */
SL_TEST(misspelt_keys_are_answered_with_the_right_ones)
{
    size_t count, told = 0;
    const sl_flow_key *keys = sl_flow_keys(&count);
    for (size_t i = 0; i < count; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "%sx", keys[i].name);
        if (strlen(keys[i].name) < 5 || is_known(keys[i].section, name))
            continue;
        document d;
        char value[80];
        make_without(&d, keys[i].section, keys[i].name, name, "1");
        (void)errors_of(&d);
        (void)snprintf(value, sizeof value, "did you mean %s?", keys[i].name);
        bool found = false;
        for (size_t k = 0; k < problems.count && !found; k++)
            found = problems.items[k].line == d.line && strstr(problems.items[k].message, value);
        told += found;
        /* What goes on to a provider or an action may be called as it likes; elsewhere it is always told. */
        bool open = strcmp(keys[i].section, "action") == 0 || strcmp(keys[i].section, "transform") == 0 ||
                    strcmp(keys[i].section, "workflow") == 0;
        if (!found && !open)
            sl_test_failed(__FILE__, __LINE__, "%s.%s: %s", keys[i].section, name,
                           problems.count ? problems.items[0].message : "nothing told");
    }
    CHECK(told > 30);
}

/* ---- the other notation ---- */

/* JSON of a value of YAML that needs no more than these. */
SL_TEST(faults_are_the_same_in_json)
{
    static const struct {
        const char *section, *key, *json;
        bool good;
    } rows[] = {
        {"llm", "temperature", "2.5", false},
        {"llm", "temperature", "2", true},
        {"llm", "max_tokens", "\"5\"", false},
        {"llm", "stream", "\"yes\"", false},
        {"llm", "stream", "true", true},
        {"vector_search", "top_k", "10001", false},
        {"vector_search", "top_k", "10000", true},
        {"loop", "max_iterations", "0", false},
        {"loop", "max_iterations", "null", true},
        {"step", "depends_on", "{\"b\": 1}", false},
        {"step", "output", "[\"x\", \"x\"]", false},
        {"step", "timeout_seconds", "-1", false},
        {"step", "timeout_seconds", "0.001", true},
        {"step", "condition", "\"{{\"", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *type = sound_of(rows[i].section) ? rows[i].section : "action";
        static const char *const json[][2] = {
            {"llm", "\"provider\": \"p\", \"model\": \"m\", \"prompt\": \"x\""},
            {"vector_search", "\"database\": \"d\", \"index\": \"i\", \"query\": [1]"},
            {"loop", "\"items\": [1], \"steps\": [{\"id\": \"l1\", \"type\": \"action\", \"action\": \"log\"}]"},
            {"action", "\"action\": \"log\""}};
        const char *more = "";
        for (size_t k = 0; k < 4; k++)
            if (strcmp(json[k][0], type) == 0)
                more = json[k][1];
        document d = {.line = 4};
        (void)snprintf(d.text, sizeof d.text,
                       "{\"name\": \"w\", \"steps\": [{\n \"id\": \"a\",\n \"type\": \"%s\", %s,\n \"%s\": %s}]}", type,
                       more, rows[i].key, rows[i].json);
        size_t errors = errors_of(&d);
        const sl_flow_problem *p = first_error();
        if (rows[i].good ? errors != 0 : p->line != 4 || !strstr(p->message, rows[i].key))
            sl_test_failed(__FILE__, __LINE__, "%s: %s: %zu errors, line %u: %s", rows[i].key, rows[i].json, errors,
                           p->line, p->message);
    }
}
