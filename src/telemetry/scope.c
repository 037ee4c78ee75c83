/*
 * The table of scopes: looked up by their encoded form, which is what lies in the segment.
 *
 * One lock for all tables: scopes are registered at start-up. It is held over a fork, so that a child can register too.
 */
#include "src/telemetry/scope.h"

#include "src/base/assert.h"
#include "src/base/buf.h"
#include "src/base/hash.h"
#include "src/base/mem.h"
#include "src/telemetry/attr_list.h"

#define MAX_SCOPE_BYTES (64u * 1024)
#define TABLE_SIZE (2 * SL_MAX_SCOPES) /* a power of two */

struct sl_scopes {
    sl_segment *segment;
    uint32_t count;             /* ids 1 … count are given */
    uint16_t table[TABLE_SIZE]; /* open addressing: id, or 0 */
    uint64_t hashes[SL_MAX_SCOPES];
    uint64_t offsets[SL_MAX_SCOPES]; /* of the records; number id - 1 */
};

static pthread_mutex_t scopes_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t process_once = PTHREAD_ONCE_INIT;

static void fork_prepare(void)
{
    pthread_mutex_lock(&scopes_lock);
}

static void fork_done(void)
{
    pthread_mutex_unlock(&scopes_lock);
}

static void process_init(void)
{
    (void)pthread_atfork(fork_prepare, fork_done, fork_done);
}

/* A record with room for all it claims, or NULL. */
static const sl_scope_record *record_at(const sl_segment *segment, uint64_t offset)
{
    const sl_scope_record *record = sl_segment_at(segment, offset, sizeof *record);
    if (!record)
        return NULL;
    uint64_t total = sizeof *record + (uint64_t)record->scope_len + record->schema_len + record->name_len;
    return sl_segment_at(segment, offset, (size_t)total) ? record : NULL;
}

static uint64_t hash_of(sl_str scope, sl_str schema)
{
    SL_ASSERT(schema.ptr || !schema.len);
    return sl_hash_bytes(schema.ptr, schema.len, sl_hash_str(scope));
}

static sl_str record_scope(const sl_scope_record *record)
{
    SL_ASSERT(record);
    return sl_str_of((const char *)record->bytes, record->scope_len);
}

static sl_str record_schema(const sl_scope_record *record)
{
    SL_ASSERT(record);
    return sl_str_of((const char *)record->bytes + record->scope_len, record->schema_len);
}

static void remember(sl_scopes *scopes, uint32_t id, uint64_t offset, uint64_t hash)
{
    SL_ASSERT(id >= 1 && id <= SL_MAX_SCOPES);
    scopes->hashes[id - 1] = hash;
    scopes->offsets[id - 1] = offset;
    size_t slot = hash % TABLE_SIZE;
    while (scopes->table[slot])
        slot = (slot + 1) % TABLE_SIZE;
    scopes->table[slot] = (uint16_t)id;
    if (id > scopes->count)
        scopes->count = id;
}

static void load_existing(sl_scopes *scopes)
{
    SL_ASSERT(scopes);
    uint64_t offset = sl_segment_head(scopes->segment, SL_LIST_SCOPES);
    for (uint32_t i = 0; offset && i < SL_MAX_SCOPES; i++) {
        const sl_scope_record *record = record_at(scopes->segment, offset);
        if (!record)
            return;
        bool known = record->id < 1 || record->id > SL_MAX_SCOPES || scopes->offsets[record->id - 1];
        if (!known)
            remember(scopes, record->id, offset, hash_of(record_scope(record), record_schema(record)));
        offset = record->next;
    }
}

sl_scopes *sl_scopes_new(sl_segment *segment)
{
    SL_ASSERT(segment);
    (void)pthread_once(&process_once, process_init);
    sl_scopes *scopes = sl_calloc(1, sizeof *scopes);
    if (!scopes)
        return NULL;
    scopes->segment = segment;
    load_existing(scopes);
    return scopes;
}

void sl_scopes_free(sl_scopes *scopes)
{
    sl_free(scopes);
}

/* Writes an InstrumentationScope message. False when it does not fit. */
static bool encode(sl_pb_cursor *c, const sl_scope_options *scope)
{
    SL_ASSERT(scope);
    sl_attr_list list = sl_attr_list_of(scope->attrs, scope->attr_count, SL_DEFAULT_ATTR_COUNT, 0);
    (void)sl_attr_list_size(&list, 3);
    return (scope->name.len == 0 || sl_otlp_put_text(c, 1, scope->name)) &&
           (scope->version.len == 0 || sl_otlp_put_text(c, 2, scope->version)) && sl_attr_list_put(c, 3, &list) &&
           (list.dropped == 0 || sl_pb_put_uint(c, 4, list.dropped));
}

static uint32_t find(const sl_scopes *scopes, sl_str encoded, sl_str schema, uint64_t hash)
{
    for (size_t slot = hash % TABLE_SIZE; scopes->table[slot]; slot = (slot + 1) % TABLE_SIZE) {
        uint32_t id = scopes->table[slot];
        if (scopes->hashes[id - 1] != hash)
            continue;
        const sl_scope_record *record = record_at(scopes->segment, scopes->offsets[id - 1]);
        if (record && sl_str_eq(record_scope(record), encoded) && sl_str_eq(record_schema(record), schema))
            return id;
    }
    return 0;
}

static void copy(uint8_t **at, sl_str s)
{
    SL_ASSERT(at && (s.ptr || !s.len));
    if (s.len)
        memcpy(*at, s.ptr, s.len);
    *at += s.len;
}

static uint32_t add(sl_scopes *scopes, sl_str encoded, sl_str schema, sl_str name, uint64_t hash)
{
    SL_ASSERT(scopes);
    uint64_t offset;
    size_t size = sizeof(sl_scope_record) + encoded.len + schema.len + name.len;
    if (scopes->count >= SL_MAX_SCOPES || sl_segment_alloc(scopes->segment, size, &offset))
        return 0;
    sl_scope_record *record = sl_segment_at(scopes->segment, offset, size);
    SL_ASSERT(record);
    record->id = scopes->count + 1;
    record->scope_len = (uint32_t)encoded.len;
    record->schema_len = (uint32_t)schema.len;
    record->name_len = (uint32_t)name.len;
    uint8_t *at = record->bytes;
    copy(&at, encoded);
    copy(&at, schema);
    copy(&at, name);
    remember(scopes, record->id, offset, hash);
    sl_segment_publish(scopes->segment, SL_LIST_SCOPES, offset);
    return record->id;
}

static bool is_empty(const sl_scope_options *scope)
{
    return !scope || (scope->name.len + scope->version.len + scope->schema_url.len == 0 &&
                      (scope->attr_count == 0 || !scope->attrs));
}

uint32_t sl_scopes_id(sl_scopes *scopes, const sl_scope_options *scope)
{
    if (!scopes || is_empty(scope) || scope->schema_url.len > MAX_SCOPE_BYTES || !sl_utf8_valid(scope->schema_url))
        return 0;
    uint8_t *memory = sl_malloc(MAX_SCOPE_BYTES);
    if (!memory)
        return 0;
    uint32_t id = 0;
    sl_pb_cursor c = sl_pb_cursor_of(memory, MAX_SCOPE_BYTES);
    if (encode(&c, scope)) {
        sl_str encoded = sl_str_of((const char *)memory, (size_t)(c.at - memory));
        uint64_t hash = hash_of(encoded, scope->schema_url);
        sl_str name = sl_utf8_valid(scope->name) ? scope->name : sl_str_of(NULL, 0);
        pthread_mutex_lock(&scopes_lock);
        id = find(scopes, encoded, scope->schema_url, hash);
        if (id == 0)
            id = add(scopes, encoded, scope->schema_url, name, hash);
        pthread_mutex_unlock(&scopes_lock);
    }
    sl_free(memory);
    return id;
}

int sl_scope_find(const sl_segment *segment, uint32_t id, sl_str *ret_scope, sl_str *ret_schema_url, sl_str *ret_name)
{
    SL_ASSERT(segment && ret_scope && ret_schema_url && ret_name);
    uint64_t offset = id ? sl_segment_head(segment, SL_LIST_SCOPES) : 0;
    for (uint32_t i = 0; offset && i < SL_MAX_SCOPES; i++) {
        const sl_scope_record *record = record_at(segment, offset);
        if (!record)
            break;
        if (record->id == id) {
            *ret_scope = record_scope(record);
            *ret_schema_url = record_schema(record);
            *ret_name =
                sl_str_of((const char *)record->bytes + record->scope_len + record->schema_len, record->name_len);
            return 0;
        }
        offset = record->next;
    }
    return SL_ENOENT;
}
