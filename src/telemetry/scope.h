/*
 * Instrumentation scopes: a small number stands for (name, version, schema URL, attributes) in ring records and
 * series. Scopes lie in the segment (SL_LIST_SCOPES), so that a pipeline in another process can read them.
 */
#ifndef SL_TELEMETRY_SCOPE_H
#define SL_TELEMETRY_SCOPE_H

#include "src/telemetry/sdk_impl.h"

#define SL_MAX_SCOPES 1024 /* the ring tag has room for more; beyond it everything is scope 0, the empty one */

/* A scope as it lies in a segment. */
typedef struct sl_scope_record {
    uint64_t next;
    uint32_t id;
    uint32_t scope_len;  /* bytes of the encoded InstrumentationScope, which follow */
    uint32_t schema_len; /* bytes of the schema URL, which follow that */
    uint32_t name_len;   /* and of the bare name, last */
    uint8_t bytes[];
} sl_scope_record;

/* The table of the recording process. Finds what the segment already holds. NULL without memory. */
sl_scopes *sl_scopes_new(sl_segment *segment);
void sl_scopes_free(sl_scopes *scopes);
/* Id of a scope, registered when new. 0 (the empty scope) when there is no room. Any thread. */
uint32_t sl_scopes_id(sl_scopes *scopes, const sl_scope_options *scope);

/* For readers: the scope `id` of a segment. SL_ENOENT. Views point into the segment. */
SL_MUST_CHECK int sl_scope_find(const sl_segment *segment, uint32_t id, sl_str *ret_scope, sl_str *ret_schema_url,
                                sl_str *ret_name);

/*
 * Ring records. Tag: scope id in the low 16 bits, flags above. Span ring: payload is one OTLP Span message; log
 * ring: one OTLP LogRecord message.
 */
#define SL_TAG_SCOPE(tag) ((tag)&0xFFFFu)
#define SL_TAG_UNSAMPLED 0x10000u /* kept by keep_errors; exported like the rest */

#endif
