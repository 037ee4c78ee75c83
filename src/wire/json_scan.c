/*
 * JSON reading: an iterative scanner with one frame for each open container, and walkers that reuse it.
 *
 * The frame carries the watched node that its container stands for (or none), so matching costs nothing below
 * containers in which nothing is watched.
 */
#include "src/wire/json_scan.h"

#include "src/base/assert.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define NO_NODE (-1)
#define SMALL_DIGITS 18 /* of a number that fits into 64 bits whatever they are */

/* An open container. */
struct frame {
    size_t begin;
    uint64_t seen; /* child nodes whose names have occurred in it */
    uint32_t items;
    int16_t node;
    bool is_object;
};

struct scan {
    const char *base, *p, *end;
    const sl_json_watch *watch; /* or NULL */
    sl_json_found *found;
    sl_json_found root;
    const char *reason; /* of a failure; the place is p */
    unsigned depth;
    struct frame frames[SL_MAX_JSON_DEPTH];
};

static int fail(struct scan *s, const char *at, const char *reason)
{
    SL_ASSERT(s);
    s->p = at;
    s->reason = reason;
    return SL_EPARSE;
}

/* As fail, for who returns the place behind what it has read. */
static const char *fail_at(struct scan *s, const char *at, const char *reason)
{
    (void)fail(s, at, reason);
    return NULL;
}

/* ---- Watched paths ---- */

/* The place of a name in by_name. */
static inline unsigned name_place(sl_str name)
{
    unsigned first = name.len ? (unsigned char)*name.ptr : 0;
    return (unsigned)(first * 5 + name.len) & 63;
}

static int add_node(sl_json_watch *watch, int parent, sl_str key, bool element)
{
    SL_ASSERT(watch);
    if (watch->node_count == SL_JSON_MAX_NODES)
        return SL_ELIMIT;
    int index = (int)watch->node_count++;
    sl_json_node *node = &watch->nodes[index];
    node->key = key;
    node->path = node->first_child = node->next_sibling = node->element_child = NO_NODE;
    node->parent = (int16_t)parent;
    node->next_alike = 0;
    memset(node->by_name, 0, sizeof node->by_name);
    node->repeats = element || (parent >= 0 && watch->nodes[parent].repeats);
    if (parent < 0)
        return index;
    sl_json_node *above = &watch->nodes[parent];
    if (element) {
        above->element_child = (int16_t)index;
    } else {
        node->next_sibling = above->first_child;
        above->first_child = (int16_t)index;
        uint8_t *place = &above->by_name[name_place(key)];
        node->next_alike = *place;
        *place = (uint8_t)index;
    }
    return index;
}

/* The node below `parent` for one step of a path, made when it is new. */
static int step_node(sl_json_watch *watch, int parent, sl_str key, bool element)
{
    SL_ASSERT(watch);
    const sl_json_node *above = &watch->nodes[parent];
    if (element)
        return above->element_child >= 0 ? above->element_child : add_node(watch, parent, key, true);
    for (int i = above->first_child; i >= 0; i = watch->nodes[i].next_sibling) {
        if (sl_str_eq(watch->nodes[i].key, key))
            return i;
    }
    return add_node(watch, parent, key, false);
}

static int add_path(sl_json_watch *watch, sl_str path, int index)
{
    SL_ASSERT(path.ptr || !path.len);
    int node = 0;
    bool first = true;
    if (path.len == 0)
        return SL_EINVAL;
    while (path.len) {
        bool element = path.ptr[0] == '[';
        size_t len = 3;
        if (element) {
            if (!sl_str_starts(path, SL_STR("[*]")))
                return SL_EINVAL;
        } else {
            if (!first && path.ptr[0] != '.')
                return SL_EINVAL;
            if (!first)
                path = sl_str_sub(path, 1, path.len);
            for (len = 0; len < path.len && path.ptr[len] != '.' && path.ptr[len] != '[';)
                len++;
            if (len == 0)
                return SL_EINVAL;
        }
        node = step_node(watch, node, sl_str_sub(path, 0, len), element);
        if (node < 0)
            return node;
        path = sl_str_sub(path, len, path.len);
        first = false;
    }
    if (watch->nodes[node].path != NO_NODE)
        return SL_EINVAL;
    watch->nodes[node].path = (int16_t)index;
    return 0;
}

int sl_json_watch_init(sl_json_watch *watch, const char *const *paths, size_t count)
{
    SL_ASSERT(watch && (paths || count == 0));
    if (count > SL_JSON_MAX_PATHS)
        return SL_ELIMIT;
    memset(watch, 0, sizeof *watch);
    (void)add_node(watch, NO_NODE, sl_str_of(NULL, 0), false);
    watch->path_count = count;
    for (size_t i = 0; i < count; i++) {
        int error = add_path(watch, sl_str_c(paths[i]), (int)i);
        if (error)
            return error;
    }
    return 0;
}

/* ---- Strings ---- */

/* First byte that needs a closer look: quote, backslash, control, non-ASCII; or `end`. */
static const char *skip_plain(const char *p, const char *end)
{
#if defined(__SSE2__)
    const __m128i space = _mm_set1_epi8(0x20), quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    while (end - p >= 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        /* Signed: bytes from 0x80 are negative, so below a space too. */
        __m128i odd =
            _mm_or_si128(_mm_cmplt_epi8(v, space), _mm_or_si128(_mm_cmpeq_epi8(v, quote), _mm_cmpeq_epi8(v, slash)));
        int mask = _mm_movemask_epi8(odd);
        if (mask)
            return p + __builtin_ctz((unsigned)mask);
        p += 16;
    }
#else
    const uint64_t ones = 0x0101010101010101ull, tops = ones << 7;
    while (end - p >= 8) {
        uint64_t v;
        memcpy(&v, p, 8);
        uint64_t q = v ^ (ones * '"'), b = v ^ (ones * '\\');
        if ((((v - ones * 0x20) | (q - ones) | (b - ones) | v) & tops) != 0)
            break;
        p += 8;
    }
#endif
    while (p < end && *p >= 0x20 && *p != '"' && *p != '\\' && (unsigned char)*p < 0x80)
        p++;
    return p;
}

/* Length of the well-formed sequence that begins with the non-ASCII byte at `p`, or 0 (Unicode 15, table 3-7). */
static size_t utf8_length(const char *text, const char *end)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t left = (size_t)(end - text);
    SL_ASSERT(left > 0 && p[0] >= 0x80);
    if (p[0] < 0xE0)
        return p[0] >= 0xC2 && left >= 2 && (p[1] & 0xC0) == 0x80 ? 2 : 0;
    if (p[0] < 0xF0) {
        unsigned char low = p[0] == 0xE0 ? 0xA0 : 0x80, high = p[0] == 0xED ? 0x9F : 0xBF;
        return left >= 3 && p[1] >= low && p[1] <= high && (p[2] & 0xC0) == 0x80 ? 3 : 0;
    }
    unsigned char low = p[0] == 0xF0 ? 0x90 : 0x80, high = p[0] == 0xF4 ? 0x8F : 0xBF;
    return p[0] <= 0xF4 && left >= 4 && p[1] >= low && p[1] <= high && (p[2] & 0xC0) == 0x80 && (p[3] & 0xC0) == 0x80
               ? 4
               : 0;
}

/* The four hex digits at `p`, or -1. */
static int hex4(const char *p, const char *end)
{
    int value = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = sl_hex_value(p[i]);
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* Length of the escape at the backslash `p`, or 0. */
static size_t escape_length(const char *p, const char *end)
{
    if (end - p < 2)
        return 0;
    switch (p[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return 2;
    case 'u':
        return hex4(p + 2, end) >= 0 ? 6 : 0;
    default:
        return 0;
    }
}

/* What stands at `p` in a string and is not plain: the place behind it, or NULL. */
static const char *skip_odd(struct scan *s, const char *p)
{
    SL_ASSERT(s);
    size_t len;
    if (p == s->end)
        return fail_at(s, p, "unterminated string");
    if (*p == '\\') {
        len = escape_length(p, s->end);
        return len ? p + len : fail_at(s, p, "bad escape in a string");
    }
    if ((unsigned char)*p < 0x20)
        return fail_at(s, p, "control character in a string");
    do {
        if ((len = utf8_length(p, s->end)) == 0)
            return fail_at(s, p, "ill-formed UTF-8");
        p += len;
    } while (p < s->end && (unsigned char)*p >= 0x80);
    return p;
}

/* Reads the string at `p`, a quote; `*ret_escapes` tells whether it has escapes. The place behind it, or NULL. */
static inline const char *read_string(struct scan *s, const char *p, bool *ret_escapes)
{
    SL_ASSERT(ret_escapes && p < s->end && *p == '"');
    bool escapes = false;
    p = skip_plain(p + 1, s->end);
    while (SL_UNLIKELY(p == s->end || *p != '"')) {
        escapes |= p < s->end && *p == '\\';
        p = skip_odd(s, p);
        if (!p)
            return NULL;
        p = skip_plain(p, s->end);
    }
    *ret_escapes = escapes;
    return p + 1;
}

/* ---- Other scalars ---- */

static const char *skip_digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

/* Over digits, at least one. The place behind them, or NULL. */
static const char *need_digits(struct scan *s, const char *p)
{
    SL_ASSERT(s);
    const char *behind = skip_digits(p, s->end);
    return behind == p ? fail_at(s, p, "digit expected") : behind;
}

/* What may stand behind the whole part of a number. */
static const char *read_fraction(struct scan *s, const char *p)
{
    SL_ASSERT(s && p);
    if (p < s->end && *p == '.') {
        p = need_digits(s, p + 1);
        if (!p)
            return NULL;
    }
    if (p < s->end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < s->end && (*p == '+' || *p == '-'))
            p++;
        p = need_digits(s, p);
    }
    return p;
}

static const char *read_number(struct scan *s, const char *p)
{
    SL_ASSERT(s);
    if (*p == '-')
        p++;
    if (p < s->end && *p == '0')
        p++;
    else if (!(p = need_digits(s, p)))
        return NULL;
    if (SL_LIKELY(p == s->end || (*p != '.' && *p != 'e' && *p != 'E')))
        return p;
    return read_fraction(s, p);
}

static const char *read_word(struct scan *s, const char *p, sl_str word)
{
    SL_ASSERT(s);
    if (!sl_str_starts(sl_str_of(p, (size_t)(s->end - p)), word))
        return fail_at(s, p, "value expected");
    return p + word.len;
}

/* Nearly always there is none, or one. */
static inline const char *skip_space(const char *p, const char *end)
{
    while (p < end && (unsigned char)*p <= ' ' && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

/* ---- Results ---- */

/* Notes a value for the path that ends at `node`. */
static void note(struct scan *s, int node, const sl_json_found *value)
{
    int path = s->watch->nodes[node].path;
    if (path < 0)
        return;
    SL_ASSERT((size_t)path < s->watch->path_count);
    sl_json_found *found = &s->found[path];
    uint32_t count = found->count + 1;
    bool duplicate = found->duplicate;
    if (value->type != SL_JSON_NULL || !s->watch->nodes[node].repeats || found->type == SL_JSON_NONE)
        *found = *value;
    found->count = count;
    found->duplicate = duplicate;
}

/* Marks every path through `node` as standing twice. */
static void note_duplicate(struct scan *s, int node)
{
    for (size_t i = 0; i < s->watch->node_count; i++) {
        int path = s->watch->nodes[i].path;
        int above = (int)i;
        while (above >= 0 && above != node)
            above = s->watch->nodes[above].parent;
        if (path >= 0 && above == node)
            s->found[path].duplicate = true;
    }
}

static sl_json_value string_value(const char *begin, const char *end)
{
    sl_json_value value = {SL_JSON_STRING, {begin, (size_t)(end - begin)}};
    return value;
}

/* The child of a node by its name (with quotes) that has escapes, or NO_NODE. */
static int match_escaped(const struct scan *s, const sl_json_node *parent, sl_json_value name)
{
    int child = parent->first_child;
    while (child >= 0 && !sl_json_string_is(name, s->watch->nodes[child].key))
        child = s->watch->nodes[child].next_sibling;
    return child;
}

/* The same without escapes. */
static inline int match_plain(const struct scan *s, const sl_json_node *parent, sl_str name)
{
    unsigned child = parent->by_name[name_place(name)];
    while (child > 0 && !sl_str_eq(s->watch->nodes[child].key, name))
        child = s->watch->nodes[child].next_alike;
    return child > 0 ? (int)child : NO_NODE;
}

/* The node for a member of the innermost object, by its name (with quotes). */
static int match_name(struct scan *s, struct frame *frame, const char *name, const char *end, bool escapes)
{
    SL_ASSERT(s && frame && end - name >= 2);
    const sl_json_node *parent = &s->watch->nodes[frame->node];
    int child = SL_UNLIKELY(escapes) ? match_escaped(s, parent, string_value(name, end))
                                     : match_plain(s, parent, sl_str_of(name + 1, (size_t)(end - name) - 2));
    if (child < 0)
        return NO_NODE;
    if (frame->seen >> child & 1)
        note_duplicate(s, child);
    frame->seen |= (uint64_t)1 << child;
    return child;
}

/* ---- Values ---- */

static inline void finish_value(struct scan *s, int node, sl_json_type type, size_t begin, uint32_t items)
{
    SL_ASSERT(s);
    if (node < 0 && s->depth > 0)
        return;
    sl_json_found value = {type, false, 1, items, begin, (size_t)(s->p - s->base)};
    if (s->depth == 0)
        s->root = value;
    if (node >= 0)
        note(s, node, &value);
}

static int open_container(struct scan *s, const char *p, int node, bool is_object)
{
    SL_ASSERT(s);
    if (s->depth == SL_MAX_JSON_DEPTH) {
        (void)fail(s, p, "nested too deeply");
        return SL_ELIMIT;
    }
    struct frame *frame = &s->frames[s->depth++];
    frame->begin = (size_t)(p - s->base);
    frame->seen = 0;
    frame->items = 0;
    frame->node = (int16_t)node;
    frame->is_object = is_object;
    s->p = p + 1;
    return 0;
}

/* Reads the scalar at `p`: the place behind it and its type, or NULL. */
static inline const char *read_scalar(struct scan *s, const char *p, sl_json_type *ret_type)
{
    SL_ASSERT(ret_type && p < s->end);
    bool escapes;
    switch (*p) {
    case '"':
        *ret_type = SL_JSON_STRING;
        return read_string(s, p, &escapes);
    case 't':
        *ret_type = SL_JSON_TRUE;
        return read_word(s, p, SL_STR("true"));
    case 'f':
        *ret_type = SL_JSON_FALSE;
        return read_word(s, p, SL_STR("false"));
    case 'n':
        *ret_type = SL_JSON_NULL;
        return read_word(s, p, SL_STR("null"));
    default:
        *ret_type = SL_JSON_NUMBER;
        return *p == '-' || (*p >= '0' && *p <= '9') ? read_number(s, p) : fail_at(s, p, "value expected");
    }
}

/* Reads the scalar at `p`, or opens the container there. */
static int begin_value(struct scan *s, const char *p, int node)
{
    SL_ASSERT(s);
    if (SL_UNLIKELY(p == s->end))
        return fail(s, p, "value expected");
    if (*p == '{' || *p == '[')
        return open_container(s, p, node, *p == '{');
    sl_json_type type = SL_JSON_NONE;
    const char *behind = read_scalar(s, p, &type);
    if (!behind)
        return SL_EPARSE;
    s->p = behind;
    finish_value(s, node, type, (size_t)(p - s->base), 0);
    return 0;
}

/* Reads `"name" :` of the innermost object and says which node its value belongs to. Where the value is, or NULL. */
static inline const char *read_name(struct scan *s, struct frame *frame, const char *name, int *ret_node)
{
    SL_ASSERT(s && ret_node);
    bool escapes = false;
    if (name == s->end || *name != '"')
        return fail_at(s, name, "member name expected");
    const char *p = read_string(s, name, &escapes);
    if (!p)
        return NULL;
    *ret_node = frame->node < 0 ? NO_NODE : match_name(s, frame, name, p, escapes);
    p = skip_space(p, s->end);
    if (p == s->end || *p != ':')
        return fail_at(s, p, "':' expected");
    return skip_space(p + 1, s->end);
}

static void close_container(struct scan *s, const struct frame *frame, const char *p)
{
    SL_ASSERT(s->depth > 0);
    s->p = p + 1;
    s->depth--;
    finish_value(s, frame->node, frame->is_object ? SL_JSON_OBJECT : SL_JSON_ARRAY, frame->begin, frame->items);
}

/* Reads one item of the innermost container, or its end. */
static int read_item(struct scan *s)
{
    SL_ASSERT(s && s->depth > 0);
    struct frame *frame = &s->frames[s->depth - 1];
    int node = NO_NODE;
    const char *end = s->end, *p = skip_space(s->p, end);
    if (SL_UNLIKELY(p == end))
        return fail(s, p, frame->is_object ? "unterminated object" : "unterminated array");
    if (*p == (frame->is_object ? '}' : ']')) {
        close_container(s, frame, p);
        return 0;
    }
    if (frame->items) {
        if (*p != ',')
            return fail(s, p, frame->is_object ? "',' or '}' expected" : "',' or ']' expected");
        p = skip_space(p + 1, end);
    }
    if (frame->items != UINT32_MAX)
        frame->items++;
    if (frame->is_object) {
        p = read_name(s, frame, p, &node);
        if (!p)
            return SL_EPARSE;
    } else if (frame->node >= 0) {
        node = s->watch->nodes[frame->node].element_child;
    }
    return begin_value(s, p, node);
}

/* Reads one value at p, containers with all they hold. */
static int read_value(struct scan *s, int node)
{
    int error = begin_value(s, s->p, node);
    while (!error && s->depth > 0)
        error = read_item(s);
    return error;
}

static void scan_init(struct scan *s, const char *begin, const char *end)
{
    SL_ASSERT(s);
    s->base = s->p = begin;
    s->end = end;
    s->watch = NULL;
    s->found = NULL;
    s->reason = NULL;
    s->depth = 0;
}

int sl_json_scan(sl_str text, const sl_json_watch *watch, sl_json_found *ret_found, sl_json_found *ret_root,
                 sl_json_error *ret_error)
{
    SL_ASSERT(text.ptr || !text.len);
    struct scan s;
    SL_ASSERT(!watch || ret_found || watch->path_count == 0);
    static const char nothing[1] = "";
    const char *begin = text.len ? text.ptr : nothing;
    scan_init(&s, begin, begin + text.len);
    s.watch = watch;
    s.found = ret_found;
    if (watch && watch->path_count)
        memset(ret_found, 0, watch->path_count * sizeof *ret_found);
    s.p = skip_space(s.p, s.end);
    int error = read_value(&s, watch ? 0 : NO_NODE);
    if (!error) {
        s.p = skip_space(s.p, s.end);
        if (s.p != s.end)
            error = fail(&s, s.p, "text behind the value");
    }
    if (error) {
        if (ret_error) {
            ret_error->offset = (size_t)(s.p - s.base);
            ret_error->reason = s.reason;
        }
        return error;
    }
    if (ret_root)
        *ret_root = s.root;
    return 0;
}

int sl_json_parse(sl_str text, sl_json_value *ret_value, sl_json_error *ret_error)
{
    SL_ASSERT(ret_value);
    sl_json_found root;
    int error = sl_json_scan(text, NULL, NULL, &root, ret_error);
    if (!error)
        *ret_value = sl_json_at(text, &root);
    return error;
}

/* ---- Walking ---- */

void sl_json_iter_init(sl_json_iter *iter, sl_json_value container)
{
    SL_ASSERT(iter);
    memset(iter, 0, sizeof *iter);
    if ((container.type == SL_JSON_OBJECT || container.type == SL_JSON_ARRAY) && container.raw.len >= 2) {
        iter->at = container.raw.ptr + 1;
        iter->end = container.raw.ptr + container.raw.len;
        iter->is_object = container.type == SL_JSON_OBJECT;
    }
}

/* Reads a value and gives it as one. */
static int take_value(struct scan *s, sl_json_value *ret_value)
{
    SL_ASSERT(s && ret_value);
    const char *begin = s->p;
    s->base = begin;
    int error = read_value(s, NO_NODE);
    if (error)
        return error;
    ret_value->type = s->root.type;
    ret_value->raw = sl_str_of(begin, (size_t)(s->p - begin));
    return 0;
}

/* Moves over the name of a member to its value; false when there is none. */
static bool take_name(struct scan *s, sl_json_value *ret_key)
{
    SL_ASSERT(s->p < s->end);
    const char *name = s->p;
    bool escapes;
    const char *p = *name == '"' ? read_string(s, name, &escapes) : NULL;
    if (!p)
        return false;
    *ret_key = string_value(name, p);
    p = skip_space(p, s->end);
    if (p == s->end || *p != ':')
        return false;
    s->p = skip_space(p + 1, s->end);
    return true;
}

bool sl_json_iter_next(sl_json_iter *iter, sl_json_value *ret_key, sl_json_value *ret_value)
{
    SL_ASSERT(iter && ret_value);
    if (!iter->at)
        return false;
    struct scan s;
    sl_json_value key = {SL_JSON_NONE, {NULL, 0}};
    scan_init(&s, iter->at, iter->end);
    iter->at = NULL;
    s.p = skip_space(s.p, s.end);
    if (s.p < s.end && *s.p == ',')
        s.p = skip_space(s.p + 1, s.end);
    if (s.p == s.end || *s.p == '}' || *s.p == ']')
        return false;
    if (iter->is_object && !take_name(&s, &key))
        return false;
    if (take_value(&s, ret_value) != 0)
        return false;
    if (ret_key)
        *ret_key = key;
    iter->at = s.p;
    return true;
}

sl_json_value sl_json_get(sl_json_value object, const char *name)
{
    SL_ASSERT(name);
    sl_json_value result = {SL_JSON_NONE, {NULL, 0}}, key, value;
    sl_json_iter iter;
    if (object.type != SL_JSON_OBJECT)
        return result;
    sl_json_iter_init(&iter, object);
    while (sl_json_iter_next(&iter, &key, &value)) {
        if (sl_json_string_is(key, sl_str_c(name)))
            result = value;
    }
    return result;
}

size_t sl_json_count(sl_json_value container)
{
    size_t count = 0;
    sl_json_iter iter;
    sl_json_value value;
    sl_json_iter_init(&iter, container);
    while (sl_json_iter_next(&iter, NULL, &value))
        count++;
    return count;
}

/* ---- Converting ---- */

sl_str sl_json_string_raw(sl_json_value value)
{
    if (value.type != SL_JSON_STRING || value.raw.len < 2)
        return sl_str_of(NULL, 0);
    return sl_str_of(value.raw.ptr + 1, value.raw.len - 2);
}

/* Writes a code point as UTF-8; its length. */
static size_t put_utf8(unsigned code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    SL_ASSERT(code <= 0x10FFFF);
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

/* Decodes the escape at `*p` and moves behind it; the bytes it stands for, 0 when it is broken. */
static size_t decode_escape(const char **p, const char *end, char out[4])
{
    SL_ASSERT(p);
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *at = *p;
    size_t len = escape_length(at, end);
    if (len == 0)
        return 0;
    *p = at + len;
    if (len == 2) {
        out[0] = to[strchr(from, at[1]) - from];
        return 1;
    }
    unsigned code = (unsigned)hex4(at + 2, end);
    if (code >= 0xD800 && code <= 0xDBFF && end - at >= 12 && at[6] == '\\' && at[7] == 'u') {
        int low = hex4(at + 8, end);
        if (low >= 0xDC00 && low <= 0xDFFF) {
            *p = at + 12;
            return put_utf8(0x10000 + ((code - 0xD800) << 10) + ((unsigned)low - 0xDC00), out);
        }
    }
    return put_utf8(code >= 0xD800 && code <= 0xDFFF ? 0xFFFD : code, out);
}

bool sl_json_string_is(sl_json_value value, sl_str text)
{
    SL_ASSERT(text.ptr || !text.len);
    if (value.type != SL_JSON_STRING || value.raw.len < 2)
        return false;
    sl_str raw = sl_json_string_raw(value);
    if (sl_str_chr(raw, '\\') == SL_NPOS)
        return sl_str_eq(raw, text);
    const char *p = raw.ptr, *end = raw.ptr + raw.len;
    size_t at = 0;
    char out[4];
    while (p < end) {
        size_t len = 1;
        out[0] = *p;
        if (*p == '\\')
            len = decode_escape(&p, end, out);
        else
            p++;
        if (len == 0 || text.len - at < len || memcmp(text.ptr + at, out, len) != 0)
            return false;
        at += len;
    }
    return at == text.len;
}

int sl_json_unescape(sl_str raw, char *buffer, size_t size, size_t *ret_len)
{
    SL_ASSERT(ret_len && (buffer || size == 0));
    const char *p = raw.ptr, *end = raw.len ? raw.ptr + raw.len : raw.ptr;
    size_t at = 0;
    char out[4];
    while (p < end) {
        const char *slash = memchr(p, '\\', (size_t)(end - p));
        size_t plain = (size_t)((slash ? slash : end) - p);
        if (plain > size - at)
            return SL_ELIMIT;
        if (plain)
            memcpy(buffer + at, p, plain);
        at += plain;
        p += plain;
        if (p == end)
            break;
        size_t len = decode_escape(&p, end, out);
        if (len == 0)
            return SL_EPARSE;
        if (len > size - at || !buffer)
            return SL_ELIMIT;
        memcpy(buffer + at, out, len);
        at += len;
    }
    *ret_len = at;
    return 0;
}

int sl_json_string(sl_json_value value, char *buffer, size_t size, sl_str *ret_text)
{
    SL_ASSERT(ret_text);
    if (value.type != SL_JSON_STRING || value.raw.len < 2)
        return SL_EINVAL;
    sl_str raw = sl_json_string_raw(value);
    if (sl_str_chr(raw, '\\') == SL_NPOS) {
        *ret_text = raw;
        return 0;
    }
    size_t len = 0;
    int error = sl_json_unescape(raw, buffer, size, &len);
    if (!error)
        *ret_text = sl_str_of(buffer, len);
    return error;
}

int sl_json_double(sl_json_value value, double *ret_number)
{
    SL_ASSERT(ret_number);
    if (value.type != SL_JSON_NUMBER)
        return SL_EINVAL;
    return sl_str_to_double(value.raw, ret_number) == 0 ? 0 : SL_ELIMIT;
}

int sl_json_i64(sl_json_value value, int64_t *ret_number)
{
    SL_ASSERT(ret_number);
    if (value.type != SL_JSON_NUMBER)
        return SL_EINVAL;
    const char *raw = value.raw.ptr;
    bool plain = true, small = value.raw.len > 0 && value.raw.len <= SMALL_DIGITS;
    int64_t sum = 0;
    for (size_t i = 0; i < value.raw.len && plain; i++) {
        small = small && raw[i] >= '0' && raw[i] <= '9';
        plain = raw[i] != '.' && raw[i] != 'e' && raw[i] != 'E';
        sum = small ? sum * 10 + (raw[i] - '0') : 0;
    }
    if (SL_LIKELY(small)) {
        *ret_number = sum;
        return 0;
    }
    if (plain)
        return sl_str_to_i64(value.raw, ret_number);
    double number = 0;
    int error = sl_json_double(value, &number);
    if (error)
        return error;
    if (number <= -9007199254740992.0 || number >= 9007199254740992.0)
        return SL_ELIMIT;
    if ((double)(int64_t)number != number)
        return SL_EPARSE;
    *ret_number = (int64_t)number;
    return 0;
}

int sl_json_bool(sl_json_value value, bool *ret_bool)
{
    SL_ASSERT(ret_bool);
    if (value.type != SL_JSON_TRUE && value.type != SL_JSON_FALSE)
        return SL_EINVAL;
    *ret_bool = value.type == SL_JSON_TRUE;
    return 0;
}

const char *sl_json_type_name(sl_json_type type)
{
    static const char *const names[] = {"nothing",  "null",     "a boolean", "a boolean",
                                        "a number", "a string", "an array",  "an object"};
    SL_ASSERT((size_t)type < sizeof names / sizeof names[0]);
    return names[type];
}
