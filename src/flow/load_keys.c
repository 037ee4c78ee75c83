/* The tables of keys, step types and functions. */
#include "src/flow/load_keys.h"

#include "src/base/assert.h"

static const sl_flow_key keys[] = {
#define SL_FLOW_KEY(section, name, type, required, fallback, min, max, help)                                           \
    {section, name, SL_FLOW_##type, required, fallback, min, max, help},
#include "src/flow/workflow_keys.def"
#undef SL_FLOW_KEY
};

static const char *const type_names[SL_STEP_TYPE_COUNT] = {"llm",    "embed",    "vector_search", "transform",
                                                           "action", "parallel", "branch",        "loop"};

static const sl_transform_def transforms[] = {
#define SL_TRANSFORM(name, help) {name, help},
#include "src/flow/transforms.def"
#undef SL_TRANSFORM
};

const sl_transform_def *sl_transform_defs(size_t *ret_count)
{
    SL_ASSERT(ret_count);
    *ret_count = sizeof transforms / sizeof *transforms;
    return transforms;
}

const char *sl_step_type_name(sl_step_type type)
{
    SL_ASSERT((unsigned)type < SL_STEP_TYPE_COUNT);
    return (unsigned)type < SL_STEP_TYPE_COUNT ? type_names[type] : "";
}

bool sl_step_type_of(sl_str name, sl_step_type *ret_type)
{
    SL_ASSERT(ret_type);
    if (sl_str_eq_c(name, "map")) {
        *ret_type = SL_STEP_LOOP;
        return true;
    }
    for (unsigned i = 0; i < SL_STEP_TYPE_COUNT; i++) {
        if (sl_str_eq_c(name, type_names[i])) {
            *ret_type = (sl_step_type)i;
            return true;
        }
    }
    return false;
}

const sl_flow_key *sl_flow_keys(size_t *ret_count)
{
    SL_ASSERT(ret_count);
    *ret_count = sizeof keys / sizeof *keys;
    return keys;
}

const sl_flow_key *sl_flow_key_of(const char *section, sl_str name)
{
    SL_ASSERT(section);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (sl_str_eq_c(name, keys[i].name) && strcmp(section, keys[i].section) == 0)
            return &keys[i];
    }
    return NULL;
}

const char *sl_flow_key_type_name(sl_flow_key_type type)
{
    static const char *const names[] = {"word",       "word or list", "text",          "text or list",   "whole number",
                                        "number",     "seconds",      "true or false", "list",           "map",
                                        "anything",   "step type",    "kind of delay", "function",       "condition",
                                        "expression", "section",      "steps or ids",  "map of branches"};
    SL_ASSERT((size_t)type < sizeof names / sizeof *names);
    return names[type];
}
