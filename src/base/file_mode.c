#include "base/file_mode.h"

#include "base/str.h"

#include <sys/stat.h>

static bool parse_octal(const char *text, struct file_mode *ret)
{
    size_t n = strlen(text);
    unsigned mode = 0;
    if (n < 1 || n > 5 || strspn(text, "01234567") != n)
        return false;
    for (; *text; text++)
        mode = mode * 8 + (unsigned)(*text - '0');
    if (mode > 07777)
        return false;
    *ret = (struct file_mode){.steps = {{.who = 07777, .op = '=', .bits = mode}}, .count = 1};
    return true;
}

static mode_t parse_who(const char **at)
{
    mode_t who = 0;
    for (;; (*at)++) {
        if (**at == 'u')
            who |= S_ISUID | S_IRWXU;
        else if (**at == 'g')
            who |= S_ISGID | S_IRWXG;
        else if (**at == 'o')
            who |= S_IRWXO;
        else if (**at == 'a')
            who |= 06777;
        else
            return who ? who : 06777;
    }
}

/* The letters behind an operator: permissions, or one class to copy from. */
static void parse_permissions(const char **at, struct file_mode_step *step)
{
    static const struct {
        char letter;
        mode_t bits;
    } table[] = {{'r', 0444}, {'w', 0222}, {'x', 0111}, {'s', 06000}, {'t', 01000}};
    static const char classes[] = "ugo";
    if (**at && strchr(classes, **at)) {
        step->copied = (mode_t)(0700 >> 3 * (strchr(classes, *(*at)++) - classes));
        return;
    }
    for (;; (*at)++) {
        size_t i = 0;
        while (i < ARRAY_SIZE(table) && table[i].letter != **at)
            i++;
        if (i < ARRAY_SIZE(table))
            step->bits |= table[i].bits;
        else if (**at == 'X')
            step->if_exec = true;
        else
            return;
    }
}

static bool parse_symbolic(const char *at, struct file_mode *ret)
{
    struct file_mode m = {0};
    for (bool more = true; more;) {
        mode_t who = parse_who(&at);
        if (!*at || !strchr("+-=", *at))
            return false;
        while (*at && strchr("+-=", *at)) {
            if (m.count == FILE_MODE_MAX_STEPS)
                return false;
            struct file_mode_step step = {.who = who, .op = *at++};
            parse_permissions(&at, &step);
            if (step.bits & S_ISVTX) /* the sticky bit is of no class */
                step.who |= S_ISVTX;
            m.steps[m.count++] = step;
        }
        more = *at == ',';
        at += more;
    }
    if (*at)
        return false;
    *ret = m;
    return true;
}

int file_mode_parse(const char *text, struct file_mode *ret, struct err *err)
{
    if (parse_octal(text, ret) || parse_symbolic(text, ret))
        return 0;
    return err_set(err, ERR_INVALID,
                   "\"%.80s\" is no file mode: it must be octal such as 644 or 0755, or symbolic such as "
                   "u=rwX,go=rX",
                   text);
}

static mode_t spread(mode_t bits, mode_t from)
{
    mode_t three = from == 0700 ? bits >> 6 & 7 : from == 0070 ? bits >> 3 & 7 : bits & 7;
    return three << 6 | three << 3 | three;
}

mode_t file_mode_apply(const struct file_mode *m, mode_t mode)
{
    mode_t now = mode & 07777;
    for (size_t i = 0; i < m->count; i++) {
        const struct file_mode_step *s = &m->steps[i];
        mode_t bits = s->copied ? spread(now, s->copied) : s->bits;
        if (s->if_exec && (S_ISDIR(mode) || (now & 0111)))
            bits |= 0111;
        bits &= s->who;
        if (s->op == '=')
            now = (now & ~s->who) | bits;
        else
            now = s->op == '+' ? now | bits : now & ~bits;
    }
    return now;
}
