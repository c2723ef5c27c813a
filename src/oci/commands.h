/* The commands, one function each in the file of its concern. The table is in commands.c. */
#ifndef OCI_COMMANDS_H
#define OCI_COMMANDS_H

#include "oci/options.h"

extern const struct oci_option oci_global_options[];
extern const struct oci_command oci_commands[]; /* ends with a NULL name */

int command_create(const struct oci_args *args, int *ret_status, struct err *err);
int command_run(const struct oci_args *args, int *ret_status, struct err *err);
int command_start(const struct oci_args *args, int *ret_status, struct err *err);
int command_exec(const struct oci_args *args, int *ret_status, struct err *err);
int command_state(const struct oci_args *args, int *ret_status, struct err *err);
int command_list(const struct oci_args *args, int *ret_status, struct err *err);
int command_ps(const struct oci_args *args, int *ret_status, struct err *err);
int command_kill(const struct oci_args *args, int *ret_status, struct err *err);
int command_delete(const struct oci_args *args, int *ret_status, struct err *err);
int command_pause(const struct oci_args *args, int *ret_status, struct err *err);
int command_resume(const struct oci_args *args, int *ret_status, struct err *err);
int command_update(const struct oci_args *args, int *ret_status, struct err *err);
int command_events(const struct oci_args *args, int *ret_status, struct err *err);
int command_spec(const struct oci_args *args, int *ret_status, struct err *err);
int command_features(const struct oci_args *args, int *ret_status, struct err *err);
int command_checkpoint(const struct oci_args *args, int *ret_status, struct err *err);
int command_help(const struct oci_args *args, int *ret_status, struct err *err);

#endif
