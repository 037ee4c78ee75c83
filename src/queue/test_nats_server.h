/* For tests: nats-servers of their own on loopback, alone or as a cluster of three, killed and started again. */
#ifndef SL_QUEUE_TEST_NATS_SERVER_H
#define SL_QUEUE_TEST_NATS_SERVER_H

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define NS_MAX 3
#define NS_UNUSED __attribute__((unused))

typedef struct ns_cluster {
    char folder[64];
    char url[256];
    int count;
    int ports[NS_MAX], routes[NS_MAX], monitors[NS_MAX];
    pid_t pids[NS_MAX];
} ns_cluster;

NS_UNUSED static int ns_free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) || getsockname(fd, (struct sockaddr *)&a, &len))
        abort();
    (void)close(fd);
    return ntohs(a.sin_port);
}

/* SIGHTLINE_NATS_SERVER, else the installed one. */
NS_UNUSED static const char *ns_program(void)
{
    const char *chosen = getenv("SIGHTLINE_NATS_SERVER");
    if (chosen && *chosen)
        return access(chosen, X_OK) == 0 ? chosen : NULL;
    static const char *const places[] = {"/usr/sbin/nats-server", "/usr/bin/nats-server", "/usr/local/bin/nats-server"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (access(places[i], X_OK) == 0)
            return places[i];
    }
    return NULL;
}

/* A hundred times its major version and the minor one; 0: unknown. */
NS_UNUSED static int ns_version(void)
{
    char command[400];
    int major = 0, minor = 0;
    (void)snprintf(command, sizeof command, "%s --version", ns_program());
    FILE *out = popen(command, "r");
    if (!out)
        return 0;
    if (fscanf(out, "nats-server: v%d.%d", &major, &minor) != 2)
        major = minor = 0;
    (void)pclose(out);
    return major * 100 + minor;
}

NS_UNUSED static void ns_write_config(const ns_cluster *c, int number)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%d.conf", c->folder, number);
    FILE *file = fopen(path, "w");
    if (!file)
        abort();
    (void)fprintf(file,
                  "server_name: n%d\nlisten: 127.0.0.1:%d\nhttp: 127.0.0.1:%d\njetstream {\n store_dir: \"%s/%d\"\n}\n",
                  number, c->ports[number], c->monitors[number], c->folder, number);
    if (c->count > 1) {
        (void)fprintf(file, "cluster {\n name: test\n listen: 127.0.0.1:%d\n routes: [\n", c->routes[number]);
        for (int i = 0; i < c->count; i++)
            (void)fprintf(file, "  nats://127.0.0.1:%d\n", c->routes[i]);
        (void)fprintf(file, " ]\n}\n");
    }
    (void)fclose(file);
}

NS_UNUSED static void ns_start_node(ns_cluster *c, int number)
{
    char config[128], log[128];
    (void)snprintf(config, sizeof config, "%s/%d.conf", c->folder, number);
    (void)snprintf(log, sizeof log, "%s/%d.log", c->folder, number);
    c->pids[number] = fork();
    if (c->pids[number] == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        (void)dup2(out, 1);
        (void)dup2(out, 2);
        (void)execl(ns_program(), "nats-server", "-c", config, (char *)NULL);
        _exit(127);
    }
}

NS_UNUSED static int ns_connect(int port)
{
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

/* Waits until the node takes connections. */
NS_UNUSED static int ns_wait_node(const ns_cluster *c, int number)
{
    for (int i = 0; i < 500; i++) {
        int fd = ns_connect(c->ports[number]);
        (void)close(fd);
        if (fd >= 0)
            return 0;
        (void)usleep(20000);
    }
    return -1;
}

/* The node that leads a stream, as this node tells; -1: it does not know. */
NS_UNUSED static int ns_leader_by(const ns_cluster *c, int number, const char *stream)
{
    static const char ask[] = "GET /jsz?streams=true HTTP/1.0\r\n\r\n", key[] = "\"leader\": \"n";
    static char text[65536];
    size_t len = 0;
    int fd = ns_connect(c->monitors[number]);
    if (fd >= 0 && write(fd, ask, sizeof ask - 1) == sizeof ask - 1) {
        for (ssize_t n; len < sizeof text - 1 && (n = read(fd, text + len, sizeof text - 1 - len)) > 0;)
            len += (size_t)n;
    }
    if (fd >= 0)
        (void)close(fd);
    text[len] = 0;
    char name[128];
    (void)snprintf(name, sizeof name, "\"name\": \"%s\"", stream);
    const char *at = strstr(text, name);
    at = at ? strstr(at, key) : NULL;
    int leader = at ? at[sizeof key - 1] - '0' : -1;
    return leader >= 0 && leader < c->count ? leader : -1;
}

NS_UNUSED static int ns_start(ns_cluster *c, int count)
{
    memset(c, 0, sizeof *c);
    (void)snprintf(c->folder, sizeof c->folder, "/tmp/sl-test-nats-XXXXXX");
    if (!mkdtemp(c->folder))
        abort();
    c->count = count;
    for (int i = 0; i < count; i++) {
        char one[64];
        c->ports[i] = ns_free_port();
        c->routes[i] = ns_free_port();
        c->monitors[i] = ns_free_port();
        (void)snprintf(one, sizeof one, "%snats://127.0.0.1:%d", i ? "," : "", c->ports[i]);
        (void)strncat(c->url, one, sizeof c->url - strlen(c->url) - 1);
    }
    for (int i = 0; i < count; i++) {
        ns_write_config(c, i);
        ns_start_node(c, i);
    }
    for (int i = 0; i < count; i++) {
        if (ns_wait_node(c, i))
            return -1;
    }
    return 0;
}

NS_UNUSED static void ns_kill_node(ns_cluster *c, int number)
{
    if (c->pids[number] > 0) {
        (void)kill(c->pids[number], SIGKILL);
        (void)waitpid(c->pids[number], NULL, 0);
    }
    c->pids[number] = 0;
}

NS_UNUSED static void ns_stop(ns_cluster *c)
{
    char command[128];
    for (int i = 0; i < c->count; i++)
        ns_kill_node(c, i);
    (void)snprintf(command, sizeof command, "rm -rf %s", c->folder);
    if (system(command))
        abort();
}

#endif
