/* Forms: the first line is the Content-Type, the rest the body. Parts lie within the body and do not overlap. */
#include <stdlib.h>

#include "src/wire/multipart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sl_str all = sl_str_of((const char *)data, size);
    size_t end = sl_str_chr(all, '\n');
    if (end == SL_NPOS)
        return 0;
    sl_str body = sl_str_sub(all, end + 1, all.len);
    sl_multipart form;
    sl_multipart_part part;
    if (sl_multipart_init(&form, sl_str_sub(all, 0, end), body) != 0)
        return 0;
    const char *behind = body.ptr;
    while (sl_multipart_next(&form, &part) == 0) {
        if (part.name.len == 0 || part.content.ptr < behind ||
            part.content.ptr + part.content.len > body.ptr + body.len)
            abort();
        behind = part.content.ptr + part.content.len;
    }
    if (!form.ended)
        abort();
    return 0;
}
