/* What the queue writes into the metrics. Spans are in test_queue_http.c, where they cross a process's border. */
#include "src/queue/queue_telemetry.h"

#include <sightline/sightline.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/base/str.h"
#include "tests/harness/sl_test.h"

typedef struct site {
    char folder[64], path[96];
    sl_queue *queue;
    sl_sdk *sdk;
    sl_queue_telemetry *telemetry;
} site;

static bool site_open(site *s)
{
    char error[256];
    sl_sdk_options options = {.ignore_environment = true, .no_default_exporters = true};
    memset(s, 0, sizeof *s);
    (void)snprintf(s->folder, sizeof s->folder, "/tmp/sl-test-queue-telemetry-XXXXXX");
    if (!sl_test_mkdtemp(s->folder))
        return false;
    (void)snprintf(s->path, sizeof s->path, "%s/queue.db", s->folder);
    return sl_queue_open(&(sl_queue_options){.path = s->path}, error, sizeof error, &s->queue) == 0 &&
           sl_sdk_new(&options, &s->sdk) == 0 && sl_queue_telemetry_new(s->sdk, s->queue, &s->telemetry) == 0;
}

static void site_close(site *s)
{
    sl_queue_telemetry_free(s->telemetry);
    sl_sdk_free(s->sdk);
    sl_queue_close(s->queue);
}

static void put(site *s, const char *topic, uint64_t delay_ms)
{
    sl_queue_accepted accepted;
    sl_queue_put message = {.topic = sl_str_c(topic), .body = SL_STR("{}"), .delay_ms = delay_ms};
    CHECK_EQ(sl_queue_put_wait(s->queue, &message, &accepted), 0);
}

/* True when a line of the exposition is `line`. */
static bool shows(site *s, const char *line)
{
    char *text;
    size_t len;
    if (sl_prometheus_gather(s->sdk, SL_PROMETHEUS_TEXT, &text, &len))
        return false;
    sl_str rest = sl_str_of(text, len), row;
    bool found = false;
    while (sl_str_split(&rest, '\n', &row))
        found |= sl_str_eq_c(row, line);
    free(text);
    return found;
}

#define MESSAGES(topic, state, n) "sightline_queue_messages{state=\"" state "\",topic=\"" topic "\"} " n

SL_TEST(depth_of_each_topic_by_state)
{
    site s;
    REQUIRE(site_open(&s));
    put(&s, "a", 0);
    put(&s, "a", 0);
    put(&s, "a", 3600000);
    put(&s, "b", 0);
    sl_queue_message *message = NULL;
    REQUIRE(sl_queue_take(s.queue, SL_STR("a"), 60000, &message) == 0);
    CHECK(!shows(&s, MESSAGES("a", "ready", "1"))); /* nobody has asked yet */
    sl_queue_telemetry_refresh(s.telemetry);
    CHECK(shows(&s, MESSAGES("a", "ready", "1")));
    CHECK(shows(&s, MESSAGES("a", "leased", "1")));
    CHECK(shows(&s, MESSAGES("a", "delayed", "1")));
    CHECK(shows(&s, MESSAGES("a", "dead", "0")));
    CHECK(shows(&s, MESSAGES("b", "ready", "1")));
    CHECK_EQ(sl_queue_nack(s.queue, message->id, message->lease, 0, true, SL_STR("no use")), 0);
    sl_queue_message_free(message);
    for (int i = 0; i < 500 && !shows(&s, MESSAGES("a", "dead", "1")); i++) {
        usleep(10000);
        sl_queue_telemetry_refresh(s.telemetry);
    }
    CHECK(shows(&s, MESSAGES("a", "dead", "1")));
    CHECK(shows(&s, MESSAGES("a", "leased", "0")));
    site_close(&s);
}

SL_TEST(commits_are_told_once)
{
    site s;
    REQUIRE(site_open(&s));
    for (int i = 0; i < 5; i++)
        put(&s, "a", 0);
    for (int i = 0; i < 3; i++)
        sl_queue_telemetry_refresh(s.telemetry);
    sl_queue_disk_stats disk;
    sl_queue_get_disk_stats(s.queue, &disk);
    CHECK(disk.commits >= 5);
    char line[96];
    (void)snprintf(line, sizeof line, "sightline_queue_commits_total{result=\"ok\"} %llu",
                   (unsigned long long)disk.commits);
    CHECK(shows(&s, line));
    CHECK(shows(&s, "sightline_queue_commits_total{result=\"failed\"} 0"));
    site_close(&s);
}

SL_TEST(without_telemetry_nothing_happens)
{
    sl_queue_telemetry_refresh(NULL);
    sl_queue_telemetry_free(NULL);
}
