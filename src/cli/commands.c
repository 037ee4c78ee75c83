/* The list of commands, in the order of the help text. */
#include "src/cli/commands.h"

const sl_command *const sl_commands[] = {&sl_cmd_up,
                                         &sl_cmd_gateway,
                                         &sl_cmd_exec,
                                         &sl_cmd_mock,
                                         &sl_cmd_load,
                                         &sl_cmd_traces,
                                         &sl_cmd_run,
                                         &sl_cmd_validate,
                                         &sl_cmd_top,
                                         &sl_cmd_doctor,
                                         &sl_cmd_docs,
                                         &sl_cmd_gen,
                                         &sl_cmd_flow_server,
                                         &sl_cmd_flow_worker,
                                         &sl_cmd_flow_collection,
                                         NULL};
