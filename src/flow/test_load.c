/* Loading: what a good file becomes, limits, failing allocations. */
#include "src/flow/test_load.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/limits.h"
#include "src/flow/step.h"

static const char rag[] =
    "name: ask\n"
    "id: 7f\n"
    "version: 2.0\n"
    "description: \"questions\"\n"
    "timeout_seconds: 1.5\n"
    "metadata: {team: search, list: [1, 2]}\n"
    "steps:\n"
    "  - id: answer\n"
    "    type: llm\n"
    "    depends_on: [search]\n"
    "    condition: \"{{ steps.search.results }} != ''\"\n"
    "    provider: anthropic\n"
    "    model: m\n"
    "    system: be brief\n"
    "    prompt: |\n"
    "      {{#each steps.search.found}}{{this.metadata.text}}{{/each}}\n"
    "      {{ inputs.question }}\n"
    "    temperature: 0.3\n"
    "    max_tokens: \"{{ inputs.max }}\"\n"
    "    top_p: 0.5\n"
    "    output: [text, model]\n"
    "    timeout_seconds: 20\n"
    "    retry: {max_attempts: 5, backoff: linear, initial_delay_ms: 10, max_delay_ms: 50, also: [exit_status, "
    "too_big]}\n"
    "  - id: embed\n"
    "    type: embed\n"
    "    provider: openai\n"
    "    model: e\n"
    "    input: \"{{ inputs.question }}\"\n"
    "    output: vector\n"
    "    retry: {}\n"
    "  - id: search\n"
    "    type: vector_search\n"
    "    depends_on: embed\n"
    "    database: d\n"
    "    index: docs\n"
    "    query: \"{{ steps.embed.vector }}\"\n"
    "    filter: {lang: en, n: {$gt: 3}}\n"
    "    output: found\n";

static const sl_step *step_of(const sl_flow_block *block, const char *id)
{
    for (size_t i = 0; i < block->step_count; i++) {
        if (strcmp(block->steps[i].id, id) == 0)
            return &block->steps[i];
    }
    return NULL;
}

static const char *text_of(const sl_step *step, const char *key)
{
    const char *text = json_string_value(json_object_get(step->params, key));
    return text ? text : "(none)";
}

SL_TEST(the_workflow_itself)
{
    sl_flow *flow = LOAD(rag, 0, "");
    REQUIRE(flow != NULL);
    CHECK_STR(sl_str_c(flow->name), "ask");
    CHECK_STR(sl_str_c(flow->id), "7f");
    CHECK_STR(sl_str_c(flow->version), "2.0"); /* as written, though YAML reads a number */
    CHECK_STR(sl_str_c(flow->description), "questions");
    CHECK_EQ(flow->timeout_ms, 1500);
    CHECK_STR(sl_str_c(json_string_value(json_object_get(flow->metadata, "team"))), "search");
    CHECK_EQ(json_array_size(json_object_get(flow->metadata, "list")), 2);
    CHECK_EQ(flow->step_total, 3);
    CHECK_EQ(flow->source_len, sizeof rag - 1);
    CHECK(memcmp(flow->source, rag, sizeof rag) == 0);
    CHECK_EQ(flow->problem_count, 0);
    sl_flow_unref(flow);
}

SL_TEST(defaults)
{
    sl_flow *flow = LOAD("name: n\nsteps: [{id: a, type: action, action: log, retry: {}}]\n", 0, "");
    REQUIRE(flow != NULL);
    CHECK_STR(sl_str_c(flow->version), "1.0");
    CHECK_STR(sl_str_c(flow->id), "");
    CHECK_STR(sl_str_c(flow->description), "");
    CHECK_EQ(flow->timeout_ms, 3600000);
    CHECK(json_is_object(flow->metadata) && json_object_size(flow->metadata) == 0);
    const sl_step *step = &flow->root.steps[0];
    CHECK_EQ(step->timeout_ms, 0);
    CHECK_EQ(step->retry.max_attempts, 3);
    CHECK_EQ(step->retry.backoff, SL_BACKOFF_EXPONENTIAL);
    CHECK_EQ(step->retry.initial_delay_ms, 100);
    CHECK_EQ(step->retry.max_delay_ms, 30000);
    CHECK(!step->condition && !step->chooser && !step->depend_count && !step->output_count && !step->block_count);
    sl_flow_unref(flow);
}

SL_TEST(steps_stand_behind_what_they_depend_on)
{
    sl_flow *flow = LOAD(rag, 0, "");
    REQUIRE(flow && flow->root.step_count == 3);
    static const char *const ids[] = {"embed", "search", "answer"};
    for (size_t i = 0; i < 3; i++) {
        const sl_step *step = &flow->root.steps[i];
        CHECK_STR(sl_str_c(step->id), ids[i]);
        CHECK_EQ(step->index, i);
        CHECK_EQ(step->depend_count, i > 0);
        CHECK(i == 0 || step->depends[0] == i - 1);
    }
    CHECK_EQ(flow->root.steps[0].line, 24);
    sl_flow_unref(flow);
}

SL_TEST(keys_of_a_step)
{
    sl_flow *flow = LOAD(rag, 0, "");
    REQUIRE(flow != NULL);
    const sl_step *step = step_of(&flow->root, "answer");
    REQUIRE(step != NULL);
    CHECK_EQ(step->type, SL_STEP_LLM);
    CHECK(step->condition != NULL);
    CHECK_EQ(step->timeout_ms, 20000);
    CHECK_EQ(step->retry.max_attempts, 5);
    CHECK_EQ(step->retry.backoff, SL_BACKOFF_LINEAR);
    CHECK_EQ(step->retry.initial_delay_ms, 10);
    CHECK_EQ(step->retry.max_delay_ms, 50);
    CHECK_EQ(step->retry.also, 1u << SL_STEP_ERROR_EXIT | 1u << SL_STEP_ERROR_TOO_BIG);
    CHECK_EQ(step->output_count, 2);
    CHECK_STR(sl_str_c(step->outputs[1]), "model");
    CHECK_EQ(json_object_size(step->params), 7); /* provider model system prompt temperature max_tokens top_p */
    CHECK_STR(sl_str_c(text_of(step, "provider")), "anthropic");
    CHECK(json_real_value(json_object_get(step->params, "top_p")) == 0.5);
    CHECK(!json_object_get(step->params, "id") && !json_object_get(step->params, "output"));
    step = step_of(&flow->root, "embed");
    CHECK_EQ(step->output_count, 1);
    CHECK_EQ(step->retry.max_attempts, 3);
    CHECK_EQ(step_of(&flow->root, "search")->retry.max_attempts, 0); /* no `retry`: one try */
    sl_flow_unref(flow);
}

SL_TEST(json_gives_the_same_workflow)
{
    static const char text[] =
        "{\"name\": \"n\", \"steps\": [\n"
        "  {\"id\": \"b\", \"type\": \"action\", \"action\": \"log\", \"depends_on\": [\"a\"],\n"
        "   \"message\": \"{{steps.a.text}} \\ud83d\\ude00\"},\n"
        "  {\"id\": \"a\", \"type\": \"llm\", \"provider\": \"p\", \"model\": \"m\", \"prompt\": "
        "\"\\n\\thello\", \"stream\": true}]}";
    sl_flow *flow = LOAD(text, 0, "");
    REQUIRE(flow != NULL);
    CHECK_STR(sl_str_c(flow->root.steps[0].id), "a");
    CHECK_STR(sl_str_c(text_of(&flow->root.steps[0], "prompt")), "\n\thello");
    CHECK(json_is_true(json_object_get(flow->root.steps[0].params, "stream")));
    CHECK_STR(sl_str_c(text_of(&flow->root.steps[1], "message")), "{{steps.a.text}} \xf0\x9f\x98\x80");
    sl_flow_unref(flow);
}

static const char blocks[] = "name: n\n"
                             "steps:\n"
                             "  - {id: loose, type: action, action: log}\n"
                             "  - id: both\n"
                             "    type: parallel\n"
                             "    max_concurrency: 2\n"
                             "    tasks:\n"
                             "      - loose\n"
                             "      - {id: tight, type: action, action: log, depends_on: loose}\n"
                             "  - id: way\n"
                             "    type: branch\n"
                             "    depends_on: tight\n"
                             "    condition: \"{{ inputs.kind }}\"\n"
                             "    branches:\n"
                             "      one: [{id: first, type: action, action: log}]\n"
                             "      2: {id: second, type: action, action: log}\n"
                             "      three: named\n"
                             "    default: [{id: other, type: action, action: log}]\n"
                             "  - {id: named, type: action, action: log, depends_on: before}\n"
                             "  - {id: before, type: action, action: log}\n"
                             "  - id: each\n"
                             "    type: map\n"
                             "    items: \"{{ inputs.list }}\"\n"
                             "    as: word\n"
                             "    max_iterations: 10\n"
                             "    depends_on: [way, both]\n"
                             "    step: {id: body, type: action, action: log, message: \"{{ word }}\"}\n"
                             "  - id: yes_or_no\n"
                             "    type: branch\n"
                             "    condition: \"{{ inputs.a }} == 'b'\"\n"
                             "    branches:\n"
                             "      True: [{id: t, type: action, action: log}]\n"
                             "      false: [{id: f, type: action, action: log}]\n";

SL_TEST(blocks_hold_their_steps)
{
    sl_flow *flow = LOAD(blocks, 0, "");
    REQUIRE(flow != NULL);
    CHECK_EQ(flow->step_total, 14);
    CHECK_EQ(flow->root.step_count, 5); /* loose and named stand in blocks now */
    const sl_step *both = step_of(&flow->root, "both"), *way = step_of(&flow->root, "way");
    REQUIRE(both && both->block_count == 1 && both->blocks[0].step_count == 2);
    CHECK_STR(sl_str_c(both->blocks[0].steps[0].id), "loose");
    CHECK_EQ(both->blocks[0].steps[1].depend_count, 1);
    CHECK_EQ(json_object_size(both->params), 1); /* tasks are no parameter */
    REQUIRE(way && way->block_count == 4);
    static const char *const names[] = {"one", "2", "three", "default"};
    for (size_t i = 0; i < 4; i++)
        CHECK_STR(sl_str_c(way->blocks[i].name), names[i]);
    CHECK_STR(sl_str_c(way->blocks[2].steps[0].id), "named");
    CHECK(!way->condition && !way->chooser);
    CHECK_STR(sl_str_c(text_of(way, "condition")), "{{ inputs.kind }}");
    /* It waits for `both`, in which `tight` stands, and for `before`, as `named` does. */
    CHECK_EQ(way->depend_count, 2);
    const sl_step *each = step_of(&flow->root, "each");
    REQUIRE(each && each->block_count == 1);
    CHECK_EQ(each->type, SL_STEP_LOOP);
    CHECK_STR(sl_str_c(text_of(each, "as")), "word");
    CHECK_EQ(json_object_size(each->params), 3);
    const sl_step *choice = step_of(&flow->root, "yes_or_no");
    CHECK(choice && choice->chooser && !choice->condition);
    CHECK_STR(sl_str_c(choice->blocks[0].name), "true");
    sl_flow_unref(flow);
}

SL_TEST(the_hash_is_that_of_the_bytes)
{
    sl_flow *flow = LOAD("name: n\nsteps: [{id: a, type: action, action: log}]\n", 0, "");
    REQUIRE(flow != NULL);
    CHECK_STR(sl_str_c(flow->hash), "c5bac03cf8ee57ec1df60003a01ca6c0ffccab2b4986bab082f794485169cf07");
    sl_flow_unref(flow);
}

SL_TEST(references_count)
{
    sl_flow *flow = LOAD(rag, 0, "");
    REQUIRE(flow != NULL);
    CHECK(sl_flow_ref(flow) == flow);
    sl_flow_unref(flow);
    CHECK_STR(sl_str_c(flow->name), "ask");
    sl_flow_unref(flow);
    sl_flow_unref(NULL);
}

SL_TEST(aliases_and_merge_keys)
{
    sl_flow *flow = LOAD("name: n\n"
                         "steps:\n"
                         "  - &base {id: a, type: llm, provider: p, model: m, prompt: x, retry: &r {max_attempts: 1}}\n"
                         "  - {<<: *base, id: b, prompt: \"{{ inputs.y }}\", depends_on: a, retry: *r}\n",
                         0, "");
    REQUIRE(flow != NULL);
    CHECK_STR(sl_str_c(text_of(&flow->root.steps[1], "model")), "m");
    CHECK_STR(sl_str_c(text_of(&flow->root.steps[1], "prompt")), "{{ inputs.y }}");
    CHECK_EQ(flow->root.steps[1].retry.max_attempts, 1);
    sl_flow_unref(flow);
}

SL_TEST(null_is_as_good_as_absent)
{
    sl_flow *flow = LOAD("name: n\ndescription:\nmetadata: ~\nsteps:\n  - id: a\n    type: llm\n    provider: p\n"
                         "    model: m\n    prompt: x\n    system:\n    depends_on:\n    condition:\n    output:\n"
                         "    retry:\n    seed: null\n",
                         0, "");
    REQUIRE(flow != NULL);
    const sl_step *step = &flow->root.steps[0];
    CHECK(!step->condition && !step->output_count && !step->retry.max_attempts);
    CHECK(!json_object_get(step->params, "system"));
    CHECK(json_is_null(json_object_get(step->params, "seed"))); /* what is passed on is passed on as it is */
    sl_flow_unref(flow);
}

/* ---- files ---- */

SL_TEST(files_are_read)
{
    static sl_flow_problems problems;
    sl_flow *flow = NULL;
    char path[] = "/tmp/sl-flow-XXXXXX";
    int fd = mkstemp(path);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    REQUIRE(file != NULL);
    fputs(rag, file);
    fclose(file);
    CHECK_EQ(sl_flow_load_file(path, &problems, &flow), 0);
    CHECK(flow && problems.count == 0);
    sl_flow_unref(flow);
    file = fopen(path, "w");
    REQUIRE(file != NULL);
    for (size_t i = 0; i <= SL_MAX_FLOW_BYTES; i++)
        fputc('#', file);
    fclose(file);
    flow = NULL;
    CHECK_EQ(sl_flow_load_file(path, &problems, &flow), SL_ETOOBIG);
    CHECK(!flow && problems.errors == 1 && strstr(problems.items[0].message, "larger than 4194304 bytes"));
    remove(path);
    CHECK_EQ(sl_flow_load_file(path, &problems, &flow), SL_EIO);
    CHECK(problems.errors == 1 && strstr(problems.items[0].message, "No such file"));
    CHECK_EQ(sl_flow_load_file("/", &problems, &flow), SL_EIO);
    CHECK(problems.errors == 1 && strstr(problems.items[0].message, "cannot be read"));
}

/* ---- limits ---- */

static void check_many(unsigned steps, int error, const char *message)
{
    static sl_flow_problems problems;
    sl_flow *flow = NULL;
    sl_buf text;
    sl_buf_init(&text, SL_MAX_FLOW_BYTES);
    (void)sl_buf_put_c(&text, "name: n\nsteps:\n");
    for (unsigned i = 0; i < steps; i++)
        (void)sl_buf_printf(&text, "- {id: s%u, type: action, action: log, depends_on: s%u, m: \"{{steps.s%u.x}}\"}\n",
                            i, i ? i - 1 : i + 1, i / 2);
    text.data[0] = 'n';
    CHECK_EQ(sl_flow_load(sl_buf_str(&text), &problems, &flow), error);
    CHECK(problems.errors == 0 || strstr(problems.items[0].message, message));
    if (flow)
        CHECK_EQ(flow->root.step_count, steps);
    sl_flow_unref(flow);
    sl_buf_done(&text);
}

SL_TEST(ten_thousand_steps_and_no_more)
{
    check_many(2, SL_ECONFIG, "wait for one another: s0 -> s1 -> s0");
    check_many(SL_MAX_FLOW_STEPS, SL_ECONFIG, "wait for one another");
    check_many(SL_MAX_FLOW_STEPS + 1, SL_ECONFIG, "steps: more than 10000; split the workflow");
}

SL_TEST(ten_thousand_steps_one_behind_another)
{
    static sl_flow_problems problems;
    sl_flow *flow = NULL;
    sl_buf text;
    sl_buf_init(&text, SL_MAX_FLOW_BYTES);
    (void)sl_buf_put_c(&text, "name: n\nsteps:\n");
    for (unsigned i = SL_MAX_FLOW_STEPS; i-- > 0;)
        (void)sl_buf_printf(&text, "- {id: s%u, type: action, action: log, depends_on: [%s%u]}\n", i, i ? "s" : "",
                            i ? i - 1 : 0);
    char *last = strstr(text.data + text.len - 12, "[0]");
    REQUIRE(last != NULL);
    memcpy(last, "[ ]", 3);
    CHECK_EQ(sl_flow_load(sl_buf_str(&text), &problems, &flow), 0);
    REQUIRE(flow != NULL);
    for (unsigned i = 0; i < SL_MAX_FLOW_STEPS; i++)
        CHECK(flow->root.steps[i].index == i && (i == 0 || flow->root.steps[i].depends[0] == i - 1));
    sl_flow_unref(flow);
    sl_buf_done(&text);
}

static void check_nesting(unsigned depth, int error)
{
    static sl_flow_problems problems;
    sl_flow *flow = NULL;
    sl_buf text;
    sl_buf_init(&text, 1u << 20);
    (void)sl_buf_put_c(&text, "name: n\nsteps: [");
    for (unsigned i = 0; i < depth; i++)
        (void)sl_buf_printf(&text, "{id: p%u, type: parallel, tasks: [", i);
    (void)sl_buf_put_c(&text, "{id: x, type: action, action: log}");
    for (unsigned i = 0; i < depth; i++)
        (void)sl_buf_put_c(&text, "]}");
    (void)sl_buf_put_c(&text, "]\n");
    CHECK_EQ(sl_flow_load(sl_buf_str(&text), &problems, &flow), error);
    if (error)
        CHECK(strstr(problems.items[0].message, "more than 16 deep"));
    sl_flow_unref(flow);
    /* The same depth by moving steps into one another. */
    flow = NULL;
    sl_buf_clear(&text);
    (void)sl_buf_put_c(&text, "name: n\nsteps:\n- {id: p0, type: action, action: log}\n");
    for (unsigned i = 1; i <= depth; i++)
        (void)sl_buf_printf(&text, "- {id: p%u, type: parallel, tasks: [p%u]}\n", i, i - 1);
    CHECK_EQ(sl_flow_load(sl_buf_str(&text), &problems, &flow), error);
    if (error)
        CHECK(strstr(problems.items[0].message, "more than 16 deep"));
    sl_flow_unref(flow);
    sl_buf_done(&text);
}

SL_TEST(blocks_nest_sixteen_deep)
{
    check_nesting(1, 0);
    check_nesting(SL_MAX_FLOW_BLOCK_DEPTH, 0);
    check_nesting(SL_MAX_FLOW_BLOCK_DEPTH + 1, SL_ECONFIG);
    check_nesting(40, SL_ECONFIG);
}

SL_TEST(aliases_cannot_multiply)
{
    static sl_flow_problems problems;
    sl_flow *flow = NULL;
    sl_buf text;
    sl_buf_init(&text, 1u << 20);
    (void)sl_buf_put_c(&text, "name: n\nmetadata:\n  a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n");
    for (int i = 1; i < 10; i++)
        (void)sl_buf_printf(&text, "  a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i, i - 1, i - 1,
                            i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    (void)sl_buf_put_c(&text, "steps: [{id: a, type: action, action: log}]\n");
    CHECK_EQ(sl_flow_load(sl_buf_str(&text), &problems, &flow), SL_ETOOBIG);
    CHECK(problems.errors && strstr(problems.items[0].message, "aliases written out"));
    sl_buf_clear(&text);
    (void)sl_buf_put_c(
        &text, "name: n\nsteps:\n- {id: x0, type: parallel, tasks: &a0 [{id: y, type: action, action: log}]}\n");
    for (int i = 1; i < 15; i++)
        (void)sl_buf_printf(&text,
                            "- {id: x%d, type: parallel, tasks: &a%d [{id: z%d, type: parallel, tasks: *a%d}, "
                            "{id: w%d, type: parallel, tasks: *a%d}]}\n",
                            i, i, i, i - 1, i, i - 1);
    CHECK_EQ(sl_flow_load(sl_buf_str(&text), &problems, &flow), SL_ECONFIG);
    bool told = false;
    for (size_t i = 0; i < problems.count; i++)
        told |= strstr(problems.items[i].message, "more than 10000") != NULL;
    CHECK(told && !flow);
    sl_buf_done(&text);
}

/* ---- memory, and files that end anywhere ---- */

static void fail_each(const char *text, int error)
{
    static sl_flow_problems problems;
    for (long n = 0; n < 20000; n++) {
        sl_flow *flow = NULL;
        size_t live = sl_test_live_blocks();
        sl_test_fail_alloc(n);
        int got = sl_flow_load(sl_str_c(text), &problems, &flow);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(got, failed ? SL_ENOMEM : error);
        CHECK_EQ(flow != NULL, got == 0);
        sl_flow_unref(flow);
        CHECK_EQ(sl_test_live_blocks(), live);
        if (!failed)
            return;
    }
    sl_test_failed(__FILE__, __LINE__, "no end of allocations");
}

SL_TEST(every_failing_allocation_is_told)
{
    fail_each(rag, 0);
    fail_each(blocks, 0);
    fail_each("name: n\nsteps: [{id: a, type: llm, depends_on: a, provider: {}, prompt: \"{{#if x}}\"}]\n", SL_ECONFIG);
}

SL_TEST(every_beginning_of_a_file_loads_or_says_why)
{
    static sl_flow_problems problems;
    static const char *const texts[] = {rag, blocks};
    for (size_t t = 0; t < 2; t++) {
        for (size_t len = 0; len <= strlen(texts[t]); len++) {
            sl_flow *flow = NULL;
            int error = sl_flow_load(sl_str_of(texts[t], len), &problems, &flow);
            CHECK(error == 0 || error == SL_ECONFIG);
            CHECK_EQ(error == 0, problems.errors == 0);
            CHECK_EQ(error == 0, flow != NULL);
            sl_flow_unref(flow);
        }
    }
}
