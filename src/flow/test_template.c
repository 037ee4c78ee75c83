/* Templates: the language guide's rules, values, helpers, limits, faults, conditions. */
#include <stdio.h>
#include <stdlib.h>

#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/flow/expr.h"
#include "src/flow/template.h"
#include "tests/harness/sl_test.h"

static const char context_text[] =
    "{\"name\":\"World\",\"n\":3,\"pi\":3.14,\"two\":2.0,\"big\":9007199254740993,\"yes\":true,\"no\":false,\"nil\":"
    "null,"
    "\"empty\":\"\",\"zero\":0,\"none\":[],\"blank\":{},\"html\":\"<a & 'b'>\",\"list\":[\"a\",\"b\",\"c\"],"
    "\"nums\":[1,2.5,true,null],\"obj\":{\"x\":1,\"y\":{\"z\":\"deep\"},\"odd key\":\"odd\"},"
    "\"docs\":[{\"metadata\":{\"text\":\"one\"},\"score\":0.9},{\"metadata\":{\"text\":\"two\"},\"score\":0.5}],"
    "\"matrix\":[[1,2],[3]],\"umlaut\":\"\\u00e4\\u00f6\\u00fc\",\"key\":\"x\",\"if\":\"word\",\"length\":\"long\","
    "\"inputs\":{\"name\":\"Ann\",\"enable\":true},\"input\":{\"content\":\"c\"},"
    "\"outputs\":{\"mod\":{\"\\u0001text\":\"safe\",\"model\":\"m\"}},\"steps\":{\"mod\":{\"text\":\"safe\"}}}";

static json_t *context(void)
{
    return json_loads(context_text, 0, NULL);
}

typedef struct render_case {
    const char *template;
    const char *text;
} render_case;

static const render_case cases[] = {
    /* Paths and values. */
    {"", ""},
    {"plain } }} { text", "plain } }} { text"},
    {"Hello {{ name }}!", "Hello World!"},
    {"{{name}}{{name}}", "WorldWorld"},
    {"{{n}} {{pi}} {{two}} {{big}}", "3 3.14 2 9007199254740993"},
    {"{{yes}} {{no}} [{{nil}}] [{{absent}}] [{{absent.deep.er}}]", "true false [] [] []"},
    {"{{html}} {{{html}}} {{&html}}", "<a & 'b'> <a & 'b'> <a & 'b'>"},
    {"{{list}}", "[\"a\",\"b\",\"c\"]"},
    {"{{obj}}", "{\"x\":1,\"y\":{\"z\":\"deep\"},\"odd key\":\"odd\"}"},
    {"{{nums}}", "[1,2.5,true,null]"},
    {"{{obj.y.z}} {{obj/y/z}} {{this.obj.y.z}} {{./obj.y.z}}", "deep deep deep deep"},
    {"{{obj.[odd key]}} {{obj.[x]}}", "odd 1"},
    {"{{list.0}} {{list.[1]}} {{list[2]}} {{list.7}}", "a b c "},
    {"{{list.length}} {{name.length}} {{umlaut.length}} {{length}}", "3 5 3 long"},
    {"{{@root.name}} {{if}}", "World word"},
    {"{{outputs.mod}} {{outputs.mod.model}} {{json outputs.mod}}", "safe m {\"model\":\"m\"}"},
    {"{{outputs}}", "{\"mod\":{\"model\":\"m\"}}"},
    {"{{\"text\"}} {{'name'}} {{1.5}} {{true}} {{#'name'}}{{this}}{{/'name'}}", " World   World"},
    {"${{ name }}", "$World"},
    /* Comments, escapes, raw. */
    {"a{{! no }}b{{!-- {{no}} --}}c{{~! x ~}} d", "abcd"},
    {"\\{{name}} {{name}}", "{{name}} World"},
    {"\\\\{{name}}", "\\World"},
    {"\\a {{name}}", "\\a World"},
    {"{{{{raw}}}} {{x}} {{#if}} {{{{/raw}}}}", " {{x}} {{#if}} "},
    {"\\{{#if a}} \\{{/if}}", "{{#if a}} {{/if}}"},
    /* if, unless. */
    {"{{#if yes}}y{{else}}n{{/if}}{{#if no}}y{{else}}n{{/if}}", "yn"},
    {"{{#if zero}}y{{else}}n{{/if}}{{#if zero includeZero=true}}y{{/if}}", "ny"},
    {"{{#if none}}y{{else}}n{{/if}}{{#if empty}}y{{else}}n{{/if}}{{#if blank}}y{{else}}n{{/if}}", "nnn"},
    {"{{#if nil}}y{{/if}}{{#if obj}}o{{/if}}{{#if list}}l{{/if}}", "ol"},
    {"{{#unless no}}u{{/unless}}{{#unless yes}}u{{else}}e{{/unless}}", "ue"},
    {"{{#if no}}a{{else if zero}}b{{else if n}}c{{else}}d{{/if}}", "c"},
    {"{{#if no}}a{{else if zero}}b{{else}}d{{/if}}", "d"},
    {"{{#if no}}a{{^}}b{{/if}}", "b"},
    {"{{#if (eq name 'World')}}same{{/if}}", "same"},
    {"{{#if (and yes (not no) (gt n 2))}}all{{/if}}", "all"},
    /* each, with, sections. */
    {"{{#each list}}{{@index}}{{this}}{{#unless @last}},{{/unless}}{{/each}}", "0a,1b,2c"},
    {"{{#each list}}{{#if @first}}first{{/if}}{{.}}{{/each}}", "firstabc"},
    {"{{#each obj}}{{@key}}={{this}};{{/each}}", "x=1;y={\"z\":\"deep\"};odd key=odd;"},
    {"{{#each obj}}{{@index}}{{@last}} {{/each}}", "0false 1false 2true "},
    {"{{#each outputs.mod}}{{@key}}{{@last}}{{/each}}", "modeltrue"},
    {"{{#each none}}x{{else}}nothing{{/each}}{{#each absent}}x{{else}}no{{/each}}", "nothingno"},
    {"{{#each docs}}{{metadata.text}}:{{this.score}} {{../name}};{{/each}}", "one:0.9 World;two:0.5 World;"},
    {"{{#each matrix}}{{#each this}}{{@../index}}{{@index}}={{this}} {{/each}}{{/each}}", "00=1 01=2 10=3 "},
    {"{{#each matrix as |row r|}}{{#each row as |cell c|}}{{r}}.{{c}}={{cell}} {{/each}}{{/each}}",
     "0.0=1 0.1=2 1.0=3 "},
    {"{{#each obj as |v k|}}{{k}} {{/each}}", "x y odd key "},
    {"{{#each docs as |d|}}{{d.metadata.text}}{{d.score}}{{#if d}}{{name}}{{../name}}{{/if}}{{/each}}",
     "one0.9Worldtwo0.5World"},
    {"{{#with obj}}{{x}}{{#with y}}{{z}}{{../x}}{{../../name}}{{/with}}{{/with}}", "1deep1World"},
    {"{{#with absent}}x{{else}}none{{/with}}{{#with obj as |o|}}{{o.x}}{{/with}}", "none1"},
    {"{{#list}}{{this}}{{/list}} {{#obj}}{{x}}{{/obj}} {{#yes}}{{name}}{{/yes}} {{#no}}x{{/no}}{{^no}}inv{{/no}}",
     "abc 1 World inv"},
    {"{{#each list}}{{#if (eq this 'b')}}{{@index}}{{@root.name}}{{/if}}{{/each}}", "1World"},
    {"{{#each none}}{{else if yes}}E{{/each}}", "E"},
    {"{{@index}}{{../name}}{{../../../x}}", ""},
    /* White space. */
    {"a  {{~name~}}  b", "aWorldb"},
    {"a {{~{name}~}} b", "aWorldb"},
    {"{{#if yes}}\n  x\n{{/if}}\n", "  x\n"},
    {"a\n  {{#if yes}}  \n  x\n  {{else}}\n  y\n  {{/if}}\nb", "a\n  x\nb"},
    {"a\n  {{#if no}}\n  x\n  {{else}}\n  y\n  {{/if}}\nb", "a\n  y\nb"},
    {"a\n {{! gone }}\nb", "a\nb"},
    {"a\n {{! stays }} x\nb", "a\n  x\nb"},
    {"a\r\n{{#if yes}}\r\nb\r\n{{/if}}\r\nc", "a\r\nb\r\nc"},
    {"{{#each list}}\n- {{this}}\n{{/each}}\nend", "- a\n- b\n- c\nend"},
    {"{{#each list}}\n{{this}}\n{{/each}}", "a\nb\nc\n"},
    {"{{#each list~}}\n  {{this}}\n{{~/each}}", "abc"},
    {"{{#if yes}} x {{/if}}\n", " x \n"},
    {"{{name}}\n{{name}}\n", "World\nWorld\n"},
    {"{{{{raw}}}}\n {{x}}\n{{{{/raw}}}}\nb", " {{x}}\nb"},
    /* Helpers. */
    {"{{upper name}} {{lower name}} {{trim '  x '}}|{{upper umlaut}}", "WORLD world x|\xC3\x84\xC3\x96\xC3\x9C"},
    {"{{length list}} {{len name}} {{length nil}}", "3 5 0"},
    {"{{join list ', '}} {{join list separator='-'}} {{join nums}}", "a, b, c a-b-c 1, 2.5, true, "},
    {"{{default absent 'd'}} {{default empty 'e'}} {{default name 'f'}}", "d e World"},
    {"{{concat name '-' n}} {{truncate name 4}} {{truncate name length=4 mark=''}}", "World-3 W... Worl"},
    {"{{replace name 'o' '0'}} {{split 'a,b' ','}} {{first list}} {{last list}}", "W0rld [\"a\",\"b\"] a c"},
    {"{{formatNumber 1234567.891 2}} {{formatNumber 1234}} {{formatNumber -123}}", "1,234,567.89 1,234 -123"},
    {"{{lookup obj key}} {{lookup list 1}} {{lookup obj 'none'}} {{lookup (lookup obj 'y') 'z'}}", "1 b  deep"},
    {"{{eq 1 1.0}} {{ne name 'x'}} {{lt 1 2}} {{gt 'b' 'a'}} {{lte 2 2}} {{gte 1 2}}",
     "true true true true true false"},
    {"{{or no name}} {{and yes zero}} {{not no}} {{eq outputs.mod 'safe'}}", "true false true true"},
    {"{{upper n}} {{round '2.6'}} {{sum list}} {{lt name 1}}", "3 3  false"},
    {"{{json obj pretty=true}}", "{\n  \"x\": 1,\n  \"y\": {\n    \"z\": \"deep\"\n  },\n  \"odd key\": \"odd\"\n}"},
    {"{{json 'a\"b'}} {{json nil}}", "\"a\\\"b\" null"},
};

SL_TEST(templates_render_as_the_language_says)
{
    json_t *c = context();
    REQUIRE(c);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_template *t = NULL;
        sl_flow_fault fault = {0};
        int error = sl_template_new(sl_str_c(cases[i].template), &fault, &t);
        if (error) {
            sl_test_failed(__FILE__, __LINE__, "%s: %u:%u %s", cases[i].template, fault.line, fault.column,
                           fault.message);
            continue;
        }
        sl_buf out;
        sl_buf_init(&out, 1u << 20);
        error = sl_template_render(t, c, &out, &fault);
        if (error || !sl_str_eq_c(sl_buf_str(&out), cases[i].text))
            sl_test_failed(__FILE__, __LINE__, "%s\n gives %d \"%.*s\"\n not \"%s\"", cases[i].template, error,
                           (int)out.len, out.data ? out.data : "", cases[i].text);
        sl_buf_done(&out);
        sl_template_free(t);
    }
    json_decref(c);
}

typedef struct fault_case {
    const char *template;
    unsigned line, column;
    const char *part; /* of the message */
} fault_case;

static const fault_case faults[] = {
    {"{{", 1, 3, "no path"},
    {"{{}}", 1, 1, "empty"},
    {"{{name", 1, 1, "does not end"},
    {"{{{name}}", 1, 9, "}} expected"},
    {"a\n  {{#if x}}\nb", 2, 3, "{{#if}} is not closed"},
    {"{{#if x}}{{/each}}", 1, 10, "{{/if}} expected"},
    {"x{{/if}}", 1, 2, "not open"},
    {"{{else}}", 1, 1, "outside"},
    {"{{#if x}}{{else}}{{else}}{{/if}}", 1, 18, "twice"},
    {"{{#if}}{{/if}}", 1, 4, "needs a value"},
    {"{{#if a b}}{{/if}}", 1, 9, "one value"},
    {"{{> part}}", 1, 1, "partials"},
    {"{{#> part}}{{/part}}", 1, 1, "partials"},
    {"{{* deco}}", 1, 1, "decorators"},
    {"{{nohelper x}}", 1, 3, "unknown helper nohelper"},
    {"{{map list 'x'}}", 1, 3, "unknown helper map"},
    {"{{upper x y}}", 1, 11, "at most 1"},
    {"{{replace x}}", 1, 3, "at least 3"},
    {"{{join x foo=1}}", 1, 10, "no argument foo"},
    {"{{a..b}}", 1, 3, "no path"},
    {"{{a.}}", 1, 3, "no path"},
    {"{{(upper x}}", 1, 11, "')' expected"},
    {"{{upper 'x}}", 1, 9, "string does not end"},
    {"{{! never", 1, 1, "comment"},
    {"{{{{raw}}}} x", 1, 1, "raw block"},
    {"{{a.[b}}", 1, 5, "[ without ]"},
    {"{{#each l as |a b c|}}{{/each}}", 1, 11, "block parameters"},
    {"\xff", 0, 0, "UTF-8"},
};

SL_TEST(template_faults_say_what_and_where)
{
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        sl_template *t = NULL;
        sl_flow_fault fault = {0};
        int error = sl_template_new(sl_str_c(faults[i].template), &fault, &t);
        bool right = error == SL_EPARSE && !t && fault.line == faults[i].line && fault.column == faults[i].column &&
                     strstr(fault.message, faults[i].part);
        if (!right)
            sl_test_failed(__FILE__, __LINE__, "%s: %d %u:%u %s", faults[i].template, error, fault.line, fault.column,
                           fault.message);
        sl_template_free(t);
        CHECK_EQ(sl_template_new(sl_str_c(faults[i].template), NULL, &t), SL_EPARSE);
    }
}

SL_TEST(every_prefix_of_a_template_is_safe)
{
    json_t *c = context();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t len = 0; len < strlen(cases[i].template); len++) {
            sl_template *t = NULL;
            char *copy = malloc(len + 1);
            REQUIRE(copy);
            memcpy(copy, cases[i].template, len);
            if (sl_template_new(sl_str_of(copy, len), NULL, &t) == 0) {
                sl_buf out;
                sl_buf_init(&out, 1u << 20);
                CHECK_EQ(sl_template_render(t, c, &out, NULL), 0);
                sl_buf_done(&out);
            }
            free(copy);
            sl_template_free(t);
        }
    json_decref(c);
}

SL_TEST(a_template_of_one_path_keeps_the_value)
{
    json_t *c = context(), *value = NULL;
    sl_template *t = NULL;
    REQUIRE(sl_template_new(SL_STR("{{ list }}"), NULL, &t) == 0);
    CHECK(!sl_template_is_plain(t));
    REQUIRE(sl_template_value(t, c, &value, NULL) == 0);
    CHECK(json_is_array(value) && json_array_size(value) == 3);
    json_decref(value);
    sl_template_free(t);
    REQUIRE(sl_template_new(SL_STR("{{ absent }}"), NULL, &t) == 0);
    REQUIRE(sl_template_value(t, c, &value, NULL) == 0);
    CHECK(json_is_null(value));
    sl_template_free(t);
    REQUIRE(sl_template_new(SL_STR(" {{ n }}"), NULL, &t) == 0);
    REQUIRE(sl_template_value(t, c, &value, NULL) == 0);
    CHECK(json_is_string(value) && strcmp(json_string_value(value), " 3") == 0);
    json_decref(value);
    sl_template_free(t);
    REQUIRE(sl_template_new(SL_STR("no tag"), NULL, &t) == 0);
    CHECK(sl_template_is_plain(t));
    sl_template_free(t);
    json_decref(c);
}

static void collect(void *user, sl_str path, unsigned line, unsigned column)
{
    sl_buf *out = user;
    (void)sl_buf_printf(out, "%.*s@%u:%u ", (int)path.len, path.ptr, line, column);
}

SL_TEST(paths_that_are_read_from_the_root_are_told)
{
    sl_template *t = NULL;
    sl_buf out;
    sl_buf_init(&out, 4096);
    REQUIRE(sl_template_new(SL_STR("{{a.b}}\n{{#each list}}{{x}} {{@root.c.d}}{{../e}} {{@index}}{{/each}}"
                                   "{{#if f}}{{upper g}}{{/if}}{{#each l as |m|}}{{m}}{{else}}{{n}}{{/each}}"),
                            NULL, &t) == 0);
    sl_template_each_path(t, collect, &out);
    CHECK_STR(sl_buf_str(&out), "a.b@1:3 list@2:9 c.d@2:23 ../e@2:36 f@2:68 g@2:79 l@2:97 n@2:122 ");
    sl_buf_done(&out);
    sl_template_free(t);
}

static int render_text(const char *template, json_t *c, sl_flow_fault *fault)
{
    sl_template *t = NULL;
    int error = sl_template_new(sl_str_c(template), fault, &t);
    sl_buf out;
    sl_buf_init(&out, 1u << 30);
    if (!error)
        error = sl_template_render(t, c, &out, fault);
    sl_buf_done(&out);
    sl_template_free(t);
    return error;
}

SL_TEST(templates_are_bounded)
{
    sl_flow_fault fault = {0};
    json_t *c = json_object(), *many = json_array();
    for (int i = 0; i < 1100; i++)
        json_array_append_new(many, json_integer(i));
    json_object_set_new(c, "many", many);
    CHECK_EQ(render_text("{{#each many}}{{#each @root.many}}{{/each}}{{/each}}", c, &fault), SL_ETOOBIG);
    CHECK(strstr(fault.message, "rounds") != NULL);
    CHECK_EQ(render_text("{{#each many}}{{#each @root.many}}0123456789012345678901234567890123456789{{/each}}{{/each}}",
                         c, &fault),
             SL_ETOOBIG);
    json_decref(c);
    sl_buf deep;
    sl_buf_init(&deep, 2u << 20);
    for (int i = 0; i < 64; i++)
        (void)sl_buf_put_c(&deep, "{{#if a}}");
    for (int i = 0; i < 64; i++)
        (void)sl_buf_put_c(&deep, "{{/if}}");
    sl_template *t = NULL;
    CHECK_EQ(sl_template_new(sl_buf_str(&deep), NULL, &t), 0);
    sl_template_free(t);
    t = NULL;
    sl_buf_clear(&deep);
    for (int i = 0; i < 65; i++)
        (void)sl_buf_put_c(&deep, "{{#if a}}");
    CHECK_EQ(sl_template_new(sl_buf_str(&deep), &fault, &t), SL_ETOOBIG);
    sl_buf_clear(&deep);
    (void)sl_buf_put_c(&deep, "{{#if a}}");
    for (int i = 0; i < 500; i++)
        (void)sl_buf_put_c(&deep, "{{else if b}}");
    (void)sl_buf_put_c(&deep, "{{/if}}");
    CHECK_EQ(sl_template_new(sl_buf_str(&deep), &fault, &t), 0);
    sl_template_free(t);
    t = NULL;
    sl_buf_clear(&deep);
    while (deep.len <= SL_MAX_TEMPLATE_BYTES)
        (void)sl_buf_put_c(&deep, "{{a}}\n");
    CHECK_EQ(sl_template_new(sl_buf_str(&deep), &fault, &t), SL_ETOOBIG);
    deep.len = SL_MAX_TEMPLATE_BYTES / 6 * 6;
    CHECK_EQ(sl_template_new(sl_buf_str(&deep), &fault, &t), 0);
    sl_template_free(t);
    sl_buf_done(&deep);
}

SL_TEST(templates_survive_every_failed_allocation)
{
    json_set_alloc_funcs(sl_malloc, sl_free);
    const char *text = "{{#each list as |x i|}}{{i}}{{upper x}}{{join ../list '-'}}{{else}}{{concat 'a' 1.5}}{{/each}}"
                       "{{{{raw}}}}{{{{/raw}}}}{{#if (eq n 3)}}{{json obj}}{{/if}}{{split 'a b'}}";
    json_t *c = context();
    for (long n = 0; n < 1000; n++) {
        sl_test_fail_alloc(n);
        int error = render_text(text, c, NULL);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        if (!failed) {
            CHECK_EQ(error, 0);
            CHECK(n > 10);
            break;
        }
        CHECK_EQ(error, SL_ENOMEM);
    }
    json_decref(c);
    json_set_alloc_funcs(malloc, free);
}

typedef struct condition_case {
    const char *text;
    int holds; /* -1: does not parse */
} condition_case;

static const condition_case conditions[] = {
    {"", 0},
    {"true", 1},
    {"TRUE", 1},
    {"1", 1},
    {"yes", 1},
    {"false", 0},
    {"FALSE", 0},
    {"0", 0},
    {"no", 0},
    {" anything ", 1},
    {"{{ yes }}", 1},
    {"{{ no }}", 0},
    {"{{ absent }}", 0},
    {"{{ outputs.mod }} == 'safe'", 1},
    {"{{ outputs.mod }} == 'block'", 0},
    {"{{ outputs.mod }} != \"block\"", 1},
    {"{{ outputs.mod }} == safe", 1},
    {"'safe' == {{ outputs.mod }}", 1},
    {"{{ outputs.mod }} != \"safe\"\n", 0},
    {"inputs.enable == true", 1},
    {"inputs.enable", 1},
    {"inputs.absent == true", 0},
    {"inputs.name == 'Ann'", 1},
    {"'inputs.name' == inputs.name", 0},
    {"{{ name }} == World && {{ n }} == 3", 1},
    {"{{ name }} == World && {{ n }} == 4", 0},
    {"{{ name }} == x || {{ n }} == 3", 1},
    {"false && true || true", 1},
    {"true || false && false", 1},
    {"false || false", 0},
    {"{{ n }} > 2", 1},
    {"{{ n }} >= 10", 0},
    {"{{ pi }} < 3.2", 1},
    {"'a && b' == 'a && b'", 1},
    {"{{#if (eq name 'World')}}yes{{else}}no{{/if}}", 1},
    {"{{#if yes}}a == b{{/if}}", 1},
    {"{{ odd }} == ''", 1},
    {"{{ evil }} == 'a'", 0},
    {"{{ name", -1},
    {"{{ a }} == {{ b", -1},
    {"a && ", -1},
    {"|| b", -1},
};

SL_TEST(conditions_hold_as_the_format_says)
{
    json_t *c = context();
    json_object_set_new(c, "evil", json_string("a' || 'a' == 'a"));
    for (size_t i = 0; i < sizeof conditions / sizeof *conditions; i++) {
        sl_condition *condition = NULL;
        sl_flow_fault fault = {0};
        bool holds = false;
        int error = sl_condition_new(sl_str_c(conditions[i].text), &fault, &condition);
        if (!error)
            error = sl_condition_eval(condition, c, &holds, &fault);
        if (conditions[i].holds < 0 ? error != SL_EPARSE || !fault.message[0] : error || holds != conditions[i].holds)
            sl_test_failed(__FILE__, __LINE__, "%s: %d %d %s", conditions[i].text, error, holds, fault.message);
        sl_condition_free(condition);
    }
    json_decref(c);
}

SL_TEST(paths_of_conditions_are_told)
{
    sl_condition *condition = NULL;
    sl_buf out;
    sl_buf_init(&out, 4096);
    REQUIRE(sl_condition_new(SL_STR("{{ a.b }} == 'x' && inputs.c"), NULL, &condition) == 0);
    sl_condition_each_path(condition, collect, &out);
    CHECK_STR(sl_buf_str(&out), "a.b@1:4 inputs.c@1:3 ");
    sl_buf_done(&out);
    sl_condition_free(condition);
}

/* What stands for the whole of an output is no member of it. */
SL_TEST(the_length_of_an_output_counts_its_members)
{
    json_t *c = json_loads("{\"o\":{\"\\u0001text\":{\"x\":1},\"result\":1,\"more\":2}}", 0, NULL);
    sl_template *t = NULL;
    sl_buf out;
    sl_buf_init(&out, 1000);
    CHECK_EQ(sl_template_new(SL_STR("{{length o}}{{#each o}} {{@key}}{{/each}}"), NULL, &t), 0);
    CHECK_EQ(sl_template_render(t, c, &out, NULL), 0);
    CHECK_STR(sl_buf_str(&out), "2 result more");
    sl_template_free(t);
    sl_buf_done(&out);
    json_decref(c);
}
