/*
 * A host with an HTTP server, for tests of the probe: http_host PORT-FILE [WORD ...]
 *
 * Words choose how it reads (recv read readv recvmsg recvfrom), how it writes (send write writev sendmsg sendto), how
 * it serves (threads: one for each connection; loop: one thread for all), `tls FILE` (key and certificate),
 * `memory` (libssl works on memory, the host moves the bytes), `one` (one byte from libssl at a time), `late` (libllama
 * is called when /begin is asked for, not at the start), `never` (it is not called at all). It says on stdout what went
 * wrong, and nothing otherwise. Ends at POST /end.
 *
 * Paths: /length, /empty, /chunks, /until-close, /file (sendfile), /tokens (the body is tokenised, and handed to
 * another thread), /vfork and /fork (a child closes the connection's descriptor), /worker (a child is a host itself),
 * /begin, /end
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/ssl.h>
#endif

void llama_backend_init(void);
int32_t llama_tokenize(const void *vocab, const char *text, int32_t len, int32_t *tokens, int32_t max, bool special,
                       bool parse);

#define ROOM 70000

typedef struct conn {
    int fd;
    void *ssl;
    size_t have;
    char bytes[ROOM];
} conn;

static const char *reads = "recv", *writes = "send";
static bool loop, late, never, memory, one;
static const char *tls_file;
static const char *port_file;

static void fail(const char *what)
{
    printf("%s: %s\n", what, strerror(errno));
    fflush(stdout);
}

/* ---- bytes ---- */

#ifdef WITH_TLS
static SSL_CTX *context;

static void tls_begin(void)
{
    context = SSL_CTX_new(TLS_server_method());
    if (SSL_CTX_use_certificate_file(context, tls_file, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, tls_file, SSL_FILETYPE_PEM) != 1)
        fail("certificate");
}

/* Memory alone: what libssl has to say goes out, and what it wants comes in. False: nothing is to be awaited. */
static bool tls_carry(conn *c, bool wants)
{
    char bytes[5000];
    int n;
    ssize_t got = 0;
    if (!memory)
        return false;
    while ((n = BIO_read(SSL_get_wbio(c->ssl), bytes, sizeof bytes)) > 0)
        (void)!write(c->fd, bytes, (size_t)n);
    if (wants && (got = read(c->fd, bytes, sizeof bytes)) > 0)
        BIO_write(SSL_get_rbio(c->ssl), bytes, (int)got);
    return got > 0;
}

static bool tls_accept(conn *c)
{
    SSL *ssl = SSL_new(context);
    c->ssl = ssl;
    if (memory)
        SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    else
        SSL_set_fd(ssl, c->fd);
    int done;
    do
        done = SSL_accept(ssl);
    while (tls_carry(c, done != 1));
    return done == 1;
}

static ssize_t tls_read_once(conn *c, void *to, size_t n)
{
    size_t got = 0;
    if (strcmp(reads, "read") == 0)
        return SSL_read(c->ssl, to, (int)n);
    return SSL_read_ex(c->ssl, to, n, &got) == 1 ? (ssize_t)got : 0;
}

static ssize_t tls_read(conn *c, void *to, size_t n)
{
    ssize_t got;
    do
        got = tls_read_once(c, to, n);
    while (got <= 0 && !SSL_get_shutdown(c->ssl) && tls_carry(c, true));
    return got;
}

static ssize_t tls_write(conn *c, const void *from, size_t n)
{
    size_t put = 0;
    ssize_t done;
    if (strcmp(reads, "read") == 0)
        done = SSL_write(c->ssl, from, (int)n);
    else
        done = SSL_write_ex(c->ssl, from, n, &put) == 1 ? (ssize_t)put : -1;
    (void)tls_carry(c, false);
    return done;
}

static void tls_end(conn *c)
{
    if (!c->ssl)
        return;
    SSL_shutdown(c->ssl);
    (void)tls_carry(c, false);
    SSL_free(c->ssl);
}
#else
static void tls_begin(void)
{
}

static bool tls_accept(conn *c)
{
    return !c->ssl;
}

static ssize_t tls_read(conn *c, void *to, size_t n)
{
    (void)c, (void)to, (void)n;
    return -1;
}

static ssize_t tls_write(conn *c, const void *from, size_t n)
{
    (void)c, (void)from, (void)n;
    return -1;
}

static void tls_end(conn *c)
{
    (void)c;
}
#endif

static ssize_t take(conn *c, char *to, size_t n)
{
    struct iovec two[2] = {{to, n / 2}, {to + n / 2, n - n / 2}};
    struct msghdr message = {.msg_iov = two, .msg_iovlen = 2};
    char peek;
    if (c->ssl)
        return tls_read(c, to, one ? 1 : n);
    if (recv(c->fd, &peek, 1, MSG_PEEK) < 0 && errno != ECONNRESET)
        fail("peek");
    errno = 4321;
    ssize_t got = -1;
    if (strcmp(reads, "read") == 0)
        got = read(c->fd, to, n);
    else if (strcmp(reads, "readv") == 0)
        got = readv(c->fd, two, 2);
    else if (strcmp(reads, "recvmsg") == 0)
        got = recvmsg(c->fd, &message, 0);
    else if (strcmp(reads, "recvfrom") == 0)
        got = recvfrom(c->fd, to, n, 0, NULL, NULL);
    else
        got = recv(c->fd, to, n, 0);
    if (got >= 0 && errno != 4321)
        fail("errno after a read");
    return got;
}

static bool put(conn *c, const char *from, size_t n)
{
    while (n) {
        struct iovec two[2] = {{(void *)from, n / 2}, {(void *)(from + n / 2), n - n / 2}};
        struct msghdr message = {.msg_iov = two, .msg_iovlen = 2};
        ssize_t done = -1;
        errno = 4321;
        if (c->ssl)
            done = tls_write(c, from, n);
        else if (strcmp(writes, "write") == 0)
            done = write(c->fd, from, n);
        else if (strcmp(writes, "writev") == 0)
            done = writev(c->fd, two, 2);
        else if (strcmp(writes, "sendmsg") == 0)
            done = sendmsg(c->fd, &message, MSG_NOSIGNAL);
        else if (strcmp(writes, "sendto") == 0)
            done = sendto(c->fd, from, n, MSG_NOSIGNAL, NULL, 0);
        else
            done = send(c->fd, from, n, MSG_NOSIGNAL);
        if (done <= 0)
            return false;
        if (!c->ssl && errno != 4321)
            fail("errno after a write");
        from += done;
        n -= (size_t)done;
    }
    return true;
}

static bool say(conn *c, const char *text)
{
    return put(c, text, strlen(text));
}

/* ---- another thread that computes ---- */

static pthread_mutex_t queue_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t queue_filled = PTHREAD_COND_INITIALIZER, queue_done = PTHREAD_COND_INITIALIZER;
static int queued, done;

static void *compute(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&queue_lock);
    for (;;) {
        while (queued == 0)
            pthread_cond_wait(&queue_filled, &queue_lock);
        queued--;
        done++;
        pthread_cond_broadcast(&queue_done);
    }
    return NULL;
}

static void hand_over(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 10;
    pthread_mutex_lock(&queue_lock);
    int before = done;
    queued++;
    pthread_cond_signal(&queue_filled);
    while (done == before) {
        if (pthread_cond_timedwait(&queue_done, &queue_lock, &until)) {
            fail("nobody computed");
            break;
        }
    }
    pthread_mutex_unlock(&queue_lock);
}

/* ---- answers ---- */

#define JSON "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

static void answer_tokens(conn *c, const char *body, size_t len)
{
    static _Thread_local int32_t tokens[ROOM];
    if (llama_tokenize(NULL, body, (int32_t)len, tokens, 1, true, false) >= 0 && len > 1)
        fail("tokens");
    if (llama_tokenize(NULL, body, (int32_t)len, tokens, ROOM, true, false) != (int32_t)len)
        fail("tokens");
    hand_over();
    hand_over();
    say(c, JSON "Content-Length: 42\r\n\r\n{\"content\":\"SECRET words\", \"tokens\": 12 }\n");
}

static void answer_chunks(conn *c)
{
    say(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    say(c, "3\r\n:\n\n\r\n");
    for (int i = 0; i < 3; i++) {
        usleep(1000);
        if (!say(c, "15\r\ndata: {\"a\":\"SECRET\"}\n\r\n"))
            return;
    }
    say(c, "0\r\n\r\n");
}

static void answer_file(conn *c)
{
    FILE *file = tmpfile();
    off_t from = 0;
    fputs("{\"file\":1}", file);
    fflush(file);
    say(c, JSON "Content-Length: 10\r\n\r\n");
    if (sendfile(c->fd, fileno(file), &from, 10) != 10)
        fail("sendfile");
    fclose(file);
}

static void answer_child(conn *c, bool is_vfork)
{
    int status = 0;
    pid_t child = is_vfork ? vfork() : fork();
    if (child == 0) {
        close(c->fd);
        _exit(7);
    }
    if (waitpid(child, &status, 0) != child || WEXITSTATUS(status) != 7)
        fail("child");
    say(c, JSON "Content-Length: 2\r\n\r\n{}");
}

/* A child that calls libllama itself, and answers a request of its own on a descriptor that its parent has used. */
static void answer_worker(conn *c)
{
    static const char request[] = "GET /child HTTP/1.1\r\n\r\n";
    int both[2], status = 0;
    char bytes[100];
    pid_t child = fork();
    if (child == 0) {
        close(c->fd);
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, both))
            _exit(1);
        llama_backend_init();
        if (write(both[0], request, sizeof request - 1) < 0 || recv(both[1], bytes, sizeof bytes, 0) <= 0 ||
            write(both[1], "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 38) != 38)
            _exit(2);
        close(both[1]);
        _exit(7);
    }
    if (waitpid(child, &status, 0) != child || WEXITSTATUS(status) != 7)
        fail("worker");
    say(c, JSON "Content-Length: 2\r\n\r\n{}");
}

/* Throws five bytes away unseen. */
static void answer_trunc(conn *c)
{
    if (recv(c->fd, NULL, 5, MSG_TRUNC | MSG_WAITALL) != 5)
        fail("truncated");
    say(c, JSON "Content-Length: 2\r\n\r\n{}");
}

/* False: the connection is to be closed. */
static bool answer(conn *c, const char *path, const char *body, size_t len)
{
    if (strncmp(path, "/length", 7) == 0)
        return say(c, JSON "Content-Length: 36\r\n\r\n{\"content\":\"SECRET\",\"usage\":{\"n\":1}}");
    if (strncmp(path, "/empty", 6) == 0)
        return say(c, "HTTP/1.1 204 No Content\r\n\r\n");
    if (strncmp(path, "/chunks", 7) == 0)
        answer_chunks(c);
    else if (strncmp(path, "/tokens", 7) == 0)
        answer_tokens(c, body, len);
    else if (strncmp(path, "/file", 5) == 0)
        answer_file(c);
    else if (strncmp(path, "/vfork", 6) == 0 || strncmp(path, "/fork", 5) == 0)
        answer_child(c, path[1] == 'v');
    else if (strncmp(path, "/trunc", 6) == 0)
        answer_trunc(c);
    else if (strncmp(path, "/worker", 7) == 0)
        answer_worker(c);
    else if (strncmp(path, "/begin", 6) == 0)
        llama_backend_init(), say(c, JSON "Content-Length: 2\r\n\r\n{}");
    else if (strncmp(path, "/until-close", 12) == 0)
        return say(c, "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{\"a\":2}") && false;
    else if (strncmp(path, "/end", 4) == 0)
        say(c, "HTTP/1.1 204 No Content\r\n\r\n"), exit(0);
    else
        return say(c, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    return true;
}

/* Answers what has come whole. False: the connection is to be closed. */
static bool serve(conn *c)
{
    for (;;) {
        c->bytes[c->have] = '\0';
        char *end = strstr(c->bytes, "\r\n\r\n"), *path = strchr(c->bytes, ' ');
        if (!end || !path)
            return true;
        char *field = strstr(c->bytes, "Content-Length: ");
        size_t len = field && field < end ? strtoul(field + 16, NULL, 10) : 0, head = (size_t)(end + 4 - c->bytes);
        if (c->have < head + len)
            return true;
        bool more = answer(c, path + 1, c->bytes + head, len);
        c->have -= head + len;
        memmove(c->bytes, c->bytes + head + len, c->have);
        if (!more)
            return false;
    }
}

static bool take_more(conn *c)
{
    ssize_t got = take(c, c->bytes + c->have, ROOM - 1 - c->have);
    if (got <= 0)
        return false;
    c->have += (size_t)got;
    return serve(c);
}

static void *serve_all(void *user)
{
    conn *c = user;
    if (!tls_file || tls_accept(c)) {
        while (take_more(c))
            ;
    }
    tls_end(c);
    close(c->fd);
    free(c);
    return NULL;
}

static conn *conn_new(int fd)
{
    conn *c = calloc(1, sizeof *c);
    c->fd = fd;
    return c;
}

static void run_loop(int listener)
{
    static conn *conns[64];
    struct pollfd wait[65];
    for (;;) {
        nfds_t n = 0;
        wait[n++] = (struct pollfd){listener, POLLIN, 0};
        for (int i = 0; i < 64; i++) {
            if (conns[i])
                wait[n++] = (struct pollfd){conns[i]->fd, POLLIN, 0};
        }
        poll(wait, n, -1);
        for (int i = 0; i < 64; i++) {
            bool ready = false;
            for (nfds_t k = 1; conns[i] && k < n; k++)
                ready |= wait[k].fd == conns[i]->fd && wait[k].revents;
            if (ready && !take_more(conns[i])) {
                close(conns[i]->fd);
                free(conns[i]);
                conns[i] = NULL;
            }
        }
        for (int i = 0; i < 64 && wait[0].revents; i++) {
            if (!conns[i]) {
                conns[i] = conn_new(accept(listener, NULL, NULL));
                break;
            }
        }
    }
}

static void run_threads(int listener)
{
    for (;;) {
        pthread_t thread;
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0 && pthread_create(&thread, NULL, serve_all, conn_new(fd)) == 0)
            pthread_detach(thread);
    }
}

static int listen_and_tell(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    char name[4096];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&at, size) || listen(fd, 4096) || getsockname(fd, (struct sockaddr *)&at, &size))
        fail("listen");
    snprintf(name, sizeof name, "%s.new", port_file);
    FILE *file = fopen(name, "w");
    fprintf(file, "%d\n", ntohs(at.sin_port));
    fclose(file);
    rename(name, port_file);
    return fd;
}

static bool is_one_of(const char *word, const char *list)
{
    const char *at = strstr(list, word);
    return at && (at == list || at[-1] == ' ') && (at[strlen(word)] == ' ' || !at[strlen(word)]);
}

int main(int argc, char **argv)
{
    port_file = argc > 1 ? argv[1] : "port";
    for (int i = 2; i < argc; i++) {
        if (is_one_of(argv[i], "recv read readv recvmsg recvfrom"))
            reads = argv[i];
        else if (is_one_of(argv[i], "send write writev sendmsg sendto"))
            writes = argv[i];
        else if (strcmp(argv[i], "tls") == 0 && i + 1 < argc)
            tls_file = argv[++i];
        loop |= strcmp(argv[i], "loop") == 0;
        one |= strcmp(argv[i], "one") == 0;
        memory |= strcmp(argv[i], "memory") == 0;
        late |= strcmp(argv[i], "late") == 0;
        never |= strcmp(argv[i], "never") == 0;
    }
    signal(SIGPIPE, SIG_IGN);
    if (tls_file)
        tls_begin();
    if (!late && !never)
        llama_backend_init();
    pthread_t thread;
    pthread_create(&thread, NULL, compute, NULL);
    int listener = listen_and_tell();
    if (loop)
        run_loop(listener);
    run_threads(listener);
}
