/* What steps tell others of their trace: servers, programs, the queue; and of redirects, names and lists the refusals.
 */
#include <stdlib.h>
#include <sys/stat.h>

#include "src/flow/step_http.h"
#include "src/flow/test_step_fixture.h"
#include "src/queue/queue.h"
#include "src/telemetry/sdk_impl.h"
#include "src/telemetry/segment.h"

extern const sl_step_kind sl_step_action_kind;
#define ACTION &sl_step_action_kind

typedef struct traced {
    bench_step b;
    sl_segment *segment;
    sl_sdk *sdk;
    sl_span *span;
    char trace_id[33], span_id[17];
} traced;

static void traced_open(traced *t)
{
    sl_segment_options small = {.size_bytes = SL_SEGMENT_MIN_BYTES, .threads = 4, .cells = 16384};
    sl_sdk_options options = {.ignore_environment = true};
    sl_sdk_internal_options internal;
    sl_span_context context;
    memset(t, 0, sizeof *t);
    memset(&internal, 0, sizeof internal);
    if (sl_segment_new(&small, &t->segment) != 0)
        abort();
    internal.segment = t->segment;
    internal.record_only = true;
    if (sl_sdk_new_internal(&options, &internal, &t->sdk) != 0)
        abort();
    step_open(&t->b);
    t->b.services.sdk = t->sdk;
    t->span = sl_span_start(sl_tracer_named(t->sdk, "test"), SL_STR("step.execute:one"), NULL);
    sl_span_get_context(t->span, &context);
    sl_hex_encode(context.trace_id, 16, t->trace_id);
    sl_hex_encode(context.span_id, 8, t->span_id);
}

static void traced_close(traced *t)
{
    sl_span_end(t->span);
    step_close(&t->b);
    (void)sl_sdk_shutdown(t->sdk, 1000);
    sl_sdk_free(t->sdk);
    sl_segment_free(t->segment);
}

static void traced_run(traced *t, const char *params)
{
    step_forget(&t->b);
    t->b.attempt.params = quoted(params);
    t->b.attempt.context = quoted("{'workflow':{'name':'w','run_id':'r'}}");
    t->b.step = (sl_step){.id = "one", .params = t->b.attempt.params};
    t->b.attempt.step = &t->b.step;
    t->b.attempt.loop = &t->b.loop;
    t->b.attempt.services = &t->b.services;
    t->b.attempt.span = t->span;
    sl_step_action_kind.start(&t->b.attempt);
    step_wait(&t->b);
}

/* "00-TRACE-SPAN-01" of this trace; the span is the step's own, or (`below`) one under it. */
static void check_traceparent(const traced *t, const char *text, bool below)
{
    REQUIRE(text && strlen(text) >= 55);
    CHECK(strncmp(text, "00-", 3) == 0 && text[35] == '-' && text[52] == '-');
    CHECK(strncmp(text + 3, t->trace_id, 32) == 0);
    CHECK_EQ(strncmp(text + 36, t->span_id, 16) != 0, below);
}

typedef struct kept {
    nf_server server;
    char last[8000];
} kept;

static void serve(nf_server *server, int fd, int number)
{
    kept *k = server->user;
    nf_message m;
    (void)number;
    while (nf_read_message(fd, true, false, &m)) {
        (void)snprintf(k->last, sizeof k->last, "%.*s", (int)m.len, m.data);
        nf_message_free(&m);
        if (!nf_send_c(fd, "HTTP/1.1 204 No Content\r\n\r\n"))
            return;
    }
}

SL_TEST(servers_get_the_trace)
{
    static traced t;
    static kept k;
    char params[200];
    traced_open(&t);
    nf_server_start(&k.server, serve, &k);
    (void)snprintf(params, sizeof params, "{'action':'http','url':'http://127.0.0.1:%u/a?key=secret'}", k.server.port);
    traced_run(&t, params);
    CHECK_RESULT(&t.b, 0, "''");
    const char *field = strstr(k.last, "traceparent: ");
    check_traceparent(&t, field ? field + 13 : NULL, true);
    (void)snprintf(params, sizeof params, "{'action':'webhook','url':'http://127.0.0.1:%u/','body':1}", k.server.port);
    traced_run(&t, params);
    field = strstr(k.last, "traceparent: ");
    check_traceparent(&t, field ? field + 13 : NULL, true);
    nf_server_stop(&k.server);
    traced_run(&t, params);
    CHECK_EQ(t.b.error, SL_STEP_ERROR_PROVIDER);
    traced_close(&t);
}

SL_TEST(programs_get_the_trace)
{
    static traced t;
    traced_open(&t);
    t.b.services.exec_allowed[0] = "/bin/sh";
    t.b.services.exec_allowed_count = 1;
    traced_run(&t, "{'action':'exec','command':'/bin/sh','args':['-c','echo $TRACEPARENT']}");
    check_traceparent(&t, json_string_value(json_array_get(t.b.results, 0)), false);
    traced_close(&t);
}

SL_TEST(messages_carry_the_trace)
{
    static traced t;
    char folder[] = "/tmp/sightline-test-trace-XXXXXX", path[80], command[100], error[200];
    REQUIRE(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof path, "%s/queue.db", folder);
    sl_queue_options options = {.path = path};
    traced_open(&t);
    REQUIRE(sl_queue_open(&options, error, sizeof error, &t.b.services.queue) == 0);
    traced_run(&t, "{'action':'queue','topic':'t','message':'m'}");
    sl_queue_message *message = NULL;
    REQUIRE(sl_queue_take(t.b.services.queue, SL_STR("t"), 1000, &message) == 0);
    char trace[64] = "";
    CHECK(sl_str_to_c(message->trace, trace, sizeof trace));
    check_traceparent(&t, trace, true);
    sl_queue_message_free(message);
    traced_run(&t, "{'action':'log','message':'in the trace','level':'error','fields':{'a':[1]}}");
    CHECK_EQ(t.b.error, 0);
    traced_run(&t, "{'action':'nobody','x':1}");
    CHECK_EQ(t.b.error, 0);
    traced_close(&t);
    sl_queue_close(t.b.services.queue);
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    CHECK(system(command) == 0);
}

/* Each allocation of a call fails in turn: an error of the step, or none was needed; nothing is left behind. */
SL_TEST(memory_runs_out_in_a_call)
{
    static traced t;
    static kept k;
    char params[200];
    traced_open(&t);
    nf_server_start(&k.server, serve, &k);
    (void)snprintf(params, sizeof params, "{'action':'http','url':'http://127.0.0.1:%u/','body':{'a':1}}",
                   k.server.port);
    traced_run(&t, params); /* what is made once is there */
    bool failed = true;
    for (long n = 0; failed && n < 100; n++) {
        sl_test_fail_alloc(n);
        traced_run(&t, params);
        failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK(failed || t.b.error == 0);
        CHECK_EQ(t.b.ends, 1);
    }
    traced_run(&t, params);
    CHECK_EQ(t.b.error, 0);
    nf_server_stop(&k.server);
    traced_close(&t);
}

SL_TEST(statuses_and_retries)
{
    static const struct {
        int status;
        sl_step_error error;
    } cases[] = {{400, SL_STEP_ERROR_REFUSED},  {401, SL_STEP_ERROR_REFUSED},  {404, SL_STEP_ERROR_REFUSED},
                 {408, SL_STEP_ERROR_PROVIDER}, {409, SL_STEP_ERROR_PROVIDER}, {425, SL_STEP_ERROR_PROVIDER},
                 {429, SL_STEP_ERROR_PROVIDER}, {500, SL_STEP_ERROR_PROVIDER}, {503, SL_STEP_ERROR_PROVIDER},
                 {301, SL_STEP_ERROR_REFUSED},  {418, SL_STEP_ERROR_REFUSED},  {599, SL_STEP_ERROR_PROVIDER}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_EQ(sl_flow_http_status_error(cases[i].status), cases[i].error);
}
