/* Reads the text of an expression: one function for each kind of phrase, bounded in depth. */
#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/flow/expr_impl.h"

typedef struct parser {
    sl_expr *expr;
    sl_flow_fault *fault;
    sl_str text;
    size_t at;
    sl_text_place place;
    unsigned depth;
    sl_str locals[SL_EXPR_LOCALS];
    uint8_t local_count;
    sl_expr_path **path_tail;
} parser;

typedef sl_expr_node node;

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
    (void)fail_at(p, p->at, "the expression is nested more than %d deep", SL_MAX_EXPR_DEPTH);
    return SL_ETOOBIG;
}

static int new_node(parser *p, sl_expr_kind kind, size_t at, node **ret_node)
{
    node *n = sl_arena_zalloc(&p->expr->arena, sizeof *n);
    if (!n)
        return SL_ENOMEM;
    n->kind = (uint8_t)kind;
    sl_text_place_find(&p->place, at, &n->line, &n->column);
    *ret_node = n;
    return 0;
}

static bool is_name_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c == '@' ||
           (unsigned char)c >= 0x80;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char peek_at(const parser *p, size_t ahead)
{
    return p->at + ahead < p->text.len ? p->text.ptr[p->at + ahead] : '\0';
}

static char peek(parser *p)
{
    while (p->at < p->text.len && sl_str_chr(SL_STR(" \t\r\n"), p->text.ptr[p->at]) != SL_NPOS)
        p->at++;
    return peek_at(p, 0);
}

static bool accept(parser *p, char c)
{
    if (peek(p) != c || p->at >= p->text.len)
        return false;
    p->at++;
    return true;
}

static int expect(parser *p, char c)
{
    if (accept(p, c))
        return 0;
    if (p->at >= p->text.len)
        return fail_at(p, p->at, "'%c' is missing at the end", c);
    return fail_at(p, p->at, "'%c' expected", c);
}

static sl_str take_name(parser *p)
{
    size_t from = p->at;
    SL_ASSERT(is_name_start(peek_at(p, 0)));
    while (p->at < p->text.len && (is_name_start(p->text.ptr[p->at]) || is_digit(p->text.ptr[p->at])))
        p->at++;
    return sl_str_sub(p->text, from, p->at - from);
}

/* ---- literals ---- */

static int keep_literal(parser *p, json_t *value, node *n)
{
    if (!value || json_array_append_new(p->expr->literals, value))
        return SL_ENOMEM;
    n->literal = value;
    return 0;
}

static int parse_number(parser *p, node **ret_node)
{
    size_t from = p->at;
    bool real = false;
    while (is_digit(peek_at(p, 0)))
        p->at++;
    if (peek_at(p, 0) == '.' && is_digit(peek_at(p, 1))) {
        real = true;
        for (p->at++; is_digit(peek_at(p, 0));)
            p->at++;
    }
    size_t sign = peek_at(p, 1) == '-' || peek_at(p, 1) == '+';
    if ((peek_at(p, 0) | 32) == 'e' && is_digit(peek_at(p, 1 + sign))) {
        real = true;
        for (p->at += 1 + sign; is_digit(peek_at(p, 0));)
            p->at++;
    }
    sl_str text = sl_str_sub(p->text, from, p->at - from);
    int64_t integer = 0;
    double number = 0;
    int error = new_node(p, SL_EXPR_LITERAL, from, ret_node);
    if (error)
        return error;
    if (!real && sl_str_to_i64(text, &integer) == 0)
        return keep_literal(p, json_integer(integer), *ret_node);
    if (sl_str_to_double(text, &number))
        return fail_at(p, from, "bad number");
    return keep_literal(p, json_real(number), *ret_node);
}

static int hex4(parser *p, unsigned *ret_code)
{
    uint8_t bytes[2];
    if (sl_hex_decode(sl_str_sub(p->text, p->at, 4), bytes, 2))
        return fail_at(p, p->at, "\\u needs four hexadecimal digits");
    p->at += 4;
    *ret_code = (unsigned)bytes[0] << 8 | bytes[1];
    return 0;
}

static void put_utf8(sl_buf *out, unsigned c)
{
    if (c < 0x80) {
        (void)sl_buf_put_char(out, (char)c);
        return;
    }
    if (c < 0x800) {
        (void)sl_buf_put_char(out, (char)(0xC0 | c >> 6));
    } else {
        if (c < 0x10000) {
            (void)sl_buf_put_char(out, (char)(0xE0 | c >> 12));
        } else {
            (void)sl_buf_put_char(out, (char)(0xF0 | c >> 18));
            (void)sl_buf_put_char(out, (char)(0x80 | (c >> 12 & 0x3F)));
        }
        (void)sl_buf_put_char(out, (char)(0x80 | (c >> 6 & 0x3F)));
    }
    (void)sl_buf_put_char(out, (char)(0x80 | (c & 0x3F)));
}

static int parse_unicode(parser *p, sl_buf *out)
{
    unsigned code = 0, low = 0;
    int error = hex4(p, &code);
    if (!error && code >= 0xD800 && code < 0xDC00 && peek_at(p, 0) == '\\' && peek_at(p, 1) == 'u') {
        p->at += 2;
        error = hex4(p, &low);
        if (!error && (low < 0xDC00 || low > 0xDFFF))
            return fail_at(p, p->at, "half a surrogate pair");
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    if (!error && code >= 0xD800 && code < 0xE000)
        return fail_at(p, p->at, "half a surrogate pair");
    if (!error)
        put_utf8(out, code);
    return error;
}

static int parse_escape(parser *p, sl_buf *out)
{
    static const char letters[] = "bfnrt\"'\\/";
    static const char stands[] = "\b\f\n\r\t\"'\\/";
    char c = peek_at(p, 0);
    p->at++;
    if (c == 'u')
        return parse_unicode(p, out);
    const char *found = c ? strchr(letters, c) : NULL;
    if (!found)
        return fail_at(p, p->at - 1, "unknown escape in a string; write \\\\ for a backslash");
    (void)sl_buf_put_char(out, stands[found - letters]);
    return 0;
}

/* A string in either kind of quotes, appended to `out`. */
static int scan_string(parser *p, sl_buf *out)
{
    size_t from = p->at;
    char quote = p->text.ptr[p->at++];
    SL_ASSERT(quote == '"' || quote == '\'');
    int error = 0;
    while (!error && p->at < p->text.len && p->text.ptr[p->at] != quote) {
        size_t run = p->at;
        while (p->at < p->text.len && p->text.ptr[p->at] != quote && p->text.ptr[p->at] != '\\')
            p->at++;
        (void)sl_buf_put(out, p->text.ptr + run, p->at - run);
        if (peek_at(p, 0) == '\\') {
            p->at++;
            error = parse_escape(p, out);
        }
    }
    if (error)
        return error;
    if (p->at >= p->text.len)
        return fail_at(p, from, "the string does not end");
    p->at++;
    return out->failed ? SL_ENOMEM : 0;
}

/* Of the arena: keys. */
static int parse_key(parser *p, sl_str *ret_key)
{
    sl_buf out;
    sl_buf_init(&out, SL_MAX_EXPR_BYTES + 4);
    size_t from = p->at;
    int error = scan_string(p, &out);
    if (!error && out.len && memchr(out.data, '\0', out.len))
        error = fail_at(p, from, "a key cannot hold a NUL");
    sl_str key = error ? sl_str_c("") : sl_arena_dup(&p->expr->arena, sl_buf_str(&out));
    sl_buf_done(&out);
    if (error || !key.ptr)
        return error ? error : SL_ENOMEM;
    *ret_key = key;
    return 0;
}

static int parse_string(parser *p, node **ret_node)
{
    sl_buf out;
    sl_buf_init(&out, SL_MAX_EXPR_BYTES + 4);
    int error = new_node(p, SL_EXPR_LITERAL, p->at, ret_node);
    if (!error)
        error = scan_string(p, &out);
    if (!error)
        error = keep_literal(p, json_stringn_nocheck(out.data ? out.data : "", out.len), *ret_node);
    sl_buf_done(&out);
    return error;
}

/* ---- names, calls ---- */

static int parse_expression(parser *p, node **ret_node);

static bool find_local(const parser *p, sl_str name, uint8_t *ret_local)
{
    for (uint8_t i = p->local_count; i-- > 0;)
        if (sl_str_eq(p->locals[i], name)) {
            *ret_local = i;
            return true;
        }
    return false;
}

/* `x =>` or `(x, i) =>`: true when that is what follows; the names are taken then. */
static bool accept_lambda(parser *p, sl_str *names, uint8_t *ret_count)
{
    size_t from = p->at;
    bool parens = accept(p, '(');
    uint8_t count = 0;
    while (count < 2 && is_name_start(peek(p))) {
        names[count++] = take_name(p);
        if (!parens || !accept(p, ','))
            break;
    }
    bool sound = count > 0 && (!parens || accept(p, ')')) && peek(p) == '=' && peek_at(p, 1) == '>';
    p->at = sound ? p->at + 2 : from;
    *ret_count = count;
    return sound;
}

static int parse_lambda(parser *p, size_t at, const sl_str *names, uint8_t count, node **ret_node)
{
    if (p->local_count + count > SL_EXPR_LOCALS)
        return too_deep(p);
    int error = new_node(p, SL_EXPR_LAMBDA, at, ret_node);
    if (error)
        return error;
    (*ret_node)->local = p->local_count;
    (*ret_node)->count = count;
    for (uint8_t i = 0; i < count; i++)
        p->locals[p->local_count++] = names[i];
    error = parse_expression(p, &(*ret_node)->kids);
    p->local_count = (uint8_t)(p->local_count - count);
    return error;
}

static int parse_argument(parser *p, const sl_flow_function *f, size_t index, node **ret_node)
{
    (void)peek(p);
    size_t at = p->at;
    sl_str names[2];
    uint8_t count = 0;
    bool wanted = f->types[index] == 'f';
    if (!accept_lambda(p, names, &count))
        return parse_expression(p, ret_node);
    if (!wanted)
        return fail_at(p, at, "%s: argument %zu is no lambda", f->name, index + 1);
    return parse_lambda(p, at, names, count, ret_node);
}

static int parse_call(parser *p, sl_str name, size_t at, node **ret_node)
{
    const sl_flow_function *f = sl_flow_function_find(name);
    if (!f)
        return fail_at(p, at, "unknown function %.*s; the reference lists the functions",
                       (int)(name.len > 60 ? 60 : name.len), name.ptr);
    int error = new_node(p, SL_EXPR_CALL, at, ret_node);
    if (error)
        return error;
    size_t least, most, count = 0;
    sl_flow_function_arity(f, &least, &most);
    (*ret_node)->function = f;
    p->expr->builds = true;
    node **tail = &(*ret_node)->kids;
    while (!error && peek(p) != ')' && p->at < p->text.len) {
        if (count == most)
            return fail_at(p, p->at, "%s takes at most %zu arguments: %s", f->name, most, f->args);
        error = parse_argument(p, f, strlen(f->types) > count ? count : 0, tail);
        if (error)
            return error;
        tail = &(*tail)->next;
        count++;
        if (!accept(p, ','))
            break;
    }
    error = expect(p, ')');
    if (!error && count < least)
        return fail_at(p, at, "%s needs at least %zu arguments: %s", f->name, least, f->args);
    (*ret_node)->count = (uint8_t)count;
    return error;
}

static int parse_word(parser *p, node **ret_node)
{
    size_t at = p->at;
    sl_str name = take_name(p);
    bool is_true = sl_str_eq_c(name, "true"), is_false = sl_str_eq_c(name, "false");
    if (is_true || is_false || sl_str_eq_c(name, "null")) {
        int error = new_node(p, SL_EXPR_LITERAL, at, ret_node);
        return error ? error
                     : keep_literal(p,
                                    is_true    ? json_true()
                                    : is_false ? json_false()
                                               : json_null(),
                                    *ret_node);
    }
    if (peek(p) == '(') {
        p->at++;
        return parse_call(p, name, at, ret_node);
    }
    int error = new_node(p, SL_EXPR_NAME, at, ret_node);
    if (error)
        return error;
    (*ret_node)->text = name;
    if (find_local(p, name, &(*ret_node)->local))
        (*ret_node)->kind = SL_EXPR_LOCAL;
    return 0;
}

static int parse_list(parser *p, node **ret_node)
{
    int error = new_node(p, SL_EXPR_LIST, p->at++, ret_node);
    if (error)
        return error;
    p->expr->builds = true;
    node **tail = &(*ret_node)->kids;
    while (peek(p) != ']' && p->at < p->text.len) {
        error = parse_expression(p, tail);
        if (error)
            return error;
        tail = &(*tail)->next;
        if (!accept(p, ','))
            break;
    }
    return expect(p, ']');
}

static int parse_object(parser *p, node **ret_node)
{
    int error = new_node(p, SL_EXPR_OBJECT, p->at++, ret_node);
    if (error)
        return error;
    p->expr->builds = true;
    node **tail = &(*ret_node)->kids;
    while (peek(p) != '}' && p->at < p->text.len) {
        sl_str key = {NULL, 0};
        if (is_name_start(peek(p)))
            key = take_name(p);
        else if (peek(p) == '"' || peek(p) == '\'')
            error = parse_key(p, &key);
        else
            error = fail_at(p, p->at, "a key expected");
        if (!error)
            error = expect(p, ':');
        node *value = NULL, *holder = NULL;
        if (!error)
            error = parse_expression(p, &value);
        if (!error)
            error = new_node(p, SL_EXPR_MEMBER, p->at, &holder);
        if (error)
            return error;
        holder->text = key;
        holder->kids = value;
        *tail = holder;
        tail = &holder->next;
        if (!accept(p, ','))
            break;
    }
    return expect(p, '}');
}

static int parse_primary(parser *p, node **ret_node)
{
    char c = peek(p);
    if (is_digit(c))
        return parse_number(p, ret_node);
    if (c == '"' || c == '\'')
        return parse_string(p, ret_node);
    if (c == '[')
        return parse_list(p, ret_node);
    if (c == '{')
        return parse_object(p, ret_node);
    if (c == '(') {
        p->at++;
        int error = parse_expression(p, ret_node);
        return error ? error : expect(p, ')');
    }
    if (p->at >= p->text.len)
        return fail_at(p, p->at, "a value is missing at the end");
    if (!is_name_start(c))
        return fail_at(p, p->at, "a value expected");
    return parse_word(p, ret_node);
}

static int note_path(parser *p, const node *base, size_t from, size_t to)
{
    sl_expr_path *path = sl_arena_zalloc(&p->expr->arena, sizeof *path);
    if (!path)
        return SL_ENOMEM;
    path->text = sl_str_sub(p->text, from, to - from);
    path->line = base->line;
    path->column = base->column;
    *p->path_tail = path;
    p->path_tail = &path->next;
    return 0;
}

/* One .name or [index]. */
static int parse_access(parser *p, node **ret_node)
{
    bool member = peek(p) == '.';
    int error = new_node(p, member ? SL_EXPR_MEMBER : SL_EXPR_INDEX, p->at++, ret_node);
    if (error)
        return error;
    if (!member) {
        error = parse_expression(p, &(*ret_node)->kids);
        return error ? error : expect(p, ']');
    }
    if (is_digit(peek(p))) {
        size_t from = p->at;
        while (is_digit(peek_at(p, 0)))
            p->at++;
        (*ret_node)->text = sl_str_sub(p->text, from, p->at - from);
        return 0;
    }
    if (!is_name_start(peek(p)))
        return fail_at(p, p->at, "a name expected behind '.'");
    (*ret_node)->text = take_name(p);
    return 0;
}

static int parse_postfix(parser *p, node **ret_node)
{
    (void)peek(p);
    size_t from = p->at;
    node *base = NULL;
    int error = parse_primary(p, &base);
    if (error)
        return error;
    SL_ASSERT(base);
    bool is_path = base->kind == SL_EXPR_NAME, fixed = true;
    size_t end = p->at;
    if (is_path)
        end = from + base->text.len;
    node **tail = &base->next;
    *ret_node = base;
    for (char c = peek(p); c == '.' || c == '['; c = peek(p)) {
        if (*ret_node == base) {
            error = new_node(p, SL_EXPR_ACCESS, p->at, ret_node);
            if (error)
                return error;
            (*ret_node)->line = base->line;
            (*ret_node)->column = base->column;
            (*ret_node)->kids = base;
        }
        error = parse_access(p, tail);
        if (error)
            return error;
        fixed = fixed && ((*tail)->kind == SL_EXPR_MEMBER || (*tail)->kids->kind == SL_EXPR_LITERAL);
        end = fixed ? p->at : end;
        tail = &(*tail)->next;
    }
    return is_path ? note_path(p, base, from, end) : 0;
}

/* ---- operators ---- */

static int parse_unary(parser *p, node **ret_node)
{
    char c = peek(p);
    if ((c != '!' && c != '-') || (c == '!' && peek_at(p, 1) == '='))
        return parse_postfix(p, ret_node);
    if (p->depth >= SL_MAX_EXPR_DEPTH)
        return too_deep(p);
    p->depth++;
    int error = new_node(p, SL_EXPR_UNARY, p->at++, ret_node);
    if (!error)
        (*ret_node)->op = c == '!' ? SL_OP_NOT : SL_OP_NEG;
    if (!error)
        error = parse_unary(p, &(*ret_node)->kids);
    p->depth--;
    return error;
}

typedef struct op_rule {
    const char *text;
    uint8_t op;
    uint8_t level;
} op_rule;

#define LEVELS 6

/* Longer ones first. */
static const op_rule op_rules[] = {
    {"||", SL_OP_OR, 0}, {"&&", SL_OP_AND, 1}, {"==", SL_OP_EQ, 2}, {"!=", SL_OP_NE, 2}, {"<=", SL_OP_LE, 3},
    {">=", SL_OP_GE, 3}, {"<", SL_OP_LT, 3},   {">", SL_OP_GT, 3},  {"in", SL_OP_IN, 3}, {"+", SL_OP_ADD, 4},
    {"-", SL_OP_SUB, 4}, {"*", SL_OP_MUL, 5},  {"/", SL_OP_DIV, 5}, {"%", SL_OP_MOD, 5},
};

static const op_rule *next_op(parser *p)
{
    (void)peek(p);
    sl_str rest = sl_str_sub(p->text, p->at, p->text.len);
    for (size_t i = 0; i < sizeof op_rules / sizeof *op_rules; i++) {
        if (!sl_str_starts(rest, sl_str_c(op_rules[i].text)))
            continue;
        char behind = peek_at(p, 2);
        if (op_rules[i].op != SL_OP_IN || !(is_name_start(behind) || is_digit(behind)))
            return &op_rules[i];
    }
    return NULL;
}

static int parse_level(parser *p, unsigned level, node **ret_node)
{
    if (level == LEVELS)
        return parse_unary(p, ret_node);
    int error = parse_level(p, level + 1, ret_node);
    node *chain = NULL, **tail = NULL;
    while (!error) {
        const op_rule *rule = next_op(p);
        if (!rule || rule->level != level)
            return 0;
        if (!chain) {
            error = new_node(p, SL_EXPR_CHAIN, p->at, &chain);
            if (error)
                return error;
            chain->kids = *ret_node;
            tail = &chain->kids->next;
            *ret_node = chain;
        }
        p->at += strlen(rule->text);
        node *kid = NULL;
        error = parse_level(p, level + 1, &kid);
        if (error)
            return error;
        /* A unary kid has an operator of its own: it is wrapped. */
        node *wrap = kid;
        if (kid->kind == SL_EXPR_UNARY) {
            error = new_node(p, SL_EXPR_CHAIN, p->at, &wrap);
            if (error)
                return error;
            wrap->kids = kid;
        }
        wrap->op = rule->op;
        *tail = wrap;
        tail = &wrap->next;
    }
    return error;
}

static int parse_choice(parser *p, node **ret_node)
{
    node *test = NULL, *choice = NULL;
    int error = parse_level(p, 0, &test);
    if (error)
        return error;
    *ret_node = test;
    if (peek(p) != '?')
        return 0;
    error = new_node(p, SL_EXPR_CHOICE, p->at++, &choice);
    if (error)
        return error;
    choice->kids = test;
    *ret_node = choice;
    error = parse_expression(p, &test->next);
    if (!error)
        error = expect(p, ':');
    return error ? error : parse_expression(p, &test->next->next);
}

static int parse_expression(parser *p, node **ret_node)
{
    if (p->depth >= SL_MAX_EXPR_DEPTH)
        return too_deep(p);
    p->depth++;
    node *n = NULL;
    int error = parse_choice(p, &n);
    p->depth--;
    if (!error)
        *ret_node = n;
    return error;
}

int sl_expr_parse(sl_expr *expr, sl_flow_fault *fault)
{
    SL_ASSERT(expr && expr->literals);
    parser p = {
        .expr = expr, .fault = fault, .text = expr->source, .place = {.text = expr->source}, .path_tail = &expr->paths};
    int error = parse_expression(&p, &expr->root);
    if (!error && (peek(&p), p.at < p.text.len))
        error = fail_at(&p, p.at, "the expression should end here");
    return error;
}
