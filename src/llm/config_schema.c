/* Typed reading of YAML maps by tables. */
#include "src/llm/config_schema.h"

#include "src/base/assert.h"
#include <stdlib.h>

static const char env_prefix[] = "os.environ/";

sl_str sl_config_resolve(sl_config *config, const sl_yaml_node *node, const char *key)
{
    sl_str text = sl_yaml_text(node);
    if (!sl_str_starts(text, sl_str_c(env_prefix)))
        return sl_arena_dup(&config->arena, text);
    char name[256];
    if (!sl_str_to_c(sl_str_sub(text, sizeof env_prefix - 1, text.len), name, sizeof name)) {
        sl_config_diag(config, SL_DIAG_ERROR, node, "%s: the name after os.environ/ is too long; use a shorter one",
                       key);
        return sl_arena_dup(&config->arena, SL_STR(""));
    }
    const char *value = getenv(name);
    if (!value)
        sl_config_diag(config, SL_DIAG_WARNING, node,
                       "%s: environment variable %s is not set; export it, or give a value", key, name);
    return sl_arena_dup(&config->arena, sl_str_c(value ? value : ""));
}

static bool read_bool(sl_str text, bool *ret_value)
{
    SL_ASSERT(ret_value);
    static const struct {
        const char *text;
        bool value;
    } words[] = {{"true", true}, {"yes", true}, {"on", true}, {"false", false}, {"no", false}, {"off", false}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (sl_str_ieq(text, sl_str_c(words[i].text))) {
            *ret_value = words[i].value;
            return true;
        }
    }
    return false;
}

static bool read_bytes(sl_str text, uint64_t *ret_value)
{
    SL_ASSERT(ret_value);
    static const struct {
        const char *suffix;
        uint64_t factor;
    } units[] = {{"KiB", 1024}, {"MiB", 1024 * 1024}, {"GiB", 1024 * 1024 * 1024}};
    uint64_t factor = 1, value;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (sl_str_ends(text, sl_str_c(units[i].suffix))) {
            factor = units[i].factor;
            text = sl_str_trim(sl_str_sub(text, 0, text.len - 3));
        }
    }
    if (sl_str_to_u64(text, &value) != 0 || value > UINT64_MAX / factor)
        return false;
    *ret_value = value * factor;
    return true;
}

/* Stores a number as uint32_t when it lies in [0, limit]. */
static bool read_u32(sl_str text, double factor, double limit, uint32_t *ret_value)
{
    SL_ASSERT(ret_value);
    double value;
    if (sl_str_to_double(text, &value) != 0 || value < 0 || value * factor > limit)
        return false;
    *ret_value = (uint32_t)(value * factor + 0.5);
    return true;
}

static void read_value(sl_config *config, const sl_yaml_node *value, const char *where, const sl_key_def *key, void *at)
{
    SL_ASSERT(key);
    sl_str text = sl_yaml_text(value);
    const char *expected = NULL;
    switch (key->type) {
    case SL_KEY_STR:
    case SL_KEY_SECRET:
        if (sl_yaml_is_map(value) || sl_yaml_is_list(value))
            expected = "a string";
        else
            *(sl_str *)at = sl_config_resolve(config, value, key->name);
        break;
    case SL_KEY_BOOL:
        expected = read_bool(text, at) ? NULL : "true or false";
        break;
    case SL_KEY_SECONDS:
        expected = read_u32(text, 1000, 4e9, at) ? NULL : "a number of seconds from 0 to 4000000";
        break;
    case SL_KEY_U32:
        expected = read_u32(text, 1, 4e9, at) ? NULL : "a whole number";
        break;
    case SL_KEY_BYTES:
        expected = read_bytes(text, at) ? NULL : "a number of bytes, such as 1048576 or 64MiB";
        break;
    case SL_KEY_CHILD:
    case SL_KEY_NOT_YET:
        break;
    }
    if (expected && key->type == SL_KEY_SECRET)
        sl_config_diag(config, SL_DIAG_ERROR, value, "%s.%s: not usable; give %s", where, key->name, expected);
    else if (expected)
        sl_config_diag(config, SL_DIAG_ERROR, value, "%s.%s: \"%.*s\" is not usable; give %s", where, key->name,
                       (int)(text.len < 80 ? text.len : 80), text.ptr, expected);
}

static const sl_key_def *find_key(sl_str name, const sl_key_def *keys, size_t count)
{
    SL_ASSERT(keys || !count);
    for (size_t i = 0; i < count; i++) {
        if (sl_str_eq_c(name, keys[i].name))
            return &keys[i];
    }
    return NULL;
}

static void read_pair(sl_config *config, sl_yaml_node *name, sl_yaml_node *value, const char *where,
                      const sl_key_def *keys, size_t key_count, void *target)
{
    sl_str text = sl_yaml_text(name);
    const sl_key_def *key = find_key(text, keys, key_count);
    if (!key)
        sl_config_diag(config, SL_DIAG_WARNING, name,
                       "%s.%.*s: this key is not known; it has no effect, check its spelling", where,
                       (int)(text.len < 80 ? text.len : 80), text.ptr);
    else if (key->type == SL_KEY_NOT_YET)
        sl_config_diag(config, SL_DIAG_WARNING, name, "%s.%s: this LiteLLM key is not supported yet; it has no effect",
                       where, key->name);
    else if (key->type != SL_KEY_CHILD && !sl_yaml_is_null(value))
        read_value(config, value, where, key, (char *)target + key->offset);
}

void sl_config_read_map(sl_config *config, sl_yaml *yaml, sl_yaml_node *map, const char *where, const sl_key_def *keys,
                        size_t key_count, void *target)
{
    if (sl_yaml_is_null(map))
        return;
    if (!sl_yaml_is_map(map)) {
        sl_config_diag(config, SL_DIAG_ERROR, map, "%s: not a map; write `key: value` lines below it", where);
        return;
    }
    sl_yaml_node *name, *value;
    for (size_t i = 0; sl_yaml_pair(yaml, map, i, &name, &value); i++) {
        if (sl_str_eq_c(sl_yaml_text(name), "<<")) {
            if (sl_yaml_is_map(value)) {
                /* One level: values of the map itself win, since they are read again below. */
                sl_yaml_node *inner_name, *inner;
                for (size_t k = 0; sl_yaml_pair(yaml, value, k, &inner_name, &inner); k++) {
                    if (sl_yaml_get(yaml, map, "<<") == value && !sl_str_eq_c(sl_yaml_text(inner_name), "<<"))
                        read_pair(config, inner_name, inner, where, keys, key_count, target);
                }
            }
            continue;
        }
        read_pair(config, name, value, where, keys, key_count, target);
    }
}
