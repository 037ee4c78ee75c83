/* Loggers: from a call to a record in the thread's ring. */
#include "src/telemetry/logger.h"

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/telemetry/scope.h"
#include "src/wire/otlp_encode.h"

/* Fields of LogRecord (opentelemetry/proto/logs/v1/logs.proto). */
enum {
    LOG_TIME = 1,
    LOG_SEVERITY = 2,
    LOG_SEVERITY_TEXT = 3,
    LOG_BODY = 5,
    LOG_ATTRIBUTES = 6,
    LOG_DROPPED = 7,
    LOG_FLAGS = 8,
    LOG_TRACE_ID = 9,
    LOG_SPAN_ID = 10,
    LOG_OBSERVED = 11,
    LOG_EVENT_NAME = 12
};

#define STACK_BYTES 2048             /* what nearly every record fits into */
#define HEAP_BYTES (16u * 1024)      /* the first attempt beyond it */
#define MAX_FIELD_BYTES (32u * 1024) /* contextual fields of one logger */
#define MAX_ATTRS 1024               /* considered of one record */

/* One contextual field, encoded. */
typedef struct field {
    uint32_t offset; /* into the logger's bytes */
    uint32_t len;
    sl_str key; /* lies in those bytes */
} field;

struct sl_logger {
    sl_sdk *sdk;
    sl_logger *previous, *next; /* under the SDK's lock */
    uint32_t scope;
    bool derived; /* made by sl_logger_with */
    /* Constant: contextual fields, and a filter of their keys. */
    uint32_t field_count;
    uint32_t fields_len;
    uint64_t key_bits;
    field *fields;
    uint8_t *bytes;
};

/* One bit for a key: the keys of a set share bits with few others. */
static inline uint64_t key_bit(sl_str key)
{
    SL_ASSERT(key.ptr || !key.len);
    const unsigned char *p = (const unsigned char *)key.ptr;
    size_t hash = key.len ? key.len * 7u + p[0] * 31u + p[key.len - 1] * 17u + p[key.len / 2] : 0;
    return 1ull << (hash & 63);
}

static inline bool key_is_legal(sl_str key)
{
    return key.len > 0 && key.len <= SL_MAX_KEY_BYTES;
}

static inline size_t value_chars(const sl_sdk *sdk)
{
    SL_ASSERT(sdk);
    return sdk->log_limits.attr_value_chars ? sdk->log_limits.attr_value_chars : SL_OTLP_NO_LIMIT;
}

/* ---- sampling ---- */

bool sl_log_sampler_keep(sl_log_sampler *sampler, double ratio, double (*random)(void *user), void *user)
{
    SL_ASSERT(sampler && random && ratio > 0 && ratio < 1);
    if (!sampler->ready) {
        sampler->ready = true;
        sampler->at = random(user);
        sampler->point = random(user);
    }
    double end = sampler->at + ratio;
    unsigned hits = sampler->at <= sampler->point && sampler->point < end;
    if (end >= 1) {
        end -= 1;
        sampler->point = random(user);
        hits += sampler->point < end;
    }
    sampler->at = end;
    sampler->owed += hits;
    if (sampler->owed == 0)
        return false;
    sampler->owed--;
    return true;
}

static double thread_random(void *user)
{
    return sl_rng_double((sl_rng *)user);
}

/* Whether a DEBUG or TRACE record belongs to the share that is kept. */
static bool sample(double ratio)
{
    static _Thread_local sl_log_sampler sampler;
    static _Thread_local sl_rng rng;
    if (!sampler.ready)
        sl_rng_init(&rng);
    return sl_log_sampler_keep(&sampler, ratio, thread_random, &rng);
}

/* ---- encoding of one record ---- */

typedef struct encoding {
    const sl_logger *logger;
    const sl_log_record *record;
    const sl_attr *attrs;
    size_t attr_count;              /* at most MAX_ATTRS */
    const sl_span_context *context; /* NULL: none */
    uint64_t time_ns, observed_ns;
    sl_pb_cursor c;
    uint32_t dropped;
    bool cut; /* something did not fit */
} encoding;

/* What has a fixed size, at most 90 bytes: there is always room. */
static void put_head(encoding *e)
{
    uint8_t *at = e->c.at;
    at = sl_pb_raw_fixed64(sl_pb_raw_tag(at, LOG_TIME, SL_PB_FIXED64), e->time_ns);
    at = sl_pb_raw_fixed64(sl_pb_raw_tag(at, LOG_OBSERVED, SL_PB_FIXED64), e->observed_ns);
    if (e->record->severity > 0) {
        const char *name = sl_severity_name(e->record->severity);
        size_t len = strlen(name);
        at = sl_pb_raw_varint(sl_pb_raw_tag(at, LOG_SEVERITY, SL_PB_VARINT), (uint64_t)e->record->severity);
        at = sl_pb_raw_varint(sl_pb_raw_tag(at, LOG_SEVERITY_TEXT, SL_PB_LEN), len);
        at = sl_pb_raw_copy(at, name, len);
    }
    if (e->context) {
        at = sl_pb_raw_fixed32(sl_pb_raw_tag(at, LOG_FLAGS, SL_PB_FIXED32), e->context->flags);
        at = sl_pb_raw_varint(sl_pb_raw_tag(at, LOG_TRACE_ID, SL_PB_LEN), SL_TRACE_ID_SIZE);
        at = sl_pb_raw_copy(at, e->context->trace_id, SL_TRACE_ID_SIZE);
        at = sl_pb_raw_varint(sl_pb_raw_tag(at, LOG_SPAN_ID, SL_PB_LEN), SL_SPAN_ID_SIZE);
        at = sl_pb_raw_copy(at, e->context->span_id, SL_SPAN_ID_SIZE);
    }
    e->c.at = at;
    SL_ASSERT(e->c.at <= e->c.end);
}

static bool put_value(sl_pb_cursor *c, uint32_t number, const sl_value *value)
{
    size_t size = sl_otlp_value_size(value, SL_OTLP_NO_LIMIT);
    if (sl_pb_room(c) < sl_pb_size_bytes(number, size))
        return false;
    c->at = sl_pb_raw_varint(sl_pb_raw_tag(c->at, number, SL_PB_LEN), size);
    return sl_otlp_put_value(c, value, SL_OTLP_NO_LIMIT);
}

static void put_body(encoding *e)
{
    SL_ASSERT(e);
    const sl_log_record *record = e->record;
    if (record->event_name.len && !sl_otlp_put_text(&e->c, LOG_EVENT_NAME, record->event_name))
        e->cut = true;
    if (record->body.type == SL_VALUE_EMPTY || put_value(&e->c, LOG_BODY, &record->body))
        return;
    e->cut = true;
    if (record->body.type == SL_VALUE_STRING) {
        sl_str text = record->body.as.str;
        sl_value begin = sl_value_str(sl_str_sub(text, 0, sl_utf8_prefix(text, sl_pb_room(&e->c) / 2)));
        (void)put_value(&e->c, LOG_BODY, &begin);
    }
}

/* True when a later attribute has the same key: the last one counts. */
static bool is_repeated(const sl_attr *attrs, size_t count, size_t i)
{
    SL_ASSERT(attrs || !count);
    for (size_t j = i + 1; j < count; j++) {
        if (sl_str_eq(attrs[i].key, attrs[j].key))
            return true;
    }
    return false;
}

/* Puts the record's own attributes; at most `room` of them. */
static void put_attrs(encoding *e, size_t room, bool repeats)
{
    SL_ASSERT(e);
    const sl_attr *attrs = e->attrs;
    size_t count = e->attr_count;
    if (SL_UNLIKELY(e->record->attr_count > count))
        e->dropped += e->record->attr_count > UINT32_MAX ? UINT32_MAX : (uint32_t)(e->record->attr_count - count);
    size_t chars = value_chars(e->logger->sdk);
    for (size_t i = 0; i < count; i++) {
        if (SL_UNLIKELY(repeats) && is_repeated(attrs, count, i))
            continue;
        if (SL_UNLIKELY(room == 0 || !key_is_legal(attrs[i].key))) {
            e->dropped++;
        } else if (SL_UNLIKELY(!sl_otlp_put_attr(&e->c, LOG_ATTRIBUTES, &attrs[i], chars))) {
            e->dropped++;
            e->cut = true;
        } else {
            room--;
        }
    }
}

/* Puts the contextual fields that the record does not set itself; returns how many. */
static size_t put_fields_but(encoding *e)
{
    SL_ASSERT(e);
    const sl_logger *logger = e->logger;
    size_t put = 0;
    for (uint32_t i = 0; i < logger->field_count; i++) {
        const field *f = &logger->fields[i];
        bool hidden = false;
        for (size_t j = 0; j < e->attr_count && !hidden; j++)
            hidden = sl_str_eq(f->key, e->attrs[j].key);
        if (hidden)
            continue;
        if (sl_pb_put_raw(&e->c, logger->bytes + f->offset, f->len))
            put++;
        else
            e->cut = true;
    }
    return put;
}

/* What the keys of a record have in common with one another and with the logger's; a hint that may be wrong. */
typedef struct key_hints {
    bool repeats;
    bool hides;
} key_hints;

static inline key_hints look_at_keys(const encoding *e)
{
    SL_ASSERT(e);
    uint64_t own = 0;
    key_hints hints = {false, false};
    for (size_t i = 0; i < e->attr_count; i++) {
        uint64_t bit = key_bit(e->attrs[i].key);
        hints.repeats |= (own & bit) != 0;
        own |= bit;
    }
    hints.hides = (own & e->logger->key_bits) != 0;
    return hints;
}

/* Encodes into `buffer`. `ret_pieces` (3) are what to write: before, contextual fields, after. */
static void encode(encoding *e, key_hints hints, uint8_t *buffer, size_t size, sl_piece *ret_pieces)
{
    SL_ASSERT(e && ret_pieces);
    const sl_logger *logger = e->logger;
    e->c = sl_pb_cursor_of(buffer, size);
    e->dropped = 0;
    e->cut = false;
    put_head(e);
    put_body(e);
    size_t limit = logger->sdk->log_limits.attr_count;
    size_t fields = logger->field_count;
    uint8_t *split = e->c.at;
    sl_piece context = {logger->bytes, logger->fields_len};
    if (SL_UNLIKELY(fields && hints.hides)) {
        fields = put_fields_but(e);
        split = e->c.at;
        context.len = 0;
    }
    put_attrs(e, limit > fields ? limit - fields : 0, hints.repeats);
    if (SL_UNLIKELY(e->dropped)) {
        if (!sl_pb_put_uint(&e->c, LOG_DROPPED, e->dropped))
            e->cut = true;
    }
    ret_pieces[0] = (sl_piece){buffer, (size_t)(split - buffer)};
    ret_pieces[1] = context;
    ret_pieces[2] = (sl_piece){split, (size_t)(e->c.at - split)};
}

/* The rare record that the stack is too small for. False: the heap is empty, use what is there. */
__attribute__((noinline)) static bool write_large(encoding *e, key_hints hints)
{
    SL_ASSERT(e);
    const sl_logger *logger = e->logger;
    static const size_t sizes[] = {HEAP_BYTES, SL_MAX_LOG_BYTES - MAX_FIELD_BYTES};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t *buffer = sl_malloc(sizes[i]);
        if (!buffer)
            return false;
        sl_piece pieces[3];
        encode(e, hints, buffer, sizes[i], pieces);
        bool last = i + 1 == sizeof sizes / sizeof *sizes;
        if (!e->cut || last)
            (void)sl_segment_write(logger->sdk->segment, SL_RING_LOGS, logger->scope, pieces, 3);
        sl_free(buffer);
        if (!e->cut)
            return true;
    }
    return true;
}

static bool wanted(const sl_logger *logger, sl_severity severity)
{
    SL_ASSERT(logger);
    const sl_sdk *sdk = logger->sdk;
    if (!atomic_load_explicit(&sdk->recording, memory_order_relaxed))
        return false;
    /* An unset severity passes every level (OpenTelemetry logs SDK, minimum severity). */
    return severity == SL_SEVERITY_UNSET || severity >= sdk->log_level;
}

void sl_log_emit(sl_logger *logger, const sl_log_record *record)
{
    if (!logger || !record || !wanted(logger, record->severity))
        return;
    sl_sdk *sdk = logger->sdk;
    double ratio = sdk->debug_sample_ratio;
    if (record->severity > 0 && record->severity < SL_INFO && ratio > 0 && ratio < 1 && !sample(ratio))
        return;
    sl_span_context current;
    encoding e;
    e.logger = logger;
    e.record = record;
    e.attrs = record->attrs;
    e.attr_count = !record->attrs ? 0 : record->attr_count < MAX_ATTRS ? record->attr_count : MAX_ATTRS;
    e.context = record->context;
    if (!e.context) {
        sl_span *span = sl_span_current();
        if (span) {
            sl_span_get_context(span, &current);
            e.context = &current;
        }
    }
    if (e.context && !sl_span_context_is_valid(e.context))
        e.context = NULL;
    e.observed_ns = sl_now_ns();
    e.time_ns = record->time_ns ? record->time_ns : e.observed_ns;
    key_hints hints = look_at_keys(&e);
    uint8_t buffer[STACK_BYTES];
    sl_piece pieces[3];
    encode(&e, hints, buffer, sizeof buffer, pieces);
    atomic_fetch_add_explicit(&sdk->logs_emitted, 1, memory_order_relaxed);
    if (SL_UNLIKELY(e.cut)) {
        if (write_large(&e, hints))
            return;
        encode(&e, hints, buffer, sizeof buffer, pieces);
    }
    (void)sl_segment_write(sdk->segment, SL_RING_LOGS, logger->scope, pieces, 3);
}

void sl_log(sl_logger *logger, sl_severity severity, const char *message, const sl_attr *attrs, size_t attr_count)
{
    sl_log_record record;
    memset(&record, 0, sizeof record);
    record.severity = severity;
    record.body = sl_value_cstr(message);
    record.attrs = attrs;
    record.attr_count = attrs ? attr_count : 0;
    sl_log_emit(logger, &record);
}

bool sl_log_enabled(const sl_logger *logger, sl_severity severity)
{
    return logger && wanted(logger, severity);
}

/* ---- life cycle ---- */

static sl_logger *logger_new(sl_sdk *sdk, uint32_t scope, bool derived)
{
    sl_logger *logger = sl_calloc(1, sizeof *logger);
    if (!logger)
        return NULL;
    logger->sdk = sdk;
    logger->scope = scope & 0xFFFFu;
    logger->derived = derived;
    return logger;
}

static void logger_destroy(sl_logger *logger)
{
    if (!logger)
        return;
    sl_free(logger->fields);
    sl_free(logger->bytes);
    sl_free(logger);
}

/* Links a logger into the SDK's list; the caller holds the lock. */
static void link_logger(sl_sdk *sdk, sl_logger *logger)
{
    SL_ASSERT(logger && sdk);
    logger->next = sdk->loggers;
    if (sdk->loggers)
        sdk->loggers->previous = logger;
    sdk->loggers = logger;
}

sl_logger *sl_logger_get(sl_sdk *sdk, const sl_scope_options *scope)
{
    static const sl_scope_options no_name;
    sdk = sl_sdk_or_default(sdk);
    if (!sdk)
        return NULL;
    uint32_t id = sl_scopes_id(sdk->scopes, scope ? scope : &no_name);
    pthread_mutex_lock(&sdk->lock);
    sl_logger *logger = sdk->loggers;
    while (logger && (logger->derived || logger->scope != id))
        logger = logger->next;
    if (!logger) {
        logger = logger_new(sdk, id, false);
        if (logger)
            link_logger(sdk, logger);
    }
    pthread_mutex_unlock(&sdk->lock);
    return logger;
}

sl_logger *sl_logger_named(sl_sdk *sdk, const char *name)
{
    sl_scope_options scope;
    memset(&scope, 0, sizeof scope);
    scope.name = sl_str_c(name);
    return sl_logger_get(sdk, &scope);
}

/* The key of an encoded attribute. */
static sl_str encoded_key(sl_str attribute)
{
    sl_pb_reader r = sl_pb_reader_of(attribute);
    sl_pb_field outer, inner;
    if (!sl_pb_next(&r, &outer))
        return sl_str_of(NULL, 0);
    r = sl_pb_reader_of(outer.bytes);
    return sl_pb_next(&r, &inner) ? inner.bytes : sl_str_of(NULL, 0);
}

static void add_field(sl_logger *logger, size_t offset, size_t len)
{
    SL_ASSERT(logger);
    field *f = &logger->fields[logger->field_count++];
    f->offset = (uint32_t)offset;
    f->len = (uint32_t)len;
    f->key = encoded_key(sl_str_of((const char *)logger->bytes + offset, len));
    logger->key_bits |= key_bit(f->key);
    logger->fields_len = (uint32_t)(offset + len);
}

static bool has_attr(const sl_attr *attrs, size_t count, sl_str key)
{
    SL_ASSERT(attrs || !count);
    for (size_t i = 0; i < count; i++) {
        if (sl_str_eq(attrs[i].key, key))
            return true;
    }
    return false;
}

/* Fills in the fields of `from`, but for those that `attrs` replaces, then `attrs`. What does not fit is left out. */
static void set_fields(sl_logger *logger, const sl_logger *from, const sl_attr *attrs, size_t count, size_t size)
{
    SL_ASSERT(logger && (attrs || !count));
    sl_pb_cursor c = sl_pb_cursor_of(logger->bytes, size);
    size_t chars = value_chars(logger->sdk);
    for (uint32_t i = 0; i < from->field_count; i++) {
        const field *f = &from->fields[i];
        size_t offset = (size_t)(c.at - logger->bytes);
        if (!has_attr(attrs, count, f->key) && sl_pb_put_raw(&c, from->bytes + f->offset, f->len))
            add_field(logger, offset, f->len);
    }
    for (size_t i = 0; i < count; i++) {
        size_t offset = (size_t)(c.at - logger->bytes);
        if (key_is_legal(attrs[i].key) && !is_repeated(attrs, count, i) &&
            sl_otlp_put_attr(&c, LOG_ATTRIBUTES, &attrs[i], chars))
            add_field(logger, offset, (size_t)(c.at - logger->bytes) - offset);
    }
}

sl_logger *sl_logger_with(sl_logger *logger, const sl_attr *attrs, size_t attr_count)
{
    if (!logger)
        return NULL;
    if (!attrs)
        attr_count = 0;
    if (attr_count > MAX_ATTRS)
        attr_count = MAX_ATTRS;
    sl_sdk *sdk = logger->sdk;
    sl_logger *with = logger_new(sdk, logger->scope, true);
    uint8_t *room = sl_malloc(MAX_FIELD_BYTES);
    if (with && room)
        with->fields = sl_calloc(logger->field_count + attr_count + 1, sizeof *with->fields);
    if (!with || !room || !with->fields) {
        sl_free(room);
        logger_destroy(with);
        return NULL;
    }
    with->bytes = room;
    set_fields(with, logger, attrs, attr_count, MAX_FIELD_BYTES);
    uint8_t *smaller = sl_realloc(room, with->fields_len ? with->fields_len : 1);
    if (smaller) {
        with->bytes = smaller;
        for (uint32_t i = 0; i < with->field_count; i++) {
            field *f = &with->fields[i];
            f->key = encoded_key(sl_str_of((const char *)smaller + f->offset, f->len));
        }
    }
    pthread_mutex_lock(&sdk->lock);
    link_logger(sdk, with);
    pthread_mutex_unlock(&sdk->lock);
    return with;
}

void sl_logger_free(sl_logger *logger)
{
    if (!logger || !logger->derived)
        return;
    sl_sdk *sdk = logger->sdk;
    pthread_mutex_lock(&sdk->lock);
    if (logger->previous)
        logger->previous->next = logger->next;
    else
        sdk->loggers = logger->next;
    if (logger->next)
        logger->next->previous = logger->previous;
    pthread_mutex_unlock(&sdk->lock);
    logger_destroy(logger);
}

void sl_loggers_free(sl_sdk *sdk)
{
    if (!sdk)
        return;
    sl_logger *logger = sdk->loggers;
    sdk->loggers = NULL;
    while (logger) {
        sl_logger *next = logger->next;
        logger_destroy(logger);
        logger = next;
    }
}
