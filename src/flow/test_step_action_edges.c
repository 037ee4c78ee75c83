/* Actions at their edges: numbers in every shape, sizes and counts at their limits, files that do not tell their size,
 * programs whose last words are cut, messages at the limits of the queue, memory that fails at any place. */
#include <fcntl.h>
#include <sys/stat.h>

#include "src/base/mem.h"
#include "src/flow/step_action.h"
#include "src/flow/step_http.h"
#include "src/flow/test_step_fixture.h"
#include "src/queue/queue.h"

extern const sl_step_kind sl_step_action_kind;
#define ACTION &sl_step_action_kind

static char root[64];

static void open_root(bench_step *b)
{
    step_open(b);
    bool memory = access("/dev/shm", W_OK) == 0; /* there syncs cost nothing */
    (void)snprintf(root, sizeof root, "%s/sightline-test-edges-XXXXXX", memory ? "/dev/shm" : "/tmp");
    if (!sl_test_mkdtemp(root))
        abort();
    b->services.file_root = root;
}

static const char *in_root(const char *name)
{
    static char path[400];
    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    return path;
}

/* A try with parameters of our own making; takes them. */
static void run_params(bench_step *b, json_t *params)
{
    REQUIRE(params != NULL);
    step_forget(b);
    b->attempt.params = params;
    b->attempt.context = json_pack("{s:{s:s,s:s}}", "workflow", "name", "w", "run_id", "r1");
    b->step = (sl_step){.id = "one", .params = params};
    b->attempt.step = &b->step;
    b->attempt.loop = &b->loop;
    b->attempt.services = &b->services;
    sl_step_action_kind.start(&b->attempt);
    step_wait(b);
}

static json_t *file_params(const char *operation, const char *path)
{
    return json_pack("{s:s,s:s,s:s}", "action", "file", "operation", operation, "path", path);
}

/* ---- numbers ---- */

SL_TEST(numbers_in_every_shape)
{
    static const struct {
        const char *value; /* of duration_ms, JSON with ' for " */
        bool good;
        double seconds;
    } cases[] = {
        {"0", true, 0},         {"1", true, 0.001}, {"1.5", true, 0.0015},  {"'2'", true, 0.002}, {"' 2'", false, 0},
        {"'2ms'", false, 0},    {"''", false, 0},   {"'1e0'", true, 0.001}, {"'0x1'", false, 0},  {"'nan'", false, 0},
        {"'inf'", false, 0},    {"true", false, 0}, {"[]", false, 0},       {"{}", false, 0},     {"[1]", false, 0},
        {"86400001", false, 0}, {"-2", false, 0},   {"1e300", false, 0},    {"'-0'", true, 0},    {"-0.0", true, 0},
    };
    bench_step b;
    step_open(&b);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char params[100];
        (void)snprintf(params, sizeof params, "{'action':'sleep','duration_ms':%s}", cases[i].value);
        step_run(&b, ACTION, params);
        double told = json_number_value(json_array_get(b.results, 0));
        if ((b.error == SL_STEP_ERROR_NONE) != cases[i].good || (cases[i].good && told != cases[i].seconds))
            sl_test_failed(__FILE__, __LINE__, "%s: %d %s, %g", cases[i].value, b.error, b.reason, told);
        if (!cases[i].good)
            CHECK_FAILS(&b, SL_STEP_ERROR_INPUT, "duration_ms must be a number from -1 to 8.64e+07");
    }
    step_run(&b, ACTION, "{'action':'sleep','seconds':null,'duration_ms':1}");
    CHECK_EQ(b.error, 0);
    step_run(&b, ACTION, "{'action':'sleep','seconds':-1}"); /* as if it were not given */
    CHECK_FAILS(&b, SL_STEP_ERROR_INPUT, "needs seconds or duration_ms");
    step_close(&b);
}

SL_TEST(every_level_of_the_log)
{
    static const struct {
        const char *given, *told; /* NULL: refused */
    } cases[] = {{"trace", "TRACE"},       {"debug", "DEBUG"}, {"info", "INFO"},         {"warn", "WARN"},
                 {"warning", "WARN"},      {"error", "ERROR"}, {"critical", "CRITICAL"}, {"Info", "INFO"},
                 {"CRITICAL", "CRITICAL"}, {"", NULL},         {"loud", NULL},           {"info ", "INFO"}};
    bench_step b;
    step_open(&b);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        run_params(&b, json_pack("{s:s,s:s,s:s}", "action", "log", "message", "m", "level", cases[i].given));
        if (!cases[i].told) {
            CHECK_FAILS(&b, SL_STEP_ERROR_INPUT, "level must be");
            continue;
        }
        const char *told = json_string_value(json_object_get(json_array_get(b.results, 1), "level"));
        CHECK_STR(sl_str_c(told), cases[i].told);
    }
    run_params(&b, json_pack("{s:s,s:i}", "action", "log", "level", 3));
    CHECK_FAILS(&b, SL_STEP_ERROR_INPUT, "level must be a text");
    step_close(&b);
}

/* ---- files ---- */

/* A file of 16 MiB is written and read; a byte more is refused both ways, and leaves nothing. */
SL_TEST(files_at_their_largest)
{
    bench_step b;
    open_root(&b);
    char *bytes = malloc(SL_MAX_FLOW_FILE_BYTES + 1);
    REQUIRE(bytes != NULL);
    memset(bytes, 'x', SL_MAX_FLOW_FILE_BYTES + 1);
    for (size_t extra = 0; extra < 2; extra++) {
        json_t *params = file_params("write", "big");
        (void)json_object_set_new(params, "content", json_stringn(bytes, SL_MAX_FLOW_FILE_BYTES + extra));
        run_params(&b, params);
        if (extra)
            CHECK_FAILS(&b, SL_STEP_ERROR_INPUT, "larger than 16 MiB");
        else
            CHECK_EQ(b.error, 0);
    }
    run_params(&b, file_params("read", "big"));
    CHECK_EQ(json_string_length(json_array_get(b.results, 0)), SL_MAX_FLOW_FILE_BYTES);
    int fd = open(in_root("bigger"), O_CREAT | O_WRONLY, 0644);
    REQUIRE(fd >= 0 && ftruncate(fd, SL_MAX_FLOW_FILE_BYTES + 1) == 0);
    (void)close(fd);
    run_params(&b, file_params("read", "bigger"));
    CHECK_FAILS(&b, SL_STEP_ERROR_TOO_BIG, "bigger: the file is larger than 16 MiB");
    step_run(&b, ACTION, "{'action':'file','operation':'list'}");
    CHECK_EQ(json_array_size(json_array_get(b.results, 0)), 2);
    free(bytes);
    step_close(&b);
}

/* Files that say that they are empty and are not: they are read to their end. */
SL_TEST(files_that_do_not_tell_their_size)
{
    bench_step b;
    static const char *const names[] = {"status", "maps", "limits", "cmdline"};
    step_open(&b);
    b.services.file_root = "/proc/self";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        run_params(&b, file_params("read", names[i]));
        CHECK_EQ(b.error, 0);
        json_t *text = json_array_get(b.results, 0);
        CHECK(json_string_length(text) > 10);
        if (i == 0)
            CHECK(strstr(json_string_value(text), "VmRSS:") && strstr(json_string_value(text), "nonvoluntary"));
    }
    step_close(&b);
}

SL_TEST(paths_at_their_limits)
{
    bench_step b;
    open_root(&b);
    for (int depth = SL_MAX_FLOW_FILE_DEPTH - 1; depth <= SL_MAX_FLOW_FILE_DEPTH + 1; depth++) {
        char path[400] = "";
        for (int i = 1; i < depth; i++)
            (void)strcat(path, "d/");
        (void)strcat(path, "f");
        json_t *params = file_params("write", path);
        (void)json_object_set_new(params, "content", json_string("x"));
        (void)json_object_set_new(params, "create_folders", json_true());
        run_params(&b, params);
        if (depth > SL_MAX_FLOW_FILE_DEPTH)
            CHECK_FAILS(&b, SL_STEP_ERROR_INPUT, "too many folders");
        else
            CHECK_EQ(b.error, 0);
    }
    char name[300];
    memset(name, 'n', sizeof name);
    for (size_t len = 254; len <= 256; len++) {
        name[len] = 0;
        json_t *params = file_params("write", name);
        (void)json_object_set_new(params, "content", json_string("x"));
        run_params(&b, params);
        CHECK_EQ(b.error, len > 255 ? SL_STEP_ERROR_INPUT : SL_STEP_ERROR_NONE);
        name[len] = 'n';
    }
    static const char *const same[] = {"./x", "x", ".//x", "././x"};
    for (size_t i = 0; i < 4; i++) {
        json_t *params = file_params(i ? "append" : "write", same[i]);
        (void)json_object_set_new(params, "content", json_string("a"));
        run_params(&b, params);
        CHECK_EQ(b.error, 0);
    }
    run_params(&b, file_params("read", "x"));
    CHECK_RESULT(&b, 0, "'aaaa'");
    step_close(&b);
}

SL_TEST(folders_of_many_entries)
{
    bench_step b;
    char name[40];
    open_root(&b);
    for (int i = 0; i < SL_MAX_FLOW_FILE_ENTRIES; i++) {
        (void)snprintf(name, sizeof name, "f%05d", i);
        int fd = open(in_root(name), O_CREAT | O_WRONLY, 0644);
        REQUIRE(fd >= 0);
        (void)close(fd);
    }
    step_run(&b, ACTION, "{'action':'file','operation':'list'}");
    CHECK_EQ(b.error, 0);
    json_t *list = json_array_get(b.results, 0);
    CHECK_EQ(json_array_size(list), SL_MAX_FLOW_FILE_ENTRIES);
    for (size_t i = 0; i < json_array_size(list); i += 997) { /* by name */
        (void)snprintf(name, sizeof name, "f%05zu", i);
        CHECK_STR(sl_str_c(json_string_value(json_object_get(json_array_get(list, i), "name"))), name);
    }
    REQUIRE(mkdir(in_root("one more"), 0755) == 0);
    step_run(&b, ACTION, "{'action':'file','operation':'list'}");
    CHECK_FAILS(&b, SL_STEP_ERROR_TOO_BIG, "more than 10,000 entries");
    step_close(&b);
}

/* What JSON cannot hold, and what is neither file nor folder. */
SL_TEST(entries_of_other_kinds)
{
    bench_step b;
    open_root(&b);
    REQUIRE(mkdir(in_root("a\xff"), 0755) == 0 && mkfifo(in_root("pipe"), 0644) == 0);
    REQUIRE(symlink("nowhere", in_root("link")) == 0 && mkdir(in_root("\xc3\xa9"), 0755) == 0);
    step_run(&b, ACTION, "{'action':'file','operation':'list','path':'.'}");
    CHECK_RESULT(&b, 0,
                 "[{'name':'link','type':'other','size':0},{'name':'pipe','type':'other','size':0},"
                 "{'name':'\\u00e9','type':'folder','size':0}]");
    step_close(&b);
}

/* Each content is what stands in the file, and what is read again. */
SL_TEST(contents_of_every_kind)
{
    static const struct {
        const char *content, *encoding; /* JSON with ' for " */
        const char *read;               /* JSON; NULL: refused */
    } cases[] = {
        {"'text'", "text", "'text'"},
        {"5", "text", "'5'"},
        {"1.5", "text", "'1.5'"},
        {"true", "text", "'true'"},
        {"null", "text", "''"},
        {"[1,{'a':null}]", "text", "'[1,{\\\"a\\\":null}]'"},
        {"'\\u00e9\\n\\t'", "text", "'\\u00e9\\n\\t'"},
        {"'aGk='", "base64", "'hi'"},
        {"''", "base64", "''"},
        {"'aGk'", "base64", "'hi'"},
        {"'a'", "base64", NULL},
        {"'a b='", "base64", NULL},
        {"'\\u00e9'", "base64", NULL},
    };
    bench_step b;
    open_root(&b);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *params = file_params("write", "f");
        (void)json_object_set_new(params, "content", quoted(cases[i].content));
        (void)json_object_set_new(params, "encoding", json_string(cases[i].encoding));
        run_params(&b, params);
        if (b.error && cases[i].read && strcmp(cases[i].content, "'aGk'") == 0)
            continue; /* padding may be demanded */
        if ((b.error != 0) != !cases[i].read)
            sl_test_failed(__FILE__, __LINE__, "case %zu: %d %s", i, b.error, b.reason);
        if (!cases[i].read) {
            CHECK_FAILS(&b, SL_STEP_ERROR_INPUT, "no base64");
            continue;
        }
        run_params(&b, file_params("read", "f"));
        CHECK_RESULT(&b, 0, cases[i].read);
    }
    step_close(&b);
}

/* With each allocation failing in turn: it is done, or said, and the file is the old one or the new one. */
SL_TEST(files_without_memory)
{
    bench_step b;
    open_root(&b);
    static const char *const operations[] = {"write", "read", "list", "append"};
    for (size_t o = 0; o < 4; o++) {
        for (long n = 0; n < 12; n++) {
            json_t *seed = file_params("write", "f");
            (void)json_object_set_new(seed, "content", json_string("old"));
            run_params(&b, seed);
            json_t *params = file_params(operations[o], o == 2 ? "." : "f");
            (void)json_object_set_new(params, "content", json_string("new"));
            sl_test_fail_alloc(n);
            run_params(&b, params);
            bool failed = sl_test_alloc_failed();
            sl_test_fail_alloc(-1);
            if (b.error && !failed)
                sl_test_failed(__FILE__, __LINE__, "%s %ld: %s", operations[o], n, b.reason);
            bool done = b.error == 0;
            run_params(&b, file_params("read", "f"));
            const char *now = json_string_value(json_array_get(b.results, 0));
            CHECK(now != NULL);
            bool changed = o == 0 || o == 3;
            CHECK_STR(sl_str_c(now), done && changed ? (o ? "oldnew" : "new") : "old");
        }
    }
    step_run(&b, ACTION, "{'action':'file','operation':'list'}");
    CHECK_EQ(json_array_size(json_array_get(b.results, 0)), 1);
    step_close(&b);
}

/* ---- programs ---- */

static void allow_shell(bench_step *b)
{
    b->services.exec_allowed[0] = "/bin/sh";
    b->services.exec_allowed[1] = "/bin/cat";
    b->services.exec_allowed[2] = "/bin/true";
    b->services.exec_allowed_count = 3;
}

static json_t *shell(const char *script)
{
    return json_pack("{s:s,s:[s,s,s]}", "action", "exec", "command", "/bin/sh", "-c", script);
}

/* The last 200 bytes of what it said, wherever they begin within a character. */
SL_TEST(last_words_are_cut_between_characters)
{
    bench_step b;
    step_open(&b);
    allow_shell(&b);
    for (int shift = 0; shift < 4; shift++) {
        char script[600] = "printf '%s' '", expected[700] = "";
        for (int i = 0; i < shift; i++)
            (void)strcat(script, "x");
        for (int i = 0; i < 100; i++)
            (void)strcat(script, "\xe2\x82\xac");
        (void)strcat(script, "' >&2; exit 1");
        run_params(&b, shell(script));
        CHECK_EQ(b.error, SL_STEP_ERROR_EXIT);
        for (int i = 0; i < 66; i++)
            (void)strcat(expected, "\xe2\x82\xac");
        CHECK(strstr(b.reason, expected) != NULL);
        CHECK(sl_utf8_valid(sl_str_c(b.reason)));
    }
    run_params(&b, shell("printf 'a\\377b' >&2; exit 1"));
    CHECK_STR(sl_str_c(b.reason), "the program ended with status 1: ");
    run_params(&b, shell("printf 'short' >&2; exit 1"));
    CHECK_STR(sl_str_c(b.reason), "the program ended with status 1: short");
    run_params(&b, shell("exit 255"));
    CHECK_STR(sl_str_c(b.reason), "the program ended with status 255: ");
    step_close(&b);
}

SL_TEST(arguments_and_variables_at_their_limits)
{
    bench_step b;
    step_open(&b);
    allow_shell(&b);
    for (size_t count = SL_MAX_FLOW_EXEC_ARGS - 1; count <= SL_MAX_FLOW_EXEC_ARGS; count++) {
        json_t *args = json_array();
        for (size_t i = 0; i < count; i++)
            (void)json_array_append_new(args, json_string("a"));
        run_params(&b, json_pack("{s:s,s:s,s:o}", "action", "exec", "command", "/bin/true", "args", args));
        if (count < SL_MAX_FLOW_EXEC_ARGS)
            CHECK_EQ(b.error, 0);
        else
            CHECK_FAILS(&b, SL_STEP_ERROR_INPUT, "more than 256 arguments");
    }
    for (size_t count = SL_MAX_FLOW_EXEC_ENV; count <= SL_MAX_FLOW_EXEC_ENV + 1; count++) {
        json_t *env = json_object(), *params = shell("echo $V0-$V63");
        char name[16];
        for (size_t i = 0; i < count; i++) {
            (void)snprintf(name, sizeof name, "V%zu", i);
            (void)json_object_set_new(env, name, json_string(name));
        }
        (void)json_object_set_new(params, "env", env);
        run_params(&b, params);
        if (count == SL_MAX_FLOW_EXEC_ENV)
            CHECK_RESULT(&b, 0, "'V0-V63\\n'");
        else
            CHECK_FAILS(&b, SL_STEP_ERROR_INPUT, "more than 64 members");
    }
    step_close(&b);
}

SL_TEST(names_of_variables)
{
    static const struct {
        const char *name;
        bool good;
    } cases[] = {{"A", true},
                 {"a_1", true},
                 {"", false},
                 {"A=B", false},
                 {"LD_PRELOAD", false},
                 {"LD_", false},
                 {"LDX", true},
                 {"BASH_ENV", false},
                 {"ENV", false},
                 {"ENVIRONMENT", true},
                 {"GLIBC_TUNABLES", false},
                 {"PATH", true},
                 {"HOME", true}};
    bench_step b;
    char name[200];
    step_open(&b);
    allow_shell(&b);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *params = shell("true");
        (void)json_object_set_new(params, "env", json_pack("{s:s}", cases[i].name, "v"));
        run_params(&b, params);
        if ((b.error == 0) != cases[i].good)
            sl_test_failed(__FILE__, __LINE__, "%s: %s", cases[i].name, b.reason);
    }
    memset(name, 'N', sizeof name);
    for (size_t len = 127; len <= 128; len++) {
        json_t *params = shell("true");
        name[len] = 0;
        (void)json_object_set_new(params, "env", json_pack("{s:s}", name, "v"));
        run_params(&b, params);
        CHECK_EQ(b.error == 0, len < 128);
        name[len] = 'N';
    }
    step_close(&b);
}

SL_TEST(statuses_that_are_expected)
{
    static const struct {
        const char *expected; /* JSON */
        const char *script;
        sl_step_error error;
    } cases[] = {{"0", "exit 0", 0},
                 {"255", "exit 255", 0},
                 {"'7'", "exit 7", 0},
                 {"1", "exit 0", SL_STEP_ERROR_EXIT},
                 {"0", "kill -9 $$", SL_STEP_ERROR_EXIT},
                 {"137", "kill -9 $$", SL_STEP_ERROR_EXIT}, /* a signal is no status */
                 {"256", "exit 0", SL_STEP_ERROR_INPUT},
                 {"-1", "exit 0", SL_STEP_ERROR_INPUT},
                 {"null", "exit 0", 0},
                 {"[0]", "exit 0", SL_STEP_ERROR_INPUT}};
    bench_step b;
    step_open(&b);
    allow_shell(&b);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *params = shell(cases[i].script);
        (void)json_object_set_new(params, "expected_exit", quoted(cases[i].expected));
        run_params(&b, params);
        if (b.error != cases[i].error)
            sl_test_failed(__FILE__, __LINE__, "case %zu: %d %s", i, b.error, b.reason);
    }
    step_close(&b);
}

/* A program that closes its input, reads it late or not at all: no failure, and nothing is left open. */
SL_TEST(programs_that_do_not_read_their_input)
{
    static const char *const scripts[] = {"exit 0", "exec <&-; sleep 0.05", "head -c 1 >/dev/null",
                                          "sleep 0.05; cat >/dev/null"};
    bench_step b;
    step_open(&b);
    allow_shell(&b);
    char *input = malloc(1 << 20);
    REQUIRE(input != NULL);
    memset(input, 'i', 1 << 20);
    for (size_t i = 0; i < 4; i++) {
        json_t *params = shell(scripts[i]);
        (void)json_object_set_new(params, "stdin", json_stringn(input, 1 << 20));
        run_params(&b, params);
        CHECK_EQ(b.error, 0);
    }
    json_t *params = json_pack("{s:s,s:s}", "action", "exec", "command", "/bin/cat");
    (void)json_object_set_new(params, "stdin", json_stringn(input, 1 << 20));
    (void)json_object_set_new(params, "max_output_bytes", json_integer(1 << 20));
    run_params(&b, params);
    CHECK_EQ(json_string_length(json_array_get(b.results, 0)), 1 << 20);
    CHECK(json_is_false(json_object_get(json_array_get(b.results, 1), "truncated")));
    free(input);
    step_close(&b);
}

/* ---- messages ---- */

SL_TEST(messages_at_the_limits_of_the_queue)
{
    bench_step b;
    char error[300] = "", text[300];
    open_root(&b);
    sl_queue_options options = {.path = in_root("queue.db")};
    REQUIRE(sl_queue_open(&options, error, sizeof error, &b.services.queue) == 0);
    memset(text, 't', sizeof text);
    static const struct {
        const char *name;
        size_t good, bad; /* lengths */
    } lengths[] = {{"topic", SL_QUEUE_MAX_TOPIC_BYTES, SL_QUEUE_MAX_TOPIC_BYTES + 1},
                   {"key", SL_QUEUE_MAX_KEY_BYTES, SL_QUEUE_MAX_KEY_BYTES + 1}};
    for (size_t i = 0; i < 2; i++) {
        for (int bad = 0; bad < 2; bad++) {
            json_t *params = json_pack("{s:s,s:s}", "action", "queue", "message", "m");
            (void)json_object_set_new(params, lengths[i].name,
                                      json_stringn(text, bad ? lengths[i].bad : lengths[i].good));
            run_params(&b, params);
            CHECK_EQ(b.error, bad ? SL_STEP_ERROR_INPUT : SL_STEP_ERROR_NONE);
        }
    }
    static const struct {
        const char *params;
        sl_step_error error;
    } cases[] = {
        {"{'action':'queue','topic':'t','priority':9}", 0},
        {"{'action':'queue','topic':'t','priority':'9'}", 0},
        {"{'action':'queue','topic':'t','priority':10}", SL_STEP_ERROR_INPUT},
        {"{'action':'queue','topic':'t','priority':-1}", SL_STEP_ERROR_INPUT},
        {"{'action':'queue','topic':'t','priority':'high'}", SL_STEP_ERROR_INPUT},
        {"{'action':'queue','topic':'t','delay_ms':31536000000}", 0},
        {"{'action':'queue','topic':'t','delay_ms':31536000001}", SL_STEP_ERROR_INPUT},
        {"{'action':'queue','topic':'t','max_deliveries':1000}", 0},
        {"{'action':'queue','topic':'t','max_deliveries':1001}", SL_STEP_ERROR_INPUT},
        {"{'action':'queue','topic':5}", SL_STEP_ERROR_INPUT},
        {"{'action':'queue','topic':''}", SL_STEP_ERROR_INPUT},
        {"{'action':'queue','topic':'t','key':[]}", SL_STEP_ERROR_INPUT},
        {"{'action':'queue','topic':null,'queue':'q'}", 0},
        {"{'action':'queue','message':null,'content':'c'}", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        step_run(&b, ACTION, cases[i].params);
        if (b.error != cases[i].error)
            sl_test_failed(__FILE__, __LINE__, "%s: %d %s", cases[i].params, b.error, b.reason);
    }
    char *body = malloc(SL_QUEUE_MAX_BODY_BYTES + 1);
    REQUIRE(body != NULL);
    memset(body, 'b', SL_QUEUE_MAX_BODY_BYTES + 1);
    for (size_t extra = 0; extra < 2; extra++) {
        json_t *params = json_pack("{s:s,s:s}", "action", "queue", "topic", "big");
        (void)json_object_set_new(params, "message", json_stringn(body, SL_QUEUE_MAX_BODY_BYTES + extra));
        run_params(&b, params);
        CHECK_EQ(b.error, extra ? SL_STEP_ERROR_TOO_BIG : SL_STEP_ERROR_NONE);
    }
    free(body);
    step_close(&b);
    sl_queue_close(b.services.queue);
}

/* What is put when no message is given: the parameters that are not the queue's own. */
SL_TEST(messages_made_of_parameters)
{
    static const struct {
        const char *params, *body;
    } cases[] = {
        {"{'action':'queue','topic':'t','message':'m','content':'c','body':'b'}", "m"},
        {"{'action':'queue','topic':'t','content':'c','body':'b'}", "c"},
        {"{'action':'queue','topic':'t','body':'b','x':1}", "b"},
        {"{'action':'queue','topic':'t','x':1,'priority':2,'key':'k','delay_ms':0,'queue':'q','max_deliveries':3}",
         "{\"x\":1}"},
        {"{'action':'queue','topic':'t'}", "{}"},
        {"{'action':'queue','topic':'t','message':''}", ""},
        {"{'action':'queue','topic':'t','message':false}", "false"},
        {"{'action':'queue','topic':'t','message':[null]}", "[null]"},
    };
    bench_step b;
    char error[300] = "";
    open_root(&b);
    sl_queue_options options = {.path = in_root("queue.db")};
    REQUIRE(sl_queue_open(&options, error, sizeof error, &b.services.queue) == 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_queue_message *message = NULL;
        step_run(&b, ACTION, cases[i].params);
        CHECK_EQ(b.error, 0);
        REQUIRE(sl_queue_take(b.services.queue, SL_STR("t"), 10000, &message) == 0);
        CHECK_STR(message->body, cases[i].body);
        CHECK_EQ(sl_queue_ack(b.services.queue, message->id, message->lease, NULL, NULL), 0);
        sl_queue_message_free(message);
    }
    step_close(&b);
    sl_queue_close(b.services.queue);
}

/* ---- answers over HTTP ---- */

static const char *http_answer;

static void serve_answer(nf_server *server, int fd, int number)
{
    nf_message m;
    (void)server;
    (void)number;
    while (nf_read_message(fd, true, false, &m)) {
        bool head = strncmp(m.data, "HEAD ", 5) == 0;
        nf_message_free(&m);
        const char *body = strstr(http_answer, "\r\n\r\n");
        if (!nf_send(fd, http_answer, head && body ? (size_t)(body - http_answer) + 4 : strlen(http_answer)))
            return;
    }
}

SL_TEST(answers_of_every_kind)
{
    static const struct {
        const char *answer, *rest; /* of the parameters */
        sl_step_error error;
        const char *wanted; /* the result as JSON, or part of the reason */
        bool encoded;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]", "", 0, "[]", false},
        {"HTTP/1.1 200 OK\r\nContent-Type: APPLICATION/JSON; charset=utf-8\r\nContent-Length: 2\r\n\r\n[]", "", 0, "[]",
         false},
        {"HTTP/1.1 200 OK\r\nContent-Type: application/problem+json\r\nContent-Length: 4\r\n\r\nnull", "", 0, "null",
         false},
        {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[1", "", 0, "'[1'", false},
        {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n", "", 0, "''", false},
        {"HTTP/1.1 200 OK\r\nContent-Type: text/json-like\r\nContent-Length: 2\r\n\r\n[]", "", 0, "'[]'", false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xfe", "", 0, "'//4='", true},
        {"HTTP/1.1 204 No Content\r\n\r\n", "", 0, "''", false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", ",'method':'HEAD'", 0, "''", false},
        {"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", ",'expected_status':404", 0, "'no'", false},
        {"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", ",'expected_status':[200,404]", 0, "'no'", false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", ",'expected_status':[404]", SL_STEP_ERROR_REFUSED,
         "the answer was 200: no", false},
        {"HTTP/1.1 199 X\r\nContent-Length: 0\r\n\r\n", "", SL_STEP_ERROR_PROVIDER, "", false},
        {"HTTP/1.1 299 X\r\nContent-Length: 0\r\n\r\n", "", 0, "''", false},
        {"HTTP/1.1 300 X\r\nContent-Length: 0\r\n\r\n", "", SL_STEP_ERROR_REFUSED, "redirects are not followed", false},
    };
    bench_step b;
    nf_server server;
    step_open(&b);
    nf_server_start(&server, serve_answer, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char params[300];
        if (strstr(cases[i].answer, " 199 "))
            continue; /* an interim answer: the final one never comes */
        http_answer = cases[i].answer;
        (void)snprintf(params, sizeof params, "{'action':'http','url':'http://127.0.0.1:%u/'%s}", server.port,
                       cases[i].rest);
        step_run(&b, ACTION, params);
        if (cases[i].error) {
            CHECK_FAILS(&b, cases[i].error, cases[i].wanted);
            continue;
        }
        CHECK_RESULT(&b, 0, cases[i].wanted);
        CHECK_EQ(json_is_true(json_object_get(json_array_get(b.results, 1), "base64")), cases[i].encoded);
    }
    step_close(&b); /* first: it holds a connection open */
    nf_server_stop(&server);
}
