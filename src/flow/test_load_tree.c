/* The tree of a file: types, places, maps, aliases, limits; YAML and JSON alike. */
#include "src/flow/load_tree.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "tests/harness/sl_test.h"

typedef struct fixture {
    sl_arena arena;
    sl_flow_problems problems;
    sl_tree tree;
} fixture;

static int read_text(fixture *f, sl_str text)
{
    memset(f, 0, sizeof *f);
    sl_arena_init(&f->arena, 4096, 1u << 28);
    f->tree.arena = &f->arena;
    f->tree.problems = &f->problems;
    return sl_tree_read(&f->tree, text);
}

static void done(fixture *f)
{
    sl_arena_done(&f->arena);
}

SL_TEST(plain_scalars_have_the_types_of_the_core_schema)
{
    static const struct {
        const char *text;
        sl_node_type type;
        double value;
    } cases[] = {
        {"", SL_NODE_NULL, 0},
        {"~", SL_NODE_NULL, 0},
        {"null", SL_NODE_NULL, 0},
        {"NULL", SL_NODE_NULL, 0},
        {"nil", SL_NODE_TEXT, 0},
        {"true", SL_NODE_BOOL, 1},
        {"True", SL_NODE_BOOL, 1},
        {"FALSE", SL_NODE_BOOL, 0},
        {"yes", SL_NODE_TEXT, 0},
        {"off", SL_NODE_TEXT, 0},
        {"tRue", SL_NODE_TEXT, 0},
        {"0", SL_NODE_INT, 0},
        {"-0", SL_NODE_INT, 0},
        {"42", SL_NODE_INT, 42},
        {"+42", SL_NODE_INT, 42},
        {"-7", SL_NODE_INT, -7},
        {"007", SL_NODE_TEXT, 0},
        {"-01", SL_NODE_TEXT, 0},
        {"01.5", SL_NODE_TEXT, 0},
        {"9223372036854775807", SL_NODE_INT, 9223372036854775807.0},
        {"9223372036854775808", SL_NODE_REAL, 9223372036854775808.0},
        {"1.5", SL_NODE_REAL, 1.5},
        {"-1.5e3", SL_NODE_REAL, -1500},
        {"+.5", SL_NODE_REAL, 0.5},
        {"1.", SL_NODE_REAL, 1},
        {"1e3", SL_NODE_REAL, 1000},
        {"1E-2", SL_NODE_REAL, 0.01},
        {"0.7", SL_NODE_REAL, 0.7},
        {"1e", SL_NODE_TEXT, 0},
        {"1e+", SL_NODE_TEXT, 0},
        {"e5", SL_NODE_TEXT, 0},
        {".", SL_NODE_TEXT, 0},
        {"-", SL_NODE_TEXT, 0},
        {"1.0.0", SL_NODE_TEXT, 0},
        {"1_000", SL_NODE_TEXT, 0},
        {"1e999", SL_NODE_TEXT, 0},
        {"-1e999", SL_NODE_TEXT, 0},
        {".inf", SL_NODE_TEXT, 0},
        {".nan", SL_NODE_TEXT, 0},
        {"inf", SL_NODE_TEXT, 0},
        {"0x10", SL_NODE_INT, 16},
        {"0xfFeEbB", SL_NODE_INT, 16772795},
        {"0o17", SL_NODE_INT, 15},
        {"0x7fffffffffffffff", SL_NODE_INT, 9223372036854775807.0},
        {"0o777777777777777777777", SL_NODE_INT, 9223372036854775807.0},
        {"0x8000000000000000", SL_NODE_TEXT, 0},
        {"0x", SL_NODE_TEXT, 0},
        {"0o", SL_NODE_TEXT, 0},
        {"0o8", SL_NODE_TEXT, 0},
        {"0xg", SL_NODE_TEXT, 0},
        {"0x1.5", SL_NODE_TEXT, 0},
        {"-0x10", SL_NODE_TEXT, 0},
        {"0X10", SL_NODE_TEXT, 0},
        {"0b11", SL_NODE_TEXT, 0},
        {"12:30", SL_NODE_TEXT, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_node node = {.text = sl_str_c(cases[i].text)};
        sl_node_resolve(&node);
        double value = node.type == SL_NODE_BOOL   ? node.is.boolean
                       : node.type == SL_NODE_INT  ? (double)node.is.whole
                       : node.type == SL_NODE_REAL ? node.is.real
                                                   : 0;
        if (node.type != cases[i].type || value != cases[i].value)
            sl_test_failed(__FILE__, __LINE__, "\"%s\": type %d, value %g", cases[i].text, (int)node.type, value);
    }
}

SL_TEST(the_same_tree_from_yaml_and_from_json)
{
    static const char *const texts[] = {
        "name: x\nlist:\n  - 1\n  - two\n  - {a: true, b: null}\nnumber: 1.5\n",
        "{\"name\": \"x\", \"list\": [1, \"two\", {\"a\": true, \"b\": null}],\n \"number\": 1.5}",
        "\n\t {name: x, list: [1, two, {a: true, b: ~}], number: 1.5,}", /* no JSON: YAML */
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        fixture f;
        CHECK_EQ(read_text(&f, sl_str_c(texts[i])), i == 2 ? SL_ECONFIG : 0); /* a tab before the text is a fault */
        if (i < 2) {
            const sl_node *root = f.tree.root, *list = sl_node_get(root, "list");
            CHECK(root && root->type == SL_NODE_MAP && root->is.map.count == 3);
            CHECK_STR(sl_node_get(root, "name")->text, "x");
            REQUIRE(list && list->type == SL_NODE_LIST && list->is.list.count == 3);
            CHECK_EQ(list->is.list.items[0]->is.whole, 1);
            CHECK_EQ(sl_node_get(list->is.list.items[2], "a")->type, SL_NODE_BOOL);
            CHECK_EQ(sl_node_get(list->is.list.items[2], "b")->type, SL_NODE_NULL);
            CHECK(sl_node_get(root, "number")->is.real == 1.5);
            CHECK(!sl_node_get(root, "nothing") && !sl_node_get(list, "name") && !sl_node_get(NULL, "name"));
            CHECK_EQ(root->depth, 4);
        }
        done(&f);
    }
}

SL_TEST(nodes_know_their_places)
{
    fixture f;
    CHECK_EQ(read_text(&f, SL_STR("a: 1\nb:\n  - x\n  -  y\n")), 0);
    const sl_node *list = sl_node_get(f.tree.root, "b");
    CHECK_EQ(sl_node_get(f.tree.root, "a")->column, 4);
    CHECK(list->line == 3 && list->column == 3);
    CHECK(list->is.list.items[1]->line == 4 && list->is.list.items[1]->column == 6);
    done(&f);
    CHECK_EQ(read_text(&f, SL_STR("{\n \"a\":\n  [10,\n   20]}")), 0);
    list = sl_node_get(f.tree.root, "a");
    CHECK(list->line == 3 && list->column == 3);
    CHECK(list->is.list.items[1]->line == 4 && list->is.list.items[1]->column == 4);
    CHECK(f.tree.root->is.map.pairs[0].key->line == 2 && f.tree.root->is.map.pairs[0].key->column == 2);
    done(&f);
}

SL_TEST(json_strings_are_decoded)
{
    fixture f;
    CHECK_EQ(read_text(&f, SL_STR("{\"a\":\"x\\n\\u00e9\\ud83d\\ude00\\/\",\"b\\u0061\":\"\",\"n\":\"12\"}")), 0);
    CHECK_STR(sl_node_get(f.tree.root, "a")->text, "x\n\xc3\xa9\xf0\x9f\x98\x80/");
    CHECK_EQ(sl_node_get(f.tree.root, "ba")->type, SL_NODE_TEXT);
    CHECK_EQ(sl_node_get(f.tree.root, "n")->type, SL_NODE_TEXT);
    done(&f);
}

SL_TEST(places_within_texts)
{
    static const struct {
        const char *file; /* value of the key `a` */
        unsigned line, column;
        unsigned file_line, file_column;
    } cases[] = {
        {"a: hello world\n", 1, 7, 1, 10},
        {"a: 'hello world'\n", 1, 7, 1, 11},
        {"a: 'it''s {{x'\n", 1, 6, 1, 11},
        {"a: \"hello world\"\n", 1, 7, 1, 11},
        {"a: \"one\\ntwo\"\n", 2, 1, 1, 10},
        {"a: \"q\\\"{{x\"\n", 1, 3, 1, 8},
        {"a: \"\\x41 {{x\"\n", 1, 3, 1, 4}, /* such an escape: the scalar's own place */
        {"a: |\n  one\n  two {{x\n", 2, 5, 3, 7},
        {"b: 1\na: |-\n\n  one\n    two {{x\n", 3, 7, 5, 9},
        {"a: |2\n    one\n   two\n", 2, 2, 3, 4},
        {"a: >\n  one\n  two {{x\n  three\n", 1, 9, 3, 7},
        {"a: >\n  one\n\n  two {{x\n", 2, 5, 4, 7},
        {"a: one\n  two {{x\n", 1, 9, 2, 7},
        {"a: 'one\n\n  two'\n", 2, 1, 3, 3},
        {"{\"a\": \"one\\ntwo \\\"x\\\" {{y\"}", 2, 9, 1, 23},
        {"{\"a\": \"{{ x\"}", 1, 4, 1, 11},
        {"\xc3\xa9: 1\na: \xc3\xa9\xc3\xa9 {{x\n", 1, 6, 2, 9},
        {"a: short\n", 9, 9, 1, 9},
        {"a: short\n", 0, 0, 1, 4},
        {"a: [1]\n", 1, 1, 1, 4},
        {"a: 12\n", 1, 2, 1, 5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture f;
        unsigned line = 0, column = 0;
        CHECK_EQ(read_text(&f, sl_str_c(cases[i].file)), 0);
        const sl_node *node = sl_node_get(f.tree.root, "a");
        REQUIRE(node != NULL);
        sl_tree_place(&f.tree, node, cases[i].line, cases[i].column, &line, &column);
        if (line != cases[i].file_line || column != cases[i].file_column)
            sl_test_failed(__FILE__, __LINE__, "case %zu: %u:%u, not %u:%u", i, line, column, cases[i].file_line,
                           cases[i].file_column);
        done(&f);
    }
}

SL_TEST(aliases_are_shared_and_merge_keys_followed)
{
    fixture f;
    CHECK_EQ(read_text(&f, SL_STR("base: &b {x: 1, y: 2}\nother: &o {y: 3, z: 4}\n"
                                  "one: {<<: *b, y: 5}\nboth: {<<: [*b, *o], w: 0}\nsame: *b\n")),
             0);
    const sl_node *one = sl_node_get(f.tree.root, "one"), *both = sl_node_get(f.tree.root, "both");
    CHECK_EQ(sl_node_get(one, "x")->is.whole, 1);
    CHECK_EQ(sl_node_get(one, "y")->is.whole, 5);
    CHECK_EQ(one->is.map.count, 2);
    CHECK_EQ(sl_node_get(both, "y")->is.whole, 2);
    CHECK_EQ(sl_node_get(both, "z")->is.whole, 4);
    CHECK_EQ(both->is.map.count, 4);
    CHECK(sl_node_get(f.tree.root, "same") == sl_node_get(f.tree.root, "base"));
    done(&f);
}

static void check_refused(const char *text, int error, const char *message, unsigned line)
{
    fixture f;
    CHECK_EQ(read_text(&f, sl_str_c(text)), error);
    REQUIRE(f.problems.count > 0);
    if (!strstr(f.problems.items[0].message, message) || f.problems.items[0].line != line)
        sl_test_failed(__FILE__, __LINE__, "%s\nline %u: %s", text, f.problems.items[0].line,
                       f.problems.items[0].message);
    done(&f);
}

SL_TEST(what_is_refused)
{
    check_refused("", SL_ECONFIG, "empty", 1);
    check_refused("# nothing\n", SL_ECONFIG, "empty", 1);
    check_refused("a: b: c\n", SL_ECONFIG, "YAML syntax", 1);
    check_refused("a: [1\nb: 2\n", SL_ECONFIG, "YAML syntax", 2);
    check_refused("a: 1\n---\nb: 2\n", SL_ECONFIG, "second document", 2);
    check_refused("a: &x [*x]\n", SL_ECONFIG, "leads back", 1);
    check_refused("a: &x {b: {c: *x}}\n", SL_ECONFIG, "leads back", 1);
    check_refused("? [1]\n: 2\n", SL_ECONFIG, "a key: not usable", 1);
    check_refused("\"a\\0b\": 2\n", SL_ECONFIG, "a key: not usable", 1);
    check_refused("{\"a\\u0000b\": 2}\n", SL_ECONFIG, "a key: not usable", 1);
    check_refused("a: {<<: 5}\n", SL_ECONFIG, "<<: not usable", 1);
    check_refused("a: 1\nb: \xff\n", SL_ECONFIG, "not UTF-8", 2);
    check_refused("{\"a\": 1e999}", SL_ECONFIG, "too large", 1);
    check_refused("{\"a\": 1,\n \"a\": {]}", SL_ECONFIG, "YAML syntax", 2);
}

SL_TEST(doubled_keys_are_told_but_do_not_stop)
{
    fixture f;
    CHECK_EQ(read_text(&f, SL_STR("a: 1\nb: {x: 1, y: 2, x: 3}\na: 2\n")), 0);
    CHECK_EQ(f.problems.errors, 2);
    CHECK_EQ(sl_node_get(f.tree.root, "a")->is.whole, 1);
    CHECK_EQ(f.tree.root->is.map.count, 2);
    CHECK_STR(sl_str_c(f.problems.items[0].message), "x: stands twice in one map; remove one");
    CHECK(f.problems.items[1].line == 3 && f.problems.items[1].column == 1);
    done(&f);
    CHECK_EQ(read_text(&f, SL_STR("{\"a\": 1, \"a\": 2}")), 0);
    CHECK_EQ(f.problems.errors, 1);
    done(&f);
}

/* `open` and `close` so many times around 1. */
static void check_depth(const char *open, const char *close, unsigned depth, int error)
{
    fixture f;
    sl_buf text;
    sl_buf_init(&text, 1u << 16);
    for (unsigned i = 0; i < depth; i++)
        (void)sl_buf_put_c(&text, open);
    (void)sl_buf_put_c(&text, "1");
    for (unsigned i = 0; i < depth; i++)
        (void)sl_buf_put_c(&text, close);
    CHECK_EQ(read_text(&f, sl_buf_str(&text)), error);
    done(&f);
    sl_buf_done(&text);
}

SL_TEST(depth_is_limited)
{
    check_depth("[", "]", 100, 0);
    check_depth("[", "]", 101, SL_ECONFIG);
    check_depth("{\"a\":", "}", 100, 0);
    check_depth("{\"a\":", "}", 101, SL_ECONFIG);
}

SL_TEST(depth_through_aliases_is_limited)
{
    fixture f;
    sl_buf text;
    sl_buf_init(&text, 1u << 16);
    (void)sl_buf_put_c(&text, "a0: &a0 [1]\n");
    for (int i = 1; i < 120; i++)
        (void)sl_buf_printf(&text, "a%d: &a%d [*a%d]\n", i, i, i - 1);
    CHECK_EQ(read_text(&f, sl_buf_str(&text)), SL_ECONFIG);
    CHECK(strstr(f.problems.items[0].message, "nested more than 100 deep") != NULL);
    done(&f);
    sl_buf_done(&text);
}

SL_TEST(anchors_and_merged_maps_are_limited)
{
    fixture f;
    sl_buf text;
    sl_buf_init(&text, 1u << 22);
    for (int i = 0; i < 10001; i++)
        (void)sl_buf_printf(&text, "- &a%d x\n", i);
    CHECK_EQ(read_text(&f, sl_buf_str(&text)), SL_ECONFIG);
    CHECK(strstr(f.problems.items[0].message, "more than 10000 anchors") != NULL);
    done(&f);
    sl_buf_clear(&text);
    (void)sl_buf_put_c(&text, "base: &b {");
    for (int i = 0; i < 2000; i++)
        (void)sl_buf_printf(&text, "k%d: 1, ", i);
    (void)sl_buf_put_c(&text, "}\nlist:\n");
    for (int i = 0; i < 600; i++)
        (void)sl_buf_put_c(&text, "- {<<: *b}\n");
    CHECK_EQ(read_text(&f, sl_buf_str(&text)), SL_ECONFIG);
    CHECK(strstr(f.problems.items[0].message, "more than 1000000 values") != NULL);
    done(&f);
    sl_buf_done(&text);
}

SL_TEST(every_failing_allocation_is_told)
{
    static const char *const texts[] = {"a: [1, {b: c, d: e}]\nf: &x {g: h}\ni: {<<: *x}\n",
                                        "{\"a\": [1, {\"b\": \"c\", \"d\": 1}], \"e\": null}"};
    for (size_t i = 0; i < 2; i++) {
        for (long n = 0;; n++) {
            fixture f;
            size_t live = sl_test_live_blocks();
            sl_test_fail_alloc(n);
            int error = read_text(&f, sl_str_c(texts[i]));
            bool failed = sl_test_alloc_failed();
            sl_test_fail_alloc(-1);
            done(&f);
            CHECK_EQ(sl_test_live_blocks(), live);
            CHECK_EQ(error, failed ? SL_ENOMEM : 0);
            if (!failed || n > 1000)
                break;
        }
    }
}

SL_TEST(every_beginning_of_a_file_is_read_or_refused)
{
    static const char text[] = "name: \"x\\ty\"\nsteps: &s\n  - {id: 'a', n: 1.5}\n  - <<: {b: c}\n    d: |\n      e\n";
    for (size_t len = 0; len < sizeof text; len++) {
        fixture f;
        int error = read_text(&f, sl_str_of(text, len));
        CHECK(error == 0 || error == SL_ECONFIG);
        CHECK_EQ(error == 0, f.tree.root != NULL && f.problems.errors == 0);
        done(&f);
    }
}
