/* What `sightline exec` opens beside the program, and what it refuses before. */
#include "src/cli/exec_telemetry.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/cli/commands.h"
#include "src/probe/ring.h"
#include "tests/harness/sl_test.h"

#define MAX_ARGS 8

/* Arguments of the command, parsed; environment variables are none. */
static sl_exec_options parsed(const char *const *words)
{
    static char *argv[MAX_ARGS + 1];
    char *rest[MAX_ARGS], special = 0;
    int count = 0;
    size_t rest_count;
    sl_exec_options options = {.flush_ms = 0};
    sl_buf error;
    sl_buf_init(&error, 4096);
    for (; words[count] && count < MAX_ARGS; count++)
        argv[count] = (char *)(uintptr_t)words[count];
    CHECK_EQ(sl_options_parse(&sl_cmd_exec, count, argv, &options, rest, &rest_count, &special, &error), 0);
    sl_buf_done(&error);
    return options;
}
#define PARSED(...) parsed((const char *const[]){__VA_ARGS__, NULL})

/* Closing is the process's last deed, and leaves what threads may still use; a test goes on. */
static void end(sl_exec_telemetry *t)
{
    sl_exec_telemetry_close(t);
    sl_ctl_server_free(t->server);
    sl_process_metrics_free(t->process);
    sl_sdk_free(t->sdk);
    sl_live_free(t->live);
}

SL_TEST(what_a_start_would_refuse_is_said_before)
{
    static const struct {
        const char *words[4];
        int status;
    } rows[] = {
        {{"--metrics-listen", "127.0.0.1:0"}, 0},       {{"--metrics-listen", "nowhere:x"}, SL_EXIT_USAGE},
        {{"--decode-span-every", "0"}, SL_EXIT_USAGE},  {{"--decode-span-every", "4294967296"}, SL_EXIT_USAGE},
        {{"--flush-timeout", "61"}, SL_EXIT_USAGE},     {{"--quotas", "queue=8,context=0.5"}, 0},
        {{"--quotas", "queue=many"}, SL_EXIT_USAGE},    {{"--front-to", "127.0.0.1:8080"}, 0},
        {{"--front-to", "off"}, SL_EXIT_USAGE},         {{"--front-to", "127.0.0.1:0"}, SL_EXIT_USAGE},
        {{"--view", "ftp://somewhere"}, SL_EXIT_USAGE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_exec_options o = PARSED(rows[i].words[0], rows[i].words[1]);
        CHECK_EQ(sl_exec_telemetry_check(&sl_cmd_exec, &o), rows[i].status);
    }
}

/* Events of a ring that the program gave become spans of its process, and what was not read yet at the end counts too.
 */
SL_TEST(a_ring_is_read_to_its_end)
{
    static sl_exec_telemetry t;
    char name[] = "/models/server";
    char *argv[] = {name, NULL};
    sl_exec_options o = PARSED("--metrics-listen", "off", "--view", "off");
    sl_exec_program program = {.argv = argv, .pid = (int)getpid()};
    REQUIRE(sl_probe_ring_new(NULL, 0, &program.ring) == 0);
    REQUIRE(sl_exec_telemetry_open(&t, &sl_cmd_exec, &o, &program, NULL) == 0);
    CHECK(!t.disabled && t.reader && t.sdk);
    for (int id = 0; id < SL_EXEC_LISTENER_COUNT; id++)
        CHECK(t.addrs[id].off);
    sl_exec_telemetry_started(&t);
    for (uint32_t i = 0; i < 100; i++) {
        sl_probe_event *e = sl_probe_ring_take(program.ring, sizeof *e);
        REQUIRE(e);
        memset((char *)e + sizeof e->size, 0, sizeof *e - sizeof e->size);
        e->kind = SL_PROBE_EXIT;
        e->time_ns = sl_mono_ns();
        sl_probe_ring_commit(e, sizeof *e);
    }
    sl_probe_ring_close(program.ring);
    end(&t);
    sl_probe_ring_info info;
    sl_probe_ring_get_info(program.ring, &info);
    CHECK_EQ(info.written, 100);
    CHECK_EQ(info.waiting_bytes, 0);
    CHECK_EQ(t.hosts_seen, 1);
    sl_probe_ring_free(program.ring);
}

/* A listener that was asked for and cannot be is a fault; one that is there by default is left out. */
SL_TEST(a_port_that_is_taken)
{
    static sl_exec_telemetry first, second, third;
    char name[] = "server", address[64];
    char *argv[] = {name, NULL};
    sl_exec_program program = {.argv = argv, .pid = (int)getpid()};
    sl_exec_options o = PARSED("--metrics-listen", "127.0.0.1:0", "--view", "off");
    REQUIRE(sl_exec_telemetry_open(&first, &sl_cmd_exec, &o, &program, NULL) == 0);
    CHECK(first.disabled && !first.addrs[SL_EXEC_metrics].off && first.addrs[SL_EXEC_metrics].port);
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", first.addrs[SL_EXEC_metrics].port);
    o = PARSED("--metrics-listen", address, "--view", "off");
    CHECK_EQ(sl_exec_telemetry_open(&second, &sl_cmd_exec, &o, &program, NULL), SL_EXIT_FAILED);
    o = PARSED("--view", "off");
    o.listen[SL_EXEC_metrics] = sl_str_c(address); /* as if it were the default */
    CHECK_EQ(sl_exec_telemetry_open(&third, &sl_cmd_exec, &o, &program, NULL), 0);
    CHECK(third.addrs[SL_EXEC_metrics].off);
    end(&third);
    end(&first);
}
