/* OTLP requests: groups encoded records by scope under one resource. */
#include "src/wire/otlp_encode.h"

#include "src/base/assert.h"

void sl_otlp_request_init(sl_otlp_request *request)
{
    SL_ASSERT(request);
    memset(request, 0, sizeof *request);
    sl_buf_init(&request->items, SL_MAX_OTLP_REQUEST_BYTES);
    sl_buf_init(&request->runs, SL_MAX_OTLP_REQUEST_BYTES);
    sl_buf_init(&request->scopes, SL_MAX_OTLP_SCOPES * sizeof(sl_otlp_scope));
}

void sl_otlp_request_done(sl_otlp_request *request)
{
    if (!request)
        return;
    sl_buf_done(&request->items);
    sl_buf_done(&request->runs);
    sl_buf_done(&request->scopes);
}

void sl_otlp_request_begin(sl_otlp_request *request, sl_otlp_signal signal, sl_str resource, sl_str schema_url)
{
    SL_ASSERT(request && request->items.max && signal <= SL_OTLP_METRICS);
    sl_buf_clear(&request->items);
    sl_buf_clear(&request->runs);
    sl_buf_clear(&request->scopes);
    request->signal = signal;
    request->resource = resource;
    request->schema_url = schema_url;
    request->item_count = 0;
}

static sl_otlp_scope *scopes(const sl_otlp_request *request, size_t *ret_count)
{
    SL_ASSERT(ret_count && request);
    *ret_count = request->scopes.len / sizeof(sl_otlp_scope);
    return (sl_otlp_scope *)(void *)request->scopes.data;
}

static size_t scope_index(const sl_otlp_request *request, uint32_t id)
{
    size_t count;
    const sl_otlp_scope *all = scopes(request, &count);
    for (size_t i = 0; i < count; i++) {
        if (all[i].id == id)
            return i;
    }
    return SL_NPOS;
}

int sl_otlp_request_scope(sl_otlp_request *request, uint32_t id, sl_str scope, sl_str schema_url)
{
    SL_ASSERT(request);
    if (scope_index(request, id) != SL_NPOS)
        return 0;
    sl_otlp_scope s = {id, scope, schema_url, 0};
    int error = sl_buf_put(&request->scopes, &s, sizeof s);
    request->scopes.failed = 0;
    return error;
}

static sl_otlp_run *last_run(const sl_otlp_request *request)
{
    SL_ASSERT(request);
    if (request->runs.len == 0)
        return NULL;
    return (sl_otlp_run *)(void *)(request->runs.data + request->runs.len - sizeof(sl_otlp_run));
}

int sl_otlp_request_item(sl_otlp_request *request, uint32_t scope_id, sl_str item)
{
    SL_ASSERT(request);
    size_t count;
    sl_otlp_scope *all = scopes(request, &count);
    sl_otlp_run *run = last_run(request);
    size_t index = run && all[run->scope].id == scope_id ? run->scope : scope_index(request, scope_id);
    if (index == SL_NPOS)
        return SL_ENOENT;
    size_t from = request->items.len;
    bool goes_on = run && run->scope == index;
    int error = goes_on ? 0 : sl_buf_reserve(&request->runs, sizeof *run); /* may move the runs */
    if (!error)
        error = sl_pb_buf_str(&request->items, 2, item);
    request->runs.failed = request->items.failed = 0;
    if (error)
        return error;
    size_t len = request->items.len - from;
    if (goes_on) {
        run->len += len;
    } else {
        sl_otlp_run fresh = {(uint32_t)index, from, len};
        (void)sl_buf_put(&request->runs, &fresh, sizeof fresh);
    }
    all[index].bytes += len;
    request->item_count++;
    return 0;
}

static size_t url_size(sl_str url)
{
    return url.len ? sl_pb_size_bytes(3, url.len) : 0;
}

/* Contents of a ScopeSpans, ScopeLogs or ScopeMetrics. */
static size_t scope_size(const sl_otlp_scope *s)
{
    SL_ASSERT(s);
    return sl_pb_size_bytes(1, s->scope.len) + s->bytes + url_size(s->schema_url);
}

/* Contents of a ResourceSpans, ResourceLogs or ResourceMetrics. */
static size_t resource_size(const sl_otlp_request *request)
{
    SL_ASSERT(request);
    size_t count;
    const sl_otlp_scope *all = scopes(request, &count);
    size_t size = sl_pb_size_bytes(1, request->resource.len) + url_size(request->schema_url);
    for (size_t i = 0; i < count; i++) {
        if (all[i].bytes)
            size += sl_pb_size_bytes(2, scope_size(&all[i]));
    }
    return size;
}

size_t sl_otlp_request_size(const sl_otlp_request *request)
{
    SL_ASSERT(request);
    return request->item_count ? sl_pb_size_bytes(1, resource_size(request)) : 0;
}

static void put_scope(const sl_otlp_request *request, uint32_t index, sl_pb_cursor *c)
{
    SL_ASSERT(c && request);
    size_t count;
    const sl_otlp_scope *s = &scopes(request, &count)[index];
    SL_ASSERT(index < count && s->bytes > 0);
    c->at = sl_pb_raw_varint(sl_pb_raw_tag(c->at, 2, SL_PB_LEN), scope_size(s));
    bool fits = sl_pb_put_str(c, 1, s->scope);
    const sl_otlp_run *runs = (const sl_otlp_run *)(const void *)request->runs.data;
    for (size_t i = 0; i < request->runs.len / sizeof *runs; i++) {
        if (runs[i].scope == index)
            fits = fits && sl_pb_put_raw(c, request->items.data + runs[i].from, runs[i].len);
    }
    if (s->schema_url.len)
        fits = fits && sl_pb_put_str(c, 3, s->schema_url);
    SL_ASSERT(fits);
    (void)fits;
}

int sl_otlp_request_end(sl_otlp_request *request, sl_buf *out)
{
    SL_ASSERT(request && out);
    if (request->item_count == 0)
        return 0;
    size_t size = sl_otlp_request_size(request);
    sl_pb_cursor c;
    int error = sl_pb_buf_cursor(out, size, &c);
    if (error)
        return error;
    c.at = sl_pb_raw_varint(sl_pb_raw_tag(c.at, 1, SL_PB_LEN), resource_size(request));
    (void)sl_pb_put_str(&c, 1, request->resource);
    size_t count;
    const sl_otlp_scope *all = scopes(request, &count);
    for (uint32_t i = 0; i < count; i++) {
        if (all[i].bytes)
            put_scope(request, i, &c);
    }
    if (request->schema_url.len)
        (void)sl_pb_put_str(&c, 3, request->schema_url);
    SL_ASSERT((size_t)((char *)c.at - out->data) == out->len + size);
    sl_pb_buf_commit(out, &c);
    return 0;
}
