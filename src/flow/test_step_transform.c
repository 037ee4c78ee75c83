/* Transform steps: each function by a table, the names of inputs, bounds, failing memory. */
#include "src/flow/step_transform.h"

#include "src/base/limits.h"
#include "src/flow/expr_functions.h"
#include "src/flow/test_step_fixture.h"

extern const sl_step_kind sl_step_transform_kind;

static const char context[] =
    "{'text1':'one','text2':'two','n':5,'empty':'','nothing':null,"
    "'inputs':{'text1':'one','deep':{'a':[{'b':7}]}},"
    "'list':[3,1,2],'nested':[1,[2,[3,[4]]]],'words':['b','a','b','c','a'],"
    "'o1':{'a':1,'b':2},'o2':{'b':3,'c':4},"
    "'rows':[{'id':'x','status':'active','score':0.2,'tags':{'lang':'en'}},{'id':'y','status':'off','score':0.9},"
    "{'id':'z','status':'active'}],"
    "'json':'{\\'a\\': [1, {\\'b/c\\': 2, \\'m~n\\': 3}]}','csv':'a,b,,c',"
    "'workflow':{'name':'w','run_id':'r'},"
    "'steps':{'first':{'text':'hi','merged':[{'status':'active','n':1},{'status':'no','n':2}]},'second':{'text':'ho'}},"
    "'outputs':{'first':{'\\u0001text':'hi','merged':[]}}}";

static json_t *context_value(void)
{
    char *copy = strdup(context);
    size_t out = 0;
    for (size_t i = 0; copy[i]; i++) { /* \' is an escaped quote */
        if (copy[i] == '\\' && copy[i + 1] == '\'') {
            copy[out++] = '\\';
            copy[out++] = '"';
            i++;
        } else {
            copy[out++] = copy[i] == '\'' ? '"' : copy[i];
        }
    }
    copy[out] = '\0';
    json_t *value = json_loads(copy, 0, NULL);
    free(copy);
    if (!value)
        abort();
    return value;
}

/* Runs with params whose templates are not rendered: what names and raw texts see. */
static int run(const char *params, json_t **ret_value, sl_flow_fault *fault)
{
    json_t *p = quoted(params), *c = context_value();
    sl_step step = {.id = "t", .params = p};
    int error = sl_transform_run(&step, p, c, ret_value, fault);
    json_decref(p);
    json_decref(c);
    return error;
}

typedef struct good_case {
    const char *params;
    const char *wanted;
} good_case;

static const good_case good_cases[] = {
    /* merge */
    {"{'function':'merge','inputs':['text1','text2']}", "['one','two']"},
    {"{'function':'merge','inputs':['o1','o2']}", "{'a':1,'b':3,'c':4}"},
    {"{'function':'merge','inputs':['o2','o1']}", "{'a':1,'b':2,'c':4}"},
    {"{'function':'merge','inputs':['list','words','n']}", "[3,1,2,'b','a','b','c','a',5]"},
    {"{'function':'merge','inputs':[]}", "{}"},
    {"{'function':'merge'}", "{}"},
    {"{'function':'merge','inputs':'o1'}", "{'a':1,'b':2}"},
    {"{'function':'merge','inputs':['nothing','text1']}", "['one']"},
    /* select, pick, omit */
    {"{'function':'select','inputs':['inputs'],'path':'deep.a.0.b'}", "7"},
    {"{'function':'select','inputs':['rows'],'path':'1.id'}", "'y'"},
    {"{'function':'select','inputs':['rows'],'path':'9.id'}", "null"},
    {"{'function':'select','inputs':['o1'],'keys':['a','zz']}", "{'a':1}"},
    {"{'function':'pick','inputs':['rows'],'keys':['id']}", "[{'id':'x'},{'id':'y'},{'id':'z'}]"},
    {"{'function':'pick','inputs':['o1'],'keys':'b'}", "{'b':2}"},
    {"{'function':'pick','inputs':['rows'],'keys':['tags.lang']}", "[{'tags.lang':'en'},{},{}]"},
    {"{'function':'omit','inputs':['o1'],'keys':['b','zz']}", "{'a':1}"},
    {"{'function':'omit','inputs':['rows'],'keys':['status','score','tags']}", "[{'id':'x'},{'id':'y'},{'id':'z'}]"},
    /* map */
    {"{'function':'map','inputs':['rows'],'key':'id'}", "['x','y','z']"},
    {"{'function':'map','inputs':['rows'],'key':'tags.lang'}", "['en',null,null]"},
    {"{'function':'map','inputs':['list'],'expression':'item * 2 + index'}", "[6,3,6]"},
    {"{'function':'map','inputs':['list'],'expr':'item + n'}", "[8,6,7]"},
    {"{'function':'map','inputs':['list'],'template':'<{{item}}:{{index}}:{{text1}}>'}",
     "['<3:0:one>','<1:1:one>','<2:2:one>']"},
    {"{'function':'map','inputs':['n'],'expression':'item'}", "[5]"},
    {"{'function':'map','inputs':['words'],'expression':'index'}", "[0,1,2,3,4]"},
    /* filter */
    {"{'function':'filter','inputs':['merged'],'key':'status','value':'active'}", "[{'status':'active','n':1}]"},
    {"{'function':'filter','inputs':['rows'],'key':'tags.lang','value':'en','expr':null}",
     "[{'id':'x','status':'active','score':0.2,'tags':{'lang':'en'}}]"},
    {"{'function':'filter','inputs':['list'],'expression':'item > 1'}", "[3,2]"},
    {"{'function':'filter','inputs':['rows'],'key':'score'}",
     "[{'id':'x','status':'active','score':0.2,'tags':{'lang':'en'}},{'id':'y','status':'off','score':0.9}]"},
    {"{'function':'filter','inputs':['text1'],'key':'status','value':'active'}", "[]"},
    {"{'function':'filter','inputs':['o1'],'key':'a','value':1}", "[{'a':1,'b':2}]"},
    /* dedupe */
    {"{'function':'dedupe','inputs':['words']}", "['b','a','c']"},
    {"{'function':'unique','inputs':['words']}", "['b','a','c']"},
    {"{'function':'dedupe','inputs':['rows'],'key':'status','expr':''}",
     "[{'id':'x','status':'active','score':0.2,'tags':{'lang':'en'}},{'id':'y','status':'off','score':0.9}]"},
    {"{'function':'dedupe','inputs':['list'],'expression':'item % 2'}", "[3,2]"},
    /* sort, rerank */
    {"{'function':'sort','inputs':['list']}", "[1,2,3]"},
    {"{'function':'sort','inputs':['list'],'order':'desc'}", "[3,2,1]"},
    {"{'function':'sort','inputs':['words'],'reverse':'true'}", "['c','b','b','a','a']"},
    {"{'function':'sort','inputs':['list'],'expression':'0 - item'}", "[3,2,1]"},
    {"{'function':'sort','inputs':['merged'],'key':'n','descending':true}",
     "[{'status':'no','n':2},{'status':'active','n':1}]"},
    {"{'function':'sort','inputs':['nothing']}", "[]"},
    {"{'function':'rerank','inputs':['rows']}",
     "[{'id':'y','status':'off','score':0.9},{'id':'x','status':'active','score':0.2,'tags':{'lang':'en'}},"
     "{'id':'z','status':'active'}]"},
    {"{'function':'rerank','inputs':['rows'],'top_k':1}", "[{'id':'y','status':'off','score':0.9}]"},
    {"{'function':'rerank','inputs':['rows'],'top_k':'1','min_score':0.5}", "[{'id':'y','status':'off','score':0.9}]"},
    {"{'function':'rerank','inputs':['list'],'key':'','min_score':2}", "[3,2]"},
    /* flatten */
    {"{'function':'flatten','inputs':['nested']}", "[1,2,[3,[4]]]"},
    {"{'function':'flatten','inputs':['nested'],'depth':3}", "[1,2,3,4]"},
    /* regex */
    {"{'function':'regex','inputs':['csv'],'pattern':'[a-c]'}", "['a','b','c']"},
    {"{'function':'regex','inputs':['csv'],'pattern':'[a-c]','first':true}", "'a'"},
    {"{'function':'regex','inputs':['csv'],'pattern':'z','first':true}", "null"},
    {"{'function':'regex','inputs':['csv'],'pattern':'^a.*c$','mode':'match'}", "true"},
    {"{'function':'regex','inputs':['csv'],'pattern':'^b','mode':'match'}", "false"},
    {"{'function':'regex','inputs':['csv'],'pattern':',+','replacement':'-'}", "'a-b-c'"},
    {"{'function':'regex','inputs':['csv'],'pattern':',','replacement':''}", "'abc'"},
    {"{'function':'regex','inputs':['text1'],'pattern':'x*','replacement':'.'}", "'.o.n.e.'"},
    {"{'function':'regex','inputs':['text1'],'pattern':'q','replacement':'.'}", "'one'"},
    {"{'function':'regex','inputs':['{{\xc3\xa9\xe2\x82\xac}}'],'pattern':'x*','replacement':'.'}",
     "'.{.{.\xc3\xa9.\xe2\x82\xac.}.}.'"},
    {"{'function':'regex','inputs':['{{\xc3\xa9\xe2\x82\xac}}'],'pattern':'x?','mode':'extract'}",
     "['','','','','','','']"},
    {"{'function':'regex','inputs':['{{\xc3\xa9\xe2\x82\xac}}'],'pattern':'[^{}]','replacement':'_'}", "'{{__}}'"},
    {"{'function':'regex','inputs':['n'],'pattern':'5','mode':'match'}", "true"},
    /* json */
    {"{'function':'json','inputs':['json'],'pointer':'/a/1/b~1c'}", "2"},
    {"{'function':'json','inputs':['json'],'pointer':'/a/1/m~0n'}", "3"},
    {"{'function':'json','inputs':['json'],'pointer':'/a/0'}", "1"},
    {"{'function':'json','inputs':['json'],'pointer':'/a/9'}", "null"},
    {"{'function':'json','inputs':['json'],'pointer':'/a/01'}", "null"}, /* RFC 6901, 4: an index has no leading zero */
    {"{'function':'json','inputs':['json'],'pointer':'/a/-'}", "null"},
    {"{'function':'json','inputs':['json'],'pointer':'/a/+1'}", "null"},
    {"{'function':'json','inputs':['json'],'pointer':'/a/'}", "null"},
    {"{'function':'json','inputs':['json'],'pointer':'/'}", "null"},
    {"{'function':'json','inputs':['json'],'pointer':'/a/1/b~1c/x'}", "null"},
    {"{'function':'json','inputs':['o1'],'pointer':'/a'}", "1"},
    {"{'function':'json','inputs':['o1'],'pointer':''}", "{'a':1,'b':2}"},
    {"{'function':'json','inputs':['list']}", "'[3,1,2]'"},
    {"{'function':'json','inputs':['list'],'mode':'stringify','pretty':true}", "'[\\n  3,\\n  1,\\n  2\\n]'"},
    {"{'function':'json','inputs':['n'],'mode':'parse'}", "5"},
    /* template, expression */
    {"{'function':'template','inputs':['list'],'template':'{{#each value}}{{this}};{{/each}}{{text2}}'}",
     "'3;1;2;two'"},
    {"{'function':'template','text':'plain'}", "'plain'"},
    {"{'function':'expression','inputs':['list'],'expression':'sum(value) + n'}", "11"},
    {"{'function':'expr','expr':'length(words)'}", "5"},
    {"{'function':'expr','inputs':['list','words'],'expr':'length(values)'}", "2"},
    /* default: what is not bound is null */
    {"{'function':'default','inputs':['unbound','empty'],'value':'d'}", "'d'"},
    {"{'function':'default','inputs':['text1'],'value':'d'}", "'one'"},
    {"{'function':'default','inputs':['nothing']}", "null"},
    /* functions of expressions, with params as arguments */
    {"{'function':'join','inputs':['words'],'separator':'-'}", "'b-a-b-c-a'"},
    {"{'function':'join','inputs':['text1','text2'],'separator':' '}", "'one two'"},
    {"{'function':'split','inputs':['csv'],'separator':','}", "['a','b','','c']"},
    {"{'function':'length','inputs':['words']}", "5"},
    {"{'function':'length','inputs':['text1']}", "3"},
    {"{'function':'slice','inputs':['words'],'from':1,'to':3}", "['a','b']"},
    {"{'function':'slice','inputs':['text1'],'from':-2}", "'ne'"},
    {"{'function':'concat','inputs':['text1','text2']}", "'onetwo'"},
    {"{'function':'concat','inputs':['list','words']}", "[3,1,2,'b','a','b','c','a']"},
    {"{'function':'upper','inputs':['text1']}", "'ONE'"},
    {"{'function':'sum','inputs':['list']}", "6"},
    {"{'function':'first','inputs':['words'],'count':2}", "['b','a']"},
    {"{'function':'replace','inputs':['csv'],'what':',','with':';'}", "'a;b;;c'"},
    {"{'function':'reverse','inputs':['list']}", "[2,1,3]"},
    /* names */
    {"{'function':'concat','inputs':['steps.first.text','steps.second.text']}", "'hiho'"},
    {"{'function':'length','inputs':['inputs.deep.a']}", "1"},
    {"{'function':'string','inputs':['first']}", "'hi'"},
    {"{'function':'length','inputs':[[1,2]]}", "2"},
    {"{'function':'length','inputs':['{{ already.rendered }}']}", "22"},
};

SL_TEST(functions)
{
    for (size_t i = 0; i < sizeof good_cases / sizeof *good_cases; i++) {
        json_t *value = NULL, *wanted = quoted(good_cases[i].wanted);
        sl_flow_fault fault = {0};
        int error = run(good_cases[i].params, &value, &fault);
        char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
        if (error || !json_equal(value, wanted))
            sl_test_failed(__FILE__, __LINE__, "%s: wanted %s, got %s (%s)", good_cases[i].params, good_cases[i].wanted,
                           text ? text : sl_error_name(error), fault.message);
        free(text);
        json_decref(value);
        json_decref(wanted);
    }
}

typedef struct bad_case {
    const char *params;
    int error;
    const char *says;
} bad_case;

static const bad_case bad_cases[] = {
    {"{}", SL_EINVAL, "function is missing"},
    {"{'function':5}", SL_EINVAL, "function is missing"},
    {"{'function':'fly'}", SL_EINVAL, "there is no function \"fly\""},
    {"{'function':'any','inputs':['list']}", SL_EINVAL, "there is no function"},
    {"{'function':'merge','inputs':['nobody']}", SL_EINVAL, "\"nobody\" is bound to nothing"},
    {"{'function':'merge','inputs':['steps.first.none']}", SL_EINVAL, "bound to nothing"},
    {"{'function':'map','inputs':['list']}", SL_EINVAL, "needs expression, template or key"},
    {"{'function':'map','inputs':['list'],'key':5}", SL_EINVAL, "key must be a text"},
    {"{'function':'map','inputs':['list'],'expression':'item +'}", SL_EPARSE, ""},
    {"{'function':'map','inputs':['list'],'expression':'1) , (2'}", SL_EPARSE, ""},
    {"{'function':'map','inputs':['list'],'expression':'item + {}'}", SL_EINVAL, ""},
    {"{'function':'map','inputs':['list'],'template':'{{#each}}'}", SL_EPARSE, ""},
    {"{'function':'filter','inputs':['list']}", SL_EINVAL, "needs key"},
    {"{'function':'sort','inputs':['list'],'order':'up'}", SL_EINVAL, "asc or desc"},
    {"{'function':'sort','inputs':['list','words']}", SL_EINVAL, "cannot put number and string in order"},
    {"{'function':'sort','inputs':['rows'],'key':'tags'}", SL_EINVAL, "cannot put object and object"},
    {"{'function':'rerank','inputs':['rows'],'top_k':0}", SL_EINVAL, "top_k must be a whole number"},
    {"{'function':'rerank','inputs':['rows'],'top_k':'x'}", SL_EINVAL, "top_k must be a whole number"},
    {"{'function':'rerank','inputs':['rows'],'min_score':'x'}", SL_EINVAL, "min_score must be a number"},
    {"{'function':'flatten','inputs':['nested'],'depth':0}", SL_EINVAL, "depth must be"},
    {"{'function':'select','inputs':['o1']}", SL_EINVAL, "needs path, or keys"},
    {"{'function':'pick','inputs':['o1'],'keys':[1]}", SL_EINVAL, "keys must be texts"},
    {"{'function':'pick','inputs':['o1'],'keys':7}", SL_EINVAL, "keys must be a list"},
    {"{'function':'pick','inputs':['list'],'keys':['a']}", SL_EINVAL, "item 0 is no object"},
    {"{'function':'omit','inputs':['n'],'keys':['a']}", SL_EINVAL, "not of a number"},
    {"{'function':'regex','inputs':['csv']}", SL_EINVAL, "needs pattern"},
    {"{'function':'regex','inputs':['csv'],'pattern':'('}", SL_EINVAL, ""},
    {"{'function':'regex','inputs':['csv'],'pattern':'a','mode':'eat'}", SL_EINVAL, "mode must be match"},
    {"{'function':'json','inputs':['text1'],'mode':'parse'}", SL_EINVAL, "parse_json"},
    {"{'function':'json','inputs':['o1'],'mode':'eat'}", SL_EINVAL, "mode must be parse"},
    {"{'function':'json','inputs':['o1'],'pointer':'a'}", SL_EINVAL, "begins with /"},
    {"{'function':'json','inputs':['o1'],'pointer':'/~2'}", SL_EINVAL, "~ must be followed"},
    {"{'function':'template'}", SL_EINVAL, "needs template"},
    {"{'function':'expression'}", SL_EINVAL, "needs expression"},
    {"{'function':'slice','inputs':['words']}", SL_EINVAL, "needs in, from, to"},
    {"{'function':'expr','expr':'sum(map(list, x => map(words, y => map(words, z => 1))))'}", SL_EINVAL, ""},
};

SL_TEST(what_is_wrong_is_said)
{
    for (size_t i = 0; i < sizeof bad_cases / sizeof *bad_cases; i++) {
        json_t *value = NULL;
        sl_flow_fault fault = {0};
        int error = run(bad_cases[i].params, &value, &fault);
        if (error != bad_cases[i].error || value || !strstr(fault.message, bad_cases[i].says) || !fault.message[0])
            sl_test_failed(__FILE__, __LINE__, "%s: %s \"%s\"", bad_cases[i].params, sl_error_name(error),
                           fault.message);
        json_decref(value);
    }
}

/* Every function of this file is known to validation, and every one that validation knows can be run. */
SL_TEST(table_is_the_documented_one)
{
#define SL_TRANSFORM(name, help) name,
    static const char *const documented[] = {
#include "src/flow/transforms.def"
    };
#undef SL_TRANSFORM
    size_t count = sizeof documented / sizeof *documented;
    for (size_t i = 0; i < count; i++) {
        bool found = sl_flow_function_find(sl_str_c(documented[i])) != NULL;
        for (size_t k = 0; sl_transform_name(k); k++)
            found = found || strcmp(sl_transform_name(k), documented[i]) == 0;
        if (!found)
            sl_test_failed(__FILE__, __LINE__, "%s cannot be run", documented[i]);
    }
    for (size_t k = 0; sl_transform_name(k); k++) {
        bool found = sl_flow_function_find(sl_str_c(sl_transform_name(k))) != NULL;
        for (size_t i = 0; i < count; i++)
            found = found || strcmp(sl_transform_name(k), documented[i]) == 0;
        if (!found)
            sl_test_failed(__FILE__, __LINE__, "%s is not documented", sl_transform_name(k));
    }
}

/* A name is first an output of a step that this one depends on, then an input. */
SL_TEST(names_prefer_dependencies)
{
    json_t *c = quoted("{'x':'input','steps':{'a':{'x':'of a'},'b':{'x':'of b'},'c':{'y':'of c'}}}");
    json_t *p = quoted("{'function':'string','inputs':['x']}"), *value = NULL;
    size_t depends[1] = {1};
    sl_step block[3] = {{.id = "a", .index = 0}, {.id = "b", .index = 1}, {.id = "me", .index = 2, .params = p}};
    sl_flow_fault fault = {0};
    CHECK_EQ(sl_transform_run(&block[2], p, c, &value, &fault), 0);
    CHECK_STR(sl_str_c(json_string_value(value)), "input");
    json_decref(value);
    block[2].depends = depends;
    block[2].depend_count = 1;
    CHECK_EQ(sl_transform_run(&block[2], p, c, &value, &fault), 0);
    CHECK_STR(sl_str_c(json_string_value(value)), "of b");
    json_decref(value);
    (void)json_object_del(c, "x");
    block[2].depend_count = 0;
    CHECK_EQ(sl_transform_run(&block[2], p, c, &value, &fault), 0);
    CHECK_STR(sl_str_c(json_string_value(value)), "of b"); /* the last one's */
    json_decref(value);
    json_decref(p);
    json_decref(c);
}

/* What a template gave is a value, even when it reads like a name. */
SL_TEST(rendered_inputs_are_values)
{
    json_t *c = quoted("{'x':'the input'}"), *value = NULL;
    json_t *raw = quoted("{'function':'string','inputs':['{{ x }}']}");
    json_t *rendered = quoted("{'function':'string','inputs':['x']}");
    sl_step step = {.id = "t", .params = raw};
    sl_flow_fault fault = {0};
    CHECK_EQ(sl_transform_run(&step, rendered, c, &value, &fault), 0);
    CHECK_STR(sl_str_c(json_string_value(value)), "x");
    json_decref(value);
    json_decref(raw);
    json_decref(rendered);
    json_decref(c);
}

SL_TEST(work_is_bounded)
{
    json_t *list = json_array(), *c = json_object(), *value = NULL;
    for (int i = 0; i < 4000; i++)
        (void)json_array_append_new(list, json_integer(i));
    (void)json_object_set_new(c, "list", list);
    json_t *p = quoted("{'function':'map','inputs':['list'],'expression':'map(list, x => x + item)'}");
    sl_step step = {.id = "t", .params = p};
    sl_flow_fault fault = {0};
    CHECK_EQ(sl_transform_run(&step, p, c, &value, &fault), SL_ETOOBIG);
    CHECK(value == NULL && fault.message[0]);
    json_decref(p);
    json_decref(c);
}

/* A template for each item is one work: else a short file would hold up everything else for minutes. */
SL_TEST(templates_of_items_share_their_limit)
{
    json_t *list = json_array(), *c = json_object(), *value = NULL;
    for (int i = 0; i < 4000; i++)
        (void)json_array_append_new(list, json_integer(1));
    (void)json_object_set_new(c, "list", list);
    json_t *p = quoted("{'function':'map','inputs':['list'],"
                       "'template':'{{#each list}}{{#if this}}{{/if}}{{/each}}'}");
    sl_step step = {.id = "t", .params = p};
    sl_flow_fault fault = {0};
    CHECK_EQ(sl_transform_run(&step, p, c, &value, &fault), SL_ETOOBIG);
    CHECK(value == NULL && fault.message[0]);
    json_decref(value);
    json_decref(p);
    json_decref(c);
}

SL_TEST(the_step_ends_once)
{
    bench_step b;
    step_open(&b);
    step_begin(&b, &sl_step_transform_kind, "{'function':'merge','inputs':['a','b']}", "{'a':[1],'b':[2]}");
    CHECK_EQ(b.ends, 1);
    CHECK_RESULT(&b, 0, "[1,2]");
    CHECK(json_array_size(b.results) == 1 && json_array_size(b.text) == 2);
    step_begin(&b, &sl_step_transform_kind, "{'function':'merge','inputs':['c']}", "{}");
    CHECK_FAILS(&b, SL_STEP_ERROR_INPUT, "transform merge: input \"c\"");
    step_begin(&b, &sl_step_transform_kind, "{'function':'regex','inputs':['a'],'pattern':'('}", "{'a':'x'}");
    CHECK_FAILS(&b, SL_STEP_ERROR_INPUT, "transform regex");
    sl_step_transform_kind.cancel(&b.attempt);
    step_close(&b);
}

/* Each allocation of the library fails in turn: an error, and nothing is left behind. */
SL_TEST(memory_runs_out)
{
    static const char *const params[] = {
        "{'function':'map','inputs':['list'],'template':'<{{item}}>'}",
        "{'function':'sort','inputs':['rows'],'key':'score'}",
        "{'function':'dedupe','inputs':['words']}",
        "{'function':'regex','inputs':['csv'],'pattern':'[a-c]+','replacement':'-'}",
        "{'function':'filter','inputs':['list'],'expression':'item > 1'}",
    };
    for (size_t i = 0; i < sizeof params / sizeof *params; i++)
        for (long n = 0; n < 200; n++) {
            json_t *value = NULL;
            sl_flow_fault fault = {0};
            sl_test_fail_alloc(n);
            int error = run(params[i], &value, &fault);
            bool failed = sl_test_alloc_failed();
            sl_test_fail_alloc(-1);
            json_decref(value);
            CHECK(failed ? error == SL_ENOMEM : error == 0);
            if (!failed)
                break;
        }
}
