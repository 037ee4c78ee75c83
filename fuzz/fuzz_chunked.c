/* Chunked bodies: no crash, the same data however the bytes are cut, and skipping consumes what decoding consumes. */
#include "src/wire/chunked.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

/* Decodes in pieces; sums the data into a length and a hash. */
static int decode(sl_str text, size_t step, size_t *ret_used, uint64_t *ret_len, uint64_t *ret_hash)
{
    sl_chunked chunked;
    int rc = SL_EMORE;
    size_t used = 0;
    uint64_t len = 0, hash = 1469598103934665603ull;
    sl_chunked_init(&chunked);
    while (rc == SL_EMORE && used < text.len) {
        sl_str piece = sl_str_sub(text, used, step), rest = piece, span;
        while ((rc = sl_chunked_next(&chunked, &rest, &span)) == 0) {
            EXPECT(span.len > 0 && span.ptr >= piece.ptr && span.ptr + span.len <= piece.ptr + piece.len);
            len += span.len;
            for (size_t i = 0; i < span.len; i++)
                hash = (hash ^ (unsigned char)span.ptr[i]) * 1099511628211ull;
        }
        used += piece.len - rest.len;
    }
    EXPECT((chunked.reason != NULL) == (rc < 0 && rc != SL_EMORE));
    *ret_used = used;
    *ret_len = len;
    *ret_hash = hash;
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    sl_str text = sl_str_of((const char *)data + 1, size - 1);
    size_t used, slow_used, skipped;
    uint64_t len, slow_len, skipped_len, hash, slow_hash;
    int rc = decode(text, text.len, &used, &len, &hash);
    int slow = decode(text, 1u + data[0] % 16u, &slow_used, &slow_len, &slow_hash);
    EXPECT(rc == slow && used == slow_used && len == slow_len && hash == slow_hash);
    sl_chunked chunked;
    sl_chunked_init(&chunked);
    EXPECT(sl_chunked_skip(&chunked, text, &skipped, &skipped_len) == rc);
    EXPECT(skipped == used && skipped_len == len);
    if (rc == SL_CHUNKED_END)
        EXPECT(used >= 5 && memcmp(text.ptr + used - 4, "\r\n\r\n", 4) == 0 && sl_chunked_is_done(&chunked));
    return 0;
}
