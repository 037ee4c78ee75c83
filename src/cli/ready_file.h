/* The ready file: one JSON object that says where everything answers, written atomically. */
#ifndef SL_CLI_READY_FILE_H
#define SL_CLI_READY_FILE_H

#include "src/base/buf.h"
#include "src/net/lite/addr.h"

#define SL_MAX_READY 16

typedef struct sl_ready {
    struct {
        const char *key; /* "gateway" */
        char url[SL_ADDR_TEXT_MAX + 8];
    } items[SL_MAX_READY];
    size_t count;
} sl_ready;

/* Adds `http://ADDRESS`; a wildcard address becomes loopback, so that the URL can be used as it is. */
void sl_ready_add(sl_ready *ready, const char *key, const sl_addr *addr);
/* The URL of a key; NULL when absent. */
const char *sl_ready_url(const sl_ready *ready, const char *key);
/* Writes PATH through a temporary file beside it. An empty path does nothing. Errors: SL_EIO. */
SL_MUST_CHECK int sl_ready_write(const sl_ready *ready, sl_str path);

#endif
