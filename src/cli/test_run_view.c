/* What `sightline run` prints: lines, table, outputs; what a terminal would obey is not passed on. */
#include "src/cli/run_view.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "src/flow/test_flow_fixture.h"
#include "src/view/waterfall_text.h"

static char *text_of(sl_buf *out)
{
    (void)sl_buf_put_char(out, '\0');
    char *copy = out->failed ? NULL : strdup(out->data);
    sl_buf_done(out);
    return copy;
}

static char *report_of(fx *f, const char *yaml, const char *inputs)
{
    sl_run_view view = {.columns = 100};
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    sl_flow_run *run = fx_run(f, yaml, inputs);
    CHECK_EQ(sl_run_view_report(&view, run, &out), 0);
    sl_flow_run_unref(run);
    return text_of(&out);
}

SL_TEST(the_report_has_a_row_for_each_step_and_the_named_outputs)
{
    fx f;
    fx_init(&f, NULL, true);
    char *text = report_of(&f,
                           "name: demo\nsteps:\n"
                           "  - {id: a, type: llm, provider: p, model: m, prompt: x, tokens: 5, output: [mine]}\n"
                           "  - {id: b, type: action, action: x, fail: 1, error: internal, depends_on: a}\n"
                           "  - {id: c, type: action, action: x, depends_on: b}\n",
                           NULL);
    static const char *const parts[] = {
        "STEP",         "\na.mine: a\n",          "12    0.250000\n", "failed",
        "try 1 failed", "not run: step b failed", "demo: failed in ", ", 12 tokens (5 in, 7 out), ",
        "\ntrace id: "};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (!strstr(text, parts[i]))
            sl_test_failed(__FILE__, __LINE__, "%s not in %s", parts[i], text);
    }
    CHECK(!strstr(text, "a.text") && !strchr(text, '\033'));
    free(text);
    fx_done(&f);
}

SL_TEST(control_characters_of_answers_do_not_reach_the_terminal)
{
    fx f;
    fx_init(&f, NULL, false);
    char *text = report_of(&f, "name: demo\nsteps:\n  - {id: a, type: action, action: x, give: '{{t}}'}\n",
                           "{\"t\":\"one\\u001b[2Jtwo\\u009b31m\\r\\nthree\\u0007 \\u00e9\"}");
    CHECK(strstr(text, "a.result: one?[2Jtwo?31m?\nthree? \xc3\xa9\n") != NULL);
    free(text);
    fx_done(&f);
}

SL_TEST(long_outputs_are_cut)
{
    fx f;
    fx_init(&f, NULL, false);
    char inputs[8192];
    (void)snprintf(inputs, sizeof inputs, "{\"t\":\"%05000d\"}", 7);
    char *text = report_of(&f, "name: demo\nsteps:\n  - {id: a, type: action, action: x, give: '{{t}}'}\n", inputs);
    CHECK(strlen(text) < SL_RUN_VIEW_OUTPUT_BYTES + 600);
    CHECK(strstr(text, "0\xe2\x80\xa6\n") != NULL);
    free(text);
    fx_done(&f);
}

SL_TEST(lines_are_drawn_again_in_their_place)
{
    fx f;
    fx_init(&f, NULL, false);
    sl_run_view view = {.terminal = true, .rows = 40, .columns = 100};
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    sl_flow *flow = fx_flow("name: demo\nsteps:\n  - {id: a, type: action, action: x, hang: true}\n"
                            "  - {id: b, type: action, action: x, depends_on: a}\n");
    sl_flow_run *run = fx_start_run(&f, flow, NULL, NULL);
    fx_turn(&f, 3);
    sl_run_view_draw(&view, run, &out);
    CHECK_EQ(view.drawn, 2);
    sl_run_view_draw(&view, run, &out);
    sl_run_view_clear(&view, &out);
    CHECK_EQ(view.drawn, 0);
    char *text = text_of(&out);
    CHECK(strstr(text, "\033[2A\r") && strstr(text, "running") && strstr(text, "waiting"));
    CHECK(strstr(text, "\033[2A\r\033[J") != NULL);
    free(text);
    sl_flow_run_cancel(run);
    sl_flow_run_unref(run);
    sl_flow_unref(flow);
    fx_done(&f);
}

SL_TEST(piped_lines_tell_begin_retry_and_end)
{
    static const sl_step step = {.id = "a", .type = SL_STEP_LLM};
    const sl_run_view view = {.columns = 80};
    sl_buf out;
    sl_buf_init(&out, 4096);
    sl_flow_event event = {.kind = SL_FLOW_STEP_STARTED, .step = &step, .path = "l[0].a", .message = ""};
    sl_run_view_event(&view, &event, &out);
    event.kind = SL_FLOW_STEP_RETRIED;
    event.attempts = 1;
    event.delay_ms = 100;
    event.message = "no\nanswer";
    sl_run_view_event(&view, &event, &out);
    event.kind = SL_FLOW_STEP_ENDED;
    event.step_status = SL_STEP_SUCCEEDED;
    event.attempts = 2;
    event.duration_ns = 1500000000;
    event.message = "";
    sl_run_view_event(&view, &event, &out);
    event.step = NULL;
    event.kind = SL_FLOW_RUN_ENDED;
    sl_run_view_event(&view, &event, &out);
    char *text = text_of(&out);
    CHECK_STR(sl_str_c(text), "l[0].a (llm): started\nl[0].a (llm): try 1 failed, again in 100 ms: no answer\n"
                              "l[0].a (llm): succeeded after 1.500 s\n");
    free(text);
}

/* ---- what stands in a workflow file reaches the terminal as text ---- */

static char *lines_of(const sl_flow_event *events, size_t count)
{
    const sl_run_view view = {.columns = 80};
    sl_buf out;
    sl_buf_init(&out, 1u << 16);
    for (size_t i = 0; i < count; i++)
        sl_run_view_event(&view, &events[i], &out);
    return text_of(&out);
}

SL_TEST(names_of_steps_do_not_reach_the_terminal_as_control)
{
    fx f;
    fx_init(&f, NULL, false);
    char *text = report_of(&f,
                           "name: \"de\\e[31mmo\"\nsteps:\n"
                           "  - {id: \"a\\e[2J\\nb\", type: action, action: x, output: [\"o\\u009bp\"]}\n",
                           NULL);
    CHECK(!strchr(text, '\033') && !strstr(text, "\xc2\x9b"));
    CHECK(strstr(text, " a?[2J?b                  action") != NULL);
    CHECK(strstr(text, "a?[2J b.o?p: ") != NULL);
    CHECK(strstr(text, "\nde?[31mmo: succeeded in ") != NULL);
    free(text);
    fx_done(&f);
    static const sl_step step = {.id = "a\033", .type = SL_STEP_ACTION};
    const sl_flow_event events[] = {
        {.kind = SL_FLOW_STEP_STARTED, .step = &step, .path = "a\033[1m", .message = ""},
        {.kind = SL_FLOW_STEP_EMITTED, .step = &step, .path = "l[2].a\n", .name = "half\rway", .message = ""},
        {.kind = SL_FLOW_STEP_ENDED,
         .step = &step,
         .path = "a",
         .step_status = SL_STEP_FAILED,
         .message = "\x07 no\nmore \xff"},
        {.kind = SL_FLOW_STEP_ENDED, .step = &step, .path = "a", .step_status = SL_STEP_SKIPPED, .message = ""},
    };
    text = lines_of(events, sizeof events / sizeof *events);
    CHECK_STR(sl_str_c(text), "a?[1m (action): started\n"
                              "l[2].a  (action): half?way\n"
                              "a (action): failed: ? no more ?\n"
                              "a (action): skipped\n");
    free(text);
}

SL_TEST(events_that_are_no_ones_line)
{
    static const sl_step step = {.id = "a", .type = SL_STEP_LLM};
    const sl_flow_event of_the_run = {.kind = SL_FLOW_STEP_ENDED, .path = "", .message = "x"};
    char *text = lines_of(&of_the_run, 1);
    CHECK_STR(sl_str_c(text), "");
    free(text);
    for (int kind = 0; kind < 32; kind++) {
        bool has_line = kind == SL_FLOW_STEP_STARTED || kind == SL_FLOW_STEP_RETRIED || kind == SL_FLOW_STEP_EMITTED ||
                        kind == SL_FLOW_STEP_ENDED;
        const sl_flow_event event = {
            .kind = (sl_flow_event_kind)kind, .step = &step, .path = "a", .message = "", .name = "n"};
        text = lines_of(&event, 1);
        CHECK_EQ(text[0] != '\0', has_line);
        CHECK(!has_line || text[strlen(text) - 1] == '\n');
        free(text);
    }
    /* Where lines are drawn again none is added. */
    const sl_run_view terminal = {.terminal = true, .columns = 80};
    sl_buf out;
    sl_buf_init(&out, 4096);
    const sl_flow_event started = {.kind = SL_FLOW_STEP_STARTED, .step = &step, .path = "a", .message = ""};
    sl_run_view_event(&terminal, &started, &out);
    CHECK_EQ(out.len, 0);
    sl_buf_done(&out);
}

SL_TEST(long_messages_and_names_are_cut_between_characters)
{
    static const sl_step step = {.id = "a", .type = SL_STEP_LLM};
    char message[1024] = "x", name[1024];
    for (size_t i = 1; i + 2 < sizeof message; i += 2)
        memcpy(message + i, "\xc3\xa9", 3);
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    const sl_flow_event events[] = {
        {.kind = SL_FLOW_STEP_RETRIED, .step = &step, .path = "a", .attempts = 3, .delay_ms = 7, .message = message},
        {.kind = SL_FLOW_STEP_ENDED, .step = &step, .path = "a", .step_status = SL_STEP_FAILED, .message = message},
        {.kind = SL_FLOW_STEP_EMITTED, .step = &step, .path = name, .name = name, .message = ""},
    };
    static const size_t most[] = {200 + 64, 400 + 64, 800 + 64};
    for (size_t i = 0; i < 3; i++) {
        char *text = lines_of(&events[i], 1);
        CHECK(sl_utf8_valid(sl_str_c(text)));
        CHECK(strlen(text) < most[i] && strstr(text, "\xe2\x80\xa6") != NULL);
        free(text);
    }
}

/* ---- the terminal ---- */

SL_TEST(a_terminal_is_drawn_upon_when_it_has_room)
{
    static const struct {
        unsigned short rows, columns;
        size_t steps;
        const char *term;
        bool terminal;
    } cases[] = {
        {24, 80, 5, "xterm", true},     {24, 80, 21, "xterm", true}, {24, 80, 22, "xterm", false},
        {24, 40, 5, "xterm", true},     {24, 39, 5, "xterm", false}, {24, 80, 5, "dumb", false},
        {24, 80, 5, NULL, false},       {0, 0, 0, "xterm", false},   {3, 200, 0, "vt100", true},
        {24, 80, 5000, "xterm", false},
    };
    const char *before = getenv("TERM");
    char kept[128] = "";
    if (before)
        (void)snprintf(kept, sizeof kept, "%s", before);
    int host = posix_openpt(O_RDWR | O_NOCTTY);
    if (host < 0 || grantpt(host) != 0 || unlockpt(host) != 0)
        SL_SKIP("no pseudo terminals");
    int fd = open(ptsname(host), O_RDWR | O_NOCTTY);
    REQUIRE(fd >= 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct winsize size = {.ws_row = cases[i].rows, .ws_col = cases[i].columns};
        sl_run_view view;
        REQUIRE(ioctl(host, TIOCSWINSZ, &size) == 0);
        if (cases[i].term)
            (void)setenv("TERM", cases[i].term, 1);
        else
            (void)unsetenv("TERM");
        sl_run_view_init(&view, fd, cases[i].steps);
        if (view.terminal != cases[i].terminal)
            sl_test_failed(__FILE__, __LINE__, "%u x %u, %zu steps, %s", cases[i].rows, cases[i].columns,
                           cases[i].steps, cases[i].term ? cases[i].term : "no TERM");
        CHECK(!view.terminal || (view.rows == cases[i].rows && view.columns == cases[i].columns));
        CHECK(!view.drawn && !view.colour);
    }
    close(fd);
    close(host);
    sl_run_view view;
    (void)setenv("TERM", "xterm", 1);
    int null = open("/dev/null", O_WRONLY);
    sl_run_view_init(&view, null, 1);
    CHECK(!view.terminal);
    close(null);
    sl_run_view_init(&view, -1, 1);
    CHECK(!view.terminal);
    if (before)
        (void)setenv("TERM", kept, 1);
    else
        (void)unsetenv("TERM");
}

/* Columns that a drawn line takes, without what the terminal obeys. */
static size_t width_of(const char *line, size_t len)
{
    char plain[1024];
    size_t at = 0;
    for (size_t i = 0; i < len && at + 1 < sizeof plain; i++) {
        if (line[i] == '\033') {
            while (i < len && !strchr("mKAJ", line[i]))
                i++;
            continue;
        }
        if (line[i] != '\r')
            plain[at++] = line[i];
    }
    return sl_text_columns(sl_str_of(plain, at), false);
}

#define WIDE "\xe4\xb8\xad\xe6\x96\x87\xe4\xb8\xad\xe6\x96\x87\xe4\xb8\xad\xe6\x96\x87" /* twelve columns */

/* A line that is wider than the terminal takes two rows, and the next drawing goes up too few. */
SL_TEST(no_drawn_line_is_wider_than_the_terminal)
{
    static const char *const ids[] = {"a", "a-name-of-twenty-char",
                                      "a-name-that-is-longer-than-any-column-of-the-table-could-ever-be",
                                      WIDE WIDE WIDE, "\xc3\xa9t\xc3\xa9"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        fx f;
        char yaml[512];
        fx_init(&f, NULL, false);
        (void)snprintf(yaml, sizeof yaml,
                       "name: demo\nsteps:\n  - {id: \"%s\", type: action, action: x, fail: 1, error: provider, "
                       "retry: {max_attempts: 3, initial_delay: 0}}\n",
                       ids[i]);
        sl_flow_run *run = fx_run(&f, yaml, NULL);
        REQUIRE(run != NULL);
        for (size_t columns = 40; columns < 130; columns++) {
            sl_run_view view = {.terminal = true, .colour = columns % 2 == 0, .rows = 40, .columns = columns};
            sl_buf out;
            sl_buf_init(&out, 1u << 16);
            sl_run_view_draw(&view, run, &out);
            const char *end = memchr(out.data, '\n', out.len);
            REQUIRE(end && out.len == (size_t)(end - out.data) + 1);
            if (width_of(out.data, (size_t)(end - out.data)) >= columns)
                sl_test_failed(__FILE__, __LINE__, "%zu columns: %.*s", columns, (int)out.len, out.data);
            CHECK(sl_utf8_valid(sl_buf_str(&out)));
            sl_buf_done(&out);
        }
        sl_flow_run_unref(run);
        fx_done(&f);
    }
}

SL_TEST(drawing_without_a_terminal_is_nothing)
{
    fx f;
    fx_init(&f, NULL, false);
    sl_run_view view = {.columns = 100};
    sl_buf out;
    sl_buf_init(&out, 4096);
    sl_flow_run *run = fx_run(&f, "name: demo\nsteps:\n  - {id: a, type: action, action: x}\n", NULL);
    sl_run_view_draw(&view, run, &out);
    sl_run_view_clear(&view, &out);
    CHECK_EQ(out.len + view.drawn + view.frame, 0);
    sl_buf_done(&out);
    sl_flow_run_unref(run);
    fx_done(&f);
}

SL_TEST(each_state_has_a_mark_and_a_colour_of_its_own)
{
    fx f;
    fx_init(&f, NULL, false);
    sl_flow_run *run = fx_run(&f,
                              "name: demo\nsteps:\n"
                              "  - {id: good, type: action, action: x}\n"
                              "  - {id: bad, type: action, action: x, fail: 9, error: internal}\n"
                              "  - {id: never, type: action, action: x, depends_on: bad}\n",
                              NULL);
    static const char *const marks[][2] = {
        {"good", "\033[32m\xe2\x9c\x93\033[0m"}, {"bad", "\033[31m\xe2\x9c\x97\033[0m"}, {"never", NULL}};
    for (unsigned colour = 0; colour < 2; colour++) {
        sl_run_view view = {.terminal = true, .colour = colour, .rows = 40, .columns = 100};
        sl_buf out;
        sl_buf_init(&out, 1u << 16);
        CHECK_EQ(sl_run_view_report(&view, run, &out), 0);
        char *text = text_of(&out);
        for (size_t i = 0; i < 2; i++)
            CHECK_EQ(strstr(text, marks[i][1]) != NULL, colour == 1);
        CHECK_EQ(strchr(text, '\033') != NULL, colour == 1);
        CHECK(strstr(text, "\xe2\x9c\x93") && strstr(text, "\xe2\x9c\x97"));
        free(text);
    }
    sl_flow_run_unref(run);
    fx_done(&f);
}

/* ---- outputs ---- */

SL_TEST(outputs_of_each_kind_of_step)
{
    static const struct {
        const char *yaml, *has, *has_not;
    } cases[] = {
        /* Named ones, in the order of their names; one that was not made is left out. */
        {"  - {id: a, type: action, action: x, give: {one: 1, two: [1, 2]}, output: [two, none, one]}\n",
         "a.two: ", "a.none"},
        /* Without names all of them, but for what is meant for programs. */
        {"  - {id: a, type: action, action: x, give: {one: 1, _raw: 2, metadata: 3, tokens: 4, model: 5}}\n", "a.",
         "a._raw"},
        {"  - {id: a, type: action, action: x, give: {metadata: 3, model: 5}}\n", "a", "a.metadata"},
        {"  - {id: a, type: action, action: x, give: {metadata: 3, model: 5}}\n", "a", "a.model"},
        /* The text of a step of blocks. */
        {"  - {id: l, type: loop, items: [1, 2], steps: [{id: a, type: action, action: x, give: y}]}\n", "l: ", "l.a"},
        {"  - {id: a, type: action, action: x, fail: 1, error: internal}\n", "failed", "a.result"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fx f;
        char yaml[512];
        fx_init(&f, NULL, false);
        (void)snprintf(yaml, sizeof yaml, "name: demo\nsteps:\n%s", cases[i].yaml);
        char *text = report_of(&f, yaml, NULL);
        if (!strstr(text, cases[i].has) || strstr(text, cases[i].has_not))
            sl_test_failed(__FILE__, __LINE__, "case %zu: %s", i, text);
        free(text);
        fx_done(&f);
    }
}

SL_TEST(a_report_needs_room)
{
    fx f;
    fx_init(&f, NULL, false);
    sl_flow_run *run = fx_run(&f, "name: demo\nsteps:\n  - {id: a, type: action, action: x}\n", NULL);
    const sl_run_view view = {.columns = 100};
    sl_buf whole;
    sl_buf_init(&whole, 1u << 16);
    REQUIRE(sl_run_view_report(&view, run, &whole) == 0);
    for (size_t room = 1; room < whole.len; room += 13) {
        sl_buf out;
        sl_buf_init(&out, room);
        CHECK_EQ(sl_run_view_report(&view, run, &out), SL_ELIMIT);
        CHECK(out.len <= room);
        sl_buf_done(&out);
    }
    for (long n = 0;; n++) {
        sl_buf out;
        sl_buf_init(&out, 1u << 16);
        sl_test_fail_alloc(n);
        int error = sl_run_view_report(&view, run, &out);
        bool reached = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK(error == 0 || error == SL_ENOMEM);
        CHECK(error || reached || sl_str_eq(sl_buf_str(&out), sl_buf_str(&whole)));
        sl_buf_done(&out);
        if (!reached)
            break;
    }
    sl_buf_done(&whole);
    sl_flow_run_unref(run);
    fx_done(&f);
}
