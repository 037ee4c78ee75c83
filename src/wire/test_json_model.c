/*
 * JSON by chance: documents that are made as trees, written in many ways and read back by every reader; and broken
 * documents, refused exactly when the grammar of RFC 8259 refuses them.
 */
#include "src/wire/json_scan.h"
#include "src/wire/json_write.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/arena.h"
#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_test.h"

/* ---- documents ---- */

typedef struct node {
    sl_json_type type;
    double number;
    char text[24]; /* of a string, and */
    char key[24];  /* of a member's name; UTF-8 */
    struct node *first, *next;
    size_t items;
} node;

static sl_arena arena;

static void any_text(uint64_t *chance, char *ret_text)
{
    static const char *const pieces[] = {
        "a", "b", "\"", "\\", "/", "\n", "\x01", "\x1F", "\x7F", " ", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80",
        "[", "}", ":"};
    size_t at = 0;
    for (unsigned n = sl_chance(chance, 5); n > 0; n--)
        at += (size_t)sprintf(ret_text + at, "%s", pieces[sl_chance(chance, sizeof pieces / sizeof *pieces)]);
    ret_text[at] = 0;
}

/* A tree of at most `depth` containers within one another. */
static node *any_node(uint64_t *chance, unsigned depth)
{
    node *n = sl_arena_zalloc(&arena, sizeof *n);
    n->type = (sl_json_type)(SL_JSON_NULL + sl_chance(chance, depth ? 7 : 5));
    n->number =
        sl_chance(chance, 2) ? (double)sl_chance(chance, 2000) - 1000 : (double)sl_chance(chance, 1u << 30) / 64;
    any_text(chance, n->text);
    if (n->type < SL_JSON_ARRAY)
        return n;
    node **link = &n->first;
    n->items = sl_chance(chance, 5);
    for (size_t i = 0; i < n->items; i++, link = &(*link)->next) {
        *link = any_node(chance, depth - 1);
        int len = snprintf((*link)->key, sizeof(*link)->key, "%zu", i); /* names are unique */
        any_text(chance, (*link)->key + len);
    }
    return n;
}

static void write_node(sl_jw *w, const node *n)
{
    switch (n->type) {
    case SL_JSON_FALSE:
    case SL_JSON_TRUE:
        sl_jw_bool(w, n->type == SL_JSON_TRUE);
        return;
    case SL_JSON_NUMBER:
        sl_jw_double(w, n->number);
        return;
    case SL_JSON_STRING:
        sl_jw_str(w, sl_str_c(n->text));
        return;
    case SL_JSON_ARRAY:
    case SL_JSON_OBJECT:
        (n->type == SL_JSON_OBJECT ? sl_jw_object : sl_jw_array)(w);
        for (const node *item = n->first; item; item = item->next) {
            if (n->type == SL_JSON_OBJECT)
                sl_jw_key(w, sl_str_c(item->key));
            write_node(w, item);
        }
        sl_jw_end(w);
        return;
    default:
        sl_jw_null(w);
    }
}

/* The same in another hand: white space anywhere, every character that may be escaped escaped by chance. */
static void space(uint64_t *chance, sl_buf *out)
{
    while (sl_chance(chance, 3) == 0)
        (void)sl_buf_put_char(out, " \t\r\n"[sl_chance(chance, 4)]);
}

static void put_utf16(sl_buf *out, uint64_t *chance, uint32_t unit)
{
    (void)sl_buf_printf(out, sl_chance(chance, 2) ? "\\u%04x" : "\\u%04X", unit);
}

static void scribble_text(uint64_t *chance, sl_buf *out, const char *text)
{
    (void)sl_buf_put_char(out, '"');
    for (const unsigned char *p = (const unsigned char *)text; *p;) {
        uint32_t code = *p < 0x80   ? *p
                        : *p < 0xE0 ? (*p & 0x1Fu) << 6 | (p[1] & 0x3Fu)
                        : *p < 0xF0 ? (*p & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu)
                                    : (*p & 7u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
        size_t len = *p < 0x80 ? 1 : *p < 0xE0 ? 2 : *p < 0xF0 ? 3 : 4;
        bool must = code < 0x20 || code == '"' || code == '\\';
        if (code == '/' && sl_chance(chance, 2))
            (void)sl_buf_put_c(out, "\\/");
        else if (code == '\n' && sl_chance(chance, 2))
            (void)sl_buf_put_c(out, "\\n");
        else if (!must && sl_chance(chance, 2))
            (void)sl_buf_put(out, p, len);
        else if (code < 0x10000)
            put_utf16(out, chance, code);
        else {
            put_utf16(out, chance, 0xD800 + ((code - 0x10000) >> 10));
            put_utf16(out, chance, 0xDC00 + (code & 0x3FF));
        }
        p += len;
    }
    (void)sl_buf_put_char(out, '"');
}

static void scribble(uint64_t *chance, sl_buf *out, const node *n)
{
    static const char *const formats[] = {"%.17g", "%.20e", "%.9E", "%.20f"};
    space(chance, out);
    if (n->type == SL_JSON_NUMBER)
        (void)sl_buf_printf(out, formats[sl_chance(chance, 4) & (n->number == (int)n->number ? 3 : 1)], n->number);
    else if (n->type == SL_JSON_STRING)
        scribble_text(chance, out, n->text);
    else if (n->type < SL_JSON_NUMBER)
        (void)sl_buf_put_c(out, n->type == SL_JSON_NULL ? "null" : n->type == SL_JSON_TRUE ? "true" : "false");
    else {
        (void)sl_buf_put_char(out, n->type == SL_JSON_OBJECT ? '{' : '[');
        space(chance, out);
        for (const node *item = n->first; item; item = item->next) {
            space(chance, out);
            if (n->type == SL_JSON_OBJECT) {
                scribble_text(chance, out, item->key);
                space(chance, out);
                (void)sl_buf_put_char(out, ':');
            }
            scribble(chance, out, item);
            if (item->next)
                (void)sl_buf_put_char(out, ',');
        }
        (void)sl_buf_put_char(out, n->type == SL_JSON_OBJECT ? '}' : ']');
    }
    space(chance, out);
}

/* ---- reading ---- */

static void is_text(sl_json_value value, const char *text)
{
    char room[64];
    sl_str got;
    CHECK_EQ(sl_json_string(value, room, sizeof room, &got), 0);
    CHECK_STR(got, text);
    CHECK(sl_json_string_is(value, sl_str_c(text)));
}

static void is_node(sl_json_value value, const node *n)
{
    CHECK_EQ(value.type, n->type);
    if (value.type != n->type)
        return;
    double number = 0;
    bool truth = n->type != SL_JSON_TRUE;
    if (n->type == SL_JSON_NUMBER)
        CHECK(sl_json_double(value, &number) == 0 && number == n->number);
    else if (n->type == SL_JSON_STRING)
        is_text(value, n->text);
    else if (n->type == SL_JSON_TRUE || n->type == SL_JSON_FALSE)
        CHECK(sl_json_bool(value, &truth) == 0 && truth == (n->type == SL_JSON_TRUE));
    if (n->type < SL_JSON_ARRAY)
        return;
    sl_json_iter it;
    sl_json_value key, item;
    const node *want = n->first;
    sl_json_iter_init(&it, value);
    for (; sl_json_iter_next(&it, &key, &item); want = want->next) {
        REQUIRE(want != NULL);
        if (n->type == SL_JSON_OBJECT) {
            is_text(key, want->key);
            CHECK(sl_json_get(value, want->key).raw.ptr == item.raw.ptr);
        }
        is_node(item, want);
    }
    CHECK(want == NULL);
    CHECK_EQ(sl_json_count(value), n->items);
}

SL_TEST(documents_read_back_however_they_are_written)
{
    sl_buf plain, other;
    sl_arena_init(&arena, 65536, 64u << 20);
    sl_buf_init(&plain, 1u << 20);
    sl_buf_init(&other, 1u << 20);
    uint64_t chance = 1;
    for (int round = 0; round < 1500; round++) {
        sl_jw w;
        sl_json_value value;
        sl_json_error why = {0, "?"};
        const node *n = any_node(&chance, 4);
        sl_buf_clear(&plain);
        sl_buf_clear(&other);
        sl_jw_init(&w, &plain);
        write_node(&w, n);
        CHECK_EQ(sl_jw_finish(&w), 0);
        scribble(&chance, &other, n);
        REQUIRE(sl_json_parse(sl_buf_str(&plain), &value, &why) == 0);
        is_node(value, n);
        if (sl_json_parse(sl_buf_str(&other), &value, &why))
            sl_test_failed(__FILE__, __LINE__, "%zu: %s: %.*s", why.offset, why.reason, (int)other.len, other.data);
        else
            is_node(value, n);
        sl_arena_reset(&arena);
    }
    sl_buf_done(&plain);
    sl_buf_done(&other);
    sl_arena_done(&arena);
}

/* ---- the grammar ---- */

/* RFC 8259 as it stands there, by descent; `p` is moved behind what was read. */
static bool grammar_value(const char **p, const char *end, unsigned depth);

static void grammar_space(const char **p, const char *end)
{
    while (*p < end && strchr(" \t\r\n", **p) && **p)
        (*p)++;
}

static bool grammar_word(const char **p, const char *end, const char *word)
{
    size_t len = strlen(word);
    if ((size_t)(end - *p) < len || memcmp(*p, word, len) != 0)
        return false;
    *p += len;
    return true;
}

static size_t grammar_digits(const char **p, const char *end)
{
    const char *from = *p;
    while (*p < end && **p >= '0' && **p <= '9')
        (*p)++;
    return (size_t)(*p - from);
}

static bool grammar_number(const char **p, const char *end)
{
    (void)grammar_word(p, end, "-");
    if (!grammar_word(p, end, "0") && !grammar_digits(p, end))
        return false;
    if (grammar_word(p, end, ".") && !grammar_digits(p, end))
        return false;
    if (!grammar_word(p, end, "e") && !grammar_word(p, end, "E"))
        return true;
    if (!grammar_word(p, end, "+"))
        (void)grammar_word(p, end, "-");
    return grammar_digits(p, end) > 0;
}

static bool grammar_string(const char **p, const char *end)
{
    const char *from = *p;
    if (!grammar_word(p, end, "\""))
        return false;
    for (; *p < end && **p != '"'; (*p)++) {
        if ((unsigned char)**p < 0x20)
            return false;
        if (**p != '\\')
            continue;
        if (++*p == end || !**p || !strchr("\"\\/bfnrtu", **p))
            return false;
        for (int i = 0; **p == 'u' && i < 4; i++) {
            if (end - *p <= i + 1 || sl_hex_value((*p)[i + 1]) < 0)
                return false;
        }
    }
    return grammar_word(p, end, "\"") && sl_utf8_valid(sl_str_of(from, (size_t)(*p - from)));
}

static bool grammar_items(const char **p, const char *end, bool object, unsigned depth)
{
    const char *close = object ? "}" : "]";
    (*p)++;
    grammar_space(p, end);
    if (grammar_word(p, end, close))
        return true;
    do {
        grammar_space(p, end);
        if (object && !grammar_string(p, end))
            return false;
        grammar_space(p, end);
        if (object && !grammar_word(p, end, ":"))
            return false;
        if (!grammar_value(p, end, depth + 1))
            return false;
    } while (grammar_word(p, end, ","));
    return grammar_word(p, end, close);
}

static bool grammar_value(const char **p, const char *end, unsigned depth)
{
    bool good = false;
    grammar_space(p, end);
    if (depth > SL_MAX_JSON_DEPTH || *p == end)
        return false;
    if (**p == '{' || **p == '[')
        good = grammar_items(p, end, **p == '{', depth);
    else if (**p == '"')
        good = grammar_string(p, end);
    else if (**p == '-' || (**p >= '0' && **p <= '9'))
        good = grammar_number(p, end);
    else
        good = grammar_word(p, end, "true") || grammar_word(p, end, "false") || grammar_word(p, end, "null");
    grammar_space(p, end);
    return good;
}

static bool by_grammar(sl_str text)
{
    const char *p = text.ptr, *end = text.ptr + text.len;
    return grammar_value(&p, end, 0) && p == end;
}

static void judged_alike(sl_str text, size_t *sound)
{
    sl_json_error why = {text.len + 1, NULL};
    int error = sl_json_scan(text, NULL, NULL, NULL, &why);
    bool good = by_grammar(text);
    *sound += good;
    if ((error == 0) != good)
        sl_test_failed(__FILE__, __LINE__, "%s, but by the grammar %s: '%.*s'", error ? why.reason : "accepted",
                       good ? "sound" : "none", (int)text.len, text.ptr);
    if (error)
        CHECK(why.offset <= text.len && why.reason);
}

/* Documents with bytes exchanged, left out, doubled and put in are judged as the grammar does. */
SL_TEST(broken_documents_are_those_that_the_grammar_refuses)
{
    static const char bytes[] = "{}[],:\"\\u0019eE+-. \n\ttfn\x80\xC3\xA9\x01";
    sl_buf out;
    size_t sound = 0, all = 0;
    uint64_t chance = 2;
    sl_arena_init(&arena, 65536, 64u << 20);
    sl_buf_init(&out, 1u << 20);
    for (int round = 0; round < 1500; round++) {
        sl_buf_clear(&out);
        scribble(&chance, &out, any_node(&chance, 3));
        sl_arena_reset(&arena);
        for (int k = 0; k < 12 && out.len > 1 && out.len < 400; k++, all++) {
            char text[401];
            size_t at = sl_chance(&chance, (unsigned)out.len), len = out.len;
            memcpy(text, out.data, len);
            char byte = bytes[sl_chance(&chance, sizeof bytes - 1)];
            unsigned how = sl_chance(&chance, 3);
            if (how == 0) {
                text[at] = byte;
            } else if (how == 1) {
                memmove(text + at, text + at + 1, --len - at);
            } else {
                memmove(text + at + 1, text + at, len - at);
                text[at] = byte;
                len++;
            }
            judged_alike(sl_str_of(text, len), &sound);
        }
    }
    CHECK(sound > all / 20 && sound < all - all / 20);
    sl_buf_done(&out);
    sl_arena_done(&arena);
}

/* Every text of up to six of these characters. */
SL_TEST(short_texts_are_judged_by_the_grammar)
{
    static const char alphabet[] = "[]{}\":,0-.e1";
    size_t letters = sizeof alphabet - 1, sound = 0;
    for (size_t len = 1; len <= 5; len++) {
        size_t count = 1;
        for (size_t i = 0; i < len; i++)
            count *= letters;
        for (size_t number = 0; number < count; number++) {
            char text[8];
            size_t rest = number;
            for (size_t i = 0; i < len; i++, rest /= letters)
                text[i] = alphabet[rest % letters];
            judged_alike(sl_str_of(text, len), &sound);
        }
    }
    CHECK(sound > 500);
}

/* ---- watched paths ---- */

/* The last value at a path of names, and how many there are; as a reader of the tree sees it. */
static const node *tree_at(const node *n, const char *const *names, size_t count, size_t *ret_count)
{
    const node *found = NULL;
    if (count == 0) {
        ++*ret_count;
        return n;
    }
    bool each = strcmp(names[0], "[*]") == 0;
    if (n->type != (each ? SL_JSON_ARRAY : SL_JSON_OBJECT))
        return NULL;
    for (const node *item = n->first; item; item = item->next) {
        if (!each && strcmp(item->key, names[0]) != 0)
            continue;
        const node *below = tree_at(item, names + 1, count - 1, ret_count);
        if (below && !(each && found && below->type == SL_JSON_NULL && found->type != SL_JSON_NULL))
            found = below;
    }
    return found;
}

/* A tree whose names are few, so that paths often lead somewhere; each name once in an object. */
static node *named_node(uint64_t *chance, unsigned depth)
{
    static const char *const names[] = {"a", "b", "c"};
    node *n = sl_arena_zalloc(&arena, sizeof *n);
    n->type = (sl_json_type)(SL_JSON_NULL + sl_chance(chance, depth ? 7 : 5));
    if (depth && sl_chance(chance, 3))
        n->type = sl_chance(chance, 3) ? SL_JSON_OBJECT : SL_JSON_ARRAY;
    if (n->type < SL_JSON_ARRAY)
        return n;
    node **link = &n->first;
    for (size_t i = 0; i < 3; i++) {
        if (sl_chance(chance, 4) == 0)
            continue;
        *link = named_node(chance, depth - 1);
        (void)snprintf((*link)->key, sizeof(*link)->key, "%s", names[i]);
        link = &(*link)->next;
        n->items++;
    }
    return n;
}

SL_TEST(watched_paths_find_what_the_tree_has)
{
    static const char *const paths[] = {"a", "b", "a.b", "a.b.c", "c[*]", "c[*].a", "a[*].b", "b[*].c[*]", "a.a.a"};
    static const char *const steps[][4] = {{"a"},
                                           {"b"},
                                           {"a", "b"},
                                           {"a", "b", "c"},
                                           {"c", "[*]"},
                                           {"c", "[*]", "a"},
                                           {"a", "[*]", "b"},
                                           {"b", "[*]", "c", "[*]"},
                                           {"a", "a", "a"}};
    static const size_t lengths[] = {1, 1, 2, 3, 2, 3, 3, 4, 3};
    enum { PATHS = sizeof paths / sizeof *paths };
    sl_json_watch watch;
    sl_buf out;
    uint64_t chance = 8;
    size_t hits = 0;
    REQUIRE(sl_json_watch_init(&watch, paths, PATHS) == 0);
    sl_arena_init(&arena, 65536, 64u << 20);
    sl_buf_init(&out, 1u << 20);
    for (int round = 0; round < 4000; round++) {
        const node *n = named_node(&chance, 5);
        sl_json_found found[PATHS], root;
        sl_buf_clear(&out);
        scribble(&chance, &out, n);
        REQUIRE(sl_json_scan(sl_buf_str(&out), &watch, found, &root, NULL) == 0);
        CHECK_EQ(root.type, n->type);
        for (size_t i = 0; i < PATHS; i++) {
            size_t count = 0;
            const node *want = tree_at(n, steps[i], lengths[i], &count);
            CHECK_EQ(found[i].type, want ? want->type : SL_JSON_NONE);
            CHECK_EQ(found[i].count, count);
            CHECK(!found[i].duplicate);
            if (want && want->type == found[i].type) {
                CHECK_EQ(found[i].items, want->items);
                is_node(sl_json_at(sl_buf_str(&out), &found[i]), want);
                hits++;
            }
        }
        sl_arena_reset(&arena);
    }
    CHECK(hits > 2000);
    sl_buf_done(&out);
    sl_arena_done(&arena);
}
