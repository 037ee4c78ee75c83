/* `sightline top`: a live table of what a gateway does. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/cli/commands.h"
#include "src/cli/fetch.h"
#include "src/cli/top_page.h"

typedef struct top_command_options {
    sl_str url;
    sl_str format;
    uint64_t interval_ms;
    bool once;
} top_command_options;

#define OPT(member) offsetof(top_command_options, member)
static const sl_option options[] = {
    {"url", 'u', SL_OPT_STR, OPT(url), "URL", "The metrics page.", "http://127.0.0.1:9000/metrics",
     "SIGHTLINE_METRICS_URL"},
    {"interval", 'i', SL_OPT_MS, OPT(interval_ms), "SECONDS", "Time between two looks.", "1", NULL},
    {"once", '1', SL_OPT_FLAG, OPT(once), NULL, "One table, of everything since the start, and exit; also when piped.",
     NULL, NULL},
    {"format", 'f', SL_OPT_STR, OPT(format), "FORMAT", "text or json; json is one object, as with --once.", "text",
     NULL},
    {NULL, 0, SL_OPT_FLAG, 0, NULL, NULL, NULL, NULL}};
static const sl_option *const tables[] = {options, NULL};

/* Pages are large: kept off the stack. */
typedef struct top_state {
    char url[2048];
    sl_top_page before;
    sl_top_page after;
    sl_top_page shown;
    uint64_t before_ns;
    uint64_t after_ns;
} top_state;

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
    (void)number;
    stopped = 1;
}

/* Gets a page into `after`; a failure is said. */
static int look(top_state *state)
{
    SL_ASSERT(state);
    sl_fetch fetch;
    sl_scrape scrape;
    int status = SL_EXIT_OK;
    if (sl_fetch_get(state->url, NULL, &fetch) != 0) {
        status = sl_fail(SL_EXIT_FAILED, "%s; is `sightline up` running?", fetch.reason);
    } else if (fetch.status != 200) {
        status = sl_fail(SL_EXIT_FAILED, "%s: answered with status %d; give the metrics page with --url", state->url,
                         fetch.status);
    } else if (sl_scrape_parse(sl_buf_str(&fetch.body), &scrape) != 0) {
        status = sl_fail(SL_EXIT_FAILED, "%s: the page is too large", state->url);
    } else {
        state->after_ns = sl_mono_ns();
        sl_top_read(&scrape, (double)sl_now_ns() / 1e9, &state->after);
        if (!scrape.count)
            status = sl_fail(SL_EXIT_FAILED, "%s: there is no metric; give the metrics page with --url", state->url);
        else if (scrape.bad_lines)
            status = sl_fail(SL_EXIT_FAILED, "%s: line %u is no metric; give the metrics page with --url", state->url,
                             scrape.first_bad_line);
        sl_scrape_done(&scrape);
    }
    sl_fetch_done(&fetch);
    return status;
}

static int print(const sl_top_page *page, bool json, const char *before)
{
    sl_buf out;
    sl_buf_init(&out, 4u << 20);
    (void)sl_buf_put_c(&out, before);
    int error = json ? sl_top_json(page, &out) : sl_top_text(page, sl_use_colour(STDOUT_FILENO), &out);
    int status = error ? sl_fail(SL_EXIT_FAILED, "top: %s", sl_strerror(error)) : sl_print(&out);
    sl_buf_done(&out);
    return status;
}

/* Waits for the interval; true when the user wants to leave. */
static bool wait_for_key(uint64_t ms)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    char key = 0;
    if (poll(&input, 1, (int)ms) == 1 && read(STDIN_FILENO, &key, 1) <= 0)
        return true;
    return key == 'q' || key == 'Q' || key == 3 || stopped;
}

/* Redraws until q or a signal. */
static int live(top_state *state, uint64_t interval_ms)
{
    SL_ASSERT(state);
    struct termios old, raw;
    bool terminal = tcgetattr(STDIN_FILENO, &old) == 0;
    if (terminal) {
        raw = old;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    }
    (void)signal(SIGINT, on_signal);
    (void)signal(SIGTERM, on_signal);
    int status = print(&state->after, false, "\033[2J\033[H");
    while (status == SL_EXIT_OK && !wait_for_key(interval_ms)) {
        state->before = state->after;
        state->before_ns = state->after_ns;
        status = look(state);
        if (status != SL_EXIT_OK)
            break;
        sl_top_change(&state->before, &state->after, (double)(state->after_ns - state->before_ns) / 1e9, &state->shown);
        status = print(&state->shown, false, "\033[H\033[J");
        fputs("\nq: quit\n", stdout);
        (void)fflush(stdout);
    }
    if (terminal)
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &old);
    return status;
}

static int run_top(const sl_command *command, void *given, char **args, size_t arg_count)
{
    (void)command;
    (void)args;
    (void)arg_count;
    const top_command_options *o = given;
    bool json = sl_str_eq_c(o->format, "json");
    if (!sl_format_is_known(o->format))
        return SL_EXIT_USAGE;
    if (o->interval_ms < 100 || o->interval_ms > 3600000)
        return sl_fail(SL_EXIT_USAGE, "--interval: out of range; give 0.1 to 3600 seconds");
    top_state *state = sl_calloc(1, sizeof *state);
    if (!state)
        return sl_fail(SL_EXIT_FAILED, "top: out of memory");
    (void)sl_str_to_c(o->url, state->url, sizeof state->url);
    int status = look(state);
    if (status == SL_EXIT_OK) {
        bool one = o->once || json || !isatty(STDOUT_FILENO);
        status = one ? print(&state->after, json, "") : live(state, o->interval_ms);
    }
    sl_free(state);
    return status;
}

const sl_command sl_cmd_top = {"top",
                               "live table: rates, latency, first token, tokens of each model",
                               "[options]",
                               "Reads the metrics page each second and shows what has changed: requests, failures, "
                               "latency, time to first token and tokens per "
                               "second of each model. q leaves. Piped, with --once or --format json it shows "
                               "everything since the start and exits.",
                               "  sightline top\n"
                               "  sightline top --once\n"
                               "  sightline top --url http://localhost:9000/metrics --format json\n",
                               tables,
                               sizeof(top_command_options),
                               0,
                               run_top};
