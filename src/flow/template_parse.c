/*
 * Reads templates as the Handlebars language guide says: tags, paths, literals, subexpressions, white space control,
 * lines that hold a block tag or a comment alone.
 */
#include "src/base/limits.h"
#include "src/flow/template_impl.h"

typedef sl_template_node node;
typedef sl_template_term term;

typedef struct parser {
    sl_template *template;
    sl_flow_fault *fault;
    sl_str text;
    size_t at;
    size_t from; /* of the text that stands before the next tag */
    sl_text_place place;
    unsigned depth; /* of subexpressions */
    const node *open[SL_MAX_TEMPLATE_DEPTH];
    unsigned open_count;
    term **path_tail;
} parser;

/* A tag as it was met: {{name ...}}. */
typedef enum mark { MARK_VALUE, MARK_OPEN, MARK_INVERSE, MARK_ELSE, MARK_CLOSE, MARK_COMMENT, MARK_RAW, MARK_END } mark;

typedef struct tag {
    mark mark;
    size_t start;
    bool triple;
    bool raw_value; /* {{{ */
    bool strip;     /* ~ in front */
} tag;

static int __attribute__((format(printf, 3, 4))) fail_at(parser *p, size_t at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int error = sl_text_place_fail(&p->place, p->fault, at, format, args);
    va_end(args);
    return error;
}

static int too_deep(parser *p)
{
    (void)fail_at(p, p->at, "blocks or subexpressions are nested more than %d deep", SL_MAX_TEMPLATE_DEPTH);
    return SL_ETOOBIG;
}

static char char_at(const parser *p, size_t at)
{
    return at < p->text.len ? p->text.ptr[at] : '\0';
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static char skip_space(parser *p)
{
    while (p->at < p->text.len && is_space(p->text.ptr[p->at]))
        p->at++;
    return char_at(p, p->at);
}

static bool looks_at(const parser *p, const char *word)
{
    return sl_str_starts(sl_str_sub(p->text, p->at, p->text.len), sl_str_c(word));
}

static bool accept(parser *p, const char *word)
{
    if (!looks_at(p, word))
        return false;
    p->at += strlen(word);
    return true;
}

static int new_node(parser *p, sl_tag_kind kind, size_t at, node **ret_node)
{
    node *n = sl_arena_zalloc(&p->template->arena, sizeof *n);
    if (!n)
        return SL_ENOMEM;
    n->kind = (uint8_t)kind;
    sl_text_place_find(&p->place, at, &n->line, &n->column);
    *ret_node = n;
    return 0;
}

static int new_term(parser *p, sl_term_kind kind, size_t at, term **ret_term)
{
    term *t = sl_arena_zalloc(&p->template->arena, sizeof *t);
    if (!t)
        return SL_ENOMEM;
    t->kind = (uint8_t)kind;
    sl_text_place_find(&p->place, at, &t->line, &t->column);
    *ret_term = t;
    return 0;
}

/* ---- terms ---- */

static bool is_id(char c)
{
    return !is_space(c) && c != '\0' && !strchr("!\"#%&'()*+,./;<=>@[\\]^`{|}~", c);
}

static sl_str take_id(parser *p)
{
    size_t from = p->at;
    while (p->at < p->text.len && is_id(p->text.ptr[p->at]))
        p->at++;
    return sl_str_sub(p->text, from, p->at - from);
}

static int keep_literal(parser *p, json_t *value, term *t)
{
    if (!value || json_array_append_new(p->template->literals, value))
        return SL_ENOMEM;
    t->literal = value;
    return 0;
}

static int parse_string(parser *p, term **ret_term)
{
    size_t from = p->at;
    char quote = p->text.ptr[p->at++];
    int error = new_term(p, SL_TERM_LITERAL, from, ret_term);
    if (error)
        return error;
    sl_buf out;
    sl_buf_init(&out, SL_MAX_TEMPLATE_BYTES + 1);
    while (p->at < p->text.len && p->text.ptr[p->at] != quote) {
        p->at += p->text.ptr[p->at] == '\\' && char_at(p, p->at + 1) == quote;
        (void)sl_buf_put_char(&out, p->text.ptr[p->at++]);
    }
    if (p->at >= p->text.len)
        error = fail_at(p, from, "the string does not end");
    else if (out.failed)
        error = SL_ENOMEM;
    else
        error = keep_literal(p, json_stringn_nocheck(out.data ? out.data : "", out.len), *ret_term);
    p->at++;
    sl_buf_done(&out);
    return error;
}

/* True when the word at hand is no path but a literal, which `*ret_value` is then (NULL: no memory). */
static bool is_literal(sl_str word, json_t **ret_value)
{
    int64_t integer;
    double real;
    if (sl_str_eq_c(word, "true") || sl_str_eq_c(word, "false"))
        *ret_value = json_boolean(word.len == 4);
    else if (sl_str_eq_c(word, "null") || sl_str_eq_c(word, "undefined"))
        *ret_value = json_null();
    else if (sl_str_to_i64(word, &integer) == 0)
        *ret_value = json_integer(integer);
    else if (word.len && (word.ptr[0] == '-' || (word.ptr[0] >= '0' && word.ptr[0] <= '9')) &&
             sl_str_to_double(word, &real) == 0)
        *ret_value = json_real(real);
    else
        return false;
    return true;
}

static int bad_path(parser *p, size_t from)
{
    return fail_at(p, from, "this is no path: %.*s", (int)(p->at - from > 60 ? 60 : p->at - from), p->text.ptr + from);
}

/* `this`, `.`, `./`, `../` in front. True when segments may follow. */
static bool parse_start(parser *p, term *t)
{
    t->data = accept(p, "@");
    bool more = true;
    while (looks_at(p, "..") && t->up < SL_MAX_TEMPLATE_DEPTH) {
        p->at += 2;
        t->up++;
        t->relative = true;
        more = accept(p, "/");
    }
    size_t at = p->at;
    bool word = looks_at(p, "this") && !is_id(char_at(p, at + 4));
    if (more && (word || looks_at(p, "."))) {
        p->at += word ? 4 : 1;
        t->relative = true;
        more = accept(p, "/") || (word && accept(p, ".")) || looks_at(p, "[");
    }
    return more;
}

static int parse_segment(parser *p, size_t from, sl_str *ret_name)
{
    if (char_at(p, p->at) != '[') {
        *ret_name = take_id(p);
        return ret_name->len ? 0 : bad_path(p, from);
    }
    size_t end = sl_str_chr(sl_str_sub(p->text, p->at, p->text.len), ']');
    if (end == SL_NPOS)
        return fail_at(p, p->at, "[ without ]");
    *ret_name = sl_str_sub(p->text, p->at + 1, end - 1);
    p->at += end + 1;
    return 0;
}

#define MAX_SEGMENTS 64

static int parse_segments(parser *p, size_t from, term *t)
{
    sl_template_segment found[MAX_SEGMENTS];
    size_t count = 0;
    for (bool more = true; more;) {
        if (count == MAX_SEGMENTS)
            return fail_at(p, from, "the path has more than %d parts", MAX_SEGMENTS);
        sl_str name = {NULL, 0};
        int error = parse_segment(p, from, &name);
        if (error)
            return error;
        int64_t index = -1;
        if (sl_str_to_i64(name, &index) || index < 0)
            index = -1;
        found[count++] = (sl_template_segment){name, index};
        more = accept(p, ".") || accept(p, "/") || char_at(p, p->at) == '[';
    }
    t->segments = sl_arena_alloc(&p->template->arena, count * sizeof *found);
    if (!t->segments)
        return SL_ENOMEM;
    memcpy(t->segments, found, count * sizeof *found);
    t->segment_count = count;
    return 0;
}

/* The block parameter of that name, of the innermost block that has it. */
static void bind_param(parser *p, term *t)
{
    if (t->data || t->relative || !t->segment_count)
        return;
    for (unsigned i = p->open_count; i-- > 0;)
        for (uint8_t k = 0; k < p->open[i]->param_count; k++)
            if (sl_str_eq(p->open[i]->params[k], t->segments[0].name)) {
                t->param_block = p->open[i];
                t->param = k;
                return;
            }
}

/* Number of open blocks that change what {{this}} is, or may do so. */
static unsigned scopes(const parser *p)
{
    unsigned count = 0;
    for (unsigned i = 0; i < p->open_count; i++)
        count += p->open[i]->kind >= SL_TAG_EACH;
    return count;
}

static int parse_path(parser *p, term **ret_term)
{
    size_t from = p->at;
    int error = new_term(p, SL_TERM_PATH, from, ret_term);
    if (error)
        return error;
    term *t = *ret_term;
    if (parse_start(p, t))
        error = parse_segments(p, from, t);
    if (error)
        return error;
    t->text = sl_str_sub(p->text, from, p->at - from);
    char c = char_at(p, p->at);
    if (p->at < p->text.len && !is_space(c) && !strchr("=~})|", c))
        return bad_path(p, from);
    bind_param(p, t);
    t->from_root = scopes(p) <= t->up;
    *p->path_tail = t;
    p->path_tail = &t->next;
    return 0;
}

static int parse_call(parser *p, term **ret_term);

static int parse_argument(parser *p, term **ret_term)
{
    char c = char_at(p, p->at);
    if (c == '"' || c == '\'')
        return parse_string(p, ret_term);
    if (c == '(') {
        if (p->depth >= SL_MAX_TEMPLATE_DEPTH)
            return too_deep(p);
        p->depth++;
        p->at++;
        int error = parse_call(p, ret_term);
        p->depth--;
        if (error)
            return error;
        if (skip_space(p) != ')')
            return fail_at(p, p->at, "')' expected");
        p->at++;
        return 0;
    }
    /* A number ends where a path would not: 1.5 */
    size_t from = p->at, end = from;
    while (is_id(char_at(p, end)) || char_at(p, end) == '.')
        end++;
    json_t *value = NULL;
    if (!is_literal(sl_str_sub(p->text, from, end - from), &value))
        return parse_path(p, ret_term);
    p->at = end;
    int error = new_term(p, SL_TERM_LITERAL, from, ret_term);
    if (error) {
        json_decref(value);
        return error;
    }
    return keep_literal(p, value, *ret_term);
}

typedef struct arguments {
    term *items[SL_MAX_EXPR_ARGS];
    size_t count; /* one more than the last that is given */
    size_t plain; /* given by place */
} arguments;

static bool at_end(parser *p)
{
    char c = skip_space(p);
    return p->at >= p->text.len || c == '}' || c == '~' || c == ')' || c == '|' ||
           (looks_at(p, "as") && is_space(char_at(p, p->at + 2)));
}

/* name=value: true when that is what follows; the name is taken then. */
static bool accept_hash(parser *p, sl_str *ret_name)
{
    size_t from = p->at;
    *ret_name = take_id(p);
    if (ret_name->len && skip_space(p) == '=') {
        p->at++;
        (void)skip_space(p);
        return true;
    }
    p->at = from;
    return false;
}

static int put_argument(parser *p, const sl_flow_function *f, arguments *args, size_t at)
{
    sl_str name;
    size_t least, most;
    sl_flow_function_arity(f, &least, &most);
    bool hash = accept_hash(p, &name);
    size_t place = hash ? sl_flow_function_arg(f, name) : args->plain;
    if (place == SL_NPOS)
        return fail_at(p, at, "%s has no argument %.*s; it takes: %s", f->name, (int)(name.len > 40 ? 40 : name.len),
                       name.ptr, f->args);
    if (place >= most)
        return fail_at(p, at, "%s takes at most %zu arguments: %s", f->name, most, f->args);
    args->plain += !hash;
    if (place >= args->count)
        args->count = place + 1;
    return parse_argument(p, &args->items[place]);
}

static int parse_arguments(parser *p, const sl_flow_function *f, term *call, size_t from)
{
    arguments args = {.count = 0};
    while (!at_end(p)) {
        int error = put_argument(p, f, &args, p->at);
        if (error)
            return error;
    }
    size_t least, most;
    sl_flow_function_arity(f, &least, &most);
    for (size_t i = 0; i < least; i++)
        if (i >= args.count || !args.items[i])
            return fail_at(p, from, "%s needs at least %zu arguments: %s", f->name, least, f->args);
    call->args = sl_arena_alloc(&p->template->arena, (args.count + 1) * sizeof *call->args);
    if (!call->args)
        return SL_ENOMEM;
    memcpy(call->args, args.items, args.count * sizeof *call->args);
    call->arg_count = args.count;
    return 0;
}

/* What stands alone in a tag is a name, also when it is written as a literal: {{"odd name"}}, {{12}}. */
static int name_of_literal(parser *p, size_t from, term *t)
{
    SL_ASSERT(t->kind == SL_TERM_LITERAL && t->literal && p->at > from);
    sl_template_segment *segment = sl_arena_alloc(&p->template->arena, sizeof *segment);
    if (!segment)
        return SL_ENOMEM;
    segment->name = json_is_string(t->literal)
                        ? sl_str_of(json_string_value(t->literal), json_string_length(t->literal))
                        : sl_str_sub(p->text, from, p->at - from);
    if (sl_str_to_i64(segment->name, &segment->index) || segment->index < 0)
        segment->index = -1;
    t->kind = SL_TERM_PATH;
    t->text = sl_str_sub(p->text, from, p->at - from);
    t->segments = segment;
    t->segment_count = 1;
    bind_param(p, t);
    return 0;
}

/* A helper with arguments; or one term alone, which is never a helper. */
static int parse_call(parser *p, term **ret_term)
{
    (void)skip_space(p);
    size_t from = p->at;
    sl_str name = take_id(p);
    bool call = name.len && !sl_str_eq_c(name, "this") && !at_end(p) && is_space(char_at(p, from + name.len));
    json_t *literal = NULL;
    if (call && is_literal(name, &literal)) {
        json_decref(literal);
        return fail_at(p, from, "a literal takes no arguments");
    }
    if (!call) {
        p->at = from;
        int error = parse_argument(p, ret_term);
        bool named = !error && p->depth == 0 && (*ret_term)->kind == SL_TERM_LITERAL;
        return named ? name_of_literal(p, from, *ret_term) : error;
    }
    const sl_flow_function *f = sl_flow_function_find(name);
    if (!f || sl_flow_function_is_lambda(f))
        return fail_at(p, from, "unknown helper %.*s; the reference lists the helpers",
                       (int)(name.len > 60 ? 60 : name.len), name.ptr);
    int error = new_term(p, SL_TERM_CALL, from, ret_term);
    if (error)
        return error;
    (*ret_term)->function = f;
    return parse_arguments(p, f, *ret_term, from);
}

/* ---- white space ---- */

static bool blank_before(const parser *p, size_t at)
{
    while (at > 0 && (p->text.ptr[at - 1] == ' ' || p->text.ptr[at - 1] == '\t'))
        at--;
    return at == 0 || p->text.ptr[at - 1] == '\n';
}

/* The place behind the line's end when nothing but blanks stands there, else SL_NPOS. */
static size_t line_end(const parser *p, size_t at)
{
    while (char_at(p, at) == ' ' || char_at(p, at) == '\t')
        at++;
    if (at >= p->text.len)
        return at;
    if (p->text.ptr[at] == '\r' && char_at(p, at + 1) == '\n')
        at++;
    return p->text.ptr[at] == '\n' ? at + 1 : SL_NPOS;
}

/* It has no place of its own: finding one would mean to go back. */
static int add_text(parser *p, sl_str text, node ***tail)
{
    if (!text.len)
        return 0;
    node *n = sl_arena_zalloc(&p->template->arena, sizeof *n);
    if (!n)
        return SL_ENOMEM;
    n->kind = SL_TAG_TEXT;
    n->text = text;
    **tail = n;
    *tail = &n->next;
    return 0;
}

/* The text in front of the tag, and where the next text begins: trimmed as the tag wants it. */
static int end_tag(parser *p, const tag *t, bool strip_right, size_t text_end, node ***tail)
{
    bool may_stand_alone = t->mark != MARK_VALUE && t->mark != MARK_END;
    size_t next = may_stand_alone && blank_before(p, t->start) ? line_end(p, p->at) : SL_NPOS;
    size_t from = p->from, end = text_end;
    if (t->strip)
        while (end > from && is_space(p->text.ptr[end - 1]))
            end--;
    else if (next != SL_NPOS)
        while (end > from && (p->text.ptr[end - 1] == ' ' || p->text.ptr[end - 1] == '\t'))
            end--;
    p->from = next != SL_NPOS ? next : p->at;
    if (strip_right)
        while (p->from < p->text.len && is_space(p->text.ptr[p->from]))
            p->from++;
    return add_text(p, sl_str_sub(p->text, from, end > from ? end - from : 0), tail);
}

/* `}}` with its `~`. */
static int close_tag(parser *p, const tag *t, bool *ret_strip)
{
    char c = skip_space(p);
    bool strip = false;
    if (t->triple && !accept(p, "}"))
        return p->at >= p->text.len ? fail_at(p, t->start, "the tag does not end") : fail_at(p, p->at, "}}} expected");
    strip = accept(p, "~");
    if (accept(p, "}}")) {
        *ret_strip = strip;
        return 0;
    }
    if (p->at >= p->text.len)
        return fail_at(p, t->start, "the tag does not end");
    return fail_at(p, p->at, "}} expected, not '%c'", c >= ' ' && c < 0x7F ? c : '?');
}

/* ---- tags ---- */

/* The next tag; p->at is behind its opening. Text with \{{ in it is added on the way. */
static int find_tag(parser *p, tag *ret_tag, size_t *ret_text_end, node ***tail)
{
    p->at = p->from;
    for (;;) {
        size_t found = sl_str_find(sl_str_sub(p->text, p->at, p->text.len), SL_STR("{{"));
        size_t at = found == SL_NPOS ? p->text.len : p->at + found;
        size_t slashes = at > p->from && found != SL_NPOS && p->text.ptr[at - 1] == '\\';
        if (slashes && at - 1 > p->from && p->text.ptr[at - 2] == '\\')
            slashes = 2;
        *ret_text_end = at - (slashes == 2);
        *ret_tag = (tag){.mark = found == SL_NPOS ? MARK_END : MARK_VALUE, .start = at};
        p->at = at;
        if (slashes != 1)
            return 0;
        int error = add_text(p, sl_str_sub(p->text, p->from, at - 1 - p->from), tail);
        if (error)
            return error;
        p->from = at;
        p->at = at + 2;
    }
}

static bool is_else(const parser *p)
{
    size_t at = p->at;
    while (is_space(char_at(p, at)))
        at++;
    return sl_str_starts(sl_str_sub(p->text, at, p->text.len), SL_STR("else")) && !is_id(char_at(p, at + 4)) &&
           !strchr(".=/[", char_at(p, at + 4) ? char_at(p, at + 4) : ' ');
}

/* What kind of tag it is; p->at goes behind its signs. */
static int open_tag(parser *p, tag *t)
{
    if (looks_at(p, "{{{{")) {
        p->at += 4;
        t->mark = MARK_RAW;
        return 0;
    }
    p->at += 2;
    t->strip = accept(p, "~");
    t->triple = accept(p, "{");
    if (t->triple || accept(p, "&"))
        return 0;
    if (looks_at(p, ">") || looks_at(p, "#>"))
        return fail_at(p, t->start, "partials ({{> name}}) are not supported; write the text here");
    if (looks_at(p, "*") || looks_at(p, "#*"))
        return fail_at(p, t->start, "decorators ({{* name}}) are not supported");
    if (accept(p, "!"))
        t->mark = MARK_COMMENT;
    else if (accept(p, "#"))
        t->mark = MARK_OPEN;
    else if (accept(p, "/"))
        t->mark = MARK_CLOSE;
    else if (accept(p, "^"))
        t->mark = skip_space(p) == '}' || char_at(p, p->at) == '~' ? MARK_ELSE : MARK_INVERSE;
    else if (is_else(p)) {
        (void)skip_space(p);
        p->at += 4;
        t->mark = MARK_ELSE;
    }
    return 0;
}

static int parse_comment(parser *p, const tag *t, size_t text_end, node ***tail)
{
    bool dashes = accept(p, "--");
    sl_str rest = sl_str_sub(p->text, p->at, p->text.len);
    size_t len = sl_str_find(rest, dashes ? SL_STR("--}}") : SL_STR("}}"));
    size_t other = dashes ? sl_str_find(rest, SL_STR("--~}}")) : SL_NPOS;
    bool strip = other < len || (!dashes && len != SL_NPOS && len > 0 && rest.ptr[len - 1] == '~');
    if (other < len)
        len = other + 1;
    if (len == SL_NPOS)
        return fail_at(p, t->start, "the comment does not end");
    p->at += len + (dashes ? 4 : 2);
    return end_tag(p, t, strip, text_end, tail);
}

/* {{{{name}}}} ... {{{{/name}}}}: as it stands. */
static int parse_raw(parser *p, const tag *t, size_t text_end, node ***tail)
{
    (void)skip_space(p);
    sl_str name = take_id(p);
    (void)skip_space(p);
    if (!name.len || !accept(p, "}}}}"))
        return fail_at(p, t->start, "a raw block begins with {{{{name}}}}");
    int error = end_tag(p, t, false, text_end, tail);
    size_t from = p->from;
    for (size_t at = p->at; !error; at++) {
        size_t found = sl_str_find(sl_str_sub(p->text, at, p->text.len), SL_STR("{{{{/"));
        if (found == SL_NPOS)
            return fail_at(p, t->start, "the raw block does not end: {{{{/%.*s}}}} is missing",
                           (int)(name.len > 60 ? 60 : name.len), name.ptr);
        at += found;
        p->at = at + 5;
        if (!sl_str_starts(sl_str_sub(p->text, p->at, p->text.len), name))
            continue;
        p->at += name.len;
        if (!accept(p, "}}}}"))
            continue;
        tag end = {.mark = MARK_RAW, .start = at};
        p->from = from < at ? from : at;
        return end_tag(p, &end, false, at, tail);
    }
    return error;
}

static int parse_params(parser *p, node *n)
{
    (void)skip_space(p);
    if (!looks_at(p, "as") || !is_space(char_at(p, p->at + 2)))
        return 0;
    size_t from = p->at;
    p->at += 2;
    if (skip_space(p) != '|')
        return fail_at(p, p->at, "'|' expected");
    p->at++;
    while (skip_space(p) != '|') {
        sl_str name = take_id(p);
        if (!name.len || n->param_count == 2)
            return fail_at(p, from, "block parameters are one or two names: as |item index|");
        n->params[n->param_count++] = name;
    }
    p->at++;
    return 0;
}

static sl_tag_kind block_kind(sl_str name)
{
    static const char *const names[] = {"if", "unless", "each", "with"};
    for (unsigned i = 0; i < 4; i++)
        if (sl_str_eq_c(name, names[i]))
            return (sl_tag_kind)(SL_TAG_IF + i);
    return SL_TAG_SECTION;
}

/* Behind {{# or {{else: the block's name, what it is about, its parameters. */
static int parse_block_head(parser *p, node *n, sl_str *ret_name)
{
    (void)skip_space(p);
    size_t from = p->at;
    sl_str name = take_id(p);
    n->kind = (uint8_t)block_kind(name);
    if (n->kind == SL_TAG_SECTION || at_end(p)) {
        if (n->kind != SL_TAG_SECTION)
            return fail_at(p, from, "%.*s needs a value", (int)name.len, name.ptr);
        p->at = from;
        int error = parse_call(p, &n->term);
        *ret_name = sl_str_sub(p->text, from, p->at - from);
        while (ret_name->len && is_space(ret_name->ptr[ret_name->len - 1]))
            ret_name->len--;
        return error ? error : parse_params(p, n);
    }
    *ret_name = name;
    int error = parse_argument(p, &n->term);
    sl_str key;
    if (!error && !at_end(p) && accept_hash(p, &key)) {
        term *zero = NULL;
        if (n->kind > SL_TAG_UNLESS || !sl_str_eq_c(key, "includeZero"))
            return fail_at(p, from, "%.*s has no such option", (int)name.len, name.ptr);
        error = parse_argument(p, &zero);
        n->include_zero = !error && json_is_true(zero->literal);
    }
    if (!error && !at_end(p))
        return fail_at(p, p->at, "%.*s takes one value; write (helper ...) for a helper's", (int)name.len, name.ptr);
    return error ? error : parse_params(p, n);
}

static int parse_nodes(parser *p, node **head, tag *ret_end, node ***ret_tail);

static int expect_close(parser *p, const tag *t, sl_str name)
{
    (void)skip_space(p);
    sl_str rest = sl_str_sub(p->text, p->at, p->text.len);
    /* {{#name args}} is closed by its first word. */
    size_t word = 0;
    while (word < name.len && !is_space(name.ptr[word]))
        word++;
    sl_str wanted = sl_str_sub(name, 0, word);
    if (!sl_str_starts(rest, wanted))
        return fail_at(p, t->start, "{{/%.*s}} expected here", (int)(wanted.len > 60 ? 60 : wanted.len), wanted.ptr);
    p->at += wanted.len;
    return 0;
}

static int not_closed(parser *p, const node *block, sl_str name)
{
    int len = (int)(name.len > 60 ? 60 : name.len);
    sl_flow_fault_set(p->fault, block->line, block->column, "{{#%.*s}} is not closed; add {{/%.*s}}", len, name.ptr,
                      len, name.ptr);
    return SL_EPARSE;
}

/* From behind the opening tag of `outer` to behind its closing one. */
static int parse_block_body(parser *p, node *outer, sl_str name, bool inverted)
{
    if (p->open_count >= SL_MAX_TEMPLATE_DEPTH)
        return too_deep(p);
    node *block = outer;
    bool in_else = inverted;
    for (;;) {
        tag end = {.mark = MARK_END};
        node **tail = NULL;
        p->open[p->open_count] = block;
        p->open_count += !in_else;
        int error = parse_nodes(p, in_else ? &block->inverse : &block->body, &end, &tail);
        p->open_count -= !in_else;
        if (error)
            return error;
        bool strip = false;
        size_t text_end = end.start - (end.start > p->from && p->text.ptr[end.start - 1] == '\\');
        if (end.mark == MARK_END)
            return not_closed(p, outer, name);
        if (end.mark == MARK_CLOSE) {
            error = expect_close(p, &end, name);
            if (!error)
                error = close_tag(p, &end, &strip);
            return error ? error : end_tag(p, &end, strip, text_end, &tail);
        }
        if (in_else && !inverted)
            return fail_at(p, end.start, "{{else}} stands twice");
        if (inverted) {
            in_else = false;
            inverted = false;
        } else {
            in_else = true;
        }
        char c = skip_space(p);
        if (c == '}' || c == '~') {
            error = close_tag(p, &end, &strip);
            if (!error)
                error = end_tag(p, &end, strip, text_end, &tail);
            if (error)
                return error;
            continue;
        }
        /* {{else if x}}: a block of its own in the inverse, closed with the outer one. */
        node *next = NULL;
        sl_str ignored;
        error = new_node(p, SL_TAG_IF, end.start, &next);
        if (!error)
            error = parse_block_head(p, next, &ignored);
        if (!error)
            error = close_tag(p, &end, &strip);
        if (!error)
            error = end_tag(p, &end, strip, text_end, &tail);
        if (error)
            return error;
        block->inverse = next;
        block->chained = true;
        block = next;
        in_else = false;
    }
}

static int parse_block(parser *p, const tag *t, size_t text_end, node ***tail)
{
    node *n = NULL;
    sl_str name = {NULL, 0};
    bool strip = false;
    int error = new_node(p, SL_TAG_SECTION, t->start, &n);
    if (!error)
        error = parse_block_head(p, n, &name);
    if (!error)
        error = close_tag(p, t, &strip);
    if (!error)
        error = end_tag(p, t, strip, text_end, tail);
    if (error)
        return error;
    **tail = n;
    *tail = &n->next;
    return parse_block_body(p, n, name, t->mark == MARK_INVERSE);
}

static int parse_value(parser *p, const tag *t, size_t text_end, node ***tail)
{
    node *n = NULL;
    bool strip = false;
    int error = new_node(p, SL_TAG_VALUE, t->start, &n);
    if (!error && (skip_space(p) == '}' || char_at(p, p->at) == '~'))
        return fail_at(p, t->start, "the tag is empty; write \\{{ for the characters themselves");
    if (!error)
        error = parse_call(p, &n->term);
    if (!error)
        error = close_tag(p, t, &strip);
    if (!error)
        error = end_tag(p, t, strip, text_end, tail);
    if (error)
        return error;
    **tail = n;
    *tail = &n->next;
    return 0;
}

/* Nodes up to the end, or to an {{else}} or {{/ that is left to the caller with the text in front of it. */
static int parse_nodes(parser *p, node **head, tag *ret_end, node ***ret_tail)
{
    node **tail = head;
    int error = 0;
    while (!error) {
        tag t;
        size_t text_end = 0;
        error = find_tag(p, &t, &text_end, &tail);
        if (!error && t.mark != MARK_END)
            error = open_tag(p, &t);
        if (error)
            return error;
        switch (t.mark) {
        case MARK_COMMENT:
            error = parse_comment(p, &t, text_end, &tail);
            break;
        case MARK_RAW:
            error = parse_raw(p, &t, text_end, &tail);
            break;
        case MARK_OPEN:
        case MARK_INVERSE:
            error = parse_block(p, &t, text_end, &tail);
            break;
        case MARK_VALUE:
            error = parse_value(p, &t, text_end, &tail);
            break;
        default:
            *ret_end = t;
            *ret_tail = tail;
            return 0;
        }
    }
    return error;
}

int sl_template_parse(sl_template *template, sl_flow_fault *fault)
{
    SL_ASSERT(template && template->literals);
    parser p = {.template = template, .fault = fault, .text = template->source, .place = {.text = template->source}};
    p.path_tail = &template->paths;
    tag end = {.mark = MARK_END};
    node **tail = NULL;
    int error = parse_nodes(&p, &template->root, &end, &tail);
    if (error)
        return error;
    if (end.mark == MARK_ELSE)
        return fail_at(&p, end.start, "{{else}} outside of a block");
    if (end.mark == MARK_CLOSE)
        return fail_at(&p, end.start, "a block is closed here that is not open");
    return add_text(&p, sl_str_sub(p.text, p.from, p.text.len), &tail);
}
