#include "cluster/autolock.h"

#include "base/base64.h"
#include "base/log.h"
#include "cluster/managers.h"
#include "cluster/seal.h"

#define KEY_PREFIX   "SWMKEY-1-"
#define KEY_NAME     "unlock-key"
#define TOKENS_NAME  "join-tokens"
#define SEALED_FIELD "Sealed"

enum { KEY_DIGITS = 43 }; /* of base64 without its padding */

int autolock__locked(struct err *err)
{
    return err_set(err, ERR_UNAVAILABLE,
                   "Swarm is encrypted and needs to be unlocked before it can be used. Please use \"docker "
                   "swarm unlock\" to unlock it.");
}

/* --- The key as a person has it --- */

static char *format_key(const unsigned char key[SEAL_KEY_BYTES])
{
    _cleanup_free_ char *text = base64_encode(key, SEAL_KEY_BYTES);
    return str_printf(KEY_PREFIX "%.*s", KEY_DIGITS, text);
}

static int parse_key(const char *text, unsigned char ret[SEAL_KEY_BYTES], struct err *err)
{
    const char *digits = str_after(text, KEY_PREFIX);
    _cleanup_free_ char *padded = str_printf("%.*s=", KEY_DIGITS, digits ? digits : "");
    _cleanup_str_ struct str key = STR_INIT;
    if (!digits || strlen(digits) != KEY_DIGITS || base64_decode(padded, &key, NULL) < 0 ||
        key.len != SEAL_KEY_BYTES)
        return err_set(err, ERR_INVALID,
                       "invalid key string: an unlock key is " KEY_PREFIX " and %d characters; docker swarm "
                       "unlock-key, on a manager that is not locked, shows it",
                       KEY_DIGITS);
    memcpy(ret, key.data, SEAL_KEY_BYTES);
    return 0;
}

/* --- In the document --- */

/* *ret_has: whether there is one. */
static int read_key(const struct cluster *c, const json_t *document, unsigned char ret[SEAL_KEY_BYTES],
                    bool *ret_has, struct err *err)
{
    const char *text = json_str(document, "UnlockKey");
    _cleanup_str_ struct str key = STR_INIT;
    *ret_has = *text;
    int r = *text ? keys__open_text(c, KEY_NAME, text, &key, err) : 0;
    if (r == 0 && *text && key.len != SEAL_KEY_BYTES)
        r = err_set(err, ERR_CORRUPT, "the swarm's unlock key has %zu bytes", key.len);
    if (r == 0 && *text)
        memcpy(ret, key.data, SEAL_KEY_BYTES);
    return r;
}

static bool is_wanted(const json_t *document)
{
    const json_t *encryption = json_object_get(json_object_get(document, "Spec"), "EncryptionConfig");
    return json_bool(encryption, "AutoLockManagers");
}

int autolock__choose(struct cluster *c, json_t *document, bool rotate, struct err *err)
{
    unsigned char key[SEAL_KEY_BYTES];
    bool has;
    int r = read_key(c, document, key, &has, err);
    if (r < 0 && !rotate)
        return r;
    if (!is_wanted(document))
        json_object_del(document, "UnlockKey");
    else if (!has || rotate) {
        keys__random(key, sizeof(key));
        _cleanup_free_ char *sealed = keys__seal_text(c, KEY_NAME, key, sizeof(key));
        json_set_str(document, "UnlockKey", sealed);
    }
    explicit_bzero(key, sizeof(key));
    return 0;
}

int autolock__obey(struct cluster *c, const json_t *document, struct err *err)
{
    unsigned char key[SEAL_KEY_BYTES];
    bool has;
    int r = read_key(c, document, key, &has, err);
    if (r == 0)
        r = seal__set(c, has ? key : NULL, err);
    explicit_bzero(key, sizeof(key));
    return r < 0 ? err_wrap(err, "lock this manager's keys") : 0;
}

json_t *autolock__store_form(const struct cluster *c)
{
    json_t *out = json_copy(c->swarm);
    _cleanup_free_ char *tokens = json_format(json_object_get(out, "JoinTokens")),
                        *sealed = keys__seal_text(c, TOKENS_NAME, tokens, strlen(tokens));
    json_object_set_new(out, "JoinTokens", json_pack("{s:s}", SEALED_FIELD, sealed));
    return out;
}

/* One of before tokens were encrypted has them as they are. */
void autolock__restore(struct cluster *c, json_t *document)
{
    const char *sealed = json_str(json_object_get(document, "JoinTokens"), SEALED_FIELD);
    _cleanup_str_ struct str text = STR_INIT;
    json_t *tokens = NULL;
    struct err err;
    if (!*sealed)
        return;
    if (keys__open_text(c, TOKENS_NAME, sealed, &text, &err) < 0 ||
        json_parse(str_get(&text), text.len, "the swarm's join tokens", &tokens, &err) < 0) {
        log_error(
            "cluster: the join tokens cannot be read, and nobody can join until docker swarm join-token "
            "--rotate makes others: %s",
            err.msg);
        tokens = json_object();
    }
    json_object_set_new(document, "JoinTokens", tokens);
}

/* --- Between managers --- */

void autolock__add(struct cluster *c, json_t *answer)
{
    unsigned char key[SEAL_KEY_BYTES];
    struct err err;
    bool has;
    if (read_key(c, c->swarm, key, &has, &err) < 0) {
        log_error("cluster: tell a manager the unlock key: %s", err.msg);
        return;
    }
    _cleanup_free_ char *text = has ? base64_encode(key, sizeof(key)) : NULL;
    json_set_str(answer, "unlock_key", text ? text : "");
    explicit_bzero(key, sizeof(key));
}

int autolock__follow(struct cluster *c, const json_t *answer, struct err *err)
{
    const json_t *given = json_object_get(answer, "unlock_key");
    _cleanup_str_ struct str key = STR_INIT;
    if (!json_is_string(given))
        return 0;
    int r = base64_decode(json_string_value(given), &key, err);
    if (r == 0 && key.len && key.len != SEAL_KEY_BYTES)
        r = err_set(err, ERR_PROTOCOL, "the swarm's unlock key has %zu bytes, not %d", key.len,
                    SEAL_KEY_BYTES);
    if (r == 0)
        r = seal__set(c, key.len ? (const unsigned char *)key.data : NULL, err);
    return r < 0 ? err_wrap(err, "lock this manager's keys") : 0;
}

/* --- Calls --- */

int cluster_unlock_key(struct cluster *c, char **ret, struct err *err)
{
    unsigned char key[SEAL_KEY_BYTES];
    bool has = false;
    SCOPED_LOCK(locked, &c->lock);
    int r = cluster__no_swarm(c, err);
    if (r == 0)
        r = read_key(c, c->swarm, key, &has, err);
    if (r == 0)
        *ret = has ? format_key(key) : mem_strdup("");
    explicit_bzero(key, sizeof(key));
    return r;
}

bool cluster_locked(struct cluster *c)
{
    return c->locked;
}

/* With the change_lock. */
static int check_locked(struct cluster *c, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    if (c->locked)
        return 0;
    return c->role == ROLE_LEADS || c->role == ROLE_FOLLOWS
               ? err_set(err, ERR_CONFLICT, "swarm is not locked")
               : cluster__no_swarm(c, err);
}

int cluster_unlock(struct cluster *c, const char *text, struct err *err)
{
    unsigned char key[SEAL_KEY_BYTES];
    SCOPED_LOCK(change, &c->change_lock);
    int r = check_locked(c, err);
    if (r == 0)
        r = parse_key(text, key, err);
    if (r == 0)
        r = seal__open(c, key, err);
    explicit_bzero(key, sizeof(key));
    if (r == 0 && cluster__take_up(c, err) < 0) {
        cluster__put_down(c);
        return err_wrap(err, "the key is the right one, but the swarm cannot be taken up again");
    }
    if (r < 0)
        return r;
    log_info("cluster: this node is unlocked");
    managers__start(c);
    return 0;
}
