/* OTLP protobuf to JSON, driven by tables of messages. */
#include "src/wire/otlp_json.h"

#include "src/base/assert.h"
#include "src/wire/base64.h"
#include "src/wire/json_write.h"
#include "src/wire/otlp_read.h"

typedef enum kind {
    TEXT,
    HEX,
    UINT32, /* varint, written as a number: uint32, enums */
    SINT32, /* zigzag varint */
    BOOL,
    FIXED32,
    FIXED64,  /* as a decimal string */
    SFIXED64, /* as a decimal string */
    DOUBLE,
    MESSAGE,
    ANY,
    TEXTS, /* the rest is repeated */
    MESSAGES,
    DOUBLES,  /* packed */
    FIXED64S, /* packed */
    VARINTS   /* packed, 64 bits */
} kind;

struct message;

typedef struct field {
    uint32_t number; /* 0 ends the table */
    kind kind;
    const char *name;
    const struct message *message;
} field;

typedef struct message {
    uint32_t oneof; /* bits of the field numbers of which only the last counts */
    const field *fields;
} message;

#define MAX_FIELD 16 /* highest field number in OTLP */
#define BIT(number) (1u << (number))

static const message key_value = {0, (const field[]){{1, TEXT, "key", NULL}, {2, ANY, "value", NULL}, {0, 0, 0, 0}}};

static const message entity_ref = {0, (const field[]){{1, TEXT, "schemaUrl", NULL},
                                                      {2, TEXT, "type", NULL},
                                                      {3, TEXTS, "idKeys", NULL},
                                                      {4, TEXTS, "descriptionKeys", NULL},
                                                      {0, 0, 0, 0}}};

static const message resource = {0, (const field[]){{1, MESSAGES, "attributes", &key_value},
                                                    {2, UINT32, "droppedAttributesCount", NULL},
                                                    {3, MESSAGES, "entityRefs", &entity_ref},
                                                    {0, 0, 0, 0}}};

static const message scope = {0, (const field[]){{1, TEXT, "name", NULL},
                                                 {2, TEXT, "version", NULL},
                                                 {3, MESSAGES, "attributes", &key_value},
                                                 {4, UINT32, "droppedAttributesCount", NULL},
                                                 {0, 0, 0, 0}}};

static const message event = {0, (const field[]){{1, FIXED64, "timeUnixNano", NULL},
                                                 {2, TEXT, "name", NULL},
                                                 {3, MESSAGES, "attributes", &key_value},
                                                 {4, UINT32, "droppedAttributesCount", NULL},
                                                 {0, 0, 0, 0}}};

static const message span_link = {0, (const field[]){{1, HEX, "traceId", NULL},
                                                     {2, HEX, "spanId", NULL},
                                                     {3, TEXT, "traceState", NULL},
                                                     {4, MESSAGES, "attributes", &key_value},
                                                     {5, UINT32, "droppedAttributesCount", NULL},
                                                     {6, FIXED32, "flags", NULL},
                                                     {0, 0, 0, 0}}};

static const message status = {0, (const field[]){{2, TEXT, "message", NULL}, {3, UINT32, "code", NULL}, {0, 0, 0, 0}}};

static const message span = {0, (const field[]){{1, HEX, "traceId", NULL},
                                                {2, HEX, "spanId", NULL},
                                                {3, TEXT, "traceState", NULL},
                                                {4, HEX, "parentSpanId", NULL},
                                                {16, FIXED32, "flags", NULL},
                                                {5, TEXT, "name", NULL},
                                                {6, UINT32, "kind", NULL},
                                                {7, FIXED64, "startTimeUnixNano", NULL},
                                                {8, FIXED64, "endTimeUnixNano", NULL},
                                                {9, MESSAGES, "attributes", &key_value},
                                                {10, UINT32, "droppedAttributesCount", NULL},
                                                {11, MESSAGES, "events", &event},
                                                {12, UINT32, "droppedEventsCount", NULL},
                                                {13, MESSAGES, "links", &span_link},
                                                {14, UINT32, "droppedLinksCount", NULL},
                                                {15, MESSAGE, "status", &status},
                                                {0, 0, 0, 0}}};

static const message log_record = {0, (const field[]){{1, FIXED64, "timeUnixNano", NULL},
                                                      {11, FIXED64, "observedTimeUnixNano", NULL},
                                                      {2, UINT32, "severityNumber", NULL},
                                                      {3, TEXT, "severityText", NULL},
                                                      {5, ANY, "body", NULL},
                                                      {6, MESSAGES, "attributes", &key_value},
                                                      {7, UINT32, "droppedAttributesCount", NULL},
                                                      {8, FIXED32, "flags", NULL},
                                                      {9, HEX, "traceId", NULL},
                                                      {10, HEX, "spanId", NULL},
                                                      {12, TEXT, "eventName", NULL},
                                                      {0, 0, 0, 0}}};

static const message exemplar = {BIT(3) | BIT(6), (const field[]){{7, MESSAGES, "filteredAttributes", &key_value},
                                                                  {2, FIXED64, "timeUnixNano", NULL},
                                                                  {3, DOUBLE, "asDouble", NULL},
                                                                  {6, SFIXED64, "asInt", NULL},
                                                                  {4, HEX, "spanId", NULL},
                                                                  {5, HEX, "traceId", NULL},
                                                                  {0, 0, 0, 0}}};

static const message number_point = {BIT(4) | BIT(6), (const field[]){{7, MESSAGES, "attributes", &key_value},
                                                                      {2, FIXED64, "startTimeUnixNano", NULL},
                                                                      {3, FIXED64, "timeUnixNano", NULL},
                                                                      {4, DOUBLE, "asDouble", NULL},
                                                                      {6, SFIXED64, "asInt", NULL},
                                                                      {5, MESSAGES, "exemplars", &exemplar},
                                                                      {8, UINT32, "flags", NULL},
                                                                      {0, 0, 0, 0}}};

static const message histogram_point = {0, (const field[]){{9, MESSAGES, "attributes", &key_value},
                                                           {2, FIXED64, "startTimeUnixNano", NULL},
                                                           {3, FIXED64, "timeUnixNano", NULL},
                                                           {4, FIXED64, "count", NULL},
                                                           {5, DOUBLE, "sum", NULL},
                                                           {6, FIXED64S, "bucketCounts", NULL},
                                                           {7, DOUBLES, "explicitBounds", NULL},
                                                           {8, MESSAGES, "exemplars", &exemplar},
                                                           {10, UINT32, "flags", NULL},
                                                           {11, DOUBLE, "min", NULL},
                                                           {12, DOUBLE, "max", NULL},
                                                           {0, 0, 0, 0}}};

static const message buckets = {
    0, (const field[]){{1, SINT32, "offset", NULL}, {2, VARINTS, "bucketCounts", NULL}, {0, 0, 0, 0}}};

static const message exp_point = {0, (const field[]){{1, MESSAGES, "attributes", &key_value},
                                                     {2, FIXED64, "startTimeUnixNano", NULL},
                                                     {3, FIXED64, "timeUnixNano", NULL},
                                                     {4, FIXED64, "count", NULL},
                                                     {5, DOUBLE, "sum", NULL},
                                                     {6, SINT32, "scale", NULL},
                                                     {7, FIXED64, "zeroCount", NULL},
                                                     {8, MESSAGE, "positive", &buckets},
                                                     {9, MESSAGE, "negative", &buckets},
                                                     {10, UINT32, "flags", NULL},
                                                     {11, MESSAGES, "exemplars", &exemplar},
                                                     {12, DOUBLE, "min", NULL},
                                                     {13, DOUBLE, "max", NULL},
                                                     {14, DOUBLE, "zeroThreshold", NULL},
                                                     {0, 0, 0, 0}}};

static const message quantile = {
    0, (const field[]){{1, DOUBLE, "quantile", NULL}, {2, DOUBLE, "value", NULL}, {0, 0, 0, 0}}};

static const message summary_point = {0, (const field[]){{7, MESSAGES, "attributes", &key_value},
                                                         {2, FIXED64, "startTimeUnixNano", NULL},
                                                         {3, FIXED64, "timeUnixNano", NULL},
                                                         {4, FIXED64, "count", NULL},
                                                         {5, DOUBLE, "sum", NULL},
                                                         {6, MESSAGES, "quantileValues", &quantile},
                                                         {8, UINT32, "flags", NULL},
                                                         {0, 0, 0, 0}}};

#define POINTS(name_, point)                                                                                           \
    static const message name_ = {0, (const field[]){{1, MESSAGES, "dataPoints", &(point)},                            \
                                                     {2, UINT32, "aggregationTemporality", NULL},                      \
                                                     {3, BOOL, "isMonotonic", NULL},                                   \
                                                     {0, 0, 0, 0}}}
POINTS(numbers, number_point);
POINTS(histogram, histogram_point);
POINTS(exp_histogram, exp_point);
POINTS(summary, summary_point);

static const message metric = {BIT(5) | BIT(7) | BIT(9) | BIT(10) | BIT(11),
                               (const field[]){{1, TEXT, "name", NULL},
                                               {2, TEXT, "description", NULL},
                                               {3, TEXT, "unit", NULL},
                                               {5, MESSAGE, "gauge", &numbers},
                                               {7, MESSAGE, "sum", &numbers},
                                               {9, MESSAGE, "histogram", &histogram},
                                               {10, MESSAGE, "exponentialHistogram", &exp_histogram},
                                               {11, MESSAGE, "summary", &summary},
                                               {12, MESSAGES, "metadata", &key_value},
                                               {0, 0, 0, 0}}};

/* Scope and resource level of a signal, and its request. */
#define SIGNAL(request_, resources, scopes, records, record)                                                           \
    static const message request_##_scope = {0, (const field[]){{1, MESSAGE, "scope", &scope},                         \
                                                                {2, MESSAGES, records, &(record)},                     \
                                                                {3, TEXT, "schemaUrl", NULL},                          \
                                                                {0, 0, 0, 0}}};                                        \
    static const message request_##_resource = {0, (const field[]){{1, MESSAGE, "resource", &resource},                \
                                                                   {2, MESSAGES, scopes, &request_##_scope},           \
                                                                   {3, TEXT, "schemaUrl", NULL},                       \
                                                                   {0, 0, 0, 0}}};                                     \
    static const message request_ = {0, (const field[]){{1, MESSAGES, resources, &request_##_resource}, {0, 0, 0, 0}}}

SIGNAL(traces, "resourceSpans", "scopeSpans", "spans", span);
SIGNAL(logs, "resourceLogs", "scopeLogs", "logRecords", log_record);
SIGNAL(metrics, "resourceMetrics", "scopeMetrics", "metrics", metric);

/* ---- Writing ---- */

#define DEPTH_OF_ONE_VALUE 4 /* containers that one more level of AnyValue may open */

static int put_message(sl_jw *w, const message *m, sl_str bytes);
static int put_any(sl_jw *w, sl_str bytes);

static void put_i64_string(sl_jw *w, int64_t value)
{
    char text[24];
    size_t at = sizeof text;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        text[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (value < 0)
        text[--at] = '-';
    sl_jw_str(w, sl_str_of(text + at, sizeof text - at));
}

static int put_base64(sl_jw *w, sl_str bytes)
{
    sl_buf text;
    sl_buf_init(&text, SL_MAX_OTLP_REQUEST_BYTES * 2);
    int error = sl_base64_encode(&text, bytes);
    sl_jw_str(w, sl_buf_str(&text));
    sl_buf_done(&text);
    return error;
}

/* {"values": [ … ]} of an array or a map. */
static int put_values(sl_jw *w, sl_str items, bool map)
{
    int error = 0;
    sl_str item;
    sl_jw_object(w);
    sl_jw_member_array(w, "values");
    sl_otlp_iter it = sl_otlp_items(items, SL_OTLP_ARRAY_ITEMS);
    while (!error && sl_otlp_next(&it, &item))
        error = map ? put_message(w, &key_value, item) : put_any(w, item);
    sl_jw_end(w);
    sl_jw_end(w);
    return error ? error : it.reader.error;
}

static int put_any(sl_jw *w, sl_str bytes)
{
    sl_otlp_any any;
    if (w->error)
        return w->error; /* the depth is no longer counted then */
    int error = sl_otlp_read_any(bytes, &any);
    sl_jw_object(w);
    bool container = !error && (any.type == SL_VALUE_ARRAY || any.type == SL_VALUE_MAP);
    if (error || any.type == SL_VALUE_EMPTY || (container && w->depth + DEPTH_OF_ONE_VALUE > SL_MAX_JSON_DEPTH)) {
        sl_jw_end(w);
        return error;
    }
    static const char *const names[] = {"",           "stringValue", "boolValue", "intValue", "doubleValue",
                                        "arrayValue", "kvlistValue", "bytesValue"};
    SL_ASSERT(any.type < sizeof names / sizeof names[0]);
    sl_jw_key(w, sl_str_c(names[any.type]));
    if (any.type == SL_VALUE_STRING)
        sl_jw_str(w, any.str);
    else if (any.type == SL_VALUE_BOOL)
        sl_jw_bool(w, any.boolean);
    else if (any.type == SL_VALUE_INT)
        put_i64_string(w, any.integer);
    else if (any.type == SL_VALUE_DOUBLE)
        sl_jw_double(w, any.real);
    else if (any.type == SL_VALUE_BYTES)
        error = put_base64(w, any.str);
    else
        error = put_values(w, any.str, any.type == SL_VALUE_MAP);
    sl_jw_end(w);
    return error;
}

static uint32_t wire_of(kind k)
{
    switch (k) {
    case UINT32:
    case SINT32:
    case BOOL:
        return SL_PB_VARINT;
    case FIXED32:
        return SL_PB_FIXED32;
    case FIXED64:
    case SFIXED64:
    case DOUBLE:
        return SL_PB_FIXED64;
    default:
        return SL_PB_LEN;
    }
}

static int put_single(sl_jw *w, const field *f, const sl_pb_field *value)
{
    switch (f->kind) {
    case TEXT:
        sl_jw_str(w, value->bytes);
        return 0;
    case HEX:
        sl_jw_hex(w, (const uint8_t *)value->bytes.ptr, value->bytes.len);
        return 0;
    case UINT32:
    case FIXED32:
        sl_jw_u64(w, (uint32_t)value->value);
        return 0;
    case SINT32:
        sl_jw_i64(w, (int32_t)sl_pb_unzigzag(value->value & UINT32_MAX));
        return 0;
    case BOOL:
        sl_jw_bool(w, value->value != 0);
        return 0;
    case FIXED64:
        sl_jw_u64_string(w, value->value);
        return 0;
    case SFIXED64:
        put_i64_string(w, (int64_t)value->value);
        return 0;
    case DOUBLE:
        sl_jw_double(w, sl_pb_bits_double(value->value));
        return 0;
    case ANY:
        return put_any(w, value->bytes);
    default:
        SL_ASSERT(f->kind == MESSAGE && f->message);
        return put_message(w, f->message, value->bytes);
    }
}

static bool is_packed(kind k)
{
    return k == DOUBLES || k == FIXED64S || k == VARINTS;
}

/* Wire type of one number of a packed field. */
static uint32_t element_wire(kind k)
{
    return k == VARINTS ? SL_PB_VARINT : SL_PB_FIXED64;
}

static void put_element(sl_jw *w, kind k, uint64_t value)
{
    if (k == DOUBLES)
        sl_jw_double(w, sl_pb_bits_double(value));
    else
        sl_jw_u64_string(w, value);
}

/* One packed run of numbers. */
static int put_packed(sl_jw *w, kind k, sl_str run)
{
    sl_pb_reader r = sl_pb_reader_of(run);
    while (r.at < r.end && !r.error) {
        sl_pb_field element = {0, element_wire(k), 0, {NULL, 0}};
        if (sl_pb_read_value(&r, &element))
            put_element(w, k, element.value);
    }
    return r.error;
}

static int put_repeated(sl_jw *w, const field *f, sl_str bytes)
{
    SL_ASSERT(f);
    int error = 0;
    sl_pb_field item;
    sl_jw_array(w);
    sl_pb_reader r = sl_pb_reader_of(bytes);
    while (!error && sl_pb_next(&r, &item)) {
        if (item.number != f->number)
            continue;
        if (is_packed(f->kind) && item.wire == element_wire(f->kind))
            put_element(w, f->kind, item.value);
        else if (item.wire != SL_PB_LEN)
            continue;
        else if (f->kind == TEXTS)
            sl_jw_str(w, item.bytes);
        else if (f->kind == MESSAGES)
            error = put_message(w, f->message, item.bytes);
        else
            error = put_packed(w, f->kind, item.bytes);
    }
    sl_jw_end(w);
    return error ? error : r.error;
}

static const field *field_of(const message *m, const sl_pb_field *f)
{
    SL_ASSERT(m);
    for (const field *at = m->fields; at->number; at++) {
        if (at->number == f->number)
            return wire_of(at->kind) == f->wire || (is_packed(at->kind) && element_wire(at->kind) == f->wire) ? at
                                                                                                              : NULL;
    }
    return NULL;
}

static int put_message(sl_jw *w, const message *m, sl_str bytes)
{
    sl_pb_field last[MAX_FIELD + 1];
    uint32_t present = 0;
    sl_pb_reader r = sl_pb_reader_of(bytes);
    sl_pb_field f;
    while (sl_pb_next(&r, &f)) {
        if (!field_of(m, &f))
            continue;
        SL_ASSERT(f.number <= MAX_FIELD);
        if (m->oneof & BIT(f.number))
            present &= ~m->oneof;
        present |= BIT(f.number);
        last[f.number] = f;
    }
    int error = r.error;
    sl_jw_object(w);
    for (const field *at = m->fields; at->number && !error; at++) {
        if (!(present & BIT(at->number)) || (at->kind == HEX && last[at->number].bytes.len == 0))
            continue;
        sl_jw_key(w, sl_str_c(at->name));
        error = at->kind >= TEXTS ? put_repeated(w, at, bytes) : put_single(w, at, &last[at->number]);
    }
    sl_jw_end(w);
    return error;
}

int sl_otlp_to_json(sl_otlp_signal signal, sl_str request, sl_buf *out)
{
    SL_ASSERT(out && signal <= SL_OTLP_METRICS);
    static const message *const requests[] = {&traces, &logs, &metrics};
    size_t before = out->len;
    sl_jw w;
    sl_jw_init(&w, out);
    w.nonfinite = SL_JW_STRING;
    int error = put_message(&w, requests[signal], request);
    int written = sl_jw_finish(&w);
    if (!error)
        error = written;
    if (error)
        out->len = before;
    return error;
}
