/* Every command of the program; each is a cmd_NAME.c. */
#ifndef SL_CLI_COMMANDS_H
#define SL_CLI_COMMANDS_H

#include "src/cli/command.h"

extern const sl_command sl_cmd_up;
extern const sl_command sl_cmd_gateway;
extern const sl_command sl_cmd_exec;
extern const sl_command sl_cmd_mock;
extern const sl_command sl_cmd_load;
extern const sl_command sl_cmd_traces;
extern const sl_command sl_cmd_top;
extern const sl_command sl_cmd_doctor;
extern const sl_command sl_cmd_docs;
extern const sl_command sl_cmd_gen;
extern const sl_command sl_cmd_run;
extern const sl_command sl_cmd_validate;
extern const sl_command sl_cmd_flow_server;
extern const sl_command sl_cmd_flow_worker;
extern const sl_command sl_cmd_flow_collection;

#endif
