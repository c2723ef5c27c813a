/* One function a verb; the table is in verbs.c. */
#ifndef CLI_VERBS_H
#define CLI_VERBS_H

#include "base/err.h"

struct compose_project;

int cli_shutdown(int argc, char **argv);
int cli_upgrade(int argc, char **argv);
int cli_up(int argc, char **argv);
int cli_down(int argc, char **argv);
int cli_ps(int argc, char **argv);
int cli_exec(int argc, char **argv);
int cli_run(int argc, char **argv);
int cli_images(int argc, char **argv);
int cli_image(int argc, char **argv);
int cli_registry(int argc, char **argv);
int cli_store(int argc, char **argv);
int cli_import(int argc, char **argv);
int cli_config(int argc, char **argv);
/* The table of keys for docs/compose.md. */
int cli_compose_keys(int argc, char **argv);
int cli_dockerfile_keys(int argc, char **argv);
int cli_compatibility(int argc, char **argv);
int cli_inspect(int argc, char **argv);
int cli_version(int argc, char **argv);
int cli_completion(int argc, char **argv);
/* lifecycle.c: of services of the project, or of containers by name */
int cli_start(int argc, char **argv);
int cli_stop(int argc, char **argv);
int cli_restart(int argc, char **argv);
int cli_kill(int argc, char **argv);
int cli_rm(int argc, char **argv);
int cli_rmi(int argc, char **argv);
int cli_pause(int argc, char **argv);
int cli_unpause(int argc, char **argv);
/* services.c */
int cli_port(int argc, char **argv);
int cli_top(int argc, char **argv);
int cli_events(int argc, char **argv);
int cli_ls(int argc, char **argv);
int cli_volumes(int argc, char **argv);
int cli_wait(int argc, char **argv);
int cli_attach(int argc, char **argv);
int cli_stats(int argc, char **argv);
/* snapshot.c */
int cli_commit(int argc, char **argv);
int cli_export(int argc, char **argv);
int cli_cp(int argc, char **argv);
/* up.c */
int cli_create(int argc, char **argv);
int cli_scale(int argc, char **argv);
int cli_watch(int argc, char **argv);
int cli_simulate(int argc, char **argv);
int cli_deploy(int argc, char **argv);
int cli_diff(int argc, char **argv);
/* history.c */
int cli_history(int argc, char **argv);
int cli_rollback(int argc, char **argv);
/* cluster.c */
int cli_cluster(int argc, char **argv);
int cli_join(int argc, char **argv);
int cli_leave(int argc, char **argv);
/* placement.c */
int cli_explain(int argc, char **argv);
int cli_plan(int argc, char **argv);
int cli_strategy(int argc, char **argv);
int cli_rebalance(int argc, char **argv);

/* Stops all containers of a project, those that depend on others first. */
int cli_stop_project(struct compose_project *p, int timeout_s, struct err *err);

/* Stops and removes a project's containers and networks. */
int cli_take_down(struct compose_project *p, struct err *err);

#endif
