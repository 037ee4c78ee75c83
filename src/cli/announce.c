/* Text to be copied into a shell. */
#include "src/cli/announce.h"

#include "src/base/assert.h"
#include "src/wire/json_write.h"

#define MAX_NAME_BYTES (64u * 1024)

/* JSON within the quotes of a shell. Control characters that JSON leaves as they are get its escape. */
static void put_quoted(sl_buf *out, sl_str json)
{
    SL_ASSERT(out && (json.ptr || !json.len));
    for (size_t i = 0; i < json.len; i++) {
        unsigned char c = (unsigned char)json.ptr[i], next = i + 1 < json.len ? (unsigned char)json.ptr[i + 1] : 0;
        bool c1 = c == 0xc2 && next >= 0x80 && next < 0xa0;
        if (c == '\'')
            (void)sl_buf_put_c(out, "'\\''");
        else if (c == 0x7f || c1)
            (void)sl_buf_printf(out, "\\u%04x", c1 ? next : c);
        else
            (void)sl_buf_put_char(out, (char)c);
        i += c1;
    }
}

int sl_announce_chat_body(sl_str model, sl_buf *out)
{
    SL_ASSERT(out && (model.ptr || !model.len));
    sl_jw writer;
    sl_buf name;
    sl_buf_init(&name, MAX_NAME_BYTES);
    sl_jw_init(&writer, &name);
    sl_jw_str(&writer, model);
    int error = sl_jw_finish(&writer);
    (void)sl_buf_put_c(out, "'{\"model\": ");
    if (!error)
        put_quoted(out, sl_buf_str(&name));
    sl_buf_done(&name);
    (void)sl_buf_put_c(out, ", \"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'");
    return error ? error : out->failed;
}
