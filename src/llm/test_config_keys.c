/*
 * Every key of the configuration, out of the tables that declare them: values of a wrong type, values out of range,
 * keys that stand twice, keys that are almost right. Each fault is told once, at its line and column, with what to
 * write.
 */
#include <stdio.h>
#include <stdlib.h>

#include "src/llm/config.h"
#include "src/llm/config_schema.h"
#include "tests/harness/sl_test.h"

/* Where a section's keys stand: the lines in front of them, which are sound, and how deep they are. */
typedef struct layout {
    const char *section;
    const char *before;
    unsigned indent;
    const char *behind; /* what else makes it sound; may be "" */
} layout;

#define MODEL "model_list:\n  - model_name: m\n    litellm_params:\n      model: openai/x\n"

static const layout layouts[] = {
    {"config", "", 0, ""},
    {"model_list[]", MODEL, 4, ""},
    {"litellm_params", MODEL, 6, ""},
    {"model_info", MODEL "    model_info:\n      mode: chat\n", 6, ""},
    {"model_list[].sightline", MODEL "    sightline:\n", 6, ""},
    {"general_settings", "general_settings:\n", 2, ""},
    {"sightline", "sightline:\n", 2, ""},
    {"sightline.listen", "sightline:\n  listen:\n", 4, ""},
    {"health_checks[]", "sightline:\n  health_checks:\n    - name: n\n      kind: memory\n", 6, ""},
};

static unsigned lines_of(const char *text)
{
    unsigned n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

typedef struct document {
    char text[2048];
    unsigned line, column; /* of the value */
} document;

static void write_document(const layout *l, const char *key, const char *value, document *d)
{
    d->line = lines_of(l->before) + 1;
    d->column = l->indent + (unsigned)strlen(key) + 3;
    (void)snprintf(d->text, sizeof d->text, "%s%*s%s: %s\n%s", l->before, (int)l->indent, "", key, value, l->behind);
}

/* True when the section's sound part has the key already. */
static bool stands_already(const layout *l, const char *key)
{
    char text[80];
    (void)snprintf(text, sizeof text, "%s:", key);
    for (const char *at = strstr(l->before, text); at; at = strstr(at + 1, text)) {
        const char *line = at;
        while (line > l->before && line[-1] != '\n')
            line--;
        if ((unsigned)(at - line) == l->indent)
            return true;
    }
    return false;
}

static const layout *layout_of(const char *section)
{
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++)
        if (strcmp(layouts[i].section, section) == 0)
            return &layouts[i];
    return NULL;
}

static sl_config *parse(const char *text)
{
    sl_config *config = NULL;
    int error = sl_config_parse(sl_str_c(text), "c.yaml", &config);
    if (!config)
        sl_test_failed(__FILE__, __LINE__, "%s: %d", text, error);
    return config;
}

/* One error, there, with a remedy; its text names the key. */
static void check_one_error(const document *d, const char *key, unsigned column)
{
    sl_config *config = parse(d->text);
    REQUIRE(config);
    const sl_diagnostic *found = config->diagnostics;
    while (found && found->level != SL_DIAG_ERROR)
        found = found->next;
    bool right = config->error_count == 1 && found && found->line == d->line && found->column == column &&
                 sl_str_find(found->text, sl_str_c(key)) != SL_NPOS &&
                 sl_str_find(found->text, SL_STR("; ")) != SL_NPOS;
    if (!right)
        sl_test_failed(__FILE__, __LINE__, "%zu errors, %u:%u not %u:%u, %s in\n%s", config->error_count,
                       found ? found->line : 0, found ? found->column : 0, d->line, column,
                       found ? found->text.ptr : "", d->text);
    sl_config_free(config);
}

static void check_no_error(const document *d)
{
    sl_config *config = parse(d->text);
    REQUIRE(config);
    if (config->error_count)
        sl_test_failed(__FILE__, __LINE__, "%s\n in\n%s", config->diagnostics->text.ptr, d->text);
    sl_config_free(config);
}

static void each_key(void (*fn)(const layout *l, const sl_key_def *key))
{
    size_t count;
    const sl_config_section *sections = sl_config_sections(&count);
    for (size_t i = 0; i < count; i++) {
        const layout *l = layout_of(sections[i].name);
        if (!l) {
            sl_test_failed(__FILE__, __LINE__, "no layout for section %s", sections[i].name);
            continue;
        }
        for (size_t k = 0; k < sections[i].count; k++)
            fn(l, &sections[i].keys[k]);
    }
}

/* ---- types ---- */

static const char *const *wrong_values(sl_key_type type)
{
    static const char *const none[] = {NULL};
    static const char *const maps[] = {"{a: 1}", "[a, b]", NULL};
    static const char *const secrets[] = {"{a: 1}",      "[x]",         "\"line\\n\"", "\"a b\"",
                                          "\"\\u00e4\"", "\"\\u0001\"", NULL};
    static const char *const bools[] = {"maybe", "1", "[true]", "{x: y}", "\"\"", "truee", NULL};
    static const char *const seconds[] = {"soon", "-1",   "4000001", "1s",   "[5]", "{s: 5}",
                                          ".inf", ".nan", "1e9",     "\"\"", NULL};
    static const char *const numbers[] = {"many",   "-1",   "1.5", "4294967296", "[1]",
                                          "{n: 1}", "0x10", "1e3", "\"\"",       NULL};
    static const char *const bytes[] = {"big", "-1",  "1.5", "64MB", "99999999999999999999", "17179869184GiB",
                                        "MiB", "[1]", NULL};
    static const char *const prices[] = {"cheap", "-0.1", "1.01", "$5", "[1]", ".nan", NULL};
    switch (type) {
    case SL_KEY_STR:
        return maps;
    case SL_KEY_SECRET:
        return secrets;
    case SL_KEY_BOOL:
        return bools;
    case SL_KEY_SECONDS:
        return seconds;
    case SL_KEY_U32:
        return numbers;
    case SL_KEY_BYTES:
        return bytes;
    case SL_KEY_PRICE:
        return prices;
    default:
        return none;
    }
}

static void check_wrong_values(const layout *l, const sl_key_def *key)
{
    if (stands_already(l, key->name))
        return;
    for (const char *const *value = wrong_values(key->type); *value; value++) {
        document d;
        write_document(l, key->name, *value, &d);
        check_one_error(&d, key->name, d.column);
    }
}

SL_TEST(a_value_of_a_wrong_type_is_told_at_its_place)
{
    each_key(check_wrong_values);
}

/* What is null is not given, whatever the type; and what does nothing yet may be anything. */
static void check_null(const layout *l, const sl_key_def *key)
{
    static const char *const anything[] = {"{a: [1, {b: c}]}", "[1]", "text", "-5"};
    static const char *const nothing[] = {"", "~", "null"};
    document d;
    if (stands_already(l, key->name) || strcmp(key->name, "master_key") == 0)
        return;
    for (size_t i = 0; i < 3; i++) {
        write_document(l, key->name, nothing[i], &d);
        check_no_error(&d);
    }
    for (size_t i = 0; i < 4 && key->type == SL_KEY_NOT_YET; i++) {
        write_document(l, key->name, anything[i], &d);
        check_no_error(&d);
    }
}

SL_TEST(what_is_null_is_not_given)
{
    each_key(check_null);
}

static void check_children(const layout *l, const sl_key_def *key)
{
    if (key->type != SL_KEY_CHILD || stands_already(l, key->name))
        return;
    document d;
    write_document(l, key->name, "5", &d);
    check_one_error(&d, key->name, d.column);
    write_document(l, key->name, "text", &d);
    check_one_error(&d, key->name, d.column);
}

SL_TEST(a_section_is_no_scalar)
{
    each_key(check_children);
}

/* ---- names ---- */

static void check_twice(const layout *l, const sl_key_def *key)
{
    document d;
    const char *value = key->type == SL_KEY_BOOL ? "true" : "1";
    if (stands_already(l, key->name) || key->type == SL_KEY_CHILD || strcmp(l->section, "model_info") == 0)
        return;
    write_document(l, key->name, value, &d);
    size_t len = strlen(d.text);
    (void)snprintf(d.text + len, sizeof d.text - len, "%*s%s: %s\n", (int)l->indent, "", key->name, value);
    sl_config *config = parse(d.text);
    REQUIRE(config);
    bool told = false;
    for (const sl_diagnostic *at = config->diagnostics; at; at = at->next)
        told = told || (at->level == SL_DIAG_WARNING && at->line == d.line && at->column == l->indent + 1 &&
                        sl_str_find(at->text, sl_str_c(key->name)) != SL_NPOS);
    if (!told)
        sl_test_failed(__FILE__, __LINE__, "%s twice is not told at %u:%u", key->name, d.line, l->indent + 1);
    sl_config_free(config);
}

SL_TEST(a_key_that_stands_twice_is_told_at_the_one_that_does_not_count)
{
    each_key(check_twice);
}

static bool is_key_of(const layout *l, const char *name)
{
    size_t count;
    const sl_config_section *sections = sl_config_sections(&count);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; strcmp(sections[i].name, l->section) == 0 && k < sections[i].count; k++)
            if (strcmp(sections[i].keys[k].name, name) == 0)
                return true;
    return false;
}

/* A letter too many: the place is the key's, and the right one is proposed; where other keys may stand it is let be. */
static void check_misspelt(const layout *l, const sl_key_def *key)
{
    char name[80], proposal[96];
    document d;
    (void)snprintf(name, sizeof name, "%sx", key->name);
    (void)snprintf(proposal, sizeof proposal, "did you mean \"%s\"", key->name);
    if (is_key_of(l, name) || strlen(key->name) < 5)
        return;
    write_document(l, name, "1", &d);
    sl_config *config = parse(d.text);
    REQUIRE(config);
    const sl_diagnostic *at = config->diagnostics;
    while (at && sl_str_find(at->text, sl_str_c(name)) == SL_NPOS)
        at = at->next;
    bool free_section = strcmp(l->section, "model_info") == 0;
    if (free_section ? at != NULL
                     : !at || at->line != d.line || at->column != l->indent + 1 ||
                           sl_str_find(at->text, sl_str_c(proposal)) == SL_NPOS)
        sl_test_failed(__FILE__, __LINE__, "%s.%s: %s", l->section, name, at ? at->text.ptr : "nothing told");
    sl_config_free(config);
}

SL_TEST(a_misspelt_key_is_told_with_the_right_one)
{
    each_key(check_misspelt);
}

/* ---- variables ---- */

static void check_environment(const layout *l, const sl_key_def *key)
{
    document d;
    if (stands_already(l, key->name) || key->type == SL_KEY_CHILD || key->type == SL_KEY_NOT_YET)
        return;
    write_document(l, key->name, "os.environ/SL_TEST_NOT_SET", &d);
    unsetenv("SL_TEST_NOT_SET");
    sl_config *config = parse(d.text);
    REQUIRE(config);
    bool told = false;
    for (const sl_diagnostic *at = config->diagnostics; at; at = at->next)
        told = told || (at->line == d.line && at->column == d.column &&
                        sl_str_find(at->text, SL_STR("SL_TEST_NOT_SET is not set")) != SL_NPOS);
    if (!told)
        sl_test_failed(__FILE__, __LINE__, "%s.%s: a variable that is not set", l->section, key->name);
    sl_config_free(config);
    /* A value that came from a variable is checked as any other. */
    const char *const *wrong = wrong_values(key->type);
    if (key->type == SL_KEY_STR || key->type == SL_KEY_SECRET || !*wrong)
        return;
    setenv("SL_TEST_NOT_SET", "neither", 1);
    check_one_error(&d, key->name, d.column);
    unsetenv("SL_TEST_NOT_SET");
}

SL_TEST(every_value_may_come_from_a_variable)
{
    each_key(check_environment);
}

/* ---- texts that mean something ---- */

typedef struct meaning {
    const char *section, *key, *value;
    bool good;
} meaning;

static const meaning meanings[] = {
    {"sightline", "workers", "64", true},
    {"sightline", "workers", "65", false},
    {"sightline", "max_body", "64MiB", true},
    {"sightline", "max_body", "1 GiB", true},
    {"sightline", "drain_timeout", "0.5", true},
    {"sightline", "drain_timeout", "4000000", true},
    {"sightline.listen", "gateway", "off", true},
    {"sightline.listen", "gateway", "0.0.0.0:0", true},
    {"sightline.listen", "metrics", "65536", false},
    {"sightline.listen", "metrics", "'host:'", false},
    {"sightline.listen", "admin", "'[::1]:80'", true},
    {"sightline.listen", "admin", "'::1:80'", false},
    {"sightline.listen", "queue", "'*:1'", true},
    {"litellm_params", "api_base", "http://h:1/v1", true},
    {"litellm_params", "api_base", "https://h", true},
    {"litellm_params", "timeout", "0", true},
    {"litellm_params", "timeout", "1e2", true},
    {"litellm_params", "input_cost_per_token", "1", true},
    {"litellm_params", "input_cost_per_token", "0.0000025", true},
    {"model_info", "input_cost_per_token", "2e-6", true},
    {"model_list[].sightline", "include_usage", "Off", true},
    {"model_list[].sightline", "include_usage", "YES", true},
};

SL_TEST(values_within_their_range_are_taken)
{
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++) {
        document d;
        const layout *l = layout_of(meanings[i].section);
        REQUIRE(l && is_key_of(l, meanings[i].key));
        write_document(l, meanings[i].key, meanings[i].value, &d);
        if (meanings[i].good)
            check_no_error(&d);
        else
            check_one_error(&d, meanings[i].key, d.column);
    }
}

/* Addresses that an upstream cannot have are told at the model that has them. */
SL_TEST(addresses_of_upstreams_are_checked)
{
    static const char *const bad[] = {"h:1/v1",          "ftp://h/v1",    "http://",       "http://h:99999/v1",
                                      "http://h/v1?x=1", "http://h/v1#f", "http://u@h/v1", "\"http://h /v1\"",
                                      "http://[::1/v1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        document d;
        write_document(layout_of("litellm_params"), "api_base", bad[i], &d);
        sl_config *config = parse(d.text);
        REQUIRE(config);
        if (config->error_count != 1 || config->diagnostics->line < 3 || config->diagnostics->line > d.line ||
            sl_str_find(config->diagnostics->text, SL_STR("api_base")) == SL_NPOS || config->deployment_count)
            sl_test_failed(__FILE__, __LINE__, "%s: %zu errors", bad[i], config->error_count);
        sl_config_free(config);
    }
}

/* ---- memory ---- */

SL_TEST(a_configuration_without_memory_is_none)
{
    const char *text = MODEL "      api_key: sk-1\n      timeout: soon\n    model_info: {input_cost_per_token: 0.1}\n"
                             "general_settings: {master_key: sk-x}\nsightline:\n  listen: {gateway: 1, admin: off}\n"
                             "  health_checks: [{name: n, kind: tcp, target: 'h:1'}]\n  nonsense: 1\n";
    for (long n = 0; n < 1000; n++) {
        sl_config *config = NULL;
        sl_test_fail_alloc(n);
        int error = sl_config_parse(sl_str_c(text), "c.yaml", &config);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        if (!failed) {
            CHECK_EQ(error, SL_ECONFIG);
            CHECK(n > 2 && config && config->error_count == 1);
            sl_config_free(config);
            return;
        }
        CHECK_EQ(error, SL_ENOMEM);
        CHECK(!config);
    }
}
