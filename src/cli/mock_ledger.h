/*
 * What the fake provider truly served, request by request: the truth that checks compare with.
 *
 * Bounded: the newest SL_MOCK_LEDGER entries are kept, totals count everything. One thread.
 */
#ifndef SL_CLI_MOCK_LEDGER_H
#define SL_CLI_MOCK_LEDGER_H

#include "src/base/buf.h"

#define SL_MOCK_LEDGER 200000

typedef struct sl_mock_ledger sl_mock_ledger;

/* Outcomes: what became of a request. */
#define SL_MOCK_OUTCOME_MAP(X)                                                                                         \
    X(OK, "ok")                                                                                                        \
    X(CANCELLED, "cancelled")                                                                                          \
    X(REFUSED, "refused")                                                                                              \
    X(LIMITED, "429")                                                                                                  \
    X(FAILED, "500")                                                                                                   \
    X(HANG, "hang")                                                                                                    \
    X(RESET, "reset")                                                                                                  \
    X(BADJSON, "badjson")                                                                                              \
    X(TRUNCATED, "truncated")

typedef enum sl_mock_outcome {
#define SL_MOCK_OUTCOME_ENUM(name, text) SL_MOCK_##name,
    SL_MOCK_OUTCOME_MAP(SL_MOCK_OUTCOME_ENUM)
#undef SL_MOCK_OUTCOME_ENUM
        SL_MOCK_OUTCOME_COUNT
} sl_mock_outcome;

typedef struct sl_mock_entry {
    uint64_t number;
    char id[64]; /* x-request-id of the request; empty: none */
    char model[128];
    char traceparent[56]; /* as received */
    char tracestate[128];
    char baggage[128];
    char path[32];
    uint64_t key_hash;  /* of the Authorization value; 0: none */
    uint64_t body_hash; /* FNV-1a of the request body */
    uint64_t request_bytes;
    uint64_t response_bytes;
    uint32_t prompt_tokens;
    uint32_t completion_tokens; /* given out, also when the client left before the end */
    bool stream;
    bool include_usage;
    sl_mock_outcome outcome;
} sl_mock_entry;

/* NULL without memory. */
sl_mock_ledger *sl_mock_ledger_new(void);
void sl_mock_ledger_free(sl_mock_ledger *ledger);
/* Adds a finished request (copied). */
void sl_mock_ledger_add(sl_mock_ledger *ledger, const sl_mock_entry *entry);
void sl_mock_ledger_reset(sl_mock_ledger *ledger);
/* {"served":N,"outcomes":{…},"prompt_tokens":…,"completion_tokens":…,"requests":[…]} */
int sl_mock_ledger_json(const sl_mock_ledger *ledger, sl_buf *out);
/* FNV-1a, the hash of key_hash and body_hash: anybody can compute it. */
uint64_t sl_mock_hash(sl_str bytes);

#endif
