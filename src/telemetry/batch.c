/*
 * Batches. Items are appended behind their tags, scope by scope; the frames around them are written at the end. A batch
 * of one scope, which is nearly every one, becomes the request where it lies: the frames go into room left before it.
 */
#include "src/telemetry/batch.h"

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/telemetry/batch_cut.h"
#include "src/wire/pb.h"

/* Field numbers shared by ResourceSpans/ResourceLogs and ScopeSpans/ScopeLogs. */
enum { FIELD_RESOURCE = 1, FIELD_SCOPES = 2, FIELD_RESOURCE_SCHEMA = 3 };
enum { FIELD_SCOPE = 1, FIELD_ITEMS = 2, FIELD_SCOPE_SCHEMA = 3 };
#define FRAME_BYTES 16u           /* tags and lengths around a message, at most */
#define KEEP_SECTION_BYTES 65536u /* a section's buffer above this is given back */
#define SPARE_BYTES 4096u         /* and a quarter: so much memory a request may hold beside its bytes */

static sl_request *request_of(sl_signal signal, size_t items)
{
    sl_request *request = sl_calloc(1, sizeof *request);
    if (!request)
        return NULL;
    request->signal = signal;
    request->items = items;
    request->made_ns = sl_mono_ns();
    return request;
}

sl_request *sl_request_new(sl_signal signal, size_t items, char *bytes, size_t len)
{
    sl_request *request = request_of(signal, items);
    if (!request) {
        sl_free(bytes);
        return NULL;
    }
    request->own = bytes;
    request->bytes = sl_str_of(bytes, len);
    return request;
}

void sl_request_free(sl_request *request)
{
    if (!request)
        return;
    sl_free(request->own);
    sl_free(request);
}

static size_t empty_size(const sl_batch *batch)
{
    SL_ASSERT(batch);
    return batch->resource.len + batch->resource_schema_url.len + 3 * FRAME_BYTES;
}

void sl_batch_init(sl_batch *batch, sl_signal signal, sl_str resource, sl_str resource_schema_url, size_t max_items,
                   size_t max_bytes)
{
    SL_ASSERT(batch && max_items > 0 && max_bytes > 0);
    memset(batch, 0, sizeof *batch);
    batch->signal = signal;
    batch->resource = resource;
    batch->resource_schema_url = resource_schema_url;
    batch->max_items = max_items;
    batch->max_bytes = max_bytes < SL_MAX_OTLP_REQUEST_BYTES ? max_bytes : SL_MAX_OTLP_REQUEST_BYTES;
    batch->bytes = empty_size(batch);
    for (size_t i = 0; i < SL_BATCH_MAX_SCOPES; i++)
        sl_buf_init(&batch->sections[i].items, SL_MAX_OTLP_REQUEST_BYTES);
}

void sl_batch_done(sl_batch *batch)
{
    SL_ASSERT(batch);
    for (size_t i = 0; i < SL_BATCH_MAX_SCOPES; i++)
        sl_buf_done(&batch->sections[i].items);
    batch->section_count = 0;
    batch->items = 0;
}

/* Empties the batch, keeps small buffers. */
static void reset(sl_batch *batch)
{
    SL_ASSERT(batch);
    for (size_t i = 0; i < batch->section_count; i++) {
        sl_batch_section *section = &batch->sections[i];
        if (section->items.cap > KEEP_SECTION_BYTES)
            sl_buf_done(&section->items);
        sl_buf_clear(&section->items);
        section->scope = NULL;
    }
    batch->section_count = 0;
    batch->last = 0;
    batch->items = 0;
    batch->bytes = empty_size(batch);
}

/* The section of a scope; NULL when there is none yet. */
static sl_batch_section *section_of(sl_batch *batch, const sl_batch_scope *scope)
{
    SL_ASSERT(batch);
    if (batch->last < batch->section_count && batch->sections[batch->last].scope == scope)
        return &batch->sections[batch->last];
    for (size_t i = 0; i < batch->section_count; i++) {
        if (batch->sections[i].scope == scope) {
            batch->last = i;
            return &batch->sections[i];
        }
    }
    return NULL;
}

static size_t scope_size(const sl_batch *batch, const sl_batch_scope *scope)
{
    SL_ASSERT(scope);
    size_t frame = 0;
    if (scope->resource.len) /* it may be alone in its own */
        frame = scope->resource.len + batch->resource_schema_url.len + 3 * FRAME_BYTES;
    return frame + scope->scope.len + scope->schema_url.len + 3 * FRAME_BYTES;
}

static sl_str resource_of(const sl_batch *batch, const sl_batch_scope *scope)
{
    return scope->resource.len ? scope->resource : batch->resource;
}

static uint8_t *raw_head(uint8_t *at, uint32_t field, size_t len)
{
    return sl_pb_raw_varint(sl_pb_raw_tag(at, field, SL_PB_LEN), len);
}

static uint8_t *raw_str(uint8_t *at, uint32_t field, sl_str s)
{
    SL_ASSERT(s.ptr || !s.len);
    return sl_pb_raw_copy(raw_head(at, field, s.len), s.ptr, s.len);
}

/* A little more than `size`: the next request may be somewhat larger than the last. */
static size_t with_margin(size_t size)
{
    return size + size / 8;
}

/* Replaces the memory of an empty buffer by exactly `size` bytes. */
static int set_memory(sl_buf *buf, size_t size)
{
    SL_ASSERT(buf->len == 0);
    char *data = size <= buf->max ? sl_malloc(size) : NULL;
    if (!data)
        return SL_ENOMEM;
    sl_free(buf->data);
    buf->data = data;
    buf->cap = size;
    return 0;
}

/* Begins a section, which is not counted yet. The first one leaves room for the frames of a request. */
static int open_section(sl_batch *batch, sl_batch_section *section, const sl_batch_scope *scope)
{
    SL_ASSERT(section->items.len == 0 && scope);
    section->start = 0;
    if (batch->section_count > 0)
        return 0;
    size_t start = resource_of(batch, scope).len + scope->scope.len + 2 * FRAME_BYTES;
    size_t expect = batch->expect > start ? batch->expect : start;
    batch->expect = 0; /* when there is no memory for so much, there may be for less */
    if (section->items.cap < expect && set_memory(&section->items, expect))
        return SL_ENOMEM;
    section->start = section->items.len = start;
    return 0;
}

void sl_batch_supply(sl_batch *batch, char *data, size_t cap)
{
    SL_ASSERT(batch && data);
    sl_buf *items = &batch->sections[0].items;
    if (batch->section_count > 0 || cap <= items->cap || cap > items->max) {
        sl_free(data);
        return;
    }
    sl_free(items->data);
    items->data = data;
    items->cap = cap;
}

/* Appends an item with its tag. */
static int put_item(sl_buf *items, sl_str item)
{
    SL_ASSERT(item.ptr || !item.len);
    int error = sl_buf_reserve(items, sl_pb_size_bytes(FIELD_ITEMS, item.len));
    if (SL_UNLIKELY(error)) {
        items->failed = 0;
        return error;
    }
    uint8_t *at = (uint8_t *)items->data + items->len;
    items->len = (size_t)((char *)raw_str(at, FIELD_ITEMS, item) - items->data);
    return 0;
}

/* Puts an item that fits. */
static int append(sl_batch *batch, sl_batch_section *section, const sl_batch_scope *scope, sl_str item, uint64_t now_ns)
{
    bool is_new = !section;
    if (is_new) {
        SL_ASSERT(batch->section_count < SL_BATCH_MAX_SCOPES);
        section = &batch->sections[batch->section_count];
        int error = open_section(batch, section, scope);
        if (error)
            return error;
    }
    int error = put_item(&section->items, item);
    if (error) {
        if (is_new)
            section->items.len = 0;
        return error;
    }
    if (is_new) {
        section->scope = scope;
        batch->last = batch->section_count++;
        batch->bytes += scope_size(batch, scope);
    }
    if (batch->items++ == 0)
        batch->first_ns = now_ns;
    batch->bytes += sl_pb_size_bytes(FIELD_ITEMS, item.len);
    return 0;
}

/* An item that is larger than a batch: cut it, and add what is left. */
static int add_cut(sl_batch *batch, const sl_batch_scope *scope, sl_str item, size_t room, uint64_t now_ns)
{
    SL_ASSERT(batch);
    sl_buf cut;
    sl_buf_init(&cut, SL_MAX_OTLP_REQUEST_BYTES);
    int error = sl_batch_cut(batch->signal, item, room, &cut);
    if (!error)
        error = append(batch, section_of(batch, scope), scope, sl_buf_str(&cut), now_ns);
    sl_buf_done(&cut);
    return error;
}

int sl_batch_add(sl_batch *batch, const sl_batch_scope *scope, sl_str item, uint64_t now_ns)
{
    SL_ASSERT(batch && scope && batch->max_items > 0);
    if (batch->items >= batch->max_items)
        return SL_EAGAIN;
    sl_batch_section *section = section_of(batch, scope);
    if (!section && batch->section_count == SL_BATCH_MAX_SCOPES)
        return SL_EAGAIN;
    size_t need = sl_pb_size_bytes(FIELD_ITEMS, item.len) + (section ? 0 : scope_size(batch, scope));
    if (batch->bytes + need <= batch->max_bytes)
        return append(batch, section, scope, item, now_ns);
    if (batch->items > 0)
        return SL_EAGAIN;
    size_t frame = batch->bytes + scope_size(batch, scope) + FRAME_BYTES;
    if (frame >= batch->max_bytes || batch->signal == SL_SIGNAL_METRICS)
        return SL_ETOOBIG; /* of a metric nothing can be cut */
    return add_cut(batch, scope, item, batch->max_bytes - frame, now_ns);
}

size_t sl_batch_discard(sl_batch *batch)
{
    SL_ASSERT(batch);
    size_t items = batch->items;
    reset(batch);
    return items;
}

/* ---- the request ---- */

/* Size of an optional string field. */
static size_t size_of_url(uint32_t field, sl_str url)
{
    return url.len ? sl_pb_size_bytes(field, url.len) : 0;
}

/* Size of the contents of one ScopeSpans or ScopeLogs. */
static size_t section_size(const sl_batch_section *section)
{
    SL_ASSERT(section && section->items.len >= section->start);
    return sl_pb_size_bytes(FIELD_SCOPE, section->scope->scope.len) + (section->items.len - section->start) +
           size_of_url(FIELD_SCOPE_SCHEMA, section->scope->schema_url);
}

/* Whether two sections go into the same ResourceSpans or ResourceLogs. */
static bool same_resource(const sl_batch *batch, size_t left, size_t right)
{
    return resource_of(batch, batch->sections[left].scope).ptr == resource_of(batch, batch->sections[right].scope).ptr;
}

static bool is_first_of_resource(const sl_batch *batch, size_t section)
{
    size_t i = 0;
    while (!same_resource(batch, i, section))
        i++;
    return i == section;
}

/* Size of the contents of the ResourceSpans or ResourceLogs that begins with this section. */
static size_t resource_size(const sl_batch *batch, size_t first)
{
    SL_ASSERT(batch && first < batch->section_count);
    size_t size = sl_pb_size_bytes(FIELD_RESOURCE, resource_of(batch, batch->sections[first].scope).len);
    for (size_t i = first; i < batch->section_count; i++) {
        if (same_resource(batch, first, i))
            size += sl_pb_size_bytes(FIELD_SCOPES, section_size(&batch->sections[i]));
    }
    return size + size_of_url(FIELD_RESOURCE_SCHEMA, batch->resource_schema_url);
}

static size_t request_size(const sl_batch *batch)
{
    size_t size = 0;
    for (size_t i = 0; i < batch->section_count; i++)
        size += is_first_of_resource(batch, i) ? sl_pb_size_bytes(1, resource_size(batch, i)) : 0;
    return size;
}

static uint8_t *raw_resource_head(const sl_batch *batch, size_t first, uint8_t *at)
{
    SL_ASSERT(batch && first < batch->section_count);
    return raw_str(raw_head(at, 1, resource_size(batch, first)), FIELD_RESOURCE,
                   resource_of(batch, batch->sections[first].scope));
}

static uint8_t *raw_section_head(const sl_batch_section *section, uint8_t *at)
{
    SL_ASSERT(section);
    return raw_str(raw_head(at, FIELD_SCOPES, section_size(section)), FIELD_SCOPE, section->scope->scope);
}

static uint8_t *raw_url(uint8_t *at, uint32_t field, sl_str url)
{
    return url.len ? raw_str(at, field, url) : at;
}

/* Writes the frames and the items of one resource. Returns the end. */
static uint8_t *write_resource(const sl_batch *batch, size_t first, uint8_t *at)
{
    SL_ASSERT(batch);
    at = raw_resource_head(batch, first, at);
    for (size_t i = first; i < batch->section_count; i++) {
        const sl_batch_section *section = &batch->sections[i];
        if (!same_resource(batch, first, i))
            continue;
        at = raw_section_head(section, at);
        at = sl_pb_raw_copy(at, section->items.data + section->start, section->items.len - section->start);
        at = raw_url(at, FIELD_SCOPE_SCHEMA, section->scope->schema_url);
    }
    return raw_url(at, FIELD_RESOURCE_SCHEMA, batch->resource_schema_url);
}

/* The request of several sections, in new memory. */
static int gather(const sl_batch *batch, size_t total, sl_request *request)
{
    SL_ASSERT(batch && request);
    request->own = sl_malloc(total);
    if (!request->own)
        return SL_ENOMEM;
    uint8_t *end = (uint8_t *)request->own;
    for (size_t i = 0; i < batch->section_count; i++)
        end = is_first_of_resource(batch, i) ? write_resource(batch, i, end) : end;
    SL_ASSERT(end == (uint8_t *)request->own + total);
    (void)end;
    request->bytes = sl_str_of(request->own, total);
    return 0;
}

/* The request of one section, around its items; takes its memory over, but for what is too much. */
static int wrap(sl_batch *batch, size_t total, sl_request *request)
{
    SL_ASSERT(batch->section_count == 1 && request);
    sl_batch_section *section = &batch->sections[0];
    sl_buf *items = &section->items;
    size_t tail = size_of_url(FIELD_SCOPE_SCHEMA, section->scope->schema_url) +
                  size_of_url(FIELD_RESOURCE_SCHEMA, batch->resource_schema_url);
    if (sl_buf_reserve(items, tail)) {
        items->failed = 0;
        return SL_ENOMEM;
    }
    SL_ASSERT(section->start + tail + (items->len - section->start) >= total);
    size_t begin = items->len + tail - total;
    uint8_t *at = raw_resource_head(batch, 0, (uint8_t *)items->data + begin);
    at = raw_section_head(section, at);
    SL_ASSERT((char *)at == items->data + section->start);
    at = raw_url((uint8_t *)items->data + items->len, FIELD_SCOPE_SCHEMA, section->scope->schema_url);
    (void)raw_url(at, FIELD_RESOURCE_SCHEMA, batch->resource_schema_url);
    batch->expect = with_margin(begin + total);
    bool much = items->cap > (begin + total) / 4 * 5 + SPARE_BYTES;
    char *smaller = much ? sl_realloc(items->data, batch->expect) : NULL;
    request->own = smaller ? smaller : items->data;
    request->cap = smaller ? batch->expect : items->cap;
    request->bytes = sl_str_of(request->own + begin, total);
    sl_buf_init(items, items->max);
    return 0;
}

int sl_batch_finish(sl_batch *batch, sl_request **ret_request)
{
    SL_ASSERT(batch && ret_request);
    if (batch->items == 0) {
        *ret_request = NULL;
        return 0;
    }
    size_t size = request_size(batch);
    SL_ASSERT(size <= batch->bytes);
    sl_request *request = request_of(batch->signal, batch->items);
    int error = !request                    ? SL_ENOMEM
                : batch->section_count == 1 ? wrap(batch, size, request)
                                            : gather(batch, size, request);
    if (error) {
        sl_request_free(request);
        return error;
    }
    reset(batch);
    *ret_request = request;
    return 0;
}
