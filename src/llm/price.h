/*
 * What calls cost: list prices of public models as a table (price.def), and the sum for what a call has used.
 *
 * Promises: tokens read from and written to a provider's cache are priced apart; a model that is not in the table has
 * no price, which is not the same as a price of 0.
 * Does not know: contracts, free tiers, batch and long-context surcharges, tools. A configuration's own price overrides
 * (sl_llm_endpoint.price).
 */
#ifndef SL_LLM_PRICE_H
#define SL_LLM_PRICE_H

#include "src/base/str.h"

/* USD for each million tokens. */
typedef struct sl_price {
    double input;
    double output;
    double cache_read;  /* below 0: as input */
    double cache_write; /* below 0: as input */
} sl_price;

/* What a call has used. */
typedef struct sl_price_tokens {
    uint64_t input; /* with what came from the cache and went into it */
    uint64_t output;
    uint64_t cache_read;
    uint64_t cache_write;
} sl_price_tokens;

/*
 * The list price of a provider's model. `provider` is a name of gen_ai.provider.name ("openai", "anthropic"). A model
 * that ends in a date or in "-latest" costs what the model without it costs, unless the table has it by its whole name.
 * False when it is not known.
 */
bool sl_price_find(sl_str provider, sl_str model, sl_price *ret_price);

/* USD. */
double sl_price_cost(const sl_price *price, const sl_price_tokens *tokens);

/* The day of the list: "2026-11-21". Static. */
const char *sl_price_date(void);

/* A row of the table, for the reference; false behind the last. Views of static text. */
typedef struct sl_price_row {
    sl_str provider;
    sl_str model; /* '*' is any run of characters, '?' one */
    sl_price price;
} sl_price_row;
bool sl_price_row_at(size_t index, sl_price_row *ret_row);

#endif
