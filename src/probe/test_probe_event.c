/* The check of events: what is whole passes, whatever is cut, stretched or senseless does not. */
#include "src/probe/event.h"

#include "tests/harness/sl_test.h"

typedef union event_room {
    sl_probe_event head;
    uint64_t words[512];
} event_room;

static event_room *cleared(unsigned kind)
{
    static event_room room;
    memset(&room, 0, sizeof room);
    room.head.kind = (uint16_t)kind;
    return &room;
}

/* Body sizes as event.h declares them; kinds with a tail have one that is valid and empty, or the shortest. */
static size_t shortest(event_room *room)
{
    static const char texts[] = "a\0b\0c";
    switch (room->head.kind) {
    case SL_PROBE_ATTACH:
        memcpy((char *)room + sizeof(sl_probe_attach), texts, 6);
        room->head.count = 6;
        return sizeof(sl_probe_attach) + 8;
    case SL_PROBE_MODEL_LOAD:
        memcpy((char *)room + sizeof(sl_probe_model_load), texts, 4);
        room->head.count = 4;
        return sizeof(sl_probe_model_load) + 8;
    case SL_PROBE_MODEL_FREE:
        return sizeof(sl_probe_model_free);
    case SL_PROBE_CONTEXT_NEW:
        return sizeof(sl_probe_context_new);
    case SL_PROBE_CONTEXT_FREE:
        return sizeof(sl_probe_context_free);
    case SL_PROBE_BUFFER:
        return sizeof(sl_probe_buffer);
    case SL_PROBE_DECODE:
        return sizeof(sl_probe_decode);
    case SL_PROBE_SYNC:
        return sizeof(sl_probe_sync);
    case SL_PROBE_LOGITS:
        return sizeof(sl_probe_logits);
    case SL_PROBE_SAMPLE:
        return sizeof(sl_probe_sample);
    case SL_PROBE_CHAIN:
        return sizeof(sl_probe_chain);
    case SL_PROBE_SEQUENCE:
        return sizeof(sl_probe_sequence);
    case SL_PROBE_TOKENIZE:
        return sizeof(sl_probe_tokenize);
    case SL_PROBE_POST:
        return sizeof(sl_probe_post);
    case SL_PROBE_REQUEST:
        return sizeof(sl_probe_request);
    case SL_PROBE_REQUEST_END:
        return sizeof(sl_probe_request_end);
    case SL_PROBE_ANSWER:
        return sizeof(sl_probe_answer);
    case SL_PROBE_FRAME:
        return sizeof(sl_probe_frame);
    case SL_PROBE_ANSWER_END:
        return sizeof(sl_probe_answer_end);
    default:
        return sizeof(sl_probe_event);
    }
}

SL_TEST(every_kind_has_a_name_and_a_shortest_form)
{
    for (unsigned kind = SL_PROBE_PAD + 1; kind < SL_PROBE_KIND_COUNT; kind++) {
        event_room *room = cleared(kind);
        size_t size = shortest(room);
        CHECK(strcmp(sl_probe_kind_name(kind), "unknown") != 0);
        CHECK_EQ(sl_probe_event_check(&room->head, size), 0);
        CHECK_EQ(sl_probe_event_check(&room->head, size - 8), SL_EPARSE);
        CHECK_EQ(sl_probe_event_check(&room->head, size + 8), SL_EPARSE);
        CHECK_EQ(sl_probe_event_check(&room->head, size + 4), SL_EPARSE);
        CHECK_EQ(sl_probe_event_check(&room->head, 0), SL_EPARSE);
    }
    CHECK_STR(sl_str_c(sl_probe_kind_name(SL_PROBE_KIND_COUNT)), "unknown");
    CHECK_STR(sl_str_c(sl_probe_kind_name(0xffffffffu)), "unknown");
    CHECK_STR(sl_str_c(sl_probe_kind_name(SL_PROBE_DECODE)), "decode");
}

SL_TEST(a_filler_and_an_unknown_kind_are_refused)
{
    CHECK_EQ(sl_probe_event_check(&cleared(SL_PROBE_PAD)->head, 24), SL_EPARSE);
    CHECK_EQ(sl_probe_event_check(&cleared(SL_PROBE_KIND_COUNT)->head, 24), SL_EPARSE);
    CHECK_EQ(sl_probe_event_check(&cleared(0xffff)->head, 24), SL_EPARSE);
    CHECK_EQ(sl_probe_event_check(&cleared(SL_PROBE_EXIT)->head, SL_PROBE_EVENT_MAX + 8), SL_EPARSE);
}

SL_TEST(texts_are_counted_and_end_with_nul)
{
    static const struct {
        const char *text;
        uint32_t count;
        int result;
    } rows[] = {
        {"/m.gguf\0llama\0", 14, 0},
        {"\0\0", 2, 0},
        {"/m.gguf\0llama", 13, SL_EPARSE},
        {"/m.gguf\0llama\0x", 15, SL_EPARSE},
        {"/m.gguf\0", 8, SL_EPARSE},
        {"a\0b\0c\0", 6, SL_EPARSE},
        {"", 0, SL_EPARSE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        event_room *room = cleared(SL_PROBE_MODEL_LOAD);
        memcpy((char *)room + sizeof(sl_probe_model_load), rows[i].text, rows[i].count);
        room->head.count = rows[i].count;
        size_t size = sizeof(sl_probe_model_load) + (rows[i].count + 7u) / 8 * 8;
        CHECK_EQ(sl_probe_event_check(&room->head, size), rows[i].result);
    }
}

SL_TEST(bytes_keep_their_limits)
{
    static sl_probe_request big[100];
    memset(big, 0, sizeof big);
    big[0].head.kind = SL_PROBE_REQUEST;
    big[0].head.count = SL_PROBE_HEAD_MAX;
    CHECK_EQ(sl_probe_event_check(&big[0].head, sizeof big[0] + SL_PROBE_HEAD_MAX), 0);
    big[0].head.count = SL_PROBE_HEAD_MAX + 1;
    CHECK_EQ(sl_probe_event_check(&big[0].head, sizeof big[0] + SL_PROBE_HEAD_MAX + 8), SL_EPARSE);
    big[0].head.count = 0xffffffffu;
    CHECK_EQ(sl_probe_event_check(&big[0].head, sizeof big[0]), SL_EPARSE);
}

SL_TEST(tokens_fit_and_do_not_exceed_the_true_number)
{
    event_room *room = cleared(SL_PROBE_TOKENIZE);
    sl_probe_tokenize *t = (sl_probe_tokenize *)(void *)room;
    t->n_tokens = 3;
    t->head.count = 3;
    CHECK_EQ(sl_probe_event_check(&room->head, sizeof *t + 16), 0);
    CHECK_EQ(sl_probe_event_check(&room->head, sizeof *t + 8), SL_EPARSE);
    t->n_tokens = 2;
    CHECK_EQ(sl_probe_event_check(&room->head, sizeof *t + 16), SL_EPARSE);
    t->n_tokens = 0xffffffffu;
    t->head.count = 0x80000000u;
    CHECK_EQ(sl_probe_event_check(&room->head, sizeof *t), SL_EPARSE);
    t->head.count = 0x40000000u; /* times four wraps round in 32 bits */
    CHECK_EQ(sl_probe_event_check(&room->head, sizeof *t), SL_EPARSE);
}

static int check_runs(uint32_t n_tokens, uint32_t n_listed, const sl_probe_run *runs, uint32_t count)
{
    event_room *room = cleared(SL_PROBE_DECODE);
    sl_probe_decode *d = (sl_probe_decode *)(void *)room;
    d->n_tokens = n_tokens;
    d->n_listed = n_listed;
    d->head.count = count;
    memcpy(d + 1, runs, count * sizeof *runs);
    return sl_probe_event_check(&room->head, sizeof *d + count * sizeof *runs + (n_listed * 4u + 7u) / 8 * 8);
}

SL_TEST(runs_and_their_tokens_agree)
{
    sl_probe_run two[2] = {{.seq = 0, .n = 3, .outputs = 1}, {.seq = 1, .n = 1, .outputs = 1, .row = 3}};
    CHECK_EQ(check_runs(4, 4, two, 2), 0);
    CHECK_EQ(check_runs(4, 0, two, 2), 0);
    CHECK_EQ(check_runs(4, 2, two, 2), 0);
    CHECK_EQ(check_runs(5, 5, two, 2), SL_EPARSE);
    CHECK_EQ(check_runs(3, 3, two, 2), SL_EPARSE);
    CHECK_EQ(check_runs(0, 0, two, 0), 0);
    two[1].flags = SL_PROBE_RUN_NO_TOKENS;
    CHECK_EQ(check_runs(4, 4, two, 2), SL_EPARSE);
    CHECK_EQ(check_runs(4, 3, two, 2), 0);
    two[1].outputs = 2;
    CHECK_EQ(check_runs(4, 3, two, 2), SL_EPARSE);
}

SL_TEST(a_shared_run_has_no_tokens_and_is_not_the_first)
{
    sl_probe_run two[2] = {{.seq = 0, .n = 3}, {.seq = 1, .n = 3, .flags = SL_PROBE_RUN_SHARED}};
    CHECK_EQ(check_runs(3, 3, two, 2), 0);
    two[0].flags = SL_PROBE_RUN_SHARED;
    CHECK_EQ(check_runs(3, 0, two, 2), SL_EPARSE);
    sl_probe_run wide[2] = {{.n = 0xffffffffu}, {.n = 0xffffffffu}};
    CHECK_EQ(check_runs(0xfffffffeu, 1, wide, 2), SL_EPARSE);
}

SL_TEST(values_beyond_their_list_are_refused)
{
    event_room *room = cleared(SL_PROBE_SEQUENCE);
    room->head.flags = SL_PROBE_SEQ_LOAD;
    CHECK_EQ(sl_probe_event_check(&room->head, sizeof(sl_probe_sequence)), 0);
    room->head.flags = SL_PROBE_SEQ_LOAD + 1;
    CHECK_EQ(sl_probe_event_check(&room->head, sizeof(sl_probe_sequence)), SL_EPARSE);
    room = cleared(SL_PROBE_BUFFER);
    ((sl_probe_buffer *)(void *)room)->phase = SL_PROBE_PHASE_CONTEXT + 1;
    CHECK_EQ(sl_probe_event_check(&room->head, sizeof(sl_probe_buffer)), SL_EPARSE);
    room = cleared(SL_PROBE_DECODE);
    room->head.flags = SL_PROBE_API_PROCESS + 1;
    CHECK_EQ(sl_probe_event_check(&room->head, sizeof(sl_probe_decode)), SL_EPARSE);
}
