/* Tests of look-ups and of connecting, with resolvers that lie, fail and hang. */
#include "src/net/lite/resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "src/base/limits.h"
#include "src/base/sync.h"
#include "tests/harness/sl_test.h"

/* ---- a resolver that plays a part ---- */

typedef struct fake {
    int result;          /* EAI_… of names */
    const char *address; /* what a name stands for */
    bool hangs;
    sem_t go; /* ends the hanging */
    _Atomic unsigned names, ended;
} fake;

static int fake_resolve(void *user, const char *host, const char *port, const struct addrinfo *hints,
                        struct addrinfo **ret_list)
{
    fake *f = user;
    if (hints->ai_flags & AI_NUMERICHOST)
        return getaddrinfo(host, port, hints, ret_list);
    f->names++;
    if (f->hangs)
        (void)sem_wait(&f->go);
    int failed = f->result ? f->result : getaddrinfo(f->address, port, hints, ret_list);
    f->ended++;
    return failed;
}

static sl_net_ops ops_of(fake *f)
{
    sl_net_ops ops = sl_net_ops_libc;
    ops.user = f;
    ops.resolve = fake_resolve;
    return ops;
}

static int resolve(const sl_net_ops *ops, const char *host, uint64_t ms, char *why, size_t size)
{
    struct addrinfo *list = NULL;
    why[0] = 0;
    int error = sl_resolve(ops, host, "4318", sl_deadline_ns(ms), &list, why, size);
    CHECK((error == 0) == (list != NULL));
    CHECK((error == 0) == (why[0] == 0));
    if (list)
        freeaddrinfo(list);
    return error;
}

/* Lets `count` hanging look-ups go and waits until they have. */
static void let_go(fake *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        (void)sem_post(&f->go);
    for (int i = 0; i < 5000 && f->ended < count; i++)
        usleep(1000);
    CHECK_EQ(f->ended, count);
    usleep(20000); /* for their last lines */
}

SL_TEST(numbers_need_no_thread)
{
    fake f = {.result = EAI_FAIL};
    sl_net_ops ops = ops_of(&f);
    char why[128];
    CHECK_EQ(resolve(&ops, "127.0.0.1", 0, why, sizeof why), 0);
    CHECK_EQ(resolve(&ops, "::1", 0, why, sizeof why), 0);
    CHECK_EQ(f.names, 0);
}

SL_TEST(names_and_their_failures)
{
    static const struct {
        int result, error;
        const char *why;
    } table[] = {{0, 0, ""},
                 {EAI_NONAME, SL_ERESOLVE, "host name not resolved: Name or service not known"},
                 {EAI_AGAIN, SL_ERESOLVE, "host name not resolved: Temporary failure in name resolution"},
                 {EAI_MEMORY, SL_ENOMEM, "host name not resolved: Memory allocation failure"}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        fake f = {.result = table[i].result, .address = "127.0.0.1"};
        sl_net_ops ops = ops_of(&f);
        char why[128];
        CHECK_EQ(resolve(&ops, "collector", 5000, why, sizeof why), table[i].error);
        CHECK_STR(sl_str_c(why), table[i].why);
        CHECK_EQ(f.names, 1);
    }
    char why[128];
    CHECK_EQ(resolve(NULL, "localhost", 5000, why, sizeof why), 0);
}

SL_TEST(a_hanging_resolver_costs_the_deadline_alone)
{
    fake f = {.address = "127.0.0.1", .hangs = true};
    REQUIRE(sem_init(&f.go, 0, 0) == 0);
    sl_net_ops ops = ops_of(&f);
    char why[128];
    uint64_t start = sl_mono_ns();
    CHECK_EQ(resolve(&ops, "collector", 50, why, sizeof why), SL_ETIMEOUT);
    CHECK_STR(sl_str_c(why), "host name not resolved in time");
    uint64_t took = sl_mono_ns() - start;
    CHECK(took >= 50000000u && took < 2000000000u);
    int fd = -1;
    CHECK_EQ(sl_tcp_connect(&ops, "collector", "1", sl_deadline_ns(20), &fd, why, sizeof why), SL_ETIMEOUT);
    CHECK_EQ(fd, -1);
    let_go(&f, 2);
    f.hangs = false;
    CHECK_EQ(resolve(&ops, "collector", 5000, why, sizeof why), 0);
    (void)sem_destroy(&f.go);
}

SL_TEST(hanging_lookups_are_bounded)
{
    fake f = {.address = "127.0.0.1", .hangs = true};
    REQUIRE(sem_init(&f.go, 0, 0) == 0);
    sl_net_ops ops = ops_of(&f);
    char why[128];
    for (unsigned i = 0; i < SL_MAX_LOOKUPS; i++)
        CHECK_EQ(resolve(&ops, "collector", 1, why, sizeof why), SL_ETIMEOUT);
    CHECK_EQ(resolve(&ops, "collector", 1000, why, sizeof why), SL_ERESOLVE);
    CHECK_STR(sl_str_c(why), "host name not resolved: too many look-ups hang");
    CHECK_EQ(resolve(&ops, "127.0.0.1", 1000, why, sizeof why), 0);
    let_go(&f, SL_MAX_LOOKUPS);
    f.hangs = false;
    int error = SL_ERESOLVE;
    for (int i = 0; i < 1000 && error; i++, usleep(1000))
        error = resolve(&ops, "collector", 5000, why, sizeof why);
    CHECK_EQ(error, 0);
    (void)sem_destroy(&f.go);
}

SL_TEST(lookups_without_memory)
{
    fake f = {.address = "127.0.0.1"};
    sl_net_ops ops = ops_of(&f);
    char why[128];
    bool hit = true;
    for (long n = 0; hit && n < 20; n++) {
        sl_test_fail_alloc(n);
        int error = resolve(&ops, "collector", 5000, why, sizeof why);
        hit = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(error, hit ? SL_ENOMEM : 0);
    }
    CHECK(!hit && f.names == 1);
}

/* ---- several addresses ---- */

/* The first address hangs, the second answers. One hangs whose listener never accepts and has no place left. */
typedef struct two {
    unsigned connects;
    struct sockaddr_in hanging;
    int listener, held[2];
} two;

static bool two_init(two *t)
{
    *t = (two){.hanging = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}}};
    socklen_t len = sizeof t->hanging;
    t->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = bind(t->listener, (struct sockaddr *)&t->hanging, len) == 0 && listen(t->listener, 0) == 0 &&
              getsockname(t->listener, (struct sockaddr *)&t->hanging, &len) == 0;
    for (size_t i = 0; i < 2; i++) {
        t->held[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        ok = ok && (connect(t->held[i], (struct sockaddr *)&t->hanging, len) == 0 || errno == EINPROGRESS);
    }
    return ok;
}

static void two_done(two *t)
{
    (void)close(t->held[0]);
    (void)close(t->held[1]);
    (void)close(t->listener);
}

static int two_resolve(void *user, const char *host, const char *port, const struct addrinfo *hints,
                       struct addrinfo **ret_list)
{
    (void)user;
    (void)host;
    struct addrinfo numeric = *hints;
    numeric.ai_flags |= AI_NUMERICHOST;
    struct addrinfo *second = NULL;
    int failed = getaddrinfo("127.0.0.1", port, &numeric, ret_list);
    if (!failed)
        failed = getaddrinfo("127.0.0.1", port, &numeric, &second);
    if (!failed)
        (*ret_list)->ai_next = second;
    return failed;
}

static int two_connect(void *user, int fd, const struct sockaddr *addr, socklen_t len)
{
    two *t = user;
    if (t->connects++)
        return sl_net_ops_libc.connect(NULL, fd, addr, len);
    return sl_net_ops_libc.connect(NULL, fd, (struct sockaddr *)&t->hanging, sizeof t->hanging);
}

SL_TEST(an_address_that_hangs_leaves_time_for_the_next)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    REQUIRE(bind(listener, (struct sockaddr *)&address, len) == 0 && listen(listener, 4) == 0 &&
            getsockname(listener, (struct sockaddr *)&address, &len) == 0);
    char port[8], why[128] = "";
    (void)snprintf(port, sizeof port, "%u", ntohs(address.sin_port));
    two t;
    REQUIRE(two_init(&t));
    sl_net_ops ops = sl_net_ops_libc;
    ops.user = &t;
    ops.resolve = two_resolve;
    ops.connect = two_connect;
    int fd = -1;
    CHECK_EQ(sl_tcp_connect(&ops, "both", port, sl_deadline_ns(600), &fd, why, sizeof why), 0);
    CHECK_EQ(t.connects, 2);
    if (fd >= 0)
        close(fd);
    close(listener);
    two_done(&t);
}
