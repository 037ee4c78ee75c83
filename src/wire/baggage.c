/*
 * W3C Baggage: a bounded set of members and its header. A member is kept whole or not at all; the sum of what the
 * members take in a header never exceeds SL_MAX_BAGGAGE_BYTES, so that formatting always succeeds.
 * Does not know threads: who is current is the SDK's business.
 * Source: W3C Baggage; RFC 7230 section 3.2.6 (token).
 */
#include <sightline/context.h>

#include "src/base/assert.h"
#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/wire/pct.h"

/* One block of memory: key, value, metadata, one behind the other. */
typedef struct baggage_member {
    char *text;
    size_t key_len;
    size_t value_len;
    size_t metadata_len;
    size_t header_len; /* in the header, without comma */
} baggage_member;

struct sl_baggage {
    size_t count;
    size_t header_len; /* of the members, with commas */
    baggage_member members[SL_MAX_BAGGAGE_MEMBERS];
};

static sl_str key_of(const baggage_member *m)
{
    SL_ASSERT(m);
    return sl_str_of(m->text, m->key_len);
}

static sl_str value_of(const baggage_member *m)
{
    SL_ASSERT(m);
    return sl_str_of(m->text + m->key_len, m->value_len);
}

static sl_str metadata_of(const baggage_member *m)
{
    SL_ASSERT(m);
    return sl_str_of(m->text + m->key_len + m->value_len, m->metadata_len);
}

/* ---- Grammar ---- */

static bool is_token(sl_str s)
{
    SL_ASSERT(s.ptr || !s.len);
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alnum && (c == '\0' || !strchr("!#$%&'*+-.^_`|~", c)))
            return false;
    }
    return s.len > 0;
}

static bool is_octets(sl_str s)
{
    SL_ASSERT(s.ptr || !s.len);
    for (size_t i = 0; i < s.len; i++) {
        if (!sl_pct_baggage((unsigned char)s.ptr[i]) && s.ptr[i] != '%')
            return false;
    }
    return true;
}

/* Splits "a = b" around the first '='; false when there is none. */
static bool split_pair(sl_str text, sl_str *ret_key, sl_str *ret_value)
{
    SL_ASSERT(ret_key && ret_value);
    size_t equals = sl_str_chr(text, '=');
    *ret_key = sl_str_trim(sl_str_sub(text, 0, equals == SL_NPOS ? text.len : equals));
    *ret_value = equals == SL_NPOS ? sl_str_of(NULL, 0) : sl_str_trim(sl_str_sub(text, equals + 1, text.len));
    return equals != SL_NPOS;
}

/*
 * Writes the properties without optional white space, those that are malformed left out, to `out` (at least
 * metadata.len bytes). False when one was malformed.
 */
static bool clean_properties(sl_str metadata, char *out, size_t *ret_len)
{
    SL_ASSERT(ret_len && (metadata.ptr || !metadata.len));
    bool good = true;
    size_t len = 0;
    sl_str part, key, value;
    while (sl_str_split(&metadata, ';', &part)) {
        part = sl_str_trim(part);
        if (part.len == 0)
            continue;
        bool pair = split_pair(part, &key, &value);
        if (!is_token(key) || !is_octets(value)) {
            good = false;
            continue;
        }
        if (len)
            out[len++] = ';';
        memcpy(out + len, key.ptr, key.len);
        len += key.len;
        if (pair)
            out[len++] = '=';
        if (value.len)
            memcpy(out + len, value.ptr, value.len);
        len += value.len;
    }
    *ret_len = len;
    return good;
}

/* ---- The set ---- */

sl_baggage *sl_baggage_new(void)
{
    return sl_calloc(1, sizeof(sl_baggage));
}

void sl_baggage_free(sl_baggage *baggage)
{
    if (!baggage)
        return;
    for (size_t i = 0; i < baggage->count; i++)
        sl_free(baggage->members[i].text);
    sl_free(baggage);
}

sl_baggage *sl_baggage_copy(const sl_baggage *baggage)
{
    sl_baggage *copy = sl_baggage_new();
    if (!copy || !baggage)
        return copy;
    for (size_t i = 0; i < baggage->count; i++) {
        const baggage_member *m = &baggage->members[i];
        copy->members[i] = *m;
        copy->members[i].text = sl_strndup(m->text, m->key_len + m->value_len + m->metadata_len);
        if (!copy->members[i].text) {
            sl_baggage_free(copy);
            return NULL;
        }
        copy->count++;
    }
    copy->header_len = baggage->header_len;
    return copy;
}

static size_t find(const sl_baggage *baggage, sl_str key)
{
    for (size_t i = 0; baggage && i < baggage->count; i++) {
        if (sl_str_eq(key_of(&baggage->members[i]), key))
            return i;
    }
    return SL_NPOS;
}

/* Puts a finished member in its place, or frees it when it does not fit. */
static int place(sl_baggage *baggage, baggage_member m)
{
    SL_ASSERT(baggage);
    size_t index = find(baggage, key_of(&m));
    bool fresh = index == SL_NPOS;
    size_t rest = baggage->header_len - (fresh ? 0 : baggage->members[index].header_len);
    size_t comma = fresh && baggage->count ? 1 : 0;
    if (rest + comma + m.header_len > SL_MAX_BAGGAGE_BYTES || (fresh && baggage->count == SL_MAX_BAGGAGE_MEMBERS)) {
        sl_free(m.text);
        return SL_ELIMIT;
    }
    if (fresh)
        index = baggage->count++;
    else
        sl_free(baggage->members[index].text);
    baggage->members[index] = m;
    baggage->header_len = rest + comma + m.header_len;
    return 0;
}

/* `value` is decoded text, repaired here. `strict`: malformed properties are an error, not left out. */
static int set(sl_baggage *baggage, sl_str key, sl_str value, sl_str metadata, bool strict)
{
    SL_ASSERT((key.ptr || !key.len) && (value.ptr || !value.len) && (metadata.ptr || !metadata.len));
    size_t most = SL_MAX_BAGGAGE_BYTES;
    if (key.len > most || value.len > most || metadata.len > most)
        return SL_ELIMIT;
    baggage_member m = {NULL, key.len, sl_utf8_repair(value, NULL), 0, 0};
    m.text = sl_malloc(m.key_len + m.value_len + metadata.len + 1);
    if (!m.text)
        return SL_ENOMEM;
    memcpy(m.text, key.ptr, key.len);
    (void)sl_utf8_repair(value, m.text + m.key_len);
    if (!clean_properties(metadata, m.text + m.key_len + m.value_len, &m.metadata_len) && strict) {
        sl_free(m.text);
        return SL_EINVAL;
    }
    m.header_len = m.key_len + 1 + sl_pct_encoded_len(value_of(&m), sl_pct_baggage);
    m.header_len += m.metadata_len ? 1 + m.metadata_len : 0;
    return place(baggage, m);
}

int sl_baggage_set(sl_baggage *baggage, sl_str key, sl_str value, sl_str metadata)
{
    if (!baggage || !is_token(key))
        return SL_EINVAL;
    return set(baggage, key, value, metadata, true);
}

void sl_baggage_remove(sl_baggage *baggage, sl_str key)
{
    size_t index = find(baggage, key);
    if (index == SL_NPOS)
        return;
    baggage_member *m = &baggage->members[index];
    baggage->header_len -= m->header_len + (baggage->count > 1 ? 1 : 0);
    sl_free(m->text);
    baggage->count--;
    memmove(m, m + 1, (baggage->count - index) * sizeof *m);
}

sl_str sl_baggage_get(const sl_baggage *baggage, sl_str key)
{
    size_t index = find(baggage, key);
    return index == SL_NPOS ? sl_str_of(NULL, 0) : value_of(&baggage->members[index]);
}

size_t sl_baggage_count(const sl_baggage *baggage)
{
    return baggage ? baggage->count : 0;
}

int sl_baggage_at(const sl_baggage *baggage, size_t index, sl_str *ret_key, sl_str *ret_value, sl_str *ret_metadata)
{
    if (!baggage || index >= baggage->count)
        return SL_ENOENT;
    const baggage_member *m = &baggage->members[index];
    if (ret_key)
        *ret_key = key_of(m);
    if (ret_value)
        *ret_value = value_of(m);
    if (ret_metadata)
        *ret_metadata = metadata_of(m);
    return 0;
}

/* ---- The header ---- */

/* Reads one list-member. SL_EPARSE, SL_ELIMIT: it is left out. */
static int parse_member(sl_baggage *baggage, sl_str text)
{
    size_t semicolon = sl_str_chr(text, ';');
    sl_str metadata = semicolon == SL_NPOS ? sl_str_of(NULL, 0) : sl_str_sub(text, semicolon + 1, text.len);
    sl_str key, value;
    if (!split_pair(sl_str_sub(text, 0, semicolon), &key, &value) || !is_token(key) || !is_octets(value))
        return SL_EPARSE;
    if (value.len > 3 * SL_MAX_BAGGAGE_BYTES)
        return SL_ELIMIT;
    char *decoded = sl_malloc(value.len + 1);
    if (!decoded)
        return SL_ENOMEM;
    size_t len = sl_pct_decode(value, decoded);
    int error = set(baggage, key, sl_str_of(decoded, len), metadata, false);
    sl_free(decoded);
    return error;
}

int sl_baggage_parse(sl_str header, sl_baggage **ret_baggage)
{
    if (!ret_baggage)
        return SL_EINVAL;
    sl_baggage *baggage = sl_baggage_new();
    if (!baggage)
        return SL_ENOMEM;
    sl_str part;
    int error = 0;
    while (error != SL_ENOMEM && sl_str_split(&header, ',', &part))
        error = parse_member(baggage, part);
    if (error == SL_ENOMEM || baggage->count == 0) {
        sl_baggage_free(baggage);
        return error == SL_ENOMEM ? error : SL_EPARSE;
    }
    *ret_baggage = baggage;
    return 0;
}

int sl_baggage_format(const sl_baggage *baggage, char *text, size_t size, size_t *ret_len)
{
    if (!ret_len || (!text && size))
        return SL_EINVAL;
    size_t at = 0;
    if (baggage && baggage->header_len > size)
        return SL_ELIMIT;
    for (size_t i = 0; text && baggage && i < baggage->count; i++) {
        const baggage_member *m = &baggage->members[i];
        if (i)
            text[at++] = ',';
        memcpy(text + at, m->text, m->key_len);
        at += m->key_len;
        text[at++] = '=';
        at += sl_pct_encode(value_of(m), sl_pct_baggage, text + at);
        if (m->metadata_len) {
            text[at++] = ';';
            memcpy(text + at, metadata_of(m).ptr, m->metadata_len);
            at += m->metadata_len;
        }
    }
    SL_ASSERT(!baggage || at == baggage->header_len);
    *ret_len = at;
    return 0;
}
