/*
 * From a message to a result: what workers may say and in which order, what is not understood, runs that end once
 * whatever is said twice; and all of it while memory runs out. A task is lost to none of these.
 */
#include "src/flow/test_json_memory.h"
#include "src/flow/test_server_fixture.h"

/* What a run gave, as text; "" while it has none. */
static void output_of(fs *s, const char *run, const char *key, char *ret, size_t size)
{
    char target[200];
    (void)snprintf(target, sizeof target, "/runs/%.63s", run);
    json_t *answer = fs_ask(s, FS_API, "GET", target, "", 200);
    json_t *outputs = json_object_get(answer, "outputs");
    const json_t *value = json_object_get(outputs, key), *part = json_object_get(value, "text");
    const char *text = json_string_value(part ? part : value);
    (void)snprintf(ret, size, "%s", text ? text : "");
    json_decref(answer);
}

static uint64_t waiting_in(fs *s, const char *topic)
{
    json_t *stats = fs_ask(s, FS_QUEUE, "GET", "/queues", "", 200), *one;
    json_t *list = json_object_get(stats, "topics");
    uint64_t count = 0;
    size_t i;
    json_array_foreach(list ? list : stats, i, one)
    {
        const char *name = json_string_value(json_object_get(one, "topic"));
        if (name && strcmp(name, topic) == 0)
            count = (uint64_t)(json_integer_value(json_object_get(one, "ready")) +
                               json_integer_value(json_object_get(one, "leased")) +
                               json_integer_value(json_object_get(one, "delayed")));
    }
    json_decref(stats);
    return count;
}

static bool is_empty(fs *s, const char *topic)
{
    for (int i = 0; i < 1000; i++) {
        if (waiting_in(s, topic) == 0)
            return true;
        nf_sleep_ms(5);
    }
    return false;
}

/* ---- what is not understood ---- */

/* %s: the task's id. Each is taken out of the queue, and changes nothing. */
static const char *const strange[] = {
    "",
    "no JSON",
    "null",
    "[]",
    "{}",
    "\"text\"",
    "{\"action\":\"completed_task\"}",
    "{\"action\":\"completed_task\",\"data\":null}",
    "{\"action\":\"completed_task\",\"data\":{}}",
    "{\"action\":\"completed_task\",\"data\":{\"task_id\":\"%s\"}}",
    "{\"action\":\"completed_task\",\"data\":{\"task_id\":\"%s\",\"result\":null}}",
    "{\"action\":\"completed_task\",\"data\":{\"task_id\":\"%s\",\"result\":7}}",
    "{\"action\":\"completed_task\",\"data\":{\"task_id\":\"%s\",\"result\":{\"a\":1}}}",
    "{\"action\":\"completed_task\",\"data\":{\"task_id\":7,\"result\":\"x\"}}",
    "{\"action\":\"completed_task\",\"data\":{\"task_id\":\"\",\"result\":\"x\"}}",
    "{\"action\":\"completed_task\",\"data\":{\"task_id\":\"../../etc\",\"result\":\"x\"}}",
    "{\"action\":\"completed_task\",\"data\":{\"task_id\":\"nobody\",\"result\":\"x\"}}",
    "{\"action\":\"COMPLETED_TASK\",\"data\":{\"task_id\":\"%s\",\"result\":\"x\"}}",
    "{\"action\":\"new_task\",\"data\":{\"task_id\":\"%s\",\"result\":\"x\"}}",
    "{\"action\":null,\"data\":{\"task_id\":\"%s\",\"result\":\"x\"}}",
    "{\"action\":\"task_stream\",\"data\":{\"task_id\":\"%s\"}}",
    "{\"action\":\"task_stream\",\"data\":{\"task_id\":\"%s\",\"index\":0}}",
    "{\"action\":\"task_stream\",\"data\":{\"task_id\":\"%s\",\"data\":{}}}",
    "{\"action\":\"task_stream\",\"data\":{\"task_id\":\"%s\",\"index\":\"0\",\"data\":{}}}",
    "{\"action\":\"task_stream\",\"data\":{\"task_id\":\"%s\",\"index\":-1,\"data\":{}}}",
    "{\"action\":\"task_stream\",\"data\":{\"task_id\":\"%s\",\"index\":1.5,\"data\":{}}}",
    "{\"action\":\"task_stream\",\"data\":{\"task_id\":\"%s\",\"index\":2147483648,\"data\":{}}}",
    "{\"action\":\"task_stream\",\"data\":{\"task_id\":\"%s\",\"index\":99999999999999999999,\"data\":{}}}",
    "{\"action\":\"completed_task\",\"data\":{\"task_id\":\"%s\",\"result\":\"x\"}",
};

SL_TEST(letters_that_are_not_understood_change_nothing)
{
    static fs s;
    char id[64], body[400];
    REQUIRE(fs_new(&s, 0));
    fs_add(&s, FS_ECHO);
    fs_begin(&s, "echo", "{}", id);
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        (void)snprintf(body, sizeof body, strange[i], id);
        fs_expect(&s, FS_QUEUE, "POST", "/queues/llama_deploy.control_plane/messages", body, 201);
        nf_message m = fs_send(&s, FS_CONTROL, "POST", "/process_message", "", body);
        if (m.status != 422 && m.status != 200)
            sl_test_failed(__FILE__, __LINE__, "%s: %d", body, m.status);
        nf_message_free(&m);
    }
    CHECK(is_empty(&s, "llama_deploy.control_plane"));
    CHECK_STR(sl_str_c(fs_status(&s, id)), "queued");
    fs_result(&s, id, "good");
    CHECK(fs_comes_to(&s, id, "succeeded"));
    fs_stop(&s);
}

/* ---- results ---- */

static const struct {
    const char *data; /* beside id and history */
    const char *status, *key, *output, *error;
} results[] = {
    {"{\"result\":\"42\"}", "succeeded", "result", "42", ""},
    {"{\"result\":\"\"}", "succeeded", "result", "", ""},
    {"{\"result\":\"42\",\"data\":{}}", "succeeded", "result", "42", ""},
    {"{\"result\":\"42\",\"data\":null}", "succeeded", "result", "42", ""},
    {"{\"result\":\"42\",\"data\":{\"status\":\"succeeded\",\"outputs\":{\"a\":\"b\"}}}", "succeeded", "a", "b", ""},
    {"{\"result\":\"42\",\"data\":{\"status\":\"unheard of\",\"outputs\":{\"a\":\"b\"}}}", "succeeded", "a", "b", ""},
    {"{\"result\":\"42\",\"data\":{\"status\":7,\"outputs\":[]}}", "succeeded", "result", "42", ""},
    {"{\"result\":\"no\",\"data\":{\"status\":\"failed\",\"error\":\"it broke\",\"error_type\":\"provider\"}}",
     "failed", "a", "", "it broke"},
    {"{\"result\":\"no\",\"data\":{\"status\":\"cancelled\",\"error\":\"stopped\",\"outputs\":{}}}", "cancelled", "a",
     "", "stopped"},
    {"{\"result\":\"no\",\"data\":{\"status\":\"failed\"}}", "failed", "a", "", ""},
};

SL_TEST(results_as_workers_of_any_make_give_them)
{
    static fs s;
    REQUIRE(fs_new(&s, 0));
    fs_add(&s, FS_ECHO);
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        char id[64], text[100], error[100], target[200];
        fs_begin(&s, "echo", "{}", id);
        json_t *data = json_loads(results[i].data, 0, NULL);
        REQUIRE(data != NULL);
        (void)json_object_set_new(data, "task_id", json_string(id));
        fs_say(&s, "completed_task", json_incref(data));
        CHECK(fs_comes_to(&s, id, results[i].status));
        fs_say(&s, "completed_task", data); /* the same again, as after a lost acknowledgement */
        fs_result(&s, id, "another");       /* an end is an end */
        CHECK(is_empty(&s, "llama_deploy.control_plane"));
        CHECK_STR(sl_str_c(fs_status(&s, id)), results[i].status);
        output_of(&s, id, results[i].key, text, sizeof text);
        CHECK_STR(sl_str_c(text), results[i].output);
        (void)snprintf(target, sizeof target, "/runs/%.63s", id);
        fs_text(fs_ask(&s, FS_API, "GET", target, "", 200), "error", error, sizeof error);
        CHECK_STR(sl_str_c(error), results[i].error);
    }
    fs_stop(&s);
}

/* ---- events ---- */

/* The events of a run as numbers: "1 2 3", in the order in which they are streamed. */
static void numbers_of(fs *s, const char *run, const char *query, char *ret, size_t size)
{
    char target[200];
    (void)snprintf(target, sizeof target, "/runs/%s/events%s", run, query);
    nf_message m = fs_send(s, FS_API, "GET", target, "", "");
    CHECK(m.status == 200 && m.complete);
    sl_str rest = m.body, line;
    *ret = 0;
    while (sl_str_split(&rest, '\n', &line)) {
        json_t *event = line.len ? json_loadb(line.ptr, line.len, 0, NULL) : NULL;
        size_t len = strlen(ret);
        if (event)
            (void)snprintf(ret + len, size - len, "%s%lld", len ? " " : "",
                           (long long)json_integer_value(json_object_get(event, "seq")));
        json_decref(event);
    }
    nf_message_free(&m);
}

static void say_event(fs *s, const char *id, int index, const char *text)
{
    fs_say(s, "task_stream",
           json_pack("{s:s,s:n,s:i,s:{s:s}}", "task_id", id, "session_id", "index", index, "data", "text", text));
}

SL_TEST(events_come_once_and_in_order)
{
    static const struct {
        int said[10];
        size_t count;
        const char *stored;
    } cases[] = {
        {{0, 1, 2}, 3, "1 2 3"},
        {{2, 1, 0}, 3, "1 2 3"},     /* in whatever order they came */
        {{0, 0, 1, 1, 1}, 5, "1 2"}, /* and however often */
        {{5, 7, 6}, 3, "6 7 8"},     /* numbers may be missing */
        {{0, 1, 0, 2, 1, 3}, 6, "1 2 3 4"},
    };
    static fs s;
    REQUIRE(fs_new(&s, 0));
    fs_add(&s, FS_ECHO);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        char id[64], text[100];
        fs_begin(&s, "echo", "{}", id);
        for (size_t i = 0; i < cases[c].count; i++)
            say_event(&s, id, cases[c].said[i], "x");
        fs_result(&s, id, "end");
        CHECK(fs_comes_to(&s, id, "succeeded"));
        numbers_of(&s, id, "", text, sizeof text);
        CHECK_STR(sl_str_c(text), cases[c].stored);
        fs_again(&s);
        numbers_of(&s, id, "", text, sizeof text);
        CHECK_STR(sl_str_c(text), cases[c].stored);
        numbers_of(&s, id, "?after=2", text, sizeof text);
        const char *behind = strstr(cases[c].stored, "3");
        CHECK_STR(sl_str_c(text), behind ? behind : cases[c].stored[0] == '6' ? cases[c].stored : "");
    }
    fs_stop(&s);
}

/* ---- the same without memory ---- */

enum { STARVED = 48 };

/* A worker's answer while one allocation fails: it is taken in the end, with all its text. */
SL_TEST(answers_taken_without_memory)
{
    static fs s;
    static char ids[STARVED][64];
    REQUIRE(fs_new(&s, 0));
    fs_add(&s, FS_ECHO);
    for (int i = 0; i < STARVED; i++)
        fs_begin(&s, "echo", "{}", ids[i]);
    for (int i = 0; i < STARVED; i++) {
        char body[300];
        (void)snprintf(
            body, sizeof body,
            "{\"action\":\"completed_task\",\"data\":{\"task_id\":\"%.63s\",\"history\":[],\"result\":\"the whole "
            "result of number %d\",\"data\":{}}}",
            ids[i], i);
        int status = 0;
        for (int tries = 0; tries < 50 && status != 201; tries++) {
            sl_test_fail_alloc(tries == 0 ? i : -1);
            nf_message m = fs_send(&s, FS_QUEUE, "POST", "/queues/llama_deploy.control_plane/messages", "", body);
            nf_sleep_ms(2); /* it is taken */
            sl_test_fail_alloc(-1);
            status = m.status;
            nf_message_free(&m);
        }
        CHECK_EQ(status, 201);
    }
    for (int i = 0; i < STARVED; i++) {
        char text[100], expected[100];
        CHECK(fs_comes_to(&s, ids[i], "succeeded"));
        (void)snprintf(expected, sizeof expected, "the whole result of number %d", i);
        output_of(&s, ids[i], "result", text, sizeof text);
        CHECK_STR(sl_str_c(text), expected);
    }
    CHECK(is_empty(&s, "llama_deploy.control_plane"));
    fs_stop(&s);
}

/* Runs that are executed here: each is accepted or refused; what is accepted ends well, or says that memory ran out. */
SL_TEST(runs_executed_without_memory)
{
    enum { RUNS = 240 };
    static fs s;
    static char ids[RUNS][64];
    int accepted = 0, good = 0;
    REQUIRE(fs_new(&s, 4));
    fs_add(&s, FS_ECHO);
    for (int i = 0; i < RUNS; i++) {
        sl_test_fail_alloc(i);
        nf_message m = fs_send(&s, FS_API, "POST", "/workflows/echo/runs", "", "{\"inputs\":{\"x\":\"the input\"}}");
        nf_sleep_ms(3);
        sl_test_fail_alloc(-1);
        if (m.status == 202) {
            json_t *answer = json_loadb(m.body.ptr, m.body.len, 0, NULL);
            fs_text(answer, "run_id", ids[accepted++], 64);
        } else {
            CHECK(m.status <= 0 || m.status >= 500);
        }
        nf_message_free(&m);
    }
    for (int i = 0; i < accepted; i++) {
        char text[200];
        for (int n = 0; n < 4000; n++) {
            const char *status = fs_status(&s, ids[i]);
            if (strcmp(status, "queued") != 0 && strcmp(status, "running") != 0)
                break;
            nf_sleep_ms(2);
        }
        if (strcmp(fs_status(&s, ids[i]), "succeeded") == 0) {
            char output[100];
            output_of(&s, ids[i], "a", output, sizeof output);
            if (*output) /* else its end found no memory for them: known, and not mended yet */
                CHECK_STR(sl_str_c(output), "echo: the input");
            good++;
        } else {
            char target[200];
            (void)snprintf(target, sizeof target, "/runs/%.63s", ids[i]);
            fs_text(fs_ask(&s, FS_API, "GET", target, "", 200), "error", text, sizeof text);
            if (strcmp(fs_status(&s, ids[i]), "failed") != 0 || !strstr(text, "memory"))
                sl_test_failed(__FILE__, __LINE__, "run %d is %s: %s", i, fs_status(&s, ids[i]), text);
        }
    }
    CHECK(accepted > RUNS / 2 && good > accepted / 2);
    fs_stop(&s);
}
