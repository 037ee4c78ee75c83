/*
 * Connections by descriptor: many threads at once, stale references, places that run out, children. The files are
 * included, and stand on a host made for the test.
 */
#include "src/probe/host/http_table.c"
#include "src/probe/host/http_work.c"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/harness/sl_test.h"

/* ---- a host ---- */

union sl_host_page sl_host_state_page;
_Thread_local sl_host_thread sl_host_thread_state;
_Atomic uint32_t sl_host_generation;
_Thread_local uint32_t sl_host_tag;
void *_Atomic sl_host_reals[SL_HOOK_COUNT];
_Atomic uint32_t sl_host_unsure;
static _Atomic bool same_process = true;

/* The event that the thread is writing. */
static _Thread_local struct {
    _Alignas(16) char bytes[4096];
} scratch;
static _Atomic uint64_t counts[SL_PROBE_KIND_COUNT];
static _Atomic uint64_t last_request, last_value;

void sl_host_thread_begin(sl_host_thread *thread)
{
    memset(thread, 0, sizeof *thread);
    thread->generation = atomic_load(&sl_host_generation);
    thread->tid = 1;
}

bool sl_host_same_process(void)
{
    return atomic_load(&same_process);
}

bool sl_host_recording(sl_hook_id id, void *real)
{
    (void)id;
    (void)real;
    return sl_host_on();
}

void *sl_host_real(sl_hook_id id)
{
    return atomic_load(&sl_host_reals[id]);
}

void *sl_host_real_from(sl_hook_id id, const void *caller)
{
    (void)caller;
    return atomic_load(&sl_host_reals[id]);
}

sl_probe_event *sl_host_take(sl_probe_kind kind, size_t body, size_t tail)
{
    SL_ASSERT(body + tail <= sizeof scratch.bytes);
    sl_probe_event *event = (sl_probe_event *)(void *)scratch.bytes;
    memset(event, 0, body);
    event->kind = (uint16_t)kind;
    return event;
}

static void note(const sl_probe_event *event)
{
    const sl_probe_answer_end *end = (const sl_probe_answer_end *)(const void *)event;
    atomic_fetch_add(&counts[event->kind], 1);
    if (event->kind == SL_PROBE_ANSWER_END) {
        atomic_store(&last_request, end->request);
        atomic_store(&last_value, event->flags);
    }
}

/* sl_host_commit ends here. */
void sl_probe_ring_commit(sl_probe_event *event, size_t size)
{
    SL_ASSERT(size % SL_PROBE_EVENT_ALIGN == 0);
    note(event);
}

static void host_begin(void)
{
    atomic_fetch_add(&sl_host_generation, 1);
    atomic_store(&sl_the_host->state, SL_HOST_ON);
    atomic_store(&sl_the_host->last_request, 0);
    atomic_store(&same_process, true);
    for (size_t i = 0; i < SL_PROBE_KIND_COUNT; i++)
        atomic_store(&counts[i], 0);
}

static uint64_t count(sl_probe_kind kind)
{
    return atomic_load(&counts[kind]);
}

#define GET "GET / HTTP/1.1\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

static void was_read(int fd, sl_http_ref ref, const char *text, bool tls)
{
    struct iovec piece = {(void *)(uintptr_t)text, strlen(text)};
    sl_http_moved moved = {&piece, 1, strlen(text), tls};
    sl_http_was_read(fd, ref, &moved);
}

static void was_written(int fd, sl_http_ref ref, const char *text, bool tls)
{
    struct iovec piece = {(void *)(uintptr_t)text, strlen(text)};
    sl_http_moved moved = {&piece, 1, strlen(text), tls};
    sl_http_was_written(fd, ref, &moved);
}

static sl_http_ref opened(int fd)
{
    sl_http_accepted(fd);
    return sl_http_find(fd);
}

/* ---- one thread ---- */

SL_TEST(a_connection_from_accept_to_close)
{
    host_begin();
    sl_http_ref ref = opened(5);
    REQUIRE(ref != 0);
    CHECK_EQ(sl_host_request(), 0);
    was_read(5, ref, GET, false);
    CHECK_EQ(sl_host_request(), 1);
    was_written(5, ref, OK, false);
    CHECK_EQ(sl_host_request(), 0);
    was_read(5, ref, GET, false);
    CHECK_EQ(sl_host_request(), 2);
    sl_http_closing(5, ref);
    CHECK_EQ(sl_host_request(), 0);
    CHECK_EQ(sl_http_find(5), 0);
    CHECK_EQ(count(SL_PROBE_REQUEST), 2);
    CHECK_EQ(count(SL_PROBE_ANSWER_END), 2);
    CHECK_EQ(atomic_load(&last_value), SL_PROBE_END_CLOSED);
}

/* Who has ended it: asked at the close, for the server may have learnt it by other ways than reading. */
SL_TEST(a_close_tells_whether_the_client_had_left)
{
    int pair[2];
    bool whole;
    for (int leaves = 0; leaves < 2; leaves++) {
        host_begin();
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
        sl_http_ref ref = opened(pair[0]);
        was_read(pair[0], ref, GET, false);
        CHECK_EQ(write(pair[1], GET, sizeof GET - 1), (ssize_t)sizeof GET - 1); /* not read yet, perhaps never */
        if (leaves)
            (void)close(pair[1]);
        CHECK_EQ(sl_http_waiting(ref, &whole), 1);
        errno = 4321;
        sl_http_closing(pair[0], ref);
        CHECK_EQ(errno, 4321);
        CHECK_EQ(atomic_load(&last_value), leaves ? SL_PROBE_END_CLOSED | SL_PROBE_END_BY_PEER : SL_PROBE_END_CLOSED);
        (void)close(pair[0]);
        if (!leaves)
            (void)close(pair[1]);
    }
}

SL_TEST(a_stream_that_ends_in_order_tells_whether_its_reader_was_there)
{
    int pair[2];
    for (int leaves = 0; leaves < 2; leaves++) {
        host_begin();
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
        sl_http_ref ref = opened(pair[0]);
        was_read(pair[0], ref, GET, false);
        was_written(pair[0], ref,
                    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n", false);
        if (leaves)
            (void)close(pair[1]);
        was_written(pair[0], ref, "0\r\n\r\n", false);
        CHECK_EQ(atomic_load(&last_value),
                 leaves ? SL_PROBE_END_COMPLETE | SL_PROBE_END_BY_PEER : SL_PROBE_END_COMPLETE);
        sl_http_closing(pair[0], ref);
        (void)close(pair[0]);
        if (!leaves)
            (void)close(pair[1]);
    }
}

SL_TEST(nothing_is_known_while_nothing_is_recorded)
{
    host_begin();
    sl_http_ref ref = opened(5);
    atomic_store(&sl_the_host->state, SL_HOST_UNSEEN);
    CHECK_EQ(sl_http_find(5), 0);
    atomic_store(&sl_the_host->state, SL_HOST_ON);
    CHECK_EQ(sl_http_find(5), ref);
    CHECK_EQ(sl_http_find(-1), 0);
    CHECK_EQ(sl_http_find(SL_PROBE_MAX_FDS), 0);
    sl_http_accepted((int)SL_PROBE_MAX_FDS);
    sl_http_closing(5, ref);
}

SL_TEST(a_reference_of_an_earlier_connection_does_nothing)
{
    host_begin();
    sl_http_ref old = opened(6);
    sl_http_closing(6, old);
    sl_http_ref ref = opened(6);
    CHECK(ref != old);
    was_read(6, old, GET, false);
    sl_http_at_end(6, old);
    sl_http_failed(6, old, ECONNRESET);
    sl_http_closing(6, old);
    CHECK_EQ(count(SL_PROBE_REQUEST), 0);
    CHECK_EQ(sl_http_find(6), ref);
    was_read(6, ref, GET, false);
    CHECK_EQ(count(SL_PROBE_REQUEST), 1);
    sl_http_closing(6, ref);
}

SL_TEST(a_close_that_was_not_seen_is_made_up_for)
{
    host_begin();
    sl_http_ref old = opened(7);
    was_read(7, old, GET, false);
    sl_http_ref ref = opened(7);
    CHECK(ref && ref != old);
    CHECK_EQ(count(SL_PROBE_ANSWER_END), 1);
    sl_http_closing(7, ref);
}

SL_TEST(ends_that_are_ends)
{
    host_begin();
    sl_http_ref ref = opened(8);
    sl_http_failed(8, ref, EAGAIN);
    sl_http_failed(8, ref, EINTR);
    CHECK_EQ(sl_http_find(8), ref);
    was_read(8, ref, GET, false);
    sl_http_at_end(8, ref); /* the peer has shut its side: the answer may still go out */
    CHECK_EQ(sl_http_find(8), ref);
    was_written(8, ref, OK, false);
    sl_http_at_end(8, ref);
    CHECK_EQ(sl_http_find(8), 0);
    ref = opened(8);
    was_read(8, ref, GET, false);
    sl_http_failed(8, ref, EPIPE);
    CHECK_EQ(sl_http_find(8), 0);
    CHECK_EQ(count(SL_PROBE_ANSWER_END), 2);
}

SL_TEST(a_child_of_vfork_ends_nothing)
{
    host_begin();
    sl_http_ref ref = opened(9);
    was_read(9, ref, GET, false);
    atomic_store(&same_process, false);
    sl_http_closing(9, ref);
    sl_http_failed(9, ref, EPIPE);
    CHECK_EQ(sl_http_find(9), ref);
    atomic_store(&same_process, true);
    CHECK_EQ(count(SL_PROBE_ANSWER_END), 0);
    sl_http_closing(9, ref);
}

SL_TEST(places_of_a_parent_are_free_in_a_child)
{
    host_begin();
    sl_http_ref parents[3] = {opened(10), opened(11), opened(12)};
    was_read(10, parents[0], GET, false);
    host_begin(); /* as in a child */
    was_written(10, parents[0], OK, false);
    CHECK_EQ(count(SL_PROBE_ANSWER), 0);
    sl_http_ref ref = opened(13);
    CHECK_EQ(ref & INDEX_MASK, 1);
    CHECK_EQ(sl_http_find(10), 0);
    CHECK_EQ(sl_http_find(12), 0);
    CHECK_EQ(count(SL_PROBE_ANSWER_END), 0);
    sl_http_closing(13, ref);
}

SL_TEST(no_more_than_there_are_places)
{
    host_begin();
    for (int fd = 100; fd < 100 + (int)SL_PROBE_MAX_CONNECTIONS; fd++)
        CHECK(opened(fd) != 0);
    CHECK_EQ(opened(99), 0);
    CHECK_EQ(opened(151), 0); /* and what it stood for has ended */
    sl_http_closing(150, sl_http_find(150));
    CHECK_EQ(opened(99) & INDEX_MASK, 51);
    CHECK_EQ(opened(98) & INDEX_MASK, 52);
    sl_http_closing(98, sl_http_find(98));
    sl_http_closing(99, sl_http_find(99));
    for (int fd = 100; fd < 100 + (int)SL_PROBE_MAX_CONNECTIONS; fd++)
        sl_http_closing(fd, sl_http_find(fd));
}

SL_TEST(within_tls)
{
    host_begin();
    sl_http_ref ref = opened(14);
    was_read(14, ref, "\x16\x03\x01 hello", false); /* what is within comes byte by byte */
    CHECK_EQ(sl_http_find(14), ref);
    for (const char *at = GET; *at; at++)
        was_read(14, ref, (char[]){*at, '\0'}, true);
    CHECK_EQ(count(SL_PROBE_REQUEST), 1);
    was_written(14, ref, OK, true);
    was_read(14, ref, "\x16\x03\x01 hello", true); /* not HTTP any more: lost */
    CHECK_EQ(sl_http_find(14), 0);
    host_begin();
    int both[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, both) == 0);
    sl_http_adopt(both[0], GET, strlen(GET), true);
    ref = sl_http_find(both[0]);
    REQUIRE(ref != 0);
    was_read(both[0], ref, GET, false);
    was_written(both[0], ref, OK, false);
    CHECK_EQ(count(SL_PROBE_REQUEST), 1);
    CHECK_EQ(count(SL_PROBE_ANSWER), 0);
    was_written(both[0], ref, OK, true);
    CHECK_EQ(count(SL_PROBE_ANSWER), 1);
    sl_http_was_sent(both[0], ref, 100);
    sl_http_closing(both[0], ref);
    (void)close(both[0]);
    (void)close(both[1]);
}

SL_TEST(what_is_adopted)
{
    static const char *const begins[] = {"GET / HTTP/1.1\r\n", "POST /completion HTTP/1.1\r\nHost: x\r\n",
                                         "HEAD /a?b HTTP/1.0\n"};
    static const char *const others[] = {
        "HTTP/1.1 200 OK\r\n\r\n", "GET x HTTP/1.1\r\n", "GET / HTTP/2\r\n", "GET / HTTP/1.1", "GET /", "",
        "SELECT / HTTP/1.1\r\n",   "INFO clients\r\n"};
    int both[2], file = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    host_begin();
    REQUIRE(file >= 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, both) == 0);
    errno = 4321;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        sl_http_adopt(both[0], others[i], strlen(others[i]), false);
        CHECK_EQ(sl_http_find(both[0]), 0);
    }
    for (size_t i = 0; i < sizeof begins / sizeof begins[0]; i++) {
        sl_http_adopt(file, begins[i], strlen(begins[i]), false);
        CHECK_EQ(sl_http_find(file), 0);
        sl_http_adopt(both[0], begins[i], strlen(begins[i]), false);
        CHECK(sl_http_find(both[0]) != 0);
        sl_http_closing(both[0], sl_http_find(both[0]));
    }
    CHECK_EQ(errno, 4321);
    (void)close(file);
    (void)close(both[0]);
    (void)close(both[1]);
}

SL_TEST(the_probes_own_threads_are_not_watched)
{
    host_begin();
    sl_http_ref ref = opened(15);
    sl_host_this_thread()->ours = 1;
    was_read(15, ref, GET, false);
    CHECK_EQ(opened(16), 0);
    sl_host_this_thread()->ours = 0;
    CHECK_EQ(count(SL_PROBE_REQUEST), 0);
    sl_http_closing(15, ref);
}

/* ---- TLS on memory ---- */

#define SSL_OF(i) ((const void *)(uintptr_t)(0x10000 + 64 * (uintptr_t)(i)))

SL_TEST(an_object_of_libssl_stands_for_a_connection_without_a_descriptor)
{
    host_begin();
    errno = 4321;
    sl_http_tls_adopt(SSL_OF(1), "\x01\x02GET / HTTP/1.1\r\n", 18);
    CHECK_EQ(sl_http_tls_fd(SSL_OF(1)), -1);
    sl_http_tls_adopt(SSL_OF(1), GET, sizeof GET - 1);
    int fd = sl_http_tls_fd(SSL_OF(1));
    CHECK(fd >= (int)SL_PROBE_MAX_FDS && fd < (int)SL_HTTP_FDS);
    CHECK_EQ(sl_http_find(fd), 0); /* a descriptor of that number is another thing */
    sl_http_accepted(fd);
    sl_http_ref ref = atomic_load(&sl_http_by_fd[fd]);
    CHECK_EQ(sl_host_request(), 1);
    was_written(fd, ref, OK, true);
    CHECK_EQ(count(SL_PROBE_ANSWER_END), 1);
    was_read(fd, ref, "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nab", true);
    sl_http_tls_gone(SSL_OF(2), true);
    CHECK_EQ(count(SL_PROBE_ANSWER_END), 1);
    sl_http_tls_gone(SSL_OF(1), true);
    CHECK_EQ(count(SL_PROBE_ANSWER_END), 2);
    CHECK_EQ(atomic_load(&last_value), SL_PROBE_END_CLOSED | SL_PROBE_END_BY_PEER);
    CHECK_EQ(sl_http_tls_fd(SSL_OF(1)), -1);
    sl_http_tls_gone(SSL_OF(1), true);
    CHECK_EQ(errno, 4321);
    CHECK_EQ(count(SL_PROBE_REQUEST), 2);
}

static unsigned tls_places_left(unsigned objects)
{
    unsigned known = 0;
    for (unsigned i = 0; i < objects; i++)
        known += sl_http_tls_fd(SSL_OF(i)) >= 0;
    return known;
}

SL_TEST(places_of_tls_on_memory_come_back)
{
    enum { MANY = 3 * SL_PROBE_MAX_TLS };
    host_begin();
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < MANY; i++)
            sl_http_tls_adopt(SSL_OF(i), GET, sizeof GET - 1);
        CHECK_EQ(count(SL_PROBE_REQUEST), (round + 1) * SL_PROBE_MAX_CONNECTIONS);
        for (unsigned i = 0; i < MANY; i++)
            sl_http_tls_gone(SSL_OF(i), false);
        CHECK_EQ(tls_places_left(MANY), 0);
    }
    CHECK_EQ(count(SL_PROBE_ANSWER_END), 3 * SL_PROBE_MAX_CONNECTIONS);
}

SL_TEST(what_is_not_understood_gives_the_place_of_its_object_back)
{
    host_begin();
    sl_http_tls_adopt(SSL_OF(7), GET, sizeof GET - 1);
    int fd = sl_http_tls_fd(SSL_OF(7));
    was_written(fd, atomic_load(&sl_http_by_fd[fd]), OK, true);
    was_read(fd, atomic_load(&sl_http_by_fd[fd]), "\x16\x03\x01 hello", true);
    CHECK_EQ(sl_http_tls_fd(SSL_OF(7)), -1);
    sl_http_tls_adopt(SSL_OF(7), GET, sizeof GET - 1);
    fd = sl_http_tls_fd(SSL_OF(7));
    CHECK(fd > 0);
    host_begin(); /* in a child */
    sl_http_tls_adopt(SSL_OF(8), GET, sizeof GET - 1);
    CHECK_EQ(sl_http_tls_fd(SSL_OF(7)), -1);
    atomic_store(&same_process, false);
    sl_http_tls_adopt(SSL_OF(9), GET, sizeof GET - 1);
    sl_http_tls_gone(SSL_OF(8), false);
    CHECK_EQ(sl_http_tls_fd(SSL_OF(9)), -1);
    CHECK_EQ(sl_http_tls_fd(SSL_OF(8)) >= 0, true);
    atomic_store(&same_process, true);
    sl_http_tls_gone(SSL_OF(8), false);
}

/* ---- whom a thread serves ---- */

SL_TEST(a_thread_with_two_unanswered_requests_serves_none_for_certain)
{
    host_begin();
    sl_http_ref a = opened(20), b = opened(21);
    was_read(20, a, GET, false);
    CHECK_EQ(sl_host_request(), 1);
    was_read(21, b, GET, false);
    CHECK_EQ(sl_host_request(), 0);
    was_read(20, a, "GET /2 HTTP/1.1\r\n\r\n", false);
    CHECK_EQ(sl_host_request(), 0);
    was_written(20, a, OK, false);
    CHECK_EQ(sl_host_request(), 0);
    was_written(21, b, OK, false);
    CHECK_EQ(sl_host_request(), 3);
    was_written(20, a, OK, false);
    CHECK_EQ(sl_host_request(), 0);
    sl_http_closing(20, a);
    sl_http_closing(21, b);
}

SL_TEST(more_connections_than_a_thread_remembers)
{
    host_begin();
    sl_http_ref refs[SL_HTTP_SERVES + 3];
    for (int i = 0; i < (int)SL_HTTP_SERVES + 3; i++) {
        refs[i] = opened(30 + i);
        was_read(30 + i, refs[i], GET, false);
        CHECK_EQ(sl_host_request(), i == 0);
    }
    for (int i = 0; i < (int)SL_HTTP_SERVES + 3; i++)
        sl_http_closing(30 + i, refs[i]);
    CHECK_EQ(sl_host_request(), 0);
    sl_http_ref ref = opened(30);
    was_read(30, ref, GET, false);
    CHECK_EQ(sl_host_request(), SL_HTTP_SERVES + 4);
    sl_http_closing(30, ref);
}

static int notified;

static int fake_notify(void *condition)
{
    (void)condition;
    return ++notified;
}

static int32_t fake_tokenize(void *vocab, const char *text, int32_t len, int32_t *tokens, int32_t max, bool special,
                             bool parse)
{
    (void)vocab;
    (void)text;
    (void)special;
    (void)parse;
    for (int32_t i = 0; i < len && i < max; i++)
        tokens[i] = i;
    return len > max ? -len : len;
}

SL_TEST(post_once_for_a_body_and_for_tokens)
{
    int32_t tokens[4];
    host_begin();
    atomic_store(&sl_host_reals[SL_HOOK_pthread_cond_signal], (void *)(uintptr_t)fake_notify);
    atomic_store(&sl_host_reals[SL_HOOK_pthread_cond_broadcast], (void *)(uintptr_t)fake_notify);
    atomic_store(&sl_host_reals[SL_HOOK_llama_tokenize], (void *)(uintptr_t)fake_tokenize);
    notified = 0;
    sl_http_ref ref = opened(40);
    (void)hook_pthread_cond_signal(NULL);
    CHECK_EQ(count(SL_PROBE_POST), 0);
    was_read(40, ref, "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\na", false);
    (void)hook_pthread_cond_signal(NULL);
    CHECK_EQ(count(SL_PROBE_POST), 0);
    was_read(40, ref, "b", false);
    (void)hook_pthread_cond_broadcast(NULL);
    (void)hook_pthread_cond_signal(NULL);
    CHECK_EQ(count(SL_PROBE_POST), 1);
    CHECK_EQ(hook_llama_tokenize(NULL, "abcdef", 6, tokens, 4, true, true), -6);
    (void)hook_pthread_cond_signal(NULL);
    CHECK_EQ(count(SL_PROBE_POST), 1);
    CHECK_EQ(hook_llama_tokenize(NULL, "abc", 3, tokens, 4, true, true), 3);
    (void)hook_pthread_cond_signal(NULL);
    (void)hook_pthread_cond_signal(NULL);
    CHECK_EQ(count(SL_PROBE_POST), 2);
    CHECK_EQ(hook_llama_tokenize(NULL, "abc", 3, tokens, 4, true, true), 3);
    was_written(40, ref, OK, false);
    (void)hook_pthread_cond_signal(NULL);
    CHECK_EQ(count(SL_PROBE_POST), 2);
    CHECK_EQ(count(SL_PROBE_TOKENIZE), 2);
    CHECK_EQ(notified, 8);
    sl_http_closing(40, ref);
}

static int fake_wait(void *condition, void *mutex)
{
    return condition == mutex ? 0 : -1;
}

static void *wait_for(void *condition)
{
    sl_host_this_thread()->calls = 1;
    CHECK_EQ(hook_pthread_cond_wait(condition, condition), 0);
    return NULL;
}

SL_TEST(post_of_the_queue_comes_last)
{
    static char queue, log, other;
    int32_t tokens[4];
    pthread_t thread;
    host_begin();
    atomic_store(&sl_host_reals[SL_HOOK_pthread_cond_signal], (void *)(uintptr_t)fake_notify);
    atomic_store(&sl_host_reals[SL_HOOK_llama_tokenize], (void *)(uintptr_t)fake_tokenize);
    atomic_store(&sl_host_reals[SL_HOOK_pthread_cond_wait], (void *)(uintptr_t)fake_wait);
    sl_http_ref ref = opened(41);
    was_read(41, ref, GET, false);
    sl_host_this_thread()->calls = 1;
    (void)hook_pthread_cond_wait(&other, &other); /* of a thread that serves: not learnt */
    CHECK_EQ(is_queue(&other), -1);
    REQUIRE(pthread_create(&thread, NULL, wait_for, &queue) == 0);
    (void)pthread_join(thread, NULL);
    CHECK_EQ(is_queue(&queue), 1);
    CHECK_EQ(is_queue(&log), 0);
    (void)hook_pthread_cond_signal(&log);
    (void)hook_pthread_cond_signal(&log);
    CHECK_EQ(count(SL_PROBE_POST), 1);
    CHECK_EQ(hook_llama_tokenize(NULL, "abc", 3, tokens, 4, true, true), 3);
    (void)hook_pthread_cond_signal(&log);
    (void)hook_pthread_cond_signal(&other);
    CHECK_EQ(count(SL_PROBE_POST), 2);
    (void)hook_pthread_cond_signal(&queue);
    CHECK_EQ(count(SL_PROBE_POST), 3);
    (void)hook_pthread_cond_signal(&queue);
    (void)hook_pthread_cond_signal(&log);
    CHECK_EQ(count(SL_PROBE_POST), 3);
    sl_http_closing(41, ref);
    atomic_store(&queues[0], NULL);
}

SL_TEST(no_more_queues_than_there_is_room_for)
{
    static char conditions[MAX_QUEUES + 3];
    pthread_t thread;
    host_begin();
    for (size_t i = 0; i < sizeof conditions; i++) {
        REQUIRE(pthread_create(&thread, NULL, wait_for, &conditions[i]) == 0);
        (void)pthread_join(thread, NULL);
        CHECK_EQ(is_queue(&conditions[i]), i < MAX_QUEUES);
    }
    for (size_t i = 0; i < MAX_QUEUES; i++)
        atomic_store(&queues[i], NULL);
}

/* ---- many threads ---- */

#define FDS 8
static _Atomic bool stop;

/* Whatever threads do to a handful of descriptors at once: no crash, no place lost, all that began has ended. */
static void *hammer(void *user)
{
    unsigned seed = (unsigned)(uintptr_t)user;
    while (!atomic_load(&stop)) {
        int fd = 50 + rand_r(&seed) % FDS, what = rand_r(&seed) % 8;
        sl_http_ref ref = sl_http_find(fd);
        if (what == 0)
            sl_http_accepted(fd);
        else if (what == 1)
            sl_http_closing(fd, ref);
        else if (what == 2)
            sl_http_at_end(fd, ref);
        else if (what < 6)
            was_read(fd, ref, what == 3 ? GET : "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", false);
        else
            was_written(fd, ref, OK, false);
    }
    return NULL;
}

SL_TEST(threads_that_fight_over_descriptors)
{
    pthread_t threads[4];
    host_begin();
    atomic_store(&stop, false);
    for (uintptr_t i = 0; i < 4; i++)
        REQUIRE(pthread_create(&threads[i], NULL, hammer, (void *)(i + 1)) == 0);
    (void)usleep(300000);
    atomic_store(&stop, true);
    for (size_t i = 0; i < 4; i++)
        (void)pthread_join(threads[i], NULL);
    for (int fd = 50; fd < 50 + FDS; fd++)
        sl_http_closing(fd, sl_http_find(fd));
    CHECK(count(SL_PROBE_REQUEST) > 100);
    CHECK_EQ(count(SL_PROBE_REQUEST), count(SL_PROBE_ANSWER_END));
    uint64_t left = 0;
    for (size_t i = 0; i < SL_PROBE_MAX_CONNECTIONS / 64; i++)
        left |= atomic_load(&taken[i]);
    CHECK_EQ(left, 0);
}
