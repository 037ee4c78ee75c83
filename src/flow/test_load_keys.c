/* The tables of keys, types and functions: whole, and found again. */
#include "src/flow/load_keys.h"

#include "tests/harness/sl_test.h"

SL_TEST(every_key_is_found_and_explained)
{
    size_t count;
    const sl_flow_key *keys = sl_flow_keys(&count);
    CHECK(count > 40);
    for (size_t i = 0; i < count; i++) {
        const sl_flow_key *key = &keys[i];
        CHECK(sl_flow_key_of(key->section, sl_str_c(key->name)) == key); /* and none twice */
        CHECK(key->help[0] && key->help[strlen(key->help) - 1] == '.');
        CHECK(key->min <= key->max);
        CHECK(sl_flow_key_type_name(key->type)[0]);
        CHECK(!(key->required && key->fallback[0]));
        if (key->type == SL_FLOW_WHOLE || key->type == SL_FLOW_SECONDS)
            CHECK(key->max > 0);
    }
    CHECK(!sl_flow_key_of("llm", SL_STR("nothing")) && !sl_flow_key_of("nothing", SL_STR("id")));
    CHECK(!sl_flow_key_of("llm", SL_STR("promp")) && !sl_flow_key_of("llm", SL_STR("")));
}

SL_TEST(every_section_is_the_file_a_step_or_a_type)
{
    size_t count;
    const sl_flow_key *keys = sl_flow_keys(&count);
    bool seen[SL_STEP_TYPE_COUNT] = {false};
    for (size_t i = 0; i < count; i++) {
        sl_step_type type = SL_STEP_LLM;
        const char *section = keys[i].section;
        bool of_type = sl_step_type_of(sl_str_c(section), &type);
        CHECK(of_type || !strcmp(section, "workflow") || !strcmp(section, "step") || !strcmp(section, "retry"));
        seen[type] |= of_type;
    }
    for (size_t i = 0; i < SL_STEP_TYPE_COUNT; i++)
        CHECK(seen[i]);
}

SL_TEST(types_have_names_and_names_types)
{
    sl_step_type type;
    for (unsigned i = 0; i < SL_STEP_TYPE_COUNT; i++) {
        CHECK(sl_step_type_of(sl_str_c(sl_step_type_name((sl_step_type)i)), &type));
        CHECK_EQ(type, i);
    }
    CHECK_STR(sl_str_c(sl_step_type_name(SL_STEP_VECTOR_SEARCH)), "vector_search"); /* not "vectorsearch" */
    CHECK(sl_step_type_of(SL_STR("map"), &type) && type == SL_STEP_LOOP);
    CHECK(!sl_step_type_of(SL_STR("Llm"), &type) && !sl_step_type_of(SL_STR(""), &type));
}

SL_TEST(functions_are_in_order_and_explained)
{
    size_t count;
    const sl_transform_def *defs = sl_transform_defs(&count);
    CHECK(count >= 10);
    for (size_t i = 0; i < count; i++) {
        CHECK(defs[i].help[0] != '\0');
        CHECK(i == 0 || strcmp(defs[i - 1].name, defs[i].name) < 0);
    }
}
