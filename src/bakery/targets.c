#include "bakery/preprocess_priv.h"

#include "base/str.h"

#include <ctype.h>
#include <strings.h>

/* TARGET name: member... - what `--target name` builds together. */

void df__groups_free(struct df_group *groups, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(groups[i].name);
        free(groups[i].file);
        for (size_t j = 0; j < groups[i].member_count; j++) {
            free(groups[i].members[j].name);
            free(groups[i].members[j].value);
        }
        free(groups[i].members);
    }
    free(groups);
}

static bool good_name(const char *name)
{
    if (!isalpha((unsigned char)*name))
        return false;
    for (; *name; name++)
        if (!isalnum((unsigned char)*name) && !strchr("-_.", *name))
            return false;
    return true;
}

static const struct df_group *find(const struct df_text *t, const char *name)
{
    for (size_t i = 0; i < t->group_count; i++)
        if (strcasecmp(t->groups[i].name, name) == 0)
            return &t->groups[i];
    return NULL;
}

static int add_member(struct df_group *g, size_t *capacity, const char *word, struct err *err)
{
    size_t n = strcspn(word, "=");
    _cleanup_free_ char *name = mem_strndup(word, n);
    if (!good_name(name))
        return err_set(err, ERR_INVALID,
                       "\"%.80s\": expected a stage or a target, or one with its image's name: "
                       "stage=image:tag",
                       word);
    if (word[n] && !word[n + 1])
        return err_set(err, ERR_INVALID, "\"%.80s\": expected an image's name behind =", word);
    GROW(g->members, g->member_count, *capacity);
    g->members[g->member_count++] =
        (struct df_pair){.name = take_ptr(name), .value = word[n] ? mem_strdup(word + n + 1) : NULL};
    return 0;
}

int targets__add(struct scope *s, const char *rest, const char *file, int line, struct df_text *t,
                 struct err *err)
{
    const char *colon = strchr(rest, ':');
    _cleanup_free_ char *before = mem_strndup(rest, colon ? (size_t)(colon - rest) : 0);
    _cleanup_free_ char *name = str_strip(before);
    if (!colon || !good_name(name))
        return err_set(err, ERR_INVALID, "expected TARGET name: stage...");
    if (find(t, name))
        return err_set(err, ERR_INVALID, "there is a target %s already, at %s:%d", name, find(t, name)->file,
                       find(t, name)->line);
    _cleanup_strv_ char **words = NULL;
    int r = scope__expand_words(s, colon + 1, &words, err);
    if (r == 0 && !words)
        r = err_set(err, ERR_INVALID, "expected a stage or another target behind \"%s:\"", name);
    if (r < 0)
        return r;
    GROW(t->groups, t->group_count, t->group_capacity);
    struct df_group *g = &t->groups[t->group_count++];
    *g = (struct df_group){.name = take_ptr(name), .file = mem_strdup(file), .line = line};
    size_t capacity = 0;
    for (char **word = words; r == 0 && *word; word++)
        r = add_member(g, &capacity, *word, err);
    return r;
}

/* Follows the members that are targets; a way of more steps than there are targets goes in a circle. */
static int check_depth(const struct df_text *t, const struct df_group *g, size_t depth, int *visits,
                       struct err *err)
{
    enum { VISITS_MAX = 10000 };
    if (++*visits > VISITS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d targets in targets", VISITS_MAX);
    if (depth > MIN(t->group_count, (size_t)PREPROCESS_MAX_DEPTH))
        return err_set(err, ERR_INVALID, "it goes in a circle, or more than %d deep", PREPROCESS_MAX_DEPTH);
    int r = 0;
    for (size_t i = 0; r == 0 && i < g->member_count; i++) {
        const struct df_group *next = find(t, g->members[i].name);
        if (next && g->members[i].value)
            return err_set(err, ERR_INVALID, "%s is a target, which has no image of its own", next->name);
        r = next ? check_depth(t, next, depth + 1, visits, err) : 0;
    }
    return r < 0 ? err_wrap(err, "%s", g->name) : 0;
}

int targets__check(const struct df_text *t, struct err *err)
{
    int visits = 0;
    for (size_t i = 0; i < t->group_count; i++)
        if (check_depth(t, &t->groups[i], 1, &visits, err) < 0)
            return err_wrap(err, "%s:%d: TARGET", t->groups[i].file, t->groups[i].line);
    return 0;
}
