/*
 * What a load run has measured, and its report for people and as JSON. No I/O.
 *
 * Every request that was begun is counted once: in `ok` or in exactly one kind of error.
 */
#ifndef SL_CLI_LOAD_RESULT_H
#define SL_CLI_LOAD_RESULT_H

#include "src/base/buf.h"
#include "src/cli/load_hist.h"

/* Kinds of errors; answers of another status than 200 are `http_STATUS` instead. X(enumerator, text, meaning) */
#define SL_LOAD_ERROR_MAP(X)                                                                                           \
    X(RESOLVE, "resolve", "the host name was not found")                                                               \
    X(CONNECT, "connect", "no connection")                                                                             \
    X(TLS, "tls", "no trust or no common version")                                                                     \
    X(TIMEOUT, "timeout", "no end within --timeout")                                                                   \
    X(CLOSED, "closed", "closed before the answer was complete")                                                       \
    X(PROTOCOL, "protocol", "not HTTP, or ambiguous")                                                                  \
    X(BAD_JSON, "bad_json", "an answer or a frame is not JSON")                                                        \
    X(NO_DONE, "no_done", "a stream ended without its end mark")                                                       \
    X(NOT_STREAMED, "not_streamed", "a stream was asked for, something else came")                                     \
    X(STREAM_ERROR, "stream_error", "an error inside a stream")                                                        \
    X(MEMORY, "memory", "this program ran out of memory")                                                              \
    X(INTERRUPTED, "interrupted", "under way when the run was stopped")

typedef enum sl_load_error {
    SL_LOAD_OK = 0,
#define SL_LOAD_ERROR_ENUM(name, text, help) SL_LOAD_##name,
    SL_LOAD_ERROR_MAP(SL_LOAD_ERROR_ENUM)
#undef SL_LOAD_ERROR_ENUM
        SL_LOAD_HTTP, /* another status: of the answer */
    SL_LOAD_ERROR_COUNT
} sl_load_error;

#define SL_LOAD_MAX_STATUS 600
#define SL_LOAD_SAMPLE_MAX 256

typedef struct sl_load_result {
    uint64_t sent;
    uint64_t ok;
    uint64_t errors[SL_LOAD_ERROR_COUNT];
    uint64_t http_errors[SL_LOAD_MAX_STATUS];
    uint64_t tokens; /* of good answers: as their usage says, else the frames with text */
    uint64_t frames; /* of streams: events, comments and the end mark */
    uint64_t bytes;  /* of answers' bodies */
    uint64_t duration_ns;
    sl_load_hist latency;            /* of good answers, from the time they were meant to be sent to their last byte */
    sl_load_hist ttft;               /* to the first frame with text; streams only */
    sl_load_hist itl;                /* between frames with text; streams only */
    char sample[SL_LOAD_SAMPLE_MAX]; /* of the first error: what the server said, or why there was no answer */
} sl_load_result;

/* Counts an error; `status` matters for SL_LOAD_HTTP. The first `text` is kept as the sample, made printable. */
void sl_load_result_error(sl_load_result *result, sl_load_error error, int status, sl_str text);
/* Keeps a text as the sample: its beginning, printable. */
void sl_load_result_sample(sl_load_result *result, sl_str text);
uint64_t sl_load_result_failed(const sl_load_result *result);
/* Text of a kind, such as "no_done"; "http" for SL_LOAD_HTTP. Static. */
const char *sl_load_error_name(sl_load_error error);

/* Appends the report for people; the JSON object on one line. Errors are the buffer's. */
int sl_load_report_text(const sl_load_result *result, sl_buf *out);
int sl_load_report_json(const sl_load_result *result, sl_buf *out);

#endif
