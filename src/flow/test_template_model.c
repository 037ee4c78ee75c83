/*
 * Templates by chance against a model: trees of text, values and blocks are written out as a template, and must render
 * as the model renders the tree. Then rules of the language guide that a tree does not show: white space, escapes,
 * paths, block parameters.
 */
#include <stdio.h>
#include <stdlib.h>

#include "src/base/limits.h"
#include "src/flow/template.h"
#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_test.h"

/* ---- a model ---- */

typedef struct maker {
    uint64_t state;
    sl_buf template;
    sl_buf wanted;
    /* What {{this}} is: the value, its place in a loop, and the one around it. */
    json_t *values[16];
    long index[16]; /* -1: no loop */
    long count[16];
    unsigned depth;
} maker;

static unsigned chance(maker *m, unsigned below)
{
    return sl_chance(&m->state, below);
}

/* `counts`: it is rendered, not only written. */
static void text(maker *m, bool counts, const char *t)
{
    (void)sl_buf_put_c(&m->template, t);
    if (counts)
        (void)sl_buf_put_c(&m->wanted, t);
}

static bool is_true(const json_t *v)
{
    if (json_is_array(v))
        return json_array_size(v) > 0;
    if (json_is_object(v))
        return json_object_size(v) > 0;
    if (json_is_string(v))
        return json_string_length(v) > 0;
    return json_is_number(v) ? json_number_value(v) != 0 : json_is_true(v);
}

static void print(maker *m, const json_t *v)
{
    if (!v || json_is_null(v))
        return;
    if (json_is_string(v)) {
        (void)sl_buf_put(&m->wanted, json_string_value(v), json_string_length(v));
        return;
    }
    char *out = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    (void)sl_buf_put_c(&m->wanted, out);
    free(out);
}

/* A path and what is there; NULL: nothing. */
static json_t *path(maker *m)
{
    static const char *const names[] = {"a", "b", "s", "n", "zero", "no", "list", "none", "o", "nil", "absent"};
    const char *name = names[chance(m, sizeof names / sizeof *names)];
    unsigned form = chance(m, 6), at = m->depth;
    if (form == 0) {
        (void)sl_buf_put_c(&m->template, "this");
        return m->values[at];
    }
    if (form == 1 && at > 0) {
        (void)sl_buf_put_c(&m->template, "../");
        at--;
    } else if (form == 2) {
        (void)sl_buf_put_c(&m->template, "@root.");
        at = 0;
    } else if (form == 3) {
        (void)sl_buf_put_c(&m->template, chance(m, 2) ? "this." : "./");
    }
    (void)sl_buf_put_c(&m->template, name);
    json_t *v = json_object_get(m->values[at], name);
    if (chance(m, 4) == 0) {
        (void)sl_buf_put_c(&m->template, ".a");
        v = json_object_get(v, "a");
    }
    return v;
}

static void body(maker *m, bool counts, unsigned depth);

static void say_value(maker *m, bool counts)
{
    static const char *const open[] = {"{{", "{{ ", "{{{", "{{&"}, *const shut[] = {"}}", " }}", "}}}", "}}"};
    unsigned form = chance(m, 4);
    (void)sl_buf_put_c(&m->template, open[form]);
    json_t *v = path(m);
    (void)sl_buf_put_c(&m->template, shut[form]);
    if (counts)
        print(m, v);
}

/* The current loop's data, of the nearest loop. */
static void say_data(maker *m, bool counts)
{
    unsigned at = m->depth;
    while (at > 0 && m->index[at] < 0)
        at--;
    unsigned which = chance(m, 3);
    static const char *const names[] = {"{{@index}}", "{{@first}}", "{{@last}}"};
    (void)sl_buf_put_c(&m->template, names[which]);
    if (!counts || at == 0)
        return;
    if (which == 0)
        (void)sl_buf_printf(&m->wanted, "%ld", m->index[at]);
    else
        (void)sl_buf_put_c(&m->wanted,
                           (which == 1 ? m->index[at] == 0 : m->index[at] + 1 == m->count[at]) ? "true" : "false");
}

static void say_if(maker *m, bool counts, unsigned depth)
{
    bool unless = chance(m, 3) == 0, has_else = chance(m, 2);
    (void)sl_buf_put_c(&m->template, unless ? "{{#unless " : "{{#if ");
    json_t *v = path(m);
    bool holds = is_true(v) != unless;
    (void)sl_buf_put_c(&m->template, "}}");
    body(m, counts && holds, depth);
    bool taken = holds;
    while (!unless && chance(m, 4) == 0) {
        (void)sl_buf_put_c(&m->template, "{{else if ");
        bool now = is_true(path(m)) && !taken;
        (void)sl_buf_put_c(&m->template, "}}");
        body(m, counts && now, depth);
        taken = taken || now;
    }
    if (has_else) {
        (void)sl_buf_put_c(&m->template, chance(m, 2) ? "{{else}}" : "{{^}}");
        body(m, counts && !taken, depth);
    }
    (void)sl_buf_put_c(&m->template, unless ? "{{/unless}}" : "{{/if}}");
}

static void enter(maker *m, json_t *value, long index, long count)
{
    m->depth++;
    m->values[m->depth] = value;
    m->index[m->depth] = index;
    m->count[m->depth] = count;
}

/* A loop writes its body once and renders it for each: the same choices are made again from the same state. */
static void say_each(maker *m, bool counts, unsigned depth)
{
    (void)sl_buf_put_c(&m->template, "{{#each ");
    json_t *v = path(m);
    (void)sl_buf_put_c(&m->template, "}}");
    size_t n = json_is_array(v) ? json_array_size(v) : json_is_object(v) ? json_object_size(v) : 0;
    size_t begin = m->template.len;
    uint64_t state = m->state;
    void *member = json_is_object(v) ? json_object_iter(v) : NULL;
    for (size_t i = 0; i < (n ? n : 1); i++) {
        m->template.len = begin;
        m->state = state;
        json_t *item = json_is_array(v) ? json_array_get(v, i) : member ? json_object_iter_value(member) : NULL;
        enter(m, item, (long)i, (long)n);
        body(m, counts && n > 0, depth);
        m->depth--;
        member = member ? json_object_iter_next(v, member) : NULL;
    }
    if (chance(m, 2)) {
        (void)sl_buf_put_c(&m->template, "{{else}}");
        body(m, counts && n == 0, depth);
    }
    (void)sl_buf_put_c(&m->template, "{{/each}}");
}

static void say_with(maker *m, bool counts, unsigned depth)
{
    (void)sl_buf_put_c(&m->template, "{{#with ");
    json_t *v = path(m);
    (void)sl_buf_put_c(&m->template, "}}");
    enter(m, v, -1, 0);
    body(m, counts && is_true(v), depth);
    m->depth--;
    if (chance(m, 2)) {
        (void)sl_buf_put_c(&m->template, "{{else}}");
        body(m, counts && !is_true(v), depth);
    }
    (void)sl_buf_put_c(&m->template, "{{/with}}");
}

static void body(maker *m, bool counts, unsigned depth)
{
    static const char *const texts[] = {"x", " y ", "<&>", "}", "\xC3\xA4", "{ ", "a\nb", "/"};
    text(m, counts, "."); /* no tag stands alone on its line: that is another test */
    for (unsigned i = chance(m, 4); i > 0; i--) {
        unsigned what = depth ? chance(m, 7) : chance(m, 4);
        if (what < 2)
            text(m, counts, texts[chance(m, sizeof texts / sizeof *texts)]);
        else if (what == 2)
            say_value(m, counts);
        else if (what == 3)
            say_data(m, counts);
        else if (what == 4)
            say_if(m, counts, depth - 1);
        else if (what == 5)
            say_each(m, counts, depth - 1);
        else
            say_with(m, counts, depth - 1);
        text(m, counts, ".");
    }
}

SL_TEST(blocks_and_paths_render_as_the_model_does)
{
    json_t *root = json_loads(
        "{\"a\":{\"a\":\"inner\",\"list\":[1]},\"b\":true,\"s\":\"str\",\"n\":-2.5,\"zero\":0,\"no\":"
        "false,\"list\":[{\"a\":1,\"list\":[7,8]},\"two\",[3],null,0],\"none\":[],\"o\":{\"x\":{\"a\":\"ox\"},"
        "\"y\":\"\"},\"nil\":null}",
        0, NULL);
    REQUIRE(root);
    maker m = {.state = 7, .values = {root}, .index = {-1}};
    sl_buf_init(&m.template, 4u << 20);
    sl_buf_init(&m.wanted, 16u << 20);
    size_t rendered = 0;
    for (int i = 0; i < 20000; i++) {
        sl_buf_clear(&m.template);
        sl_buf_clear(&m.wanted);
        body(&m, true, 1 + chance(&m, 5));
        REQUIRE(!m.template.failed && !m.wanted.failed && m.depth == 0);
        sl_template *t = NULL;
        sl_flow_fault fault = {0};
        sl_buf out;
        sl_buf_init(&out, 16u << 20);
        int error = sl_template_new(sl_buf_str(&m.template), &fault, &t);
        if (!error)
            error = sl_template_render(t, root, &out, &fault);
        if (error || !sl_str_eq(sl_buf_str(&out), sl_buf_str(&m.wanted))) {
            sl_test_failed(__FILE__, __LINE__, "%.*s\n gives %d %s\n%.*s\n not\n%.*s", (int)m.template.len,
                           m.template.data, error, fault.message, (int)out.len, out.data ? out.data : "",
                           (int)m.wanted.len, m.wanted.data);
            i = 20000;
        }
        rendered += out.len;
        sl_buf_done(&out);
        sl_template_free(t);
    }
    CHECK(rendered > 400000);
    sl_buf_done(&m.template);
    sl_buf_done(&m.wanted);
    json_decref(root);
}

/* ---- rules ---- */

typedef struct rule {
    const char *template;
    const char *text;
} rule;

static const char context_text[] =
    "{\"t\":true,\"f\":false,\"name\":\"N\",\"l\":[\"a\",\"b\"],\"o\":{\"k\":\"v\",\"o\":{\"k\":\"w\"}},\"n\":0,"
    "\"each\":\"E\",\"with\":\"W\",\"else\":\"L\","
    "\"a-b\":\"dash\",\"a "
    "b\":\"space\",\"1\":\"one\",\"\\u00e4\":\"uml\",\"people\":[{\"first\":\"A\",\"last\":\"B\"},{\"first\":\"C\","
    "\"last\":\"D\"}],"
    "\"nested\":{\"l\":[[1,2],[3]]},\"this\":\"T\",\"null\":\"never\",\"true\":\"never\"}";

static const rule rules[] = {
    /* A block tag, a comment or an end alone on its line takes the line with it: its indentation and its end. */
    {"{{#if t}}\nx\n{{/if}}", "x\n"},
    {"  {{#if t}}  \nx\n\t{{/if}}\t\ny", "x\ny"},
    {"a {{#if t}}\nx\n{{/if}} b", "a \nx\n b"},
    {"{{#if t}}{{#if t}}\nx\n{{/if}}{{/if}}", "\nx\n"},
    {"{{#if f}}\nx\n{{else}}\ny\n{{/if}}\n", "y\n"},
    {"{{#if t}}\n{{#if t}}\nx\n{{/if}}\n{{/if}}\n", "x\n"},
    {"{{#if t}}\r\nx\r\n{{/if}}\r\ny", "x\r\ny"},
    {"{{#if t}}\n\nx\n\n{{/if}}\n", "\nx\n\n"},
    {"{{! c }}\nx", "x"},
    {"x\n{{!-- c --}}", "x\n"},
    {"  {{! c }}  ", ""},
    {"x {{! c }}\ny", "x \ny"},
    {"{{!-- {{#if}} }} --}}\nx", "x"},
    {"{{name}}\n", "N\n"},
    {"  {{name}}  \n", "  N  \n"},
    {"{{#each l}}\n{{this}}\n{{else}}\nnone\n{{/each}}\n", "a\nb\n"},
    {"{{#each nope}}\nx\n{{else}}\nnone\n{{/each}}\nend", "none\nend"},
    {"{{^if t}}\nx\n{{else}}\ny\n{{/if}}\n", "y\n"},
    {"{{^t}}\nx\n{{/t}}\ny", "y"},
    /* ~ takes all white space, over lines. */
    {"a \n\t {{~name}} b", "aN b"},
    {"a {{name~}} \n\t b", "a Nb"},
    {"a {{~#if t~}} x {{~/if~}} b", "axb"},
    {"a {{~#if t}} x {{/if~}} b", "a x b"},
    {"{{#if t~}} x {{~else~}} y {{~/if}}", "x"},
    {"{{#if f~}} x {{~else~}} y {{~/if}}", "y"},
    {"a {{~! c ~}} b", "ab"},
    {"a {{~!-- c --~}} b", "ab"},
    {"a {{~{name}~}} b", "aNb"},
    {"a {{~&name~}} b", "aNb"},
    {"{{~name~}}", "N"},
    {"a\n\n{{~#if t}}\nx{{/if}}", "ax"},
    /* Escapes. */
    {"\\{{name}}", "{{name}}"},
    {"\\\\{{name}}", "\\N"},
    {"\\\\\\{{name}}", "\\\\N"},
    {"a\\b", "a\\b"},
    {"\\", "\\"},
    {"\\{{#if}} {{name}}", "{{#if}} N"},
    {"{ {name} }", "{ {name} }"},
    {"{", "{"},
    {"}}", "}}"},
    {"{}{}", "{}{}"},
    /* Names. */
    {"{{a-b}} {{[a b]}} {{[1]}} {{\xC3\xA4}}", "dash space one uml"},
    {"{{this.[a b]}} {{@root.[a b]}} {{o.[k]}} {{o.o.k}} {{o/o/k}}", "space space v w w"},
    {"{{each}} {{with}} {{this.else}} {{this.this}}", "E W L T"},
    {"{{true}} {{null}} {{false}} {{this.null}} {{[true]}}", "never never  never never"},
    {"{{l.0}}{{l.1}}{{l.2}}{{l.[0]}}{{l.-1}}", "aba"},
    {"{{l.length}} {{name.length}} {{o.length}}", "2 1 "},
    {"{{o.k.x}} {{name.x.y}} {{n.x}} {{f.x}}", "   "},
    /* Sections of a name: a list goes over, an object becomes this, else true or not. */
    {"{{#l}}{{.}}{{/l}} {{#o}}{{k}}{{/o}} {{#name}}{{this}}{{/name}} {{#t}}{{name}}{{/t}} {{#f}}x{{/f}}", "ab v N N "},
    {"{{^l}}x{{/l}}{{^nope}}y{{/nope}}{{^f}}z{{/f}}", "yz"},
    {"{{^n}}0{{/n}}{{#n}}{{this}}{{/n}} {{#if n}}x{{else}}y{{/if}}{{#with n}}x{{else}}y{{/with}}", "0 yy"},
    {"{{#l}}x{{else}}y{{/l}}{{#nope}}x{{else}}y{{/nope}}", "xxy"},
    {"{{#people}}{{first}}{{/people}}", "AC"},
    {"{{#o.o}}{{k}}{{../o.k}}{{/o.o}}", "wv"},
    /* ../ and @../ */
    {"{{#each people}}{{first}}{{../name}}{{/each}}", "ANCN"},
    {"{{#with o}}{{#with o}}{{k}}{{../k}}{{../../name}}{{/with}}{{/with}}", "wvN"},
    {"{{#each nested.l}}{{#each this}}{{@../index}}{{@index}}{{/each}},{{/each}}", "0001,10,"},
    {"{{#each people}}{{#if first}}{{../name}}{{/if}}{{/each}}", "NN"},
    {"{{#each nested.l}}{{#each .}}{{#with ../..}}{{name}}{{/with}}{{/each}}{{/each}}", "NNN"},
    {"{{../name}}[{{../../x}}]", "[]"},
    /* Block parameters. */
    {"{{#each people as |p i|}}{{i}}{{p.first}}{{name}}{{/each}}", "0A1C"},
    {"{{#each people as |p|}}{{#each @root.l as |x|}}{{p.last}}{{x}}{{/each}}{{/each}}", "BaBbDaDb"},
    {"{{#with o as |p|}}{{p.k}}{{k}}{{#with p.o as |q|}}{{q.k}}{{p.k}}{{/with}}{{/with}}", "vvwv"},
    {"{{#each o as |v k|}}{{k}}{{/each}}", "ko"},
    {"{{#each l as |l|}}{{l}}{{/each}}{{l.length}}", "ab2"},
    {"{{#each l as |x|}}{{#each @root.l as |x|}}{{x}}{{/each}}{{x}}{{/each}}", "abaabb"},
    {"{{#each l as |x|}}{{this.x}}{{./x}}{{/each}}", ""},
    {"{{#l as |x i|}}{{x}}{{i}}{{/l}}", "a0b1"},
    /* Literals, subexpressions, hash arguments. */
    {"{{concat 'it\\'s'}} {{concat \"say \\\"x\\\"\"}} {{concat '\\n'}}", "it's say \"x\" \\n"},
    {"{{concat 5}} {{concat -5}} {{concat 1.50}} {{concat '5'}}", "5 -5 1.5 5"},
    /* A literal alone in its tag is a name. */
    {"{{5}} {{-5}} {{1}} {{'1'}} {{{\"a b\"}}} {{'o.k'}} {{#with o}}{{'k'}}{{/with}} {{#each l as "
     "|x|}}{{'x'}}{{/each}}",
     "  one one space  v ab"},
    {"{{#'o'}}{{k}}{{/'o'}} {{^'nope'}}n{{/'nope'}} {{#if 'nope'}}y{{/if}} {{upper 'nope'}}", "v n y NOPE"},
    {"{{concat (upper 'a') (concat 'b' (lower 'C'))}}", "Abc"},
    {"{{#if (or f (eq name 'N'))}}y{{/if}}{{#each (split 'x,y' ',')}}{{this}}{{/each}}", "yxy"},
    {"{{#with (lookup o 'o')}}{{k}}{{/with}}", "w"},
    {"{{truncate mark='' length=1 text='abc'}} {{join l separator='+'}}", "a a+b"},
    {"{{#each people}}{{concat @index ':' first ' of ' ../name}};{{/each}}", "0:A of N;1:C of N;"},
    {"{{ upper   'a'  }} {{upper\n'b'}}", "A B"},
    /* if and unless: what is empty is not true; includeZero. */
    {"{{#if n}}x{{else}}y{{/if}}{{#if n includeZero=true}}x{{/if}}{{#if n includeZero=false}}x{{/if}}", "yx"},
    {"{{#unless n includeZero=true}}x{{else}}y{{/unless}}", "y"},
    {"{{#if ''}}x{{else}}y{{/if}}{{#if '0'}}x{{/if}}{{#if ' '}}x{{/if}}", "yxx"},
    {"{{#if f}}1{{else if f}}2{{else if t}}3{{else if t}}4{{else}}5{{/if}}", "3"},
    {"{{#each nope}}{{else}}{{name}}{{/each}}{{#with nope}}{{else}}{{name}}{{/with}}", "NN"},
    {"{{#unless f}}a{{else if t}}b{{/unless}}{{#unless t}}a{{else if t}}b{{/unless}}", "ab"},
    /* Raw blocks. */
    {"{{{{x}}}}{{name}} {{{{/x}}}}", "{{name}} "},
    {"{{{{x}}}}\\{{name}}{{{{/x}}}}{{name}}", "\\{{name}}N"},
};

static int render(const char *template, json_t *context, sl_buf *out, sl_flow_fault *fault)
{
    sl_template *t = NULL;
    int error = sl_template_new(sl_str_c(template), fault, &t);
    if (!error)
        error = sl_template_render(t, context, out, fault);
    sl_template_free(t);
    return error;
}

SL_TEST(rules_of_the_language)
{
    json_t *context = json_loads(context_text, 0, NULL);
    REQUIRE(context);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        sl_flow_fault fault = {0};
        sl_buf out;
        sl_buf_init(&out, 1u << 20);
        int error = render(rules[i].template, context, &out, &fault);
        if (error || !sl_str_eq_c(sl_buf_str(&out), rules[i].text))
            sl_test_failed(__FILE__, __LINE__, "%s\n gives %d %s \"%.*s\"\n not \"%s\"", rules[i].template, error,
                           fault.message, (int)out.len, out.data ? out.data : "", rules[i].text);
        sl_buf_done(&out);
    }
    json_decref(context);
}

/* A text that holds no tag is its own rendering, byte for byte. */
SL_TEST(what_is_no_tag_stays)
{
    maker m = {.state = 99};
    static const char *const pieces[] = {"{",   "}", "}}", "\\", "\n", " ",    "a",  "\xE2\x82\xAC",
                                         "#if", "/", "~",  "!",  "\t", "\r\n", "<b>"};
    sl_buf text_of;
    sl_buf_init(&text_of, 4096);
    for (int i = 0; i < 20000; i++) {
        sl_buf_clear(&text_of);
        for (unsigned n = chance(&m, 12); n > 0; n--) {
            const char *piece = pieces[chance(&m, sizeof pieces / sizeof *pieces)];
            bool twice = piece[0] == '{' && text_of.len && text_of.data[text_of.len - 1] == '{';
            (void)sl_buf_put_c(&text_of, twice ? "-" : piece);
        }
        (void)sl_buf_put_char(&text_of, '\0');
        text_of.len--;
        sl_buf out;
        sl_buf_init(&out, 4096);
        CHECK_EQ(render(text_of.data, json_null(), &out, NULL), 0);
        CHECK_STR_EQ(sl_buf_str(&out), sl_buf_str(&text_of));
        sl_buf_done(&out);
    }
    sl_buf_done(&text_of);
}

/* A rendering that fails leaves what was in the buffer before, and nothing behind it. */
SL_TEST(a_failure_takes_back_what_it_wrote)
{
    json_t *context = json_pack("{s:o}", "many", json_array());
    for (int i = 0; i < 1200; i++)
        json_array_append_new(json_object_get(context, "many"), json_integer(i));
    sl_buf out;
    sl_buf_init(&out, 1u << 30);
    (void)sl_buf_put_c(&out, "before");
    sl_flow_fault fault = {0};
    CHECK_EQ(render("x{{#each many}}{{#each @root.many}}y{{/each}}{{/each}}", context, &out, &fault), SL_ETOOBIG);
    CHECK_STR(sl_buf_str(&out), "before");
    CHECK(fault.line == 1 && fault.message[0]);
    sl_buf_done(&out);
    sl_buf_init(&out, 10);
    CHECK_EQ(render("0123456789abc", context, &out, &fault), SL_ETOOBIG);
    CHECK_EQ(out.len, 0);
    sl_buf_done(&out);
    json_decref(context);
}
