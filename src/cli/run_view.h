/*
 * What `sightline run` shows: a line for each step while it runs (redrawn on a terminal, added when piped), and at the
 * end the table of steps, the outputs, tokens, cost and trace id. Text goes into buffers; the caller writes it.
 */
#ifndef SL_CLI_RUN_VIEW_H
#define SL_CLI_RUN_VIEW_H

#include "src/base/buf.h"
#include "src/flow/executor.h"

#define SL_RUN_VIEW_OUTPUT_BYTES 2000u /* of one output in the text form */

typedef struct sl_run_view {
    bool terminal; /* lines are redrawn */
    bool colour;
    size_t rows;    /* of the terminal */
    size_t columns; /* of the terminal */
    size_t drawn;   /* lines that stand there */
    unsigned frame; /* of the mark of running steps */
} sl_run_view;

/* The size of the terminal behind a descriptor; when it is none, or too small for the steps, lines are added. */
void sl_run_view_init(sl_run_view *view, int fd, size_t step_count);
/* Piped: a line about the event, or nothing. Terminal: nothing. */
void sl_run_view_event(const sl_run_view *view, const sl_flow_event *event, sl_buf *out);
/* Terminal: all lines anew, in place of those that stand there. */
void sl_run_view_draw(sl_run_view *view, const sl_flow_run *run, sl_buf *out);
/* Takes the lines away. */
void sl_run_view_clear(sl_run_view *view, sl_buf *out);
/* Table, outputs and the rest. The buffer's errors. */
int sl_run_view_report(const sl_run_view *view, const sl_flow_run *run, sl_buf *out);

#endif
