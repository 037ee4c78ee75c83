/* Secrets in keys and texts. */
#include "src/wire/redact.h"

#include "src/base/assert.h"

#define MAX_WORDS 16
#define MAX_URL (64u * 1024)
#define MAX_CUT_WORD 1024u
#define MAX_NAME 128 /* longest name looked at in "name=value" */

/* ---- Keys ---- */

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alnum(char c)
{
    return is_lower(c) || is_upper(c) || is_digit(c);
}

/* Splits a key into words: at anything but letters and digits, and where a capital follows a small letter. */
static size_t split_words(sl_str key, sl_str words[MAX_WORDS])
{
    SL_ASSERT(key.ptr || !key.len);
    size_t count = 0, start = 0;
    for (size_t i = 0; i <= key.len && count < MAX_WORDS; i++) {
        bool end = i == key.len || !is_alnum(key.ptr[i]);
        bool turn = !end && i > start && is_upper(key.ptr[i]) && !is_upper(key.ptr[i - 1]);
        if ((end || turn) && i > start)
            words[count++] = sl_str_sub(key, start, i - start);
        if (end)
            start = i + 1;
        else if (turn)
            start = i;
    }
    return count;
}

static bool one_of(sl_str word, const char *const *list)
{
    for (; *list; list++) {
        if (sl_str_ieq(word, sl_str_c(*list)))
            return true;
    }
    return false;
}

static const char *const secret_words[] = {"password",      "passwords",   "passwd",    "pwd",          "passphrase",
                                           "passcode",      "secret",      "secrets",   "apikey",       "apikeys",
                                           "apitoken",      "cookie",      "cookies",   "bearer",       "credential",
                                           "credentials",   "privatekey",  "accesskey", "secretkey",    "jwt",
                                           "authorization", "accesstoken", "authtoken", "refreshtoken", "sessiontoken",
                                           "clientsecret",  "xapikey",     "masterkey", "setcookie",    NULL};
/* Words that make a following "key" or "keys" a secret. */
static const char *const key_kinds[] = {"api",     "private", "access",  "secret", "signing", "encryption",
                                        "master",  "auth",    "virtual", "ssh",    "shared",  "subscription",
                                        "license", "account", "storage", NULL};
/* Neighbours of "token" that show a count, a kind or a position. */
static const char *const before_count[] = {
    "max", "min", "per", "input", "output", "prompt", "completion", "total",     "first", "next",  "last", "eos",
    "bos", "pad", "unk", "stop",  "num",    "n",      "cached",     "reasoning", "each",  "inter", NULL};
static const char *const after_count[] = {"count",  "counts", "type", "types",   "usage", "limit", "limits",
                                          "budget", "rate",   "cost", "latency", "ids",   "index", "time",
                                          "length", "max",    "min",  "per",     "size",  NULL};

static bool token_is_secret(const sl_str *words, size_t count, size_t i)
{
    SL_ASSERT(words || !count);
    if (i > 0 && one_of(words[i - 1], before_count))
        return false;
    return i + 1 >= count || !one_of(words[i + 1], after_count);
}

bool sl_key_is_sensitive(sl_str key)
{
    sl_str words[MAX_WORDS];
    size_t count = split_words(key, words);
    for (size_t i = 0; i < count; i++) {
        if (one_of(words[i], secret_words))
            return true;
        if (sl_str_ieq(words[i], SL_STR("token")) && token_is_secret(words, count, i))
            return true;
        bool is_key = sl_str_ieq(words[i], SL_STR("key")) || sl_str_ieq(words[i], SL_STR("keys"));
        if (is_key && i > 0 && one_of(words[i - 1], key_kinds))
            return true;
    }
    return false;
}

/* ---- Texts ---- */

static bool is_key_char(char c)
{
    return is_alnum(c) || c == '-' || c == '_';
}

static size_t run(sl_str s, size_t from, bool (*accept)(char))
{
    SL_ASSERT(s.ptr || !s.len);
    size_t i = from;
    while (i < s.len && accept(s.ptr[i]))
        i++;
    return i - from;
}

/* Prefixes of API keys, with the least number of characters that follow. */
static const struct {
    const char *prefix;
    size_t least;
} shapes[] = {{"sk-", 6},   {"pk-lf-", 8},          {"sk_live_", 8},     {"sk_test_", 8}, {"rk_live_", 8},
              {"AKIA", 16}, {"ASIA", 16},           {"AIza", 30},        {"ghp_", 20},    {"gho_", 20},
              {"ghs_", 20}, {"ghu_", 20},           {"github_pat_", 20}, {"glpat-", 16},  {"hf_", 16},
              {"gsk_", 16}, {"xai-", 16},           {"xoxb-", 10},       {"xoxp-", 10},   {"xoxa-", 10},
              {"r8_", 20},  {"pplx-", 16},          {"nvapi-", 16},      {"tvly-", 12},   {"fw_", 20},
              {"ls__", 16}, {"AGE-SECRET-KEY-", 10}};

/* Length of an API key that begins at `at`, or 0. */
static size_t shaped_key(sl_str s, size_t at)
{
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        sl_str prefix = sl_str_c(shapes[i].prefix);
        if (!sl_str_starts(sl_str_sub(s, at, s.len), prefix))
            continue;
        size_t more = run(s, at + prefix.len, is_key_char);
        if (more >= shapes[i].least)
            return prefix.len + more;
    }
    return 0;
}

/*
 * Length of a JSON Web Token: three parts of base64url, the first an object. `*dead`: where the last run that was none
 * ends; a later start in the same run is none either, and looking again would make long runs quadratic.
 */
static size_t web_token(sl_str s, size_t at, size_t *dead)
{
    SL_ASSERT(dead && (s.ptr || !s.len));
    if (at < *dead || !sl_str_starts(sl_str_sub(s, at, s.len), SL_STR("eyJ")))
        return 0;
    size_t head = run(s, at, is_key_char);
    bool dot = at + head < s.len && s.ptr[at + head] == '.';
    size_t body = dot ? run(s, at + head + 1, is_key_char) : 0;
    if (head < 8 || body < 4) {
        *dead = at + head;
        return 0;
    }
    size_t len = head + 1 + body;
    if (at + len < s.len && s.ptr[at + len] == '.')
        len += 1 + run(s, at + len + 1, is_key_char);
    return len;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_credential_char(char c)
{
    return is_key_char(c) || c == '.' || c == '~' || c == '+' || c == '/' || c == '=' || c == '%' || c == ':';
}

/* "Bearer " or "Basic " at `at`, any case: its length with the blanks, else 0. */
static size_t scheme(sl_str s, size_t at)
{
    static const char *const schemes[] = {"bearer", "basic"};
    for (size_t i = 0; i < 2; i++) {
        sl_str name = sl_str_c(schemes[i]);
        size_t blanks = run(s, at + name.len <= s.len ? at + name.len : s.len, is_blank);
        if (blanks && sl_str_ieq(sl_str_sub(s, at, name.len), name))
            return name.len + blanks;
    }
    return 0;
}

/* Length of the credential behind a scheme; "basic auth failed" is prose, so the shape must be that of a token. */
static size_t scheme_value(sl_str s, size_t at)
{
    SL_ASSERT(s.ptr || !s.len);
    size_t len = run(s, at, is_credential_char);
    size_t marks = 0;
    for (size_t i = at; i < at + len; i++)
        marks += !is_lower(s.ptr[i]);
    return len >= 4 && (marks > 0 || len >= 16) ? len : 0;
}

static bool is_name_char(char c)
{
    return is_key_char(c) || c == '.';
}

static bool ends_value(char c)
{
    return c == '&' || c == ',' || c == ';' || c == '"' || c == '\'' || c == '}' || c == ']' || c == ')' || c == '>' ||
           c == '\\' || (unsigned char)c <= ' ';
}

static size_t skip_quote(sl_str s, size_t at)
{
    SL_ASSERT(s.ptr || !s.len);
    if (at + 1 < s.len && s.ptr[at] == '\\')
        at++;
    return at < s.len && (s.ptr[at] == '"' || s.ptr[at] == '\'') ? at + 1 : at;
}

/* Where a value ends that begins at `from` behind `quote` (0: none), which stood behind a backslash when `escaped`. */
static size_t value_end(sl_str s, size_t from, char quote, bool escaped)
{
    SL_ASSERT(s.ptr || !s.len);
    size_t i = from;
    if (!quote) {
        while (i < s.len && !ends_value(s.ptr[i]))
            i++;
        return i;
    }
    while (i < s.len && s.ptr[i] != quote && !(escaped && s.ptr[i] == '\\'))
        i += s.ptr[i] == '\\' ? 2 : 1;
    return i < s.len ? i : s.len;
}

static bool ends_in(sl_str name, sl_str word)
{
    return name.len >= word.len && sl_str_ieq(sl_str_sub(name, name.len - word.len, word.len), word);
}

/* Where a header line ends whose name begins at `at`: with the line, or with the quotes that stand around it. */
static size_t header_end(sl_str s, size_t at, size_t from)
{
    SL_ASSERT(from <= s.len);
    char quote = at > 0 && (s.ptr[at - 1] == '"' || s.ptr[at - 1] == '\'') ? s.ptr[at - 1] : '\n';
    size_t i = from;
    while (i < s.len && s.ptr[i] != '\r' && s.ptr[i] != '\n' && s.ptr[i] != quote)
        i++;
    return i;
}

/*
 * name=value or name: value with a sensitive name at `at`: the span of the value, without "Bearer" or "Basic" in front.
 * False when there is none.
 */
static bool assignment(sl_str s, size_t at, size_t *ret_from, size_t *ret_to)
{
    SL_ASSERT(ret_from && ret_to && (s.ptr || !s.len));
    size_t name_len = run(sl_str_sub(s, 0, at + MAX_NAME), at, is_name_char);
    sl_str name = sl_str_sub(s, at, name_len);
    size_t i = skip_quote(s, at + name_len);
    i += run(s, i, is_blank);
    if (name_len == 0 || i >= s.len || (s.ptr[i] != '=' && s.ptr[i] != ':') ||
        sl_str_starts(sl_str_sub(s, i, 3), SL_STR("://")))
        return false;
    bool query_key = sl_str_ieq(name, SL_STR("key")) && at > 0 && (s.ptr[at - 1] == '?' || s.ptr[at - 1] == '&');
    if (!query_key && !sl_key_is_sensitive(name))
        return false;
    bool header = s.ptr[i] == ':' && (ends_in(name, SL_STR("authorization")) || ends_in(name, SL_STR("cookie")));
    i += 1 + run(s, i + 1, is_blank);
    size_t from = skip_quote(s, i);
    char quote = from > i ? s.ptr[from - 1] : '\0';
    bool escaped = from > i + 1;
    size_t known = scheme(s, from);
    from += known;
    bool line = header && !quote && !known;
    size_t to = line ? header_end(s, at, from) : value_end(s, from, quote, escaped);
    *ret_from = from;
    *ret_to = to;
    return to > from;
}

static bool is_userinfo(char c)
{
    return (unsigned char)c > ' ' && c != '/' && c != '@' && c != '?' && c != '#' && c != '"' && c != '<' && c != '>';
}

/* "://user:password@" at `at`: length of the user information, else 0. */
static size_t userinfo(sl_str s, size_t at)
{
    SL_ASSERT(s.ptr || !s.len);
    if (!sl_str_starts(sl_str_sub(s, at, 3), SL_STR("://")))
        return 0;
    size_t len = run(s, at + 3, is_userinfo);
    return at + 3 + len < s.len && s.ptr[at + 3 + len] == '@' ? len : 0;
}

/* Length of a private key in PEM that begins at `at`; without its end, of all that follows. */
static size_t pem_key(sl_str s, size_t at)
{
    static const sl_str begin = {"-----BEGIN ", 11}, label = {"PRIVATE KEY-----", 16}, end = {"-----END ", 9};
    sl_str rest = sl_str_sub(s, at, s.len);
    if (!sl_str_starts(rest, begin))
        return 0;
    size_t kind = sl_str_find(sl_str_sub(rest, 0, begin.len + 32), label);
    if (kind == SL_NPOS)
        return 0;
    size_t last = sl_str_find(rest, end);
    size_t behind = last == SL_NPOS ? SL_NPOS : sl_str_find(sl_str_sub(rest, last, 64), label);
    return behind == SL_NPOS ? rest.len : last + behind + label.len;
}

/* Finds a secret whose surroundings begin at `at`: from..to is masked. */
static bool secret_at(sl_str s, size_t at, bool word_start, size_t *dead, size_t *ret_from, size_t *ret_to)
{
    SL_ASSERT(ret_from && ret_to);
    size_t len = userinfo(s, at);
    *ret_from = at + 3;
    *ret_to = at + 3 + len;
    if (len)
        return true;
    len = s.ptr[at] == '-' ? pem_key(s, at) : 0;
    *ret_from = at;
    *ret_to = at + len;
    if (len || !word_start)
        return len > 0;
    len = shaped_key(s, at);
    if (!len)
        len = web_token(s, at, dead);
    *ret_from = at;
    *ret_to = at + len;
    if (len)
        return true;
    len = scheme(s, at);
    size_t value = len ? scheme_value(s, at + len) : 0;
    *ret_from = at + len;
    *ret_to = at + len + value;
    return value || assignment(s, at, ret_from, ret_to);
}

int sl_redact_text(sl_str in, sl_buf *out)
{
    SL_ASSERT(out);
    size_t copied = 0, i = 0, dead = 0;
    int error = 0;
    while (i < in.len && !error) {
        size_t from, to;
        bool word_start = is_alnum(in.ptr[i]) && (i == 0 || !is_alnum(in.ptr[i - 1]));
        if (!secret_at(in, i, word_start, &dead, &from, &to)) {
            i++;
            continue;
        }
        SL_ASSERT(copied <= from && from < to && to <= in.len);
        error = sl_buf_put(out, in.ptr + copied, from - copied);
        if (!error)
            error = sl_buf_put_c(out, SL_REDACTED);
        copied = i = to;
    }
    return error ? error : sl_buf_put_str(out, sl_str_sub(in, copied, in.len));
}

int sl_redact_beginning(sl_str in, size_t max, sl_buf *out)
{
    SL_ASSERT(out && max > MAX_CUT_WORD);
    if (in.len > max) {
        size_t len = sl_utf8_prefix(in, max), word = 0;
        while (word < MAX_CUT_WORD && !strchr(" \t\r\n", in.ptr[len - word - 1]))
            word++;
        in.len = word < MAX_CUT_WORD ? len - word : len;
    }
    return sl_redact_text(in, out);
}

/* ---- addresses ---- */

void sl_redact_url(sl_str url, char *ret_text, size_t size)
{
    SL_ASSERT(ret_text && size > sizeof SL_REDACTED);
    sl_buf masked;
    sl_buf_init(&masked, MAX_URL);
    size_t colon = sl_str_find(url, SL_STR("://")), from = colon == SL_NPOS ? 0 : colon + 3, at = url.len;
    while (at > from && url.ptr[at - 1] != '@')
        at--;
    int error = 0;
    if (at > from) {
        error = sl_buf_put_str(&masked, sl_str_sub(url, 0, from));
        if (!error)
            error = sl_buf_put_c(&masked, SL_REDACTED "@");
    } else {
        at = 0;
    }
    if (!error)
        error = sl_redact_text(sl_str_sub(url, at, url.len), &masked);
    sl_str text = error ? SL_STR(SL_REDACTED) : sl_buf_str(&masked);
    text.len = sl_utf8_prefix(text, size - 1);
    bool fits = sl_str_to_c(text, ret_text, size);
    SL_ASSERT(fits);
    (void)fits;
    sl_buf_done(&masked);
}
