/* The files that `gen` makes, read back: what is YAML is that, and its parts fit together. */
#include <stdio.h>

#include "src/cli/gen.h"
#include "src/llm/yaml_tree.h"
#include "tests/harness/sl_test.h"

/* Reads one document; NULL when it is no YAML. */
static sl_yaml *read_document(sl_str text)
{
    sl_config config;
    sl_yaml *yaml = NULL;
    memset(&config, 0, sizeof config);
    sl_arena_init(&config.arena, 4096, 1u << 20);
    int error = sl_yaml_parse(text, &config, &yaml);
    sl_arena_done(&config.arena);
    return error ? NULL : yaml;
}

static size_t documents; /* visited so far */

/* Calls `visit` with the root of every document of every YAML file of a kind. */
static void each_document(const sl_gen_kind *kind, void (*visit)(sl_yaml *yaml, sl_yaml_node *root, const char *file))
{
    for (size_t i = 0; i < kind->count(); i++) {
        sl_str name = sl_str_c(kind->file(i));
        if (!sl_str_ends(name, SL_STR(".yaml")) && !sl_str_ends(name, SL_STR(".yml")))
            continue;
        sl_buf out;
        sl_buf_init(&out, 1u << 20);
        CHECK_EQ(kind->print(i, &out), 0);
        sl_str rest = sl_buf_str(&out);
        while (rest.len) {
            size_t end = sl_str_find(rest, SL_STR("\n---\n"));
            sl_yaml *yaml = read_document(sl_str_sub(rest, 0, end == SL_NPOS ? rest.len : end + 1));
            documents++;
            if (yaml)
                visit(yaml, sl_yaml_root(yaml), kind->file(i));
            else
                sl_test_failed(__FILE__, __LINE__, "%s: no YAML", kind->file(i));
            sl_yaml_free(yaml);
            rest = end == SL_NPOS ? sl_str_of(NULL, 0) : sl_str_sub(rest, end + 5, rest.len);
        }
        sl_buf_done(&out);
    }
}

static sl_str text_at(sl_yaml *yaml, sl_yaml_node *map, const char *key)
{
    sl_yaml_node *node = map ? sl_yaml_get(yaml, map, key) : NULL;
    return node ? sl_yaml_text(node) : sl_str_of(NULL, 0);
}

/* ---- rules ---- */

/* Brackets and quotes close, and something is compared: an alert without a comparison would always fire. */
static bool is_condition(sl_str expression)
{
    char open[64];
    size_t depth = 0;
    bool quoted = false, compares = false;
    for (size_t i = 0; i < expression.len; i++) {
        char c = expression.ptr[i];
        if (c == '"')
            quoted = !quoted;
        if (quoted)
            continue;
        if ((c == '(' || c == '[' || c == '{') && depth < sizeof open)
            open[depth++] = c;
        if (c == ')' || c == ']' || c == '}') {
            char wanted = c == ')' ? '(' : c == ']' ? '[' : '{';
            if (depth == 0 || open[--depth] != wanted)
                return false;
        }
        bool inside = depth > 0 && open[depth - 1] == '{';
        compares |= !inside && (c == '<' || c == '>' || (c == '=' && i > 0 && expression.ptr[i - 1] == '='));
        compares |= sl_str_starts(sl_str_sub(expression, i, expression.len), SL_STR("absent"));
    }
    return depth == 0 && !quoted && compares;
}

/* Prometheus: [0-9]+(ms|[smhdwy]). */
static bool is_duration(sl_str text)
{
    return text.len > 1 && text.ptr[0] >= '0' && text.ptr[0] <= '9' && strchr("smhdwy", text.ptr[text.len - 1]);
}

static void check_rule(sl_yaml *yaml, sl_yaml_node *rule, const char *file)
{
    sl_str name = text_at(yaml, rule, "alert");
    sl_yaml_node *labels = sl_yaml_get(yaml, rule, "labels"), *notes = sl_yaml_get(yaml, rule, "annotations");
    bool good = name.len > 0 && is_condition(text_at(yaml, rule, "expr")) && is_duration(text_at(yaml, rule, "for"));
    for (size_t i = 0; i < name.len; i++)
        good = good && ((name.ptr[i] | 0x20) >= 'a' ? (name.ptr[i] | 0x20) <= 'z' : name.ptr[i] <= '9');
    good = good && text_at(yaml, labels, "severity").len > 0 && text_at(yaml, notes, "summary").len > 0;
    if (!good)
        sl_test_failed(__FILE__, __LINE__, "%s: %.*s", file, (int)name.len, name.ptr ? name.ptr : "");
}

static void check_rules(sl_yaml *yaml, sl_yaml_node *root, const char *file)
{
    sl_yaml_node *groups = sl_yaml_get(yaml, root, "groups"), *group, *rule, *other;
    REQUIRE(groups && sl_yaml_is_list(groups));
    size_t seen = 0;
    for (size_t g = 0; (group = sl_yaml_item(yaml, groups, g)) != NULL; g++) {
        sl_yaml_node *rules = sl_yaml_get(yaml, group, "rules");
        CHECK(text_at(yaml, group, "name").len > 0);
        REQUIRE(rules && sl_yaml_is_list(rules));
        for (size_t r = 0; (rule = sl_yaml_item(yaml, rules, r)) != NULL; r++, seen++) {
            check_rule(yaml, rule, file);
            for (size_t k = 0; k < r && (other = sl_yaml_item(yaml, rules, k)) != NULL; k++)
                CHECK(!sl_str_eq(text_at(yaml, other, "alert"), text_at(yaml, rule, "alert")));
        }
    }
    CHECK(seen > 0);
}

SL_TEST(rules_are_what_prometheus_reads)
{
    each_document(&sl_gen_rules, check_rules);
}

/* ---- Kubernetes ---- */

/* RFC 1123, 2.1: what Kubernetes takes as a name. */
static bool is_label(sl_str name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (!letter && (c != '-' || i == 0 || i + 1 == name.len))
            return false;
    }
    return name.len > 0 && name.len <= 63;
}

static void check_object(sl_yaml *yaml, sl_yaml_node *root, const char *file)
{
    sl_yaml_node *metadata = sl_yaml_get(yaml, root, "metadata"), *spec = sl_yaml_get(yaml, root, "spec");
    sl_str kind = text_at(yaml, root, "kind");
    bool good = text_at(yaml, root, "apiVersion").len > 0 && kind.len > 0 && is_label(text_at(yaml, metadata, "name"));
    if (good && sl_str_eq(kind, SL_STR("Deployment"))) {
        /* The selector finds the pods of its own template. */
        sl_yaml_node *match = sl_yaml_get(yaml, sl_yaml_get(yaml, spec, "selector"), "matchLabels");
        sl_yaml_node *pod = sl_yaml_get(yaml, sl_yaml_get(yaml, spec, "template"), "metadata");
        sl_yaml_node *labels = sl_yaml_get(yaml, pod, "labels"), *key, *value;
        good = match && labels && sl_yaml_pair_count(match) > 0;
        for (size_t i = 0; good && sl_yaml_pair(yaml, match, i, &key, &value); i++) {
            char name[64];
            good = sl_str_to_c(sl_yaml_text(key), name, sizeof name) &&
                   sl_str_eq(text_at(yaml, labels, name), sl_yaml_text(value));
        }
    }
    if (!good)
        sl_test_failed(__FILE__, __LINE__, "%s: a %.*s", file, (int)kind.len, kind.ptr ? kind.ptr : "");
}

SL_TEST(objects_are_what_kubernetes_reads)
{
    each_document(&sl_gen_kubernetes, check_object);
}

/* ---- Compose, and files beside it ---- */

static void check_yaml(sl_yaml *yaml, sl_yaml_node *root, const char *file)
{
    sl_yaml_node *services = sl_yaml_get(yaml, root, "services"), *key, *service;
    if (!sl_yaml_is_map(root))
        sl_test_failed(__FILE__, __LINE__, "%s: no map", file);
    for (size_t i = 0; services && sl_yaml_pair(yaml, services, i, &key, &service); i++)
        CHECK(text_at(yaml, service, "image").len > 0 || sl_yaml_get(yaml, service, "build") != NULL);
}

SL_TEST(compose_files_are_yaml)
{
    documents = 0;
    each_document(&sl_gen_compose, check_yaml);
    CHECK(documents > 0);
}

/* ---- all of them ---- */

/* The same each time, and every allocation and every byte of room that is missing is an error, never half a file. */
SL_TEST(files_are_whole_or_not_there)
{
    for (size_t k = 0; sl_gen_kinds[k]; k++) {
        for (size_t i = 0; i < sl_gen_kinds[k]->count(); i++) {
            sl_buf first, again;
            sl_buf_init(&first, 1u << 20);
            CHECK_EQ(sl_gen_kinds[k]->print(i, &first), 0);
            sl_buf_init(&again, 1u << 20);
            CHECK_EQ(sl_gen_kinds[k]->print(i, &again), 0);
            CHECK_STR_EQ(sl_buf_str(&again), sl_buf_str(&first));
            sl_buf_done(&again);
            for (size_t less = 1; less < first.len; less = less * 3 + 1) {
                sl_buf_init(&again, first.len - less);
                CHECK(sl_gen_kinds[k]->print(i, &again) != 0);
                sl_buf_done(&again);
            }
            sl_buf_done(&first);
            for (long n = 0; n < 40; n++) {
                sl_buf_init(&again, 1u << 20);
                sl_test_fail_alloc(n);
                int error = sl_gen_kinds[k]->print(i, &again);
                bool failed = sl_test_alloc_failed();
                sl_test_fail_alloc(-1);
                sl_buf_done(&again);
                CHECK_EQ(error, failed ? SL_ENOMEM : 0);
                if (!failed)
                    break;
            }
        }
    }
}
