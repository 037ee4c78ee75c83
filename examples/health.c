/* Health: checks with timeouts on a thread of their own, and the JSON that a probe gets at once. */
#include <sightline/sightline.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static sl_health_status model_is_loaded(void *user, char *reason, size_t size)
{
    if (*(const bool *)user)
        return SL_HEALTHY;
    snprintf(reason, size, "the model is still loading");
    return SL_DEGRADED;
}

int main(void)
{
    bool loaded = true;
    sl_health *health = sl_health_new();
    sl_health_check_options often = {.timeout_ms = 500, .interval_ms = 100};
    if (!health || sl_health_add(health, "model", model_is_loaded, &loaded, &often) != 0 ||
        sl_health_add_memory(health, "memory", 1024u * 1024 * 1024, &often) != 0 ||
        sl_health_add_disk(health, "disk", "/", 1024 * 1024, &often) != 0)
        return 1;

    struct timespec moment = {0, 300 * 1000000};
    nanosleep(&moment, NULL); /* the first round of checks */
    char *body;
    int status;
    if (sl_health_answer(health, SL_STR("/health/ready"), &status, &body) != 0)
        return 1;
    printf("%d %s\n", status, body);
    free(body);
    sl_health_free(health);
    return status == 200 ? 0 : 1;
}
