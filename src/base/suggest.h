/* The known word that an unknown one may have meant: for messages, never acted upon. */
#ifndef SL_BASE_SUGGEST_H
#define SL_BASE_SUGGEST_H

#include "src/base/str.h"

typedef struct sl_suggestion {
    sl_str word;      /* as it was typed */
    const char *best; /* NULL: nothing is near */
    unsigned distance;
} sl_suggestion;

/* Begins with the word; offer every known name, then look at `best`. */
void sl_suggest_init(sl_suggestion *suggestion, sl_str word);
/* `name` must outlive the suggestion. A name that the word begins, or that is one or two slips away, is near. */
void sl_suggest_offer(sl_suggestion *suggestion, const char *name);

#endif
