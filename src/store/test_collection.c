/* Collections: filters, namespaces, the file, other processes, failures. */
#include "src/store/collection.h"

#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "src/store/collection_rows.h"
#include "tests/harness/sl_test.h"

/* JSON with ' for ". */
static json_t *quoted(const char *text)
{
    char *copy = strdup(text);
    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    json_t *value = json_loads(copy, JSON_DECODE_ANY, NULL);
    free(copy);
    if (!value)
        abort();
    return value;
}

/* ---- filters ---- */

typedef struct filter_case {
    const char *filter;
    const char *metadata;
    bool holds;
} filter_case;

static const filter_case filter_cases[] = {
    {"{}", "{}", true},
    {"{'a':1}", "{'a':1}", true},
    {"{'a':1}", "{'a':1.0}", true},
    {"{'a':1}", "{'a':2}", false},
    {"{'a':1}", "{}", false},
    {"{'a':'x'}", "{'a':'x'}", true},
    {"{'a':'x'}", "{'a':'X'}", false},
    {"{'a':'1'}", "{'a':1}", false},
    {"{'a':true}", "{'a':true}", true},
    {"{'a':true}", "{'a':false}", false},
    {"{'a':null}", "{}", true},
    {"{'a':null}", "{'a':null}", true},
    {"{'a':null}", "{'a':0}", false},
    {"{'a':'x'}", "{'a':['y','x']}", true},
    {"{'a':'x'}", "{'a':['y']}", false},
    {"{'a':1,'b':2}", "{'a':1,'b':2}", true},
    {"{'a':1,'b':2}", "{'a':1,'b':3}", false},
    {"{'a.b':1}", "{'a':{'b':1}}", true},
    {"{'a.b':1}", "{'a.b':1}", true},
    {"{'a.b':1}", "{'a':1}", false},
    {"{'a':{'$eq':1}}", "{'a':1}", true},
    {"{'a':{'$ne':1}}", "{'a':1}", false},
    {"{'a':{'$ne':1}}", "{'a':2}", true},
    {"{'a':{'$ne':1}}", "{}", true},
    {"{'a':{'$ne':'x'}}", "{'a':['x','y']}", false},
    {"{'a':{'$in':[1,'x']}}", "{'a':'x'}", true},
    {"{'a':{'$in':[1,'x']}}", "{'a':['z','x']}", true},
    {"{'a':{'$in':[]}}", "{'a':1}", false},
    {"{'a':{'$in':[1,null]}}", "{}", true},
    {"{'a':{'$in':[1,null]}}", "{'a':null}", true},
    {"{'a':{'$nin':[1,null]}}", "{}", false},
    {"{'a':{'$ne':null}}", "{}", false},
    {"{'a':{'$nin':[1,2]}}", "{'a':3}", true},
    {"{'a':{'$nin':[1,2]}}", "{'a':2}", false},
    {"{'a':{'$nin':[1,2]}}", "{}", true},
    {"{'a':{'$gt':1}}", "{'a':1}", false},
    {"{'a':{'$gt':1}}", "{'a':1.5}", true},
    {"{'a':{'$gte':1}}", "{'a':1}", true},
    {"{'a':{'$gt':1763736000000000000}}", "{'a':1763736000000000001}", true},
    {"{'a':{'$gte':1763736000000000001}}", "{'a':1763736000000000000}", false},
    {"{'a':1763736000000000000}", "{'a':1763736000000000001}", false},
    {"{'a':{'$lt':1}}", "{'a':1}", false},
    {"{'a':{'$lt':1}}", "{'a':0}", true},
    {"{'a':{'$lte':1}}", "{'a':1}", true},
    {"{'a':{'$gt':1}}", "{'a':'2'}", false},
    {"{'a':{'$gt':1}}", "{}", false},
    {"{'a':{'$gte':'2020'}}", "{'a':'2021-01'}", true},
    {"{'a':{'$lt':'b'}}", "{'a':'ab'}", true},
    {"{'a':{'$gte':1,'$lt':3}}", "{'a':3}", false},
    {"{'a':{'$gte':1,'$lt':3}}", "{'a':2}", true},
    {"{'a':{'$exists':true}}", "{'a':0}", true},
    {"{'a':{'$exists':true}}", "{'a':null}", false},
    {"{'a':{'$exists':false}}", "{}", true},
    {"{'$or':[{'a':1},{'b':2}]}", "{'b':2}", true},
    {"{'$or':[{'a':1},{'b':2}]}", "{'b':3}", false},
    {"{'$and':[{'a':1},{'b':2}]}", "{'a':1,'b':2}", true},
    {"{'$and':[{'a':1},{'b':2}]}", "{'a':1}", false},
    {"{'$not':{'a':1}}", "{'a':1}", false},
    {"{'$not':{'a':1}}", "{'a':2}", true},
    {"{'c':9,'$or':[{'a':1},{'$and':[{'b':2},{'a':{'$gt':5}}]}]}", "{'a':6,'b':2,'c':9}", true},
    {"{'c':9,'$or':[{'a':1},{'$and':[{'b':2},{'a':{'$gt':5}}]}]}", "{'a':6,'b':2,'c':8}", false},
};

static bool filter_holds(const sl_vector_filter *f, const json_t *metadata)
{
    json_t *values[16];
    for (size_t i = 0; i < sl_vector_filter_key_count(f); i++)
        values[i] = sl_vector_filter_value(metadata, sl_vector_filter_key(f, i));
    return sl_vector_filter_holds(f, values);
}

SL_TEST(filters)
{
    for (size_t i = 0; i < sizeof filter_cases / sizeof *filter_cases; i++) {
        char reason[SL_FILTER_REASON];
        json_t *text = quoted(filter_cases[i].filter), *metadata = quoted(filter_cases[i].metadata);
        sl_vector_filter *f = NULL;
        if (sl_vector_filter_new(text, reason, &f))
            sl_test_failed(__FILE__, __LINE__, "%s: %s", filter_cases[i].filter, reason);
        else if (filter_holds(f, metadata) != filter_cases[i].holds)
            sl_test_failed(__FILE__, __LINE__, "%s of %s", filter_cases[i].filter, filter_cases[i].metadata);
        sl_vector_filter_free(f);
        json_decref(text);
        json_decref(metadata);
    }
}

SL_TEST(filters_that_are_none)
{
    static const char *const bad[] = {"[]",
                                      "5",
                                      "{'a':[]}",
                                      "{'a':{}}",
                                      "{'a':{'$near':1}}",
                                      "{'$near':1}",
                                      "{'a':{'$in':1}}",
                                      "{'a':{'$in':[[]]}}",
                                      "{'a':{'$gt':true}}",
                                      "{'a':{'$eq':{}}}",
                                      "{'a':{'$exists':1}}",
                                      "{'$and':{}}",
                                      "{'$or':[]}",
                                      "{'$or':[1]}",
                                      "{'$not':[]}",
                                      "{'a':{'b':1}}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char reason[SL_FILTER_REASON] = "";
        json_t *text = quoted(bad[i]);
        sl_vector_filter *f = NULL;
        if (sl_vector_filter_new(text, reason, &f) != SL_EINVAL || !reason[0])
            sl_test_failed(__FILE__, __LINE__, "%s is taken", bad[i]);
        json_decref(text);
    }
    char reason[SL_FILTER_REASON];
    sl_vector_filter *f = NULL;
    json_t *deep = quoted("{'a':1}"), *wide = json_object();
    for (int i = 0; i < 20; i++)
        deep = json_pack("{s:o}", "$not", deep);
    CHECK_EQ(sl_vector_filter_new(deep, reason, &f), SL_ELIMIT);
    for (int i = 0; i < 2000; i++) {
        char key[20];
        (void)snprintf(key, sizeof key, "k%d", i);
        (void)json_object_set_new(wide, key, json_integer(i));
    }
    CHECK_EQ(sl_vector_filter_new(wide, reason, &f), SL_ELIMIT);
    json_decref(deep);
    json_decref(wide);
}

SL_TEST(filters_in_other_words)
{
    static const char *const pairs[][2] = {
        {"{'a':1}", "{'must':[{'key':'a','match':{'value':1}}]}"},
        {"{'a':{'$ne':'x'}}", "{'must':[{'must_not':[{'key':'a','match':{'value':'x'}}]}]}"},
        {"{'a':{'$in':[1,2]}}", "{'must':[{'key':'a','match':{'any':[1,2]}}]}"},
        {"{'a':{'$gte':1,'$lt':2}}", "{'must':[{'key':'a','range':{'gte':1}},{'key':'a','range':{'lt':2}}]}"},
        {"{'a':1.5}", "{'must':[{'key':'a','range':{'gte':1.5,'lte':1.5}}]}"},
        {"{'a':null}", "{'must':[{'is_empty':{'key':'a'}}]}"},
        {"{'a':{'$exists':true}}", "{'must':[{'must_not':[{'is_empty':{'key':'a'}}]}]}"},
        {"{'$or':[{'a':1},{'b':2}]}", "{'must':[{'should':[{'must':[{'key':'a','match':{'value':1}}]},{'must':[{'key':'"
                                      "b','match':{'value':2}}]}]}]}"},
        {"{'$not':{'a':1}}", "{'must':[{'must_not':[{'must':[{'key':'a','match':{'value':1}}]}]}]}"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char reason[SL_FILTER_REASON];
        json_t *from = quoted(pairs[i][0]), *to = quoted(pairs[i][1]);
        sl_vector_filter *f = NULL;
        REQUIRE(sl_vector_filter_new(from, reason, &f) == 0);
        json_t *made = sl_vector_filter_qdrant(f);
        char *text = json_dumps(made, JSON_COMPACT);
        if (!json_equal(made, to))
            sl_test_failed(__FILE__, __LINE__, "%s: %s", pairs[i][0], text);
        free(text);
        json_decref(made);
        sl_vector_filter_free(f);
        json_decref(from);
        json_decref(to);
    }
}

/* ---- collections ---- */

static char folder[64];

static const char *make_file(void)
{
    static char path[120];
    (void)strcpy(folder, "/tmp/sightline-test-collection-XXXXXX");
    if (!mkdtemp(folder))
        abort();
    (void)snprintf(path, sizeof path, "%s/%s", folder, SL_COLLECTIONS_FILE);
    return path;
}

static void remove_file(void)
{
    char command[120];
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command) != 0)
        abort();
}

static sl_collections *opened(const char *path)
{
    char error[300] = "";
    sl_collections *c = NULL;
    if (sl_collections_open(path, error, sizeof error, &c)) {
        fprintf(stderr, "%s\n", error);
        abort();
    }
    return c;
}

static char reason[SL_COLLECTION_REASON];

static int put(sl_collections *c, const char *name, const char *space, const char *id, float x, float y,
               const char *metadata)
{
    float vector[2] = {x, y};
    sl_vector_row row = {
        .space = sl_str_c(space), .id = sl_str_c(id), .vector = vector, .dims = 2, .metadata = sl_str_c(metadata)};
    return sl_collections_put(c, sl_str_c(name), &row, 1, reason);
}

/* Ids of the hits, joined by commas; the error's name when it fails. */
static const char *ids(sl_collections *c, const char *name, const char *space, float x, float y, size_t top,
                       const char *filter)
{
    static char text[600];
    float vector[2] = {x, y};
    sl_vector_filter *f = NULL;
    sl_vector_hits *hits = NULL;
    json_t *json = filter ? quoted(filter) : NULL;
    if (json && sl_vector_filter_new(json, reason, &f))
        abort();
    sl_vector_query q = {
        .collection = sl_str_c(name), .space = sl_str_c(space), .vector = vector, .dims = 2, .top_k = top, .filter = f};
    int error = sl_collections_search(c, &q, reason, &hits);
    text[0] = '\0';
    for (size_t i = 0; !error && i < hits->count; i++)
        (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%s%.*s", i ? "," : "",
                       (int)hits->items[i].id.len, hits->items[i].id.ptr);
    sl_vector_hits_free(hits);
    sl_vector_filter_free(f);
    json_decref(json);
    return error ? sl_error_name(error) : text;
}

/* On disk and without a file alike. */
static void check_life(const char *path)
{
    sl_collections *c = opened(path);
    sl_collection_info infos[4];
    size_t count = 9;
    CHECK_STR(sl_str_c(ids(c, "k", "", 1, 0, 3, NULL)), "SL_ENOENT");
    CHECK(strstr(reason, "there is no collection \"k\"") != NULL);
    CHECK_EQ(put(c, "k", "", "a", 1, 0, "{}"), SL_ENOENT);
    CHECK_EQ(sl_collections_create(c, SL_STR("k"), 2, SL_VECTOR_COSINE, reason), 0);
    CHECK_EQ(sl_collections_create(c, SL_STR("k"), 2, SL_VECTOR_COSINE, reason), 0);
    CHECK_EQ(sl_collections_create(c, SL_STR("k"), 3, SL_VECTOR_COSINE, reason), SL_EEXIST);
    CHECK(strstr(reason, "2 dimensions and metric cosine") != NULL);
    CHECK_EQ(sl_collections_create(c, SL_STR("k"), 2, SL_VECTOR_DOT, reason), SL_EEXIST);
    CHECK_EQ(sl_collections_create(c, SL_STR("../k"), 2, SL_VECTOR_DOT, reason), SL_EINVAL);
    CHECK_EQ(sl_collections_create(c, SL_STR("z"), 0, SL_VECTOR_DOT, reason), SL_EINVAL);
    CHECK_STR(sl_str_c(ids(c, "k", "", 1, 0, 3, NULL)), "");
    CHECK_EQ(put(c, "k", "", "a", 1, 0, "{\"lang\":\"en\",\"n\":1}"), 0);
    CHECK_EQ(put(c, "k", "", "b", 0, 1, "{\"lang\":\"de\",\"n\":2}"), 0);
    CHECK_STR(sl_str_c(ids(c, "k", "", 1, 0.1f, 3, NULL)), "a,b");
    CHECK_EQ(put(c, "k", "", "c", 1, 1, "{\"lang\":\"en\",\"n\":3}"), 0);
    CHECK_STR(sl_str_c(ids(c, "k", "", 1, 0.1f, 3, NULL)), "a,c,b");
    CHECK_STR(sl_str_c(ids(c, "k", "", 1, 0.1f, 2, NULL)), "a,c");
    CHECK_STR(sl_str_c(ids(c, "k", "", 0.1f, 1, 5, "{'lang':'en'}")), "c,a");
    CHECK_STR(sl_str_c(ids(c, "k", "", 0.1f, 1, 5, "{'n':{'$gte':2}}")), "b,c");
    CHECK_STR(sl_str_c(ids(c, "k", "", 0.1f, 1, 5, "{'n':7}")), "");
    CHECK_EQ(put(c, "k", "", "a", -1, 0, "{\"lang\":\"fr\"}"), 0); /* replaced, in columns too */
    CHECK_STR(sl_str_c(ids(c, "k", "", 1, 0.1f, 3, NULL)), "c,b,a");
    CHECK_STR(sl_str_c(ids(c, "k", "", 0.1f, 1, 5, "{'lang':'fr'}")), "a");
    CHECK_STR(sl_str_c(ids(c, "k", "", 0.1f, 1, 5, "{'lang':'en'}")), "c");
    CHECK_EQ(put(c, "k", "tenant", "a", 1, 0, ""), 0); /* the same id elsewhere */
    CHECK_STR(sl_str_c(ids(c, "k", "tenant", 1, 0, 5, NULL)), "a");
    CHECK_STR(sl_str_c(ids(c, "k", "", 1, 0, 5, NULL)), "c,b,a");
    CHECK_STR(sl_str_c(ids(c, "k", "nobody", 1, 0, 5, NULL)), "");
    CHECK_STR(sl_str_c(ids(c, "k", "", 1, 0, 0, NULL)), "SL_EINVAL");
    CHECK_STR(sl_str_c(ids(c, "k", "", 1, 0, 10001, NULL)), "SL_EINVAL");
    CHECK_STR(sl_str_c(ids(c, "k", "", NAN, 0, 1, NULL)), "SL_EINVAL");
    CHECK_STR(sl_str_c(ids(c, "../etc", "", 1, 0, 1, NULL)), "SL_ENOENT");
    CHECK_EQ(sl_collections_create(c, SL_STR("e"), 2, SL_VECTOR_EUCLID, reason), 0);
    CHECK_EQ(sl_collections_list(c, infos, 4, &count, reason), 0);
    CHECK_EQ(count, 2);
    CHECK_STR(sl_str_c(infos[0].name), "e");
    CHECK(infos[1].rows == 4 && infos[1].dims == 2 && infos[1].memory_bytes > 0);
    CHECK_EQ(sl_collections_drop(c, SL_STR("e"), reason), 0);
    CHECK_EQ(sl_collections_drop(c, SL_STR("e"), reason), SL_ENOENT);
    CHECK_STR(sl_str_c(ids(c, "e", "", 1, 0, 1, NULL)), "SL_ENOENT");
    sl_collections_close(c);
}

SL_TEST(life_of_a_collection_in_memory)
{
    check_life(NULL);
}

SL_TEST(life_of_a_collection_on_disk)
{
    const char *path = make_file();
    check_life(path);
    sl_collections *c = opened(path); /* everything is there again */
    CHECK_STR(sl_str_c(ids(c, "k", "", 1, 0.1f, 3, NULL)), "c,b,a");
    CHECK_STR(sl_str_c(ids(c, "k", "tenant", 1, 0, 5, NULL)), "a");
    CHECK_STR(sl_str_c(ids(c, "k", "", 0.1f, 1, 5, "{'lang':'fr'}")), "a");
    sl_collections_close(c);
    remove_file();
}

SL_TEST(rows_that_are_refused)
{
    sl_collections *c = opened(NULL);
    float bad[2] = {1, INFINITY}, good[3] = {1, 2, 3};
    char long_id[600];
    memset(long_id, 'x', sizeof long_id);
    CHECK_EQ(sl_collections_create(c, SL_STR("k"), 2, SL_VECTOR_DOT, reason), 0);
    sl_vector_row rows[] = {{.id = SL_STR("a"), .vector = bad, .dims = 2},
                            {.id = SL_STR(""), .vector = good, .dims = 2},
                            {.id = SL_STR("a"), .vector = good, .dims = 3},
                            {.id = SL_STR("a"), .vector = good, .dims = 0},
                            {.id = SL_STR("a\0b"), .vector = good, .dims = 2},
                            {.id = sl_str_of(long_id, sizeof long_id), .vector = good, .dims = 2},
                            {.id = SL_STR("a"), .space = sl_str_of(long_id, 256), .vector = good, .dims = 2}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        reason[0] = '\0';
        sl_vector_row two[2] = {{.id = SL_STR("first"), .vector = good, .dims = 2}, rows[i]};
        CHECK_EQ(sl_collections_put(c, SL_STR("k"), two, 2, reason), SL_EINVAL);
        CHECK(reason[0] != '\0');
        CHECK_STR(sl_str_c(ids(c, "k", "", 1, 0, 5, NULL)), ""); /* all or none */
    }
    sl_collections_close(c);
}

/* What another process puts is seen by the next search; so is a collection that was dropped and made anew. */
/* Those that were searched longest ago leave memory, and come back with what has changed meanwhile. */
SL_TEST(memory_is_for_what_is_searched)
{
    sl_collections *c = opened(make_file());
    static const char *const names[] = {"a", "b", "c", "d"};
    sl_collection_info infos[4];
    size_t count = 0, loaded = 0;
    for (size_t i = 0; i < 4; i++) {
        CHECK_EQ(sl_collections_create(c, sl_str_c(names[i]), 2, SL_VECTOR_DOT, reason), 0);
        CHECK_EQ(put(c, names[i], "", names[i], 1, 0, ""), 0);
        CHECK_STR(sl_str_c(ids(c, names[i], "", 1, 0, 5, NULL)), names[i]);
    }
    CHECK_EQ(sl_collections_list(c, infos, 4, &count, reason), 0);
    for (size_t i = 0; i < count; i++)
        loaded += infos[i].memory_bytes > 0;
    CHECK_EQ(loaded, 4);
    sl_collections_set_room(c, infos[0].memory_bytes * 2);
    CHECK_EQ(sl_collections_create(c, SL_STR("e"), 2, SL_VECTOR_DOT, reason), 0);
    CHECK_STR(sl_str_c(ids(c, "a", "", 1, 0, 5, NULL)), "a");
    CHECK_STR(sl_str_c(ids(c, "e", "", 1, 0, 5, NULL)), "");
    CHECK_EQ(sl_collections_list(c, infos, 4, &count, reason), 0);
    CHECK(infos[0].memory_bytes > 0 && !infos[1].memory_bytes && !infos[2].memory_bytes);
    CHECK_EQ(put(c, "b", "", "b2", 2, 0, ""), 0);
    CHECK_STR(sl_str_c(ids(c, "b", "", 1, 0, 5, NULL)), "b2,b");
    sl_collections_set_room(c, 0);
    for (size_t i = 0; i < 4; i++) { /* one at a time */
        CHECK_STR(sl_str_c(ids(c, names[i], "", 1, 0, 1, NULL)), i == 1 ? "b2" : names[i]);
        CHECK_EQ(sl_collections_list(c, infos, 4, &count, reason), 0);
        for (size_t k = 0; k < 4; k++)
            CHECK_EQ(infos[k].memory_bytes > 0, k == i);
    }
    sl_collections_close(c);
    remove_file();
}

SL_TEST(other_processes)
{
    const char *path = make_file();
    sl_collections *mine = opened(path), *other = opened(path);
    CHECK_EQ(sl_collections_create(mine, SL_STR("k"), 2, SL_VECTOR_DOT, reason), 0);
    CHECK_EQ(put(mine, "k", "", "a", 1, 0, ""), 0);
    CHECK_STR(sl_str_c(ids(mine, "k", "", 1, 0, 5, NULL)), "a");
    CHECK_STR(sl_str_c(ids(other, "k", "", 1, 0, 5, NULL)), "a");
    CHECK_EQ(put(other, "k", "", "b", 2, 0, ""), 0);
    CHECK_STR(sl_str_c(ids(mine, "k", "", 1, 0, 5, NULL)), "b,a");
    CHECK_EQ(put(other, "k", "", "c", 3, 0, ""), 0);
    CHECK_EQ(put(mine, "k", "", "d", 4, 0, ""), 0); /* on top of one that it has not seen */
    CHECK_STR(sl_str_c(ids(mine, "k", "", 1, 0, 5, NULL)), "d,c,b,a");
    CHECK_STR(sl_str_c(ids(other, "k", "", 1, 0, 5, NULL)), "d,c,b,a");
    CHECK_EQ(sl_collections_drop(other, SL_STR("k"), reason), 0);
    CHECK_STR(sl_str_c(ids(mine, "k", "", 1, 0, 5, NULL)), "SL_ENOENT");
    CHECK_EQ(sl_collections_create(other, SL_STR("k"), 2, SL_VECTOR_EUCLID, reason), 0);
    CHECK_EQ(put(other, "k", "", "z", 1, 1, ""), 0);
    CHECK_STR(sl_str_c(ids(mine, "k", "", 1, 0, 5, NULL)), "z");
    sl_collections_close(mine);
    sl_collections_close(other);
    remove_file();
}

/* Made anew with as many changes as the one before it: nobody takes its rows for the old ones, which a process that
 * searched them still has in memory. */
SL_TEST(a_collection_that_is_made_anew_is_another)
{
    const char *path = make_file();
    sl_collections *mine = opened(path), *other = opened(path);
    static const char *const rounds[] = {"a", "b", "c", "d"};
    for (size_t i = 0; i < 4; i++) {
        CHECK_EQ(sl_collections_create(other, SL_STR("k"), 2, SL_VECTOR_DOT, reason), 0);
        CHECK_EQ(put(other, "k", "", rounds[i], 1, 0, ""), 0);
        CHECK_STR(sl_str_c(ids(mine, "k", "", 1, 0, 5, NULL)), rounds[i]);
        CHECK_EQ(sl_collections_drop(other, SL_STR("k"), reason), 0); /* not seen by the other process */
    }
    sl_collections_close(mine);
    sl_collections_close(other);
    remove_file();
}

typedef struct beside {
    sl_collections *c;
    atomic_bool stop;
    unsigned long rounds;
} beside;

static void *search_on(void *user)
{
    beside *b = user;
    while (!atomic_load(&b->stop)) {
        float vector[2] = {1, 0};
        char why[SL_COLLECTION_REASON];
        sl_vector_hits *hits = NULL;
        sl_vector_query q = {.collection = SL_STR("k"), .vector = vector, .dims = 2, .top_k = 3};
        CHECK_EQ(sl_collections_search(b->c, &q, why, &hits), 0);
        sl_vector_hits_free(hits);
        b->rounds++;
    }
    return NULL;
}

SL_TEST(searches_beside_changes)
{
    const char *path = make_file();
    sl_collections *c = opened(path);
    static beside b[2];
    pthread_t threads[2];
    CHECK_EQ(sl_collections_create(c, SL_STR("k"), 2, SL_VECTOR_DOT, reason), 0);
    for (int i = 0; i < 2; i++) {
        b[i].c = c;
        REQUIRE(pthread_create(&threads[i], NULL, search_on, &b[i]) == 0);
    }
    for (int i = 0; i < 300; i++) {
        char id[20];
        (void)snprintf(id, sizeof id, "%d", i);
        CHECK_EQ(put(c, "k", "", id, (float)i, 0, "{\"n\":1}"), 0);
        CHECK(strncmp(ids(c, "k", "", 1, 0, 1, NULL), id, strlen(id)) == 0); /* seen at once */
    }
    for (int i = 0; i < 2; i++) {
        atomic_store(&b[i].stop, true);
        (void)pthread_join(threads[i], NULL);
        CHECK(b[i].rounds > 0);
    }
    sl_collections_close(c);
    remove_file();
}

/* A process that is killed while it loads leaves whole batches. */
SL_TEST(killed_while_loading)
{
    const char *path = make_file();
    pid_t child = fork();
    if (child == 0) {
        sl_collections *c = opened(path);
        if (sl_collections_create(c, SL_STR("k"), 2, SL_VECTOR_DOT, reason))
            _exit(2);
        for (int i = 0;; i++) {
            float vectors[10][2];
            char names[10][24];
            sl_vector_row rows[10];
            for (int k = 0; k < 10; k++) {
                (void)snprintf(names[k], sizeof names[k], "%06d-%d", i, k);
                vectors[k][0] = (float)i;
                vectors[k][1] = 1;
                rows[k] = (sl_vector_row){.id = sl_str_c(names[k]), .vector = vectors[k], .dims = 2};
            }
            if (sl_collections_put(c, SL_STR("k"), rows, 10, reason))
                _exit(3);
        }
    }
    (void)usleep(300000);
    (void)kill(child, SIGKILL);
    int status = 0;
    (void)waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status));
    sl_collections *c = opened(path);
    sl_collection_info info = {0};
    size_t count = 0;
    CHECK_EQ(sl_collections_list(c, &info, 1, &count, reason), 0);
    if (count) {
        CHECK_EQ(info.rows % 10, 0);
        CHECK(strcmp(ids(c, "k", "", 1, 0, 1, NULL), "SL_EIO") != 0);
    }
    sl_collections_close(c);
    remove_file();
}

SL_TEST(damaged_rows_are_told)
{
    const char *path = make_file();
    sl_collections *c = opened(path);
    sqlite3 *db = NULL;
    CHECK_EQ(sl_collections_create(c, SL_STR("k"), 2, SL_VECTOR_DOT, reason), 0);
    CHECK_EQ(put(c, "k", "", "a", 1, 0, ""), 0);
    sl_collections_close(c);
    REQUIRE(sqlite3_open(path, &db) == SQLITE_OK);
    CHECK(sqlite3_exec(db, "update vectors set vector = x'00'", NULL, NULL, NULL) == SQLITE_OK);
    (void)sqlite3_close(db);
    c = opened(path);
    CHECK_STR(sl_str_c(ids(c, "k", "", 1, 0, 1, NULL)), "SL_EIO");
    CHECK(strstr(reason, "cannot be read") != NULL);
    CHECK_EQ(put(c, "k", "", "a", 1, 0, ""), 0); /* mended by putting it again */
    CHECK_STR(sl_str_c(ids(c, "k", "", 1, 0, 1, NULL)), "a");
    sl_collections_close(c);
    char error[300] = "";
    CHECK(sl_collections_open("/nonexistent/folder/x.db", error, sizeof error, &c) != 0 && error[0]);
    remove_file();
}

/* The disk takes no more: the change is refused, what was accepted stays and is found; with room it goes on. */
SL_TEST(no_room_on_the_disk)
{
    const char *path = make_file();
    sl_collections *c = opened(path);
    struct rlimit before;
    CHECK_EQ(sl_collections_create(c, SL_STR("k"), 2, SL_VECTOR_DOT, reason), 0);
    CHECK_EQ(put(c, "k", "", "kept", 1, 0, ""), 0);
    CHECK_STR(sl_str_c(ids(c, "k", "", 1, 0, 5, NULL)), "kept");
    REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {4096, before.rlim_max};
    REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    int error = put(c, "k", "", "lost", 2, 0, "{\"a\":1}");
    CHECK(error == SL_EIO || error == SL_ELIMIT);
    CHECK(reason[0] != '\0');
    CHECK_STR(sl_str_c(ids(c, "k", "", 1, 0, 5, NULL)), "kept");
    REQUIRE(setrlimit(RLIMIT_FSIZE, &before) == 0);
    CHECK_EQ(put(c, "k", "", "more", 3, 0, ""), 0);
    CHECK_STR(sl_str_c(ids(c, "k", "", 1, 0, 5, NULL)), "more,kept");
    sl_collections_close(c);
    c = opened(path);
    CHECK_STR(sl_str_c(ids(c, "k", "", 1, 0, 5, NULL)), "more,kept");
    sl_collections_close(c);
    remove_file();
}

SL_TEST(a_search_can_be_stopped)
{
    sl_collections *c = opened(NULL);
    atomic_bool stop = true;
    float vector[2] = {1, 0};
    sl_vector_hits *hits = NULL;
    CHECK_EQ(sl_collections_create(c, SL_STR("k"), 2, SL_VECTOR_DOT, reason), 0);
    CHECK_EQ(put(c, "k", "", "a", 1, 0, ""), 0);
    sl_vector_query q = {.collection = SL_STR("k"), .vector = vector, .dims = 2, .top_k = 1, .stop = &stop};
    CHECK_EQ(sl_collections_search(c, &q, reason, &hits), SL_ECLOSED);
    CHECK(hits == NULL);
    sl_collections_close(c);
}

/* More keys than are kept ready: the rest is looked at for one search alone. */
SL_TEST(many_keys)
{
    sl_collections *c = opened(NULL);
    CHECK_EQ(sl_collections_create(c, SL_STR("k"), 2, SL_VECTOR_DOT, reason), 0);
    CHECK_EQ(put(c, "k", "", "a", 1, 0, "{\"k99\":5}"), 0);
    for (int i = 0; i < 120; i++) {
        char filter[40];
        (void)snprintf(filter, sizeof filter, "{'k%d':5}", i);
        CHECK_STR(sl_str_c(ids(c, "k", "", 1, 0, 1, filter)), i == 99 ? "a" : "");
    }
    CHECK_EQ(put(c, "k", "", "b", 1, 0, "{\"k99\":5}"), 0);
    CHECK_STR(sl_str_c(ids(c, "k", "", 1, 0, 5, "{'k99':5}")), "a,b");
    sl_collections_close(c);
}

/* Each allocation fails in turn: an error, nothing lost, and the next try works. */
SL_TEST(memory_runs_out)
{
    sl_collections *c = opened(NULL);
    CHECK_EQ(sl_collections_create(c, SL_STR("k"), 2, SL_VECTOR_COSINE, reason), 0);
    for (int i = 0; i < 130; i++) {
        char id[20];
        bool failed = true;
        (void)snprintf(id, sizeof id, "%d", i);
        for (long n = 0; failed; n++) {
            sl_test_fail_alloc(n);
            int error = put(c, "k", i % 2 ? "s" : "", id, 1, (float)i, "{\"n\":1}");
            failed = sl_test_alloc_failed();
            sl_test_fail_alloc(-1);
            CHECK_EQ(error, failed ? SL_ENOMEM : 0);
        }
    }
    bool failed = true;
    for (long n = 0; failed; n++) {
        sl_test_fail_alloc(n);
        (void)ids(c, "k", "s", 0, 1, 3, NULL);
        failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
    }
    CHECK_STR(sl_str_c(ids(c, "k", "s", 0, 1, 2, "{'n':1}")), "129,127");
    CHECK_STR(sl_str_c(ids(c, "k", "", 0, 1, 2, NULL)), "128,126");
    sl_collections_close(c);
}

SL_TEST(names)
{
    static const char *const good[] = {"a", "knowledge-base", "A.b_c/d:e", "0"};
    static const char *const bad[] = {"", "-a", ".", "../x", "a b", "a\nb", "\xc3\xa4", "/a"};
    char long_name[130];
    memset(long_name, 'a', sizeof long_name);
    for (size_t i = 0; i < 4; i++)
        CHECK(sl_collection_name_is_valid(sl_str_c(good[i])));
    for (size_t i = 0; i < 8; i++)
        CHECK(!sl_collection_name_is_valid(sl_str_c(bad[i])));
    CHECK(sl_collection_name_is_valid(sl_str_of(long_name, 128)));
    CHECK(!sl_collection_name_is_valid(sl_str_of(long_name, 129)));
}

/* ---- rows of files ---- */

typedef struct rows_case {
    bool csv;
    const char *text;
    const char *wanted; /* list of rows, or what the reason says */
    int error;          /* 0: they end well */
    unsigned line;
} rows_case;

static const rows_case rows_cases[] = {
    {false, "", "[]", 0, 0},
    {false, "{'id':'a','vector':[1,2]}\n", "[{'id':'a','vector':[1,2],'metadata':{}}]", 0, 0},
    {false, "\n\n{'vector':[1]}\r\n\n{'id':7,'text':'x','namespace':'n'}",
     "[{'vector':[1],'id':'1','metadata':{}},{'id':'7','text':'x','namespace':'n','metadata':{'text':'x'}}]", 0, 0},
    {false, "{'id':'a','text':'x','metadata':{'text':'own','k':1}}",
     "[{'id':'a','text':'x','metadata':{'text':'own','k':1}}]", 0, 0},
    {false, "{'vector':[1]}\nnot json\n", "", SL_EPARSE, 2},
    {false, "[1]\n", "no object", SL_EPARSE, 1},
    {false, "{'id':'a'}\n", "neither vector nor text", SL_EPARSE, 1},
    {false, "{'id':[],'text':'x'}\n", "id is neither", SL_EPARSE, 1},
    {false, "{'vector':5}\n", "vector is no list", SL_EPARSE, 1},
    {false, "{'text':5}\n", "text is no text", SL_EPARSE, 1},
    {false, "{'text':'x','namespace':5}\n", "namespace is no text", SL_EPARSE, 1},
    {false, "{'text':'x','metadata':[]}\n", "metadata is no object", SL_EPARSE, 1},
    {true, "id,text,year,lang\na,hello,2020,en\nb,\"x, \"\"y\"\"\nz\",1.5,\n",
     "[{'id':'a','text':'hello','metadata':{'year':2020,'lang':'en','text':'hello'}},"
     "{'id':'b','text':'x, \\'y\\'\\nz','metadata':{'year':1.5,'text':'x, \\'y\\'\\nz'}}]",
     0, 0},
    {true, "vector,metadata,namespace\r\n\"[1,2]\",\"{\"\"k\"\":1}\",n\r\n",
     "[{'vector':[1,2],'namespace':'n','id':'1','metadata':{'k':1}}]", 0, 0},
    {true, "id,text\n\n\na,b\n", "[{'id':'a','text':'b','metadata':{'text':'b'}}]", 0, 0},
    {true, "id,text\na\n", "not as many fields", SL_EPARSE, 2},
    {true, "id,text\na,\"b\n", "not closed", SL_EPARSE, 2},
    {true, "id,text\na,b\"c\n", "a quote stands within", SL_EPARSE, 2},
    {true, "id,text\na,\"b\"c\n", "followed by something else", SL_EPARSE, 2},
    {true, "id,vector\na,x\n", "vector is no JSON list", SL_EPARSE, 2},
    {true, "id,text,metadata\na,x,[]\n", "metadata is no JSON object", SL_EPARSE, 2},
    {true, "id,text\na,\xff\n", "no UTF-8", SL_EPARSE, 2},
    /* A byte order mark, and what only begins like one. */
    {true, "\xef\xbb\xbfid,text\na,b\n", "[{'id':'a','text':'b','metadata':{'text':'b'}}]", 0, 0},
    {false, "\xef\xbb\xbf{'id':'a','vector':[1]}\n", "[{'id':'a','vector':[1],'metadata':{}}]", 0, 0},
    {true, "\xef\xbb\xbf", "[]", 0, 0},
    {true, "\xef\xbb", "no UTF-8", SL_EPARSE, 1},
    {true, "\xef\xbc\xa1,text\n1,b\n", "[{'id':'1','text':'b','metadata':{'\xef\xbc\xa1':1,'text':'b'}}]", 0, 0},
    {true, "x\n1\n", "neither vector nor text", SL_EPARSE, 2},
    {true, "text,\n", "[]", 0, 0},
    {true, "text\n\"\"\n", "neither vector nor text", SL_EPARSE, 2},
    {true, "text\r\n\"a\r\nb\"\r\n", "[{'id':'1','text':'a\\r\\nb','metadata':{'text':'a\\r\\nb'}}]", 0, 0},
    {true, "text,n\na,9223372036854775807\nb,9223372036854775808\nc,-0\nd,1e3\ne,0x1\nf, 1\n",
     "[{'id':'1','text':'a','metadata':{'n':9223372036854775807,'text':'a'}},"
     "{'id':'2','text':'b','metadata':{'n':9223372036854775808.0,'text':'b'}},"
     "{'id':'3','text':'c','metadata':{'n':0,'text':'c'}},{'id':'4','text':'d','metadata':{'n':1000.0,'text':'d'}},"
     "{'id':'5','text':'e','metadata':{'n':'0x1','text':'e'}},{'id':'6','text':'f','metadata':{'n':' 1','text':'f'}}]",
     0, 0},
};

SL_TEST(rows_of_files)
{
    for (size_t i = 0; i < sizeof rows_cases / sizeof *rows_cases; i++) {
        const rows_case *rc = &rows_cases[i];
        char *text = strdup(rc->text);
        for (char *ch = text; *ch && !rc->csv; ch++)
            *ch = *ch == '\'' ? '"' : *ch;
        FILE *file = fmemopen(text, strlen(text) ? strlen(text) : 1, "r");
        if (*text == '\0') { /* an empty buffer cannot be opened */
            (void)fclose(file);
            file = fopen("/dev/null", "r");
        }
        sl_rows rows;
        json_t *list = json_array(), *row;
        int error;
        sl_rows_init(&rows, file, rc->csv);
        while (!(error = sl_rows_next(&rows, &row)))
            (void)json_array_append_new(list, row);
        if (rc->error) {
            if (error != rc->error || rows.line != rc->line || !strstr(rows.reason, rc->wanted))
                sl_test_failed(__FILE__, __LINE__, "%s: %s line %u %s", rc->text, sl_error_name(error), rows.line,
                               rows.reason);
        } else {
            char wanted_text[1000];
            (void)snprintf(wanted_text, sizeof wanted_text, "%s", rc->wanted);
            json_t *wanted = quoted(wanted_text);
            char *got = json_dumps(list, JSON_COMPACT);
            if (error != SL_ENOENT || !json_equal(list, wanted))
                sl_test_failed(__FILE__, __LINE__, "%s: %s %s", rc->text, got, rows.reason);
            free(got);
            json_decref(wanted);
        }
        json_decref(list);
        sl_rows_done(&rows);
        (void)fclose(file);
        free(text);
    }
}
