/* What `sightline gen` prints: bounded, whole, and queries that name only metrics that exist. */
#include "src/cli/gen.h"

#include "src/wire/json_scan.h"
#include "tests/harness/sl_test.h"

SL_TEST(queries_that_are_known_and_not)
{
    static const struct {
        const char *query, *unknown; /* "" : known */
    } table[] = {
        {"up", ""},
        {"up == 0", ""},
        {"1 + 2.5", ""},
        {"", ""},
        {"rate(orchestrator_errors_total[5m]) > 0.05", ""},
        {"rate(orchestrator_error_total[5m]) > 0.05", "orchestrator_error_total"},
        {"orchestrator_workflow_duration_seconds_bucket", ""},
        {"orchestrator_workflow_duration_seconds_sum / orchestrator_workflow_duration_seconds_count", ""},
        {"orchestrator_workflow_duration_seconds", "orchestrator_workflow_duration_seconds"},
        {"orchestrator_workflow_duration_seconds_buckets", "orchestrator_workflow_duration_seconds_buckets"},
        {"orchestrator_errors_total_count", "orchestrator_errors_total_count"},
        {"http_server_request_duration_seconds_bucket{http_route=\"a}b\"}", ""},
        {"http.server.request.duration", "http"},
        {"sum by (provider, type) (rate(orchestrator_llm_tokens_total[5m]))", ""},
        {"sum without (nobody) (up)", ""},
        {"sum(up) by (nobody)", ""},
        {"up / on (instance) group_left (x) upp", "upp"},
        {"sum by (provider) (rate(llm_tokens_total[5m]))", "llm_tokens_total"},
        {"up{job=\"nobody_total\\\"}\"}", ""},
        {"up[5m:1m]", ""},
        {"histogram_quantile(0.95,\n  rate(llamastack_request_duration_seconds_bucket[5m])\n) > 2", ""},
        {"process_cpu_seconds_total + process_cpu_second", "process_cpu_second"},
        {"up{", ""},
        {"up[", ""},
        {"up{a=\"\\", ""},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char name[64] = "";
        bool known = sl_gen_query_is_known(table[i].query, name, sizeof name);
        CHECK_EQ(known, table[i].unknown[0] == 0);
        CHECK_STR(sl_str_c(name), table[i].unknown);
    }
}

SL_TEST(every_query_names_metrics_that_exist)
{
    size_t count = 0;
    for (const char *query; (query = sl_gen_query_at(count)) != NULL; count++) {
        char name[128] = "";
        CHECK(sl_gen_query_is_known(query, name, sizeof name));
        CHECK_STR(sl_str_c(name), "");
    }
    CHECK(count > 20);
}

SL_TEST(every_file_is_printed)
{
    for (size_t k = 0; sl_gen_kinds[k]; k++) {
        const sl_gen_kind *kind = sl_gen_kinds[k];
        size_t total = 0;
        sl_buf out;
        sl_buf_init(&out, 1u << 20);
        CHECK(kind->name[0] && kind->folder[0] && kind->count() > 0);
        for (size_t i = 0; i < kind->count(); i++) {
            CHECK(kind->item(i)[0] && kind->file(i)[0] && !strchr(kind->file(i), '/'));
            for (size_t j = 0; j < i; j++)
                CHECK(strcmp(kind->item(i), kind->item(j)) != 0 && strcmp(kind->file(i), kind->file(j)) != 0);
            sl_buf_clear(&out);
            CHECK_EQ(kind->print(i, &out), 0);
            CHECK(out.len > 100 && out.data[out.len - 1] == '\n');
            CHECK(sl_utf8_valid(sl_buf_str(&out)) && !memchr(out.data, '\t', out.len));
            total += out.len;
        }
        sl_buf_clear(&out);
        CHECK_EQ(kind->print_all(&out), 0);
        CHECK(out.len > total / 2);
        sl_buf_done(&out);
    }
}

SL_TEST(dashboards_are_json)
{
    const sl_gen_kind *kind = &sl_gen_dashboards;
    for (size_t i = 0; i < kind->count(); i++) {
        sl_json_value root;
        sl_buf out;
        sl_buf_init(&out, 1u << 20);
        CHECK_EQ(kind->print(i, &out), 0);
        CHECK_EQ(sl_json_parse(sl_buf_str(&out), &root, NULL), 0);
        size_t panels = sl_json_count(sl_json_get(root, "panels"));
        CHECK(panels >= 3 && panels <= 24);
        CHECK_EQ(sl_json_get(root, "uid").type, SL_JSON_STRING);
        sl_buf_done(&out);
    }
}

SL_TEST(a_buffer_that_is_too_small_is_an_error)
{
    for (size_t k = 0; sl_gen_kinds[k]; k++) {
        for (size_t max = 1; max < 100; max += 33) {
            sl_buf out;
            sl_buf_init(&out, max);
            CHECK(sl_gen_kinds[k]->print(0, &out) != 0);
            sl_buf_done(&out);
        }
    }
}
