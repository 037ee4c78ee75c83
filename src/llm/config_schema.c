/* Typed reading of YAML maps by tables. */
#include "src/llm/config_schema.h"

#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/suggest.h"

#define MAX_KEYS 64  /* of one table: a bit for each */
#define MAX_SHOWN 80 /* bytes of a value or key in a diagnostic */

static const char env_prefix[] = "os.environ/";

/* The text of a scalar, with `os.environ/NAME` resolved: an unset variable gives the empty text and a warning. */
static sl_str resolve(sl_config *config, const sl_yaml_node *node, const char *where, const char *key)
{
    SL_ASSERT(config && node);
    sl_str text = sl_yaml_text(node);
    if (!sl_str_starts(text, sl_str_c(env_prefix)))
        return sl_config_dup(config, text);
    char name[256];
    if (!sl_str_to_c(sl_str_sub(text, sizeof env_prefix - 1, text.len), name, sizeof name)) {
        sl_config_diag(config, SL_DIAG_ERROR, node, "%s.%s: the name after os.environ/ is too long; use a shorter one",
                       where, key);
        return SL_STR("");
    }
    const char *value = getenv(name);
    if (!value)
        sl_config_diag(config, SL_DIAG_WARNING, node,
                       "%s.%s: environment variable %s is not set; export it, or give a value", where, key, name);
    return sl_config_dup(config, sl_str_c(value ? value : ""));
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

/* Milliseconds from a number of seconds. */
static bool read_seconds(sl_str text, uint32_t *ret_ms)
{
    SL_ASSERT(ret_ms);
    double value;
    if (sl_str_to_double(text, &value) != 0 || value < 0 || value > 4e6)
        return false;
    *ret_ms = (uint32_t)(value * 1000 + 0.5);
    return true;
}

static bool read_u32(sl_str text, uint32_t *ret_value)
{
    SL_ASSERT(ret_value);
    uint64_t value;
    if (sl_str_to_u64(text, &value) != 0 || value > UINT32_MAX)
        return false;
    *ret_value = (uint32_t)value;
    return true;
}

/* USD for one token; dearer than a dollar is a price for a million by mistake. */
static bool read_price(sl_str text, double *ret_value)
{
    SL_ASSERT(ret_value);
    double value;
    if (sl_str_to_double(text, &value) != 0 || value < 0 || value > 1)
        return false;
    *ret_value = value;
    return true;
}

/* It goes into a header: what a line break at the end of a secret's file would do there is not told by the upstream. */
static bool read_secret(sl_str text, sl_str *ret_value)
{
    SL_ASSERT(ret_value);
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] <= ' ' || text.ptr[i] > '~')
            return false;
    }
    *ret_value = text;
    return true;
}

/* Stores a value; what was expected instead, or NULL. */
static const char *store(sl_str text, sl_key_type type, void *at)
{
    switch (type) {
    case SL_KEY_STR:
        *(sl_str *)at = text;
        return NULL;
    case SL_KEY_SECRET:
        return read_secret(text, at) ? NULL : "visible ASCII characters, without a space or a line break at the end";
    case SL_KEY_BOOL:
        return read_bool(text, at) ? NULL : "true or false";
    case SL_KEY_SECONDS:
        return read_seconds(text, at) ? NULL : "a number of seconds from 0 to 4000000";
    case SL_KEY_U32:
        return read_u32(text, at) ? NULL : "a whole number";
    case SL_KEY_BYTES:
        return read_bytes(text, at) ? NULL : "a number of bytes, such as 1048576 or 64MiB";
    case SL_KEY_PRICE:
        return read_price(text, at) ? NULL : "USD for one token, such as 0.0000025";
    case SL_KEY_CHILD:
    case SL_KEY_NOT_YET:
        break;
    }
    return NULL;
}

static void read_value(sl_config *config, const sl_yaml_node *value, const char *where, const sl_key_def *key, void *at)
{
    SL_ASSERT(key && value);
    if (sl_yaml_is_map(value) || sl_yaml_is_list(value)) {
        sl_config_diag(config, SL_DIAG_ERROR, value, "%s.%s: not usable; give one value, not a map or a list", where,
                       key->name);
        return;
    }
    sl_str text = resolve(config, value, where, key->name);
    bool unset = !text.len && sl_yaml_text(value).len; /* the variable, which was warned of */
    if (unset && key->type != SL_KEY_STR && key->type != SL_KEY_SECRET)
        return;
    const char *expected = store(text, key->type, at);
    if (expected && key->type == SL_KEY_SECRET)
        sl_config_diag(config, SL_DIAG_ERROR, value, "%s.%s: not usable; give %s", where, key->name, expected);
    else if (expected)
        sl_config_diag(config, SL_DIAG_ERROR, value, "%s.%s: \"%.*s\" is not usable; give %s", where, key->name,
                       (int)sl_utf8_prefix(text, MAX_SHOWN), text.ptr, expected);
}

/* Index of a key in the table; `count` when it is not there. */
static size_t find_key(sl_str name, const sl_key_def *keys, size_t count)
{
    SL_ASSERT(keys && count <= MAX_KEYS);
    size_t i = 0;
    while (i < count && !sl_str_eq_c(name, keys[i].name))
        i++;
    return i;
}

static void tell_unknown(sl_config *config, const sl_yaml_node *name, const char *where, const sl_key_def *keys,
                         size_t count)
{
    SL_ASSERT(config && where);
    sl_str text = sl_yaml_text(name);
    sl_suggestion suggestion;
    sl_suggest_init(&suggestion, text);
    for (size_t i = 0; i < count; i++)
        sl_suggest_offer(&suggestion, keys[i].name);
    int shown = (int)sl_utf8_prefix(text, MAX_SHOWN);
    if (suggestion.best)
        sl_config_diag(config, SL_DIAG_WARNING, name,
                       "%s.%.*s: this key is not known; it has no effect, did you mean \"%s\"?", where, shown, text.ptr,
                       suggestion.best);
    else
        sl_config_diag(config, SL_DIAG_WARNING, name,
                       "%s.%.*s: this key is not known; it has no effect, check its spelling", where, shown, text.ptr);
}

static void read_pair(sl_config *config, sl_yaml_node *name, sl_yaml_node *value, const char *where,
                      const sl_key_def *key, void *target)
{
    SL_ASSERT(config && where && key);
    if (key->type == SL_KEY_NOT_YET)
        sl_config_diag(config, SL_DIAG_WARNING, name, "%s.%s: this LiteLLM key is not supported yet; it has no effect",
                       where, key->name);
    else if (key->type != SL_KEY_CHILD && !sl_yaml_is_null(value))
        read_value(config, value, where, key, (char *)target + key->offset);
}

/* Reads one map from its end, so that of a key that stands twice the last counts. `*seen`: keys that are decided. */
static void read_one_map(sl_config *config, sl_yaml *yaml, sl_yaml_node *map, const char *where, const sl_key_def *keys,
                         size_t key_count, void *target, uint64_t *seen)
{
    SL_ASSERT(seen);
    sl_yaml_node *name, *value;
    uint64_t here = 0;
    for (size_t i = sl_yaml_pair_count(map); i-- > 0 && sl_yaml_pair(yaml, map, i, &name, &value);) {
        size_t index = find_key(sl_yaml_text(name), keys, key_count);
        uint64_t bit = index < key_count ? UINT64_C(1) << index : 0;
        if (here & bit)
            sl_config_diag(config, SL_DIAG_WARNING, name,
                           "%s.%s: this key stands twice; the last one counts, so remove this one", where,
                           keys[index].name);
        else if (!sl_yaml_is_merge(name) && !(*seen & bit))
            bit ? read_pair(config, name, value, where, &keys[index], target)
                : tell_unknown(config, name, where, keys, key_count);
        here |= bit;
    }
    *seen |= here;
}

/* False when there is nothing, or something else, which is told. */
static bool is_map(sl_config *config, const sl_yaml_node *node, const char *where)
{
    SL_ASSERT(config && where);
    if (sl_yaml_is_null(node))
        return false;
    if (!sl_yaml_is_map(node))
        sl_config_diag(config, SL_DIAG_ERROR, node, "%s: not a map; write `key: value` lines below it", where);
    return sl_yaml_is_map(node);
}

void sl_config_read_map(sl_config *config, sl_yaml *yaml, sl_yaml_node *map, const char *where, const sl_key_def *keys,
                        size_t key_count, void *target)
{
    SL_ASSERT(config && where && target);
    if (!is_map(config, map, where))
        return;
    sl_yaml_maps maps;
    uint64_t seen = 0;
    sl_yaml_merged(yaml, map, &maps);
    if (maps.fault)
        sl_config_diag(config, SL_DIAG_ERROR, maps.fault,
                       "%s.<<: cannot be merged; give one map or a list of maps, at most %d in all", where,
                       SL_MAX_YAML_MERGES - 1);
    for (size_t i = 0; i < maps.count; i++)
        read_one_map(config, yaml, maps.items[i], where, keys, key_count, target, &seen);
}

void sl_config_read_known(sl_config *config, sl_yaml *yaml, sl_yaml_node *map, const char *where,
                          const sl_key_def *keys, size_t key_count, void *target)
{
    SL_ASSERT(config && where && keys && target);
    if (!is_map(config, map, where))
        return;
    for (size_t i = 0; i < key_count; i++) {
        const sl_yaml_node *value = sl_yaml_get(yaml, map, keys[i].name);
        if (value && !sl_yaml_is_null(value))
            read_value(config, value, where, &keys[i], (char *)target + keys[i].offset);
    }
}
