/* Scopes and tracers: one id for equal scopes, readable from another handle, bounded. */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "src/telemetry/test_sdk_fixture.h"
#include "src/wire/otlp_read.h"

SL_TEST(scope_ids)
{
    sl_segment *s;
    REQUIRE(sl_segment_new(NULL, &s) == 0);
    sl_scopes *scopes = sl_scopes_new(s);
    REQUIRE(scopes);
    sl_attr attr = sl_attr_str("k", "v");
    sl_scope_options all[] = {{.name = SL_STR("a")},
                              {.name = SL_STR("b")},
                              {.name = SL_STR("a"), .version = SL_STR("1")},
                              {.name = SL_STR("a"), .schema_url = SL_STR("https://opentelemetry.io/schemas/1.44.0")},
                              {.name = SL_STR("a"), .attrs = &attr, .attr_count = 1},
                              {.version = SL_STR("only")}};
    uint32_t ids[6];
    for (size_t i = 0; i < 6; i++) {
        ids[i] = sl_scopes_id(scopes, &all[i]);
        CHECK_EQ(ids[i], i + 1);
    }
    for (size_t i = 0; i < 6; i++)
        CHECK_EQ(sl_scopes_id(scopes, &all[i]), ids[i]);
    sl_scope_options empty = {.name = SL_STR("")};
    CHECK_EQ(sl_scopes_id(scopes, &empty), 0);
    CHECK_EQ(sl_scopes_id(scopes, NULL), 0);
    CHECK_EQ(sl_scopes_id(NULL, &all[0]), 0);
    sl_scopes_free(scopes);
    sl_segment_free(s);
}

SL_TEST(scope_read_from_another_handle)
{
    sl_segment *s, *reader;
    int fd = memfd_create("scopes", MFD_CLOEXEC);
    sl_segment_options options = {.size_bytes = 4u << 20, .threads = 2, .cells = 64};
    REQUIRE(sl_segment_new_shared(&options, fd, &s) == 0);
    sl_scopes *scopes = sl_scopes_new(s);
    sl_attr attrs[] = {sl_attr_str("k", "v"), sl_attr_int("n", 3)};
    sl_scope_options scope = {SL_STR("lib"), SL_STR("1.2.3"), SL_STR("https://schema"), attrs, 2};
    uint32_t id = sl_scopes_id(scopes, &scope);
    REQUIRE(sl_segment_open(fd, &reader) == 0);
    sl_str bytes, schema, name;
    REQUIRE(sl_scope_find(reader, id, &bytes, &schema, &name) == 0);
    CHECK_STR(schema, "https://schema");
    CHECK_STR(name, "lib");
    sl_otlp_scope_view view;
    sl_otlp_any any;
    REQUIRE(sl_otlp_read_scope(bytes, &view) == 0);
    CHECK_STR(view.name, "lib");
    CHECK_STR(view.version, "1.2.3");
    CHECK_EQ(sl_otlp_find_attr(bytes, SL_OTLP_SCOPE_ATTRS, SL_STR("n"), &any), 0);
    CHECK_EQ(any.integer, 3);
    CHECK_EQ(sl_scope_find(reader, id + 1, &bytes, &schema, &name), SL_ENOENT);
    CHECK_EQ(sl_scope_find(reader, 0, &bytes, &schema, &name), SL_ENOENT);
    /* The next process that records into it goes on where this one was. */
    sl_scopes *again = sl_scopes_new(reader);
    sl_scope_options other = {.name = SL_STR("other")};
    CHECK_EQ(sl_scopes_id(again, &scope), id);
    CHECK_EQ(sl_scopes_id(again, &other), id + 1);
    sl_scopes_free(again);
    sl_scopes_free(scopes);
    sl_segment_free(reader);
    sl_segment_free(s);
    close(fd);
}

SL_TEST(scope_limit)
{
    sl_segment *s;
    REQUIRE(sl_segment_new(NULL, &s) == 0);
    sl_scopes *scopes = sl_scopes_new(s);
    char name[32];
    sl_scope_options scope = {0};
    for (uint32_t i = 1; i <= SL_MAX_SCOPES + 5; i++) {
        scope.name = sl_str_of(name, (size_t)snprintf(name, sizeof name, "scope %u", i));
        CHECK_EQ(sl_scopes_id(scopes, &scope), i <= SL_MAX_SCOPES ? i : 0);
    }
    scope.name = SL_STR("scope 700");
    CHECK_EQ(sl_scopes_id(scopes, &scope), 700);
    sl_str bytes, schema, found;
    CHECK_EQ(sl_scope_find(s, 1, &bytes, &schema, &found), 0);
    CHECK_STR(found, "scope 1");
    static char huge[100000];
    memset(huge, 'x', sizeof huge);
    scope.name = sl_str_of(huge, sizeof huge);
    CHECK_EQ(sl_scopes_id(scopes, &scope), 0);
    scope.name = SL_STR("x");
    scope.schema_url = sl_str_of(huge, sizeof huge);
    CHECK_EQ(sl_scopes_id(scopes, &scope), 0);
    sl_scopes_free(scopes);
    sl_segment_free(s);
}

SL_TEST(scope_without_memory)
{
    sl_segment *s;
    REQUIRE(sl_segment_new(NULL, &s) == 0);
    sl_test_fail_alloc(0);
    CHECK(!sl_scopes_new(s));
    sl_test_fail_alloc(-1);
    sl_scopes *scopes = sl_scopes_new(s);
    sl_scope_options scope = {.name = SL_STR("a")};
    sl_test_fail_alloc(0);
    CHECK_EQ(sl_scopes_id(scopes, &scope), 0);
    sl_test_fail_alloc(-1);
    CHECK_EQ(sl_scopes_id(scopes, &scope), 1);
    sl_scopes_free(scopes);
    sl_scopes_free(NULL);
    sl_segment_free(s);
}

/* Lists and lengths that a hostile file may hold: no read outside, no endless walk. */
SL_TEST(scope_damaged_records)
{
    sl_segment *s;
    REQUIRE(sl_segment_new(NULL, &s) == 0);
    sl_scopes *scopes = sl_scopes_new(s);
    sl_scope_options a = {.name = SL_STR("a")}, b = {.name = SL_STR("b")};
    CHECK_EQ(sl_scopes_id(scopes, &a), 1);
    CHECK_EQ(sl_scopes_id(scopes, &b), 2);
    uint64_t head = sl_segment_head(s, SL_LIST_SCOPES);
    sl_scope_record *record = sl_segment_at(s, head, sizeof *record);
    REQUIRE(record && record->id == 2);
    sl_str x, y, z;
    uint64_t next = record->next;
    record->next = head; /* a circle */
    CHECK_EQ(sl_scope_find(s, 1, &x, &y, &z), SL_ENOENT);
    record->next = next + 1;
    CHECK_EQ(sl_scope_find(s, 1, &x, &y, &z), SL_ENOENT);
    record->next = UINT64_MAX - 7;
    CHECK_EQ(sl_scope_find(s, 1, &x, &y, &z), SL_ENOENT);
    record->next = next;
    record->scope_len = record->schema_len = record->name_len = UINT32_MAX;
    CHECK_EQ(sl_scope_find(s, 2, &x, &y, &z), SL_ENOENT);
    sl_scopes *again = sl_scopes_new(s);
    CHECK(again != NULL);
    sl_scopes_free(again);
    sl_scopes_free(scopes);
    sl_segment_free(s);
}

SL_TEST(tracer_same_scope_same_tracer)
{
    sl_test_sdk t;
    sl_test_sdk_init(&t, NULL);
    sl_tracer *a = sl_tracer_named(&t.sdk, "a");
    sl_scope_options scope = {.name = SL_STR("a")}, versioned = {.name = SL_STR("a"), .version = SL_STR("2")};
    CHECK(a && sl_tracer_get(&t.sdk, &scope) == a);
    CHECK(sl_tracer_get(&t.sdk, &versioned) != a);
    sl_tracer *unnamed = sl_tracer_named(&t.sdk, NULL);
    CHECK(unnamed && unnamed == sl_tracer_get(&t.sdk, NULL));
    CHECK_EQ(unnamed->scope, 0);
    sl_test_fail_alloc(1);
    CHECK(!sl_tracer_named(&t.sdk, "new"));
    sl_test_fail_alloc(-1);
    CHECK(sl_tracer_named(&t.sdk, "new") != NULL);
    sl_test_sdk_done(&t);
}

SL_TEST(limits_defaults_and_copies)
{
    sl_limits limits;
    REQUIRE(sl_limits_init(&limits, NULL) == 0);
    CHECK_EQ(limits.attr_count, 128);
    CHECK_EQ(limits.attr_value_chars, 0);
    CHECK_EQ(limits.event_count + limits.link_count + limits.event_attr_count + limits.link_attr_count, 4 * 128);
    CHECK_EQ(limits.priority_key_count, 4);
    sl_limits_done(&limits);
    char mine[] = "mine";
    const char *keys[] = {mine, NULL};
    sl_limits given = {.attr_count = 5, .attr_value_chars = 9, .priority_keys = keys, .priority_key_count = 2};
    REQUIRE(sl_limits_init(&limits, &given) == 0);
    mine[0] = 'x';
    CHECK_STR(sl_str_c(limits.priority_keys[0]), "mine");
    CHECK_STR(sl_str_c(limits.priority_keys[1]), "");
    CHECK_EQ(limits.attr_count, 5);
    CHECK_EQ(limits.attr_value_chars, 9);
    sl_limits_done(&limits);
    sl_limits_done(&limits);
    for (long n = 0; n < 5; n++) {
        sl_test_fail_alloc(n);
        CHECK_EQ(sl_limits_init(&limits, NULL), SL_ENOMEM);
        sl_test_fail_alloc(-1);
        CHECK(!limits.priority_keys);
    }
}
