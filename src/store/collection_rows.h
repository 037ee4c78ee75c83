/*
 * Rows of a collection as people keep them in files: JSON lines, or CSV with a header.
 *
 * JSON lines: {"id", "vector": [numbers], "text", "metadata": {...}, "namespace"}; everything but vector or text may be
 * missing. CSV (RFC 4180): columns id, vector (a JSON list), text, namespace, metadata (a JSON object); every other
 * column is a member of the metadata, numbers as numbers. A text stands in the metadata too, as `text`. A row without
 * an id has its number in the file.
 */
#ifndef SL_STORE_COLLECTION_ROWS_H
#define SL_STORE_COLLECTION_ROWS_H

#include <jansson.h>
#include <stdio.h>

#include "src/base/buf.h"
#include "src/base/limits.h"

#define SL_ROWS_REASON 200
#define SL_ROWS_MAX_LINE_BYTES (4u * 1024 * 1024)
#define SL_ROWS_MAX_COLUMNS 256

typedef struct sl_rows {
    FILE *file;
    bool csv;
    unsigned line;   /* of the row that was read last */
    unsigned number; /* of rows read */
    unsigned next_line;
    json_t *header;         /* CSV: list of names */
    unsigned char ahead[3]; /* read to see whether there is a byte order mark */
    unsigned ahead_at, ahead_len;
    bool begun;
    sl_buf text;
    char reason[SL_ROWS_REASON];
} sl_rows;

/* Reads from `file`, which stays the caller's. */
void sl_rows_init(sl_rows *rows, FILE *file, bool csv);
void sl_rows_done(sl_rows *rows);
/*
 * The next row: {"id": text, "namespace": text, "metadata": object} with "vector" (a list) or "text", or both. The
 * caller holds a reference. Errors: SL_ENOENT (no more), SL_EPARSE, SL_ETOOBIG, SL_EIO, SL_ENOMEM, with rows->reason
 * and rows->line.
 */
SL_MUST_CHECK int sl_rows_next(sl_rows *rows, json_t **ret_row);

#endif
