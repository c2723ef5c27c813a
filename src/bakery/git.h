/* Git repositories as build contexts and as sources of ADD, by the git program.
 *
 * Both the address and what comes from it are a stranger's: git may only speak to the network, runs no hook,
 * a folder of a repository is found without following links out of it, and how much a commit holds is known
 * before it is written (that of a submodule is not). */
#ifndef BAKERY_GIT_H
#define BAKERY_GIT_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

/* "URL#ref:folder", or "URL?ref=&subdir=&checksum=&keep-git-dir=&submodules=" with commit for checksum, and
 * branch or tag for a ref that is nothing else; a whole commit is the ref as well when there is none. */
struct git_source {
    char *url;
    char *ref, *folder; /* "" when not given */
    char *checksum;     /* a commit or its first digits, or NULL */
    bool keep_git_dir, no_submodules;
};
enum { GIT_COMMIT_BYTES = 65, GIT_MAX_ENTRIES = 1000000 }; /* as CONTEXT_ENTRIES_MAX */
#define GIT_MAX_BYTES (INT64_C(64) << 30)

bool git_is_url(const char *text); /* what Docker would clone */
int git_source_parse(const char *text, struct git_source *ret, struct err *err);
void git_source_done(struct git_source *s);

/* Checks out into the empty directory `dir`, submodules included; .git stays. `ret_commit` (NULL: not asked)
 * has room for GIT_COMMIT_BYTES. More than GIT_MAX_ENTRIES files and directories or GIT_MAX_BYTES are
 * refused; ERR_CORRUPT when it is not the commit that the checksum names. */
int git_checkout(const struct git_source *s, const char *dir, char *ret_commit, struct err *err);
/* The path of the source's folder in what was checked out; the caller frees. */
int git_folder(const struct git_source *s, const char *dir, char **ret, struct err *err);

#endif
