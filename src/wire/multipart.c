/* Boundaries, heads of parts, parameters of fields. */
#include "src/wire/multipart.h"

#include "src/base/assert.h"
#include "src/wire/http_field.h"

static int fail(sl_multipart *form, int error, const char *reason)
{
    SL_ASSERT(form && error);
    form->reason = reason;
    form->ended = true;
    form->rest = sl_str_of(NULL, 0);
    return error;
}

/* ---- parameters: `; name=token` and `; name="quoted"` ---- */

/* Takes a quoted string off the front; backslashes are not looked through, as browsers send none. */
static bool take_quoted(sl_str *rest, sl_str *ret_value)
{
    SL_ASSERT(rest->len && rest->ptr[0] == '"');
    sl_str inner = sl_str_sub(*rest, 1, rest->len);
    size_t end = sl_str_chr(inner, '"');
    if (end == SL_NPOS || sl_str_chr(sl_str_sub(inner, 0, end), '\\') != SL_NPOS)
        return false;
    *ret_value = sl_str_sub(inner, 0, end);
    *rest = sl_str_sub(inner, end + 1, inner.len);
    return true;
}

/* The next parameter behind a value. SL_ENOENT at the end. */
static int next_parameter(sl_str *rest, sl_str *ret_name, sl_str *ret_value)
{
    SL_ASSERT(rest && ret_name && ret_value);
    *rest = sl_str_trim(*rest);
    if (!rest->len)
        return SL_ENOENT;
    if (rest->ptr[0] != ';')
        return SL_EPARSE;
    *rest = sl_str_trim(sl_str_sub(*rest, 1, rest->len));
    size_t equals = sl_str_chr(*rest, '=');
    if (equals == SL_NPOS)
        return SL_EPARSE;
    *ret_name = sl_str_sub(*rest, 0, equals);
    *rest = sl_str_sub(*rest, equals + 1, rest->len);
    if (!sl_http_is_token(*ret_name))
        return SL_EPARSE;
    if (rest->len && rest->ptr[0] == '"')
        return take_quoted(rest, ret_value) ? 0 : SL_EPARSE;
    size_t end = sl_str_chr(*rest, ';');
    if (end == SL_NPOS)
        end = rest->len;
    *ret_value = sl_str_trim(sl_str_sub(*rest, 0, end));
    *rest = sl_str_sub(*rest, end, rest->len);
    return sl_http_is_token(*ret_value) ? 0 : SL_EPARSE;
}

/* A value up to its parameters. */
static sl_str take_value(sl_str *rest)
{
    size_t end = sl_str_chr(*rest, ';');
    if (end == SL_NPOS)
        end = rest->len;
    sl_str value = sl_str_trim(sl_str_sub(*rest, 0, end));
    *rest = sl_str_sub(*rest, end, rest->len);
    return value;
}

/* RFC 2046, 5.1.1: bchars, no space at the end. */
static bool is_boundary(sl_str text)
{
    if (text.len == 0 || text.len > SL_MULTIPART_BOUNDARY_MAX || text.ptr[text.len - 1] == ' ')
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        bool alnum = (c >= '0' && c <= '9') || (sl_ascii_lower(c) >= 'a' && sl_ascii_lower(c) <= 'z');
        if (!alnum && (c == 0 || !strchr("'()+_,-./:=? ", c)))
            return false;
    }
    return true;
}

int sl_multipart_init(sl_multipart *form, sl_str content_type, sl_str body)
{
    SL_ASSERT(form);
    memset(form, 0, sizeof *form);
    form->rest = body;
    sl_str rest = content_type, name, value;
    int error;
    if (!sl_str_ieq(take_value(&rest), SL_STR("multipart/form-data")))
        return fail(form, SL_EPARSE, "the body is not multipart/form-data");
    while ((error = next_parameter(&rest, &name, &value)) == 0) {
        if (!sl_str_ieq(name, SL_STR("boundary")))
            continue;
        if (form->boundary.len)
            return fail(form, SL_EPARSE, "two boundaries are given");
        form->boundary = value;
    }
    if (error != SL_ENOENT || !is_boundary(form->boundary))
        return fail(form, SL_EPARSE, "the boundary is missing or malformed");
    return 0;
}

/* ---- parts ---- */

/* True when `rest` begins with the dashed boundary. */
static bool at_boundary(const sl_multipart *form, sl_str rest)
{
    return rest.len >= form->boundary.len + 2 && rest.ptr[0] == '-' && rest.ptr[1] == '-' &&
           memcmp(rest.ptr + 2, form->boundary.ptr, form->boundary.len) == 0;
}

/* Position of the CRLF before the next boundary; SL_NPOS: there is none. */
static size_t find_boundary(const sl_multipart *form, sl_str rest)
{
    SL_ASSERT(form->boundary.len);
    size_t from = 0;
    for (;;) {
        size_t at = sl_str_find(sl_str_sub(rest, from, rest.len), SL_STR("\r\n--"));
        if (at == SL_NPOS)
            return SL_NPOS;
        from += at;
        if (at_boundary(form, sl_str_sub(rest, from + 2, rest.len)))
            return from;
        from += 2;
    }
}

static int read_disposition(sl_str value, sl_multipart_part *part)
{
    SL_ASSERT(part);
    sl_str rest = value, name, text;
    bool named = false, filed = false;
    int error;
    if (!sl_str_ieq(take_value(&rest), SL_STR("form-data")))
        return SL_EPARSE;
    while ((error = next_parameter(&rest, &name, &text)) == 0) {
        bool is_name = sl_str_ieq(name, SL_STR("name")), is_file = sl_str_ieq(name, SL_STR("filename"));
        if ((is_name && named) || (is_file && filed))
            return SL_EPARSE;
        named = named || is_name;
        filed = filed || is_file;
        if (is_name)
            part->name = text;
        if (is_file)
            part->filename = text;
    }
    return error == SL_ENOENT && part->name.len ? 0 : SL_EPARSE;
}

/* One line of a part's head, without its CRLF. */
static int read_field(sl_str line, sl_multipart_part *part, bool *disposed)
{
    SL_ASSERT(disposed);
    size_t colon = sl_str_chr(line, ':');
    sl_str name = sl_str_sub(line, 0, colon);
    if (colon == SL_NPOS || !sl_http_is_token(name))
        return SL_EPARSE;
    sl_str value = sl_str_trim(sl_str_sub(line, colon + 1, line.len));
    for (size_t i = 0; i < value.len; i++) {
        if ((unsigned char)value.ptr[i] < ' ' && value.ptr[i] != '\t')
            return SL_EPARSE;
    }
    if (sl_str_ieq(name, SL_STR("content-disposition"))) {
        if (*disposed)
            return SL_EPARSE;
        *disposed = true;
        return read_disposition(value, part);
    }
    if (sl_str_ieq(name, SL_STR("content-type"))) {
        if (part->content_type.len)
            return SL_EPARSE;
        part->content_type = value;
    }
    if (sl_str_ieq(name, SL_STR("content-transfer-encoding")) && !sl_str_ieq(value, SL_STR("binary")) &&
        !sl_str_ieq(value, SL_STR("8bit")) && !sl_str_ieq(value, SL_STR("7bit")))
        return SL_EPARSE;
    return 0;
}

static int read_head(sl_str head, sl_multipart_part *part)
{
    SL_ASSERT(part);
    bool disposed = false;
    while (head.len) {
        size_t end = sl_str_find(head, SL_STR("\r\n"));
        if (end == SL_NPOS)
            end = head.len;
        int error = read_field(sl_str_sub(head, 0, end), part, &disposed);
        if (error)
            return error;
        head = sl_str_sub(head, end + 2, head.len);
    }
    return disposed ? 0 : SL_EPARSE;
}

/* Behind a boundary: "\r\n" goes on, "--" with nothing more than a line end is the last. */
static int pass_boundary(sl_multipart *form)
{
    SL_ASSERT(at_boundary(form, form->rest));
    form->rest = sl_str_sub(form->rest, form->boundary.len + 2, form->rest.len);
    if (sl_str_starts(form->rest, SL_STR("\r\n"))) {
        form->rest = sl_str_sub(form->rest, 2, form->rest.len);
        return 0;
    }
    if (sl_str_eq_c(form->rest, "--") || sl_str_eq_c(form->rest, "--\r\n")) {
        form->ended = true;
        return SL_ENOENT;
    }
    return fail(form, SL_EPARSE, "a boundary is followed by something else");
}

int sl_multipart_next(sl_multipart *form, sl_multipart_part *ret_part)
{
    SL_ASSERT(form && ret_part);
    if (form->ended)
        return form->reason ? SL_EPARSE : SL_ENOENT;
    if (!form->begun && !at_boundary(form, form->rest))
        return fail(form, SL_EPARSE, "the body does not begin with its boundary");
    form->begun = true;
    int error = pass_boundary(form);
    if (error)
        return error;
    if (++form->count > SL_MAX_MULTIPART_PARTS)
        return fail(form, SL_ETOOBIG, "the form has too many parts");
    size_t head_end = sl_str_find(sl_str_sub(form->rest, 0, SL_MAX_MULTIPART_HEAD_BYTES), SL_STR("\r\n\r\n"));
    if (head_end == SL_NPOS)
        return fail(form, form->rest.len > SL_MAX_MULTIPART_HEAD_BYTES ? SL_ETOOBIG : SL_EPARSE,
                    "the head of a part has no end");
    sl_multipart_part part;
    memset(&part, 0, sizeof part);
    if (read_head(sl_str_sub(form->rest, 0, head_end), &part) != 0)
        return fail(form, SL_EPARSE, "the head of a part is malformed");
    /* The CRLF that ends the head may be that of the boundary: an empty content. */
    sl_str behind = sl_str_sub(form->rest, head_end + 2, form->rest.len);
    size_t end = find_boundary(form, behind);
    if (end == SL_NPOS)
        return fail(form, SL_EPARSE, "the last boundary is missing");
    part.content = end < 2 ? sl_str_of(behind.ptr, 0) : sl_str_sub(behind, 2, end - 2);
    form->rest = sl_str_sub(behind, end + 2, behind.len);
    *ret_part = part;
    return 0;
}
