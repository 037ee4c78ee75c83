/*
 * Collections against a model: rows put and replaced in namespaces, filters by chance, starts in between. The model
 * looks at every row, and reads a filter's JSON by itself.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/store/collection.h"
#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_test.h"

#define ROWS 160
#define DIMS 3
#define SPACES 3

typedef struct row {
    bool there;
    float vector[DIMS];
    json_t *metadata;
} row;

static const char *const spaces[SPACES] = {"", "tenant", "\xC3\xA4 b"};
static row rows[SPACES][ROWS];
static uint64_t state;

static unsigned chance(unsigned below)
{
    return sl_chance(&state, below);
}

/* ---- values and filters by chance ---- */

static const char *const keys[] = {"n", "s", "deep.k", "flag"};

static json_t *plain_value(void)
{
    static const char *const texts[] = {"a", "b", "ab", ""};
    switch (chance(6)) {
    case 0:
        return json_string(texts[chance(4)]);
    case 1:
        return json_boolean(chance(2));
    case 2:
        return json_real(chance(8) / 2.0);
    case 3:
        return json_null();
    default:
        return json_integer(chance(4));
    }
}

static json_t *list_value(void)
{
    json_t *list = json_array();
    for (unsigned n = 1 + chance(3); n > 0; n--)
        json_array_append_new(list, plain_value());
    return list;
}

static json_t *metadata(void)
{
    json_t *all = json_object();
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (chance(3) == 0)
            continue;
        json_t *value = chance(4) ? plain_value() : list_value();
        if (strcmp(keys[i], "deep.k") == 0 && chance(4))
            json_object_set_new(all, "deep", json_pack("{s:o}", "k", value));
        else
            json_object_set_new(all, keys[i], value);
    }
    return all;
}

static json_t *order_value(void)
{
    json_t *v = plain_value();
    while (!json_is_number(v) && !json_is_string(v)) {
        json_decref(v);
        v = plain_value();
    }
    return v;
}

static json_t *condition(void)
{
    static const char *const orders[] = {"$gt", "$gte", "$lt", "$lte"};
    switch (chance(7)) {
    case 0:
        return json_pack("{s:o}", "$eq", plain_value());
    case 1:
        return json_pack("{s:o}", "$ne", plain_value());
    case 2:
        return json_pack("{s:o}", "$in", list_value());
    case 3:
        return json_pack("{s:o}", "$nin", list_value());
    case 4:
        return json_pack("{s:b}", "$exists", (int)chance(2));
    case 5:
        return json_pack("{s:o,s:o}", "$gte", order_value(), "$lt", order_value());
    default:
        return json_pack("{s:o}", orders[chance(4)], order_value());
    }
}

static json_t *filter(unsigned depth)
{
    json_t *all = json_object();
    if (depth && chance(3) == 0) {
        json_t *list = json_array();
        for (unsigned n = 1 + chance(2); n > 0; n--)
            json_array_append_new(list, filter(depth - 1));
        json_object_set_new(all, chance(2) ? "$and" : "$or", list);
    }
    if (depth && chance(4) == 0)
        json_object_set_new(all, "$not", filter(depth - 1));
    for (unsigned n = chance(3); n > 0; n--)
        json_object_set_new(all, keys[chance(4)], chance(2) ? plain_value() : condition());
    return all;
}

/* ---- what the model says ---- */

static json_t *value_of(json_t *all, const char *key)
{
    json_t *value = json_object_get(all, key);
    if (!value && strcmp(key, "deep.k") == 0)
        value = json_object_get(json_object_get(all, "deep"), "k");
    return value && json_is_null(value) ? NULL : value;
}

static bool same(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) == json_number_value(b);
    return json_equal(a, b);
}

/* A list holds when one of its items does; what is not there is null. */
static bool equals(json_t *value, json_t *wanted)
{
    if (!value)
        return json_is_null(wanted);
    if (!json_is_array(value))
        return same(value, wanted);
    for (size_t i = 0; i < json_array_size(value); i++)
        if (same(json_array_get(value, i), wanted))
            return true;
    return false;
}

static bool one_of(json_t *value, json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (equals(value, json_array_get(list, i)))
            return true;
    return false;
}

static bool in_order(json_t *value, const char *op, json_t *wanted)
{
    double order;
    if (json_is_number(value) && json_is_number(wanted))
        order = json_number_value(value) - json_number_value(wanted);
    else if (json_is_string(value) && json_is_string(wanted))
        order = strcmp(json_string_value(value), json_string_value(wanted));
    else
        return false;
    return strcmp(op, "$gt") == 0    ? order > 0
           : strcmp(op, "$gte") == 0 ? order >= 0
           : strcmp(op, "$lt") == 0  ? order < 0
                                     : order <= 0;
}

static bool holds(json_t *f, json_t *all);

static bool list_holds(json_t *list, json_t *all, bool any)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (holds(json_array_get(list, i), all) == any)
            return any;
    return !any;
}

static bool condition_holds(json_t *wanted, json_t *value)
{
    const char *op;
    json_t *operand;
    if (!json_is_object(wanted))
        return equals(value, wanted);
    json_object_foreach(wanted, op, operand)
    {
        bool now = strcmp(op, "$eq") == 0       ? equals(value, operand)
                   : strcmp(op, "$ne") == 0     ? !equals(value, operand)
                   : strcmp(op, "$in") == 0     ? one_of(value, operand)
                   : strcmp(op, "$nin") == 0    ? !one_of(value, operand)
                   : strcmp(op, "$exists") == 0 ? (value != NULL) == json_is_true(operand)
                                                : value && in_order(value, op, operand);
        if (!now)
            return false;
    }
    return true;
}

static bool holds(json_t *f, json_t *all)
{
    const char *key;
    json_t *wanted;
    json_object_foreach(f, key, wanted)
    {
        bool now = strcmp(key, "$and") == 0   ? list_holds(wanted, all, false)
                   : strcmp(key, "$or") == 0  ? list_holds(wanted, all, true)
                   : strcmp(key, "$not") == 0 ? !holds(wanted, all)
                                              : condition_holds(wanted, value_of(all, key));
        if (!now)
            return false;
    }
    return true;
}

/* Whole numbers: the products are exact, and there are ties. */
static double score(sl_vector_metric metric, const float *a, const float *b)
{
    double dot = 0, apart = 0;
    for (size_t i = 0; i < DIMS; i++) {
        dot += (double)a[i] * (double)b[i];
        apart += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    }
    return metric == SL_VECTOR_EUCLID ? sqrt(apart) : dot;
}

typedef struct found {
    double score;
    char id[8];
} found;

static int nearer(const void *a, const void *b)
{
    const found *x = a, *y = b;
    return x->score != y->score ? (x->score > y->score ? -1 : 1) : strcmp(x->id, y->id);
}

/* ---- operations ---- */

static char reason[SL_COLLECTION_REASON];

static void random_vector(float *v)
{
    for (size_t i = 0; i < DIMS; i++)
        v[i] = (float)chance(9) - 4;
}

/* A batch: several rows, some of them twice in it; the last one stays. */
static void put_rows(sl_collections *c, const char *name)
{
    sl_vector_row batch[8];
    float vectors[8][DIMS];
    char ids[8][8], *texts[8];
    size_t count = 1 + chance(8);
    for (size_t i = 0; i < count; i++) {
        unsigned space = chance(SPACES), id = chance(ROWS);
        row *r = &rows[space][id];
        json_decref(r->metadata);
        random_vector(vectors[i]);
        *r = (row){.there = true, .metadata = metadata()};
        memcpy(r->vector, vectors[i], sizeof r->vector);
        (void)snprintf(ids[i], sizeof ids[i], "%03u", id);
        texts[i] = json_dumps(r->metadata, JSON_COMPACT);
        batch[i] = (sl_vector_row){.space = sl_str_c(spaces[space]),
                                   .id = sl_str_c(ids[i]),
                                   .vector = vectors[i],
                                   .dims = DIMS,
                                   .metadata = sl_str_c(texts[i])};
    }
    CHECK_EQ(sl_collections_put(c, sl_str_c(name), batch, count, reason), 0);
    for (size_t i = 0; i < count; i++)
        free(texts[i]);
}

static void check_hits(const sl_vector_hits *hits, const found *wanted, size_t count, json_t *f)
{
    bool right = hits->count == count;
    for (size_t i = 0; right && i < count; i++)
        right = sl_str_eq_c(hits->items[i].id, wanted[i].id) &&
                fabs(fabs(hits->items[i].score) - fabs(wanted[i].score)) < 1e-9;
    if (right)
        return;
    char *text = json_dumps(f, JSON_COMPACT);
    sl_test_failed(__FILE__, __LINE__, "%zu hits, not %zu, of %s", hits->count, count, text);
    free(text);
}

static void search(sl_collections *c, const char *name, sl_vector_metric metric)
{
    found wanted[ROWS];
    size_t count = 0, top = 1 + chance(ROWS + 20);
    unsigned space = chance(SPACES);
    float query[DIMS];
    sl_vector_filter *compiled = NULL;
    sl_vector_hits *hits = NULL;
    random_vector(query);
    json_t *f = filter(2);
    REQUIRE(sl_vector_filter_new(f, reason, &compiled) == 0);
    for (unsigned i = 0; i < ROWS; i++) {
        const row *r = &rows[space][i];
        if (!r->there || !holds(f, r->metadata))
            continue;
        double s = score(metric, r->vector, query);
        wanted[count].score = metric == SL_VECTOR_EUCLID ? -s : s;
        (void)snprintf(wanted[count++].id, sizeof wanted->id, "%03u", i);
    }
    qsort(wanted, count, sizeof *wanted, nearer);
    sl_vector_query q = {.collection = sl_str_c(name),
                         .space = sl_str_c(spaces[space]),
                         .vector = query,
                         .dims = DIMS,
                         .top_k = top,
                         .filter = chance(10) ? compiled : NULL};
    if (!q.filter && json_object_size(f))
        q.filter = compiled;
    CHECK_EQ(sl_collections_search(c, &q, reason, &hits), 0);
    if (hits)
        check_hits(hits, wanted, count < top ? count : top, f);
    sl_vector_hits_free(hits);
    sl_vector_filter_free(compiled);
    json_decref(f);
}

static void forget_rows(void)
{
    for (size_t s = 0; s < SPACES; s++)
        for (size_t i = 0; i < ROWS; i++)
            json_decref(rows[s][i].metadata);
    memset(rows, 0, sizeof rows);
}

SL_TEST(searches_find_what_a_look_at_every_row_finds)
{
    char folder[64] = "/tmp/sl-test-vectors-XXXXXX", path[128], error[256];
    REQUIRE(sl_test_mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/collections.db", folder);
    state = 11;
    static const sl_vector_metric metrics[] = {SL_VECTOR_DOT, SL_VECTOR_EUCLID};
    for (size_t k = 0; k < 2; k++) {
        const char *name = k ? "euclid" : "dot";
        sl_collections *c = NULL;
        REQUIRE(sl_collections_open(path, error, sizeof error, &c) == 0);
        CHECK_EQ(sl_collections_create(c, sl_str_c(name), DIMS, metrics[k], reason), 0);
        for (int i = 0; i < 2500; i++) {
            if (chance(8) == 0)
                put_rows(c, name);
            else
                search(c, name, metrics[k]);
            if (chance(400) == 0) { /* a start: all is read again */
                sl_collections_close(c);
                REQUIRE(sl_collections_open(path, error, sizeof error, &c) == 0);
            }
        }
        sl_collections_close(c);
        forget_rows();
    }
}

/* A filter in Qdrant's words says the same: {"must": ...} is read by the model as it stands. */
static bool qdrant_holds(json_t *q, json_t *all);

static bool each_holds(json_t *list, json_t *all, bool any)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (qdrant_holds(json_array_get(list, i), all) == any)
            return any;
    return !any;
}

static bool match_holds(json_t *match, json_t *value)
{
    json_t *any = json_object_get(match, "any"), *one = json_object_get(match, "value");
    return any ? one_of(value, any) : value && equals(value, one);
}

/* Of a list, one item is enough. */
static bool range_holds(json_t *range, json_t *value)
{
    for (size_t i = 0; i < json_array_size(value); i++)
        if (range_holds(range, json_array_get(value, i)))
            return true;
    const char *op;
    json_t *wanted;
    json_object_foreach(range, op, wanted)
    {
        char name[8];
        (void)snprintf(name, sizeof name, "$%s", op);
        if (!value || json_is_array(value) || json_is_string(value) || !in_order(value, name, wanted))
            return false;
    }
    return true;
}

static bool qdrant_holds(json_t *q, json_t *all)
{
    json_t *key = json_object_get(q, "key"), *empty = json_object_get(q, "is_empty");
    if (empty)
        return value_of(all, json_string_value(json_object_get(empty, "key"))) == NULL;
    if (key) {
        json_t *value = value_of(all, json_string_value(key)), *match = json_object_get(q, "match");
        return match ? match_holds(match, value) : range_holds(json_object_get(q, "range"), value);
    }
    json_t *should = json_object_get(q, "should");
    return each_holds(json_object_get(q, "must"), all, false) && (!should || each_holds(should, all, true)) &&
           !each_holds(json_object_get(q, "must_not"), all, true);
}

static bool is_mixed(json_t *f)
{
    char *text = json_dumps(f, JSON_COMPACT);
    bool mixed = strstr(text, "null") || strstr(text, "$exists") || strstr(text, "$gt") || strstr(text, "$lt") ||
                 strstr(text, "$in") || strstr(text, "$nin");
    free(text);
    return mixed;
}

SL_TEST(the_same_filter_for_another_database)
{
    state = 5;
    unsigned compared = 0;
    for (int i = 0; i < 20000; i++) {
        json_t *f = filter(2), *all = metadata();
        sl_vector_filter *compiled = NULL;
        REQUIRE(sl_vector_filter_new(f, reason, &compiled) == 0);
        json_t *q = is_mixed(f) ? NULL : sl_vector_filter_qdrant(compiled);
        if (q && qdrant_holds(q, all) != holds(f, all)) {
            char *a = json_dumps(f, JSON_COMPACT), *b = json_dumps(q, JSON_COMPACT), *d = json_dumps(all, JSON_COMPACT);
            sl_test_failed(__FILE__, __LINE__, "%s is %s of %s", a, b, d);
            free(a);
            free(b);
            free(d);
            i = 20000;
        }
        compared += q != NULL;
        json_decref(q);
        sl_vector_filter_free(compiled);
        json_decref(all);
        json_decref(f);
    }
    CHECK(compared > 1000);
}
