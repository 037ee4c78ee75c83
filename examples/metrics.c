/* Metrics: a counter and a histogram bound once, a callback, a view, and the Prometheus text of it all. */
#include <sightline/sightline.h>
#include <stdio.h>
#include <stdlib.h>

static void observe_queue(void *user, sl_observer *observer)
{
    sl_observe(observer, *(const double *)user, NULL, 0);
}

int main(void)
{
    static const double seconds[] = {0.1, 0.5, 1, 5};
    sl_sdk_options options = {.no_default_exporters = true};
    sl_sdk *sdk;
    if (sl_sdk_new(&options, &sdk) != 0)
        return 1;

    /* The same measurements under a second name with other buckets. */
    sl_view view = {
        .instrument = "app.request.duration", .name = "app_request_seconds", .bounds = seconds, .bound_count = 4};
    if (sl_view_add(sdk, &view) != 0)
        return 1;

    sl_meter *meter = sl_meter_named(sdk, "example");
    sl_instrument *requests = sl_instrument_new(meter, &(sl_instrument_options){.kind = SL_COUNTER,
                                                                                .name = "app_requests_total",
                                                                                .description = "Requests answered."});
    sl_instrument *duration = sl_instrument_new(
        meter, &(sl_instrument_options){.kind = SL_HISTOGRAM, .name = "app.request.duration", .unit = "s"});
    sl_instrument *queue = sl_instrument_new(
        meter, &(sl_instrument_options){.kind = SL_GAUGE, .name = "app_queue_depth", .is_double = true});
    double depth = 3;
    if (sl_instrument_on_collect(queue, observe_queue, &depth) != 0)
        return 1;

    /* Bound once; recording is then a few nanoseconds from any thread. */
    sl_attr ok = sl_attr_str("status", "200");
    sl_series *answered = sl_instrument_bind(requests, &ok, 1);
    sl_series *took = sl_instrument_bind(duration, NULL, 0);
    for (int i = 0; i < 100; i++) {
        sl_counter_add(answered, 1);
        sl_histogram_record(took, i / 50.0);
    }

    char *text;
    size_t len;
    if (sl_prometheus_gather(sdk, SL_PROMETHEUS_TEXT, &text, &len) != 0)
        return 1;
    fwrite(text, 1, len, stdout);
    free(text);
    sl_instrument_off_collect(queue, observe_queue, &depth);
    sl_sdk_free(sdk);
    return 0;
}
