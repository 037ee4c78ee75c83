/* The ledger: a ring of entries and totals. */
#include "src/cli/mock_ledger.h"

#include "src/base/assert.h"
#include "src/base/mem.h"

struct sl_mock_ledger {
    sl_mock_entry *entries; /* grown up to SL_MOCK_LEDGER, then a ring */
    size_t cap;
    size_t count;
    size_t next; /* where the next one goes once the ring is full */
    uint64_t served;
    uint64_t outcomes[SL_MOCK_OUTCOME_COUNT];
    uint64_t prompt_tokens;
    uint64_t completion_tokens;
};

static const char *const outcome_names[] = {
#define OUTCOME_NAME(name, text) text,
    SL_MOCK_OUTCOME_MAP(OUTCOME_NAME)
#undef OUTCOME_NAME
};

uint64_t sl_mock_hash(sl_str bytes)
{
    SL_ASSERT(bytes.ptr || !bytes.len);
    uint64_t hash = 0xcbf29ce484222325ull;
    for (size_t i = 0; i < bytes.len; i++)
        hash = (hash ^ (unsigned char)bytes.ptr[i]) * 0x100000001b3ull;
    return hash;
}

sl_mock_ledger *sl_mock_ledger_new(void)
{
    return sl_calloc(1, sizeof(sl_mock_ledger));
}

void sl_mock_ledger_free(sl_mock_ledger *ledger)
{
    if (!ledger)
        return;
    sl_free(ledger->entries);
    sl_free(ledger);
}

void sl_mock_ledger_reset(sl_mock_ledger *ledger)
{
    SL_ASSERT(ledger);
    sl_mock_entry *entries = ledger->entries;
    size_t cap = ledger->cap;
    memset(ledger, 0, sizeof *ledger);
    ledger->entries = entries;
    ledger->cap = cap;
}

/* Room for one more; false when memory ran out (the entry is then counted in the totals only). */
static bool grow(sl_mock_ledger *ledger)
{
    SL_ASSERT(ledger);
    if (ledger->count < ledger->cap || ledger->cap == SL_MOCK_LEDGER)
        return ledger->cap > 0;
    size_t cap = ledger->cap ? ledger->cap * 2 : 256;
    if (cap > SL_MOCK_LEDGER)
        cap = SL_MOCK_LEDGER;
    sl_mock_entry *entries = sl_realloc(ledger->entries, cap * sizeof *entries);
    if (!entries)
        return false;
    ledger->entries = entries;
    ledger->cap = cap;
    return true;
}

void sl_mock_ledger_add(sl_mock_ledger *ledger, const sl_mock_entry *entry)
{
    SL_ASSERT(entry->outcome < SL_MOCK_OUTCOME_COUNT);
    ledger->served++;
    ledger->outcomes[entry->outcome]++;
    ledger->prompt_tokens += entry->prompt_tokens;
    ledger->completion_tokens += entry->completion_tokens;
    if (!grow(ledger))
        return;
    if (ledger->count < ledger->cap) {
        ledger->entries[ledger->count++] = *entry;
        return;
    }
    ledger->entries[ledger->next] = *entry;
    ledger->next = (ledger->next + 1) % ledger->cap;
}

/* Text of a header as JSON: only visible ASCII gets here, quotes and backslashes are escaped. */
static void put_text(sl_buf *out, const char *key, const char *text)
{
    (void)sl_buf_printf(out, "\"%s\":\"", key);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            (void)sl_buf_printf(out, "\\%c", c);
        else if (c < 0x20 || c >= 0x7f)
            (void)sl_buf_printf(out, "\\u%04x", c);
        else
            (void)sl_buf_put_char(out, (char)c);
    }
    (void)sl_buf_put_c(out, "\",");
}

static void put_entry(sl_buf *out, const sl_mock_entry *e)
{
    SL_ASSERT(e);
    (void)sl_buf_printf(out, "{\"number\":%llu,", (unsigned long long)e->number);
    put_text(out, "id", e->id);
    put_text(out, "path", e->path);
    put_text(out, "model", e->model);
    put_text(out, "traceparent", e->traceparent);
    put_text(out, "tracestate", e->tracestate);
    put_text(out, "baggage", e->baggage);
    (void)sl_buf_printf(
        out,
        "\"key_hash\":\"%016llx\",\"body_hash\":\"%016llx\",\"request_bytes\":%llu,\"response_bytes\":%llu,"
        "\"prompt_tokens\":%u,\"completion_tokens\":%u,\"stream\":%s,\"include_usage\":%s,\"outcome\":\"%s\"}",
        (unsigned long long)e->key_hash, (unsigned long long)e->body_hash, (unsigned long long)e->request_bytes,
        (unsigned long long)e->response_bytes, e->prompt_tokens, e->completion_tokens, e->stream ? "true" : "false",
        e->include_usage ? "true" : "false", outcome_names[e->outcome]);
}

int sl_mock_ledger_json(const sl_mock_ledger *ledger, sl_buf *out)
{
    SL_ASSERT(ledger && out);
    (void)sl_buf_printf(out, "{\"served\":%llu,\"prompt_tokens\":%llu,\"completion_tokens\":%llu,\"outcomes\":{",
                        (unsigned long long)ledger->served, (unsigned long long)ledger->prompt_tokens,
                        (unsigned long long)ledger->completion_tokens);
    for (size_t i = 0; i < SL_MOCK_OUTCOME_COUNT; i++)
        (void)sl_buf_printf(out, "%s\"%s\":%llu", i ? "," : "", outcome_names[i],
                            (unsigned long long)ledger->outcomes[i]);
    (void)sl_buf_put_c(out, "},\"requests\":[");
    for (size_t i = 0; i < ledger->count && !out->failed; i++) {
        if (i)
            (void)sl_buf_put_char(out, ',');
        put_entry(out, &ledger->entries[(ledger->next + i) % ledger->count]);
    }
    (void)sl_buf_put_c(out, "]}\n");
    return out->failed;
}
