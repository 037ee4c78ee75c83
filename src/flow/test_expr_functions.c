/* Every function: what it gives at its edges, what it refuses and how it says so, and what it does in templates. */
#include "src/flow/expr_functions.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/limits.h"
#include "src/flow/expr.h"
#include "src/flow/template.h"
#include "tests/harness/sl_test.h"

typedef struct row {
    const char *text;
    const char *json; /* or what the message says, behind a '!' */
} row;

/* Names: said is text with parts, nil null, o object, l list of numbers, w list of words. */
static const char scope_text[] =
    "{\"said\":{\"\\u0001text\":\"Safe\",\"model\":\"m\"},\"nil\":null,\"o\":{\"b\":1,\"a\":{\"c\":2}},\"l\":[3,1,2],"
    "\"w\":[\"b\",\"a\",\"c\"],\"deep\":[[1,[2]],[],[[3]]],\"umlaut\":\"\\u00e4\\u20ac\\ud83d\\ude00z\","
    "\"rows\":[{\"k\":2,\"n\":\"x\"},{\"k\":1,\"n\":\"y\"},{\"k\":2,\"n\":\"z\"}]}";

static const row rows[] = {
    /* abs, ceil, floor, round */
    {"abs(-3)", "3"},
    {"abs(3)", "3"},
    {"abs(-0.25)", "0.25"},
    {"abs(0)", "0"},
    {"abs('3')", "!argument 1 must be a number, not a string"},
    {"abs(nil)", "!not a null"},
    {"ceil(1.000001)", "2"},
    {"ceil(-1.5)", "-1"},
    {"ceil(7)", "7"},
    {"ceil(1e300)", "1e+300"},
    {"ceil('1')", "!number"},
    {"floor(1.999)", "1"},
    {"floor(-1.5)", "-2"},
    {"floor(7)", "7"},
    {"floor(l)", "!not a list"},
    {"round(2.5)", "3"},
    {"round(-2.5)", "-3"},
    {"round(2.4999)", "2"},
    {"round(1234.567, 2)", "1234.57"},
    {"round(1234.567, 0)", "1235"},
    {"round(1234.567, -2)", "1200"},
    {"round(1251, -2)", "1300"},
    {"round(5, 3)", "5"},
    {"round(1e300, 3)", "1e+300"},
    {"round(1.5, nil)", "2"},
    {"round(0.1, 99)", "0.1"},
    {"round('1')", "!number"},
    {"round(1, 'x')", "!argument 2 must be a number"},
    /* formatNumber */
    {"formatNumber(0)", "\"0\""},
    {"formatNumber(999)", "\"999\""},
    {"formatNumber(1000)", "\"1,000\""},
    {"formatNumber(-1000)", "\"-1,000\""},
    {"formatNumber(-999999)", "\"-999,999\""},
    {"formatNumber(1234567.891)", "\"1,234,567.89\""},
    {"formatNumber(1234567.891, 0)", "\"1,234,568\""},
    {"formatNumber(0.5, 3)", "\"0.500\""},
    {"formatNumber(1234, 2, '.')", "\"1.234.00\""},
    {"formatNumber(1234567, 0, ' ')", "\"1 234 567\""},
    {"formatNumber(1234567, 0, '')", "\"1234567\""},
    {"formatNumber(5, -3)", "\"5\""},
    {"len(formatNumber(1e300, 2)) > 300", "true"},
    {"formatNumber('5')", "!number"},
    /* sum, avg, min, max */
    {"sum([])", "0"},
    {"sum([1, 2.5])", "3.5"},
    {"sum([1, 2])", "3"},
    {"sum([0.5, 0.5])", "1.0"},
    {"sum([1, nil])", "!item 1 is no number but a null"},
    {"sum(o)", "!must be a list, not an object"},
    {"avg([1, 2])", "1.5"},
    {"avg([1, 2, 3])", "2"},
    {"avg([])", "null"},
    {"avg(['1'])", "!no number"},
    {"avg('12')", "!list"},
    {"min(l)", "1"},
    {"min(3, 1, 2)", "1"},
    {"min(w)", "\"a\""},
    {"min('b', 'a')", "\"a\""},
    {"min([])", "null"},
    {"min(nil, 2)", "2"},
    {"min(1, 'a')", "!cannot put string and number in order"},
    {"max(l)", "3"},
    {"max(1.5, 2)", "2"},
    {"max('\xC3\xA4', 'z')", "\"\xC3\xA4\""},
    {"max([nil, 1])", "1"},
    {"max([1, [2]])", "!in order"},
    /* number, string, json, parse_json, type, default */
    {"number('12')", "12"},
    {"number(' -1.5e1\\n')", "-15.0"},
    {"number(false)", "0"},
    {"number(2.5)", "2.5"},
    {"number('9223372036854775808')", "9.223372036854775808e18"},
    {"number('')", "!string is none"},
    {"number('12a')", "!string is none"},
    {"number('0x10')", "!string is none"},
    {"number('nan')", "!string is none"},
    {"number('inf')", "!string is none"},
    {"number('1e999')", "!string is none"},
    {"number(nil)", "!null is none"},
    {"number([1])", "!list is none"},
    {"string(1)", "\"1\""},
    {"string(1.0)", "\"1\""},
    {"string(true)", "\"true\""},
    {"string(nil)", "\"\""},
    {"string(said)", "\"Safe\""},
    {"string(w)", "\"[\\\"b\\\",\\\"a\\\",\\\"c\\\"]\""},
    {"json(nil)", "\"null\""},
    {"json('\\u0001\"')", "\"\\\"\\\\u0001\\\\\\\"\\\"\""},
    {"json(said)", "\"{\\\"model\\\":\\\"m\\\"}\""},
    {"json([], true)", "\"[]\""},
    {"json({a: []}, 1)", "\"{\\n \\\"a\\\": []\\n}\""},
    {"json([1], false)", "\"[1]\""},
    {"json([1], 99) == json([1], 8)", "true"},
    {"json([1], -1)", "\"[1]\""},
    {"parse_json(json(o)) == o", "true"},
    {"parse_json('3')", "3"},
    {"parse_json(' null ')", "null"},
    {"parse_json('\"\\\\u00e4\"')", "\"\xC3\xA4\""},
    {"parse_json('')", "!parse_json: line 1"},
    {"parse_json('[1] x')", "!parse_json: line 1"},
    {"parse_json('{\\n\\n!}')", "!parse_json: line 3"},
    {"parse_json('01')", "!parse_json"},
    {"parse_json(l)", "!string"},
    {"type(1) + type(1.5) + type('') + type(true) + type([]) + type({}) + type(nil)",
     "\"numbernumberstringbooleanlistobjectnull\""},
    {"type(said)", "\"object\""},
    {"default(nil, 1)", "1"},
    {"default('', 'x')", "\"x\""},
    {"default(0, 1)", "0"},
    {"default(false, 1)", "false"},
    {"default([], 1)", "[]"},
    {"default(nil, '', nil)", "null"},
    {"default(nil)", "null"},
    {"default(o.missing.far, 'x')", "\"x\""},
    /* Texts. */
    {"upper('abc\xC3\xA9\xCF\x80\xD0\xB6\xD1\x91')", "\"ABC\xC3\x89\xCE\xA0\xD0\x96\xD0\x81\""},
    {"lower('ABC\xC3\x89\xCE\xA0\xD0\x96\xD0\x81')", "\"abc\xC3\xA9\xCF\x80\xD0\xB6\xD1\x91\""},
    {"upper('\xC3\xB7\xE2\x82\xAC')", "\"\xC3\xB7\xE2\x82\xAC\""},
    {"lower('\xC3\x97')", "\"\xC3\x97\""},
    {"upper('')", "\"\""},
    {"upper(nil)", "!must be a string, not a null"},
    {"lower(5)", "!must be a string, not a number"},
    {"trim('\\t\\n a b \\r')", "\"a b\""},
    {"trim('   ')", "\"\""},
    {"trim(nil)", "!not a null"},
    {"split('a b')", "[\"a\",\"b\"]"},
    {"split('   ')", "[]"},
    {"split('')", "[]"},
    {"split('', 'x')", "[\"\"]"},
    {"split(',', ',')", "[\"\",\"\"]"},
    {"split('a--b', '--')", "[\"a\",\"b\"]"},
    {"split('aaa', 'aa')", "[\"\",\"a\"]"},
    {"split(umlaut, '')", "[\"\xC3\xA4\",\"\xE2\x82\xAC\",\"\xF0\x9F\x98\x80\",\"z\"]"},
    {"split('', '')", "[]"},
    {"split(l)", "!string"},
    {"join([])", "\"\""},
    {"join([1])", "\"1\""},
    {"join([1, nil, true, said, [2]], '|')", "\"1||true|Safe|[2]\""},
    {"join('ab')", "!list"},
    {"join(l, 1)", "!argument 2 must be a string"},
    {"join(split('a,b,,c', ','), ',')", "\"a,b,,c\""},
    {"replace('aaa', 'aa', 'b')", "\"ba\""},
    {"replace('aaa', 'a', 'aa')", "\"aaaaaa\""},
    {"replace('abc', 'x', 'y')", "\"abc\""},
    {"replace('', 'x', 'y')", "\"\""},
    {"replace('a.b', '.', '')", "\"ab\""},
    {"replace('a', 'a', nil)", "!string, not a null"},
    {"matches('abc', 'b')", "true"},
    {"matches('abc', '^b')", "false"},
    {"matches('', '')", "true"},
    {"matches('a', '[')", "!pattern: [ without ] at byte"},
    {"matches(l, 'a')", "!argument 1 must be a string"},
    {"find('key=value', '[a-z]+$')", "\"value\""},
    {"find('\xC3\xA4\xC3\xB6\xC3\xBC', '[\xC3\xB6\xC3\xBC]+')", "\"\xC3\xB6\xC3\xBC\""},
    {"find('', 'x*')", "\"\""},
    {"find('a', 'b')", "null"},
    {"find('a', nil)", "!argument 2 must be a string"},
    {"find_all('', 'a')", "[]"},
    {"find_all('aXbX', '[A-Z]')", "[\"X\",\"X\"]"},
    {"find_all('ab', 'x*')", "[\"\",\"\",\"\"]"},
    {"find_all('\xC3\xA4\xC3\xB6', '.')", "[\"\xC3\xA4\",\"\xC3\xB6\"]"},
    {"find_all('aa', '^a')", "[\"a\"]"},
    {"find_all('a', '(')", "!pattern"},
    {"starts_with('abc', '')", "true"},
    {"starts_with('abc', 'abcd')", "false"},
    {"starts_with(said, 'Sa')", "true"},
    {"starts_with(1, 'x')", "!string"},
    {"ends_with('abc', 'bc')", "true"},
    {"ends_with('', 'x')", "false"},
    {"ends_with('x', 1)", "!argument 2"},
    {"truncate('abcdef', 4)", "\"a...\""},
    {"truncate('abcdef', 3)", "\"...\""},
    {"truncate('abcdef', 2)", "\"..\""},
    {"truncate('abcdef', 0)", "\"\""},
    {"truncate('abcdef', -5)", "\"\""},
    {"truncate('abc', 3)", "\"abc\""},
    {"truncate(umlaut, 3, '')", "\"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\""},
    {"truncate(umlaut, 3, '\xE2\x80\xA6')", "\"\xC3\xA4\xE2\x82\xAC\xE2\x80\xA6\""},
    {"truncate('abc')", "!at least 2"},
    {"truncate(l, 1)", "!string"},
    /* Lists and what has parts. */
    {"len(umlaut)", "4"},
    {"len('')", "0"},
    {"len({})", "0"},
    {"len(true)", "!list, string or object"},
    {"length(l)", "3"},
    {"length(o)", "2"},
    {"length(said)", "4"},
    {"length(nil)", "!not a null"},
    {"first([])", "null"},
    {"first('')", "null"},
    {"first(umlaut)", "\"\xC3\xA4\""},
    {"first(l, 0)", "[]"},
    {"first(l, 99)", "[3,1,2]"},
    {"first(l, -1)", "[]"},
    {"first('abc', 2)", "\"ab\""},
    {"first(5)", "!list"},
    {"last([])", "null"},
    {"last(umlaut)", "\"z\""},
    {"last(l, 0)", "[]"},
    {"last(l, 99)", "[3,1,2]"},
    {"last('abc', 2)", "\"bc\""},
    {"last(nil)", "!null"},
    {"slice(l, 0, 2)", "[3,1]"},
    {"slice(l, -2)", "[1,2]"},
    {"slice(l, -99, 99)", "[3,1,2]"},
    {"slice(l, 2, 1)", "[]"},
    {"slice(umlaut, 1, 3)", "\"\xE2\x82\xAC\xF0\x9F\x98\x80\""},
    {"slice(umlaut, -1)", "\"z\""},
    {"slice('', 0, 5)", "\"\""},
    {"slice(o, 0)", "!not an object"},
    {"slice(l, 'a')", "!argument 2 must be a number"},
    {"get(o, 'b')", "1"},
    {"get(o, 'x')", "null"},
    {"get(o, 'x', 5)", "5"},
    {"get(l, 0)", "3"},
    {"get(l, -3)", "3"},
    {"get(l, -4, 'none')", "\"none\""},
    {"get(l, '1')", "1"},
    {"get(l, 'one')", "null"},
    {"get(nil, 'x', 1)", "1"},
    {"get('text', 0)", "null"},
    {"lookup(o, 'a')", "{\"c\":2}"},
    {"lookup(l, 1)", "1"},
    {"lookup(5, 1, 2)", "2"},
    {"keys(o)", "[\"b\",\"a\"]"},
    {"keys({})", "[]"},
    {"keys(said)", "[\"model\"]"},
    {"keys(l)", "!object"},
    {"values(o)", "[1,{\"c\":2}]"},
    {"values(said)", "[\"m\"]"},
    {"values('x')", "!must be an object, not a string"},
    {"contains('abc', '')", "true"},
    {"contains('abc', 'd')", "false"},
    {"contains('1', 1)", "false"},
    {"contains(l, 3.0)", "true"},
    {"contains([[1]], [1])", "true"},
    {"contains(o, 'c')", "false"},
    {"contains(said, 'af')", "true"},
    {"contains(said, 'model')", "false"},
    {"contains(5, 1)", "!list"},
    {"sort([])", "[]"},
    {"sort([2, 1.5, -1])", "[-1,1.5,2]"},
    {"sort(['b', 'B', '\xC3\xA4', 'a'])", "[\"B\",\"a\",\"b\",\"\xC3\xA4\"]"},
    {"sort([true, false])", "!cannot put boolean and boolean in order"},
    {"sort('ba')", "!list"},
    {"map(sort_by(rows, 'k'), 'n')", "[\"y\",\"x\",\"z\"]"},
    {"map(sort_by(rows, r => r.n == 'z' ? 0 : 1), 'n')", "[\"z\",\"x\",\"y\"]"},
    {"sort_by([], 'k')", "[]"},
    {"sort_by(rows, 'absent')", "!null and null"},
    {"sort_by(rows, 5)", "!lambda"},
    {"sort_by(o, 'k')", "!list"},
    {"reverse([])", "[]"},
    {"reverse(reverse(w)) == w", "true"},
    {"reverse('ab')", "!list"},
    {"unique([])", "[]"},
    {"unique([nil, nil, 0, false, '', [], {}, [], {}])", "[null,0,false,\"\",[],{}]"},
    {"unique(['a', 'A', 'a'])", "[\"a\",\"A\"]"},
    {"unique('aab')", "!list"},
    {"flatten(deep)", "[1,[2],[3]]"},
    {"flatten(flatten(deep))", "[1,2,3]"},
    {"flatten([1, 'a'])", "[1,\"a\"]"},
    {"flatten(o)", "!list"},
    {"concat()", "!needs at least 1 arguments"},
    {"concat('a', nil, 1, true)", "\"a1true\""},
    {"concat([1], 2, [3, [4]])", "[1,2,3,[4]]"},
    {"concat(said, '!')", "\"Safe!\""},
    {"merge()", "!needs at least 1 arguments"},
    {"merge({a: 1}, {b: 2}, {a: 3})", "{\"a\":3,\"b\":2}"},
    {"merge({a: {x: 1}}, {a: {y: 2}})", "{\"a\":{\"y\":2}}"},
    {"merge({a: 1}, [1])", "!argument 2 must be an object"},
    /* Lambdas. */
    {"map([], x => 1 / 0)", "[]"},
    {"map(rows, 'k')", "[2,1,2]"},
    {"map([[5]], '0')", "[5]"},
    {"map(o, x => x)", "!list"},
    {"filter(l, x => x)", "[3,1,2]"},
    {"filter([0, '', nil, [], {}, false, 'a'], x => x)", "[\"a\"]"},
    {"filter(rows, 'missing')", "[]"},
    {"filter(l, x => x.y.z)", "[]"},
    {"filter(5, x => x)", "!list"},
    {"any([], x => true)", "false"},
    {"any([0, 1], x => x == 1)", "true"},
    {"any([1, 'x'], x => x > 0)", "true"},
    {"any(['x', 1], x => x > 0)", "!cannot compare"},
    {"any('x', x => x)", "!list"},
    {"all([], x => false)", "true"},
    {"all([0, 'x'], x => x > 0)", "false"},
    {"all([1, 2], x => x > 0)", "true"},
    {"all(nil, x => x)", "!list"},
    /* Comparing. */
    {"eq(1, 1.0)", "true"},
    {"eq('1', 1)", "false"},
    {"eq(nil, o.absent)", "true"},
    {"eq([1, {a: 2}], [1, {a: 2}])", "true"},
    {"eq({a: 1}, {a: 1, b: nil})", "false"},
    {"eq(said, 'Safe')", "true"},
    {"ne(1, 2)", "true"},
    {"ne(false, nil)", "true"},
    {"ne([], [])", "false"},
    {"lt(1, 2)", "true"},
    {"lt('a', 'a')", "false"},
    {"lt('a', 1)", "false"},
    {"lte(2, 2.0)", "true"},
    {"lte(nil, nil)", "false"},
    {"lte(3, 2)", "false"},
    {"gt(2, 1)", "true"},
    {"gt('b', 'a')", "true"},
    {"gt([2], [1])", "false"},
    {"gte(2, 2)", "true"},
    {"gte('a', 'b')", "false"},
    {"gte(true, false)", "false"},
    {"and()", "!needs at least 1 arguments"},
    {"and(1, 'a', [0])", "true"},
    {"and(1, 0)", "false"},
    {"or()", "!needs at least 1 arguments"},
    {"or(0, '', nil, [], {})", "false"},
    {"or(0, 'x')", "true"},
    {"not(0)", "true"},
    {"not('false')", "false"},
    {"not(said)", "false"},
};

static int eval(const char *text, json_t *scope, json_t **ret_value, sl_flow_fault *fault)
{
    sl_expr *expr = NULL;
    int error = sl_expr_new(sl_str_c(text), fault, &expr);
    if (!error)
        error = sl_expr_eval(expr, scope, ret_value, fault);
    sl_expr_free(expr);
    return error;
}

SL_TEST(functions_hold_at_their_edges)
{
    json_t *scope = json_loads(scope_text, 0, NULL);
    REQUIRE(scope);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_flow_fault fault = {0};
        json_t *value = NULL, *wanted = NULL;
        int error = eval(rows[i].text, scope, &value, &fault);
        bool right;
        if (rows[i].json[0] == '!') {
            right = error && strstr(fault.message, rows[i].json + 1) && fault.line == 1 && fault.column > 0;
        } else {
            wanted = json_loads(rows[i].json, JSON_DECODE_ANY, NULL);
            right = wanted && !error && json_equal(value, wanted);
        }
        char *seen = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
        if (!right)
            sl_test_failed(__FILE__, __LINE__, "%s: %d %s %s, not %s", rows[i].text, error, seen ? seen : "",
                           fault.message, rows[i].json);
        free(seen);
        json_decref(wanted);
        json_decref(value);
    }
    json_decref(scope);
}

/* "name(" in the text, and no letter in front of it. */
static bool calls(const char *text, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = strstr(text, name); at; at = strstr(at + 1, name)) {
        bool whole = at == text || !((at[-1] >= 'a' && at[-1] <= 'z') || at[-1] == '_');
        if (whole && at[len] == '(')
            return true;
    }
    return false;
}

SL_TEST(no_function_is_left_out_here)
{
    size_t count;
    const sl_flow_function *all = sl_flow_functions(&count);
    for (size_t i = 0; i < count; i++) {
        unsigned good = 0, bad = 0;
        for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
            if (calls(rows[k].text, all[i].name))
                *(rows[k].json[0] == '!' ? &bad : &good) += 1;
        bool picky = strspn(all[i].types, "a?*") != strlen(all[i].types);
        if (good < 2 || (picky && bad == 0))
            sl_test_failed(__FILE__, __LINE__, "%s: %u rows, %u of faults", all[i].name, good, bad);
    }
}

/* Too few and too many arguments are faults of the text, found before anything runs; so are lambdas out of place. */
SL_TEST(arguments_are_counted_when_it_is_compiled)
{
    size_t count;
    const sl_flow_function *all = sl_flow_functions(&count);
    for (size_t i = 0; i < count; i++) {
        size_t least, most;
        sl_flow_function_arity(&all[i], &least, &most);
        for (size_t n = 0; n <= SL_MAX_EXPR_ARGS + 1; n++) {
            char text[256];
            int len = snprintf(text, sizeof text, "%s(", all[i].name);
            for (size_t k = 0; k < n; k++)
                len += snprintf(text + len, sizeof text - (size_t)len, "%s'a'", k ? ", " : "");
            (void)snprintf(text + len, sizeof text - (size_t)len, ")");
            sl_expr *expr = NULL;
            sl_flow_fault fault = {0};
            int error = sl_expr_new(sl_str_c(text), &fault, &expr);
            bool fits = n >= least && n <= most;
            if (fits ? error != 0 : error != SL_EPARSE || !strstr(fault.message, all[i].name))
                sl_test_failed(__FILE__, __LINE__, "%s: %d %s", text, error, fault.message);
            sl_expr_free(expr);
        }
    }
}

/* In templates nothing is refused: what has the wrong type is converted, or the value is null. */
SL_TEST(templates_take_arguments_of_any_type)
{
    static const char *const values[] = {"nil", "5", "\"x\"", "true", "l", "o", "said", "absent", "\"\"", "deep"};
    json_t *scope = json_loads(scope_text, 0, NULL);
    size_t count;
    const sl_flow_function *all = sl_flow_functions(&count);
    for (size_t i = 0; i < count; i++) {
        size_t least, most;
        sl_flow_function_arity(&all[i], &least, &most);
        if (sl_flow_function_is_lambda(&all[i]))
            continue;
        for (size_t v = 0; v < sizeof values / sizeof *values; v++)
            for (size_t w = 0; w < sizeof values / sizeof *values; w++) {
                char text[256];
                int len = snprintf(text, sizeof text, "{{%s %s", all[i].name, values[v]);
                for (size_t k = 1; k < (least > 2 ? least : most < 2 ? most : 2); k++)
                    len += snprintf(text + len, sizeof text - (size_t)len, " %s", values[w]);
                (void)snprintf(text + len, sizeof text - (size_t)len, "}}");
                sl_template *t = NULL;
                sl_flow_fault fault = {0};
                sl_buf out;
                sl_buf_init(&out, 1u << 20);
                int error = sl_template_new(sl_str_c(text), &fault, &t);
                if (!error)
                    error = sl_template_render(t, scope, &out, &fault);
                if (error || !sl_utf8_valid(sl_buf_str(&out)))
                    sl_test_failed(__FILE__, __LINE__, "%s: %d %s", text, error, fault.message);
                sl_buf_done(&out);
                sl_template_free(t);
            }
    }
    json_decref(scope);
}

/* What is given is the caller's: the scope has as many references behind it as before, whatever happened. */
SL_TEST(no_reference_is_kept_or_lost)
{
    json_t *scope = json_loads(scope_text, 0, NULL);
    static const char *const names[] = {"said", "o", "l", "w", "deep", "umlaut", "rows"};
    size_t before[sizeof names / sizeof *names];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        before[i] = json_object_get(scope, names[i])->refcount;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *value = NULL;
        if (eval(rows[i].text, scope, &value, NULL) == 0)
            json_decref(value);
        for (size_t k = 0; k < sizeof names / sizeof *names; k++)
            if (json_object_get(scope, names[k])->refcount != before[k]) {
                sl_test_failed(__FILE__, __LINE__, "%s: references of %s", rows[i].text, names[k]);
                before[k] = json_object_get(scope, names[k])->refcount;
            }
    }
    json_decref(scope);
}
