/* The calls of <sightline/flow.h>: each family moves as told, the text is that of the guide. */
#include <sightline/sightline.h>
#include <stdlib.h>

#include "src/base/str.h"
#include "tests/harness/sl_test.h"

static sl_sdk *quiet_sdk(void)
{
    sl_sdk *sdk = NULL;
    const sl_sdk_options options = {.ignore_environment = true, .no_default_exporters = true};
    return sl_sdk_new(&options, &sdk) == 0 ? sdk : NULL;
}

static bool has(const char *text, const char *line)
{
    bool found = text && sl_str_find(sl_str_c(text), sl_str_c(line)) != SL_NPOS;
    if (!found)
        sl_test_failed(__FILE__, __LINE__, "not there: %s", line);
    return found;
}

SL_TEST(each_family_is_recorded_from_code)
{
    sl_sdk *sdk = quiet_sdk();
    REQUIRE(sdk);
    sl_record_workflow_start(sdk);
    sl_record_workflow_start(sdk);
    sl_record_workflow_complete(sdk, "my-workflow", 5.2, true);
    sl_record_llm_request(sdk, "anthropic", "claude-3-5-sonnet", 2.3, true, 100, 50);
    sl_record_llm_request(sdk, "anthropic", "claude-3-5-sonnet", 0.3, false, -1, -1);
    sl_record_step_execution(sdk, "llm", 1.2, "success");
    sl_record_step_execution(sdk, "llm", 0, "skipped");
    sl_record_error(sdk, "timeout", "executor");
    char *text = sl_gather_metrics(sdk);
    static const char *const lines[] = {
        "# HELP orchestrator_workflow_executions_total Total number of workflow executions\n"
        "# TYPE orchestrator_workflow_executions_total counter\n"
        "orchestrator_workflow_executions_total{status=\"success\",workflow_name=\"my-workflow\"} 1\n",
        "orchestrator_workflow_duration_seconds_bucket{workflow_name=\"my-workflow\",le=\"5\"} 0\n",
        "orchestrator_workflow_duration_seconds_bucket{workflow_name=\"my-workflow\",le=\"10\"} 1\n",
        "# TYPE orchestrator_active_workflows gauge\norchestrator_active_workflows 1\n",
        "orchestrator_llm_requests_total{model=\"claude-3-5-sonnet\",provider=\"anthropic\",status=\"success\"} 1\n",
        "orchestrator_llm_requests_total{model=\"claude-3-5-sonnet\",provider=\"anthropic\",status=\"failure\"} 1\n",
        "orchestrator_llm_tokens_total{model=\"claude-3-5-sonnet\",provider=\"anthropic\",type=\"input\"} 100\n",
        "orchestrator_llm_tokens_total{model=\"claude-3-5-sonnet\",provider=\"anthropic\",type=\"output\"} 50\n",
        "orchestrator_llm_request_duration_seconds_count{model=\"claude-3-5-sonnet\",provider=\"anthropic\"} 2\n",
        "orchestrator_step_executions_total{status=\"success\",step_type=\"llm\"} 1\n",
        "orchestrator_step_executions_total{status=\"skipped\",step_type=\"llm\"} 1\n",
        "orchestrator_step_duration_seconds_count{step_type=\"llm\"} 1\n",
        "orchestrator_errors_total{component=\"executor\",error_type=\"timeout\"} 1\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        CHECK(has(text, lines[i]));
    free(text);
    sl_sdk_free(sdk);
}

SL_TEST(nothing_happens_without_an_sdk)
{
    sl_record_workflow_start(NULL);
    sl_record_workflow_complete(NULL, "w", 1, false);
    sl_record_llm_request(NULL, "p", "m", 1, true, 1, 1);
    sl_record_step_execution(NULL, "llm", 1, "failure");
    sl_record_error(NULL, "timeout", "executor");
    CHECK(sl_gather_metrics(NULL) == NULL);
}
