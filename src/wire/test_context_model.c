/* What travels between processes, against simple models: tracestate as a list, baggage as a list, headers read back. */
#include <sightline/context.h>

#include <stdio.h>

#include "src/base/limits.h"
#include "src/base/str.h"
#include "src/wire/b3.h"
#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_test.h"

/* ---- tracestate ---- */

#define MOST 40

typedef struct entry {
    char key[300], value[300];
} entry;

/* A list of entries, newest first. */
typedef struct list {
    entry at[MOST];
    size_t count;
} list;

static size_t entry_len(const entry *e)
{
    return strlen(e->key) + 1 + strlen(e->value);
}

static void remove_at(list *l, size_t index)
{
    l->count--;
    memmove(&l->at[index], &l->at[index + 1], (l->count - index) * sizeof l->at[0]);
}

static size_t list_text(const list *l, char *text)
{
    size_t len = 0;
    text[0] = 0;
    for (size_t i = 0; i < l->count; i++)
        len += (size_t)sprintf(text + len, "%s%s=%s", i ? "," : "", l->at[i].key, l->at[i].value);
    return len;
}

/* The rule of the specification: whole entries go, long ones first, from the right; the first `keep` stay. */
static void shorten(list *l, size_t size, size_t keep)
{
    static char text[MOST * 600];
    while (l->count > keep && list_text(l, text) > size) {
        size_t victim = SL_NPOS;
        for (size_t i = keep; i < l->count; i++)
            victim = entry_len(&l->at[i]) > 128 ? i : victim;
        remove_at(l, victim == SL_NPOS ? l->count - 1 : victim);
    }
}

static void list_set(list *l, const entry *e, size_t size)
{
    for (size_t i = 0; i < l->count; i++) {
        if (strcmp(l->at[i].key, e->key) == 0)
            remove_at(l, i--);
    }
    if (l->count == SL_MAX_TRACESTATE_MEMBERS)
        l->count--;
    memmove(&l->at[1], &l->at[0], l->count * sizeof l->at[0]);
    l->at[0] = *e;
    l->count++;
    shorten(l, size, 1);
}

static void any_entry(uint64_t *chance, entry *ret)
{
    static const char key_chars[] = "abz019_-*/@", value_chars[] = " !az~(;:";
    size_t key_len = 1 + sl_chance(chance, sl_chance(chance, 6) ? 2 : 256);
    size_t value_len = 1 + sl_chance(chance, sl_chance(chance, 6) ? 12 : 256);
    for (size_t i = 0; i < key_len; i++)
        ret->key[i] = key_chars[sl_chance(chance, i ? sizeof key_chars - 1 : 3)];
    for (size_t i = 0; i < value_len; i++)
        ret->value[i] = value_chars[sl_chance(chance, sizeof value_chars - 1)];
    ret->key[key_len] = ret->value[value_len] = 0;
    if (ret->value[value_len - 1] == ' ')
        ret->value[value_len - 1] = '.';
}

SL_TEST(tracestate_is_a_list_whose_newest_is_in_front)
{
    static char want[MOST * 600];
    for (uint64_t seed = 1; seed <= 40; seed++) {
        uint64_t chance = seed;
        list model = {.count = 0};
        char text[1024], next[1024];
        size_t len = 0, next_len = 0, size = seed % 4 ? SL_MAX_TRACESTATE_BYTES : 100 + sl_chance(&chance, 800);
        for (int i = 0; i < 200; i++) {
            entry e;
            any_entry(&chance, &e);
            int error =
                sl_tracestate_set(sl_str_of(text, len), sl_str_c(e.key), sl_str_c(e.value), next, size, &next_len);
            if (entry_len(&e) > size) {
                CHECK_EQ(error, SL_ELIMIT);
                continue;
            }
            CHECK_EQ(error, 0);
            memcpy(text, next, len = next_len);
            list_set(&model, &e, size);
            CHECK_STR_EQ(sl_str_of(text, len), sl_str_of(want, list_text(&model, want)));
            const entry *some = &model.at[sl_chance(&chance, (unsigned)model.count)];
            CHECK_STR(sl_tracestate_get(sl_str_of(text, len), sl_str_c(some->key)), some->value);
            CHECK_EQ(sl_tracestate_parse(sl_str_of(text, len), next, sizeof next, &next_len), 0);
            CHECK_STR_EQ(sl_str_of(next, next_len), sl_str_of(text, len)); /* what was written is in its normal form */
        }
    }
}

/* A header with white space, empty members and repeated keys becomes what the list says, cut to any size. */
SL_TEST(tracestate_headers_become_their_normal_form)
{
    static char want[MOST * 600], header[MOST * 700];
    uint64_t chance = 77;
    for (int round = 0; round < 400; round++) {
        list model = {.count = 0};
        size_t at = 0, members = sl_chance(&chance, SL_MAX_TRACESTATE_MEMBERS + 3), size = sl_chance(&chance, 2000);
        header[0] = 0;
        for (size_t i = 0; i < members; i++) {
            entry e;
            any_entry(&chance, &e);
            at += (size_t)sprintf(header + at, "%s%s%s=%s%s", i ? "," : "", sl_chance(&chance, 3) ? "" : " \t,\t",
                                  e.key, e.value, sl_chance(&chance, 3) ? "" : " ");
            bool known = false;
            for (size_t k = 0; k < model.count; k++)
                known |= strcmp(model.at[k].key, e.key) == 0;
            if (!known && model.count < MOST)
                model.at[model.count++] = e;
        }
        char text[2048];
        size_t len = 999;
        int error = sl_tracestate_parse(sl_str_of(header, at), text, size, &len);
        if (members > SL_MAX_TRACESTATE_MEMBERS) {
            CHECK_EQ(error, SL_EPARSE);
            CHECK_EQ(len, 999);
            continue;
        }
        CHECK_EQ(error, 0);
        shorten(&model, size, 0);
        CHECK_STR_EQ(sl_str_of(text, len), sl_str_of(want, list_text(&model, want)));
    }
}

/* ---- baggage ---- */

typedef struct member {
    char key[12], value[16], metadata[16];
    size_t value_len;
} member;

typedef struct bag {
    member at[SL_MAX_BAGGAGE_MEMBERS];
    size_t count;
} bag;

static size_t bag_find(const bag *model, const char *key)
{
    size_t i = 0;
    while (i < model->count && strcmp(model->at[i].key, key) != 0)
        i++;
    return i;
}

static void any_member(uint64_t *chance, member *ret)
{
    static const char *const metadata[] = {"", "p", "p=1", "p;q=2"};
    static const char *const pieces[] = {"a", " ", ",", ";", "=", "%", "\"", "\\", "\xC3\xA9", "\x01", "~", "/"};
    *ret = (member){.value_len = 0};
    (void)snprintf(ret->key, sizeof ret->key, "k%u", sl_chance(chance, 80));
    for (unsigned n = sl_chance(chance, 7); n > 0; n--) {
        const char *piece = pieces[sl_chance(chance, sizeof pieces / sizeof *pieces)];
        memcpy(ret->value + ret->value_len, piece, strlen(piece));
        ret->value_len += strlen(piece);
    }
    (void)snprintf(ret->metadata, sizeof ret->metadata, "%s", metadata[sl_chance(chance, 4)]);
}

static void is_the_model(const sl_baggage *baggage, const bag *model)
{
    CHECK_EQ(sl_baggage_count(baggage), model->count);
    for (size_t i = 0; i < model->count; i++) {
        sl_str key = SL_STR("?"), value = key, metadata = key;
        const member *m = &model->at[i];
        CHECK_EQ(sl_baggage_at(baggage, i, &key, &value, &metadata), 0);
        CHECK_STR(key, m->key);
        CHECK_STR_EQ(value, sl_str_of(m->value, m->value_len));
        CHECK_STR(metadata, m->metadata);
        CHECK_STR_EQ(sl_baggage_get(baggage, key), value);
    }
    CHECK_EQ(sl_baggage_at(baggage, model->count, NULL, NULL, NULL), SL_ENOENT);
}

/* The header of a baggage, read again, is the same baggage; one byte less room is refused. */
static void reads_back(const sl_baggage *baggage, const bag *model)
{
    static char text[SL_MAX_BAGGAGE_BYTES];
    size_t len = 0;
    sl_baggage *again = NULL;
    REQUIRE(sl_baggage_format(baggage, text, sizeof text, &len) == 0);
    CHECK(len == 0 || sl_baggage_format(baggage, text, len - 1, &len) == SL_ELIMIT);
    for (size_t i = 0; i < len; i++)
        CHECK(text[i] > ' ' && text[i] < 0x7F && text[i] != '"' && text[i] != '\\');
    int error = sl_baggage_parse(sl_str_of(text, len), &again);
    CHECK_EQ(error, model->count ? 0 : SL_EPARSE);
    if (!error)
        is_the_model(again, model);
    sl_baggage_free(again);
}

SL_TEST(baggage_is_a_list_in_the_order_of_insertion)
{
    for (uint64_t seed = 1; seed <= 12; seed++) {
        uint64_t chance = seed * 31;
        bag model = {.count = 0};
        sl_baggage *baggage = sl_baggage_new();
        REQUIRE(baggage != NULL);
        for (int i = 0; i < 600; i++) {
            member m;
            any_member(&chance, &m);
            size_t at = bag_find(&model, m.key);
            if (sl_chance(&chance, 3) == 0) {
                sl_baggage_remove(baggage, sl_str_c(m.key));
                if (at < model.count) {
                    model.count--;
                    memmove(&model.at[at], &model.at[at + 1], (model.count - at) * sizeof m);
                }
                continue;
            }
            bool full = at == SL_MAX_BAGGAGE_MEMBERS;
            CHECK_EQ(sl_baggage_set(baggage, sl_str_c(m.key), sl_str_of(m.value, m.value_len), sl_str_c(m.metadata)),
                     full ? SL_ELIMIT : 0);
            if (!full) {
                model.at[at] = m;
                model.count += at == model.count;
            }
            if (i % 50 == 0)
                reads_back(baggage, &model);
        }
        is_the_model(baggage, &model);
        sl_baggage *copy = sl_baggage_copy(baggage);
        sl_baggage_free(baggage);
        is_the_model(copy, &model); /* shares nothing with what it was made of */
        reads_back(copy, &model);
        sl_baggage_free(copy);
    }
}

/* ---- ids ---- */

static void any_context(uint64_t *chance, sl_span_context *ret)
{
    *ret = (sl_span_context){.flags = (uint8_t)sl_chance(chance, 2)};
    for (size_t i = 0; i < sizeof ret->trace_id; i++)
        ret->trace_id[i] = (uint8_t)sl_chance(chance, 256);
    for (size_t i = 0; i < sizeof ret->span_id; i++)
        ret->span_id[i] = (uint8_t)sl_chance(chance, 256);
    ret->trace_id[15] |= 1; /* not all zero */
    ret->span_id[7] |= 1;
}

static bool same_ids(const sl_span_context *a, const sl_span_context *b)
{
    return memcmp(a->trace_id, b->trace_id, sizeof a->trace_id) == 0 &&
           memcmp(a->span_id, b->span_id, sizeof a->span_id) == 0 && (a->flags & 1) == (b->flags & 1);
}

/* The same span in every header, read back; a header with one byte changed is another span, or none. */
SL_TEST(ids_read_back_from_every_header)
{
    typedef int parse_fn(sl_str header, sl_span_context * ret);
    typedef void format_fn(const sl_span_context *context, char *text);
    static const struct {
        const char *name;
        format_fn *format;
        parse_fn *parse;
        size_t len, ids; /* where the ids begin: 32 and 16 digits, with one character between */
    } rows[] = {{"traceparent", sl_traceparent_format, sl_traceparent_parse, SL_TRACEPARENT_LEN, 3},
                {"b3", sl_b3_format, sl_b3_parse, SL_B3_LEN, 0},
                {"uber-trace-id", sl_jaeger_format, sl_jaeger_parse, SL_JAEGER_LEN, 0}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        uint64_t chance = r + 1;
        size_t other = 0;
        for (int i = 0; i < 3000; i++) {
            sl_span_context context, read = {0};
            char text[64];
            any_context(&chance, &context);
            rows[r].format(&context, text);
            CHECK_EQ(strlen(text), rows[r].len);
            CHECK_EQ(rows[r].parse(sl_str_c(text), &read), 0);
            CHECK(same_ids(&context, &read) && read.remote);
            size_t at = sl_chance(&chance, (unsigned)rows[r].len);
            char was = text[at];
            text[at] = (char)(32 + sl_chance(&chance, 95));
            sl_span_context changed = {0};
            if (text[at] == was || rows[r].parse(sl_str_c(text), &changed) != 0)
                continue;
            other++;
            bool in_ids = at >= rows[r].ids && at < rows[r].ids + 49;
            CHECK(!in_ids || !same_ids(&context, &changed) || sl_ascii_lower(text[at]) == was);
        }
        if (other < 100)
            sl_test_failed(__FILE__, __LINE__, "%s: only %zu changes were read", rows[r].name, other);
    }
}
