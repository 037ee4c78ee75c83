/* The reference is complete, and its forms are sound. */
#include <stdio.h>

#include "src/cli/docs_out.h"
#include "src/cli/docs_tables.h"
#include "src/telemetry/attributes.h"
#include "src/wire/json_scan.h"
#include "tests/harness/sl_test.h"

SL_TEST(every_configuration_key_is_explained)
{
    size_t count, effective = 0, docs;
    const sl_config_section *sections = sl_config_sections(&count);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < sections[i].count; k++) {
            const sl_key_def *key = &sections[i].keys[k];
            if (key->type == SL_KEY_NOT_YET)
                continue;
            effective++;
            const sl_config_doc *doc = sl_config_doc_of(sections[i].name, key->name);
            CHECK(doc != NULL);
            if (!doc)
                fprintf(stderr, "docs_config.def lacks %s %s\n", sections[i].name, key->name);
            else
                CHECK(doc->help[0] != 0);
        }
    }
    (void)sl_config_docs(&docs);
    CHECK_EQ(docs, effective); /* no row for a key that is gone */
}

SL_TEST(every_option_is_explained)
{
    for (const sl_command *const *c = sl_commands; *c; c++) {
        CHECK((*c)->summary[0] && (*c)->text[0] && (*c)->examples && (*c)->examples[0]);
        for (const sl_option *const *table = (*c)->tables; *table; table++) {
            for (const sl_option *o = *table; o->name; o++) {
                size_t len = strlen(o->help);
                CHECK(len > 3 && o->help[len - 1] == '.');
                CHECK_EQ(o->arg != NULL, o->type != SL_OPT_FLAG);
                CHECK(strlen(o->name) < 30);
            }
        }
    }
}

SL_TEST(option_names_and_letters_are_unique_within_a_command)
{
    for (const sl_command *const *c = sl_commands; *c; c++) {
        const sl_option *seen[128];
        size_t count = 0;
        for (const sl_option *const *table = (*c)->tables; *table; table++) {
            for (const sl_option *o = *table; o->name && count < 128; o++) {
                for (size_t i = 0; i < count; i++) {
                    CHECK(strcmp(seen[i]->name, o->name) != 0);
                    CHECK(!o->letter || seen[i]->letter != o->letter);
                }
                CHECK(o->letter != 'h' && o->letter != 'V');
                seen[count++] = o;
            }
        }
    }
}

SL_TEST(attributes_are_unique_and_typed)
{
    static const char *const types[] = {"string", "int", "double", "bool", "string[]", "int[]", "number"};
    size_t count;
    const sl_attribute_def *defs = sl_attribute_defs(&count);
    CHECK(count > 20);
    for (size_t i = 0; i < count; i++) {
        bool typed = false;
        for (size_t t = 0; t < sizeof types / sizeof *types; t++)
            typed |= strcmp(defs[i].type, types[t]) == 0;
        CHECK(typed);
        CHECK(defs[i].help[0] && defs[i].where[0]);
        for (size_t j = 0; j < i; j++)
            CHECK(strcmp(defs[i].name, defs[j].name) != 0);
    }
}

SL_TEST(sections_add_up_to_the_whole)
{
    static const char *const names[] = {
#define SECTION_NAME(name, title) #name,
        SL_DOCS_SECTION_MAP(SECTION_NAME)
#undef SECTION_NAME
    };
    sl_buf whole, part;
    sl_buf_init(&whole, 1 << 20);
    sl_buf_init(&part, 1 << 20);
    REQUIRE(sl_docs_markdown(NULL, &whole) == 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        sl_buf_clear(&part);
        CHECK_EQ(sl_docs_markdown(names[i], &part), 0);
        CHECK(sl_str_find(sl_buf_str(&whole), sl_buf_str(&part)) != SL_NPOS);
    }
    CHECK_EQ(sl_docs_markdown("nonsense", &part), SL_ENOENT);
    sl_buf_done(&whole);
    sl_buf_done(&part);
}

SL_TEST(tables_have_as_many_cells_in_each_row)
{
    sl_buf out;
    sl_str rest, line;
    size_t bars = 0;
    sl_buf_init(&out, 1 << 20);
    REQUIRE(sl_docs_markdown(NULL, &out) == 0);
    rest = sl_buf_str(&out);
    while (sl_str_split(&rest, '\n', &line)) {
        size_t now = 0;
        for (size_t i = 0; i < line.len; i++)
            now += line.ptr[i] == '|' && (i == 0 || line.ptr[i - 1] != '\\');
        if (!sl_str_starts(line, SL_STR("|")))
            bars = 0;
        else if (bars == 0)
            bars = now;
        else
            CHECK_EQ(now, bars);
    }
    sl_buf_done(&out);
}

SL_TEST(json_is_json)
{
    sl_buf out;
    sl_json_value root;
    sl_buf_init(&out, 1 << 20);
    REQUIRE(sl_docs_json(&out) == 0);
    CHECK_EQ(sl_json_parse(sl_str_of(out.data, out.len - 1), &root, NULL), 0);
    CHECK_EQ(sl_json_count(sl_json_get(root, "metrics")), SL_METRIC_COUNT);
    sl_buf_done(&out);
}

SL_TEST(pages_and_completions_are_made)
{
    sl_buf out;
    sl_buf_init(&out, 1 << 20);
    CHECK_EQ(sl_docs_man(NULL, &out), 0);
    for (const sl_command *const *c = sl_commands; *c; c++)
        CHECK_EQ(sl_docs_man(*c, &out), 0);
    CHECK_EQ(sl_docs_bash(&out), 0);
    CHECK_EQ(sl_docs_zsh(&out), 0);
    CHECK_EQ(sl_docs_fish(&out), 0);
    sl_buf_done(&out);
    sl_buf_init(&out, 100); /* a buffer that is too small is an error, not half a page */
    CHECK(sl_docs_man(NULL, &out) != 0);
    sl_buf_clear(&out);
    CHECK(sl_docs_bash(&out) != 0);
    sl_buf_clear(&out);
    CHECK(sl_docs_markdown(NULL, &out) != 0);
    sl_buf_done(&out);
}
