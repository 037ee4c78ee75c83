/* The ledger: a ring of entries and totals. */
#include "src/cli/mock_ledger.h"

#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/wire/json_write.h"

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

/* Sixteen digits: a number of that size is not safe in every reader of JSON. */
static void put_hash(sl_jw *w, const char *name, uint64_t hash)
{
    SL_ASSERT(w);
    char text[20];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)hash);
    sl_jw_member_c(w, name, text);
}

static void put_entry(sl_jw *w, const sl_mock_entry *e)
{
    SL_ASSERT(e);
    sl_jw_object(w);
    sl_jw_member_u64(w, "number", e->number);
    sl_jw_member_c(w, "id", e->id);
    sl_jw_member_c(w, "path", e->path);
    sl_jw_member_c(w, "model", e->model);
    sl_jw_member_c(w, "traceparent", e->traceparent);
    sl_jw_member_c(w, "tracestate", e->tracestate);
    sl_jw_member_c(w, "baggage", e->baggage);
    put_hash(w, "key_hash", e->key_hash);
    put_hash(w, "body_hash", e->body_hash);
    sl_jw_member_u64(w, "request_bytes", e->request_bytes);
    sl_jw_member_u64(w, "response_bytes", e->response_bytes);
    sl_jw_member_u64(w, "prompt_tokens", e->prompt_tokens);
    sl_jw_member_u64(w, "completion_tokens", e->completion_tokens);
    sl_jw_member_bool(w, "stream", e->stream);
    sl_jw_member_bool(w, "include_usage", e->include_usage);
    sl_jw_member_c(w, "outcome", outcome_names[e->outcome]);
    sl_jw_end(w);
}

int sl_mock_ledger_json(const sl_mock_ledger *ledger, sl_buf *out)
{
    SL_ASSERT(ledger && out);
    sl_jw w;
    sl_jw_init(&w, out);
    sl_jw_object(&w);
    sl_jw_member_u64(&w, "served", ledger->served);
    sl_jw_member_u64(&w, "prompt_tokens", ledger->prompt_tokens);
    sl_jw_member_u64(&w, "completion_tokens", ledger->completion_tokens);
    sl_jw_member_object(&w, "outcomes");
    for (size_t i = 0; i < SL_MOCK_OUTCOME_COUNT; i++)
        sl_jw_member_u64(&w, outcome_names[i], ledger->outcomes[i]);
    sl_jw_end(&w);
    sl_jw_member_array(&w, "requests");
    for (size_t i = 0; i < ledger->count && !out->failed; i++)
        put_entry(&w, &ledger->entries[(ledger->next + i) % ledger->count]);
    sl_jw_end(&w);
    sl_jw_end(&w);
    int error = sl_jw_finish(&w);
    return error ? error : sl_buf_put_char(out, '\n');
}
