/*
 * What a step gave, as one object: names by position, the usual names, what stands beside them, the text; what is shown
 * of it outside; how large it may be.
 */
#include "src/flow/test_flow_fixture.h"

static json_t *quoted(const char *text)
{
    if (!text)
        return NULL;
    char *copy = strdup(text);
    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    json_t *value = json_loads(copy, JSON_DECODE_ANY, NULL);
    if (!value)
        sl_test_failed(__FILE__, __LINE__, "%s", copy);
    free(copy);
    return value;
}

static char *dumped(const json_t *value)
{
    return json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
}

/* A step of a type with names for its outputs, separated by blanks. */
typedef struct named {
    sl_step step;
    char text[200];
    const char *names[8];
} named;

static void name_step(named *n, sl_step_type type, const char *names)
{
    memset(n, 0, sizeof *n);
    n->step.id = "s";
    n->step.type = type;
    (void)snprintf(n->text, sizeof n->text, "%s", names);
    char *rest = n->text, *name;
    while ((name = strsep(&rest, " ")) != NULL) {
        if (*name)
            n->names[n->step.output_count++] = name;
    }
    n->step.outputs = n->names;
}

static const struct {
    sl_step_type type;
    const char *names, *results, *extra, *text; /* JSON with ' for " */
    const char *value, *shown;
} cases[] = {
    {SL_STEP_LLM, "", "['hi','m',7,{'x':1}]", "{'_response':{'text':'hi'}}", "'hi'",
     "{'\\u0001text':'hi','_response':{'text':'hi'},'metadata':{'x':1},'model':'m','text':'hi','tokens':7}",
     "{'_response':{'text':'hi'},'metadata':{'x':1},'model':'m','text':'hi','tokens':7}"},
    {SL_STEP_LLM, "answer", "['hi','m',7,{}]", NULL, "'hi'",
     "{'\\u0001text':'hi','answer':'hi','metadata':{},'model':'m','text':'hi','tokens':7}", "{'answer':'hi'}"},
    {SL_STEP_LLM, "answer who", "['hi','m',7,{}]", "{'_response':{}}", "'hi'",
     "{'\\u0001text':'hi','_response':{},'answer':'hi','metadata':{},'model':'m','text':'hi','tokens':7,'who':'m'}",
     "{'_response':{},'answer':'hi','who':'m'}"},
    {SL_STEP_LLM, "text", "['hi','m',7,{}]", NULL, NULL, "{'metadata':{},'model':'m','text':'hi','tokens':7}",
     "{'text':'hi'}"},
    {SL_STEP_LLM, "model text", "['hi','m',7,{}]", NULL, NULL, "{'metadata':{},'model':'hi','text':'m','tokens':7}",
     "{'model':'hi','text':'m'}"}, /* by position, whatever they are usually called */
    {SL_STEP_EMBED, "", "[[0.5,1],{'dimensions':2}]", NULL, "[0.5,1]",
     "{'\\u0001text':[0.5,1],'metadata':{'dimensions':2},'vector':[0.5,1]}",
     "{'metadata':{'dimensions':2},'vector':[0.5,1]}"},
    {SL_STEP_EMBED, "v", "[[1]]", NULL, NULL, "{'v':[1],'vector':[1]}", "{'v':[1]}"},
    {SL_STEP_ACTION, "", "[null,{'a':1}]", NULL, "''", "{'\\u0001text':'','metadata':{'a':1},'result':null}",
     "{'metadata':{'a':1},'result':null}"},
    {SL_STEP_ACTION, "one two three", "[1]", NULL, NULL, "{'one':1,'result':1}", "{'one':1}"},
    {SL_STEP_ACTION, "", "[]", NULL, NULL, "{}", "{}"},
    {SL_STEP_ACTION, "", "[1]", "{'result':'not this','more':2}", NULL, "{'more':2,'result':1}",
     "{'more':2,'result':1}"}, /* a result comes before what stands beside */
    {SL_STEP_ACTION, "", "[1]", "[1,2]", NULL, "{'result':1}", "{'result':1}"}, /* which is an object, or nothing */
};

SL_TEST(values_by_their_names)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        named n;
        json_t *value = NULL;
        name_step(&n, cases[i].type, cases[i].names);
        int error = sl_output_value(&n.step, quoted(cases[i].results), quoted(cases[i].extra), quoted(cases[i].text),
                                    100000, &value);
        CHECK_EQ(error, 0);
        REQUIRE(value != NULL);
        json_t *wanted = quoted(cases[i].value), *wanted_shown = quoted(cases[i].shown);
        json_t *shown = sl_output_public(&n.step, value);
        char *have = dumped(value), *have_shown = dumped(shown);
        char *want = dumped(wanted), *want_shown = dumped(wanted_shown);
        if (strcmp(have, want) != 0)
            sl_test_failed(__FILE__, __LINE__, "case %zu: %s", i, have);
        if (strcmp(have_shown, want_shown) != 0)
            sl_test_failed(__FILE__, __LINE__, "case %zu shows %s", i, have_shown);
        json_t *text = sl_output_text(value);
        CHECK_EQ(text != NULL, cases[i].text != NULL);
        free(have);
        free(want);
        free(have_shown);
        free(want_shown);
        json_decref(wanted);
        json_decref(wanted_shown);
        json_decref(shown);
        json_decref(value);
    }
}

/* The texts that objects carry for templates are not shown, at any depth of a block's results. */
SL_TEST(texts_within_blocks_are_not_shown)
{
    static const struct {
        const char *value, *shown;
    } deep[] = {
        {"{'results':[{'\\u0001text':'a','x':1},{'y':[{'\\u0001text':'b'}]}]}", "{'results':[{'x':1},{'y':[{}]}]}"},
        {"{'\\u0001text':'t','a':{'\\u0001text':'u','b':{'\\u0001text':'v'}}}", "{'a':{'b':{}}}"},
        {"{'results':[]}", "{'results':[]}"},
        {"{'results':null,'n':1.5}", "{'n':1.5,'results':null}"},
    };
    for (size_t i = 0; i < sizeof deep / sizeof *deep; i++) {
        named n;
        name_step(&n, SL_STEP_PARALLEL, "");
        n.step.block_count = 1;
        json_t *value = quoted(deep[i].value), *shown = sl_output_public(&n.step, value),
               *wanted = quoted(deep[i].shown);
        char *before = dumped(value), *have = dumped(shown), *want = dumped(wanted), *again;
        json_t *untouched = quoted(deep[i].value);
        again = dumped(untouched);
        CHECK_STR(sl_str_c(have), want);
        CHECK_STR(sl_str_c(before), again); /* what templates see stays as it was */
        free(before);
        free(have);
        free(want);
        free(again);
        json_decref(untouched);
        json_decref(value);
        json_decref(shown);
        json_decref(wanted);
    }
    named n;
    name_step(&n, SL_STEP_ACTION, "");
    json_t *list = json_array();
    CHECK(sl_output_public(&n.step, NULL) == NULL);
    CHECK(sl_output_public(&n.step, list) == NULL);
    CHECK(sl_output_text(NULL) == NULL);
    CHECK(sl_output_text(list) == NULL);
    json_decref(list);
}

/* A value is measured as the JSON that it would be, roughly; above the limit it is refused, and nothing is given. */
SL_TEST(values_have_a_limit)
{
    named n;
    name_step(&n, SL_STEP_ACTION, "");
    for (size_t len = 900; len <= 1100; len += 20) {
        char *text = calloc(1, len + 1);
        memset(text, 'x', len);
        json_t *value = NULL;
        int error = sl_output_value(&n.step, json_pack("[s]", text), NULL, NULL, 1000, &value);
        if (len < 980)
            CHECK_EQ(error, 0);
        if (len > 1000)
            CHECK_EQ(error, SL_ETOOBIG);
        CHECK_EQ(value != NULL, error == 0);
        json_decref(value);
        free(text);
    }
    json_t *many = json_array(), *value = NULL;
    for (int i = 0; i < 1000; i++)
        (void)json_array_append_new(many, json_null());
    CHECK_EQ(sl_output_value(&n.step, json_pack("[o]", many), NULL, NULL, 1000, &value), SL_ETOOBIG);
    json_t *deep = json_integer(1);
    for (int i = 0; i <= SL_MAX_JSON_DEPTH + 1; i++)
        deep = json_pack("[o]", deep);
    CHECK_EQ(sl_output_value(&n.step, json_pack("[o]", deep), NULL, NULL, 1000000, &value), SL_ETOOBIG);
    CHECK(value == NULL);
}
