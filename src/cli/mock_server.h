/*
 * The fake provider: an HTTP server on a loop that answers as mock_answer.h plans, late and faulty as asked, and keeps
 * a ledger. Used by `sightline mock`, and inside `sightline up` when no model is configured.
 */
#ifndef SL_CLI_MOCK_SERVER_H
#define SL_CLI_MOCK_SERVER_H

#include "src/base/rng.h"
#include "src/cli/command.h"
#include "src/net/loop.h"

#define SL_MOCK_FAULT_MAP(X)                                                                                           \
    X(429, "429")                                                                                                      \
    X(500, "500")                                                                                                      \
    X(HANG, "hang")                                                                                                    \
    X(RESET, "reset")                                                                                                  \
    X(SLOW, "slow")                                                                                                    \
    X(SPLIT, "split")                                                                                                  \
    X(NOUSAGE, "nousage")                                                                                              \
    X(BADJSON, "badjson")                                                                                              \
    X(TRUNCATE, "truncate")

typedef enum sl_mock_fault {
    SL_MOCK_FAULT_NONE,
#define SL_MOCK_FAULT_ENUM(name, text) SL_MOCK_FAULT_##name,
    SL_MOCK_FAULT_MAP(SL_MOCK_FAULT_ENUM)
#undef SL_MOCK_FAULT_ENUM
        SL_MOCK_FAULT_COUNT
} sl_mock_fault;

typedef struct sl_mock_options {
    uint64_t ttft_ms;
    uint64_t itl_ms;
    uint64_t tokens;
    uint64_t seed;
    double share[SL_MOCK_FAULT_COUNT]; /* of requests; they add up to at most 1 */
} sl_mock_options;

typedef struct sl_mock_server sl_mock_server;

/* Reads "KIND=SHARE" into `options`. False with a text for people when it is not one. */
bool sl_mock_parse_fault(sl_str text, sl_mock_options *options, const char **ret_reason);

/* Serves on a bound, listening descriptor (duplicated). Errors: SL_ENOMEM, SL_EIO. */
SL_MUST_CHECK int sl_mock_server_new(sl_loop *loop, int fd, const sl_mock_options *options,
                                     sl_mock_server **ret_server);
/* Stops accepting and ends what is open at once. The memory goes when the loop has run; then call _free. */
void sl_mock_server_close(sl_mock_server *server);
void sl_mock_server_free(sl_mock_server *server);

#endif
