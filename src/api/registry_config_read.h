/* How the registry's configuration is read: keys as tables, values by kind. registry_config_access.c has the
 * keys of users and rights, registry_config_ship.c those of what goes to and comes from elsewhere. Inside
 * registry_config*.c only.
 *
 * Each reader gives 0, or -ERR_INVALID (or what a file's reading gave) with FILE:LINE:COLUMN. */
#ifndef API_REGISTRY_CONFIG_READ_H
#define API_REGISTRY_CONFIG_READ_H

#include "api/registry_config.h"
#include "base/str.h"
#include "compose/yaml.h"
#include "registry/policy.h"

#include <stddef.h>

enum { CONFIG_FILE_MAX_BYTES = 1 << 20, CONFIG_RULES_MAX = 1000, CONFIG_LIST_MAX = 1000 };

/* What is read, while it is. */
struct reading {
    const char *path;
    struct registry_policy *policy;
    char **files; /* that it names */
};

typedef int (*config_read_fn)(struct reading *r, void *into, const struct yaml_node *at, struct err *err);

/* A key has a kind and the place of its value in what is filled in, or a function of its own. */
struct config_key {
    const char *name;
    enum { CONFIG_OWN, CONFIG_TEXT, CONFIG_LIST, CONFIG_SIZE, CONFIG_SECRET_FILE } kind;
    size_t offset; /* of a char *, char **, int64_t of bytes, char * */
    config_read_fn read;
};

/* A key of a member of `type`, for tables that end with {0}. */
#define CONFIG_KEY(kind, type, name, member)                                                                 \
    {                                                                                                        \
        name, kind, offsetof(struct type, member), NULL                                                      \
    }
#define CONFIG_OWN_KEY(name, read)                                                                           \
    {                                                                                                        \
        name, CONFIG_OWN, 0, read                                                                            \
    }

/* The texts and lists that `into` holds already are freed. A secret's file has the text, and stands beside
 * the configuration. */
int config_read_map(struct reading *r, void *into, const struct yaml_node *at, const char *what,
                    const struct config_key *keys, struct err *err);

/* A list of mappings. */
struct config_items {
    const char *what, *one; /* "webhooks", "a webhook" */
    size_t most, size;      /* of them, of one in bytes */
    const struct config_key *keys;
    /* What the keys do not say of `items[i]`; may look at those before it. */
    int (*check)(const void *items, size_t i, const struct yaml_node *at, struct err *err);
    const void *initial; /* NULL: zeroes */
};

/* `*ret_items` and `*ret_count` hold also after an error what has been read. */
int config_read_items(struct reading *r, const struct config_items *c, void **ret_items, size_t *ret_count,
                      const struct yaml_node *at, struct err *err);

int config_read_text(const struct yaml_node *at, const char *what, char **ret, struct err *err);
int config_read_list(const struct yaml_node *at, const char *what, char ***ret, struct err *err);
int config_read_duration(const struct yaml_node *at, const char *what, int64_t least_ns, int64_t most_ns,
                         int64_t *ret_ns, struct err *err);
/* The text of a file beside the configuration; noted among its files. */
int config_read_file(struct reading *r, const char *what, struct str *ret, const struct yaml_node *at,
                     struct err *err);

int config_bad(const struct yaml_node *at, struct err *err, const char *format, ...) _printf_(3, 4);

/* The keys of the file's top. */
extern const struct config_key config_access_keys[], config_ship_keys[];
/* That whoever has a right is there. After all keys were read. */
int config_check_access(const struct registry_policy *p, const struct yaml_node *top, struct err *err);
/* The lines of a file as htpasswd makes it. */
void config_read_htpasswd(struct registry_policy *p, const char *text);

#endif
