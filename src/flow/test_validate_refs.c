/* The forms in which a step can be named in templates, conditions and expressions. */
#include "src/flow/test_load.h"

#include <stdio.h>

/* One step with this value of this key reads, or does not read, a step "nosuch" that is not there. */
static void check_reads(const char *key, const char *value, bool reads)
{
    static sl_flow_problems problems;
    sl_flow *flow = NULL;
    char text[1024];
    bool told = false;
    snprintf(text, sizeof text,
             "name: n\nsteps:\n- id: there\n  type: transform\n  function: expression\n  inputs: [x]\n  %s: %s\n", key,
             value);
    int error = sl_flow_load(sl_str_c(text), &problems, &flow);
    for (size_t i = 0; i < problems.count; i++)
        told |= strstr(problems.items[i].message, "nosuch: no such step") != NULL;
    if (told != reads || (error != 0) != reads)
        sl_test_failed(__FILE__, __LINE__, "%s: %s: error %d, %s", key, value, error,
                       problems.count ? problems.items[0].message : "nothing said");
    if (reads && problems.count)
        CHECK_EQ(problems.items[0].line, 7);
    sl_flow_unref(flow);
}

SL_TEST(templates)
{
    static const struct {
        const char *text;
        bool reads;
    } cases[] = {
        {"\"{{ steps.nosuch.x }}\"", true},
        {"\"{{steps.nosuch}}\"", true},
        {"\"{{{ steps.nosuch.x }}}\"", true},
        {"\"{{ outputs.nosuch }}\"", true},
        {"\"{{ steps/nosuch/x }}\"", true},
        {"\"{{ steps.[nosuch].x }}\"", true},
        {"\"{{ @root.steps.nosuch.x }}\"", true},
        {"\"{{#if steps.nosuch.x}}a{{/if}}\"", true},
        {"\"{{#unless steps.nosuch.x}}a{{/unless}}\"", true},
        {"\"{{#each steps.nosuch.x}}{{this}}{{/each}}\"", true},
        {"\"{{#with steps.nosuch}}{{x}}{{/with}}\"", true},
        {"\"{{#if a}}{{else}}{{ steps.nosuch.x }}{{/if}}\"", true},
        {"\"{{#each list}}{{ @root.steps.nosuch.x }}{{/each}}\"", true},
        {"\"{{ upper steps.nosuch.x }}\"", true},
        {"\"{{ lookup steps.nosuch 0 }}\"", true},
        {"['a', {deep: \"{{ steps.nosuch.x }}\"}]", true},
        {"\"{{ steps.there.x }}\"", false},
        {"\"{{ nosuch }}\"", false},
        {"\"{{ inputs.steps.nosuch }}\"", false},
        {"\"{{ inputs.nosuch }}\"", false},
        {"\"steps.nosuch.x\"", false},
        {"\"{{ 'steps.nosuch.x' }}\"", false},
        {"\"\\\\{{ steps.nosuch.x }}\"", false}, /* escaped: no template */
        {"\"{{! steps.nosuch.x }}\"", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_reads("text", cases[i].text, cases[i].reads);
}

SL_TEST(conditions)
{
    static const struct {
        const char *text;
        bool reads;
    } cases[] = {
        {"\"{{ steps.nosuch.x }}\"", true},
        {"\"{{ outputs.nosuch }} == 'a'\"", true},
        {"\"{{ a }} == {{ outputs.nosuch }}\"", true},
        {"\"{{ a }} != 'b' && {{ outputs.nosuch }}\"", true},
        {"\"{{ a }} == 'b' || {{ steps.nosuch.x }} == ''\"", true},
        {"\"{{ a }} == 'outputs.nosuch'\"", false},
        {"true", false},
        {"1", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_reads("condition", cases[i].text, cases[i].reads);
}

SL_TEST(expressions)
{
    static const struct {
        const char *text;
        bool reads;
    } cases[] = {
        {"steps.nosuch.x", true},
        {"'steps[\"nosuch\"].x'", true},
        {"steps.nosuch", true},
        {"'outputs.nosuch[0].y'", true},
        {"'1 + steps.nosuch.x * 2'", true},
        {"upper(steps.nosuch.x)", true},
        {"'[1, {\"a\": steps.nosuch.x}]'", true},
        {"'a ? steps.nosuch.x : 1'", true},
        {"'!steps.nosuch.x'", true},
        {"nosuch", false},
        {"'\"steps.nosuch.x\"'", false},
        {"inputs.steps.nosuch", false},
        {"steps.there.x", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_reads("expression", cases[i].text, cases[i].reads);
        check_reads("expr", cases[i].text, cases[i].reads);
    }
}

SL_TEST(entries_of_inputs)
{
    static const struct {
        const char *text;
        const char *said;
    } cases[] = {
        {"[steps.nosuch.x]", "steps.nosuch: no such step"},
        {"[a, outputs.nosuch]", "outputs.nosuch: no such step"},
        {"steps.nosuch", "steps.nosuch: no such step"},
        {"['{{ steps.nosuch.x }}']", "steps.nosuch: no such step"},
        {"[a, inputs.b, made, first]", ""},
        {"[]", ""},
        {"[5, null, {a: b}]", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static sl_flow_problems problems;
        sl_flow *flow = NULL;
        char text[1024];
        snprintf(text, sizeof text,
                 "name: n\nsteps:\n- {id: first, type: action, action: log, output: made}\n"
                 "- {id: then, type: transform, function: merge, depends_on: first, inputs: %s}\n",
                 cases[i].text);
        int error = sl_flow_load(sl_str_c(text), &problems, &flow);
        bool unused = false, told = !cases[i].said[0];
        for (size_t p = 0; p < problems.count; p++) {
            unused |= strstr(problems.items[p].message, "is never read") != NULL;
            told |= cases[i].said[0] && strstr(problems.items[p].message, cases[i].said);
        }
        CHECK(told);
        CHECK_EQ(error, cases[i].said[0] ? SL_ECONFIG : 0);
        CHECK_EQ(unused, strstr(cases[i].text, "made") == NULL);
        sl_flow_unref(flow);
    }
}

SL_TEST(parts_of_each_type)
{
    static const struct {
        const char *step, *part;
        bool known;
    } cases[] = {
        {"type: llm, provider: p, model: m, prompt: x", "text", true},
        {"type: llm, provider: p, model: m, prompt: x", "tokens.input", true},
        {"type: llm, provider: p, model: m, prompt: x", "_response.usage", true},
        {"type: llm, provider: p, model: m, prompt: x", "vector", false},
        {"type: llm, provider: p, model: m, prompt: x, output: [vector]", "vector", true},
        {"type: embed, provider: p, model: m, input: x", "vector", true},
        {"type: embed, provider: p, model: m, input: x", "metadata.model", true},
        {"type: embed, provider: p, model: m, input: x", "text", false},
        {"type: vector_search, database: d, index: i, query: [1]", "results", true},
        {"type: vector_search, database: d, index: i, query: [1]", "metadata.count", true},
        {"type: vector_search, database: d, index: i, query: [1]", "result", false},
        {"type: action, action: http", "status", true},
        {"type: transform, function: merge", "anything", true},
        {"type: loop, items: [1], step: {id: in, type: action, action: log}", "results", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static sl_flow_problems problems;
        sl_flow *flow = NULL;
        char text[1024];
        snprintf(
            text, sizeof text,
            "name: n\nsteps:\n- {id: a, %s}\n- {id: b, type: action, action: log, depends_on: a, m: 'x {{ steps.a.%s "
            "}}'}\n",
            cases[i].step, cases[i].part);
        CHECK_EQ(sl_flow_load(sl_str_c(text), &problems, &flow), 0);
        bool told = false;
        for (size_t p = 0; p < problems.count; p++)
            told |= strstr(problems.items[p].message, "has no result of that name") != NULL;
        if (told == cases[i].known)
            sl_test_failed(__FILE__, __LINE__, "%s, %s: %s", cases[i].step, cases[i].part, told ? "told" : "not told");
        sl_flow_unref(flow);
    }
}
