/*
 * The chunked transfer coding.
 *
 *   SIZE --hex*--> SIZE --';'--> EXT_NAME --'='--> EXT_VALUE | EXT_QUOTED --'"'--> EXT_BEHIND --';'--> EXT_NAME
 *     | CR                          | CR               | CR                            | CR
 *     +-----------------------------+------> SIZE_LF <-+-------------------------------+
 *   SIZE_LF: size > 0: DATA -> DATA_CR -> DATA_LF -> SIZE;  size 0: LINE
 *   LINE --CR--> LAST_LF -> END;  LINE --name--> TRAILER_NAME --':'--> TRAILER_VALUE --CR--> TRAILER_LF -> LINE
 */
#include "src/wire/chunked.h"

#include "src/base/assert.h"
#include "src/wire/http_field_chars.h"

enum {
    SIZE,
    EXT_NAME,
    EXT_VALUE,
    EXT_TOKEN,
    EXT_QUOTED,
    EXT_ESCAPE,
    EXT_BEHIND,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    LINE,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF,
    END,
    FAILED
};

#define MAX_DIGITS 16

void sl_chunked_init(sl_chunked *chunked)
{
    SL_ASSERT(chunked);
    memset(chunked, 0, sizeof *chunked);
}

bool sl_chunked_is_done(const sl_chunked *chunked)
{
    SL_ASSERT(chunked);
    return chunked->state == END;
}

static int refuse(sl_chunked *c, const char *reason)
{
    SL_ASSERT(c);
    c->state = FAILED;
    c->reason = reason;
    return SL_EPARSE;
}

static int refuse_limit(sl_chunked *c, const char *reason)
{
    SL_ASSERT(c);
    c->state = FAILED;
    c->reason = reason;
    return SL_ELIMIT;
}

/* A byte of the size, or what may stand directly behind it. */
static int step_size(sl_chunked *c, char ch)
{
    int digit = sl_hex_value(ch);
    if (digit >= 0) {
        if (++c->digits > MAX_DIGITS || c->left > (uint64_t)INT64_MAX >> 4)
            return refuse_limit(c, "chunk size too large");
        c->left = c->left << 4 | (uint64_t)digit;
        return 0;
    }
    if (c->digits == 0)
        return refuse(c, "chunk without a size");
    if (ch == '\r')
        c->state = SIZE_LF;
    else if (ch == ';')
        c->state = EXT_NAME;
    else
        return refuse(c, "junk behind a chunk size");
    c->digits = 0;
    return 0;
}

/* A byte behind a complete name or value of an extension. */
static int step_extension_end(sl_chunked *c, char ch)
{
    if (ch == '\r')
        c->state = SIZE_LF;
    else if (ch == ';')
        c->state = EXT_NAME;
    else
        return refuse(c, "malformed chunk extension");
    c->digits = 0;
    return 0;
}

/* A byte of an extension; `digits` counts the bytes of the current name or value. */
static int step_extension(sl_chunked *c, char ch)
{
    c->has_extensions = true;
    if (++c->extension_bytes > SL_MAX_TRAILER_BYTES)
        return refuse_limit(c, "chunk extensions too large");
    switch (c->state) {
    case EXT_NAME:
    case EXT_TOKEN:
        if (sl_http_char_is(ch, SL_HTTP_CHAR_TOKEN)) {
            c->digits++;
            return 0;
        }
        if (c->digits == 0)
            return refuse(c, "malformed chunk extension");
        if (ch == '=' && c->state == EXT_NAME) {
            c->state = EXT_VALUE;
            return 0;
        }
        return step_extension_end(c, ch);
    case EXT_VALUE:
        if (ch != '"' && !sl_http_char_is(ch, SL_HTTP_CHAR_TOKEN))
            return refuse(c, "malformed chunk extension");
        c->state = ch == '"' ? EXT_QUOTED : EXT_TOKEN;
        c->digits = 1;
        return 0;
    case EXT_QUOTED:
        if (ch == '"')
            c->state = EXT_BEHIND;
        else if (ch == '\\')
            c->state = EXT_ESCAPE;
        else if (sl_http_find_control(&ch, 1) == 0)
            return refuse(c, "control byte in a chunk extension");
        return 0;
    case EXT_ESCAPE:
        c->state = EXT_QUOTED;
        return sl_http_find_control(&ch, 1) == 0 ? refuse(c, "control byte in a chunk extension") : 0;
    default:
        SL_ASSERT(c->state == EXT_BEHIND);
        return step_extension_end(c, ch);
    }
}

/* A byte of a trailer line. */
static int step_trailer(sl_chunked *c, char ch)
{
    SL_ASSERT(c);
    if (++c->trailer_bytes > SL_MAX_TRAILER_BYTES)
        return refuse_limit(c, "trailer too large");
    c->has_trailers = true;
    if (c->state == TRAILER_VALUE) {
        if (ch == '\r')
            c->state = TRAILER_LF;
        else if (sl_http_find_control(&ch, 1) == 0)
            return refuse(c, "control byte in a trailer field");
        return 0;
    }
    if (sl_http_char_is(ch, SL_HTTP_CHAR_TOKEN))
        c->state = TRAILER_NAME;
    else if (ch == ':' && c->state == TRAILER_NAME)
        c->state = TRAILER_VALUE;
    else
        return refuse(c, "malformed trailer field");
    return 0;
}

/* A byte that must be exactly `want`. */
static int step_exact(sl_chunked *c, char ch, char want, int next)
{
    if (ch != want)
        return refuse(c, want == '\n' ? "CR without LF" : "chunk without its final CRLF");
    c->state = next;
    return 0;
}

/* Any byte outside chunk data. */
static int step(sl_chunked *c, char ch)
{
    SL_ASSERT(c->state != DATA && c->state < END);
    if (c->state <= SIZE_LF && ++c->line_bytes > SL_MAX_CHUNK_LINE)
        return refuse_limit(c, "chunk size line too long");
    switch (c->state) {
    case SIZE:
        return step_size(c, ch);
    case SIZE_LF:
        c->line_bytes = 0;
        return step_exact(c, ch, '\n', c->left ? DATA : LINE);
    case DATA_CR:
        return step_exact(c, ch, '\r', DATA_LF);
    case DATA_LF:
        return step_exact(c, ch, '\n', SIZE);
    case LINE:
        if (ch == '\r') {
            c->state = LAST_LF;
            return 0;
        }
        return step_trailer(c, ch);
    case TRAILER_NAME:
    case TRAILER_VALUE:
        return step_trailer(c, ch);
    case TRAILER_LF:
        if (++c->trailer_bytes > SL_MAX_TRAILER_BYTES)
            return refuse_limit(c, "trailer too large");
        return step_exact(c, ch, '\n', LINE);
    case LAST_LF:
        return step_exact(c, ch, '\n', END);
    default:
        return step_extension(c, ch);
    }
}

int sl_chunked_next(sl_chunked *c, sl_str *bytes, sl_str *ret_data)
{
    SL_ASSERT(c && bytes && ret_data && (bytes->ptr || bytes->len == 0));
    if (c->state == FAILED)
        return SL_EPARSE;
    while (bytes->len && c->state != END) {
        if (c->state == DATA) {
            size_t len = c->left < bytes->len ? (size_t)c->left : bytes->len;
            *ret_data = sl_str_of(bytes->ptr, len);
            *bytes = sl_str_of(bytes->ptr + len, bytes->len - len);
            c->left -= len;
            if (c->left == 0)
                c->state = DATA_CR;
            return 0;
        }
        int error = step(c, bytes->ptr[0]);
        if (error)
            return error;
        bytes->ptr++;
        bytes->len--;
    }
    return c->state == END ? SL_CHUNKED_END : SL_EMORE;
}

int sl_chunked_skip(sl_chunked *c, sl_str bytes, size_t *ret_consumed, uint64_t *ret_data_bytes)
{
    SL_ASSERT(c && ret_consumed);
    sl_str rest = bytes, data = {NULL, 0};
    uint64_t total = 0;
    int rc;
    while ((rc = sl_chunked_next(c, &rest, &data)) == 0)
        total += data.len;
    *ret_consumed = bytes.len - rest.len;
    if (ret_data_bytes)
        *ret_data_bytes = total;
    return rc;
}

size_t sl_chunked_header(uint64_t size, char ret_text[SL_CHUNKED_HEADER_MAX])
{
    SL_ASSERT(size > 0 && ret_text);
    size_t len = (size_t)(67 - __builtin_clzll(size)) / 4;
    for (size_t i = 0; i < len; i++)
        ret_text[i] = "0123456789abcdef"[size >> (4 * (len - 1 - i)) & 15];
    ret_text[len] = '\r';
    ret_text[len + 1] = '\n';
    return len + 2;
}
