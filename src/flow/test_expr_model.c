/*
 * Expressions by chance against a model: trees of numbers, truth and texts are written out with as few parentheses as
 * the table of operators asks for, or with more, and must have the value that the model gives the tree.
 */
#include <stdio.h>
#include <stdlib.h>

#include "src/base/buf.h"
#include "src/flow/expr.h"
#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_test.h"

typedef enum kind { NUMBER, TRUTH, TEXT } kind;

typedef struct result {
    kind kind;
    long number; /* of truth: 0, 1 */
    char text[64];
} result;

typedef enum level { CHOICE, OR, AND, EQUALITY, ORDER, SUM, PRODUCT, UNARY, PRIMARY } level;

typedef struct maker {
    uint64_t state;
    sl_buf out;
    unsigned more_parens; /* in 8 */
    bool wrong;           /* a number got out of hand: the tree is not used */
} maker;

static unsigned chance(maker *m, unsigned below)
{
    return sl_chance(&m->state, below);
}

static void say(maker *m, const char *text)
{
    (void)sl_buf_put_c(&m->out, text);
}

static void space(maker *m)
{
    static const char *const spaces[] = {"", " ", "  ", "\n", "\t"};
    say(m, spaces[chance(m, 3) ? 1 : chance(m, 5)]);
}

static result make(maker *m, kind wanted, level at, unsigned depth);

/* What stands where an operator of level `at` wants an operand: with parentheses when it binds less. */
static result operand(maker *m, kind wanted, level at, unsigned depth)
{
    if (chance(m, 8) >= m->more_parens)
        return make(m, wanted, at, depth);
    say(m, "(");
    result v = make(m, wanted, CHOICE, depth);
    say(m, ")");
    return v;
}

static bool is_true(const result *v)
{
    return v->kind == TEXT ? v->text[0] != '\0' : v->number != 0;
}

static result number(maker *m, long n)
{
    if (n > 1000000000 || n < -1000000000)
        m->wrong = true;
    return (result){.kind = NUMBER, .number = n};
}

static result truth(bool holds)
{
    return (result){.kind = TRUTH, .number = holds};
}

static result primary(maker *m, kind wanted)
{
    static const char *const words[] = {"", "a", "b", "ab", "zz", "A"};
    result v = {.kind = wanted};
    unsigned n = chance(m, 12);
    if (wanted == TEXT) {
        (void)snprintf(v.text, sizeof v.text, "%s", words[chance(m, sizeof words / sizeof *words)]);
        (void)sl_buf_printf(&m->out, n % 2 ? "'%s'" : "\"%s\"", v.text);
        return v;
    }
    if (wanted == TRUTH) {
        v.number = n % 2;
        say(m, n % 2 ? "true" : "false");
        return v;
    }
    if (n < 8) {
        (void)sl_buf_printf(&m->out, "%u", n);
        return number(m, n);
    }
    static const struct {
        const char *text;
        long n;
    } others[] = {{"x", 7}, {"o.deep", 3}, {"l[1]", 20}, {"l[-1]", 30}};
    say(m, others[n - 8].text);
    return number(m, others[n - 8].n);
}

static result unary(maker *m, kind wanted, unsigned depth)
{
    if (depth == 0 || wanted == TEXT || chance(m, 3))
        return depth && chance(m, 3) == 0 ? operand(m, wanted, PRIMARY, depth - 1) : primary(m, wanted);
    if (wanted == TRUTH) {
        say(m, "!");
        kind of = chance(m, 3);
        result v = operand(m, of, UNARY, depth - 1);
        return truth(!is_true(&v));
    }
    say(m, "-");
    result v = operand(m, NUMBER, UNARY, depth - 1);
    return number(m, -v.number);
}

static result product(maker *m, unsigned depth)
{
    result v = operand(m, NUMBER, UNARY, depth);
    for (unsigned i = chance(m, 3); i > 0; i--) {
        bool rest = chance(m, 3) == 0;
        space(m);
        say(m, rest ? "%" : "*");
        space(m);
        if (rest) { /* a divisor that is none may not come */
            long by = 1 + (long)chance(m, 9);
            (void)sl_buf_printf(&m->out, "%ld", by);
            v = number(m, v.number % by);
        } else {
            result by = operand(m, NUMBER, UNARY, depth);
            v = number(m, v.number * by.number);
        }
    }
    return v;
}

static result sum(maker *m, kind wanted, unsigned depth)
{
    result v = wanted == TEXT ? operand(m, TEXT, UNARY, depth) : product(m, depth);
    for (unsigned i = chance(m, 3); i > 0; i--) {
        bool minus = wanted == NUMBER && chance(m, 2);
        space(m);
        say(m, minus ? "-" : "+");
        space(m);
        if (wanted == NUMBER) {
            result b = product(m, depth);
            v = number(m, minus ? v.number - b.number : v.number + b.number);
            continue;
        }
        result b = operand(m, TEXT, UNARY, depth);
        if (strlen(v.text) + strlen(b.text) + 1 > sizeof v.text)
            m->wrong = true;
        else
            strcat(v.text, b.text);
    }
    return v;
}

static int order_of(const result *a, const result *b)
{
    if (a->kind == TEXT)
        return strcmp(a->text, b->text);
    return (a->number > b->number) - (a->number < b->number);
}

static result comparison(maker *m, unsigned depth)
{
    static const char *const signs[] = {"<", "<=", ">", ">="};
    kind of = chance(m, 3) ? NUMBER : TEXT;
    result a = sum(m, of, depth);
    unsigned sign = chance(m, 4);
    space(m);
    say(m, signs[sign]);
    space(m);
    result b = sum(m, of, depth);
    int order = order_of(&a, &b);
    return truth(sign == 0 ? order < 0 : sign == 1 ? order <= 0 : sign == 2 ? order > 0 : order >= 0);
}

static result equality(maker *m, unsigned depth)
{
    kind of = chance(m, 3);
    result a = of == TRUTH ? comparison(m, depth) : sum(m, of, depth);
    bool not = chance(m, 2);
    space(m);
    say(m, not ? "!=" : "==");
    space(m);
    result b = of == TRUTH ? comparison(m, depth) : sum(m, of, depth);
    return truth((order_of(&a, &b) == 0) != not );
}

/* a && b is a when a is not true, else b; a || b the other way round. Both are evaluated by the model alone. */
static result logic(maker *m, kind wanted, level at, unsigned depth)
{
    level below = at == OR ? AND : EQUALITY;
    result v = make(m, wanted, below, depth);
    for (unsigned i = chance(m, 3); i > 0; i--) {
        space(m);
        say(m, at == OR ? "||" : "&&");
        space(m);
        result b = make(m, wanted, below, depth);
        if (is_true(&v) != (at == OR))
            v = b;
    }
    return v;
}

static result choice(maker *m, kind wanted, unsigned depth)
{
    result test = make(m, chance(m, 3), OR, depth);
    say(m, " ? ");
    result then = make(m, wanted, CHOICE, depth);
    say(m, " : ");
    result otherwise = make(m, wanted, CHOICE, depth);
    return is_true(&test) ? then : otherwise;
}

static result make(maker *m, kind wanted, level at, unsigned depth)
{
    if (at == CHOICE && depth && chance(m, 3) == 0)
        return choice(m, wanted, depth - 1);
    if (at <= OR && depth && chance(m, 3) == 0)
        return logic(m, wanted, OR, depth - 1);
    if (at <= AND && depth && chance(m, 3) == 0)
        return logic(m, wanted, AND, depth - 1);
    if (wanted == TRUTH && depth && at <= EQUALITY && chance(m, 2))
        return equality(m, depth - 1);
    if (wanted == TRUTH && depth && at <= ORDER)
        return comparison(m, depth - 1);
    if (wanted != TRUTH && depth && at <= SUM && chance(m, 3))
        return sum(m, wanted, depth - 1);
    if (wanted == NUMBER && depth && at <= PRODUCT)
        return product(m, depth - 1);
    return at <= UNARY ? unary(m, wanted, depth) : primary(m, wanted);
}

static bool is(json_t *seen, const result *wanted)
{
    if (wanted->kind == TEXT)
        return json_is_string(seen) && strcmp(json_string_value(seen), wanted->text) == 0;
    if (wanted->kind == TRUTH)
        return json_is_boolean(seen) && json_is_true(seen) == (wanted->number != 0);
    return json_is_integer(seen) && json_integer_value(seen) == wanted->number;
}

/* Where a + b * c or its like is read in another order, or an operator binds otherwise, a value differs. */
SL_TEST(operators_bind_as_the_table_says)
{
    json_t *scope = json_loads("{\"x\":7,\"o\":{\"deep\":3},\"l\":[10,20,30]}", 0, NULL);
    REQUIRE(scope);
    maker m = {.state = 42};
    sl_buf_init(&m.out, 1u << 20);
    unsigned tried = 0;
    for (int i = 0; i < 30000; i++) {
        sl_buf_clear(&m.out);
        m.wrong = false;
        m.more_parens = chance(&m, 4);
        result wanted = make(&m, chance(&m, 3), CHOICE, 1 + chance(&m, 4));
        if (m.wrong || m.out.len > 2000)
            continue;
        tried++;
        sl_expr *expr = NULL;
        sl_flow_fault fault = {0};
        json_t *seen = NULL;
        int error = sl_expr_new(sl_buf_str(&m.out), &fault, &expr);
        if (!error)
            error = sl_expr_eval(expr, scope, &seen, &fault);
        if (error || !is(seen, &wanted)) {
            char *text = error ? NULL : json_dumps(seen, JSON_ENCODE_ANY);
            sl_test_failed(__FILE__, __LINE__, "%.*s\n gives %d %s%s, not %ld \"%s\"", (int)m.out.len, m.out.data,
                           error, text ? text : "", error ? fault.message : "", wanted.number, wanted.text);
            free(text);
            i = 30000;
        }
        json_decref(seen);
        sl_expr_free(expr);
    }
    CHECK(tried > 20000);
    sl_buf_done(&m.out);
    json_decref(scope);
}

/* The same tree means the same however often it is evaluated, and by whomever: a compiled one is not changed by it. */
SL_TEST(a_compiled_expression_is_not_used_up)
{
    sl_expr *expr = NULL;
    REQUIRE(sl_expr_new(SL_STR("sum(map(l, (x, i) => x * i)) + len(s) + (n ? n : 0)"), NULL, &expr) == 0);
    for (int i = 0; i < 50; i++) {
        json_t *scope = json_pack("{s:[i,i,i],s:s,s:i}", "l", i, i + 1, i + 2, "s", "four", "n", i), *value = NULL;
        REQUIRE(scope && sl_expr_eval(expr, scope, &value, NULL) == 0);
        CHECK_EQ(json_integer_value(value), (i + 1) + 2 * (i + 2) + 4 + i);
        json_decref(value);
        CHECK_EQ(sl_expr_eval(expr, json_null(), &value, NULL), SL_EINVAL); /* no list there */
        json_decref(scope);
    }
    sl_expr_free(expr);
}

typedef struct shadow_case {
    const char *text;
    const char *json;
} shadow_case;

/* A lambda's parameter hides the scope's name within it alone; inner ones hide outer ones. */
static const shadow_case shadows[] = {
    {"map([1, 2], x => x) + [x]", "[1, 2, 7]"},
    {"map([1, 2], x => map([5], x => x)[0] + x)", "[6, 7]"},
    {"map([1, 2], x => map([5], y => x + y)[0])", "[6, 7]"},
    {"map([3], (l, x) => l + x)[0] + x", "10"},
    {"map(l, l => l + 1)", "[11, 21, 31]"},
    {"filter(l, (v, i) => i != 1)", "[10, 30]"},
    {"map([[1, 2], [3]], (row, r) => map(row, (v, c) => r * 10 + c))", "[[0, 1], [10]]"},
    {"map([1], x => {x: x, y: {x: x + 1}})[0].y.x", "2"},
    {"any([1], x => any([2], x => x == 2)) && x == 7", "true"},
    {"map([1, 2, 3], x => x > 1 ? x : 'no')", "[\"no\", 2, 3]"},
    {"sort_by([{a: 2}, {a: 1}], x => x.a)[0].a + x", "8"},
};

SL_TEST(parameters_hide_names_within_their_lambda_alone)
{
    json_t *scope = json_loads("{\"x\":7,\"l\":[10,20,30]}", 0, NULL);
    for (size_t i = 0; i < sizeof shadows / sizeof *shadows; i++) {
        sl_expr *expr = NULL;
        json_t *value = NULL, *wanted = json_loads(shadows[i].json, JSON_DECODE_ANY, NULL);
        sl_flow_fault fault = {0};
        int error = sl_expr_new(sl_str_c(shadows[i].text), &fault, &expr);
        if (!error)
            error = sl_expr_eval(expr, scope, &value, &fault);
        if (error || !json_equal(value, wanted))
            sl_test_failed(__FILE__, __LINE__, "%s: %d %s", shadows[i].text, error, fault.message);
        json_decref(value);
        json_decref(wanted);
        sl_expr_free(expr);
    }
    json_decref(scope);
}
