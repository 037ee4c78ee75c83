/*
 * Writing heads of HTTP/1.1 messages into a buffer.
 *
 * Promises: nothing written here can be split by what is put into it: names must be tokens, values free of control
 * bytes, else the append is refused and remembered in the buffer like any failed append.
 */
#ifndef SL_WIRE_HTTP1_WRITE_H
#define SL_WIRE_HTTP1_WRITE_H

#include "src/base/buf.h"

/* Reason phrase of a status, such as "Not Found"; "Unknown" when it is not registered. Static. */
const char *sl_http_status_text(int status);

/* Appends `HTTP/1.1 STATUS REASON CRLF`. `status` is 100 to 599. */
int sl_http1_put_status(sl_buf *buf, int status);

/* Appends `METHOD TARGET HTTP/1.1 CRLF`. SL_EINVAL when either is empty or holds bytes that do not belong there. */
int sl_http1_put_request(sl_buf *buf, sl_str method, sl_str target);

/* Appends `NAME: VALUE CRLF`. SL_EINVAL when the name is no token or the value holds a control byte other than tab. */
int sl_http1_put_field(sl_buf *buf, sl_str name, sl_str value);

/* Appends `NAME: NUMBER CRLF`. */
int sl_http1_put_field_u64(sl_buf *buf, sl_str name, uint64_t value);

/* Appends the empty line that ends a head. */
static inline int sl_http1_put_end(sl_buf *buf)
{
    return sl_buf_put(buf, "\r\n", 2);
}

#endif
