/*
 * Bodies of type multipart/form-data, whole in memory: parts as views, strictly, without I/O.
 *
 * Promises: a body that could be read in two ways is refused: bare line feeds in part heads, folded or doubled fields,
 * a missing or empty name, bytes behind the last boundary, a missing last boundary. Contents are given as they are.
 * Does not: stream, decode transfer encodings, percent codes or character sets.
 *
 * Source: RFC 7578 (form-data), RFC 2046 section 5.1 (multipart).
 */
#ifndef SL_WIRE_MULTIPART_H
#define SL_WIRE_MULTIPART_H

#include "src/base/limits.h"
#include "src/base/str.h"

typedef struct sl_multipart_part {
    sl_str name;         /* of the field; not empty */
    sl_str filename;     /* as sent; empty when there is none */
    sl_str content_type; /* empty when there is none */
    sl_str content;
} sl_multipart_part;

#define SL_MULTIPART_BOUNDARY_MAX 70

typedef struct sl_multipart {
    sl_str rest;
    sl_str boundary;
    bool begun;
    bool ended;
    unsigned count;
    const char *reason; /* static, of the last failure */
} sl_multipart;

/*
 * Begins with the value of Content-Type. Errors: SL_EPARSE (not multipart/form-data, or no proper boundary; `reason`
 * says which).
 */
SL_MUST_CHECK int sl_multipart_init(sl_multipart *form, sl_str content_type, sl_str body);
/*
 * The next part; views point into the body. Errors: SL_ENOENT (there are no more, all was well), SL_EPARSE, SL_ETOOBIG
 * (more than SL_MAX_MULTIPART_PARTS, or a head above SL_MAX_MULTIPART_HEAD_BYTES). After an error the same again.
 */
SL_MUST_CHECK int sl_multipart_next(sl_multipart *form, sl_multipart_part *ret_part);

#endif
