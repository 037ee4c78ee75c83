/*
 * The messages of OTLP, as tables: number, kind and JSON name of each field. For the two that write and read its JSON
 * (otlp_json.c, otlp_from_json.c), each of which has them for itself.
 * Source: opentelemetry-proto 1.11.0.
 */
#ifndef SL_WIRE_OTLP_MESSAGES_H
#define SL_WIRE_OTLP_MESSAGES_H

#include "src/wire/otlp_encode.h"

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

static const message *const otlp_requests[] = {
    [SL_OTLP_TRACES] = &traces, [SL_OTLP_LOGS] = &logs, [SL_OTLP_METRICS] = &metrics};

static inline uint32_t wire_of(kind k)
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

static inline bool is_packed(kind k)
{
    return k == DOUBLES || k == FIXED64S || k == VARINTS;
}

#endif
