/* Filling in the templates of a step: what becomes a value, what becomes text, what stays; and on several threads. */
#include "src/flow/model.h"

#include <pthread.h>
#include <stdio.h>

#include "src/flow/test_load.h"

/* Loads one llm step with these further keys. */
static sl_flow *flow_with(const char *keys)
{
    static sl_flow_problems problems;
    sl_flow *flow = NULL;
    char text[2048];
    snprintf(text, sizeof text, "name: n\nsteps:\n- {id: a, type: llm, provider: p, model: m, prompt: x, %s}\n", keys);
    CHECK_EQ(sl_flow_load(sl_str_c(text), &problems, &flow), 0);
    return flow;
}

/* The step's params with `context` filled in, but for provider, model and prompt, as sorted JSON. */
static void check_render(const char *keys, const char *context_text, const char *expected)
{
    sl_flow *flow = flow_with(keys);
    json_t *context = json_loads(context_text, 0, NULL), *params = NULL;
    sl_flow_fault fault = {0};
    REQUIRE(flow && context);
    CHECK_EQ(sl_step_render(&flow->root.steps[0], context, &params, &fault), 0);
    REQUIRE(params != NULL);
    json_object_del(params, "provider");
    json_object_del(params, "model");
    json_object_del(params, "prompt");
    char *got = json_dumps(params, JSON_COMPACT | JSON_SORT_KEYS);
    CHECK_STR(sl_str_c(got), expected);
    sl_free(got);
    json_decref(params);
    json_decref(context);
    sl_flow_unref(flow);
}

SL_TEST(strings_are_filled_in_wherever_they_stand)
{
    static const struct {
        const char *keys, *context, *expected;
    } cases[] = {
        {"k: plain", "{}", "{\"k\":\"plain\"}"},
        {"k: 'a {{ x }} b'", "{\"x\":1}", "{\"k\":\"a 1 b\"}"},
        {"k: '{{ x }}'", "{\"x\":[1,{\"y\":2}]}", "{\"k\":[1,{\"y\":2}]}"}, /* one path alone is a value */
        {"k: '{{ x }}'", "{}", "{\"k\":null}"},
        {"k: 'a{{ x }}'", "{}", "{\"k\":\"a\"}"},
        {"k: ['{{ x }}', plain, 5, true, null, {deep: ['{{ y }}']}]", "{\"x\":1,\"y\":2.5}",
         "{\"k\":[1,\"plain\",5,true,null,{\"deep\":[2.5]}]}"},
        {"k: {z: '{{ z }}', a: '{{ a }}', m: 'no'}, j: '{{ j }}'", "{\"z\":1,\"a\":2,\"j\":3}",
         "{\"j\":3,\"k\":{\"a\":2,\"m\":\"no\",\"z\":1}}"},
        {"k: {}, l: []", "{}", "{\"k\":{},\"l\":[]}"},
        {"temperature: '{{ t }}', max_tokens: 5", "{\"t\":0.5}", "{\"max_tokens\":5,\"temperature\":0.5}"},
        {"system: 5", "{}", "{\"system\":\"5\"}"},
        {"k: 'a \xc3\xa9 {{ x }}'", "{\"x\":\"\\u00e9\"}", "{\"k\":\"a \xc3\xa9 \xc3\xa9\"}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_render(cases[i].keys, cases[i].context, cases[i].expected);
}

SL_TEST(what_was_rendered_is_the_callers_own)
{
    sl_flow *flow = flow_with("k: {list: [1]}, l: '{{ x }}'");
    json_t *context = json_pack("{s:i}", "x", 1), *params = NULL;
    REQUIRE(flow && context);
    for (int round = 0; round < 2; round++) {
        CHECK_EQ(sl_step_render(&flow->root.steps[0], context, &params, NULL), 0);
        json_t *list = json_object_get(json_object_get(params, "k"), "list");
        CHECK_EQ(json_array_size(list), 1);
        json_array_append_new(list, json_integer(2));
        json_object_clear(params);
        json_decref(params);
    }
    json_decref(context);
    sl_flow_unref(flow);
}

SL_TEST(expressions_are_not_templates)
{
    static sl_flow_problems problems;
    sl_flow *flow = NULL;
    json_t *context = json_object(), *params = NULL;
    static const char text[] =
        "name: n\nsteps:\n- {id: a, type: transform, function: expression, expression: '\"{{ x }}\"', k: '{{ y }}'}\n";
    CHECK_EQ(sl_flow_load(sl_str_c(text), &problems, &flow), 0);
    REQUIRE(flow != NULL);
    CHECK_EQ(sl_step_render(&flow->root.steps[0], context, &params, NULL), 0);
    CHECK_STR(sl_str_c(json_string_value(json_object_get(params, "expression"))), "\"{{ x }}\"");
    CHECK(json_is_null(json_object_get(params, "k")));
    json_decref(params);
    json_decref(context);
    sl_flow_unref(flow);
}

SL_TEST(a_text_that_grows_too_large_is_refused)
{
    sl_flow *flow = flow_with("k: '{{#each x}}{{#each ../x}}{{ ../../y }}{{/each}}{{/each}}'");
    json_t *context = json_object(), *list = json_array(), *params = NULL;
    sl_flow_fault fault = {0};
    REQUIRE(flow && context && list);
    for (int i = 0; i < 200; i++)
        json_array_append_new(list, json_integer(i));
    char big[2000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    json_object_set_new(context, "x", list);
    json_object_set_new(context, "y", json_string(big));
    CHECK_EQ(sl_step_render(&flow->root.steps[0], context, &params, &fault), SL_ETOOBIG);
    CHECK(!params && fault.message[0]);
    json_decref(context);
    sl_flow_unref(flow);
}

SL_TEST(every_failing_allocation_is_told)
{
    sl_flow *flow = flow_with("k: ['{{ x }}', 'a {{ y }}', {b: c}], l: '{{#if x}}yes{{/if}}'");
    json_t *context = json_loads("{\"x\":[1],\"y\":\"z\"}", 0, NULL);
    REQUIRE(flow && context);
    for (long n = 0; n < 1000; n++) {
        json_t *params = NULL;
        sl_flow_fault fault = {0};
        size_t live = sl_test_live_blocks();
        sl_test_fail_alloc(n);
        int error = sl_step_render(&flow->root.steps[0], context, &params, &fault);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(error, failed ? SL_ENOMEM : 0);
        CHECK_EQ(params != NULL, !failed);
        CHECK(!failed || fault.message[0]);
        json_decref(params);
        CHECK_EQ(sl_test_live_blocks(), live);
        if (!failed)
            break;
    }
    json_decref(context);
    sl_flow_unref(flow);
}

static void *render_often(void *user)
{
    sl_flow *flow = user;
    json_t *context = json_pack("{s:s}", "x", "y");
    for (int i = 0; i < 500; i++) {
        json_t *params = NULL;
        sl_flow *own = sl_flow_ref(flow);
        if (sl_step_render(&own->root.steps[0], context, &params, NULL) != 0 ||
            strcmp(json_string_value(json_object_get(params, "k")), "a y") != 0)
            sl_test_failed(__FILE__, __LINE__, "round %d", i);
        json_decref(params);
        sl_flow_unref(own);
    }
    json_decref(context);
    sl_flow_unref(flow);
    return NULL;
}

SL_TEST(several_threads_share_a_workflow)
{
    sl_flow *flow = flow_with("k: 'a {{ x }}', plain: [text, {more: text}]");
    pthread_t threads[4];
    REQUIRE(flow != NULL);
    for (size_t i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, render_often, sl_flow_ref(flow)), 0);
    sl_flow_unref(flow); /* the last of them frees it */
    for (size_t i = 0; i < 4; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
}
