/* The memory of a sequence: one stretch of known tokens. */
#include "src/probe/seq_memory.h"

static int32_t known_end(const sl_track_seq *seq)
{
    SL_ASSERT(seq->base >= 0);
    return seq->base + (int32_t)seq->len;
}

/* From `pos` on nothing is known. */
static void forget_from(sl_track_seq *seq, int32_t pos)
{
    if (pos < 0)
        pos = 0;
    if (pos <= seq->base) {
        seq->base = pos;
        seq->len = 0;
    } else if (pos < known_end(seq)) {
        seq->len = (uint32_t)(pos - seq->base);
    }
}

/* Room for `n` tokens more behind the known ones. False: none, and nothing is known any more. */
static bool make_room(sl_probe_assembler *a, sl_track_seq *seq, uint32_t n)
{
    uint64_t wanted = (uint64_t)seq->len + n;
    if (wanted <= seq->cap)
        return true;
    uint64_t cap = wanted < 256 ? 256 : wanted + wanted / 2;
    int32_t *tokens = NULL;
    if (a->tokens_kept - seq->cap + cap <= SL_PROBE_MAX_TOKENS)
        tokens = sl_realloc(seq->tokens, (size_t)cap * sizeof *tokens);
    if (!tokens) {
        a->stats.left_out++;
        return false;
    }
    a->tokens_kept += cap - seq->cap;
    seq->tokens = tokens;
    seq->cap = (uint32_t)cap;
    return true;
}

void sl_seq_memory_put(sl_probe_assembler *a, sl_track_seq *seq, int32_t pos, const int32_t *tokens, uint32_t n)
{
    SL_ASSERT(a && seq && pos >= 0);
    if (n > (uint32_t)(INT32_MAX - 1 - pos))
        n = (uint32_t)(INT32_MAX - 1 - pos);
    forget_from(seq, pos);
    if (known_end(seq) != pos || !tokens || !make_room(a, seq, n)) {
        seq->len = 0;
        seq->base = tokens && pos == 0 && seq->cap >= n ? 0 : pos + (int32_t)n;
        if (tokens && seq->cap >= n && n) { /* a gap in front: known from here on */
            memcpy(seq->tokens, tokens, n * sizeof *tokens);
            seq->base = pos;
            seq->len = n;
        }
    } else if (n) {
        memcpy(seq->tokens + seq->len, tokens, n * sizeof *tokens);
        seq->len += n;
    }
    seq->next_pos = pos + (int32_t)n;
    SL_ASSERT(known_end(seq) <= seq->next_pos && seq->len <= seq->cap);
}

void sl_seq_memory_remove(sl_track_seq *seq, int32_t p0, int32_t p1)
{
    SL_ASSERT(seq);
    if (p0 < 0)
        p0 = 0;
    if (p1 < 0 || p1 >= seq->next_pos) {
        if (p0 < seq->next_pos)
            seq->next_pos = p0;
        forget_from(seq, p0);
    } else if (p1 > p0) { /* in the midst: what is behind stays where it is */
        int32_t cut = p1 < known_end(seq) ? p1 : known_end(seq);
        if (cut > seq->base) {
            uint32_t gone = (uint32_t)(cut - seq->base);
            memmove(seq->tokens, seq->tokens + gone, (seq->len - gone) * sizeof *seq->tokens);
            seq->len -= gone;
            seq->base = cut;
        }
        if (seq->base < p1 && !seq->len)
            seq->base = p1;
    }
    seq->removed = true;
    if (seq->next_pos == 0)
        seq->had_output = false;
}

void sl_seq_memory_shift(sl_track_seq *seq, int32_t p0, int32_t p1, int32_t delta)
{
    SL_ASSERT(seq);
    bool to_end = p1 < 0 || p1 >= seq->next_pos;
    if (p0 < 0)
        p0 = 0;
    if (p0 >= seq->next_pos)
        return;
    if (!to_end) { /* a piece moves (reuse of a cache): what lies from there on is not known any more */
        int64_t lowest = delta < 0 ? (int64_t)p0 + delta : p0;
        forget_from(seq, lowest > 0 ? (int32_t)lowest : 0);
        seq->removed = true;
        return;
    }
    int64_t end = (int64_t)seq->next_pos + delta, base = (int64_t)seq->base + delta;
    if (end < 0 || end >= INT32_MAX) {
        sl_seq_memory_unknown(seq);
        return;
    }
    seq->next_pos = (int32_t)end;
    if (p0 <= seq->base && base >= 0 && seq->len) { /* what is known moves as a whole */
        seq->base = (int32_t)base;
        return;
    }
    seq->len = 0;
    seq->base = seq->next_pos;
}

void sl_seq_memory_copy(sl_probe_assembler *a, sl_track_seq *to, const sl_track_seq *from)
{
    SL_ASSERT(a && to && from && to != from);
    to->len = 0;
    to->base = from->base;
    if (from->len && make_room(a, to, from->len)) {
        memcpy(to->tokens, from->tokens, from->len * sizeof *from->tokens);
        to->len = from->len;
    } else {
        to->base = from->next_pos;
    }
    to->next_pos = from->next_pos;
    to->had_output = from->had_output;
    to->removed = false;
}

void sl_seq_memory_unknown(sl_track_seq *seq)
{
    SL_ASSERT(seq);
    seq->len = 0;
    seq->base = seq->next_pos;
    seq->removed = true;
}

void sl_seq_memory_done(sl_probe_assembler *a, sl_track_seq *seq)
{
    SL_ASSERT(a && seq && a->tokens_kept >= seq->cap);
    a->tokens_kept -= seq->cap;
    sl_free(seq->tokens);
    seq->tokens = NULL;
    seq->len = seq->cap = 0;
}

bool sl_seq_memory_is(const sl_track_seq *seq, int32_t pos, const int32_t *prompt, uint32_t n, uint32_t *ret_compared)
{
    SL_ASSERT(seq && ret_compared && pos >= 0);
    *ret_compared = 0;
    int64_t from = seq->base, to = known_end(seq) < pos ? known_end(seq) : pos;
    if (to > (int64_t)n)
        to = n;
    if (from >= to)
        return true;
    if (memcmp(seq->tokens, prompt + from, (size_t)(to - from) * sizeof *prompt) != 0)
        return false;
    *ret_compared = (uint32_t)(to - from);
    return true;
}
