/*
 * Keeps recording what the alerts of the workflow guides look at, until it is ended: workflows that take 100 seconds,
 * time out and fail, a provider that answers nothing but errors.
 * Metrics are scraped where OTEL_EXPORTER_PROMETHEUS_PORT says.
 */
#define _POSIX_C_SOURCE 200809L
#include <sightline/sightline.h>
#include <stdio.h>
#include <time.h>

static void record_round(sl_sdk *sdk)
{
    sl_record_workflow_start(sdk);
    sl_record_step_execution(sdk, "llm", 1.5, "success");
    sl_record_step_execution(sdk, "transform", 0.01, "skipped");
    sl_record_llm_request(sdk, "openai", "gpt-4o-mini", 2.5, false, 100, 50);
    sl_record_llm_request(sdk, "anthropic", "claude-haiku", 1.5, true, 100, 50);
    sl_record_error(sdk, "timeout", "executor");
    sl_record_error(sdk, "provider_error", "provider");
    sl_record_workflow_complete(sdk, "rag-pipeline", 100.0, true);
    sl_record_workflow_start(sdk);
    sl_record_workflow_complete(sdk, "rag-pipeline", 100.0, false);
}

int main(void)
{
    sl_sdk_options options = {.service_name = "llm-orchestrator"};
    sl_sdk *sdk = NULL;
    int rc = sl_sdk_new(&options, &sdk);
    if (rc) {
        fprintf(stderr, "flow_load: %s\n", sl_strerror(rc));
        return 1;
    }
    for (;;) {
        struct timespec pause = {0, 50 * 1000 * 1000};
        record_round(sdk);
        nanosleep(&pause, NULL);
    }
}
