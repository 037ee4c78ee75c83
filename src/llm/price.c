/* The table of prices. */
#include "src/llm/price.h"

#include "src/base/assert.h"

static const struct {
    const char *provider;
    const char *model;
    sl_price price;
} prices[] = {
#define SL_PRICE(provider, model, input, output, read, write) {provider, model, {input, output, read, write}},
#include "src/llm/price.def"
#undef SL_PRICE
};
#define PRICE_COUNT (sizeof prices / sizeof *prices)

const char *sl_price_date(void)
{
    return SL_PRICE_DATE;
}

bool sl_price_row_at(size_t index, sl_price_row *ret_row)
{
    SL_ASSERT(ret_row);
    if (index >= PRICE_COUNT)
        return false;
    ret_row->provider = sl_str_c(prices[index].provider);
    ret_row->model = sl_str_c(prices[index].model);
    ret_row->price = prices[index].price;
    return true;
}

/* True when `text` has the shape: '9' stands for a digit, everything else for itself. */
static bool has_shape(sl_str text, const char *shape)
{
    SL_ASSERT(shape && strlen(shape) == text.len);
    for (size_t i = 0; i < text.len; i++) {
        bool digit = text.ptr[i] >= '0' && text.ptr[i] <= '9';
        if (shape[i] == '9' ? !digit : shape[i] != text.ptr[i])
            return false;
    }
    return true;
}

/*
 * Without a date at the end. Dates of four digits are left alone: providers that write them so change their prices from
 * one to the next.
 */
static sl_str without_date(sl_str model)
{
    SL_ASSERT(model.ptr || !model.len);
    static const char *const shapes[] = {"-9999-99-99", "-99999999", "@99999999", "-latest"};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        size_t len = strlen(shapes[i]);
        if (model.len > len && has_shape(sl_str_sub(model, model.len - len, len), shapes[i]))
            return sl_str_sub(model, 0, model.len - len);
    }
    return model;
}

static bool find(sl_str provider, sl_str model, sl_price *ret_price)
{
    SL_ASSERT(ret_price);
    for (size_t i = 0; i < PRICE_COUNT; i++) {
        if (sl_str_eq_c(provider, prices[i].provider) && sl_str_glob(sl_str_c(prices[i].model), model)) {
            *ret_price = prices[i].price;
            return true;
        }
    }
    return false;
}

bool sl_price_find(sl_str provider, sl_str model, sl_price *ret_price)
{
    SL_ASSERT(ret_price);
    if (find(provider, model, ret_price))
        return true;
    sl_str plain = without_date(model);
    return plain.len < model.len && find(provider, plain, ret_price);
}

double sl_price_cost(const sl_price *price, const sl_price_tokens *tokens)
{
    SL_ASSERT(price && tokens);
    uint64_t apart = tokens->cache_read + tokens->cache_write;
    /* A provider that leaves cached tokens out of its input has been brought to this form by whoever read the answer;
     * should it tell more of them than there are, none is priced as plain input. */
    uint64_t plain = tokens->input > apart ? tokens->input - apart : 0;
    double read = price->cache_read >= 0 ? price->cache_read : price->input;
    double write = price->cache_write >= 0 ? price->cache_write : price->input;
    double sum = (double)plain * price->input + (double)tokens->output * price->output;
    sum += (double)tokens->cache_read * read + (double)tokens->cache_write * write;
    return sum / 1e6;
}
