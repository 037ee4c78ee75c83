/*
 * Requests of commands: one URL, a time limit, a bounded answer, and a sentence for people when it fails.
 *
 * http and https; proxies only as the environment says for https. Redirects are not followed.
 */
#ifndef SL_CLI_FETCH_H
#define SL_CLI_FETCH_H

#include "src/base/buf.h"

#define SL_FETCH_REASON_MAX 512
#define SL_FETCH_TYPE_MAX 128

typedef struct sl_fetch_options {
    const char *accept;  /* NULL: anything */
    sl_str key;          /* sent as Bearer token; empty: none */
    const char *header;  /* one more, "name: value"; NULL: none */
    const char *method;  /* NULL: GET */
    sl_str body;         /* JSON, of any other method */
    uint64_t timeout_ms; /* 0: 5 s */
    size_t max_bytes;    /* 0: 64 MiB */
} sl_fetch_options;

typedef struct sl_fetch {
    int status;
    char content_type[SL_FETCH_TYPE_MAX];
    sl_buf body;
    char reason[SL_FETCH_REASON_MAX]; /* on failure: "cannot reach URL: why" */
} sl_fetch;

/*
 * Gets a URL, or does there what the method says; `options` may be NULL. An answer of any status is no failure.
 * `fetch->body` is the caller's to free, by sl_fetch_done, in any case. Errors: SL_ECONNECT, SL_ERESOLVE, SL_ETIMEOUT,
 * SL_ETOOBIG, SL_EINVAL (URL), SL_EIO.
 */
SL_MUST_CHECK int sl_fetch_get(const char *url, const sl_fetch_options *options, sl_fetch *fetch);
void sl_fetch_done(sl_fetch *fetch);

/* Appends `base` (its trailing slashes left out) and `path` to `out`. */
int sl_fetch_join(sl_str base, const char *path, sl_buf *out);

#endif
