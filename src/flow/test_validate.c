/* What validation says: each kind of problem, with its place, and nothing about what is right. */
#include "src/flow/test_load.h"

#include <stdio.h>

typedef struct case_of_steps {
    const char *steps; /* the text below "steps:", from line 3 on */
    const char *said;  /* "" : nothing */
} case_of_steps;

static void check_case(const char *text, const char *said, size_t index)
{
    static sl_flow_problems problems;
    sl_flow *flow = NULL;
    sl_buf out;
    int error = sl_flow_load(sl_str_c(text), &problems, &flow);
    sl_str got = problems_of(&problems, &out);
    if (!sl_str_eq_c(got, said))
        sl_test_failed(__FILE__, __LINE__, "case %zu:\n%s\nsaid:\n%.*s\nexpected:\n%s", index, text, (int)got.len,
                       got.ptr ? got.ptr : "", said);
    bool errors = strstr(said, ": error: ") != NULL;
    CHECK_EQ(error, errors ? SL_ECONFIG : 0);
    CHECK_EQ(flow != NULL, !errors);
    if (flow)
        CHECK_EQ(flow->problem_count, problems.count + problems.left_out);
    sl_flow_unref(flow);
    sl_buf_done(&out);
}

static void check_steps(const case_of_steps *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        sl_buf text;
        sl_buf_init(&text, 1u << 20);
        CHECK_EQ(sl_buf_printf(&text, "name: n\nsteps:\n%s", cases[i].steps), 0);
        CHECK_EQ(sl_buf_put_char(&text, '\0'), 0);
        check_case(text.data, cases[i].said, i);
        sl_buf_done(&text);
    }
}
#define CHECK_STEPS(cases) check_steps(cases, sizeof(cases) / sizeof *(cases))

#define ACT(id, more) "- {id: " id ", type: action, action: log" more "}\n"
#define LLM(id, prompt, more) "- {id: " id ", type: llm, provider: p, model: m, prompt: " prompt more "}\n"

SL_TEST(the_workflow)
{
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"name: n\nsteps:\n" ACT("a", ""), ""},
        {"just text\n", "f:1:1: error: the file: a text; write a workflow: a map with name and steps\n"},
        {"[1]\n", "f:1:1: error: the file: a list; write a workflow: a map with name and steps\n"},
        {"5", "f:1:1: error: the file: a whole number; write a workflow: a map with name and steps\n"},
        {"", "f:1: error: the file: empty; write a workflow with name and steps\n"},
        {"{}", "f:1:1: error: name: missing; a workflow needs it\nf:1:1: error: steps: missing; a workflow needs it\n"},
        {"name: n\nsteps: []\n", "f:2:8: error: steps: no steps; write at least one\n"},
        {"name: n\nsteps:\n",
         "f:1:1: error: steps: missing; a workflow needs it\nf:2:7: error: steps: no steps; write at least one\n"},
        {"name: n\nsteps: a\n", "f:2:8: error: steps: a text; write a list of steps: `- id: …`\n"},
        {"name: n\nsteps: {id: a}\n", "f:2:8: error: steps: a map; write a list of steps: `- id: …`\n"},
        {"name: n\nsteps: [a, 5]\n", "f:2:9: error: steps: holds a text; give steps: maps with id and type\n"
                                     "f:2:12: error: steps: holds a whole number; give steps: maps with id and type\n"},
        {"name: ''\nsteps:\n" ACT("a", ""), "f:1:7: error: name: empty; give the workflow a name\n"},
        {"name: [n]\nsteps:\n" ACT("a", ""), "f:1:7: error: name: a list; give a text\n"},
        {"name: \"a\\0b\"\nsteps:\n" ACT("a", ""),
         "f:1:7: error: name: \"a\" is a text; give a text without a NUL in it\n"},
        {"name: n\ntimeout_seconds: 0\nsteps:\n" ACT("a", ""),
         "f:2:18: error: timeout_seconds: 0 is out of range; give 0.001 to 31536000\n"},
        {"name: n\ntimeout_seconds: soon\nsteps:\n" ACT("a", ""),
         "f:2:18: error: timeout_seconds: \"soon\" is a text; give a number\n"},
        {"name: n\nmetadata: 5\nsteps:\n" ACT("a", ""),
         "f:2:11: error: metadata: \"5\" is a whole number; give a map\n"},
        {"name: n\nverison: 1\nsteps:\n" ACT("a", ""),
         "f:2:1: warning: verison: not a key of workflow; did you mean version?\n"},
        {"name: n\ncolour: red\nsteps:\n" ACT("a", ""),
         "f:2:1: warning: colour: not a key of workflow, does nothing; remove it\n"},
        {"name: n\nname: m\nsteps:\n" ACT("a", ""), "f:2:1: error: name: stands twice in one map; remove one\n"},
        {"name: n\nsteps: [}\n", "f:2:9: error: YAML syntax: did not find expected node content; check quotes and "
                                 "indentation\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_case(cases[i].text, cases[i].said, i);
}

SL_TEST(id_and_type)
{
    static const case_of_steps cases[] = {
        {"- {type: action, action: log}\n", "f:3:3: error: id: missing; give the step a name of its own\n"},
        {"- {id: , type: action, action: log}\n", "f:3:3: error: id: missing; give the step a name of its own\n"},
        {"- {id: '', type: action, action: log}\n", "f:3:8: error: id: empty; give a name of 1 to 128 bytes\n"},
        {"- {id: [a], type: action, action: log}\n", "f:3:8: error: id: a list; give a text\n"},
        {"- {id: \"a\\0\", type: action, action: log}\n",
         "f:3:8: error: id: \"a\" is a text; give a text without a NUL in it\n"},
        {"- {id: a b, type: action, action: log}\n",
         "f:3:8: warning: step a b: id: templates cannot read it as a plain "
         "path; use letters, digits, _ and -\n"},
        {"- {id: 5, type: action, action: log}\n", ""},
        {"- {id: a-b_C9, type: action, action: log}\n", ""},
        {"- {id: a}\n", "f:3:3: error: step a: type: missing; give llm, embed, vector_search, transform, action, "
                        "parallel, branch or loop\n"},
        {"- {id: a, type: [llm]}\n", "f:3:17: error: step a: type: a list; give one word\n"},
        {"- {id: a, type: llmm}\n", "f:3:17: error: step a: type: \"llmm\" is not known; did you mean llm?\n"},
        {"- {id: a, type: vectorsearch}\n",
         "f:3:17: error: step a: type: \"vectorsearch\" is not known; did you mean vector_search?\n"},
        {"- {id: a, type: while}\n", "f:3:17: error: step a: type: \"while\" is not known; give llm, embed, "
                                     "vector_search, transform, action, parallel, branch or loop\n"},
        {ACT("a", "") ACT("b", "") ACT("a", ""),
         "f:5:8: error: step a: id: stands twice, first in line 3; give each step a name of its own\n"},
        {ACT("a", "") "- {id: p, type: parallel, tasks: [{id: a, type: action, action: log}]}\n",
         "f:4:40: error: step a: id: stands twice, first in line 3; give each step a name of its own\n"},
    };
    CHECK_STEPS(cases);
}

SL_TEST(missing_and_unknown_keys)
{
    static const case_of_steps cases[] = {
        {"- {id: a, type: llm}\n", "f:3:3: error: step a: provider: missing; llm needs it\n"
                                   "f:3:3: error: step a: model: missing; llm needs it\n"
                                   "f:3:3: error: step a: prompt: missing; llm needs it\n"},
        {"- {id: a, type: llm, provider: p, model: m, messages: [{role: user, content: x}]}\n", ""},
        {"- {id: a, type: llm, provider: p, model: ~, prompt: x}\n",
         "f:3:3: error: step a: model: missing; llm needs it\n"},
        {"- {id: a, type: embed}\n", "f:3:3: error: step a: provider: missing; embed needs it\n"
                                     "f:3:3: error: step a: model: missing; embed needs it\n"
                                     "f:3:3: error: step a: input: missing; embed needs it\n"},
        {"- {id: a, type: vector_search}\n", "f:3:3: error: step a: database: missing; vector_search needs it\n"
                                             "f:3:3: error: step a: index: missing; vector_search needs it\n"
                                             "f:3:3: error: step a: query: missing; vector_search needs it\n"},
        {"- {id: a, type: transform}\n", "f:3:3: error: step a: function: missing; transform needs it\n"},
        {"- {id: a, type: action}\n", "f:3:3: error: step a: action: missing; action needs it\n"},
        {"- {id: a, type: parallel}\n", "f:3:3: error: step a: tasks: missing; parallel needs it\n"},
        {"- {id: a, type: branch}\n", "f:3:3: error: step a: condition: missing; branch needs it\n"
                                      "f:3:3: error: step a: branches: missing; branch needs it\n"},
        {"- {id: a, type: loop}\n", "f:3:3: error: step a: items: missing; loop needs it\n"
                                    "f:3:3: error: step a: steps: missing; loop needs it\n"},
        {LLM("a", "x", ", top_p: 1, stop: [x], seed: 5, response_format: {type: json}"), ""}, /* the provider's */
        {"- {id: a, type: llm, provider: p, model: m, promt: x}\n",
         "f:3:3: error: step a: prompt: missing; llm needs it\n"
         "f:3:45: warning: step a: promt: not a key of llm, passed on as it is; did you mean prompt?\n"},
        {LLM("a", "x", ", temprature: 1"),
         "f:3:56: warning: step a: temprature: not a key of llm, passed on as it is; did you mean temperature?\n"},
        {ACT("a", ", message: x, priority: low"), ""},
        {ACT("a", ", depend_on: b"),
         "f:3:38: warning: step a: depend_on: not a key of action, passed on as it is; did you mean depends_on?\n"},
        {"- {id: a, type: embed, provider: p, model: m, input: x, top_p: 1}\n",
         "f:3:57: warning: step a: top_p: not a key of embed, does nothing; remove it\n"},
        {"- {id: a, type: vector_search, database: d, index: i, query: [1], topk: 3}\n",
         "f:3:67: warning: step a: topk: not a key of vector_search; did you mean top_k?\n"},
        {ACT("a", ", retry: {attempts: 3, max_attemts: 4}"),
         "f:3:46: warning: step a: attempts: not a key of retry, does nothing; remove it\nf:3:59: warning: step a: "
         "max_attemts: not a key of retry; did you mean max_attempts?\n"},
    };
    CHECK_STEPS(cases);
}

SL_TEST(types_and_ranges)
{
    static const case_of_steps cases[] = {
        {LLM("a", "x", ", temperature: 2.5"), "f:3:69: error: step a: temperature: 2.5 is out of range; give 0 to 2\n"},
        {LLM("a", "x", ", temperature: hot"), "f:3:69: error: step a: temperature: \"hot\" is a text; give a number\n"},
        {LLM("a", "x", ", temperature: -0.1"),
         "f:3:69: error: step a: temperature: -0.1 is out of range; give 0 to 2\n"},
        {LLM("a", "x", ", temperature: 2, max_tokens: 1"), ""},
        {LLM("a", "x", ", temperature: '{{ inputs.t }}'"), ""},
        {LLM("a", "x", ", max_tokens: 0"),
         "f:3:68: error: step a: max_tokens: 0 is out of range; give 1 to 10000000\n"},
        {LLM("a", "x", ", max_tokens: 1.5"),
         "f:3:68: error: step a: max_tokens: \"1.5\" is a number with a fraction; give a whole number\n"},
        {LLM("a", "x", ", max_tokens: '5'"),
         "f:3:68: error: step a: max_tokens: \"5\" is a text; give a whole number\n"},
        {LLM("a", "x", ", stream: yes"), "f:3:64: error: step a: stream: \"yes\" is a text; give true or false\n"},
        {LLM("a", "x", ", stream: true"), ""},
        {LLM("a", "x", ", system: 5"), ""}, /* numbers are taken as text */
        {LLM("a", "{x: 1}", ""), "f:3:53: error: step a: prompt: a map; give a text\n"},
        {LLM("a", "x", ", messages: x"), "f:3:66: error: step a: messages: \"x\" is a text; give a list\n"},
        {LLM("a", "x", ", messages: '{{ inputs.m }}'"), ""},
        {"- {id: a, type: embed, provider: p, model: m, input: [x, '{{ inputs.y }}'], dimensions: 8, batch_size: 2}\n",
         ""},
        {"- {id: a, type: embed, provider: p, model: m, input: {x: y}}\n",
         "f:3:54: error: step a: input: a map; give a text or a list\n"},
        {"- {id: a, type: embed, provider: p, model: m, input: x, dimensions: 0}\n",
         "f:3:69: error: step a: dimensions: 0 is out of range; give 1 to 65536\n"},
        {"- {id: a, type: vector_search, database: d, index: i, query: x, top_k: 10001}\n",
         "f:3:72: error: step a: top_k: 10001 is out of range; give 1 to 10000\n"},
        {"- {id: a, type: vector_search, database: d, index: i, query: x, include_metadata: 1}\n",
         "f:3:83: error: step a: include_metadata: \"1\" is a whole number; give true or false\n"},
        {ACT("a", ", timeout_seconds: -1"),
         "f:3:55: error: step a: timeout_seconds: -1 is out of range; give 0.001 to 31536000\n"},
        {ACT("a", ", retry: 3"), "f:3:45: error: step a: retry: \"3\" is a whole number; give a map\n"},
        {ACT("a", ", retry: {max_attempts: 101}"),
         "f:3:60: error: step a: max_attempts: 101 is out of range; give 0 to 100\n"},
        {ACT("a", ", retry: {backoff: lineal}"),
         "f:3:55: error: step a: backoff: \"lineal\" is not known; give exponential, linear or constant\n"},
        {ACT("a", ", retry: {initial_delay_ms: x}"),
         "f:3:64: error: step a: initial_delay_ms: \"x\" is a text; give a whole number\n"},
        {ACT("a", ", depends_on: {b: c}"),
         "f:3:50: error: step a: depends_on: a map; give a name, or a list of names\n"},
        {ACT("a", ", output: [x, [y]]"), "f:3:50: error: step a: output: a list; give a name, or a list of names\n"},
        {ACT("a", ", output: [x, ~]"),
         "f:3:50: error: step a: output: \"~\" is nothing; give a name, or a list of names\n"},
        {ACT("a", ", output: ''"), "f:3:46: error: step a: output: a text; give a name, or a list of names\n"},
        {ACT("a", ", output: [x, y, x]"),
         "f:3:53: error: step a: output: \"x\" stands twice; give each result one name\n"},
        {LLM("a", "x", ", output: [a, b, c, d, e]"),
         "f:3:77: warning: step a: output: \"e\" will be null; a step of type llm has 4 results\n"},
        {"- {id: a, type: embed, provider: p, model: m, input: x, output: [v, m, n]}\n",
         "f:3:72: warning: step a: output: \"n\" will be null; a step of type embed has 2 results\n"},
        {"- {id: a, type: transform, function: filtre, inputs: [x]}\n",
         "f:3:38: error: step a: function: \"filtre\" is not known; did you mean filter?\n"},
        {"- {id: a, type: transform, function: frobnicate}\n", "f:3:38: error: step a: function: \"frobnicate\" is not "
                                                               "known; see the reference for those there are\n"},
        {"- {id: a, type: transform, function: 5}\n",
         "f:3:38: error: step a: function: \"5\" is a whole number; give the name of a function\n"},
        {"- {id: a, type: transform, function: '{{ inputs.f }}'}\n", ""},
        {"- {id: a, type: transform, function: merge, inputs: [x, y], key: status, anything: 1}\n", ""},
        {"- {id: a, type: transform, function: upper, inputs: x}\n", ""}, /* functions of expressions are functions */
    };
    CHECK_STEPS(cases);
}

SL_TEST(dependencies_and_rings)
{
    static const case_of_steps cases[] = {
        {ACT("a", ", depends_on: b") ACT("b", ""), ""},
        {ACT("a", ", depends_on: [b, b]") ACT("b", ""), ""},
        {ACT("a", ", depends_on: []"), ""},
        {ACT("one", ", depends_on: too") ACT("two", ""),
         "f:3:52: error: step one: depends_on: no step \"too\"; did you mean two?\n"},
        {ACT("a", ", depends_on: [nowhere]"),
         "f:3:51: error: step a: depends_on: no step \"nowhere\"; write the id of a step of this file\n"},
        {ACT("a", ", depends_on: a"), "f:3:50: error: step a: depends_on: the step waits for itself; remove it\n"},
        {ACT("a", ", depends_on: b") ACT("b", ", depends_on: a"),
         "f:3:50: error: step a: depends_on: the steps wait for one another: a -> b -> a; remove one of these\n"},
        /* Two rings, and a step behind one of them, which is on none. */
        {ACT("a", ", depends_on: c") ACT("b", ", depends_on: a") ACT("c", ", depends_on: [x, b]")
             ACT("d", ", depends_on: e") ACT("e", ", depends_on: d") ACT("x", "") ACT("y", ", depends_on: c"),
         "f:3:50: error: step a: depends_on: the steps wait for one another: a -> c -> b -> a; remove one of "
         "these\nf:6:50: error: step d: depends_on: the steps wait for one another: d -> e -> d; remove one of "
         "these\n"},
        /* A ring through a block: what is inside waits, so the step that has the block waits. */
        {"- {id: p, type: parallel, tasks: [{id: i, type: action, action: log, depends_on: b}]}\n" ACT(
             "b", ", depends_on: p"),
         "f:3:3: error: step p: depends_on: the steps wait for one another: p -> b -> p; remove one of these\n"},
        {"- {id: p, type: parallel, depends_on: i, tasks: [{id: i, type: action, action: log}]}\n",
         "f:3:39: error: step p: depends_on: i stands inside of this step, which waits for it anyway; remove it\n"},
        {"- {id: p, type: parallel, tasks: [{id: i, type: action, action: log, depends_on: p}]}\n",
         "f:3:82: error: step i: depends_on: the step stands inside of p, which waits for it; remove it\n"},
        {"- {id: b, type: branch, condition: x, branches: {one: {id: i, type: action, action: log}, two: {id: j, type: "
         "action, action: log, depends_on: i}}}\n",
         "f:3:143: error: step j: depends_on: i stands in another branch of b; steps of one branch cannot wait for "
         "those of another\n"},
        {"- {id: p, type: parallel, tasks: [{id: i, type: action, action: log}, {id: j, type: action, action: log, "
         "depends_on: [i, out]}]}\n" ACT("out", ""),
         ""},
    };
    CHECK_STEPS(cases);
}

SL_TEST(blocks)
{
    static const case_of_steps cases[] = {
        {"- {id: p, type: parallel, tasks: []}\n", "f:3:34: error: step p: tasks: no steps; write at least one\n"},
        {"- {id: p, type: parallel, tasks: 5}\n",
         "f:3:34: error: step p: tasks: holds a whole number; give steps, or ids of steps\n"},
        {"- {id: p, type: parallel, tasks: [a, nosuch]}\n" ACT("a", ""),
         "f:3:38: error: step p: \"nosuch\": no such step; write the id of a step, or the step itself\n"},
        {"- {id: p, type: parallel, tasks: [a]}\n- {id: q, type: parallel, tasks: [a, b]}\n" ACT("a", "") ACT("b", ""),
         "f:4:35: error: step q: \"a\": belongs to step p already; name it once\n"},
        {"- {id: p, type: parallel, tasks: [p]}\n",
         "f:3:35: error: step p: \"p\": would stand within itself; name another step\n"},
        {"- {id: p, type: parallel, tasks: [q]}\n- {id: q, type: parallel, tasks: [p]}\n",
         "f:4:35: error: step q: \"p\": would stand within itself; name another step\n"},
        {"- {id: p, type: parallel, tasks: [{id: i, type: action, action: log}]}\n- {id: q, type: parallel, tasks: "
         "[i]}\n",
         "f:4:35: error: step q: \"i\": stands inside of step p; move it out of there\n"},
        {"- {id: p, type: parallel, max_concurrency: 0, tasks: [{id: i, type: action, action: log}]}\n",
         "f:3:44: error: step p: max_concurrency: 0 is out of range; give 1 to 10000\n"},
        {"- {id: b, type: branch, condition: x, branches: [a]}\n",
         "f:3:49: error: step b: branches: a list; give a map\n"},
        {"- {id: b, type: branch, condition: x, branches: {}}\n",
         "f:3:49: error: step b: branches: none; write at least one\n"},
        {"- {id: b, type: branch, condition: x, branches: {a: }}\n",
         "f:3:53: error: step b: a: no steps; write at least one\n"},
        {"- {id: b, type: branch, condition: x, branches: {'': {id: i, type: action, action: log}}}\n",
         "f:3:50: error: step b: branches: a name is empty; give one of 1 to 128 bytes\n"},
        {"- {id: b, type: branch, condition: x, branches: {default: {id: i, type: action, action: log}}, default: {id: "
         "j, type: action, action: log}}\n",
         "f:3:105: error: step b: branches: \"default\" stands twice; remove one\n"},
        {"- {id: b, type: branch, condition: '{{ a', branches: {true: {id: i, type: action, action: log}}}\n",
         "f:3:37: error: step b: template: the tag does not end\n"},
        {"- {id: l, type: loop, items: x, steps: {id: i, type: action, action: log}, step: {id: j, type: action, "
         "action: log}}\n",
         "f:3:82: error: step l: step: stands beside steps; write one of them\n"},
        {"- {id: l, type: loop, items: [1, 2], max_iterations: 0, step: {id: j, type: action, action: log}}\n",
         "f:3:54: error: step l: max_iterations: 0 is out of range; give 1 to 1000000\n"},
        {"- {id: l, type: loop, items: {a: 1}, step: {id: j, type: action, action: log}}\n",
         "f:3:30: error: step l: items: a map; give a text or a list\n"},
    };
    CHECK_STEPS(cases);
}

SL_TEST(references)
{
    static const case_of_steps cases[] = {
        {ACT("a", ", message: '{{ inputs.x }} {{ input.y }} {{ z }}'"), ""},
        {ACT("a", ", message: '{{ steps.b.x }}'"),
         "f:3:51: error: step a: steps.b: no such step; write the id of a step of this file\n"},
        {ACT("one", ", message: 'x {{ outputs.tow }}'") ACT("two", ""),
         "f:3:55: error: step one: outputs.tow: no such step; write the id of a step of this file\n"},
        {ACT("a", ", condition: \"{{ steps.b.x }} == 'y'\""),
         "f:3:53: error: step a: steps.b: no such step; write the id of a step of this file\n"},
        {"- id: a\n  type: action\n  action: log\n  message: |\n    one\n    {{ steps.b.x }}\n",
         "f:8:8: error: step a: steps.b: no such step; write the id of a step of this file\n"},
        {"- id: a\n  type: action\n  action: log\n  deep: {list: [1, {text: '{{#if steps.b}}x{{/if}}'}]}\n",
         "f:6:34: error: step a: steps.b: no such step; write the id of a step of this file\n"},
        {"- {id: a, type: transform, function: expression, expression: steps.b.x + 1}\n",
         "f:3:62: error: step a: steps.b: no such step; write the id of a step of this file\n"},
        {"- {id: a, type: transform, function: merge, inputs: [steps.b.x, other]}\n",
         "f:3:54: error: step a: steps.b: no such step; write the id of a step of this file\n"},
        /* Order. */
        {ACT("a", "") ACT("b", ", message: '{{ outputs.a }}', depends_on: a"), ""},
        {ACT("a", "") ACT("b", ", depends_on: a") ACT("c", ", depends_on: b, message: '{{ outputs.a }}'"), ""},
        {ACT("a", "") ACT("b", ", message: '{{ outputs.a }}'"),
         "f:4:51: warning: step b: outputs.a: a may not have run by then; add it to depends_on\n"},
        {ACT("a", ", message: '{{ outputs.a }}'"), "f:3:51: warning: step a: outputs.a: the step's own result, which "
                                                   "it does not have yet; read another step's\n"},
        {"- {id: p, type: parallel, tasks: [{id: i, type: action, action: log}, {id: j, type: action, action: log, m: "
         "'{{ outputs.i }}'}]}\n",
         "f:3:113: warning: step j: outputs.i: i may not have run by then; add it to depends_on\n"},
        {"- {id: p, type: parallel, tasks: [{id: i, type: action, action: log}]}\n" ACT(
             "b", ", message: '{{ outputs.i }}', depends_on: p"),
         ""},
        {ACT("b", "") "- {id: p, type: parallel, depends_on: b, tasks: [{id: i, type: action, action: log, m: '{{ "
                      "outputs.b }}'}]}\n",
         ""},
        {"- {id: l, type: loop, items: x, step: {id: i, type: action, action: log, m: '{{ item }}'}}\n" ACT(
             "b", ", message: '{{ outputs.i }}', depends_on: l"),
         "f:4:51: warning: step b: outputs.i: i runs once for each item; read the results of l, which are a list\n"},
        /* Parts. */
        {LLM("a", "x", ", output: [word]") ACT("b", ", m: '{{steps.a.word}} {{steps.a.text}} {{steps.a._response.x}} "
                                                    "{{outputs.a.model}}', depends_on: a"),
         ""},
        {LLM("a", "x", ", output: [word]") ACT("b", ", m: '{{ steps.a.wrod }} {{ steps.a.word }}', depends_on: a"),
         "f:4:45: warning: step b: steps.a.wrod: a has no result of that name, and binds nothing; name it in its "
         "output\n"},
        {LLM("a", "x", "") ACT("b", ", m: '{{ steps.a.nothing }}', depends_on: a"),
         "f:4:45: warning: step b: steps.a.nothing: a has no result of that name, and binds nothing; name it in its "
         "output\n"},
        {ACT("a", "") ACT("b", ", m: '{{ steps.a.status }}', depends_on: a"), ""},
        /* Ids that are no plain words. */
        {ACT("a-b", "") ACT("c", ", m: '{{ steps.a-b.x }} {{ steps.[a-b].y }}', depends_on: a-b"), ""},
        {ACT("a", "") ACT("c", ", m: '{{#each steps}}{{@key}}{{/each}}', depends_on: a"), ""},
    };
    CHECK_STEPS(cases);
}

SL_TEST(unused_outputs)
{
    static const case_of_steps cases[] = {
        {LLM("a", "x", ", output: [t, m]"), ""}, /* the last step's are the workflow's */
        {LLM("a", "x", ", output: [t, m]") ACT("b", ", depends_on: a"),
         "f:3:65: warning: step a: output: \"t\" is never read; remove the name\nf:3:68: warning: step a: output: "
         "\"m\" is never read; remove the name\n"},
        {LLM("a", "x", ", output: [t, m]") ACT("b", ", depends_on: a, x: '{{ steps.a.m }}'"),
         "f:3:65: warning: step a: output: \"t\" is never read; read it, or leave it for the places of those behind "
         "it\n"},
        {LLM("a", "x", ", output: [t, m]") ACT("b", ", depends_on: a, x: '{{ steps.a.model }}{{steps.a.text}}'"), ""},
        {LLM("a", "x", ", output: t") ACT("b", ", depends_on: a, condition: \"{{ outputs.a }} == 'y'\""), ""},
        {LLM("a", "x", ", output: t") "- {id: b, type: transform, function: upper, depends_on: a, inputs: [t]}\n", ""},
        {LLM("a", "x", ", output: t") "- {id: b, type: transform, function: upper, depends_on: a, inputs: [a]}\n", ""},
        {LLM("a", "x", ", output: t") "- {id: b, type: transform, function: upper, depends_on: a, inputs: "
                                      "[steps.a.t]}\n",
         ""},
        {LLM("a", "x", ", output: t") ACT("b", ", depends_on: a, x: '{{#each steps}}{{/each}}'"), ""},
    };
    CHECK_STEPS(cases);
}

SL_TEST(texts_that_do_not_parse)
{
    static const case_of_steps cases[] = {
        {"- id: a\n  type: action\n  action: log\n  message: >-\n    folded and\n    {{#if x}} open\n",
         "f:8:5: error: step a: template: {{#if}} is not closed; add {{/if}}\n"},
        {"- id: a\n  type: action\n  action: log\n  one: '{{ }}'\n  two: ['{{/if}}']\n",
         "f:6:12: error: step a: template: a value expected, not '}'\n"
         "f:7:10: error: step a: template: {{/if}} closes nothing; remove it, or add {{#if}}\n"},
        {"- {id: a, type: transform, function: expression, expression: '1 +'}\n", "?"},
        {ACT("a", ", condition: '{{ x'"), "?"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static sl_flow_problems problems;
        sl_flow *flow = NULL;
        char text[1024];
        unsigned line = 0;
        snprintf(text, sizeof text, "name: n\nsteps:\n%s", cases[i].steps);
        CHECK_EQ(sl_flow_load(sl_str_c(text), &problems, &flow), SL_ECONFIG);
        REQUIRE(problems.count > 0 && !flow);
        /* The words are those of templates and expressions; the place is ours. */
        if (sscanf(cases[i].said, "f:%u:", &line) == 1)
            CHECK_EQ(problems.items[0].line, line);
        else
            CHECK_EQ(problems.items[0].line, 3);
        CHECK(problems.items[0].column > 1);
        CHECK_STR(sl_str_c(problems.items[0].step), "a");
    }
}

SL_TEST(providers_when_they_are_known)
{
    static const char *const names[] = {"openai", "anthropic"};
    static const sl_flow_known known = {names, 2};
    static sl_flow_problems problems;
    static const struct {
        const char *provider, *said;
    } cases[] = {
        {"openai", ""},
        {"'{{ inputs.p }}'", ""},
        {"antropic", "f:3:32: error: step a: provider: \"antropic\" is not known; did you mean anthropic?\n"},
        {"cohere", "f:3:32: error: step a: provider: \"cohere\" is not known; give one of those that are configured\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_flow *flow = NULL;
        sl_buf out;
        char text[256];
        snprintf(text, sizeof text, "name: n\nsteps:\n- {id: a, type: llm, provider: %s, model: m, prompt: x}\n",
                 cases[i].provider);
        int error = sl_flow_load_known(sl_str_c(text), &known, &problems, &flow);
        CHECK_EQ(error, cases[i].said[0] ? SL_ECONFIG : 0);
        CHECK_STR(problems_of(&problems, &out), cases[i].said);
        sl_flow_unref(flow);
        sl_buf_done(&out);
    }
}

SL_TEST(the_shapes_of_public_examples_load)
{
    static const char *const texts[] = {
        /* Moderation: results as text, one step for each verdict, actions that are nobody's. */
        "name: \"gate\"\nversion: \"1.0\"\nsteps:\n"
        "  - id: \"judge\"\n    type: \"llm\"\n    provider: \"openai\"\n    model: \"m\"\n"
        "    prompt: |\n      Is this fine?\n\n      {{ input.words }}\n    temperature: 0.1\n    output: "
        "[\"verdict\"]\n"
        "  - id: \"let_pass\"\n    type: \"action\"\n    depends_on: [\"judge\"]\n"
        "    condition: \"{{ outputs.judge }} == 'fine'\"\n    action: \"post\"\n    content: \"{{ input.words }}\"\n"
        "  - id: \"explain\"\n    type: \"llm\"\n    depends_on: [\"judge\"]\n"
        "    condition: \"{{ outputs.judge }} == 'bad'\"\n    provider: \"anthropic\"\n    model: \"n\"\n"
        "    prompt: \"Why is this bad? {{ input.words }}\"\n    output: [\"reason\"]\n"
        "  - id: \"tell\"\n    type: \"action\"\n    depends_on: [\"explain\"]\n    action: \"send_mail\"\n"
        "    message: \"{{ outputs.explain }}\"\n",
        /* Transforms alone: inputs by name. */
        "name: shape\nversion: \"1.0\"\nsteps:\n"
        "  - id: join\n    type: transform\n    function: merge\n    inputs:\n      - left\n      - right\n"
        "    output:\n      - joined\n"
        "  - id: pick\n    type: transform\n    depends_on:\n      - join\n    function: filter\n    inputs:\n"
        "      - joined\n    key: state\n    value: open\n    output:\n      - picked\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        check_case(texts[i], "", i);
}

SL_TEST(many_problems_at_once)
{
    static sl_flow_problems problems;
    sl_flow *flow = NULL;
    sl_buf text;
    sl_buf_init(&text, 1u << 20);
    (void)sl_buf_put_c(&text, "name: n\nsteps:\n");
    for (int i = 0; i < 200; i++)
        (void)sl_buf_printf(&text,
                            "- {id: s%d, type: embed, provider: p, model: m, extra: 1, input: '{{steps.x.y}}'}\n", i);
    CHECK_EQ(sl_flow_load(sl_buf_str(&text), &problems, &flow), SL_ECONFIG);
    CHECK_EQ(problems.count, SL_FLOW_MAX_PROBLEMS);
    CHECK_EQ(problems.errors, 200);
    CHECK_EQ(problems.left_out, 400 - SL_FLOW_MAX_PROBLEMS);
    for (size_t i = 0; i < problems.count; i++)
        CHECK(!problems.items[i].warning); /* errors come before warnings when there is no room for all */
    sl_buf_done(&text);
}
