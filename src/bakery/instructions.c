#include "bakery/check.h"
#include "bakery/dockerfile_priv.h"

#include "base/str.h"

#include <strings.h>

/* The instructions and their flags: what the parser takes, and what docs/dockerfile.md says of them. */

#define FLAGS(...)                                                                                           \
    (const struct df_flag_kind[])                                                                            \
    {                                                                                                        \
        __VA_ARGS__,                                                                                         \
        {                                                                                                    \
            0                                                                                                \
        }                                                                                                    \
    }

#define CHOWN                                                                                                \
    {                                                                                                        \
        "chown", DF_FLAG_TEXT, "user, user:group; names are looked up in the image being built"              \
    }
#define CHMOD                                                                                                \
    {                                                                                                        \
        "chmod", DF_FLAG_TEXT, "octal (`644`) or symbolic (`u=rwX,go=rX`)"                                   \
    }
#define LINK                                                                                                 \
    {                                                                                                        \
        "link", DF_FLAG_BOOL,                                                                                \
            "a layer that stands on nothing below it: it is found in the cache whatever the layers before "  \
            "it are, "                                                                                       \
            "and links in the destination's path are not followed"                                           \
    }
#define EXCLUDE                                                                                              \
    {                                                                                                        \
        "exclude", DF_FLAG_LIST,                                                                             \
            "leaves out what matches, `**` included; the pattern is held against the path in the context "   \
            "and "                                                                                           \
            "against the path below a source directory"                                                      \
    }

static const struct df_instruction INSTRUCTIONS[] = {
    {"ADD", DF_ADD, DF_JSON_WORDS, true, "ADD source... destination",
     "as `COPY`, without `--from`; unpacks local tar archives (gzip, bzip2, xz, zstd), downloads URLs, "
     "checks "
     "out git repositories (`URL.git#ref:folder`, or `?ref=&subdir=&checksum=&keep-git-dir=`)",
     FLAGS(CHOWN, CHMOD, LINK, EXCLUDE,
           {"checksum", DF_FLAG_TEXT,
            "`sha256:...` of a URL's content; a commit, or its first digits, of a git "
            "repository"},
           {"keep-git-dir", DF_FLAG_BOOL, "keeps `.git`"},
           {"unpack", DF_FLAG_BOOL, "unpacks a download too, or leaves a local archive as it is"})},
    {"ARG", DF_ARG, DF_NAMES, false, "ARG name[=default]...",
     "before the first `FROM` for `FROM` lines, after it for its stage; the predefined ones are below", NULL},
    {"CMD", DF_CMD, DF_JSON_TEXT, false, "CMD command", "shell and JSON form", NULL},
    {"COPY", DF_COPY, DF_JSON_WORDS, true, "COPY source... destination",
     "files and directories of the context, wildcards, heredocs",
     FLAGS({"from", DF_FLAG_TEXT, "an earlier stage by name or number, or an image"}, CHOWN, CHMOD, LINK,
           EXCLUDE,
           {"parents", DF_FLAG_BOOL,
            "keeps the directories of the source's path, from `/./` on if it is "
            "there; `**` in a source is any number of directories"})},
    {"ENTRYPOINT", DF_ENTRYPOINT, DF_JSON_TEXT, false, "ENTRYPOINT command",
     "shell and JSON form; resets a `CMD` of the base image", NULL},
    {"ENV", DF_ENV, DF_PAIRS, false, "ENV name=value...", "also the old form `ENV name value`", NULL},
    {"EXPOSE", DF_EXPOSE, DF_WORDS, false, "EXPOSE port[-port][/protocol]...", "tcp, udp, sctp", NULL},
    {"FROM", DF_FROM, DF_WORDS, false, "FROM image [AS name]",
     "an image by name or digest, `scratch`, or an earlier stage",
     FLAGS({"platform", DF_FLAG_TEXT, "the image found or fetched must be for it"})},
    {"HEALTHCHECK", DF_HEALTHCHECK, DF_HEALTH, false, "HEALTHCHECK CMD command, HEALTHCHECK NONE",
     "shell and JSON form",
     FLAGS({"interval", DF_FLAG_TEXT, "a duration such as `30s`"}, {"timeout", DF_FLAG_TEXT, "a duration"},
           {"start-period", DF_FLAG_TEXT, "a duration"}, {"start-interval", DF_FLAG_TEXT, "a duration"},
           {"retries", DF_FLAG_TEXT, "a number"})},
    {"LABEL", DF_LABEL, DF_PAIRS, false, "LABEL name=value...", "also the old form `LABEL name value`", NULL},
    {"MAINTAINER", DF_MAINTAINER, DF_TEXT, false, "MAINTAINER name", "deprecated", NULL},
    {"ONBUILD", DF_ONBUILD, DF_TEXT, false, "ONBUILD instruction",
     "any instruction but `FROM`, `MAINTAINER` and `ONBUILD`, heredocs included", NULL},
    {"RUN", DF_RUN, DF_JSON_TEXT, true, "RUN command",
     "shell and JSON form, heredocs (one that starts with `#!` is run as a program)",
     FLAGS({"mount", DF_FLAG_LIST, "`bind`, `cache`, `tmpfs`, `secret`, `ssh`: see building.md"},
           {"network", DF_FLAG_TEXT, "`default`, `none`, `host`"},
           {"security", DF_FLAG_TEXT, "`sandbox`; `insecure` with `drover build --allow security.insecure`"},
           {"device", DF_FLAG_LIST,
            "the machine names no devices (CDI): one that is `required` is refused, others are left out"})},
    {"SHELL", DF_SHELL, DF_JSON_ONLY, false, "SHELL [\"program\", \"argument\"...]", "JSON form only", NULL},
    {"STOPSIGNAL", DF_STOPSIGNAL, DF_TEXT, false, "STOPSIGNAL signal",
     "a name, with or without `SIG`, or a "
     "number",
     NULL},
    {"USER", DF_USER, DF_TEXT, false, "USER user[:group]", "names or numbers", NULL},
    {"VOLUME", DF_VOLUME, DF_JSON_WORDS, false, "VOLUME path...",
     "both forms; what later steps change in it stays", NULL},
    {"WORKDIR", DF_WORKDIR, DF_TEXT, false, "WORKDIR path",
     "makes the directory, which is `USER`'s; relative to the one before", NULL},
};

const char *df_name(enum df_op op)
{
    for (size_t i = 0; i < ARRAY_SIZE(INSTRUCTIONS); i++)
        if (INSTRUCTIONS[i].op == op)
            return INSTRUCTIONS[i].name;
    return "?";
}

const struct df_instruction *df__find_instruction(const char *word)
{
    for (size_t i = 0; i < ARRAY_SIZE(INSTRUCTIONS); i++)
        if (strcasecmp(INSTRUCTIONS[i].name, word) == 0)
            return &INSTRUCTIONS[i];
    return NULL;
}

size_t df__distance(const char *a, const char *b)
{
    size_t row[16], n = strlen(b);
    if (n >= ARRAY_SIZE(row) || strlen(a) > 16)
        return SIZE_MAX;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t corner = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t change = corner + (a[i] != b[j]);
            corner = row[j + 1];
            row[j + 1] = MIN(change, MIN(row[j], corner) + 1);
        }
    }
    return row[n];
}

const char *df__near_instruction(const char *word)
{
    const char *near = NULL;
    size_t best = 3;
    for (size_t i = 0; i < ARRAY_SIZE(INSTRUCTIONS); i++) {
        size_t d = df__distance(word, INSTRUCTIONS[i].name);
        if (d < best && d < strlen(INSTRUCTIONS[i].name)) {
            best = d;
            near = INSTRUCTIONS[i].name;
        }
    }
    return near;
}

static void document_flags(const struct df_flag_kind *flags, struct str *out)
{
    for (; flags && flags->name; flags++) {
        const char *refused = str_after(flags->doc, "refused: ");
        str_addf(out, "| &nbsp; `--%s` | %s | %s |\n", flags->name, refused ? "refused" : "done",
                 refused ? refused : flags->doc);
    }
}

void dockerfile_document(struct str *out)
{
    str_add(out, "| | | |\n|---|---|---|\n");
    for (size_t i = 0; i < ARRAY_SIZE(INSTRUCTIONS); i++) {
        const struct df_instruction *in = &INSTRUCTIONS[i];
        str_addf(out, "| `%s` | done | %s |\n", in->usage, in->doc);
        document_flags(in->flags, out);
    }
    check_document(out);
}
