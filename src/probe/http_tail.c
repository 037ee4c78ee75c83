/* Reading JSON from its end. */
#include "src/probe/http_tail.h"

#include <stddef.h>

#include "src/base/assert.h"

#define WORD_MAX 64u /* of a value that is kept */

struct out {
    char *room;
    size_t at; /* what is kept begins here */
};

static bool put(struct out *out, sl_str text)
{
    if (text.len > out->at)
        return false;
    out->at -= text.len;
    if (text.len)
        memcpy(out->room + out->at, text.ptr, text.len);
    return true;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool is_letter(char c)
{
    c = sl_ascii_lower(c);
    return (c >= 'a' && c <= 'z') || c == '_';
}

/* Words that stand outside of strings in JSON and in the lines of server-sent events. */
static bool is_known_word(sl_str word)
{
    static const char *const words[] = {"true", "false", "null", "data", "event", "id", "DONE", "e", "E"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (sl_str_eq_c(word, words[i]))
            return true;
    }
    return false;
}

static bool is_kept_member(sl_str name)
{
#define TEST_WORD(text)                                                                                                \
    if (sl_str_eq(name, SL_STR(text)))                                                                                 \
        return true;
    SL_HTTP_TAIL_WORDS(TEST_WORD)
#undef TEST_WORD
    return false;
}

/* A word of a protocol: letters, digits and a few signs. */
static bool is_plain(sl_str value)
{
    static const char signs[] = {'-', '.', ':', '/', '+'};
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        if (!is_letter(c) && !(c >= '0' && c <= '9') && !memchr(signs, c, sizeof signs))
            return false;
    }
    return value.len <= WORD_MAX;
}

/* Index of the quote that opens the string whose closing quote is at `close`; SL_NPOS when it is not in the text. */
static size_t opening_quote(sl_str text, size_t close)
{
    for (size_t end = close; end > 0;) {
        const char *quote = memrchr(text.ptr, '"', end);
        if (!quote || memchr(quote, '\n', end - (size_t)(quote - text.ptr)))
            return SL_NPOS; /* no line ends within a string: then the count of quotes was broken */
        size_t at = (size_t)(quote - text.ptr), slashes = 0;
        while (slashes < at && quote[-1 - (ptrdiff_t)slashes] == '\\')
            slashes++;
        if (slashes % 2 == 0)
            return at;
        end = at;
    }
    return SL_NPOS;
}

/* Name of the member whose value begins at `at`; empty when it is not a member's value. */
static sl_str member_name(sl_str text, size_t at)
{
    size_t i = at;
    while (i > 0 && is_space(text.ptr[i - 1]))
        i--;
    if (i == 0 || text.ptr[i - 1] != ':')
        return sl_str_of(NULL, 0);
    i--;
    while (i > 0 && is_space(text.ptr[i - 1]))
        i--;
    if (i == 0 || text.ptr[i - 1] != '"')
        return sl_str_of(NULL, 0);
    size_t open = opening_quote(text, i - 1);
    return open == SL_NPOS ? sl_str_of(NULL, 0) : sl_str_sub(text, open + 1, i - 1 - (open + 1));
}

/* Takes the string that ends in front of `*at`. False at the end of what can be kept. */
static bool take_string(struct out *out, sl_str text, size_t *at, char next)
{
    size_t close = *at - 1, open = opening_quote(text, close);
    if (open == SL_NPOS)
        return false;
    sl_str whole = sl_str_sub(text, open, close + 1 - open);
    sl_str value = sl_str_sub(text, open + 1, close - open - 1);
    bool keep = next == ':' ? is_plain(value) : is_plain(value) && is_kept_member(member_name(text, open));
    *at = open;
    return put(out, keep ? whole : SL_STR("\"\""));
}

/* Takes the word, or the single character, that ends in front of `*at`. */
static bool take_plain(struct out *out, sl_str text, size_t *at)
{
    size_t end = *at, begin = end - 1;
    if (!is_letter(text.ptr[begin])) {
        unsigned char c = (unsigned char)text.ptr[begin];
        *at = begin;
        return (c >= 0x7f || (c < 0x20 && c != '\n')) ? true : put(out, sl_str_sub(text, begin, 1));
    }
    while (begin > 0 && is_letter(text.ptr[begin - 1]))
        begin--;
    sl_str word = sl_str_sub(text, begin, end - begin);
    *at = begin;
    return is_known_word(word) ? put(out, word) : true;
}

sl_str sl_http_tail_keep(sl_str body, char *room, size_t size)
{
    SL_ASSERT(room || size == 0);
    SL_ASSERT(body.ptr || body.len == 0);
    struct out out = {room, size};
    char next = 0; /* the character behind, white space left out */
    for (size_t at = body.len; at > 0;) {
        char c = body.ptr[at - 1];
        bool more = c == '"' ? take_string(&out, body, &at, next) : take_plain(&out, body, &at);
        if (!more)
            break;
        if (!is_space(c))
            next = c;
    }
    return sl_str_of(room + out.at, size - out.at);
}
