/* develop.watch: changes of files are brought into the running containers of services.
 *
 * Directories are watched with inotify, a bounded number of them. Changes are collected until they pause, so
 * that an editor's save is one change; then each rule does what it says with the paths that are its own:
 * copies them (sync), builds the image again and replaces the container (rebuild), restarts it. What is
 * ignored: the rule's patterns, .git, and for services that are built the .dockerignore of their context. */
#ifndef CLI_WATCH_H
#define CLI_WATCH_H

#include "cli/project.h"

struct files_watch {
    const struct compose_project *project;
    const struct project_options *project_options; /* to load it anew for a rebuild */
    char *const *services;                         /* empty: all active ones */
    bool quiet;
};

/* Watches until the process ends; returns early only with an error. */
int files_watch(const struct files_watch *options, struct err *err);
/* The same in a thread; what goes wrong is said on stderr. `options` is copied. */
void files_watch_start(const struct files_watch *options);

#endif
