/* drover cluster autolock, unlock and unlock-key: managers whose keys are encrypted on their disks. */
#include "base/json.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/call.h"
#include "cli/cluster_verbs.h"
#include "cli/options.h"

#include <stdio.h>
#include <termios.h>
#include <unistd.h>

enum { KEY_TEXT_MAX = 256 };

static int get_key(json_t **ret, const char **ret_key, struct err *err)
{
    int r = cli_get(ret, err, "/swarm/unlockkey");
    if (r < 0)
        return r;
    *ret_key = json_str(*ret, "UnlockKey");
    return **ret_key
               ? 0
               : err_set(err, ERR_NOT_FOUND,
                         "there is no unlock key, because managers are not locked when they start: drover "
                         "cluster autolock on");
}

int cluster_print_unlock(struct err *err)
{
    _cleanup_json_ json_t *answer = NULL;
    const char *key = "";
    int r = get_key(&answer, &key, err);
    if (r == 0)
        printf("a manager that starts is locked until\n    drover cluster unlock\nis given this key, which "
               "is to "
               "be kept where the managers are not:\n    %s\n",
               key);
    return r;
}

int cluster_autolock_verb(int argc, char **argv)
{
    const struct cli_option options[] = {{0}};
    const struct cli_command command = {
        "cluster autolock on|off",
        "Whether managers keep their keys encrypted, and are locked when they start until they are given the "
        "unlock key.",
        options,
        false,
        1,
        1};
    char **rest;
    struct err err = {0};
    int status = cli_parse(&command, argc, argv, &rest);
    if (status >= 0)
        return status;
    bool on = str_eq(rest[0], "on");
    if (!on && !str_eq(rest[0], "off")) {
        fprintf(stderr, "drover cluster autolock: it is on or off, not \"%s\"\n", rest[0]);
        return 2;
    }
    _cleanup_json_ json_t *spec = json_pack("{s:{s:b}}", "EncryptionConfig", "AutoLockManagers", (int)on);
    int r = cluster_update_swarm(spec, "", &err);
    if (r == 0 && on)
        r = cluster_print_unlock(&err);
    return r < 0 ? cli_fail(&err) : 0;
}

/* A line of the standard input, which a terminal does not show. */
static int read_key(char ret[KEY_TEXT_MAX], struct err *err)
{
    struct termios before, quiet;
    bool terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &before) == 0;
    if (terminal) {
        fprintf(stderr, "unlock key: ");
        quiet = before;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSANOW, &quiet);
    }
    bool any = fgets(ret, KEY_TEXT_MAX, stdin);
    if (terminal) {
        tcsetattr(STDIN_FILENO, TCSANOW, &before);
        fprintf(stderr, "\n");
    }
    if (!any)
        return err_set(err, ERR_INVALID, "the unlock key is read from the standard input, and none came");
    ret[strcspn(ret, "\r\n")] = '\0';
    return 0;
}

int cluster_unlock_verb(int argc, char **argv)
{
    const struct cli_option options[] = {{0}};
    const struct cli_command command = {
        "cluster unlock",
        "Gives a manager that is locked its keys back. The unlock key is read from the standard input.",
        options,
        false,
        0,
        0};
    char **rest, key[KEY_TEXT_MAX];
    struct err err = {0};
    int status = cli_parse(&command, argc, argv, &rest);
    if (status >= 0)
        return status;
    int r = read_key(key, &err);
    if (r == 0) {
        _cleanup_json_ json_t *body = json_pack("{s:s}", "UnlockKey", key);
        r = body ? cli_call("POST", body, NULL, &err, "/swarm/unlock")
                 : err_set(&err, ERR_INVALID, "what was given is not an unlock key");
    }
    explicit_bzero(key, sizeof(key));
    return r < 0 ? cli_fail(&err) : 0;
}

int cluster_unlock_key_verb(int argc, char **argv)
{
    bool fresh = false, quiet = false;
    const struct cli_option options[] = {
        {0, "rotate", CLI_FLAG, &fresh, NULL,
         "Make another key. A manager that is away meanwhile is unlocked with the one before"},
        {'q', "quiet", CLI_FLAG, &quiet, NULL, "Print the key alone"},
        {0}};
    const struct cli_command command = {"cluster unlock-key [OPTIONS]",
                                        "Prints the key with which a manager that starts is unlocked.",
                                        options,
                                        false,
                                        0,
                                        0};
    char **rest;
    const char *key = "";
    struct err err = {0};
    _cleanup_json_ json_t *answer = NULL;
    int status = cli_parse(&command, argc, argv, &rest);
    if (status >= 0)
        return status;
    int r = get_key(&answer, &key, &err);
    if (r == 0 && fresh)
        r = cluster_update_swarm(NULL, "&rotateManagerUnlockKey=true", &err);
    if (r == 0 && fresh) {
        json_decref(answer);
        answer = NULL;
        r = get_key(&answer, &key, &err);
    }
    if (r == 0 && quiet)
        printf("%s\n", key);
    else if (r == 0)
        r = cluster_print_unlock(&err);
    return r < 0 ? cli_fail(&err) : 0;
}
