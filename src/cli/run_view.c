/* Lines, table and outputs of a run. */
#include "src/cli/run_view.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/flow/expr_value.h"
#include "src/view/waterfall_text.h"

#define NAME_MAX_BYTES 400u /* of a name that is no column of a table */

typedef struct look {
    const char *mark, *colour;
} look;

static const look looks[] = {
    [SL_STEP_WAITING] = {"\xc2\xb7", "2"},          [SL_STEP_RUNNING] = {NULL, "36"},
    [SL_STEP_BACKING_OFF] = {"\xe2\x86\xbb", "33"}, [SL_STEP_SUCCEEDED] = {"\xe2\x9c\x93", "32"},
    [SL_STEP_FAILED] = {"\xe2\x9c\x97", "31"},      [SL_STEP_SKIPPED] = {"-", "2"},
    [SL_STEP_CANCELLED] = {"\xe2\x8a\x98", "33"},
};

static const char *const frames[] = {"\xe2\xa0\x8b", "\xe2\xa0\x99", "\xe2\xa0\xb8",
                                     "\xe2\xa0\xb4", "\xe2\xa0\xa6", "\xe2\xa0\x87"};
#define FRAMES (sizeof frames / sizeof *frames)

void sl_run_view_init(sl_run_view *view, int fd, size_t step_count)
{
    SL_ASSERT(view);
    memset(view, 0, sizeof *view);
    struct winsize size;
    const char *term = getenv("TERM");
    if (!isatty(fd) || ioctl(fd, TIOCGWINSZ, &size) != 0 || !term || strcmp(term, "dumb") == 0)
        return;
    view->rows = size.ws_row;
    view->columns = size.ws_col;
    view->terminal = step_count + 2 < view->rows && view->columns >= 40;
}

/* Text from steps, which may come from anywhere, without what a terminal obeys; cut to `max` bytes. */
static void put_plain(sl_buf *out, const char *text, size_t max, bool lines)
{
    sl_str rest = sl_str_c(text);
    size_t end = sl_utf8_prefix(rest, max);
    for (size_t i = 0; i < end;) {
        bool valid;
        size_t len = sl_utf8_piece(sl_str_sub(rest, i, end - i), &valid);
        unsigned char c = (unsigned char)text[i];
        bool control = c < 0x20 || c == 0x7f || (c == 0xc2 && len == 2 && (unsigned char)text[i + 1] < 0xa0);
        if (!valid || (control && !(c == '\n' && lines) && c != '\t'))
            (void)sl_buf_put_char(out, c == '\n' ? ' ' : '?');
        else
            (void)sl_buf_put(out, text + i, len);
        i += len;
    }
    if (end < rest.len)
        (void)sl_buf_put_c(out, "\xe2\x80\xa6");
}

static void put_name(sl_buf *out, const char *name)
{
    put_plain(out, name, NAME_MAX_BYTES, false);
}

/* In a column that is `least` wide, and wider for a longer name, up to `most`. */
static void put_column(sl_buf *out, const char *name, size_t least, size_t most)
{
    SL_ASSERT(name && least <= most);
    size_t width = sl_text_columns(sl_str_c(name), false);
    width = width < least ? least : width > most ? most : width;
    sl_text_put(out, sl_str_c(name), width, true, false);
}

static void put_seconds(sl_buf *out, uint64_t ns)
{
    (void)sl_buf_printf(out, ns < 10000000000u ? "%.3f s" : "%.1f s", (double)ns / 1e9);
}

static void put_mark(const sl_run_view *view, sl_step_status status, sl_buf *out)
{
    SL_ASSERT((unsigned)status < sizeof looks / sizeof *looks);
    const look *l = &looks[status];
    const char *mark = l->mark ? l->mark : frames[view->frame % FRAMES];
    if (view->colour)
        (void)sl_buf_printf(out, "\033[%sm%s\033[0m", l->colour, mark);
    else
        (void)sl_buf_put_c(out, mark);
}

/* ---- while it runs ---- */

void sl_run_view_event(const sl_run_view *view, const sl_flow_event *event, sl_buf *out)
{
    SL_ASSERT(view && event && out);
    if (view->terminal || !event->step)
        return;
    const char *type = sl_step_type_name(event->step->type);
    if (event->kind != SL_FLOW_STEP_STARTED && event->kind != SL_FLOW_STEP_RETRIED &&
        event->kind != SL_FLOW_STEP_EMITTED && event->kind != SL_FLOW_STEP_ENDED)
        return;
    put_name(out, event->path);
    (void)sl_buf_printf(out, " (%s): ", type);
    if (event->kind == SL_FLOW_STEP_STARTED) {
        (void)sl_buf_put_c(out, "started");
    } else if (event->kind == SL_FLOW_STEP_RETRIED) {
        (void)sl_buf_printf(out, "try %u failed, again in %llu ms: ", event->attempts,
                            (unsigned long long)event->delay_ms);
        put_plain(out, event->message, 200, false);
    } else if (event->kind == SL_FLOW_STEP_EMITTED) {
        put_name(out, event->name);
    } else {
        (void)sl_buf_put_c(out, sl_step_status_name(event->step_status));
        if (event->attempts) {
            (void)sl_buf_put_c(out, " after ");
            put_seconds(out, event->duration_ns);
        }
        if (event->message[0]) {
            (void)sl_buf_put_c(out, ": ");
            put_plain(out, event->message, 400, false);
        }
    }
    (void)sl_buf_put_char(out, '\n');
}

void sl_run_view_clear(sl_run_view *view, sl_buf *out)
{
    if (view->drawn)
        (void)sl_buf_printf(out, "\033[%zuA\r\033[J", view->drawn);
    view->drawn = 0;
}

/* A line that is longer than the terminal would be two, and all lines drawn again in the wrong place. */
static void draw_step(const sl_run_view *view, const sl_flow_step_view *step, sl_buf *out)
{
    SL_ASSERT(view->columns >= 40);
    bool tries = step->attempts > 1 && view->columns > 76;
    size_t room = view->columns - 12 - (tries ? 11 : 0); /* behind it: "12345.6 s", "  try 10000" */
    sl_buf line;
    sl_buf_init(&line, 4096);
    put_column(&line, step->step->id, 20, 40);
    (void)sl_buf_printf(&line, " %-13s %-10s", sl_step_type_name(step->step->type), sl_step_status_name(step->status));
    put_mark(view, step->status, out);
    (void)sl_buf_put_char(out, ' ');
    sl_text_put(out, sl_buf_str(&line), room, false, false);
    sl_buf_done(&line);
    if (step->start_ns)
        put_seconds(out, step->duration_ns);
    if (tries)
        (void)sl_buf_printf(out, "  try %u", step->attempts);
    (void)sl_buf_put_c(out, "\033[K\n");
}

void sl_run_view_draw(sl_run_view *view, const sl_flow_run *run, sl_buf *out)
{
    SL_ASSERT(view && run && out);
    if (!view->terminal)
        return;
    if (view->drawn)
        (void)sl_buf_printf(out, "\033[%zuA\r", view->drawn);
    view->frame++;
    view->drawn = sl_flow_run_step_count(run);
    for (size_t i = 0; i < view->drawn; i++) {
        sl_flow_step_view step;
        sl_flow_run_step_at(run, i, &step);
        draw_step(view, &step, out);
    }
}

/* ---- at the end ---- */

static void report_step(const sl_run_view *view, const sl_flow_step_view *step, sl_buf *out)
{
    char cost[32] = "-", tokens[32] = "-", time[32] = "-";
    uint64_t sum = step->usage.input_tokens + step->usage.output_tokens;
    if (step->start_ns)
        (void)snprintf(time, sizeof time, "%.3f", (double)step->duration_ns / 1e9);
    if (sum)
        (void)snprintf(tokens, sizeof tokens, "%llu", (unsigned long long)sum);
    if (step->usage.cost_known)
        (void)snprintf(cost, sizeof cost, "%.6f", step->usage.cost_usd);
    put_mark(view, step->status, out);
    (void)sl_buf_put_char(out, ' ');
    put_column(out, step->step->id, 24, 60);
    (void)sl_buf_printf(out, " %-13s %-10s %10s %8u %9s %11s", sl_step_type_name(step->step->type),
                        sl_step_status_name(step->status), time, step->attempts, tokens, cost);
    if (step->message[0]) {
        (void)sl_buf_put_c(out, "  ");
        put_plain(out, step->message, 400, false);
    } else if (step->warning) {
        (void)sl_buf_put_c(out, "  warning: ");
        put_plain(out, step->warning, 400, false);
    }
    (void)sl_buf_put_char(out, '\n');
}

/* What is for programs: the provider's answer, what a name of its own stands for already. */
static bool is_aside(const char *key)
{
    static const char *const asides[] = {"metadata", "tokens", "model", "warning"};
    for (size_t i = 0; i < sizeof asides / sizeof *asides; i++) {
        if (strcmp(key, asides[i]) == 0)
            return true;
    }
    return key[0] == '_';
}

static void put_value(json_t *value, sl_buf *out)
{
    value = sl_flow_plain(value);
    sl_buf text;
    sl_buf_init(&text, 64u << 20);
    sl_flow_work work = {.steps = UINT64_MAX, .bytes = 64u << 20};
    if (sl_flow_put_text(&work, &text, value) == 0 && sl_buf_put_char(&text, '\0') == 0)
        put_plain(out, text.data, SL_RUN_VIEW_OUTPUT_BYTES, true);
    sl_buf_done(&text);
    (void)sl_buf_put_char(out, '\n');
}

static void put_output(const sl_step *step, const char *name, json_t *value, sl_buf *out)
{
    SL_ASSERT(step && value);
    put_name(out, step->id);
    if (name) {
        (void)sl_buf_put_char(out, '.');
        put_name(out, name);
    }
    (void)sl_buf_put_c(out, ": ");
    put_value(value, out);
}

/* The names that the step gave its results, or all of them; of a step that holds others: its text. */
static void report_output(const sl_flow_step_view *step, sl_buf *out)
{
    const sl_step *s = step->step;
    if (!json_is_object(step->value))
        return;
    json_t *text = json_object_get(step->value, SL_FLOW_TEXT_KEY);
    if (s->block_count && text) {
        put_output(s, NULL, text, out);
        return;
    }
    for (size_t i = 0; i < s->output_count; i++) {
        json_t *value = json_object_get(step->value, s->outputs[i]);
        if (value)
            put_output(s, s->outputs[i], value, out);
    }
    for (void *i = json_object_iter(step->value); i && !s->output_count; i = json_object_iter_next(step->value, i)) {
        const char *key = json_object_iter_key(i);
        if (!is_aside(key) && strcmp(key, SL_FLOW_TEXT_KEY) != 0)
            put_output(s, key, json_object_iter_value(i), out);
    }
}

static void report_outputs(const sl_flow_run *run, sl_buf *out)
{
    size_t before = out->len;
    (void)sl_buf_put_char(out, '\n');
    for (size_t i = 0; i < sl_flow_run_step_count(run); i++) {
        sl_flow_step_view step;
        sl_flow_run_step_at(run, i, &step);
        report_output(&step, out);
    }
    if (out->len == before + 1)
        out->len = before;
}

int sl_run_view_report(const sl_run_view *view, const sl_flow_run *run, sl_buf *out)
{
    SL_ASSERT(view && run && out);
    char trace[33];
    sl_step_usage usage;
    uint64_t start_ns, end_ns;
    sl_flow_run_trace_id(run, trace);
    sl_flow_run_usage(run, &usage);
    uint64_t sum = usage.input_tokens + usage.output_tokens;
    sl_flow_run_times(run, &start_ns, &end_ns);
    (void)sl_buf_printf(out, "  %-24s %-13s %-10s %10s %8s %9s %11s\n", "STEP", "TYPE", "STATUS", "SECONDS", "ATTEMPTS",
                        "TOKENS", "COST USD");
    for (size_t i = 0; i < sl_flow_run_step_count(run); i++) {
        sl_flow_step_view step;
        sl_flow_run_step_at(run, i, &step);
        report_step(view, &step, out);
    }
    report_outputs(run, out);
    (void)sl_buf_put_char(out, '\n');
    put_name(out, sl_flow_run_flow(run)->name);
    (void)sl_buf_printf(out, ": %s in ", sl_run_status_name(sl_flow_run_status(run)));
    put_seconds(out, end_ns > start_ns ? end_ns - start_ns : 0);
    (void)sl_buf_printf(out, ", %llu tokens (%llu in, %llu out)", (unsigned long long)sum,
                        (unsigned long long)usage.input_tokens, (unsigned long long)usage.output_tokens);
    if (usage.cost_known)
        (void)sl_buf_printf(out, ", %.6f USD", usage.cost_usd);
    (void)sl_buf_printf(out, "\ntrace id: %s\n", trace);
    return out->failed;
}
