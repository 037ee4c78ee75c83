/* Rows from JSON lines and CSV. */
#include "src/store/collection_rows.h"

#include <string.h>

#include "src/base/assert.h"

void sl_rows_init(sl_rows *rows, FILE *file, bool csv)
{
    SL_ASSERT(rows && file);
    memset(rows, 0, sizeof *rows);
    rows->file = file;
    rows->csv = csv;
    rows->next_line = 1;
    sl_buf_init(&rows->text, SL_ROWS_MAX_LINE_BYTES);
}

void sl_rows_done(sl_rows *rows)
{
    if (!rows)
        return;
    json_decref(rows->header);
    sl_buf_done(&rows->text);
    rows->header = NULL;
}

static int fail(sl_rows *rows, int error, const char *text)
{
    (void)snprintf(rows->reason, sizeof rows->reason, "%s", text);
    return error;
}

static int fail_buf(sl_rows *rows)
{
    return rows->text.failed == SL_ELIMIT ? fail(rows, SL_ETOOBIG, "the row is larger than 4 MiB")
                                          : fail(rows, SL_ENOMEM, "out of memory");
}

/* ---- lines, records ---- */

/* Spreadsheets put a byte order mark in front, which is no part of the first name. */
static void skip_mark(sl_rows *rows)
{
    static const unsigned char mark[3] = {0xEF, 0xBB, 0xBF};
    rows->begun = true;
    for (int c; rows->ahead_len < 3 && (c = getc_unlocked(rows->file)) != EOF;) {
        rows->ahead[rows->ahead_len++] = (unsigned char)c;
        if (c != mark[rows->ahead_len - 1])
            return;
    }
    if (rows->ahead_len == 3)
        rows->ahead_at = 3;
}

/* A character, or EOF. Counts lines. */
static int next_char(sl_rows *rows)
{
    int c = rows->ahead_at < rows->ahead_len ? rows->ahead[rows->ahead_at++] : getc_unlocked(rows->file);
    if (c == '\n')
        rows->next_line++;
    return c;
}

static int end_of_file(sl_rows *rows)
{
    return ferror(rows->file) ? fail(rows, SL_EIO, "the file cannot be read") : SL_ENOENT;
}

/* One line without its end, empty ones passed over. */
static int read_line(sl_rows *rows)
{
    int c;
    do {
        sl_buf_clear(&rows->text);
        rows->line = rows->next_line;
        while ((c = next_char(rows)) != EOF && c != '\n')
            if (sl_buf_put_char(&rows->text, (char)c))
                return fail_buf(rows);
        while (rows->text.len && strchr(" \t\r", rows->text.data[rows->text.len - 1]))
            rows->text.len--;
    } while (rows->text.len == 0 && c != EOF);
    return rows->text.len ? 0 : end_of_file(rows);
}

/* One quoted field behind its first quote, into rows->text; `*ret_next` is the character behind it. */
static int read_quoted(sl_rows *rows, int *ret_next)
{
    for (;;) {
        int c = next_char(rows);
        if (c == EOF)
            return fail(rows, SL_EPARSE, "a quote is not closed");
        if (c == '"') {
            c = next_char(rows);
            if (c == '\r')
                c = next_char(rows);
            if (c != '"') {
                *ret_next = c;
                return c == ',' || c == '\n' || c == EOF
                           ? 0
                           : fail(rows, SL_EPARSE, "a quoted field is followed by something else than a comma");
            }
        }
        if (sl_buf_put_char(&rows->text, (char)c))
            return fail_buf(rows);
    }
}

static int read_field(sl_rows *rows, int first, int *ret_next)
{
    sl_buf_clear(&rows->text);
    if (first == '"')
        return read_quoted(rows, ret_next);
    int c = first;
    for (; c != EOF && c != ',' && c != '\n'; c = next_char(rows)) {
        if (c == '"')
            return fail(rows, SL_EPARSE, "a quote stands within a field that does not begin with one");
        if (sl_buf_put_char(&rows->text, (char)c))
            return fail_buf(rows);
    }
    if (rows->text.len && rows->text.data[rows->text.len - 1] == '\r')
        rows->text.len--;
    *ret_next = c;
    return 0;
}

/* One record: a list of texts. Empty lines are passed over. */
static int read_record(sl_rows *rows, json_t **ret_fields)
{
    int c;
    do {
        rows->line = rows->next_line;
        c = next_char(rows);
    } while (c == '\n' || c == '\r');
    if (c == EOF)
        return end_of_file(rows);
    json_t *fields = json_array();
    int error = fields ? 0 : SL_ENOMEM;
    for (int next = ','; !error && next == ',';) {
        if (json_array_size(fields) == SL_ROWS_MAX_COLUMNS)
            error = fail(rows, SL_EPARSE, "there are more than 256 columns");
        if (!error && json_array_size(fields))
            c = next_char(rows);
        if (!error)
            error = read_field(rows, c, &next);
        if (!error &&
            json_array_append_new(fields, json_stringn(rows->text.len ? rows->text.data : "", rows->text.len)))
            error = fail(rows, SL_EPARSE, "a field is no UTF-8");
    }
    if (error)
        json_decref(fields);
    else
        *ret_fields = fields;
    return error;
}

/* ---- a record as an object ---- */

static int add_special(sl_rows *rows, json_t *row, const char *name, json_t *field)
{
    bool is_json = strcmp(name, "vector") == 0 || strcmp(name, "metadata") == 0;
    json_t *value = is_json ? json_loads(json_string_value(field), 0, NULL) : json_incref(field);
    if (!value)
        return fail(rows, SL_EPARSE,
                    strcmp(name, "vector") == 0 ? "vector is no JSON list" : "metadata is no JSON object");
    if (strcmp(name, "metadata") != 0)
        return json_object_set_new(row, name, value) ? SL_ENOMEM : 0;
    int error = json_is_object(value) ? 0 : fail(rows, SL_EPARSE, "metadata is no JSON object");
    if (!error && json_object_update(json_object_get(row, "metadata"), value))
        error = SL_ENOMEM;
    json_decref(value);
    return error;
}

static json_t *number_or_text(json_t *field)
{
    sl_str text = sl_str_of(json_string_value(field), json_string_length(field));
    int64_t integer;
    double real;
    if (sl_str_to_i64(text, &integer) == 0)
        return json_integer(integer);
    return sl_str_to_double(text, &real) == 0 ? json_real(real) : json_incref(field);
}

static int row_of_record(sl_rows *rows, json_t *fields, json_t *row)
{
    static const char *const special[] = {"id", "vector", "text", "namespace", "metadata"};
    if (json_array_size(fields) != json_array_size(rows->header))
        return fail(rows, SL_EPARSE, "the row has not as many fields as the header");
    int error = json_object_set_new(row, "metadata", json_object()) ? SL_ENOMEM : 0;
    for (size_t i = 0; !error && i < json_array_size(fields); i++) {
        const char *name = json_string_value(json_array_get(rows->header, i));
        json_t *field = json_array_get(fields, i);
        bool is_special = false;
        for (size_t k = 0; k < sizeof special / sizeof *special; k++)
            is_special = is_special || strcmp(name, special[k]) == 0;
        if (json_string_length(field) == 0)
            continue;
        if (is_special)
            error = add_special(rows, row, name, field);
        else if (json_object_set_new(json_object_get(row, "metadata"), name, number_or_text(field)))
            error = SL_ENOMEM;
    }
    return error;
}

static int read_csv(sl_rows *rows, json_t **ret_row)
{
    json_t *fields = NULL;
    int error = rows->header ? 0 : read_record(rows, &rows->header);
    if (!error)
        error = read_record(rows, &fields);
    json_t *row = error ? NULL : json_object();
    if (!error)
        error = row ? row_of_record(rows, fields, row) : SL_ENOMEM;
    json_decref(fields);
    if (error)
        json_decref(row);
    else
        *ret_row = row;
    return error;
}

static int read_json(sl_rows *rows, json_t **ret_row)
{
    json_error_t fault;
    int error = read_line(rows);
    if (error)
        return error;
    *ret_row = json_loadb(rows->text.data, rows->text.len, 0, &fault);
    if (!*ret_row)
        (void)snprintf(rows->reason, sizeof rows->reason, "%.150s", fault.text);
    return *ret_row ? 0 : SL_EPARSE;
}

/* ---- rows ---- */

static int check_text(sl_rows *rows, json_t *row, const char *name)
{
    json_t *value = json_object_get(row, name);
    if (!value || json_is_string(value))
        return 0;
    (void)snprintf(rows->reason, sizeof rows->reason, "%s is no text", name);
    return SL_EPARSE;
}

/* Ids that are numbers become texts; a missing one is the row's number. */
static int complete_id(sl_rows *rows, json_t *row)
{
    json_t *id = json_object_get(row, "id");
    if (json_is_string(id))
        return 0;
    if (id && !json_is_integer(id))
        return fail(rows, SL_EPARSE, "id is neither a text nor a whole number");
    json_t *text = json_sprintf("%lld", id ? (long long)json_integer_value(id) : (long long)rows->number);
    return json_object_set_new(row, "id", text) ? SL_ENOMEM : 0;
}

static int complete(sl_rows *rows, json_t *row)
{
    if (!json_is_object(row))
        return fail(rows, SL_EPARSE, "the row is no object");
    int error = complete_id(rows, row);
    if (!error)
        error = check_text(rows, row, "text");
    if (!error)
        error = check_text(rows, row, "namespace");
    json_t *vector = json_object_get(row, "vector"), *text = json_object_get(row, "text");
    json_t *metadata = json_object_get(row, "metadata");
    if (!error && vector && !json_is_array(vector))
        error = fail(rows, SL_EPARSE, "vector is no list");
    if (!error && !vector && !text)
        error = fail(rows, SL_EPARSE, "the row has neither vector nor text");
    if (!error && metadata && !json_is_object(metadata))
        error = fail(rows, SL_EPARSE, "metadata is no object");
    if (!error && !metadata && json_object_set_new(row, "metadata", metadata = json_object()))
        error = SL_ENOMEM;
    if (!error && text && !json_object_get(metadata, "text") && json_object_set(metadata, "text", text))
        error = SL_ENOMEM;
    return error;
}

int sl_rows_next(sl_rows *rows, json_t **ret_row)
{
    SL_ASSERT(rows && rows->file && ret_row);
    json_t *row = NULL;
    (void)fail(rows, 0, "out of memory");
    if (!rows->begun)
        skip_mark(rows);
    int error = rows->csv ? read_csv(rows, &row) : read_json(rows, &row);
    if (error)
        return error;
    rows->number++;
    error = complete(rows, row);
    if (error)
        json_decref(row);
    else
        *ret_row = row;
    return error;
}
