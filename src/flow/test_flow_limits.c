/*
 * The maxima of workflow files, templates, expressions and conditions (src/base/limits.h): at each of them things go
 * on, one above it the answer is an error that says which.
 */
#include "src/base/limits.h"
#include "src/flow/expr.h"
#include "src/flow/model.h"
#include "src/flow/template.h"
#include "tests/harness/sl_test.h"

static void begin_text(sl_buf *text)
{
    sl_buf_init(text, 64u << 20);
}

static void repeat(sl_buf *text, const char *what, size_t times)
{
    size_t len = strlen(what);
    CHECK_EQ(sl_buf_reserve(text, len * times), 0);
    for (size_t i = 0; i < times; i++, text->len += len)
        memcpy(text->data + text->len, what, len);
}

/* ---- workflow files ---- */

static void make_id(sl_buf *text, size_t n)
{
    (void)sl_buf_put_c(text, "name: x\nsteps:\n  - {id: ");
    repeat(text, "i", n);
    (void)sl_buf_put_c(text, ", type: transform, function: template, template: t, output: [a]}\n");
}

static void make_output_name(sl_buf *text, size_t n)
{
    (void)sl_buf_put_c(text,
                       "name: x\nsteps:\n  - {id: a, type: transform, function: template, template: t, output: [");
    repeat(text, "o", n);
    (void)sl_buf_put_c(text, "]}\n");
}

static void make_outputs(sl_buf *text, size_t n)
{
    (void)sl_buf_put_c(text,
                       "name: x\nsteps:\n  - {id: a, type: transform, function: template, template: t, output: [");
    for (size_t i = 0; i < n; i++)
        (void)sl_buf_printf(text, "%so%zu", i ? ", " : "", i);
    (void)sl_buf_put_c(text, "]}\n");
}

static void make_branches(sl_buf *text, size_t n)
{
    (void)sl_buf_put_c(text, "name: x\ninputs: {k: {type: string}}\nsteps:\n  - id: b\n    type: branch\n    "
                             "condition: '{{ inputs.k }}'\n    branches:\n");
    for (size_t i = 0; i < n; i++)
        (void)sl_buf_printf(
            text, "      n%zu:\n        - {id: s%zu, type: transform, function: template, template: t}\n", i, i);
}

static void make_branch_name(sl_buf *text, size_t n)
{
    (void)sl_buf_put_c(text, "name: x\ninputs: {k: {type: string}}\nsteps:\n  - id: b\n    type: branch\n    "
                             "condition: '{{ inputs.k }}'\n    branches:\n      ");
    repeat(text, "n", n);
    (void)sl_buf_put_c(text, ":\n        - {id: s, type: transform, function: template, template: t}\n");
}

static void make_file(sl_buf *text, size_t n)
{
    (void)sl_buf_put_c(text, "name: x\nsteps:\n  - {id: a, type: transform, function: template, template: t}\n#");
    size_t stands = text->len;
    repeat(text, "c", n > stands ? n - stands : 0);
}

/* What is said of a file: 0, or the error; `said` is its first problem. */
static int try_flow(const sl_buf *text, char *said, size_t size)
{
    static sl_flow_problems problems;
    sl_flow *flow = NULL;
    memset(&problems, 0, sizeof problems);
    int error = sl_flow_load(sl_buf_str(text), &problems, &flow);
    *said = 0;
    for (size_t i = 0; i < problems.count && !*said; i++) {
        if (!problems.items[i].warning)
            (void)snprintf(said, size, "%s", problems.items[i].message);
    }
    sl_flow_unref(flow);
    return error;
}

/* ---- templates ---- */

static void make_template(sl_buf *text, size_t n)
{
    repeat(text, "t", n);
}

static void make_blocks(sl_buf *text, size_t n)
{
    repeat(text, "{{#if a}}", n);
    (void)sl_buf_put_c(text, "x");
    repeat(text, "{{/if}}", n);
}

static int try_template(const sl_buf *text, char *said, size_t size)
{
    sl_flow_fault fault = {.message = ""};
    sl_template *template = NULL;
    int error = sl_template_new(sl_buf_str(text), &fault, &template);
    (void)snprintf(said, size, "%s", fault.message);
    sl_template_free(template);
    return error;
}

/* ---- expressions and conditions ---- */

static void make_number(sl_buf *text, size_t n)
{
    (void)sl_buf_put_c(text, "1");
    repeat(text, " ", n - 1);
}

static void make_parens(sl_buf *text, size_t n)
{
    repeat(text, "(", n);
    (void)sl_buf_put_c(text, "1");
    repeat(text, ")", n);
}

static void make_lists(sl_buf *text, size_t n)
{
    repeat(text, "[", n);
    repeat(text, "]", n);
}

static int try_expr(const sl_buf *text, char *said, size_t size)
{
    sl_flow_fault fault = {.message = ""};
    sl_expr *expr = NULL;
    int error = sl_expr_new(sl_buf_str(text), &fault, &expr);
    (void)snprintf(said, size, "%s", fault.message);
    sl_expr_free(expr);
    return error;
}

static int try_condition(const sl_buf *text, char *said, size_t size)
{
    sl_flow_fault fault = {.message = ""};
    sl_condition *condition = NULL;
    int error = sl_condition_new(sl_buf_str(text), &fault, &condition);
    (void)snprintf(said, size, "%s", fault.message);
    sl_condition_free(condition);
    return error;
}

static const struct {
    const char *what;
    void (*make)(sl_buf *text, size_t n);
    int (*try)(const sl_buf *text, char *said, size_t size);
    size_t most;
    int above;
    const char *says; /* of the error above */
} limits[] = {
    {"id of a step", make_id, try_flow, SL_MAX_FLOW_ID_BYTES, SL_ECONFIG, "128"},
    {"name of an output", make_output_name, try_flow, SL_MAX_FLOW_ID_BYTES, SL_ECONFIG, "128"},
    {"name of a branch", make_branch_name, try_flow, SL_MAX_FLOW_ID_BYTES, SL_ECONFIG, "128"},
    {"names of outputs", make_outputs, try_flow, SL_MAX_FLOW_OUTPUTS, SL_ECONFIG, "64"},
    {"branches", make_branches, try_flow, SL_MAX_FLOW_BRANCHES, SL_ECONFIG, "256"},
    {"bytes of a file", make_file, try_flow, SL_MAX_FLOW_BYTES, SL_ETOOBIG, ""},
    {"bytes of a template", make_template, try_template, SL_MAX_TEMPLATE_BYTES, SL_ETOOBIG, "1048576"},
    {"blocks within one another", make_blocks, try_template, SL_MAX_TEMPLATE_DEPTH, SL_ETOOBIG, "64"},
    {"bytes of an expression", make_number, try_expr, SL_MAX_EXPR_BYTES, SL_ETOOBIG, "1048576"},
    {"parentheses", make_parens, try_expr, 0, SL_ETOOBIG, "64"},
    {"lists within one another", make_lists, try_expr, 0, SL_ETOOBIG, "64"},
    {"bytes of a condition", make_number, try_condition, SL_MAX_EXPR_BYTES, SL_ETOOBIG, "1048576"},
};

/* The most that is let through, where the table does not say: somewhere up to twice the depth that there may be. */
static size_t most_of(size_t i)
{
    char said[512];
    size_t n = limits[i].most;
    for (size_t try = 1; !limits[i].most && try <= 2 * SL_MAX_EXPR_DEPTH; try++) {
        sl_buf text;
        begin_text(&text);
        limits[i].make(&text, try);
        if (limits[i].try(&text, said, sizeof said) == 0)
            n = try;
        sl_buf_done(&text);
    }
    return n;
}

SL_TEST(at_each_limit_and_one_above)
{
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        size_t most = most_of(i);
        CHECK(most >= SL_MAX_EXPR_DEPTH / 2);
        for (size_t n = most - 1; n <= most + 2; n++) {
            char said[512];
            sl_buf text;
            begin_text(&text);
            limits[i].make(&text, n);
            int error = limits[i].try(&text, said, sizeof said), wanted = n <= most ? 0 : limits[i].above;
            if (error != wanted || (wanted && !strstr(said, limits[i].says)))
                sl_test_failed(__FILE__, __LINE__, "%s: %zu: %s, not %s: %.200s", limits[i].what, n, sl_strerror(error),
                               sl_strerror(wanted), said);
            sl_buf_done(&text);
        }
    }
}

/* ---- what only shows when it runs ---- */

static json_t *list_of(size_t count)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        (void)json_array_append_new(list, json_integer((json_int_t)i));
    return list;
}

/* Rounds of all loops together: `outer` times `outer`, and the outer ones. */
static int render_rounds(size_t outer, char *said, size_t size)
{
    sl_flow_fault fault = {.message = ""};
    sl_template *template = NULL;
    sl_buf out;
    begin_text(&out);
    json_t *context = json_pack("{s:o}", "a", list_of(outer));
    int error = sl_template_new(SL_STR("{{#each a}}{{#each ../a}}{{/each}}{{/each}}"), &fault, &template);
    if (!error)
        error = sl_template_render(template, context, &out, &fault);
    (void)snprintf(said, size, "%s", fault.message);
    sl_template_free(template);
    sl_buf_done(&out);
    json_decref(context);
    return error;
}

SL_TEST(rounds_of_loops_are_counted_together)
{
    char said[512];
    CHECK_EQ(render_rounds(10, said, sizeof said), 0);
    CHECK_EQ(render_rounds(999, said, sizeof said), 0);
    CHECK_EQ(render_rounds(1001, said, sizeof said), SL_ETOOBIG);
    CHECK(*said != 0);
}

/* A text of `bytes` rendered twice: what comes out is bounded, not only what goes in. */
static int render_twice(size_t bytes)
{
    sl_flow_fault fault = {.message = ""};
    sl_template *template = NULL;
    sl_buf out;
    begin_text(&out);
    char *text = malloc(bytes + 1);
    if (!text)
        abort();
    memset(text, 'x', bytes);
    json_t *context = json_pack("{s:s%}", "t", text, bytes);
    int error = sl_template_new(SL_STR("{{t}}{{t}}"), &fault, &template);
    if (!error)
        error = sl_template_render(template, context, &out, &fault);
    CHECK(error || out.len == 2 * bytes);
    sl_template_free(template);
    sl_buf_done(&out);
    json_decref(context);
    free(text);
    return error;
}

SL_TEST(what_is_rendered_is_bounded)
{
    CHECK_EQ(render_twice(SL_MAX_TEMPLATE_OUTPUT_BYTES / 2), 0);
    CHECK_EQ(render_twice(SL_MAX_TEMPLATE_OUTPUT_BYTES / 2 + 1), SL_ETOOBIG);
}

/* ---- conditions of many parts ---- */

static int many_parts(size_t n, const char *between, bool *ret_holds)
{
    sl_flow_fault fault = {.message = ""};
    sl_condition *condition = NULL;
    json_t *context = json_pack("{s:i}", "a", 1);
    sl_buf text;
    begin_text(&text);
    for (size_t i = 0; i < n; i++)
        (void)sl_buf_printf(&text, "%s{{ a }} == 1", i ? between : "");
    int error = sl_condition_new(sl_buf_str(&text), &fault, &condition);
    if (!error)
        error = sl_condition_eval(condition, context, ret_holds, &fault);
    else
        CHECK(fault.message[0]);
    sl_condition_free(condition);
    sl_buf_done(&text);
    json_decref(context);
    return error;
}

/* As many as there may be hold; one more is refused, and so is every larger number. */
SL_TEST(conditions_of_many_parts)
{
    static const char *const betweens[] = {" && ", " || "};
    for (size_t b = 0; b < sizeof betweens / sizeof *betweens; b++) {
        size_t most = 0;
        for (size_t n = 1; n <= 200; n++) {
            bool holds = false;
            int error = many_parts(n, betweens[b], &holds);
            CHECK(error == 0 || error == SL_ETOOBIG);
            CHECK(error || (holds && most == n - 1));
            most = error ? most : n;
        }
        CHECK(most >= 8 && most < 200);
    }
}
