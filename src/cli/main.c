/* Entry of the program. */
#include <signal.h>

#include "src/cli/command.h"

int main(int argc, char **argv)
{
    /* A closed pipe (`sightline traces | head`) or peer is an error of that write, not the end of the process. */
    sl_sigpipe_was_ignored = signal(SIGPIPE, SIG_IGN) == SIG_IGN;
    return sl_command_main(argc, argv);
}
