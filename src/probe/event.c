/* Events: their names, and whether what a host wrote is whole. One table row for each kind. */
#include "src/probe/event.h"

#include "src/base/assert.h"

/* What follows the fixed body. */
typedef enum tail_form { TAIL_NONE, TAIL_BYTES, TAIL_TEXTS, TAIL_RUNS, TAIL_TOKENS } tail_form;

typedef struct kind_row {
    const char *name;
    uint32_t body;
    tail_form tail;
    uint32_t most; /* bytes of a TAIL_BYTES, texts of a TAIL_TEXTS */
} kind_row;

static const kind_row kinds[SL_PROBE_KIND_COUNT] = {
    [SL_PROBE_PAD] = {"pad", sizeof(sl_probe_event), TAIL_NONE, 0},
    [SL_PROBE_ATTACH] = {"attach", sizeof(sl_probe_attach), TAIL_TEXTS, 3},
    [SL_PROBE_FOUND] = {"found", sizeof(sl_probe_event), TAIL_BYTES, SL_PROBE_EVENT_MAX},
    [SL_PROBE_EXIT] = {"exit", sizeof(sl_probe_event), TAIL_NONE, 0},
    [SL_PROBE_MODEL_LOAD] = {"model_load", sizeof(sl_probe_model_load), TAIL_TEXTS, 2},
    [SL_PROBE_MODEL_FREE] = {"model_free", sizeof(sl_probe_model_free), TAIL_NONE, 0},
    [SL_PROBE_CONTEXT_NEW] = {"context_new", sizeof(sl_probe_context_new), TAIL_NONE, 0},
    [SL_PROBE_CONTEXT_FREE] = {"context_free", sizeof(sl_probe_context_free), TAIL_NONE, 0},
    [SL_PROBE_BUFFER] = {"buffer", sizeof(sl_probe_buffer), TAIL_BYTES, SL_PROBE_EVENT_MAX},
    [SL_PROBE_DECODE] = {"decode", sizeof(sl_probe_decode), TAIL_RUNS, 0},
    [SL_PROBE_SYNC] = {"sync", sizeof(sl_probe_sync), TAIL_NONE, 0},
    [SL_PROBE_LOGITS] = {"logits", sizeof(sl_probe_logits), TAIL_NONE, 0},
    [SL_PROBE_SAMPLE] = {"sample", sizeof(sl_probe_sample), TAIL_NONE, 0},
    [SL_PROBE_CHAIN] = {"chain", sizeof(sl_probe_chain), TAIL_NONE, 0},
    [SL_PROBE_SEQUENCE] = {"sequence", sizeof(sl_probe_sequence), TAIL_NONE, 0},
    [SL_PROBE_TOKENIZE] = {"tokenize", sizeof(sl_probe_tokenize), TAIL_TOKENS, 0},
    [SL_PROBE_POST] = {"post", sizeof(sl_probe_post), TAIL_NONE, 0},
    [SL_PROBE_REQUEST] = {"request", sizeof(sl_probe_request), TAIL_BYTES, SL_PROBE_HEAD_MAX},
    [SL_PROBE_REQUEST_END] = {"request_end", sizeof(sl_probe_request_end), TAIL_NONE, 0},
    [SL_PROBE_ANSWER] = {"answer", sizeof(sl_probe_answer), TAIL_NONE, 0},
    [SL_PROBE_FRAME] = {"frame", sizeof(sl_probe_frame), TAIL_NONE, 0},
    [SL_PROBE_ANSWER_END] = {"answer_end", sizeof(sl_probe_answer_end), TAIL_BYTES, SL_PROBE_TAIL_MAX},
};

_Static_assert(sizeof(sl_probe_event) == 24, "both sides agree on the layout");
_Static_assert(sizeof(sl_probe_run) == 24 && sizeof(sl_probe_decode) % SL_PROBE_EVENT_ALIGN == 0, "runs are aligned");
_Static_assert(sizeof(sl_probe_model_load) % SL_PROBE_EVENT_ALIGN == 0, "bodies are whole words");
_Static_assert(sizeof(sl_probe_context_new) % SL_PROBE_EVENT_ALIGN == 0, "bodies are whole words");
_Static_assert(sizeof(sl_probe_sample) % SL_PROBE_EVENT_ALIGN == 0, "bodies are whole words");
_Static_assert(sizeof(sl_probe_sequence) % SL_PROBE_EVENT_ALIGN == 0, "bodies are whole words");

const char *sl_probe_kind_name(unsigned kind)
{
    return kind < SL_PROBE_KIND_COUNT ? kinds[kind].name : "unknown";
}

static uint64_t padded(uint64_t bytes)
{
    return (bytes + SL_PROBE_EVENT_ALIGN - 1) & ~(uint64_t)(SL_PROBE_EVENT_ALIGN - 1);
}

/* `want` texts, each with its NUL, and nothing behind them. */
static bool texts_whole(const char *text, size_t len, uint32_t want)
{
    uint32_t seen = 0;
    for (size_t i = 0; i < len; i++)
        seen += text[i] == '\0';
    return seen == want && len > 0 && text[len - 1] == '\0';
}

/* Runs and listed tokens fit the event and one another. `room` counts the bytes behind the body. */
static bool runs_whole(const sl_probe_decode *decode, uint64_t room)
{
    uint64_t runs = decode->head.count;
    SL_ASSERT(room % SL_PROBE_EVENT_ALIGN == 0);
    if (decode->head.flags > SL_PROBE_API_PROCESS || decode->n_listed > decode->n_tokens)
        return false;
    if (runs * sizeof(sl_probe_run) + padded((uint64_t)decode->n_listed * sizeof(int32_t)) != room)
        return false;
    const sl_probe_run *run = (const sl_probe_run *)(const void *)(decode + 1);
    uint64_t tokens = 0, with_ids = 0;
    for (uint64_t i = 0; i < runs; i++) {
        if (run[i].outputs > run[i].n || (i == 0 && (run[i].flags & SL_PROBE_RUN_SHARED)))
            return false;
        if (run[i].flags & SL_PROBE_RUN_SHARED)
            continue;
        tokens += run[i].n;
        with_ids += run[i].flags & SL_PROBE_RUN_NO_TOKENS ? 0 : run[i].n;
    }
    return tokens <= decode->n_tokens && decode->n_listed <= with_ids;
}

static bool tail_whole(const sl_probe_event *event, const kind_row *row, uint64_t room)
{
    SL_ASSERT(row && event->kind < SL_PROBE_KIND_COUNT);
    const char *text = (const char *)event + row->body;
    switch (row->tail) {
    case TAIL_NONE:
        return event->count == 0 && room == 0;
    case TAIL_BYTES:
        return event->count <= row->most && padded(event->count) == room;
    case TAIL_TEXTS:
        return padded(event->count) == room && texts_whole(text, event->count, row->most);
    case TAIL_TOKENS:
        return padded((uint64_t)event->count * sizeof(int32_t)) == room &&
               event->count <= ((const sl_probe_tokenize *)(const void *)event)->n_tokens;
    case TAIL_RUNS:
        return runs_whole((const sl_probe_decode *)(const void *)event, room);
    }
    return false;
}

/* What a reader uses as an index or in a switch is one of its values. */
static bool values_known(const sl_probe_event *event)
{
    if (event->kind == SL_PROBE_SEQUENCE)
        return event->flags <= SL_PROBE_SEQ_LOAD;
    if (event->kind == SL_PROBE_BUFFER)
        return ((const sl_probe_buffer *)(const void *)event)->phase <= SL_PROBE_PHASE_CONTEXT;
    return true;
}

int sl_probe_event_check(const sl_probe_event *event, size_t size)
{
    SL_ASSERT(event);
    if (size < sizeof *event || size > SL_PROBE_EVENT_MAX || size % SL_PROBE_EVENT_ALIGN)
        return SL_EPARSE;
    if (event->kind == SL_PROBE_PAD || event->kind >= SL_PROBE_KIND_COUNT)
        return SL_EPARSE;
    const kind_row *row = &kinds[event->kind];
    if (size < row->body || !tail_whole(event, row, size - row->body) || !values_known(event))
        return SL_EPARSE;
    return 0;
}
