/* Suggestions by the number of letters that were left out, added or exchanged. */
#include "src/base/suggest.h"

#include "src/base/assert.h"

#define MAX_WORD 32

void sl_suggest_init(sl_suggestion *suggestion, sl_str word)
{
    SL_ASSERT(suggestion && (word.ptr || !word.len));
    suggestion->word = word;
    suggestion->best = NULL;
    suggestion->distance = word.len < 2 ? 1 : word.len < 5 ? 2 : 3; /* only what is nearer than this */
}

static unsigned least(unsigned a, unsigned b, unsigned c)
{
    unsigned two = a < b ? a : b;
    return two < c ? two : c;
}

/* Levenshtein's distance, one row at a time. */
static unsigned distance(sl_str a, sl_str b)
{
    SL_ASSERT(a.len <= MAX_WORD && b.len <= MAX_WORD);
    unsigned row[MAX_WORD + 1];
    for (unsigned j = 0; j <= b.len; j++)
        row[j] = j;
    for (unsigned i = 0; i < a.len; i++) {
        unsigned before = row[0];
        row[0] = i + 1;
        for (unsigned j = 0; j < b.len; j++) {
            unsigned here = row[j + 1];
            row[j + 1] = least(row[j] + 1, here + 1, before + (a.ptr[i] != b.ptr[j]));
            before = here;
        }
    }
    return row[b.len];
}

void sl_suggest_offer(sl_suggestion *suggestion, const char *name)
{
    SL_ASSERT(suggestion && name);
    sl_str known = sl_str_c(name);
    if (suggestion->word.len > MAX_WORD || known.len > MAX_WORD)
        return;
    unsigned far = distance(suggestion->word, known);
    if (far > 1 && suggestion->word.len >= 2 && sl_str_starts(known, suggestion->word))
        far = 1;
    if (far < suggestion->distance) {
        suggestion->distance = far;
        suggestion->best = name;
    }
}
