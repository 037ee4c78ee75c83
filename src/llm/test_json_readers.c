/*
 * The program reads JSON in two ways: bodies that pass are scanned where they lie, workflows are made into trees. A
 * text that one of the two readers takes and the other does not, or that says another thing to it, could slip past a
 * check. Here both read the same texts by chance, sound ones and broken ones.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/buf.h"
#include "src/wire/json_scan.h"
#include "src/wire/json_write.h"
#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_test.h"

static uint64_t state;

static unsigned chance(unsigned below)
{
    return sl_chance(&state, below);
}

/* ---- texts by chance ---- */

static void blank(sl_buf *out)
{
    static const char *const blanks[] = {"", "", "", " ", "\n", "\t", "\r\n ", "  "};
    (void)sl_buf_put_c(out, blanks[chance(8)]);
}

static void make_string(sl_buf *out)
{
    static const char *const parts[] = {"a",
                                        "key",
                                        "\\n",
                                        "\\\"",
                                        "\\\\",
                                        "\\/",
                                        "\\u0041",
                                        "\\u00e4",
                                        "\\u20AC",
                                        "\xC3\xA4",
                                        "\xF0\x9F\x98\x80",
                                        " ",
                                        "\\ud83d\\ude00",
                                        "",
                                        "{",
                                        "\x7f"};
    (void)sl_buf_put_char(out, '"');
    for (unsigned n = chance(4); n > 0; n--)
        (void)sl_buf_put_c(out, parts[chance(sizeof parts / sizeof *parts)]);
    (void)sl_buf_put_char(out, '"');
}

static void make_number(sl_buf *out)
{
    static const char *const numbers[] = {"0",   "-0",      "1",    "-17",       "3.5", "0.25",
                                          "1e3", "-1.5E-2", "1E+2", "123456789", "0.0", "9007199254740993"};
    (void)sl_buf_put_c(out, numbers[chance(sizeof numbers / sizeof *numbers)]);
}

static void make(sl_buf *out, unsigned depth)
{
    static const char *const words[] = {"true", "false", "null"};
    unsigned what = chance(depth ? 7 : 4);
    bool object = what >= 5;
    blank(out);
    if (what == 0)
        (void)sl_buf_put_c(out, words[chance(3)]);
    else if (what <= 2)
        make_string(out);
    else if (what == 3)
        make_number(out);
    else {
        (void)sl_buf_put_char(out, object ? '{' : '[');
        for (unsigned n = chance(4); n > 0; n--) {
            if (object) {
                blank(out);
                make_string(out);
                blank(out);
                (void)sl_buf_put_char(out, ':');
            }
            make(out, depth - 1);
            if (n > 1)
                (void)sl_buf_put_char(out, ',');
        }
        blank(out);
        (void)sl_buf_put_char(out, object ? '}' : ']');
    }
    blank(out);
}

/* One to three bytes changed, taken out or put in. */
static void damage(sl_buf *text)
{
    static const char bytes[] = "{}[]\",:\\ntrue0123456789.eE+-/ \n\t\x01\x7f\x80\xC3\xff/*#'uaU";
    for (unsigned n = 1 + chance(3); n > 0 && text->len > 1; n--) {
        size_t at = chance((unsigned)text->len);
        char c = bytes[chance(sizeof bytes - 1)];
        switch (chance(3)) {
        case 0:
            text->data[at] = c;
            break;
        case 1:
            memmove(text->data + at, text->data + at + 1, text->len - at - 1);
            text->len--;
            break;
        default:
            if (sl_buf_put_char(text, ' '))
                return;
            memmove(text->data + at + 1, text->data + at, text->len - at - 1);
            text->data[at] = c;
        }
    }
}

/* ---- what the two may differ in: they bound other things ---- */

/* Half a surrogate pair is JSON's grammar, but no text; numbers beyond 64 bits are grammar, but no number. */
static bool has_other_bounds(sl_str text)
{
    size_t digits = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        digits = c >= '0' && c <= '9' ? digits + 1 : 0;
        if (digits > 17 || ((c == 'e' || c == 'E') && i > 0 && text.ptr[i - 1] >= '0' && text.ptr[i - 1] <= '9'))
            return true;
    }
    return sl_str_find(text, SL_STR("\\ud")) != SL_NPOS || sl_str_find(text, SL_STR("\\uD")) != SL_NPOS ||
           sl_str_find(text, SL_STR("\\Ud")) != SL_NPOS || sl_str_find(text, SL_STR("\\u0000")) != SL_NPOS;
}

/* ---- the same value ---- */

static bool same_string(sl_json_value value, const char *text, size_t len)
{
    char buffer[512];
    sl_str decoded;
    return sl_json_string(value, buffer, sizeof buffer, &decoded) == 0 && sl_str_eq(decoded, sl_str_of(text, len)) &&
           sl_json_string_is(value, sl_str_of(text, len));
}

static bool same(sl_json_value value, json_t *tree);

static bool same_items(sl_json_value value, json_t *tree)
{
    sl_json_iter it;
    sl_json_value key, item;
    size_t count = 0;
    sl_json_iter_init(&it, value);
    while (sl_json_iter_next(&it, &key, &item)) {
        char buffer[512];
        sl_str name = {NULL, 0};
        if (json_is_array(tree) && !same(item, json_array_get(tree, count)))
            return false;
        count++;
        if (json_is_array(tree))
            continue;
        if (sl_json_string(key, buffer, sizeof buffer, &name))
            return false;
        json_t *member = json_object_getn(tree, name.len ? name.ptr : "", name.len);
        /* Of several members of a name the last counts for both. */
        sl_json_iter rest = it;
        sl_json_value later_key, later;
        bool last = true;
        while (sl_json_iter_next(&rest, &later_key, &later))
            last = last && !sl_json_string_is(later_key, name);
        if (!member || (last && !same(item, member)))
            return false;
    }
    return count == sl_json_count(value) &&
           (json_is_object(tree) ? count >= json_object_size(tree) : count == json_array_size(tree));
}

static bool same(sl_json_value value, json_t *tree)
{
    double number;
    int64_t whole;
    switch (json_typeof(tree)) {
    case JSON_OBJECT:
        return value.type == SL_JSON_OBJECT && same_items(value, tree);
    case JSON_ARRAY:
        return value.type == SL_JSON_ARRAY && same_items(value, tree);
    case JSON_STRING:
        return value.type == SL_JSON_STRING && same_string(value, json_string_value(tree), json_string_length(tree));
    case JSON_INTEGER:
        return value.type == SL_JSON_NUMBER && sl_json_i64(value, &whole) == 0 && whole == json_integer_value(tree);
    case JSON_REAL:
        return value.type == SL_JSON_NUMBER && sl_json_double(value, &number) == 0 &&
               !(number < json_real_value(tree)) && !(number > json_real_value(tree));
    case JSON_TRUE:
        return value.type == SL_JSON_TRUE;
    case JSON_FALSE:
        return value.type == SL_JSON_FALSE;
    default:
        return value.type == SL_JSON_NULL;
    }
}

static void compare(sl_str text, unsigned *taken)
{
    sl_json_value value;
    sl_json_error place;
    json_error_t why;
    int error = sl_json_parse(text, &value, &place);
    json_t *tree = json_loadb(text.ptr, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    if (error && (!place.reason || place.offset > text.len))
        sl_test_failed(__FILE__, __LINE__, "%.*s: no reason", (int)text.len, text.ptr);
    if (!error != (tree != NULL)) {
        if (!has_other_bounds(text))
            sl_test_failed(__FILE__, __LINE__, "%.*s: %s; %s", (int)text.len, text.ptr, error ? place.reason : "taken",
                           tree ? "taken" : why.text);
    } else if (tree) {
        ++*taken;
        if (!same(value, tree))
            sl_test_failed(__FILE__, __LINE__, "%.*s: is another value", (int)text.len, text.ptr);
    }
    json_decref(tree);
}

SL_TEST(both_readers_take_the_same_texts)
{
    sl_buf text;
    sl_buf_init(&text, 1u << 20);
    unsigned sound = 0, broken = 0;
    state = 1;
    for (int i = 0; i < 60000; i++) {
        sl_buf_clear(&text);
        make(&text, 4);
        compare(sl_buf_str(&text), &sound);
        CHECK_EQ(sound, i + 1);
        if (sound != (unsigned)i + 1)
            break;
        damage(&text);
        compare(sl_buf_str(&text), &broken);
    }
    CHECK(broken > 1000 && broken < 40000); /* some damage is none */
    sl_buf_done(&text);
}

/* What one writes the other reads: the tree of a text, written by either writer, is the same value. */
static void write_tree(sl_jw *w, json_t *tree)
{
    const char *key;
    json_t *item;
    size_t i, len;
    switch (json_typeof(tree)) {
    case JSON_OBJECT:
        sl_jw_object(w);
        json_object_keylen_foreach(tree, key, len, item)
        {
            sl_jw_key(w, sl_str_of(key, len));
            write_tree(w, item);
        }
        sl_jw_end(w);
        break;
    case JSON_ARRAY:
        sl_jw_array(w);
        json_array_foreach(tree, i, item) write_tree(w, item);
        sl_jw_end(w);
        break;
    case JSON_STRING:
        sl_jw_str(w, sl_str_of(json_string_value(tree), json_string_length(tree)));
        break;
    case JSON_INTEGER:
        sl_jw_i64(w, json_integer_value(tree));
        break;
    case JSON_REAL:
        sl_jw_double(w, json_real_value(tree));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        sl_jw_bool(w, json_is_true(tree));
        break;
    default:
        sl_jw_null(w);
    }
}

SL_TEST(what_one_writes_the_other_reads)
{
    sl_buf text, out;
    sl_buf_init(&text, 1u << 20);
    sl_buf_init(&out, 1u << 20);
    state = 2;
    for (int i = 0; i < 20000; i++) {
        sl_buf_clear(&text);
        sl_buf_clear(&out);
        make(&text, 4);
        json_t *tree = json_loadb(text.data, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        REQUIRE(tree);
        sl_jw w;
        sl_jw_init(&w, &out);
        write_tree(&w, tree);
        CHECK_EQ(sl_jw_finish(&w), 0);
        json_t *again = json_loadb(out.data, out.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        sl_json_value value;
        char *theirs = json_dumps(tree, JSON_ENCODE_ANY | JSON_COMPACT);
        bool right = again && theirs && sl_json_parse(sl_buf_str(&out), &value, NULL) == 0 && same(value, tree) &&
                     sl_json_parse(sl_str_c(theirs), &value, NULL) == 0 && same(value, tree);
        /* A real that is whole is written as an integer: the same number to all but the tree's types. */
        if (!right)
            sl_test_failed(__FILE__, __LINE__, "%.*s\n is written %.*s", (int)text.len, text.data, (int)out.len,
                           out.data);
        free(theirs);
        json_decref(again);
        json_decref(tree);
    }
    sl_buf_done(&text);
    sl_buf_done(&out);
}

/* A watched path finds what a walk through the tree finds. */
static json_t *walk(json_t *tree, const char *path)
{
    char name[32];
    while (*path && tree) {
        size_t len = strcspn(path, ".");
        (void)snprintf(name, sizeof name, "%.*s", (int)len, path);
        tree = json_object_get(tree, name);
        path += len + (path[len] == '.');
    }
    return tree;
}

SL_TEST(watched_paths_find_what_the_tree_has)
{
    static const char *const paths[] = {"a", "key", "a.key", "a.a", "key.a.a", " ", "A.key"};
    enum { COUNT = sizeof paths / sizeof *paths };
    sl_json_watch watch;
    sl_json_found found[COUNT];
    sl_buf text;
    unsigned hits = 0;
    sl_buf_init(&text, 1u << 20);
    REQUIRE(sl_json_watch_init(&watch, paths, COUNT) == 0);
    state = 3;
    for (int i = 0; i < 60000; i++) {
        sl_buf_clear(&text);
        make(&text, 4);
        json_t *tree = json_loadb(text.data, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        REQUIRE(tree && sl_json_scan(sl_buf_str(&text), &watch, found, NULL, NULL) == 0);
        for (size_t k = 0; k < COUNT; k++) {
            json_t *wanted = walk(tree, paths[k]);
            sl_json_value value = sl_json_at(sl_buf_str(&text), &found[k]);
            if (found[k].duplicate)
                continue; /* readers may disagree, which is why it is told */
            hits += wanted != NULL;
            if (wanted ? !same(value, wanted) : value.type != SL_JSON_NONE)
                sl_test_failed(__FILE__, __LINE__, "%s in %.*s", paths[k], (int)text.len, text.data);
        }
        json_decref(tree);
    }
    CHECK(hits > 500);
    sl_buf_done(&text);
}
