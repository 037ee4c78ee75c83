/* Expressions: operators, functions, lambdas, patterns, faults, limits. */
#include <stdio.h>
#include <stdlib.h>

#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/flow/expr.h"
#include "src/flow/expr_functions.h"
#include "src/flow/expr_regex.h"
#include "tests/harness/sl_test.h"

static const char scope_text[] =
    "{\"a\":{\"b\":[10,{\"c d\":\"deep\"}]},\"n\":3,\"s\":\"text\",\"l\":[3,1,2],\"nil\":null,\"e\":[],"
    "\"people\":[{\"name\":\"Bo\",\"age\":30},{\"name\":\"Al\",\"age\":25},{\"name\":\"Cy\",\"age\":30}],"
    "\"said\":{\"\\u0001text\":\"safe\",\"model\":\"m\"}}";

typedef struct eval_case {
    const char *text;
    const char *json; /* NULL: it is SL_EINVAL */
} eval_case;

static const eval_case cases[] = {
    {"1", "1"},
    {" -2.5e3 ", "-2500"},
    {"\"a\\n\\u00e4\\ud83d\\ude00\"", "\"a\\n\xC3\xA4\xF0\x9F\x98\x80\""},
    {"'it\\'s'", "\"it's\""},
    {"[1, 'a', null, true,]", "[1,\"a\",null,true]"},
    {"{a: 1, \"b c\": [2]}", "{\"a\":1,\"b c\":[2]}"},
    {"a.b[0]", "10"},
    {"a.b[1][\"c d\"]", "\"deep\""},
    {"a.b.0 + a['b'][-2]", "20"},
    {"absent", "null"},
    {"absent.x[3].y", "null"},
    {"a.b[9]", "null"},
    /* Operators. */
    {"1 + 2 * 3 - 4 / 2", "5"},
    {"(1 + 2) * 3", "9"},
    {"7 / 2", "3.5"},
    {"7 % 3", "1"},
    {"-7 % 3", "-1"},
    {"10 - 2 - 3", "5"},
    {"- n", "-3"},
    {"2 - -2", "4"},
    {"9223372036854775807 + 1", "9.223372036854776e+18"},
    {"0.1 + 0.2", "0.30000000000000004"},
    {"'a' + 1 + true", "\"a1true\""},
    {"[1] + [2]", "[1,2]"},
    {"1 / 0", NULL},
    {"1 % 0", NULL},
    {"'a' - 1", NULL},
    {"null + 1", NULL},
    {"1e308 * 10", NULL},
    {"n == 3.0 && n != 4", "true"},
    {"n == '3'", "false"},
    {"[1, {x: 2}] == [1, {x: 2.0}]", "true"},
    {"{a: 1, b: 2} == {b: 2, a: 1}", "true"},
    {"1 < 2 && 'a' < 'b' && 2 >= 2 && !(3 <= 2)", "true"},
    {"null < 1", NULL},
    {"'a' < 1", NULL},
    {"nil || 'x'", "\"x\""},
    {"n && s", "\"text\""},
    {"e && s", "[]"},
    {"false && 1 / 0", "false"},
    {"true || 1 / 0", "true"},
    {"!e", "true"},
    {"!!said", "true"},
    {"1 in l", "true"},
    {"'ex' in s", "true"},
    {"'b' in a", "true"},
    {"!(9 in l)", "true"},
    {"n > 2 ? 'big' : 'small'", "\"big\""},
    {"n > 3 ? 1 : n > 2 ? 2 : 3", "2"},
    {"index", "null"},
    {"said == 'safe'", "true"},
    {"said + '!'", "\"safe!\""},
    {"said.model", "\"m\""},
    {"1 == 1 == true", "true"},
    /* Functions. */
    {"len(l) + length(s) + len(people[0])", "9"},
    {"upper('a\xC3\xA4\xCF\x89\xD1\x8F\xC3\x9F') + lower('A\xC3\x84\xCE\xA9\xD0\xAF')",
     "\"A\xC3\x84\xCE\xA9\xD0\xAF\xC3\x9F"
     "a\xC3\xA4\xCF\x89\xD1\x8F\""},
    {"trim(' a ') + 'x'", "\"ax\""},
    {"split('a,b,,c', ',')", "[\"a\",\"b\",\"\",\"c\"]"},
    {"split(' a  b ')", "[\"a\",\"b\"]"},
    {"split('a\xC3\xA4', '')", "[\"a\",\"\xC3\xA4\"]"},
    {"split('', ',')", "[\"\"]"},
    {"join(l)", "\"3, 1, 2\""},
    {"join(l, '')", "\"312\""},
    {"replace('aXbX', 'X', '--')", "\"a--b--\""},
    {"replace('abc', '', 'x')", "\"abc\""},
    {"matches('abc123', '^[a-c]+[[:digit:]]{3}$')", "true"},
    {"matches('x', '^y|z$')", "false"},
    {"matches('x', '(')", NULL},
    {"find('order 1234 and 99', '[0-9]+')", "\"1234\""},
    {"find('x', '[0-9]')", "null"},
    {"find_all('a1b22', '\\\\d+')", "[\"1\",\"22\"]"},
    {"contains(s, 'tex') && contains(l, 2) && contains(a, 'b') && !contains(l, '2')", "true"},
    {"starts_with(s, 'te') && ends_with(s, 'xt')", "true"},
    {"keys(a)", "[\"b\"]"},
    {"values({x: 1, y: 2})", "[1,2]"},
    {"keys(said)", "[\"model\"]"},
    {"get(a, 'b')[0]", "10"},
    {"get(l, -1)", "2"},
    {"get(a, 'zz', 'none')", "\"none\""},
    {"first(l) + last(l)", "5"},
    {"first('\xC3\xA4x')", "\"\xC3\xA4\""},
    {"first(l, 2)", "[3,1]"},
    {"last(l, 2)", "[1,2]"},
    {"first(e)", "null"},
    {"slice(l, 1)", "[1,2]"},
    {"slice(s, 1, -1)", "\"ex\""},
    {"slice(l, 5, 2)", "[]"},
    {"sort(l)", "[1,2,3]"},
    {"sort(['b', 'a'])", "[\"a\",\"b\"]"},
    {"sort([1, 'a'])", NULL},
    {"map(sort_by(people, 'age'), 'name')", "[\"Al\",\"Bo\",\"Cy\"]"},
    {"map(sort_by(people, p => -p.age), 'name')", "[\"Bo\",\"Cy\",\"Al\"]"},
    {"reverse(l)", "[2,1,3]"},
    {"unique([1, 1.0, '1', [1], [1]])", "[1,\"1\",[1]]"},
    {"flatten([1, [2, [3]], []])", "[1,2,[3]]"},
    {"sum(l) + sum(e)", "6"},
    {"sum(['a'])", NULL},
    {"min(l) + max(l) + min(4, 2) + max(1, 5)", "11"},
    {"min(e)", "null"},
    {"avg(l)", "2"},
    {"avg(e)", "null"},
    {"round(2.5) + round(-2.5)", "0"},
    {"round(3.14159, 2)", "3.14"},
    {"floor(2.7) + ceil(2.1)", "5"},
    {"abs(-4) + abs(-0.5)", "4.5"},
    {"number(' 42 ') + number('1.5') + number(true)", "44.5"},
    {"number('x')", NULL},
    {"string(1.0) + string([1]) + string(null)", "\"1[1]\""},
    {"json({a: [1, 'x']})", "\"{\\\"a\\\":[1,\\\"x\\\"]}\""},
    {"json([1], 1)", "\"[\\n 1\\n]\""},
    {"parse_json('{\"a\": [1]}').a[0]", "1"},
    {"parse_json('{')", NULL},
    {"default(nil, '', n)", "3"},
    {"concat('a', 1, 'b') + concat([1], [2])[1]", "\"a1b2\""},
    {"merge({a: 1, b: 1}, {b: 2})", "{\"a\":1,\"b\":2}"},
    {"truncate('abcdef', 5)", "\"ab...\""},
    {"truncate('abc', 2, '')", "\"ab\""},
    {"formatNumber(1234567.5, 1)", "\"1,234,567.5\""},
    {"type(l) + type(nil)", "\"listnull\""},
    {"upper(1)", NULL},
    {"len(1)", NULL},
    {"upper(said)", "\"SAFE\""},
    /* Lambdas. */
    {"map(l, x => x * 2)", "[6,2,4]"},
    {"map(l, (x, i) => x * 10 + i)", "[30,11,22]"},
    {"filter(people, p => p.age > 26 && p.name != 'Cy')[0].name", "\"Bo\""},
    {"any(l, x => x > 2) && !any(e, x => true) && all(e, x => false) && !all(l, x => x > 1)", "true"},
    {"map(l, x => map(l, y => x * y))[0]", "[9,3,6]"},
    {"map([[1, 2], [3]], x => len(x))", "[2,1]"},
    {"map(people, p => {n: lower(p.name)})[1].n", "\"al\""},
    {"map(l, 3)", NULL},
    {"map(l, x => 1 / 0)", NULL},
};

static json_t *scope(void)
{
    return json_loads(scope_text, 0, NULL);
}

/* The value as JSON in `out`. */
static int eval_json(const char *text, json_t *in, sl_buf *out, sl_flow_fault *fault)
{
    sl_expr *expr = NULL;
    json_t *value = NULL;
    int error = sl_expr_new(sl_str_c(text), fault, &expr);
    if (!error)
        error = sl_expr_eval(expr, in, &value, fault);
    sl_flow_work work = {.steps = 1000000, .bytes = 1000000};
    if (!error)
        error = sl_flow_put_json(&work, out, value, 0);
    json_decref(value);
    sl_expr_free(expr);
    return error;
}

SL_TEST(expressions_have_these_values)
{
    json_t *in = scope();
    REQUIRE(in);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_buf out;
        sl_buf_init(&out, 1u << 20);
        sl_flow_fault fault = {0};
        int error = eval_json(cases[i].text, in, &out, &fault);
        bool right = cases[i].json ? !error && sl_str_eq_c(sl_buf_str(&out), cases[i].json)
                                   : error == SL_EINVAL && fault.message[0] && fault.line == 1;
        if (!right)
            sl_test_failed(__FILE__, __LINE__, "%s: %d %u:%u %s: %.*s", cases[i].text, error, fault.line, fault.column,
                           fault.message, (int)out.len, out.data ? out.data : "");
        sl_buf_done(&out);
    }
    json_decref(in);
}

typedef struct fault_case {
    const char *text;
    unsigned line, column;
    const char *part;
} fault_case;

static const fault_case faults[] = {
    {"", 1, 1, "missing at the end"},
    {"1 +", 1, 4, "missing at the end"},
    {"(1", 1, 3, "')' is missing"},
    {"1 2", 1, 3, "should end"},
    {"a\n.b.", 2, 4, "name expected"},
    {"'abc", 1, 1, "does not end"},
    {"'\\q'", 1, 3, "escape"},
    {"'\\ud800'", 1, 8, "surrogate"},
    {"'\\u12'", 1, 4, "four hexa"},
    {"nope(1)", 1, 1, "unknown function nope"},
    {"upper()", 1, 1, "at least 1"},
    {"upper(1, 2)", 1, 10, "at most 1"},
    {"upper(x => 1)", 1, 7, "no lambda"},
    {"x => 1", 1, 3, "should end"},
    {"{1: 2}", 1, 2, "key expected"},
    {"{'\\u0000': 2}", 1, 2, "NUL"},
    {"{a 2}", 1, 4, "':' expected"},
    {"a ? 1", 1, 6, "':' is missing"},
    {"[1", 1, 3, "']' is missing"},
    {"#", 1, 1, "value expected"},
    {"1e999", 1, 1, "bad number"},
    {"\xff", 0, 0, "UTF-8"},
    {"now()", 1, 1, "unknown function"},
};

SL_TEST(expression_faults_say_what_and_where)
{
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        sl_expr *expr = NULL;
        sl_flow_fault fault = {0};
        int error = sl_expr_new(sl_str_c(faults[i].text), &fault, &expr);
        if (error != SL_EPARSE || expr || fault.line != faults[i].line || fault.column != faults[i].column ||
            !strstr(fault.message, faults[i].part))
            sl_test_failed(__FILE__, __LINE__, "%s: %d %u:%u %s", faults[i].text, error, fault.line, fault.column,
                           fault.message);
        sl_expr_free(expr);
    }
}

SL_TEST(every_prefix_of_an_expression_is_safe)
{
    json_t *in = scope();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t len = 0; len < strlen(cases[i].text); len++) {
            char *copy = malloc(len + 1);
            REQUIRE(copy);
            memcpy(copy, cases[i].text, len);
            sl_expr *expr = NULL;
            json_t *value = NULL;
            if (sl_expr_new(sl_str_of(copy, len), NULL, &expr) == 0 && sl_expr_eval(expr, in, &value, NULL) == 0)
                json_decref(value);
            sl_expr_free(expr);
            free(copy);
        }
    json_decref(in);
}

SL_TEST(expressions_are_bounded)
{
    json_t *in = json_object(), *many = json_array();
    for (int i = 0; i < 5000; i++)
        json_array_append_new(many, json_integer(i));
    json_object_set_new(in, "many", many);
    json_object_set_new(in, "word", json_string("0123456789012345678901234567890123456789"));
    const char *const too_big[] = {
        "map(many, x => map(many, y => x * y))",
        "len(map(many, x => join(many, word)))",
        "first(map([first(map([[many, many]], x => [x, x]))], x => map(many, y => [x, x, x, x])))",
        "upper(join(map(many, x => join(map(many, y => word), '')), ''))",
    };
    for (size_t i = 0; i < sizeof too_big / sizeof *too_big; i++) {
        sl_flow_fault fault = {0};
        sl_buf out;
        sl_buf_init(&out, 1u << 20);
        if (eval_json(too_big[i], in, &out, &fault) != SL_ETOOBIG)
            sl_test_failed(__FILE__, __LINE__, "%s", too_big[i]);
        CHECK(fault.message[0]);
        sl_buf_done(&out);
    }
    sl_buf deep;
    sl_buf_init(&deep, 4u << 20);
    static const char *const opening[] = {"(", "[", "!", "-", "{a:", "a[", "upper(", "1 ? 1 : "};
    for (size_t k = 0; k < sizeof opening / sizeof *opening; k++) {
        sl_buf_clear(&deep);
        for (int i = 0; i < 70; i++)
            (void)sl_buf_put_c(&deep, opening[k]);
        (void)sl_buf_put_c(&deep, "1");
        sl_expr *expr = NULL;
        CHECK_EQ(sl_expr_new(sl_buf_str(&deep), NULL, &expr), SL_ETOOBIG);
    }
    sl_buf_clear(&deep);
    (void)sl_buf_put_c(&deep, "1");
    while (deep.len < 100000)
        (void)sl_buf_put_c(&deep, " + 1");
    sl_expr *expr = NULL;
    json_t *value = NULL;
    REQUIRE(sl_expr_new(sl_buf_str(&deep), NULL, &expr) == 0);
    CHECK_EQ(sl_expr_eval(expr, in, &value, NULL), 0);
    CHECK_EQ(json_integer_value(value), 25001);
    json_decref(value);
    sl_expr_free(expr);
    expr = NULL;
    while (deep.len <= SL_MAX_EXPR_BYTES)
        (void)sl_buf_put_c(&deep, " + 1");
    CHECK_EQ(sl_expr_new(sl_buf_str(&deep), NULL, &expr), SL_ETOOBIG);
    sl_buf_done(&deep);
    json_decref(in);
}

SL_TEST(expressions_survive_every_failed_allocation)
{
    json_set_alloc_funcs(sl_malloc, sl_free);
    json_t *in = scope();
    const char *text =
        "[map(l, (x, i) => x + i), sort_by(people, 'age'), 'a' + n, {k: -n}, split('a b', ' '), unique(l),"
        " find_all('a1', '[0-9]|b{2,3}'), json(l), upper(s), a.b[0] * 1.5, merge(a, a), parse_json('[1]')]";
    for (long n = 0; n < 2000; n++) {
        sl_buf out;
        sl_buf_init(&out, 1u << 20);
        sl_test_fail_alloc(n);
        int error = eval_json(text, in, &out, NULL);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        sl_buf_done(&out);
        if (!failed) {
            CHECK_EQ(error, 0);
            CHECK(n > 50);
            break;
        }
        if (error != SL_ENOMEM)
            sl_test_failed(__FILE__, __LINE__, "allocation %ld: %d", n, error);
    }
    json_decref(in);
    json_set_alloc_funcs(malloc, free);
}

static void collect(void *user, sl_str path, unsigned line, unsigned column)
{
    (void)sl_buf_printf(user, "%.*s@%u:%u ", (int)path.len, path.ptr, line, column);
}

SL_TEST(paths_of_expressions_are_told)
{
    sl_expr *expr = NULL;
    sl_buf out;
    sl_buf_init(&out, 4096);
    REQUIRE(sl_expr_new(SL_STR("a.b[0].c + map(d, x => x.y + e)\n[f].g + h[\"i\"].j"), NULL, &expr) == 0);
    sl_expr_each_path(expr, collect, &out);
    CHECK_STR(sl_buf_str(&out), "a.b[0].c@1:1 d@1:16 e@1:30 f@2:2 h[\"i\"].j@2:9 ");
    sl_buf_done(&out);
    sl_expr_free(expr);
}

typedef struct regex_case {
    const char *pattern;
    const char *text;
    long start, end; /* -1: no match; -2: the pattern is bad */
} regex_case;

static const regex_case regexes[] = {
    {"", "abc", 0, 0},
    {"b", "abc", 1, 2},
    {"^b", "abc", -1, 0},
    {"c$", "abc", 2, 3},
    {"^$", "", 0, 0},
    {"a|ab|abc", "xabcd", 1, 4},
    {"(a|b)*c", "ababc", 0, 5},
    {"a*", "aaa", 0, 3},
    {"a+b?", "xaab", 1, 4},
    {"a{2}", "aaa", 0, 2},
    {"a{2,}", "aaaa", 0, 4},
    {"a{1,2}b", "aaab", 1, 4},
    {"a{0}b", "ab", 1, 2},
    {"(ab){2,3}", "ababababab", 0, 6},
    {"[^a-c]+", "abcxyz", 3, 6},
    {"[]a]+", "x]a", 1, 3},
    {"[a-]+", "-a-", 0, 3},
    {"[[:alpha:]_]+", "1a_b2", 1, 4},
    {"\\.\\d+\\s", "a.12 ", 1, 5},
    {"\\W", "a!", 1, 2},
    {"a.c",
     "a\xC3\xA4"
     "c",
     0, 4},
    {"^.$", "\xF0\x9F\x98\x80", 0, 4},
    {"\xC3\xA4+", "x\xC3\xA4\xC3\xA4", 1, 5},
    {"(?:a)(b)", "ab", 0, 2},
    {"(a*)*", "aa", 0, 2},
    {"(a|)+b", "aab", 0, 3},
    {"(a", "a", -2, 0},
    {"a)", "a", -2, 0},
    {"*a", "a", -2, 0},
    {"[a", "a", -2, 0},
    {"[b-a]", "a", -2, 0},
    {"[[:no:]]", "a", -2, 0},
    {"a{3,2}", "a", -2, 0},
    {"a{256}", "a", -2, 0},
    {"a{x}", "a", -2, 0},
    {"a\\", "a", -2, 0},
};

SL_TEST(patterns_match_leftmost_and_longest)
{
    for (size_t i = 0; i < sizeof regexes / sizeof *regexes; i++) {
        sl_flow_work work = {.steps = 100000, .bytes = 100000};
        sl_regex *regex = NULL;
        size_t start = 0, end = 0;
        int error = sl_regex_new(&work, sl_str_c(regexes[i].pattern), &regex);
        if (!error)
            error = sl_regex_find(regex, &work, sl_str_c(regexes[i].text), 0, &start, &end);
        bool right = regexes[i].start == -2 ? error == SL_EINVAL
                     : regexes[i].start == -1
                         ? !error && start == (size_t)-1
                         : !error && start == (size_t)regexes[i].start && end == (size_t)regexes[i].end;
        if (!right)
            sl_test_failed(__FILE__, __LINE__, "%s in %s: %d %zu-%zu", regexes[i].pattern, regexes[i].text, error,
                           start, end);
        sl_regex_free(regex);
    }
}

SL_TEST(no_pattern_takes_for_ever)
{
    static const char *const patterns[] = {"((((a{255}){255}){255}){255})", "((((){255}){255}){255}){255}",
                                           "(((a?){99}){99}){99}"};
    for (size_t i = 0; i < 3; i++) {
        sl_flow_work work = {.steps = 1000000, .bytes = 100000};
        sl_regex *regex = NULL;
        CHECK_EQ(sl_regex_new(&work, sl_str_c(patterns[i]), &regex), SL_ETOOBIG);
    }
}

SL_TEST(functions_are_documented)
{
    size_t count = 0;
    const sl_flow_function *all = sl_flow_functions(&count);
    for (size_t i = 0; i < count; i++) {
        size_t least = 0, most = 0, names = 1;
        sl_flow_function_arity(&all[i], &least, &most);
        for (const char *c = all[i].args; *c; c++)
            names += *c == ',';
        CHECK(least <= most && most <= SL_MAX_EXPR_ARGS);
        CHECK(most == SL_MAX_EXPR_ARGS || names == most);
        CHECK(all[i].help[0] && all[i].help[strlen(all[i].help) - 1] == '.');
        CHECK(i == 0 || strcmp(all[i - 1].name, all[i].name) < 0);
        CHECK(sl_flow_function_find(sl_str_c(all[i].name)) == &all[i]);
    }
    CHECK(!sl_flow_function_find(SL_STR("now")) && !sl_flow_function_find(SL_STR("random")));
}
