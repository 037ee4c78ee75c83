/* The list of commands, in the order of the help text. */
#include "src/cli/commands.h"

const sl_command *const sl_commands[] = {&sl_cmd_mock, NULL};
