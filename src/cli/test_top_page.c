/* From metrics pages to what `top` shows. */
#include <math.h>
#include <stdio.h>

#include "src/base/mem.h"
#include "src/cli/top_page.h"
#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_test.h"

#define LATENCY "gen_ai_client_operation_duration_seconds"
#define FIRST "gen_ai_server_time_to_first_token_seconds"

static const char page_text[] = LATENCY
    "_bucket{gen_ai_request_model=\"m\",le=\"0.1\"} 50\n" LATENCY
    "_bucket{gen_ai_request_model=\"m\",le=\"0.2\"} 90\n" LATENCY
    "_bucket{gen_ai_request_model=\"m\",le=\"+Inf\"} 100\n" LATENCY "_count{gen_ai_request_model=\"m\"} 100\n" LATENCY
    "_bucket{gen_ai_request_model=\"m\",error_type=\"500\",le=\"0.1\"} 10\n" LATENCY
    "_bucket{gen_ai_request_model=\"m\",error_type=\"500\",le=\"0.2\"} 10\n" LATENCY
    "_bucket{gen_ai_request_model=\"m\",error_type=\"500\",le=\"+Inf\"} 10\n" LATENCY
    "_count{gen_ai_request_model=\"m\",error_type=\"500\"} 10\n" LATENCY
    "_count{gen_ai_request_model=\"other\"} 1\n" FIRST "_bucket{gen_ai_request_model=\"m\",le=\"0.01\"} 4\n" FIRST
    "_bucket{gen_ai_request_model=\"m\",le=\"+Inf\"} 4\n"
    "gen_ai_client_token_usage_sum{gen_ai_request_model=\"m\",gen_ai_token_type=\"input\"} 1000\n"
    "gen_ai_client_token_usage_sum{gen_ai_request_model=\"m\",gen_ai_token_type=\"output\"} 500\n"
    "gen_ai_client_token_usage_count{gen_ai_request_model=\"m\",gen_ai_token_type=\"output\"} 100\n"
    "sightline_gateway_requests_in_flight 7\nprocess_start_time_seconds 1000\n";

static sl_top_page *read_page(const char *text)
{
    sl_scrape scrape;
    sl_top_page *page = sl_calloc(1, sizeof *page);
    CHECK_EQ(sl_scrape_parse(sl_str_c(text), &scrape), 0);
    CHECK_EQ(scrape.bad_lines, 0);
    sl_top_read(&scrape, 1010, page);
    sl_scrape_done(&scrape);
    return page;
}

SL_TEST(reads_models)
{
    sl_top_page *page = read_page(page_text);
    CHECK_EQ(page->model_count, 2);
    CHECK(page->has_gateway);
    CHECK(page->in_flight == 7);
    CHECK(page->seconds == 10);
    const sl_top_model *m = &page->models[0];
    CHECK_STR(sl_str_c(m->name), "m");
    CHECK(m->requests == 110);
    CHECK(m->errors == 10);
    CHECK(m->tokens_in == 1000);
    CHECK(m->tokens_out == 500);
    CHECK_EQ(m->latency.count, 3);
    CHECK(sl_top_quantile(&m->latency, 0.5) > 0.09 && sl_top_quantile(&m->latency, 0.5) < 0.1);
    CHECK(sl_top_quantile(&m->latency, 0.99) == 0.2);
    CHECK(sl_top_quantile(&page->models[1].latency, 0.5) < 0);
    sl_free(page);
}

SL_TEST(newer_names_alone_are_read_and_never_counted_twice)
{
    static const char newer[] = "gen_ai_client_inference_duration_seconds_count{gen_ai_request_model=\"m\"} 5\n"
                                "gen_ai_client_inference_usage_output_tokens_total{gen_ai_request_model=\"m\"} 50\n";
    sl_top_page *page = read_page(newer);
    CHECK(page->models[0].requests == 5);
    CHECK(page->models[0].tokens_out == 50);
    sl_free(page);
    char both[sizeof page_text + sizeof newer];
    snprintf(both, sizeof both, "%s%s", page_text, newer);
    page = read_page(both);
    CHECK(page->models[0].requests == 110);
    CHECK(page->models[0].tokens_out == 500);
    sl_free(page);
}

SL_TEST(change_between_two_pages)
{
    sl_top_page *before = read_page(page_text), *after = read_page(page_text), *change = sl_calloc(1, sizeof *change);
    after->models[0].requests += 20;
    after->models[0].tokens_out += 40;
    after->models[0].latency.counts[1] += 20;
    after->models[0].latency.counts[2] += 20;
    sl_top_change(before, after, 2, change);
    CHECK(change->seconds == 2);
    CHECK(change->models[0].requests == 20);
    CHECK(change->models[0].errors == 0);
    CHECK(sl_top_quantile(&change->models[0].latency, 0.5) > 0.1);
    CHECK(sl_top_quantile(&change->models[0].ttft, 0.5) < 0);
    CHECK(change->models[1].requests == 0);
    /* A process that has restarted counts from zero. */
    after->models[0].requests = 3;
    after->models[0].latency.counts[2] = 3;
    sl_top_change(before, after, 2, change);
    CHECK(change->models[0].requests == 3);
    CHECK(change->models[0].latency.counts[2] == 3);
    sl_free(before);
    sl_free(after);
    sl_free(change);
}

SL_TEST(quantiles_as_prometheus_computes_them)
{
    sl_top_hist hist = {.count = 3, .bounds = {1, 2, (double)INFINITY}, .counts = {10, 20, 20}};
    CHECK(sl_top_quantile(&hist, 0.25) == 0.5);
    CHECK(sl_top_quantile(&hist, 0.5) == 1);
    CHECK(sl_top_quantile(&hist, 0.75) == 1.5);
    CHECK(sl_top_quantile(&hist, 1) == 2);
    hist.counts[2] = 40;
    CHECK(sl_top_quantile(&hist, 0.9) == 2); /* beyond the last bound: the last bound */
    sl_top_hist empty = {.count = 0};
    CHECK(sl_top_quantile(&empty, 0.5) < 0);
}

SL_TEST(too_many_models_are_left_out)
{
    sl_buf text;
    sl_buf_init(&text, 1 << 20);
    for (int i = 0; i < SL_TOP_MAX_MODELS + 10; i++)
        (void)sl_buf_printf(&text, LATENCY "_count{gen_ai_request_model=\"m%d\"} 1\n", i);
    (void)sl_buf_put_char(&text, 0);
    sl_top_page *page = read_page(text.data);
    CHECK_EQ(page->model_count, SL_TOP_MAX_MODELS);
    sl_free(page);
    sl_buf_done(&text);
}

SL_TEST(both_forms)
{
    sl_top_page *page = read_page(page_text);
    sl_buf out;
    sl_buf_init(&out, 1 << 16);
    CHECK_EQ(sl_top_text(page, false, &out), 0);
    CHECK(sl_str_find(sl_buf_str(&out), SL_STR("11.1 requests/s, 7 in flight, 10 failed, 50.0 tokens/s")) != SL_NPOS);
    CHECK(sl_str_chr(sl_buf_str(&out), '\033') == SL_NPOS);
    sl_buf_clear(&out);
    CHECK_EQ(sl_top_text(page, true, &out), 0);
    CHECK(sl_str_chr(sl_buf_str(&out), '\033') != SL_NPOS);
    sl_buf_clear(&out);
    CHECK_EQ(sl_top_json(page, &out), 0);
    CHECK(sl_str_find(sl_buf_str(&out),
                      SL_STR("\"model\":\"m\",\"requests\":110,\"requests_per_s\":11,\"errors\":10")) != SL_NPOS);
    CHECK(sl_str_find(sl_buf_str(&out), SL_STR("\"latency_ms\":{\"p50\":null,\"p95\":null}")) != SL_NPOS);
    sl_buf_done(&out);
    sl_free(page);
}

/* Names come from clients: nothing that a terminal obeys, cut between characters, one row for what looks the same. */
SL_TEST(names_are_plain)
{
    static const struct {
        const char *name, *shown;
    } cases[] = {
        {"gpt-4o", "gpt-4o"},
        {"", "(none)"},
        {"a\033[2Jb", "a?[2Jb"},
        {"a\x07\tb", "a??b"},
        {"a\x7f", "a?"},
        {"a\xc2\x9b"
         "2J",
         "a??2J"}, /* CSI in one character */
        {"\xc3\xa9\xe2\x82\xac", "\xc3\xa9\xe2\x82\xac"},
        {"a\xff"
         "b",
         "a?b"},
        {"a\xc3", "a?"},
        /* Escapes of the format; a backslash before anything else is one. */
        {"we\\\"ird\\\\mo\\ndel", "we\"ird\\mo?del"},
        {"\\\\n", "\\n"},
        {"a\\tb", "a\\tb"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        snprintf(text, sizeof text, LATENCY "_count{gen_ai_request_model=\"%s\"} 1\n", cases[i].name);
        sl_top_page *page = read_page(text);
        CHECK_EQ(page->model_count, 1);
        CHECK_STR(sl_str_c(page->models[0].name), cases[i].shown);
        sl_free(page);
    }
}

/* Cut to the room of a name, between characters and never within an escape. */
SL_TEST(long_names_are_cut)
{
    static const char *const units[] = {"x", "\xc3\xa9", "\xe2\x82\xac", "\\\\", "\\\""};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        for (size_t shift = 0; shift < 4; shift++) {
            char text[1024], name[512] = "";
            memset(name, 'y', shift);
            for (size_t n = 0; n < 130; n++)
                (void)strncat(name, units[i], sizeof name - strlen(name) - 1);
            (void)snprintf(text, sizeof text, LATENCY "_count{gen_ai_request_model=\"%s\"} 1\n", name);
            sl_top_page *page = read_page(text);
            REQUIRE(page->model_count == 1);
            size_t len = strlen(page->models[0].name);
            CHECK(len < SL_TOP_MAX_NAME && len > SL_TOP_MAX_NAME - 5);
            CHECK(sl_utf8_valid(sl_str_c(page->models[0].name)));
            sl_free(page);
        }
    }
}

/* Columns stand under one another: a name takes 28 characters, whatever its bytes, and no character is cut. */
SL_TEST(columns_stand_under_one_another)
{
    static const char *const characters[] = {"a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    for (size_t c = 0; c < sizeof characters / sizeof *characters; c++) {
        for (size_t count = 1; count <= 31; count++) {
            char name[160] = "", text[256];
            size_t len = 0;
            for (size_t i = 0; i < count; i++)
                len += (size_t)snprintf(name + len, sizeof name - len, "%s", characters[c]);
            snprintf(text, sizeof text, LATENCY "_count{gen_ai_request_model=\"%s\"} 1\n", name);
            sl_top_page *page = read_page(text);
            sl_buf out;
            sl_buf_init(&out, 1 << 16);
            CHECK_EQ(sl_top_text(page, false, &out), 0);
            CHECK(sl_utf8_valid(sl_buf_str(&out)));
            size_t characters_of_row = 0;
            size_t row = sl_str_find(sl_buf_str(&out), sl_str_c(characters[c])) == SL_NPOS ? 0 : out.len - 1;
            while (row > 0 && out.data[row - 1] != '\n')
                characters_of_row += ((unsigned char)out.data[--row] & 0xc0) != 0x80;
            CHECK_EQ(characters_of_row, 28 + 1 + 9 + 1 + 7 + 5 * 10);
            sl_buf_done(&out);
            sl_free(page);
        }
    }
}

/* A change is what the later page has more; of a process that has restarted (less than before): all it has. */
SL_TEST(changes_against_their_definition)
{
    uint64_t state = 5;
    static sl_top_page before, after, change;
    for (unsigned round = 0; round < 300; round++) {
        memset(&before, 0, sizeof before);
        memset(&after, 0, sizeof after);
        before.model_count = sl_chance(&state, 4);
        after.model_count = sl_chance(&state, 4);
        for (size_t m = 0; m < 4; m++) {
            snprintf(before.models[m].name, 8, "m%zu", (m + sl_chance(&state, 2) * 4) % 6);
            snprintf(after.models[m].name, 8, "m%zu", m);
            before.models[m].requests = sl_chance(&state, 100);
            after.models[m].requests = sl_chance(&state, 100);
            before.models[m].tokens_out = sl_chance(&state, 100);
            after.models[m].tokens_out = sl_chance(&state, 100);
        }
        sl_top_change(&before, &after, 2.5, &change);
        CHECK(change.seconds == 2.5);
        CHECK_EQ(change.model_count, after.model_count);
        for (size_t m = 0; m < after.model_count; m++) {
            double requests = after.models[m].requests, tokens = after.models[m].tokens_out;
            for (size_t b = 0; b < before.model_count; b++) {
                if (strcmp(before.models[b].name, after.models[m].name) != 0)
                    continue;
                requests -= before.models[b].requests <= requests ? before.models[b].requests : 0;
                tokens -= before.models[b].tokens_out <= tokens ? before.models[b].tokens_out : 0;
            }
            CHECK(change.models[m].requests == requests);
            CHECK(change.models[m].tokens_out == tokens);
        }
    }
}

/* Between two bounds whatever the counts, never less for a larger share, and never above the last finite bound. */
SL_TEST(quantiles_of_histograms_by_chance)
{
    uint64_t state = 3;
    for (unsigned round = 0; round < 500; round++) {
        static sl_top_hist hist;
        memset(&hist, 0, sizeof hist);
        hist.count = 2 + sl_chance(&state, SL_TOP_MAX_BOUNDS - 2);
        double total = 0;
        for (size_t i = 0; i < hist.count; i++) {
            total += sl_chance(&state, 3) ? sl_chance(&state, 50) : 0;
            hist.bounds[i] = i + 1 == hist.count ? (double)INFINITY : (double)(i + 1) / 8;
            hist.counts[i] = total;
        }
        double last = 0;
        for (unsigned percent = 0; percent <= 100; percent++) {
            double value = sl_top_quantile(&hist, percent / 100.0);
            if (total <= 0) {
                CHECK(value < 0);
                continue;
            }
            CHECK(value >= last);
            CHECK(value <= hist.bounds[hist.count - 2]);
            last = value;
        }
    }
}

/* Lines in any order, and twice as many as there is room for: the bounds stay in order. */
SL_TEST(buckets_in_any_order)
{
    uint64_t state = 17;
    sl_buf text;
    sl_buf_init(&text, 1 << 20);
    for (unsigned round = 0; round < 20; round++) {
        unsigned order[40] = {0};
        for (unsigned i = 0; i < 40; i++) {
            unsigned k = sl_chance(&state, i + 1);
            order[i] = order[k];
            order[k] = i;
        }
        sl_buf_clear(&text);
        for (unsigned i = 0; i < 40; i++) {
            if (order[i] == 39)
                (void)sl_buf_put_c(&text, LATENCY "_bucket{gen_ai_request_model=\"m\",le=\"+Inf\"} 390\n");
            else
                (void)sl_buf_printf(&text, LATENCY "_bucket{le=\"%u.5\",gen_ai_request_model=\"m\"} %u\n", order[i],
                                    order[i] * 10);
        }
        (void)sl_buf_put_char(&text, 0);
        sl_top_page *page = read_page(text.data);
        const sl_top_hist *hist = &page->models[0].latency;
        CHECK_EQ(hist->count, 40);
        for (size_t i = 0; i < hist->count; i++) {
            CHECK(i == 39 ? isinf(hist->bounds[i]) : hist->bounds[i] == (double)i + 0.5);
            CHECK(hist->counts[i] == (double)(i * 10));
        }
        sl_free(page);
    }
    sl_buf_done(&text);
}
