/*
 * A pattern becomes a program of bytes sets, splits and jumps; all of its threads walk over the text together, each
 * with the place where its match began, so that no pattern takes more than states times bytes.
 */
#include "src/flow/expr_regex.h"

#include <stdlib.h>

#include "src/base/arena.h"
#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/flow/utf8_ranges.h"

#define MAX_GROUPS 32 /* within one another */
#define MAX_REPEAT 255
#define ENDLESS (MAX_REPEAT + 1u)

typedef enum opcode { OP_SET, OP_SPLIT, OP_JUMP, OP_BEGIN, OP_END, OP_MATCH } opcode;

typedef struct state {
    uint8_t op;
    uint32_t to;    /* OP_SPLIT, OP_JUMP */
    uint32_t other; /* OP_SPLIT */
    uint8_t set[32];
} state;

struct sl_regex {
    state *states;
    size_t count;
    size_t cap;
};

typedef enum node_kind { NODE_SET, NODE_BEGIN, NODE_END, NODE_SEQUENCE, NODE_EITHER, NODE_REPEAT } node_kind;

typedef struct node {
    node_kind kind;
    struct node *kids;
    struct node *next;
    unsigned least, most; /* NODE_REPEAT */
    uint8_t set[32];      /* NODE_SET */
} node;

typedef struct parser {
    sl_regex *regex;
    sl_flow_work *work;
    sl_arena arena; /* of nodes */
    sl_str text;
    size_t at;
    unsigned depth;
} parser;

static int emit(parser *p, opcode op, uint32_t to, uint32_t other)
{
    sl_regex *r = p->regex;
    SL_ASSERT(r && r->count <= r->cap);
    if (r->count >= SL_MAX_REGEX_STATES) {
        sl_flow_fault_set(p->work->fault, p->work->line, p->work->column, "the pattern is too long: over %d states",
                          SL_MAX_REGEX_STATES);
        return SL_ETOOBIG;
    }
    if (r->count == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 16;
        state *states = sl_realloc(r->states, cap * sizeof *states);
        if (!states)
            return SL_ENOMEM;
        r->states = states;
        r->cap = cap;
    }
    r->states[r->count] = (state){.op = (uint8_t)op, .to = to, .other = other};
    r->count++;
    return 0;
}

static int bad_pattern(parser *p, const char *why)
{
    return sl_flow_wrong(p->work, "pattern: %s at byte %zu", why, p->at + 1);
}

static int peek(const parser *p)
{
    return p->at < p->text.len ? (unsigned char)p->text.ptr[p->at] : -1;
}

static void set_add(uint8_t *set, unsigned from, unsigned to)
{
    SL_ASSERT(to < 256);
    for (unsigned c = from; c <= to; c++)
        set[c / 8] |= (uint8_t)(1u << (c % 8));
}

static void set_invert(uint8_t *set)
{
    for (size_t i = 0; i < 32; i++)
        set[i] = (uint8_t)~set[i];
}

static bool set_has(const uint8_t *set, unsigned char c)
{
    return set[c / 8] & (1u << (c % 8));
}

typedef struct named_class {
    const char *name;
    const char *ranges; /* pairs */
} named_class;

static const named_class classes[] = {
    {"alpha", "azAZ"},    {"digit", "09"},      {"alnum", "azAZ09"}, {"upper", "AZ"},
    {"lower", "az"},      {"space", "\t\r  "},  {"blank", "\t\t  "}, {"punct", "!/:@[`{~"},
    {"print", " ~"},      {"xdigit", "09afAF"}, {"graph", "!~"},     {"cntrl", "\001\037\177\177"},
    {"word", "azAZ09__"},
};

static void add_ranges(uint8_t *set, const char *ranges)
{
    for (; ranges[0]; ranges += 2)
        set_add(set, (unsigned char)ranges[0], (unsigned char)ranges[1]);
}

static bool add_class(uint8_t *set, sl_str name)
{
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (sl_str_eq_c(name, classes[i].name)) {
            add_ranges(set, classes[i].ranges);
            return true;
        }
    return false;
}

/* \d \w \s and their opposites; others stand for themselves, but for \n \t \r. */
static void add_escape(uint8_t *set, unsigned char c)
{
    const char *name = c == 'd' || c == 'D'   ? "digit"
                       : c == 'w' || c == 'W' ? "word"
                       : c == 's' || c == 'S' ? "space"
                                              : 0;
    if (name) {
        (void)add_class(set, sl_str_c(name));
        if (c < 'a')
            set_invert(set);
        return;
    }
    c = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
    set_add(set, c, c);
}

static int parse_named_class(parser *p, uint8_t *set)
{
    size_t from = p->at + 2;
    size_t len = sl_str_find(sl_str_sub(p->text, from, SL_NPOS), SL_STR(":]"));
    if (len == SL_NPOS || !add_class(set, sl_str_sub(p->text, from, len)))
        return bad_pattern(p, "unknown class");
    p->at = from + len + 2;
    return 0;
}

static int new_node(parser *p, node_kind kind, node **ret_node)
{
    node *n = sl_arena_zalloc(&p->arena, sizeof *n);
    if (!n)
        return SL_ENOMEM;
    n->kind = kind;
    *ret_node = n;
    return 0;
}

/* ---- brackets ---- */

#define MAX_RANGES 60 /* of characters that are not ASCII, in one bracket */

typedef struct range {
    uint32_t from, to;
} range;

/* What stands between [ and ]: ASCII as bits, all else as ranges. */
typedef struct bracket {
    uint8_t set[32];
    range ranges[MAX_RANGES + 1]; /* one more when they are inverted */
    size_t count;
} bracket;

static int add_characters(parser *p, bracket *b, uint32_t from, uint32_t to)
{
    if (from > to)
        return bad_pattern(p, "range out of order");
    if (from < 0x80)
        set_add(b->set, from, to < 0x80 ? to : 0x7F);
    if (to < 0x80)
        return 0;
    if (b->count == MAX_RANGES)
        return bad_pattern(p, "too many characters in one bracket");
    b->ranges[b->count++] = (range){from < 0x80 ? 0x80 : from, to};
    return 0;
}

static int take_character(parser *p, uint32_t *ret_character)
{
    size_t len = sl_utf8_decode(sl_str_sub(p->text, p->at, p->text.len), ret_character);
    p->at += len;
    return len ? 0 : bad_pattern(p, "not UTF-8");
}

/* One member: a class, an escape, a range or a character. */
static int parse_bracket_item(parser *p, bracket *b)
{
    int c = peek(p);
    int next = p->at + 1 < p->text.len ? (unsigned char)p->text.ptr[p->at + 1] : -1;
    if (c == '[' && next == ':')
        return parse_named_class(p, b->set);
    if (c == '\\' && next >= 0 && next < 0x80) {
        uint8_t part[32] = {0};
        add_escape(part, (unsigned char)next);
        for (size_t i = 0; i < 16; i++)
            b->set[i] |= part[i];
        p->at += 2;
        return set_has(part, 0x80) ? add_characters(p, b, 0x80, SL_UTF8_LAST) : 0;
    }
    uint32_t from = 0;
    int error = take_character(p, &from);
    uint32_t to = from;
    if (!error && peek(p) == '-' && p->at + 1 < p->text.len && p->text.ptr[p->at + 1] != ']') {
        p->at++;
        error = take_character(p, &to);
    }
    return error ? error : add_characters(p, b, from, to);
}

static int compare_ranges(const void *a, const void *b)
{
    uint32_t x = ((const range *)a)->from, y = ((const range *)b)->from;
    return (x > y) - (x < y);
}

/* What is in no range becomes the ranges. */
static void invert(bracket *b)
{
    range out[MAX_RANGES + 1];
    size_t count = 0;
    uint32_t next = 0x80;
    qsort(b->ranges, b->count, sizeof *b->ranges, compare_ranges);
    for (size_t i = 0; i < b->count; i++) {
        if (b->ranges[i].from > next)
            out[count++] = (range){next, b->ranges[i].from - 1};
        if (b->ranges[i].to >= next)
            next = b->ranges[i].to + 1;
    }
    if (next <= SL_UTF8_LAST)
        out[count++] = (range){next, SL_UTF8_LAST};
    set_invert(b->set);
    memcpy(b->ranges, out, count * sizeof *out);
    b->count = count;
}

static int parse_members(parser *p, bracket *b)
{
    SL_ASSERT(peek(p) == '[');
    p->at++;
    bool inverted = peek(p) == '^';
    p->at += inverted;
    bool first = true;
    while (first || peek(p) != ']') {
        first = false;
        if (peek(p) < 0)
            return bad_pattern(p, "[ without ]");
        int error = parse_bracket_item(p, b);
        if (error)
            return error;
    }
    p->at++;
    if (inverted)
        invert(b);
    return 0;
}

static int add_sequence(parser *p, const sl_utf8_sequence *bytes, node **ret_node)
{
    int error = new_node(p, NODE_SEQUENCE, ret_node);
    node **tail = error ? NULL : &(*ret_node)->kids;
    for (size_t i = 0; !error && i < bytes->len; i++) {
        error = new_node(p, NODE_SET, tail);
        if (error)
            return error;
        set_add((*tail)->set, bytes->low[i], bytes->high[i]);
        tail = &(*tail)->next;
    }
    return error;
}

/* One of the byte sequences that the range becomes. */
static int new_range_node(parser *p, const range *r, node **ret_node)
{
    sl_utf8_sequence sequences[SL_UTF8_SEQUENCES];
    size_t count = sl_utf8_ranges(r->from, r->to, sequences);
    int error = new_node(p, NODE_EITHER, ret_node);
    node **tail = error ? NULL : &(*ret_node)->kids;
    for (size_t i = 0; !error && i < count; i++) {
        error = add_sequence(p, &sequences[i], tail);
        if (!error)
            tail = &(*tail)->next;
    }
    return error;
}

/* ASCII, or one of the ranges. */
static int new_bracket_node(parser *p, const bracket *b, node **ret_node)
{
    node *set = NULL;
    int error = new_node(p, NODE_SET, &set);
    if (error)
        return error;
    memcpy(set->set, b->set, 16);
    *ret_node = set;
    if (b->count == 1 && b->ranges[0].from == 0x80 && b->ranges[0].to == SL_UTF8_LAST) {
        set_add(set->set, 0x80, 0xFF); /* all there are: take_characters does the rest */
        return 0;
    }
    if (b->count)
        error = new_node(p, NODE_EITHER, ret_node);
    if (!error && b->count)
        (*ret_node)->kids = set;
    node **tail = &set->next;
    for (size_t i = 0; !error && i < b->count; i++) {
        error = new_range_node(p, &b->ranges[i], tail);
        if (!error)
            tail = &(*tail)->next;
    }
    return error;
}

static int parse_bracket(parser *p, node **ret_node)
{
    bracket b = {.count = 0};
    int error = parse_members(p, &b);
    return error ? error : new_bracket_node(p, &b, ret_node);
}

static int parse_either(parser *p, node **ret_node);

static int parse_group(parser *p, node **ret_node)
{
    if (++p->depth > MAX_GROUPS)
        return bad_pattern(p, "too many groups within one another");
    p->at++;
    if (peek(p) == '?' && p->at + 1 < p->text.len && p->text.ptr[p->at + 1] == ':')
        p->at += 2;
    int error = parse_either(p, ret_node);
    if (error)
        return error;
    if (peek(p) != ')')
        return bad_pattern(p, "( without )");
    p->at++;
    p->depth--;
    return 0;
}

/* A multi-byte character is one atom, so that what repeats it repeats all of it. */
static int parse_literal(parser *p, node **ret_node)
{
    int error = new_node(p, NODE_SEQUENCE, ret_node);
    node **tail = error ? NULL : &(*ret_node)->kids;
    bool more = true;
    while (!error && more) {
        error = new_node(p, NODE_SET, tail);
        if (error)
            return error;
        unsigned char c = (unsigned char)peek(p);
        set_add((*tail)->set, c, c);
        tail = &(*tail)->next;
        p->at++;
        more = c >= 0x80 && peek(p) >= 0x80 && peek(p) < 0xC0;
    }
    return error;
}

/* A set that takes any byte above 0x7F takes whole characters: its bytes behind the first follow. */
static int take_characters(parser *p, node **atom)
{
    node *set = *atom, *sequence = NULL, *rest = NULL, *more = NULL;
    if (set->kind != NODE_SET || !set_has(set->set, 0x80) || !set_has(set->set, 0xC3))
        return 0;
    int error = new_node(p, NODE_SEQUENCE, &sequence);
    if (!error)
        error = new_node(p, NODE_REPEAT, &more);
    if (!error)
        error = new_node(p, NODE_SET, &rest);
    if (error)
        return error;
    set_add(rest->set, 0x80, 0xBF);
    memset(set->set + 0x80 / 8, 0, 0x40 / 8);
    more->most = 3;
    more->kids = rest;
    set->next = more;
    sequence->kids = set;
    *atom = sequence;
    return 0;
}

static int parse_set(parser *p, node **ret_node)
{
    int c = peek(p);
    int error = c == '[' ? parse_bracket(p, ret_node) : new_node(p, NODE_SET, ret_node);
    if (error)
        return error;
    if (c == '[') {
        return take_characters(p, ret_node);
    } else if (c == '.') {
        set_add((*ret_node)->set, 0, 255);
        p->at++;
    } else if (p->at + 1 >= p->text.len) {
        error = bad_pattern(p, "\\ at the end");
    } else if ((unsigned char)p->text.ptr[p->at + 1] >= 0x80) {
        p->at++;
        return parse_literal(p, ret_node);
    } else {
        add_escape((*ret_node)->set, (unsigned char)p->text.ptr[p->at + 1]);
        p->at += 2;
    }
    return error ? error : take_characters(p, ret_node);
}

static int parse_atom(parser *p, node **ret_node)
{
    int c = peek(p);
    if (c == '(')
        return parse_group(p, ret_node);
    if (c == '*' || c == '+' || c == '?' || c == '{')
        return bad_pattern(p, "nothing to repeat");
    if (c == '^' || c == '$') {
        p->at++;
        return new_node(p, c == '^' ? NODE_BEGIN : NODE_END, ret_node);
    }
    if (c != '[' && c != '.' && c != '\\')
        return parse_literal(p, ret_node);
    return parse_set(p, ret_node);
}

static int parse_count(parser *p, unsigned *ret_count)
{
    unsigned count = 0;
    bool any = false;
    while (peek(p) >= '0' && peek(p) <= '9' && count <= MAX_REPEAT) {
        count = count * 10 + (unsigned)(peek(p) - '0');
        p->at++;
        any = true;
    }
    if (!any || count > MAX_REPEAT)
        return bad_pattern(p, "bad count of repetitions");
    *ret_count = count;
    return 0;
}

/* Behind the `{` of {3}, {3,} or {3,5}. */
static int parse_braces(parser *p, unsigned *ret_least, unsigned *ret_most)
{
    int error = parse_count(p, ret_least);
    *ret_most = *ret_least;
    if (!error && peek(p) == ',') {
        p->at++;
        *ret_most = ENDLESS;
        if (peek(p) != '}')
            error = parse_count(p, ret_most);
    }
    if (error)
        return error;
    if (peek(p) != '}' || *ret_most < *ret_least)
        return bad_pattern(p, "bad count of repetitions");
    p->at++;
    return 0;
}

static int parse_repeats(parser *p, node **atom)
{
    for (unsigned rounds = 0; rounds < 8; rounds++) {
        int c = peek(p);
        if (c != '*' && c != '+' && c != '?' && c != '{')
            return 0;
        node *n = NULL;
        int error = new_node(p, NODE_REPEAT, &n);
        if (error)
            return error;
        n->least = c == '+';
        n->most = c == '?' ? 1 : ENDLESS;
        n->kids = *atom;
        p->at++;
        if (c == '{')
            error = parse_braces(p, &n->least, &n->most);
        if (error)
            return error;
        *atom = n;
    }
    return bad_pattern(p, "too many repetitions of repetitions");
}

static int parse_sequence(parser *p, node **ret_node)
{
    int error = new_node(p, NODE_SEQUENCE, ret_node);
    node **tail = error ? NULL : &(*ret_node)->kids;
    while (!error && peek(p) >= 0 && peek(p) != '|' && peek(p) != ')') {
        node *atom = NULL;
        error = parse_atom(p, &atom);
        if (!error)
            error = parse_repeats(p, &atom);
        if (error)
            return error;
        *tail = atom;
        tail = &atom->next;
    }
    return error;
}

static int parse_either(parser *p, node **ret_node)
{
    int error = new_node(p, NODE_EITHER, ret_node);
    node **tail = error ? NULL : &(*ret_node)->kids;
    while (!error) {
        error = parse_sequence(p, tail);
        if (error || peek(p) != '|')
            break;
        p->at++;
        tail = &(*tail)->next;
    }
    return error;
}

/* ---- program ---- */

static int generate(parser *p, const node *n);

static uint32_t here(const parser *p)
{
    return (uint32_t)p->regex->count;
}

static int generate_either(parser *p, const node *kid)
{
    if (!kid->next)
        return generate(p, kid);
    uint32_t jumps[64];
    size_t count = 0;
    int error = 0;
    for (; !error && kid; kid = kid->next) {
        uint32_t split = here(p);
        if (kid->next)
            error = emit(p, OP_SPLIT, split + 1, 0);
        if (!error)
            error = generate(p, kid);
        if (error || !kid->next)
            break;
        if (count == 64)
            return bad_pattern(p, "too many alternatives");
        jumps[count++] = here(p);
        error = emit(p, OP_JUMP, 0, 0);
        if (!error)
            p->regex->states[split].other = here(p);
    }
    for (size_t i = 0; !error && i < count; i++)
        p->regex->states[jumps[i]].to = here(p);
    return error;
}

static int generate_repeat(parser *p, const node *n)
{
    int error = 0;
    for (unsigned i = 0; !error && i < n->least; i++)
        error = generate(p, n->kids);
    if (error || n->least == n->most)
        return error;
    uint32_t splits[MAX_REPEAT + 1];
    unsigned more = n->most == ENDLESS ? 1 : n->most - n->least;
    SL_ASSERT(more <= MAX_REPEAT);
    for (unsigned i = 0; !error && i < more; i++) {
        splits[i] = here(p);
        error = emit(p, OP_SPLIT, splits[i] + 1, 0);
        if (!error)
            error = generate(p, n->kids);
    }
    if (!error && n->most == ENDLESS)
        error = emit(p, OP_JUMP, splits[0], 0);
    for (unsigned i = 0; !error && i < more; i++)
        p->regex->states[splits[i]].other = here(p);
    return error;
}

static int generate(parser *p, const node *n)
{
    int error = sl_flow_spend(p->work, 1);
    if (error)
        return error;
    switch (n->kind) {
    case NODE_SET:
        error = emit(p, OP_SET, 0, 0);
        if (!error)
            memcpy(p->regex->states[p->regex->count - 1].set, n->set, sizeof n->set);
        return error;
    case NODE_BEGIN:
        return emit(p, OP_BEGIN, 0, 0);
    case NODE_END:
        return emit(p, OP_END, 0, 0);
    case NODE_EITHER:
        return generate_either(p, n->kids);
    case NODE_REPEAT:
        return generate_repeat(p, n);
    default:
        for (const node *kid = n->kids; !error && kid; kid = kid->next)
            error = generate(p, kid);
        return error;
    }
}

static int compile(parser *p)
{
    node *root = NULL;
    int error = parse_either(p, &root);
    if (!error && p->at < p->text.len)
        error = bad_pattern(p, ") without (");
    if (!error)
        error = generate(p, root);
    return error ? error : emit(p, OP_MATCH, 0, 0);
}

int sl_regex_new(sl_flow_work *work, sl_str pattern, sl_regex **ret_regex)
{
    SL_ASSERT(work && ret_regex);
    if (pattern.len > SL_MAX_REGEX_STATES) {
        sl_flow_fault_set(work->fault, work->line, work->column, "the pattern is longer than %d bytes",
                          SL_MAX_REGEX_STATES);
        return SL_ETOOBIG;
    }
    parser p = {.work = work, .text = pattern};
    p.regex = sl_calloc(1, sizeof *p.regex);
    if (!p.regex)
        return SL_ENOMEM;
    sl_arena_init(&p.arena, 2048, (pattern.len + 2) * 8 * sizeof(node));
    int error = compile(&p);
    sl_arena_done(&p.arena);
    if (error) {
        sl_regex_free(p.regex);
        return error;
    }
    *ret_regex = p.regex;
    return 0;
}

void sl_regex_free(sl_regex *regex)
{
    if (!regex)
        return;
    sl_free(regex->states);
    sl_free(regex);
}

/* ---- matching ---- */

typedef struct threads {
    size_t *start;   /* for each state: where its match began, or SL_NPOS */
    uint32_t *queue; /* states with a thread */
    size_t count;
} threads;

typedef struct machine {
    const sl_regex *regex;
    sl_flow_work *work;
    threads now, next;
    uint32_t *stack;
    sl_str text;
    size_t best_start, best_end;
} machine;

/* A thread at `state`, and at all that it reaches without a byte. The earlier start wins. */
static int add_thread(machine *m, threads *to, uint32_t first, size_t at, size_t start)
{
    size_t height = 0;
    m->stack[height++] = first;
    while (height) {
        uint32_t s = m->stack[--height];
        if (to->start[s] <= start)
            continue;
        int error = sl_flow_spend(m->work, 1);
        if (error)
            return error;
        if (to->start[s] == SL_NPOS)
            to->queue[to->count++] = s;
        to->start[s] = start;
        const state *st = &m->regex->states[s];
        SL_ASSERT(height + 2 <= 2 * m->regex->count + 2);
        if (st->op == OP_JUMP) {
            m->stack[height++] = st->to;
        } else if (st->op == OP_SPLIT) {
            m->stack[height++] = st->other;
            m->stack[height++] = st->to;
        } else if ((st->op == OP_BEGIN && at == 0) || (st->op == OP_END && at == m->text.len)) {
            m->stack[height++] = s + 1;
        } else if (st->op == OP_MATCH && (start < m->best_start || (start == m->best_start && at > m->best_end))) {
            m->best_start = start;
            m->best_end = at;
        }
    }
    return 0;
}

static void clear_threads(threads *t)
{
    for (size_t i = 0; i < t->count; i++)
        t->start[t->queue[i]] = SL_NPOS;
    t->count = 0;
}

static int step_threads(machine *m, size_t at)
{
    int error = sl_flow_spend(m->work, m->now.count);
    for (size_t i = 0; !error && i < m->now.count; i++) {
        uint32_t s = m->now.queue[i];
        const state *st = &m->regex->states[s];
        if (m->now.start[s] > m->best_start || st->op != OP_SET)
            continue;
        if (set_has(st->set, (unsigned char)m->text.ptr[at]))
            error = add_thread(m, &m->next, s + 1, at + 1, m->now.start[s]);
    }
    threads spent = m->now;
    clear_threads(&spent);
    m->now = m->next;
    m->next = spent;
    return error;
}

static int run_machine(machine *m, size_t from)
{
    int error = 0;
    for (size_t at = from; !error && at <= m->text.len; at++) {
        bool boundary = at == m->text.len || ((unsigned char)m->text.ptr[at] & 0xC0) != 0x80;
        if (m->best_start == SL_NPOS && boundary)
            error = add_thread(m, &m->now, 0, at, at);
        if (error || at == m->text.len || (m->now.count == 0 && m->best_start != SL_NPOS))
            break;
        error = sl_flow_spend(m->work, 1);
        if (!error)
            error = step_threads(m, at);
    }
    return error;
}

int sl_regex_find(const sl_regex *regex, sl_flow_work *work, sl_str text, size_t from, size_t *ret_start,
                  size_t *ret_end)
{
    SL_ASSERT(regex && work && from <= text.len && ret_start && ret_end);
    size_t n = regex->count;
    machine m = {.regex = regex, .work = work, .text = text, .best_start = SL_NPOS};
    size_t *memory = sl_malloc(2 * n * sizeof(size_t) + (4 * n + 2) * sizeof(uint32_t));
    if (!memory)
        return SL_ENOMEM;
    m.now.start = memory;
    m.next.start = memory + n;
    for (size_t i = 0; i < 2 * n; i++)
        memory[i] = SL_NPOS;
    m.now.queue = (uint32_t *)(memory + 2 * n);
    m.next.queue = m.now.queue + n;
    m.stack = m.next.queue + n;
    int error = run_machine(&m, from);
    sl_free(memory);
    if (error)
        return error;
    *ret_start = m.best_start;
    *ret_end = m.best_end;
    return 0;
}
