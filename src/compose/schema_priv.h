/* The table of the keys of a Compose file (schema_table.c), as the check (schema.c) and the documentation
 * (schema_document.c) read it. */
#ifndef COMPOSE_SCHEMA_PRIV_H
#define COMPOSE_SCHEMA_PRIV_H

/* What a value may be; bits may be combined. */
enum shape {
    F_STR = 1 << 0,
    F_BOOL = 1 << 1,
    F_INT = 1 << 2, /* a whole number */
    F_NUM = 1 << 3, /* any number */
    F_SIZE = 1 << 4,
    F_TIME = 1 << 5,
    F_NULL = 1 << 6,
    F_LIST = 1 << 7,   /* a list of scalars; with `fields`, its items may be mappings of these */
    F_DICT = 1 << 8,   /* a mapping of scalars */
    F_MAP = 1 << 9,    /* a mapping of `fields` */
    F_NAMED = 1 << 10, /* a mapping of names to mappings of `fields`; with F_NULL, or to nothing */
    F_ENUM = 1 << 11,  /* one of `words`, separated by '|' */
    F_NOT = 1 << 12,   /* not supported; `words` says why */
    F_IDLE = 1 << 13,  /* allowed and without effect; `note` says why, and is printed when it is given */
    F_DEEP = 1 << 14,  /* a list of `fields` only: no scalars */
    /* How `docker compose config` prints it; its types are Go's, which leave out what is zero. */
    F_KEEP = 1 << 15,   /* printed when it is zero, too */
    F_STRUCT = 1 << 16, /* left out of YAML when it is empty, always there in JSON */
    F_CASE = 1 << 17,   /* its key begins with a capital letter in JSON */
    F_WORDS = 1 << 18,  /* null when it is not given, in JSON; an empty list is a value */
    F_YAML = 1 << 20,   /* printed when it is zero, in YAML */
    F_OCTAL = 1 << 19,  /* a mode: with a leading zero it is octal, printed in decimal */
    F_MANY = 1 << 21,   /* with F_DICT: values may be lists, too */
    F_ANY = F_STR | F_INT | F_BOOL,
    F_KEYS = F_DICT | F_LIST, /* NAME=value items, or a mapping */
};

struct field {
    const char *key;
    unsigned shape;
    const struct field *fields;
    const char *words;
    const char *note; /* for the documentation: what is different, or worth knowing */
};

extern const struct field schema__top[];

#endif
