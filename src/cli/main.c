/* Entry of the program. */
#include <jansson.h>
#include <signal.h>

#include "src/base/mem.h"
#include "src/cli/command.h"

int main(int argc, char **argv)
{
    /* A closed pipe (`sightline traces | head`) or peer is an error of that write, not the end of the process. */
    sl_sigpipe_was_ignored = signal(SIGPIPE, SIG_IGN) == SIG_IGN;
    json_set_alloc_funcs(sl_malloc, sl_free); /* so that what it could not allocate is counted: sl_mem_failures */
    return sl_command_main(argc, argv);
}
