/* What `sightline doctor` has found: rows of a check, what was seen, and how to mend it. */
#ifndef SL_CLI_DOCTOR_REPORT_H
#define SL_CLI_DOCTOR_REPORT_H

#include "src/base/arena.h"
#include "src/base/buf.h"

#define SL_DOCTOR_MAX_ROWS 512
#define SL_DOCTOR_MAX_TEXT 1024

typedef enum sl_doctor_level { SL_DOCTOR_OK, SL_DOCTOR_WARN, SL_DOCTOR_FAIL } sl_doctor_level;

typedef struct sl_doctor_row {
    sl_doctor_level level;
    sl_str name;
    sl_str seen;
    sl_str remedy; /* empty: nothing to mend */
} sl_doctor_row;

typedef struct sl_doctor {
    sl_arena arena;
    sl_doctor_row rows[SL_DOCTOR_MAX_ROWS];
    size_t count;
    size_t warnings;
    size_t failures;
} sl_doctor;

void sl_doctor_init(sl_doctor *doctor);
void sl_doctor_done(sl_doctor *doctor);
/* Adds a row; `remedy` is NULL where there is nothing to mend. Rows beyond the maximum only count. Texts are cut. */
void sl_doctor_say(sl_doctor *doctor, sl_doctor_level level, const char *name, const char *remedy, const char *format,
                   ...) __attribute__((format(printf, 5, 6)));
/* Appends a line for each row: `ok   name: seen; remedy`. */
int sl_doctor_text(const sl_doctor *doctor, bool colour, sl_buf *out);
/* Appends {"ok":…,"failures":…,"warnings":…,"checks":[{"name","status","seen","remedy"}]} and a line end. */
int sl_doctor_json(const sl_doctor *doctor, sl_buf *out);

#endif
