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
    int ports[NS_MAX], routes[NS_MAX];
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

NS_UNUSED static const char *ns_program(void)
{
    static const char *const places[] = {"/usr/sbin/nats-server", "/usr/bin/nats-server", "/usr/local/bin/nats-server"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        if (access(places[i], X_OK) == 0)
            return places[i];
    }
    return NULL;
}

NS_UNUSED static void ns_write_config(const ns_cluster *c, int number)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%d.conf", c->folder, number);
    FILE *file = fopen(path, "w");
    if (!file)
        abort();
    (void)fprintf(file, "server_name: n%d\nlisten: 127.0.0.1:%d\njetstream {\n store_dir: \"%s/%d\"\n}\n", number,
                  c->ports[number], c->folder, number);
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

/* Waits until the node takes connections. */
NS_UNUSED static int ns_wait_node(const ns_cluster *c, int number)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)c->ports[number]),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < 500; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int good = connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
        (void)close(fd);
        if (good)
            return 0;
        (void)usleep(20000);
    }
    return -1;
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
