/* The resource. */
#include "src/telemetry/resource.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/rng.h"
#include "src/wire/otlp_encode.h"

#define OWN_ATTRS 2 /* room kept for names of the service */

typedef struct attr_list {
    sl_attr attrs[SL_MAX_RESOURCE_ATTRS];
    size_t count;
} attr_list;

static void add(attr_list *list, const char *key, sl_value value)
{
    SL_ASSERT(list);
    if (list->count < SL_MAX_RESOURCE_ATTRS)
        list->attrs[list->count++] = sl_attr_of(key, value);
}

/* One `key=value`, both percent-encoded. */
static int parse_one(sl_str part, sl_arena *arena, sl_attr *ret_attr)
{
    SL_ASSERT(ret_attr);
    size_t equals = sl_str_chr(part, '=');
    if (equals == SL_NPOS)
        return SL_EPARSE;
    sl_str key = sl_str_trim(sl_str_sub(part, 0, equals));
    sl_str value = sl_str_trim(sl_str_sub(part, equals + 1, part.len));
    if (!key.len)
        return SL_EPARSE;
    char *text = sl_arena_alloc(arena, key.len + value.len + 1);
    if (!text)
        return SL_ENOMEM;
    size_t key_len, value_len;
    int error = sl_percent_decode(key, text, &key_len);
    if (!error)
        error = sl_percent_decode(value, text + key_len, &value_len);
    if (error)
        return error;
    sl_str decoded = sl_str_of(text, key_len);
    if (decoded.len == 0 || decoded.len > SL_MAX_KEY_BYTES || !sl_utf8_valid(decoded))
        return SL_EPARSE;
    ret_attr->key = decoded;
    ret_attr->value = sl_value_str(sl_str_of(text + key_len, value_len));
    return 0;
}

int sl_resource_parse(sl_str text, sl_arena *arena, sl_attr *attrs, size_t max, size_t *ret_count)
{
    SL_ASSERT(arena && attrs && ret_count);
    size_t count = 0;
    sl_str part;
    while (text.len && sl_str_split(&text, ',', &part)) {
        if (!sl_str_trim(part).len && !text.len)
            break; /* one comma at the end */
        if (count == max)
            return SL_ELIMIT;
        int error = parse_one(part, arena, &attrs[count]);
        if (error)
            return error;
        count++;
    }
    *ret_count = count;
    return 0;
}

/* A random UUID, version 4. */
static void put_uuid(char text[37])
{
    sl_rng rng;
    sl_rng_init(&rng);
    uint64_t a = sl_rng_next(&rng), b = sl_rng_next(&rng);
    (void)snprintf(text, 37, "%08x-%04x-4%03x-%04x-%012llx", (unsigned)(a >> 32), (unsigned)(a >> 16 & 0xFFFF),
                   (unsigned)(a & 0xFFF), (unsigned)(0x8000 | (b >> 48 & 0x3FFF)),
                   (unsigned long long)(b & 0xFFFFFFFFFFFFull));
}

typedef struct defaults_text {
    char unknown[64];
    char uuid[37];
    char host[256];
} defaults_text;

static void add_defaults(attr_list *list, const sl_resource_options *o, defaults_text *text)
{
    SL_ASSERT(text && o);
    const char *program = program_invocation_short_name ? program_invocation_short_name : "program";
    (void)snprintf(text->unknown, sizeof text->unknown, "unknown_service:%s", program);
    put_uuid(text->uuid);
    add(list, "service.name", sl_value_cstr(o->default_service_name ? o->default_service_name : text->unknown));
    add(list, "service.instance.id", sl_value_cstr(text->uuid));
    add(list, "telemetry.sdk.name", sl_value_cstr("sightline"));
    add(list, "telemetry.sdk.language", sl_value_cstr("c"));
    add(list, "telemetry.sdk.version", sl_value_cstr(sl_version()));
    add(list, "process.pid", sl_value_int(getpid()));
    add(list, "process.executable.name", sl_value_cstr(program));
    if (gethostname(text->host, sizeof text->host - 1) == 0 && text->host[0])
        add(list, "host.name", sl_value_cstr(text->host));
}

static int add_environment(attr_list *list, const sl_env *env, sl_arena *arena)
{
    SL_ASSERT(list);
    size_t count = 0;
    int error = sl_resource_parse(sl_env_text(env, SL_VAR_OTEL_RESOURCE_ATTRIBUTES), arena, list->attrs + list->count,
                                  SL_MAX_RESOURCE_ATTRS - OWN_ATTRS - list->count, &count);
    if (error == SL_ENOMEM)
        return error;
    if (error)
        sl_env_reject(env, SL_VAR_OTEL_RESOURCE_ATTRIBUTES, error == SL_ELIMIT ? "too many" : "malformed");
    else
        list->count += count;
    sl_str name = sl_env_text(env, SL_VAR_OTEL_SERVICE_NAME);
    if (!name.len && sl_env_bool(env, SL_VAR_LLAMA_DEPLOY_APISERVER_TRACING_ENABLED, false))
        name = sl_env_text(env, SL_VAR_LLAMA_DEPLOY_APISERVER_TRACING_SERVICE_NAME);
    if (name.len)
        add(list, "service.name", sl_value_str(name));
    return 0;
}

/* Of equal keys the last stays; keys that are not allowed go. */
static uint32_t clean(attr_list *list)
{
    SL_ASSERT(list);
    size_t kept = 0;
    uint32_t dropped = 0;
    for (size_t i = 0; i < list->count; i++) {
        const sl_attr *attr = &list->attrs[i];
        size_t later = i + 1;
        while (later < list->count && !sl_str_eq(list->attrs[later].key, attr->key))
            later++;
        bool allowed = attr->key.len > 0 && attr->key.len <= SL_MAX_KEY_BYTES;
        dropped += !allowed;
        if (allowed && later == list->count)
            list->attrs[kept++] = *attr;
    }
    list->count = kept;
    return dropped;
}

int sl_resource_encode(const sl_env *env, const sl_resource_options *options, sl_buf *out)
{
    SL_ASSERT(env && options && out && (options->attrs || !options->attr_count));
    attr_list list;
    defaults_text text;
    sl_arena arena;
    memset(&list, 0, sizeof list);
    memset(&text, 0, sizeof text);
    sl_arena_init(&arena, 4096, SL_MAX_RESOURCE_BYTES);
    add_defaults(&list, options, &text);
    int error = add_environment(&list, env, &arena);
    if (!error && options->service_name)
        add(&list, "service.name", sl_value_cstr(options->service_name));
    size_t room = SL_MAX_RESOURCE_ATTRS - list.count;
    size_t own = options->attr_count < room ? options->attr_count : room;
    for (size_t i = 0; i < own; i++)
        list.attrs[list.count++] = options->attrs[i];
    uint32_t dropped = clean(&list) + (uint32_t)(options->attr_count - own);
    if (!error)
        error = sl_otlp_buf_resource(out, list.attrs, list.count, dropped);
    sl_arena_done(&arena);
    return error;
}
