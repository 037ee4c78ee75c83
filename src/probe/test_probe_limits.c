/* The probe's maxima at the limit and one above, and what is done to the memory of sequences, as tables. */
#include "src/probe/reader.h"
#include "src/probe/test_metrics_page.h"
#include "src/probe/test_probe_stream.h"
#include "src/probe/track.h"

#include <unistd.h>

static stream s;

static uint64_t left_out(void)
{
    sl_probe_assembler_get_stats(s.assembler, &s.stats);
    return s.stats.left_out;
}

/* ---- prompts ---- */

/* Prompts that wait for a slot, over many requests; where one ends, its place is free again. */
SL_TEST(prompts_that_wait)
{
    enum { REQUESTS = SL_PROBE_MAX_ASKS / SL_PROBE_MAX_ASKS_EACH };
    REQUIRE(stream_open(&s));
    stream_model(&s);
    for (uint32_t r = 1; r <= REQUESTS; r++) {
        stream_request(&s, r, COMPLETION);
        for (uint32_t i = 0; i < SL_PROBE_MAX_ASKS_EACH; i++)
            stream_tokenize(&s, r, P1, 8);
    }
    CHECK_EQ(left_out(), 0);
    stream_tokenize(&s, 1, P1, 8); /* one more of a request that has all it may have */
    CHECK_EQ(left_out(), 1);
    stream_request(&s, REQUESTS + 1, COMPLETION);
    stream_tokenize(&s, REQUESTS + 1, P2, 6); /* one more of all */
    CHECK_EQ(left_out(), 2);
    stream_end(&s, 1, -1, 8, 0, 1);
    stream_request(&s, REQUESTS + 2, COMPLETION);
    stream_tokenize(&s, REQUESTS + 2, P2, 6);
    stream_tick(&s);
    CHECK_EQ(left_out(), 2);
    stream_close(&s);
    stream_done(&s);
}

/* Prompts longer than an event lists are compared by what is listed; the true number stands on the span. */
SL_TEST(a_prompt_longer_than_an_event)
{
    static int32_t tokens[4096];
    for (int32_t i = 0; i < 4096; i++)
        tokens[i] = i % 1000;
    REQUIRE(stream_open(&s));
    stream_model(&s);
    stream_request(&s, 1, COMPLETION);
    sl_probe_tokenize e = {.start_ns = s.now, .request = 1, .n_tokens = 5000};
    e.head.count = 4096;
    stream_put(&s, SL_PROBE_TOKENIZE, &e, sizeof e, tokens, sizeof tokens);
    stream_post(&s, 1);
    stream_run(&s, 0, 0, tokens, 2048, 0);
    stream_decode(&s);
    stream_run(&s, 0, 2048, tokens + 2048, 2048, 0);
    stream_decode(&s);
    stream_run(&s, 0, 4096, tokens, 904, 1);
    stream_decode(&s);
    stream_generate(&s, 0, 5000, 2);
    stream_end(&s, 1, 0, 5000, 0, 3);
    stream_close(&s);
    const sl_otlp_span *server = stream_span(&s, "POST /completion", 0);
    REQUIRE(server != NULL);
    CHECK_EQ(stream_int(stream_child(&s, server, "process_prompt"), "prompt.tokens"), 5000);
    CHECK_EQ(s.stats.mismatches, 0);
    stream_done(&s);
}

/* Requests for the same tokens: with a few more than are remembered as twins nothing is claimed for certain. */
SL_TEST(more_twins_than_are_remembered)
{
    static const uint32_t counts[] = {2, SL_PROBE_MAX_TIES, SL_PROBE_MAX_TIES + 1, 2 * SL_PROBE_MAX_TIES};
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
        uint32_t count = counts[c];
        REQUIRE(stream_open(&s));
        stream_model(&s);
        for (uint32_t i = 1; i <= count; i++)
            stream_ask(&s, i, P1, 8);
        for (uint32_t slot = 0; slot < count; slot++)
            stream_run(&s, (int32_t)slot, 0, P1, 8, 1);
        stream_decode(&s);
        for (uint32_t slot = 0; slot < count; slot++) {
            int32_t token = 300;
            stream_run(&s, (int32_t)slot, 8, &token, 1, 1);
        }
        stream_decode(&s);
        for (uint32_t i = 1; i <= count; i++)
            stream_end(&s, i, -1, 8, 0, 2); /* all are as far, and none says its slot */
        stream_wait(&s, 600000);
        stream_tick(&s);
        stream_close(&s);
        CHECK_EQ(stream_spans(&s, "POST /completion"), count);
        for (size_t i = 0; i < count; i++)
            CHECK_STR(stream_text(stream_span(&s, "POST /completion", i), "llama.correlation"), "ambiguous");
        CHECK_EQ(s.stats.exact, 0);
        stream_done(&s);
    }
}

/* ---- batches ---- */

/* A batch for as many sequences as are followed in one, and more. */
SL_TEST(sequences_in_one_batch)
{
    static const struct {
        uint32_t sequences;
        uint64_t left_out;
    } rows[] = {{1, 0}, {200, 0}, {SL_PROBE_MAX_PARTS, 0}, {SL_PROBE_MAX_PARTS + 1, 1}, {SL_PROBE_MAX_PARTS + 7, 7}};
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        uint32_t n = rows[r].sequences;
        sl_probe_run *runs = calloc(n, sizeof *runs);
        REQUIRE(runs && stream_open(&s));
        stream_model(&s);
        for (uint32_t i = 0; i < n; i++)
            runs[i] = (sl_probe_run){.seq = (int32_t)i,
                                     .n = 1,
                                     .outputs = 1,
                                     .row = i,
                                     .flags = SL_PROBE_RUN_NO_TOKENS | SL_PROBE_RUN_LAST_OUTPUT};
        sl_probe_decode e = {.start_ns = s.now, .context = 1, .n_tokens = n};
        e.head.count = n;
        stream_wait(&s, 100);
        stream_put(&s, SL_PROBE_DECODE, &e, sizeof e, runs, n * sizeof *runs);
        CHECK_EQ(left_out(), rows[r].left_out);
        free(runs);
        stream_close(&s);
        stream_done(&s);
    }
}

/* ---- sequences ---- */

/* What each change leaves of three sequences of eight tokens, by the position behind their last token. */
SL_TEST(what_is_done_to_sequences)
{
    static const struct {
        const char *what;
        unsigned op;
        int32_t seq, seq_to, p0, p1, delta;
        int32_t next[3]; /* of sequences 0, 1, 2 */
    } rows[] = {
        {"one is removed", SL_PROBE_SEQ_RM, 1, -1, -1, -1, 0, {8, 0, 8}},
        {"all are removed", SL_PROBE_SEQ_RM, -1, -1, -1, -1, 0, {0, 0, 0}},
        {"an end is removed", SL_PROBE_SEQ_RM, 0, -1, 5, -1, 0, {5, 8, 8}},
        {"a beginning is removed", SL_PROBE_SEQ_RM, 0, -1, -1, 5, 0, {8, 8, 8}},
        {"a middle is removed", SL_PROBE_SEQ_RM, 2, -1, 3, 5, 0, {8, 8, 8}},
        {"nothing is removed", SL_PROBE_SEQ_RM, 2, -1, 9, 20, 0, {8, 8, 8}},
        {"one is kept", SL_PROBE_SEQ_KEEP, 1, -1, -1, -1, 0, {0, 8, 0}},
        {"all is cleared", SL_PROBE_SEQ_CLEAR, -1, -1, -1, -1, 0, {0, 0, 0}},
        {"one is copied", SL_PROBE_SEQ_CP, 0, 2, -1, -1, 0, {8, 8, 8}},
        {"an end is shifted", SL_PROBE_SEQ_ADD, 0, -1, 4, -1, -2, {6, 8, 8}},
        {"one is thinned", SL_PROBE_SEQ_DIV, 1, -1, -1, -1, 2, {8, 8, 8}},
        {"one is read out", SL_PROBE_SEQ_SAVE, 1, -1, -1, -1, 0, {8, 8, 8}},
        {"one is read in", SL_PROBE_SEQ_LOAD, 1, -1, -1, -1, 0, {8, 0, 8}},
        {"one that is not there", SL_PROBE_SEQ_RM, 700, -1, -1, -1, 0, {8, 8, 8}},
        {"one that cannot be", SL_PROBE_SEQ_RM, SL_PROBE_MAX_SEQUENCES, -1, -1, -1, 0, {8, 8, 8}},
        {"a copy to one that cannot be", SL_PROBE_SEQ_CP, 0, INT32_MAX, -1, -1, 0, {8, 8, 8}},
    };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        REQUIRE(stream_open(&s));
        stream_model(&s);
        for (int32_t seq = 0; seq < 3; seq++)
            stream_run(&s, seq, 0, P1, 8, 1);
        stream_decode(&s);
        stream_seq_op(&s, rows[r].op, rows[r].seq, rows[r].seq_to, rows[r].p0, rows[r].p1, rows[r].delta);
        const sl_track_context *context = sl_track_context_find(s.assembler, 1);
        REQUIRE(context && context->seq_count >= 3);
        for (size_t seq = 0; seq < 3; seq++) {
            if (context->seqs[seq].next_pos != rows[r].next[seq])
                sl_test_failed(__FILE__, __LINE__, "%s: sequence %zu ends at %d, not %d", rows[r].what, seq,
                               context->seqs[seq].next_pos, rows[r].next[seq]);
        }
        stream_generate(&s, 0, 8, 1); /* and what comes next is taken as it is */
        stream_close(&s);
        stream_done(&s);
    }
}

/* A copy shares what was processed: the prompt of the second sequence needs only its end. */
SL_TEST(a_copied_beginning_is_not_processed_again)
{
    REQUIRE(stream_open(&s));
    stream_model(&s);
    stream_ask(&s, 1, P1, 8);
    stream_prompt(&s, 0, P1, 0, 8);
    stream_generate(&s, 0, 8, 1);
    stream_end(&s, 1, 0, 8, 0, 2);
    stream_seq_op(&s, SL_PROBE_SEQ_CP, 0, 1, -1, -1, 0);
    stream_seq_op(&s, SL_PROBE_SEQ_RM, 1, -1, 6, -1, 0);
    stream_ask(&s, 2, P1, 8);
    stream_prompt(&s, 1, P1, 6, 8);
    stream_generate(&s, 1, 8, 1);
    stream_end(&s, 2, 1, 2, 6, 2);
    stream_close(&s);
    const sl_otlp_span *second = stream_child(&s, stream_span(&s, "POST /completion", 1), "process_prompt");
    CHECK_EQ(stream_int(second, "prompt.tokens"), 2);
    CHECK_EQ(stream_int(second, "prompt.tokens_cached"), 6);
    CHECK_EQ(s.stats.mismatches, 0);
    stream_done(&s);
}

/* ---- hosts ---- */

/* Hosts beyond those that have a number of their own share one; the sums hold, and numbers are used again. */
SL_TEST(hosts_of_the_metrics)
{
    static sl_probe_metrics *hosts[SL_PROBE_MAX_METRIC_HOSTS + 3];
    enum { HOSTS = sizeof hosts / sizeof *hosts };
    sl_sdk *sdk = page_sdk();
    REQUIRE(sdk != NULL);
    for (size_t i = 0; i < HOSTS; i++) {
        hosts[i] = page_host(sdk);
        REQUIRE(hosts[i] != NULL);
        sl_probe_metrics_sequence(hosts[i], 1, 0, 5);
        sl_probe_metrics_tick(hosts[i], 1000 * MS, 0);
    }
    sl_probe_totals totals;
    CHECK(sl_probe_metrics_totals(sdk, &totals));
    CHECK_EQ(totals.hosts, HOSTS);
    CHECK(page_value(sdk, "llamacpp_context_tokens{host=\"0\",context=\"1\",model=\"tiny\"}") == 5);
    CHECK(page_value(sdk, "llamacpp_context_tokens{host=\"255\",context=\"1\",model=\"tiny\"}") == 5);
    sl_probe_metrics_free(hosts[7]);
    hosts[7] = page_host(sdk);
    sl_probe_metrics_sequence(hosts[7], 1, 0, 9);
    sl_probe_metrics_tick(hosts[7], 1000 * MS, 0);
    CHECK(page_value(sdk, "llamacpp_context_tokens{host=\"7\",context=\"1\",model=\"tiny\"}") == 9);
    for (size_t i = 0; i < HOSTS; i++)
        sl_probe_metrics_free(hosts[i]);
    CHECK(!sl_probe_metrics_totals(sdk, &totals)); /* there is none any more */
    sl_sdk_free(sdk);
}

typedef struct seen {
    unsigned now, most, all;
} seen;

static int host_open(void *user, const sl_probe_ring_info *info, void **ret_host)
{
    seen *e = user;
    (void)info;
    e->all++;
    e->most = ++e->now > e->most ? e->now : e->most;
    *ret_host = e;
    return 0;
}

static void host_event(void *user, const sl_probe_event *event, size_t size)
{
    (void)user, (void)event, (void)size;
}

static void host_close(void *host)
{
    ((seen *)host)->now--;
}

/* Rings that are more than are read at once wait for their turn. */
SL_TEST(hosts_of_a_reader)
{
    enum { RINGS = SL_PROBE_MAX_HOSTS + 5 };
    static sl_probe_ring *rings[RINGS];
    char folder[] = "/tmp/sl-hosts-XXXXXX", path[64];
    REQUIRE(sl_test_mkdtemp(folder) != NULL);
    seen e = {0};
    sl_probe_reader *reader = NULL;
    sl_probe_reader_options options = {
        .dir = folder, .consumer = {.user = &e, .open = host_open, .event = host_event, .close = host_close}};
    for (int i = 0; i < RINGS; i++) {
        (void)snprintf(path, sizeof path, "%s/%d-%d.ring", folder, (int)getpid(), i);
        REQUIRE(sl_probe_ring_new(path, 1, &rings[i]) == 0);
        sl_probe_ring_close(rings[i]);
    }
    REQUIRE(sl_probe_reader_new(&options, &reader) == 0);
    for (uint64_t round = 1; round < 20 && e.all < RINGS; round++)
        (void)sl_probe_reader_step(reader, round * 3000000000u);
    sl_probe_reader_stats stats;
    sl_probe_reader_get_stats(reader, &stats);
    CHECK(e.all == RINGS && e.most <= SL_PROBE_MAX_HOSTS);
    CHECK(stats.seen == RINGS && stats.refused == 0);
    sl_probe_reader_free(reader);
    CHECK_EQ(e.now, 0);
    for (int i = 0; i < RINGS; i++)
        sl_probe_ring_free(rings[i]);
}
