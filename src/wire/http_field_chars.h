/* Character classes of HTTP/1 syntax, for the parsers of this layer (RFC 9110 section 5.6.2, RFC 3986). */
#ifndef SL_WIRE_HTTP_FIELD_CHARS_H
#define SL_WIRE_HTTP_FIELD_CHARS_H

#include "src/base/assert.h"
#include "src/base/str.h"

#define SL_HTTP_CHAR_TOKEN 1  /* tchar: names, methods */
#define SL_HTTP_CHAR_TARGET 2 /* request target: printable ASCII without `"`, `#`, `<`, `>`, `\` */
#define SL_HTTP_CHAR_HOST 4   /* registered name: unreserved, sub-delims without the comma, '%' */

/* One byte of class bits for each character. */
extern const uint8_t sl_http_chars[256];

/* True when `c` is of one of these classes. */
static inline bool sl_http_char_is(char c, int classes)
{
    return (sl_http_chars[(unsigned char)c] & classes) != 0;
}

/* Length of the longest prefix of `p` (`len` bytes) that is all of one class. */
static inline size_t sl_http_span(const char *p, size_t len, int class)
{
    const unsigned char *c = (const unsigned char *)p;
    size_t i = 0;
    SL_ASSERT((class & (class - 1)) == 0);
    while (len - i >= 4 &&
           sl_http_chars[c[i]] & sl_http_chars[c[i + 1]] & sl_http_chars[c[i + 2]] & sl_http_chars[c[i + 3]] & class)
        i += 4;
    while (i < len && sl_http_char_is(p[i], class))
        i++;
    return i;
}

/* Index of the first control byte other than tab (below 0x20, or 0x7F); `len` when there is none. */
size_t sl_http_find_control(const char *p, size_t len);

#endif
