/* Traces for a terminal: the waterfall and the table. */
#include "src/view/waterfall.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/view/waterfall_text.h"
#include "src/view/waterfall_tree.h"

#define DEFAULT_WIDTH 100u
#define MIN_WIDTH 40u
#define NARROW 60u /* below it the table has neither start nor service */
#define MAX_WIDTH 400u
#define DURATION_COLUMNS 8u
#define MAX_GUIDES 64u /* of a line; how many fit is a matter of width */
#define LEAST_NAME_COLUMNS 10u

/* What lines are drawn with. */
typedef struct pens {
    const char *tee, *corner, *pipe, *gap; /* three columns each */
    const char *bar, *sliver, *mark, *left, *right, *dot, *cross;
} pens;

static const pens unicode_pens = {"\xE2\x94\x9C\xE2\x94\x80 ",
                                  "\xE2\x94\x94\xE2\x94\x80 ",
                                  "\xE2\x94\x82  ",
                                  "   ",
                                  "\xE2\x96\x88",
                                  "\xE2\x96\x8F",
                                  "\xE2\x97\x86",
                                  "\xE2\x94\x82",
                                  "\xE2\x94\x82",
                                  "\xC2\xB7",
                                  "\xE2\x9C\x97"};
static const pens ascii_pens = {"|- ", "`- ", "|  ", "   ", "#", "'", "*", "|", "|", "-", "x"};

typedef struct view {
    sl_waterfall_options options;
    const pens *pens;
    const sl_tree *tree;
    sl_buf *out;
    size_t name_columns, bar_columns;
    size_t max_guides; /* spans that lie deeper are not indented further */
    int note_error;    /* notes that memory did not suffice for */
} view;

static void view_init(view *v, const sl_waterfall_options *options, sl_buf *out)
{
    SL_ASSERT(v);
    static const sl_waterfall_options defaults = {0, false, false};
    memset(v, 0, sizeof *v);
    v->options = options ? *options : defaults;
    if (v->options.width == 0)
        v->options.width = DEFAULT_WIDTH;
    if (v->options.width < MIN_WIDTH)
        v->options.width = MIN_WIDTH;
    if (v->options.width > MAX_WIDTH)
        v->options.width = MAX_WIDTH;
    v->pens = v->options.ascii ? &ascii_pens : &unicode_pens;
    v->out = out;
}

static void put_inked(view *v, sl_str text, size_t columns, bool pad, unsigned ink)
{
    SL_ASSERT(v);
    sl_text_ink(v->out, &v->options, ink);
    sl_text_put(v->out, text, columns, pad, v->options.ascii);
    sl_text_plain(v->out, &v->options, ink);
}

static void put_right(view *v, const char *text, size_t columns, unsigned ink)
{
    SL_ASSERT(v);
    size_t len = strlen(text);
    sl_text_repeat(v->out, " ", columns > len ? columns - len : 0);
    put_inked(v, sl_str_c(text), columns, false, ink);
}

/* ---- notes: what a span says of tokens, its first token, its failure ---- */

static const json_t *attribute(const sl_tree_node *node, const char *const *names, size_t count)
{
    SL_ASSERT(names || !count);
    for (size_t i = 0; i < count; i++) {
        const json_t *value = json_object_get(node->attributes, names[i]);
        if (value)
            return value;
    }
    return NULL;
}

/* Nanoseconds from the start of a span to its first token: by an event, else by the attribute. */
static bool first_token(const sl_tree_node *node, uint64_t *ret_after_ns)
{
    SL_ASSERT(ret_after_ns);
    static const char *const seconds[] = {"gen_ai.response.time_to_first_chunk", "gen_ai.response.time_to_first_token"};
    size_t index;
    json_t *event;
    json_array_foreach((json_t *)node->events, index, event)
    {
        sl_str name = sl_tree_str(event, "name");
        uint64_t at = sl_tree_u64(event, "time_ns");
        bool fits = sl_str_find(name, SL_STR("first_token")) != SL_NPOS ||
                    sl_str_find(name, SL_STR("first token")) != SL_NPOS ||
                    sl_str_find(name, SL_STR("first_chunk")) != SL_NPOS;
        if (fits && at >= node->start_ns) {
            *ret_after_ns = at - node->start_ns;
            return true;
        }
    }
    const json_t *value = attribute(node, seconds, 2);
    double s = json_is_number(value) ? json_number_value(value) : -1;
    if (s < 0 || s > 1e6)
        return false;
    *ret_after_ns = (uint64_t)(s * 1e9);
    return true;
}

static void add_note(view *v, sl_buf *note, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void add_note(view *v, sl_buf *note, const char *format, ...)
{
    SL_ASSERT(note);
    va_list args;
    if (note->len)
        (void)sl_buf_printf(note, " %s ", v->pens->dot);
    va_start(args, format);
    (void)sl_buf_vprintf(note, format, args);
    va_end(args);
}

static void note_tokens(view *v, const sl_tree_node *node, sl_buf *note)
{
    static const char *const in_names[] = {"gen_ai.usage.input_tokens", "llm.tokens.prompt", "prompt.tokens"};
    static const char *const out_names[] = {"gen_ai.usage.output_tokens", "llm.tokens.completion", "completion.tokens"};
    const json_t *in = attribute(node, in_names, 3), *out = attribute(node, out_names, 3);
    long long in_count = json_integer_value(in), out_count = json_integer_value(out); /* 0 of what is no integer */
    if (json_is_integer(in) && json_is_integer(out))
        add_note(v, note, "%lld token%s in, %lld out", in_count, in_count == 1 ? "" : "s", out_count);
    else if (json_is_integer(in))
        add_note(v, note, "%lld token%s in", in_count, in_count == 1 ? "" : "s");
    else if (json_is_integer(out))
        add_note(v, note, "%lld token%s out", out_count, out_count == 1 ? "" : "s");
}

static void note_error(view *v, const sl_tree_node *node, sl_buf *note)
{
    SL_ASSERT(node);
    static const char *const types[] = {"error.type", "exception.type"};
    if (!node->error)
        return;
    const json_t *type = attribute(node, types, 2);
    const char *kind = json_is_string(type) ? json_string_value(type) : "";
    bool both = kind[0] && node->status_message.len;
    if (!kind[0] && !node->status_message.len)
        add_note(v, note, "failed");
    else
        add_note(v, note, "%s%s%.*s", kind, both ? ": " : "", (int)node->status_message.len,
                 node->status_message.ptr ? node->status_message.ptr : "");
}

static void put_notes(view *v, const sl_tree_node *node, sl_buf *note)
{
    static const char *const models[] = {"gen_ai.response.model", "gen_ai.request.model"};
    uint64_t after_ns;
    sl_buf_clear(note);
    note_error(v, node, note);
    const json_t *model = attribute(node, models, 2);
    if (json_is_string(model))
        add_note(v, note, "%s", json_string_value(model));
    if (first_token(node, &after_ns)) {
        char text[SL_DURATION_SIZE];
        sl_text_duration(after_ns, text);
        add_note(v, note, "first token after %s", text);
    }
    note_tokens(v, node, note);
}

/* ---- lines ---- */

/* Number of ancestors. */
static size_t depth_of(const sl_tree *tree, size_t index)
{
    SL_ASSERT(tree);
    size_t depth = 0;
    while (tree->nodes[index].parent != SL_TREE_NONE) {
        index = tree->nodes[index].parent;
        depth++;
    }
    return depth;
}

/* The guides before a name, or before the notes under it (`under`). Returns their columns. */
static size_t put_guides(view *v, size_t index, bool under)
{
    const char *pieces[MAX_GUIDES + 1];
    const sl_tree_node *nodes = v->tree->nodes;
    size_t depth = depth_of(v->tree, index), count = 0;
    if (under && depth < v->max_guides)
        pieces[count++] = nodes[index].first_child != SL_TREE_NONE ? v->pens->pipe : v->pens->gap;
    for (size_t at = index; depth > 0; depth--, at = nodes[at].parent) {
        bool last = nodes[at].next_sibling == SL_TREE_NONE;
        if (depth > v->max_guides && at != index)
            continue; /* of what is too deep, the innermost guide alone is shown */
        if (at == index && !under)
            pieces[count++] = last ? v->pens->corner : v->pens->tee;
        else
            pieces[count++] = last ? v->pens->gap : v->pens->pipe;
    }
    SL_ASSERT(count <= v->max_guides + 1 && count <= MAX_GUIDES + 1);
    unsigned ink = count ? SL_INK_DIM : SL_INK_NONE;
    sl_text_ink(v->out, &v->options, ink);
    for (size_t i = count; i-- > 0;)
        (void)sl_buf_put_c(v->out, pieces[i]);
    sl_text_plain(v->out, &v->options, ink);
    return 3 * count;
}

/* Column of a moment on the time axis, 0 to `bar_columns`. */
static size_t column_of(const view *v, uint64_t ns, bool up)
{
    SL_ASSERT(v);
    uint64_t total = v->tree->end_ns - v->tree->start_ns;
    if (total == 0)
        return up ? v->bar_columns : 0;
    uint64_t since = ns > v->tree->start_ns ? ns - v->tree->start_ns : 0;
    if (since > total)
        since = total;
    double exact = (double)since / (double)total * (double)v->bar_columns;
    size_t column = (size_t)exact;
    return up && (double)column < exact ? column + 1 : column;
}

static void put_bar(view *v, const sl_tree_node *node, unsigned ink)
{
    SL_ASSERT(node && v);
    size_t from = column_of(v, node->start_ns, false), to = column_of(v, node->start_ns + node->duration_ns, true);
    uint64_t after_ns, total = v->tree->end_ns - v->tree->start_ns;
    size_t mark = SL_TREE_NONE;
    if (from >= v->bar_columns)
        from = v->bar_columns - 1;
    if (to <= from)
        to = from + 1;
    if (first_token(node, &after_ns) && after_ns <= node->duration_ns)
        mark = column_of(v, node->start_ns + after_ns, false);
    bool sliver = (double)node->duration_ns * (double)v->bar_columns < 0.5 * (double)total;
    (void)sl_buf_put_c(v->out, v->pens->left);
    sl_text_repeat(v->out, " ", from);
    sl_text_ink(v->out, &v->options, ink);
    for (size_t i = from; i < to; i++)
        (void)sl_buf_put_c(v->out, i == mark && to - from > 1 ? v->pens->mark
                                   : sliver                   ? v->pens->sliver
                                                              : v->pens->bar);
    sl_text_plain(v->out, &v->options, ink);
    sl_text_repeat(v->out, " ", v->bar_columns - to);
    (void)sl_buf_put_c(v->out, v->pens->right);
}

static void put_span(view *v, size_t index, sl_buf *note)
{
    SL_ASSERT(v && note);
    const sl_tree_node *node = &v->tree->nodes[index];
    unsigned ink = node->error ? SL_INK_ERROR : SL_INK_SERVICE + node->service_number % SL_INK_SERVICES;
    char duration[SL_DURATION_SIZE];
    size_t guides = put_guides(v, index, false);
    size_t room = v->name_columns > guides ? v->name_columns - guides : 0;
    if (node->error && room > 2) {
        put_inked(v, sl_str_c(v->pens->cross), 1, false, SL_INK_ERROR);
        (void)sl_buf_put_char(v->out, ' ');
        room -= 2;
    }
    put_inked(v, node->name, room, true, guides ? SL_INK_NONE : SL_INK_BOLD);
    (void)sl_buf_put_char(v->out, ' ');
    sl_text_duration(node->duration_ns, duration);
    put_right(v, duration, DURATION_COLUMNS, SL_INK_NONE);
    (void)sl_buf_put_char(v->out, ' ');
    put_bar(v, node, ink);
    (void)sl_buf_put_char(v->out, '\n');
    put_notes(v, node, note);
    if (note->failed)
        v->note_error = note->failed;
    if (note->len == 0)
        return;
    guides = put_guides(v, index, true);
    put_inked(v, sl_buf_str(note), v->options.width - guides, false, node->error ? SL_INK_ERROR : SL_INK_DIM);
    (void)sl_buf_put_char(v->out, '\n');
}

/* Widths: names get what they need, at most two fifths; the bar gets the rest. */
static void measure(view *v)
{
    size_t widest = 12, most = v->options.width * 2 / 5;
    v->max_guides = (most - LEAST_NAME_COLUMNS) / 3 - 1;
    if (v->max_guides > MAX_GUIDES - 1)
        v->max_guides = MAX_GUIDES - 1;
    for (size_t i = 0; i < v->tree->count; i++) {
        const sl_tree_node *node = &v->tree->nodes[i];
        size_t depth = depth_of(v->tree, i), guides = depth <= v->max_guides ? depth : v->max_guides + 1;
        size_t columns = 3 * guides + (node->error ? 2 : 0) + sl_text_columns(node->name, v->options.ascii);
        if (columns > widest)
            widest = columns;
    }
    v->name_columns = widest < most ? widest : most;
    v->bar_columns = v->options.width - v->name_columns - DURATION_COLUMNS - 4;
    SL_ASSERT(v->bar_columns >= 10);
}

/* Services with their colours, in order of appearance, as many as fit. */
static void put_services(view *v, size_t columns)
{
    unsigned next = 0;
    for (size_t i = 0; i < v->tree->count && next < v->tree->services; i++) {
        const sl_tree_node *node = &v->tree->nodes[i];
        if (node->service_number != next)
            continue;
        sl_str name = node->service.len ? node->service : SL_STR("?");
        size_t need = 2 + sl_text_columns(name, v->options.ascii);
        if (need > columns)
            return;
        columns -= need;
        (void)sl_buf_put_c(v->out, next++ > 0 ? ", " : "; ");
        put_inked(v, name, need - 2, false, SL_INK_SERVICE + node->service_number % SL_INK_SERVICES);
    }
}

/* The lines above: which trace, how long, how much, whose. */
static void put_summary(view *v)
{
    SL_ASSERT(v);
    char total[SL_DURATION_SIZE], text[128], failed[32] = "";
    size_t errors = 0;
    for (size_t i = 0; i < v->tree->count; i++)
        errors += v->tree->nodes[i].error;
    sl_text_duration(v->tree->end_ns - v->tree->start_ns, total);
    (void)sl_buf_put_c(v->out, "trace ");
    put_inked(v, v->tree->trace_id, 32, false, SL_INK_BOLD);
    snprintf(text, sizeof text, "%s, %zu span%s", total, v->tree->count, v->tree->count == 1 ? "" : "s");
    (void)sl_buf_printf(v->out, "\n%s", text);
    if (errors) {
        snprintf(failed, sizeof failed, ", %zu failed", errors);
        put_inked(v, sl_str_c(failed), strlen(failed), false, SL_INK_ERROR);
    }
    put_services(v, v->options.width - strlen(text) - strlen(failed));
    (void)sl_buf_put_c(v->out, "\n\n");
}

int sl_waterfall_trace(sl_str json, const sl_waterfall_options *options, sl_buf *out)
{
    SL_ASSERT(out);
    sl_tree tree;
    view v;
    sl_buf note;
    int error = sl_tree_init(&tree, json);
    if (error)
        return error;
    view_init(&v, options, out);
    v.tree = &tree;
    sl_buf_init(&note, 1u << 20);
    measure(&v);
    put_summary(&v);
    for (size_t i = 0; i < tree.count && !out->failed; i++)
        put_span(&v, tree.order[i], &note);
    error = out->failed ? out->failed : v.note_error;
    sl_buf_done(&note);
    sl_tree_done(&tree);
    return error;
}

/* ---- the table ---- */

#define ID_COLUMNS 12u /* enough to tell recent traces apart, and to ask for one */

typedef struct table {
    size_t start, service, root; /* columns */
    bool narrow;
} table;

/* "2025-11-14T10:30:45.123Z" without its date. */
static sl_str time_of_day(sl_str start)
{
    return start.len == 24 ? sl_str_sub(start, 11, 12) : start;
}

static table table_of(const view *v, const json_t *traces)
{
    table t = {v->options.width < 80 ? 8 : 12, 7, 0, v->options.width < NARROW};
    size_t index;
    json_t *trace;
    json_array_foreach((json_t *)traces, index, trace)
    {
        size_t columns = sl_text_columns(sl_tree_str(trace, "service"), v->options.ascii);
        if (columns > t.service)
            t.service = columns;
    }
    if (t.service > v->options.width / 5)
        t.service = v->options.width / 5;
    size_t others = t.narrow ? 0 : t.start + 1 + t.service + 2;
    t.root = v->options.width - (ID_COLUMNS + 2 + DURATION_COLUMNS + 6 + 3 + others);
    SL_ASSERT(t.root >= 4 && t.root < v->options.width);
    return t;
}

static void put_row(view *v, const json_t *trace, const table *t)
{
    SL_ASSERT(v && t);
    char number[24];
    bool failed = json_is_true(json_object_get(trace, "error"));
    sl_str start = time_of_day(sl_tree_str(trace, "start"));
    put_inked(v, sl_str_sub(sl_tree_str(trace, "trace_id"), 0, ID_COLUMNS), ID_COLUMNS, true, SL_INK_BOLD);
    (void)sl_buf_put_c(v->out, "  ");
    if (!t->narrow) {
        put_inked(v, sl_str_sub(start, 0, t->start), t->start, true, SL_INK_DIM);
        (void)sl_buf_put_char(v->out, ' ');
    }
    sl_text_duration(sl_tree_u64(trace, "duration_ns"), number);
    put_right(v, number, DURATION_COLUMNS, SL_INK_NONE);
    snprintf(number, sizeof number, "%llu", (unsigned long long)sl_tree_u64(trace, "spans"));
    put_right(v, number, 6, SL_INK_NONE);
    (void)sl_buf_put_c(v->out, failed ? " " : "   ");
    if (failed) {
        put_inked(v, sl_str_c(v->pens->cross), 1, false, SL_INK_ERROR);
        (void)sl_buf_put_char(v->out, ' ');
    }
    if (!t->narrow) {
        put_inked(v, sl_tree_str(trace, "service"), t->service, true, SL_INK_SERVICE);
        (void)sl_buf_put_c(v->out, "  ");
    }
    put_inked(v, sl_tree_str(trace, "root"), t->root, false, failed ? SL_INK_ERROR : SL_INK_NONE);
    (void)sl_buf_put_char(v->out, '\n');
}

int sl_waterfall_list(sl_str text, const sl_waterfall_options *options, sl_buf *out)
{
    SL_ASSERT(out);
    view v;
    json_t *json, *trace;
    size_t index;
    int error = sl_tree_load(text, &json);
    if (error)
        return error;
    if (!json_is_array(json)) {
        json_decref(json);
        return SL_EPARSE;
    }
    view_init(&v, options, out);
    table t = table_of(&v, json);
    sl_text_ink(out, &v.options, SL_INK_DIM);
    if (t.narrow)
        (void)sl_buf_printf(out, "%-*s  DURATION SPANS   ROOT", (int)ID_COLUMNS, "TRACE");
    else
        (void)sl_buf_printf(out, "%-*s  %-*s DURATION SPANS   %-*s  ROOT", (int)ID_COLUMNS, "TRACE", (int)t.start,
                            "START", (int)t.service, "SERVICE");
    sl_text_plain(out, &v.options, SL_INK_DIM);
    (void)sl_buf_put_char(out, '\n');
    json_array_foreach(json, index, trace) put_row(&v, trace, &t);
    json_decref(json);
    return out->failed;
}

/* ---- the terminal ---- */

static bool speaks_utf8(void)
{
    static const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < 3; i++) {
        const char *value = getenv(names[i]);
        if (value && value[0]) {
            char lower[64];
            size_t n = 0;
            for (; value[n] && n + 1 < sizeof lower; n++)
                lower[n] = sl_ascii_lower(value[n]);
            lower[n] = '\0';
            return strstr(lower, "utf-8") || strstr(lower, "utf8");
        }
    }
    return false;
}

void sl_waterfall_options_for(int fd, sl_waterfall_options *ret_options)
{
    SL_ASSERT(ret_options);
    sl_waterfall_options o = {DEFAULT_WIDTH, false, !speaks_utf8()};
    const char *columns = getenv("COLUMNS"), *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    struct winsize size;
    uint64_t number;
    bool terminal = isatty(fd) == 1;
    if (columns && sl_str_to_u64(sl_str_c(columns), &number) == 0 && number > 0 && number < 10000)
        o.width = (unsigned)number;
    else if (terminal && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        o.width = size.ws_col;
    o.color = terminal && !(no_color && no_color[0]) && !(term && strcmp(term, "dumb") == 0);
    *ret_options = o;
}
