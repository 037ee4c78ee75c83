/* The control server: its thread, its listeners, who is let in and who has to go. */
#include "src/net/lite/ctl_server.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/base/sync.h"
#include "src/net/lite/ctl_server_conn.h"

#define MAX_LISTENERS 8
#define ACCEPTS_PER_TURN 16
#define STACK_BYTES (512u * 1024) /* handlers included */
#define PAUSE_NS 20000000u        /* before a full house looks at its door again */

/* How long a connection may stay in a state when another one is waiting to come in. */
static const uint64_t patience_ns[] = {
    [SL_CTL_IDLE] = 20000000,   [SL_CTL_READING] = 250000000, [SL_CTL_WRITING] = 1000000000,
    [SL_CTL_LINGER] = 20000000, [SL_CTL_CLOSED] = 0,
};

typedef struct listener {
    int fd;
    sl_ctl_route *routes;
    size_t count;
} listener;

struct sl_ctl_server {
    /* Constant after start. */
    size_t listener_count;
    listener listeners[MAX_LISTENERS];
    int wake_fd;
    /* The server's thread. */
    sl_ctl_shared shared;
    sl_ctl_conn **conns;
    struct pollfd *polls; /* wake, listeners, connections */
    bool *again;
    size_t conn_count;
    uint64_t door_closed_until_ns;
    /* Any thread. */
    _Atomic uint64_t accepted, evicted;
    _Atomic uint64_t stop_at_ns; /* monotonic; 0: run */
    pthread_mutex_t lock;        /* of the two below */
    bool started, joined;
    pthread_t thread;
};

/* ---- life cycle ---- */

static void set_defaults(sl_ctl_options *options)
{
    SL_ASSERT(options);
    if (options->max_connections == 0 || options->max_connections > SL_MAX_CTL_CONNECTIONS)
        options->max_connections = SL_MAX_CTL_CONNECTIONS;
    if (options->max_body_bytes == 0)
        options->max_body_bytes = 64u * 1024;
    if (options->head_timeout_ms == 0)
        options->head_timeout_ms = 5000;
    if (options->idle_timeout_ms == 0)
        options->idle_timeout_ms = 60000;
    if (options->write_timeout_ms == 0)
        options->write_timeout_ms = 10000;
}

sl_ctl_server *sl_ctl_server_new(const sl_ctl_options *options)
{
    sl_ctl_server *server = sl_calloc(1, sizeof *server);
    if (!server)
        return NULL;
    if (options)
        server->shared.options = *options;
    set_defaults(&server->shared.options);
    size_t max = server->shared.options.max_connections;
    server->conns = sl_calloc(max, sizeof(sl_ctl_conn *));
    server->again = sl_calloc(max, sizeof *server->again);
    server->polls = sl_calloc(max + MAX_LISTENERS + 1, sizeof *server->polls);
    server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&server->lock, NULL);
    if (!server->conns || !server->again || !server->polls || server->wake_fd < 0) {
        sl_ctl_server_free(server);
        return NULL;
    }
    return server;
}

int sl_ctl_server_add(sl_ctl_server *server, int listen_fd, const sl_ctl_route *routes, size_t count)
{
    SL_ASSERT(server && (routes || count == 0));
    int error = server->started || listen_fd < 0 ? SL_EINVAL : server->listener_count == MAX_LISTENERS ? SL_ELIMIT : 0;
    sl_ctl_route *copy = error ? NULL : sl_calloc(count + 1, sizeof *copy);
    if (!error && !copy)
        error = SL_ENOMEM;
    int flags = listen_fd < 0 ? 0 : fcntl(listen_fd, F_GETFL);
    if (!error && (flags < 0 || fcntl(listen_fd, F_SETFL, flags | O_NONBLOCK) != 0))
        error = SL_EINVAL;
    if (error) {
        sl_free(copy);
        if (listen_fd >= 0)
            (void)close(listen_fd);
        return error;
    }
    if (count)
        memcpy(copy, routes, count * sizeof *copy);
    server->listeners[server->listener_count++] = (listener){listen_fd, copy, count};
    return 0;
}

static void close_listeners(sl_ctl_server *server)
{
    for (size_t i = 0; i < server->listener_count; i++) {
        if (server->listeners[i].fd >= 0)
            (void)close(server->listeners[i].fd);
        server->listeners[i].fd = -1;
    }
}

void sl_ctl_server_free(sl_ctl_server *server)
{
    if (!server)
        return;
    sl_ctl_server_stop(server, 0);
    close_listeners(server);
    for (size_t i = 0; i < server->listener_count; i++)
        sl_free(server->listeners[i].routes);
    if (server->wake_fd >= 0)
        (void)close(server->wake_fd);
    pthread_mutex_destroy(&server->lock);
    sl_free(server->conns);
    sl_free(server->again);
    sl_free(server->polls);
    sl_free(server);
}

void sl_ctl_server_stats(sl_ctl_server *server, sl_ctl_stats *ret_stats)
{
    SL_ASSERT(server && ret_stats);
    ret_stats->accepted = atomic_load_explicit(&server->accepted, memory_order_relaxed);
    ret_stats->evicted = atomic_load_explicit(&server->evicted, memory_order_relaxed);
    ret_stats->requests = atomic_load_explicit(&server->shared.requests, memory_order_relaxed);
    ret_stats->bad_requests = atomic_load_explicit(&server->shared.bad_requests, memory_order_relaxed);
    ret_stats->timeouts = atomic_load_explicit(&server->shared.timeouts, memory_order_relaxed);
}

/* ---- connections ---- */

static void remove_conn(sl_ctl_server *server, size_t index)
{
    SL_ASSERT(index < server->conn_count);
    sl_ctl_conn_free(server->conns[index]);
    server->conn_count--;
    server->conns[index] = server->conns[server->conn_count];
    server->again[index] = server->again[server->conn_count];
}

/* Runs one connection; false when it has gone (another one stands at its place now). */
static bool run_conn(sl_ctl_server *server, size_t index, short revents, uint64_t now_ns)
{
    SL_ASSERT(server);
    sl_ctl_conn *conn = server->conns[index];
    server->again[index] = sl_ctl_conn_run(conn, revents, now_ns);
    if (conn->state != SL_CTL_CLOSED)
        return true;
    remove_conn(server, index);
    return false;
}

/* Closes the connection that has overstayed its patience by most. False: none has. */
static bool make_room(sl_ctl_server *server, uint64_t now_ns)
{
    size_t victim = SL_NPOS;
    uint64_t worst = 0;
    for (size_t i = 0; i < server->conn_count; i++) {
        const sl_ctl_conn *conn = server->conns[i];
        uint64_t waited = now_ns - conn->since_ns;
        if (waited >= patience_ns[conn->state] && waited - patience_ns[conn->state] >= worst) {
            worst = waited - patience_ns[conn->state];
            victim = i;
        }
    }
    if (victim == SL_NPOS)
        return false;
    remove_conn(server, victim);
    atomic_fetch_add_explicit(&server->evicted, 1, memory_order_relaxed);
    return true;
}

static void admit(sl_ctl_server *server, const listener *from, int fd, uint64_t now_ns)
{
    SL_ASSERT(server && from);
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    sl_ctl_conn *conn = sl_ctl_conn_new(&server->shared, from->routes, from->count, fd, now_ns);
    if (!conn) {
        (void)close(fd);
        return;
    }
    atomic_fetch_add_explicit(&server->accepted, 1, memory_order_relaxed);
    server->conns[server->conn_count] = conn;
    server->again[server->conn_count] = false;
    server->conn_count++;
    /* The request is often there already. */
    (void)run_conn(server, server->conn_count - 1, POLLIN, now_ns);
}

/* Whether a client is at the door: nobody has to go, and no descriptor is needed, for one that is not there. */
static bool somebody_waits(const listener *from)
{
    struct pollfd p = {from->fd, POLLIN, 0};
    return poll(&p, 1, 0) > 0;
}

static void accept_some(sl_ctl_server *server, const listener *from, uint64_t now_ns)
{
    for (int i = 0; i < ACCEPTS_PER_TURN && (i == 0 || somebody_waits(from)); i++) {
        if (server->conn_count == server->shared.options.max_connections && !make_room(server, now_ns)) {
            server->door_closed_until_ns = now_ns + PAUSE_NS;
            return;
        }
        int fd = accept4(from->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            admit(server, from, fd, now_ns);
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED)
            continue;
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            /* The process is out of descriptors: ours that idle are worth less than a probe's. */
            if (make_room(server, now_ns))
                continue;
            server->door_closed_until_ns = now_ns + PAUSE_NS;
        }
        return;
    }
}

/* ---- the loop ---- */

/* Fills in what to wait for; returns the number of entries, and how long to wait. */
static size_t prepare(sl_ctl_server *server, uint64_t now_ns, uint64_t stop_at_ns, int *ret_timeout_ms)
{
    SL_ASSERT(server && ret_timeout_ms);
    uint64_t wake_ns = stop_at_ns ? stop_at_ns : UINT64_MAX;
    size_t count = 0;
    bool open = !stop_at_ns && now_ns >= server->door_closed_until_ns;
    server->polls[count++] = (struct pollfd){server->wake_fd, POLLIN, 0};
    for (size_t i = 0; i < server->listener_count; i++)
        server->polls[count++] = (struct pollfd){open ? server->listeners[i].fd : -1, POLLIN, 0};
    if (!open && !stop_at_ns && server->door_closed_until_ns < wake_ns)
        wake_ns = server->door_closed_until_ns;
    for (size_t i = 0; i < server->conn_count; i++) {
        uint64_t deadline = server->again[i] ? now_ns : sl_ctl_conn_deadline(server->conns[i]);
        if (deadline < wake_ns)
            wake_ns = deadline;
        server->polls[count++] = (struct pollfd){server->conns[i]->fd, sl_ctl_conn_events(server->conns[i]), 0};
    }
    uint64_t wait_ms = wake_ns == UINT64_MAX ? 60000 : wake_ns <= now_ns ? 0 : (wake_ns - now_ns + 999999) / 1000000;
    *ret_timeout_ms = wait_ms > 60000 ? 60000 : (int)wait_ms;
    return count;
}

static void turn(sl_ctl_server *server, uint64_t now_ns, bool stopping)
{
    SL_ASSERT(server);
    const struct pollfd *conn_polls = server->polls + 1 + server->listener_count;
    /* From the end: a connection that goes is replaced by the last one, which has had its turn. */
    for (size_t i = server->conn_count; i-- > 0;) {
        if (conn_polls[i].revents || server->again[i] || now_ns >= sl_ctl_conn_deadline(server->conns[i]))
            (void)run_conn(server, i, conn_polls[i].revents, now_ns);
    }
    for (size_t i = 0; i < server->listener_count && !stopping; i++) {
        if (server->polls[1 + i].revents)
            accept_some(server, &server->listeners[i], now_ns);
    }
    if (server->polls[0].revents) {
        uint64_t count;
        ssize_t n = read(server->wake_fd, &count, sizeof count);
        (void)n;
    }
}

/* Stopping: closes what waits for nothing. A request that has just arrived is still read. */
static void dismiss_idle(sl_ctl_server *server, uint64_t now_ns)
{
    SL_ASSERT(server);
    for (size_t i = server->conn_count; i-- > 0;) {
        if (server->conns[i]->state != SL_CTL_IDLE || !run_conn(server, i, POLLIN, now_ns))
            continue;
        if (server->conns[i]->state == SL_CTL_IDLE)
            remove_conn(server, i);
    }
}

/* The kernel cannot wait for us now (no memory, or a small RLIMIT_NOFILE): after a pause everything is tried. */
static void wait_without_poll(sl_ctl_server *server, size_t count)
{
    const struct timespec pause = {0, PAUSE_NS};
    SL_ASSERT(server && count > 0);
    (void)nanosleep(&pause, NULL);
    for (size_t i = 0; i < count; i++)
        server->polls[i].revents = server->polls[i].fd >= 0 ? server->polls[i].events : (short)0;
}

static void *serve_thread(void *user)
{
    sl_ctl_server *server = user;
    for (;;) {
        uint64_t now = sl_mono_ns();
        uint64_t stop_at = atomic_load_explicit(&server->stop_at_ns, memory_order_acquire);
        if (stop_at) {
            if (!server->shared.stopping)
                close_listeners(server);
            server->shared.stopping = true;
            dismiss_idle(server, now);
            if (server->conn_count == 0 || now >= stop_at)
                break;
        }
        int timeout_ms;
        size_t count = prepare(server, now, stop_at, &timeout_ms);
        if (poll(server->polls, count, timeout_ms) < 0 && errno != EINTR)
            wait_without_poll(server, count);
        turn(server, sl_mono_ns(), stop_at != 0);
    }
    while (server->conn_count)
        remove_conn(server, server->conn_count - 1);
    return NULL;
}

/* Starts the thread with signals blocked: they are the host's. */
static int start_thread(sl_ctl_server *server)
{
    pthread_attr_t attr;
    sigset_t mask, before;
    if (pthread_attr_init(&attr) != 0)
        return SL_ENOMEM;
    (void)pthread_attr_setstacksize(&attr, STACK_BYTES);
    sl_thread_mask(&mask);
    pthread_sigmask(SIG_SETMASK, &mask, &before);
    int failed = pthread_create(&server->thread, &attr, serve_thread, server);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (failed)
        return failed == ENOMEM ? SL_ENOMEM : SL_EIO;
    (void)pthread_setname_np(server->thread, "sl-control");
    return 0;
}

int sl_ctl_server_start(sl_ctl_server *server)
{
    SL_ASSERT(server);
    pthread_mutex_lock(&server->lock);
    int error = server->started ? SL_EINVAL : start_thread(server);
    if (!error)
        server->started = true;
    pthread_mutex_unlock(&server->lock);
    return error;
}

void sl_ctl_server_stop(sl_ctl_server *server, uint64_t timeout_ms)
{
    SL_ASSERT(server);
    pthread_mutex_lock(&server->lock);
    if (server->started && !server->joined) {
        uint64_t one = 1, now = sl_mono_ns();
        uint64_t at = timeout_ms > (UINT64_MAX - now) / 1000000 ? UINT64_MAX : now + timeout_ms * 1000000;
        atomic_store_explicit(&server->stop_at_ns, at, memory_order_release);
        ssize_t n = write(server->wake_fd, &one, sizeof one);
        (void)n; /* the counter can only be full when a wake-up is pending already */
        pthread_join(server->thread, NULL);
        server->joined = true;
    }
    pthread_mutex_unlock(&server->lock);
}
