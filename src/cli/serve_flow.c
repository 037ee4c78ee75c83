/* The process of the flow plane under the supervisor. */
#include <signal.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/cli/serve.h"

int sl_serve_flow_check(const sl_serve *serve)
{
    SL_ASSERT(serve);
    return 0;
}

int sl_serve_flow(void *user, const sl_child_start *start)
{
    SL_ASSERT(user && start);
    sigset_t signals;
    int number;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    sl_child_ready(start);
    return sigwait(&signals, &number) == 0 ? 0 : 1;
}
