#include "bakery/preprocess_priv.h"

#include "bakery/path.h"
#include "base/str.h"

#include <ctype.h>
#include <strings.h>

/* Walks a file's units - an instruction with its continued lines and heredocs, or one other line - and writes
 * those that count. Blocks are matched when a file is read, so that one that is not closed is found whether
 * it is taken or not. */

enum word {
    WORD_NONE,
    WORD_INCLUDE,
    WORD_IF,
    WORD_ELIF,
    WORD_ELSE,
    WORD_ENDIF,
    WORD_FOR,
    WORD_ENDFOR,
    WORD_TARGET
};
static const char *const WORDS[] = {"", "INCLUDE", "IF", "ELIF", "ELSE", "ENDIF", "FOR", "ENDFOR", "TARGET"};

struct unit {
    enum word word;
    const char *raw; /* in the file's text */
    size_t n;
    int line;
    bool is_instruction; /* else a comment or an empty line */
    char *text;          /* of a word of ours: what follows it; of an instruction: all, lines joined */
    size_t next;         /* IF, ELIF, ELSE: the branch after it or the ENDIF; FOR: its ENDFOR */
};

struct file {
    const char *name; /* kept by the text made */
    struct str text;
    char escape;
    struct unit *units;
    size_t count, capacity;
};

struct pre {
    const struct preprocess_options *o;
    struct scope scope;
    struct df_text *out;
    const char *chain[PREPROCESS_MAX_DEPTH]; /* the files we are in */
    int depth, includes;
    int steps;
    struct err *err;
};

static int walk(struct pre *p, struct file *f, size_t from, size_t to);

bool preprocess__is_word(const char *word)
{
    for (size_t i = 1; i < ARRAY_SIZE(WORDS); i++)
        if (strcasecmp(WORDS[i], word) == 0)
            return true;
    return false;
}

bool preprocess_wanted(const char *text, size_t n)
{
    struct df_lines in = {.at = text, .end = text + n};
    struct df_directives d = {0};
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        in.at += 3;
    if (df__read_directives(&in, "", &d, NULL) < 0)
        return false;
    bool wanted = str_eq(d.syntax, "drover/1");
    free(d.syntax);
    free(d.check);
    return wanted;
}

void df_text_done(struct df_text *t)
{
    str_free(&t->text);
    free(t->lines);
    strv_free(t->files);
    df__groups_free(t->groups, t->group_count);
    *t = (struct df_text){0};
}

/* --- Reading a file --- */

static void file_done(struct file *f)
{
    for (size_t i = 0; i < f->count; i++)
        free(f->units[i].text);
    free(f->units);
    str_free(&f->text);
}

static int at_unit(struct pre *p, const struct file *f, const struct unit *u)
{
    return err_wrap(p->err, u->word ? "%s:%d: %s" : "%s:%d", f->name, u->line, WORDS[u->word]);
}

/* Passes over the bodies of heredocs. */
static void skip_heredocs(const struct file *f, struct df_lines *in, const char *joined)
{
    const char *word = joined;
    size_t n = strcspn(word, " \t");
    _cleanup_free_ char *name = mem_strndup(word, n);
    const struct df_instruction *i = df__find_instruction(name);
    if (i && i->op == DF_ONBUILD) {
        word += n + strspn(word + n, " \t");
        free(name);
        name = mem_strndup(word, strcspn(word, " \t"));
        i = df__find_instruction(name);
    }
    if (!i || !i->heredocs)
        return;
    _cleanup_strv_ char **words = df__raw_words(joined, f->escape);
    STRV_FOREACH (w, words) {
        struct df_heredoc h;
        bool strip, found = false;
        const char *line;
        size_t length;
        if (!df__heredoc_word(*w, &h, &strip))
            continue;
        while (!found && df__next_line(in, &line, &length)) {
            while (strip && length && *line == '\t') {
                line++;
                length--;
            }
            found = length == strlen(h.name) && memcmp(line, h.name, length) == 0;
        }
        free(h.name);
    }
}

static void read_unit(struct file *f, struct df_lines *in, const char *raw, const char *line, size_t n)
{
    GROW(f->units, f->count, f->capacity);
    struct unit *u = &f->units[f->count++];
    *u = (struct unit){.raw = raw, .line = in->number};
    df__skip_space(&line, &n);
    u->is_instruction = n && *line != '#';
    if (u->is_instruction) {
        struct str joined = STR_INIT;
        df__join_lines(in, f->escape, line, n, &joined);
        u->text = str_strip(str_get(&joined));
        str_free(&joined);
        size_t length = strcspn(u->text, " \t");
        for (size_t i = 1; i < ARRAY_SIZE(WORDS); i++)
            if (strlen(WORDS[i]) == length && strncasecmp(WORDS[i], u->text, length) == 0)
                u->word = (enum word)i;
        if (u->word) {
            char *rest = str_strip(u->text + length);
            free(u->text);
            u->text = rest;
        } else {
            skip_heredocs(f, in, u->text);
        }
    }
    u->n = (size_t)(in->at - raw);
}

/* What may stand behind what: `open` are the blocks we are in, innermost last. */
static int match_one(struct pre *p, struct file *f, size_t i, size_t *open, size_t *ret_depth)
{
    struct unit *u = &f->units[i];
    size_t depth = *ret_depth;
    struct unit *last = depth ? &f->units[open[depth - 1]] : NULL;
    bool in_if = last && (last->word == WORD_IF || last->word == WORD_ELIF || last->word == WORD_ELSE);
    bool has_text = *u->text != '\0', wants_text = u->word == WORD_ELIF || u->word == WORD_IF;
    bool any_text = u->word == WORD_INCLUDE || u->word == WORD_TARGET || u->word == WORD_FOR;
    if (!any_text && has_text != wants_text)
        return err_set(p->err, ERR_INVALID,
                       has_text ? "expected nothing behind it, and there is \"%.40s\""
                                : "expected a condition%s",
                       u->text);
    if (u->word == WORD_IF || u->word == WORD_FOR) {
        if (depth == PREPROCESS_MAX_DEPTH)
            return err_set(p->err, ERR_LIMIT, "blocks nested more than %d deep", PREPROCESS_MAX_DEPTH);
        open[(*ret_depth)++] = i;
        return 0;
    }
    if (u->word == WORD_ELIF || u->word == WORD_ELSE) {
        if (!in_if || last->word == WORD_ELSE)
            return err_set(p->err, ERR_INVALID, "expected an IF before it that it belongs to");
        last->next = i;
        open[depth - 1] = i;
    } else if (u->word == WORD_ENDIF) {
        if (!in_if)
            return err_set(p->err, ERR_INVALID, "expected an IF before it");
        last->next = i;
        (*ret_depth)--;
    } else if (u->word == WORD_ENDFOR) {
        if (!last || last->word != WORD_FOR)
            return err_set(p->err, ERR_INVALID, "expected a FOR before it");
        last->next = i;
        (*ret_depth)--;
    }
    return 0;
}

static int match_blocks(struct pre *p, struct file *f)
{
    size_t open[PREPROCESS_MAX_DEPTH], depth = 0;
    for (size_t i = 0; i < f->count; i++)
        if (f->units[i].word && match_one(p, f, i, open, &depth) < 0)
            return at_unit(p, f, &f->units[i]);
    if (!depth)
        return 0;
    const struct unit *u = &f->units[open[depth - 1]];
    err_set(p->err, ERR_INVALID, "expected %s before the file's end",
            u->word == WORD_FOR ? "an ENDFOR" : "an ENDIF");
    return at_unit(p, f, u);
}

static void write_directive(struct pre *p, const struct file *f, const char *name, const char *value)
{
    struct df_text *out = p->out;
    GROW(out->lines, out->line_count, out->line_capacity);
    out->lines[out->line_count++] = (struct df_origin){.file = f->name, .line = 1};
    str_addf(&out->text, "# %s=%s\n", name, value);
}

/* The directives at the top are taken note of and are no part of what comes out. */
static int read_directives(struct pre *p, struct file *f, struct df_lines *in)
{
    struct df_directives d = {0};
    int r = df__read_directives(in, f->name, &d, p->err);
    if (r < 0)
        return r;
    if (p->depth == 1) {
        p->scope.escape = d.escape;
        if (d.check)
            write_directive(p, f, "check", d.check);
        if (d.escape != '\\')
            write_directive(p, f, "escape", (const char[]){d.escape, '\0'});
    } else if (in->number && d.escape != p->scope.escape) {
        r = err_set(p->err, ERR_INVALID,
                    "%s:1: its escape character is %c, and that of the file that includes it %c", f->name,
                    d.escape, p->scope.escape);
    }
    f->escape = p->scope.escape;
    free(d.syntax);
    free(d.check);
    return r;
}

static int parse_file(struct pre *p, struct file *f)
{
    const char *text = str_get(&f->text), *zero = f->text.len ? memchr(text, '\0', f->text.len) : NULL;
    if (zero) {
        int line = 1;
        for (const char *c = text; c < zero; c++)
            line += *c == '\n';
        return err_set(p->err, ERR_INVALID, "%s:%d: a zero byte: this is not a text file", f->name, line);
    }
    struct df_lines in = {.at = text, .end = text + f->text.len};
    if (f->text.len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        in.at += 3;
    int r = read_directives(p, f, &in);
    if (r < 0)
        return r;
    const char *raw = in.at, *line;
    size_t n;
    while (df__next_line(&in, &line, &n)) {
        read_unit(f, &in, raw, line, n);
        raw = in.at;
    }
    return match_blocks(p, f);
}

/* --- Writing --- */

static int write_lines(struct pre *p, const struct file *f, const struct unit *u, struct str *text)
{
    struct df_text *out = p->out;
    if (text->len && text->data[text->len - 1] != '\n')
        str_addc(text, '\n');
    if (out->text.len + text->len > DOCKERFILE_MAX_BYTES)
        return err_set(p->err, ERR_LIMIT, "what comes of the file is larger than %d bytes",
                       DOCKERFILE_MAX_BYTES);
    int line = u->line;
    for (size_t i = 0; i < text->len; i++) {
        if (text->data[i] != '\n')
            continue;
        GROW(out->lines, out->line_count, out->line_capacity);
        out->lines[out->line_count++] = (struct df_origin){.file = f->name, .line = line++};
    }
    str_addn(&out->text, str_get(text), text->len);
    return 0;
}

static int plain(struct pre *p, struct file *f, const struct unit *u)
{
    _cleanup_str_ struct str text = STR_INIT;
    int r = 0;
    if (u->is_instruction)
        r = substitute__unit(&p->scope, u->raw, u->n, &text, p->err);
    else
        str_addn(&text, u->raw, u->n);
    if (r == 0 && u->is_instruction)
        scope__learn(&p->scope, str_get(&text));
    return r < 0 ? r : write_lines(p, f, u, &text);
}

/* --- INCLUDE --- */

static const char *keep_name(struct pre *p, const char *name)
{
    char **files = p->out->files;
    for (; files && *files; files++)
        if (strcmp(*files, name) == 0)
            return *files;
    strv_add(&p->out->files, name);
    return p->out->files[strv_len(p->out->files) - 1];
}

static int include_path(struct pre *p, const struct file *f, const char *text, char **ret)
{
    _cleanup_strv_ char **words = NULL;
    int r = scope__expand_words(&p->scope, text, &words, p->err);
    if (r < 0)
        return r;
    if (strv_len(words) != 1 || !*words[0])
        return err_set(p->err, ERR_INVALID, "expected one path");
    const char *base = strrchr(f->name, '/');
    _cleanup_free_ char *dir = mem_strndup(f->name, base ? (size_t)(base - f->name + 1) : 0);
    _cleanup_free_ char *joined =
        *words[0] == '/' ? mem_strdup(words[0] + 1) : str_printf("%s%s", dir, words[0]);
    _cleanup_free_ char *path = path_clean(joined);
    if (strcmp(path, ".") == 0 || strcmp(path, "..") == 0 || *path == '/' || str_after(path, "../"))
        return err_set(p->err, ERR_INVALID, "forbidden path outside the build context: %s", words[0]);
    *ret = take_ptr(path);
    return 0;
}

static int check_chain(struct pre *p, const char *path)
{
    bool circle = false;
    _cleanup_str_ struct str chain = STR_INIT;
    for (int i = 0; i < p->depth; i++) {
        circle = circle || strcmp(p->chain[i], path) == 0;
        str_addf(&chain, "%s -> ", p->chain[i]);
    }
    str_add(&chain, path);
    if (circle)
        return err_set(p->err, ERR_INVALID, "the includes go in a circle: %.300s", str_get(&chain));
    if (p->depth == PREPROCESS_MAX_DEPTH)
        return err_set(p->err, ERR_LIMIT, "includes nested more than %d deep: %.300s", PREPROCESS_MAX_DEPTH,
                       str_get(&chain));
    if (p->includes++ == PREPROCESS_MAX_FILES)
        return err_set(p->err, ERR_LIMIT, "more than %d includes", PREPROCESS_MAX_FILES);
    return 0;
}

static int walk_file(struct pre *p, struct file *f)
{
    p->chain[p->depth++] = f->name;
    int r = parse_file(p, f);
    if (r == 0)
        r = walk(p, f, 0, f->count);
    p->depth--;
    return r;
}

static int include(struct pre *p, struct file *f, const struct unit *u)
{
    _cleanup_free_ char *path = NULL;
    int r = include_path(p, f, u->text, &path);
    if (r == 0)
        r = check_chain(p, path);
    _cleanup_(file_done) struct file inner = {0};
    if (r == 0)
        r = p->o->read(p->o->context, path, &inner.text, p->err);
    if (r == -ERR_NOT_FOUND)
        return err_set(p->err, ERR_INVALID, "%s is not in the build context", path);
    if (r < 0)
        return r;
    inner.name = keep_name(p, path);
    return walk_file(p, &inner);
}

/* --- IF and FOR --- */

/* Walks the branch that is taken; *ret_end is the ENDIF. All conditions up to it are evaluated. */
static int branches(struct pre *p, struct file *f, size_t at, size_t *ret_end)
{
    size_t taken = SIZE_MAX;
    for (; f->units[at].word != WORD_ENDIF; at = f->units[at].next) {
        const struct unit *u = &f->units[at];
        bool yes = true;
        if (taken != SIZE_MAX)
            continue;
        if (u->word != WORD_ELSE && condition__eval(&p->scope, u->text, &yes, p->err) < 0)
            return at_unit(p, f, u);
        if (yes)
            taken = at;
    }
    *ret_end = at;
    return taken == SIZE_MAX ? 0 : walk(p, f, taken + 1, f->units[taken].next);
}

static int loop_words(struct pre *p, const struct unit *u, char **ret_name, char ***ret_words)
{
    const char *text = u->text;
    size_t n = 0;
    while (isalnum((unsigned char)text[n]) || text[n] == '_')
        n++;
    const char *in = text + n + strspn(text + n, " \t");
    bool named = n && !isdigit((unsigned char)*text);
    if (!named || strncasecmp(in, "in", 2) != 0 || (in[2] && !isspace((unsigned char)in[2])))
        return err_set(p->err, ERR_INVALID, "expected FOR name IN words...");
    int r = scope__expand_words(&p->scope, in + 2, ret_words, p->err);
    if (r < 0)
        return r;
    if (strv_len(*ret_words) > PREPROCESS_MAX_LOOP)
        return err_set(p->err, ERR_LIMIT, "more than %d times", PREPROCESS_MAX_LOOP);
    *ret_name = mem_strndup(text, n);
    return 0;
}

static int count_step(struct pre *p)
{
    if (++p->steps > PREPROCESS_MAX_STEPS)
        return err_set(p->err, ERR_LIMIT, "more than %d steps in loops and includes", PREPROCESS_MAX_STEPS);
    return 0;
}

static int loop(struct pre *p, struct file *f, size_t at)
{
    const struct unit *u = &f->units[at];
    _cleanup_free_ char *name = NULL;
    _cleanup_strv_ char **words = NULL;
    int r = loop_words(p, u, &name, &words);
    if (r == 0 && map_has(&p->scope.loops, name))
        r = err_set(p->err, ERR_INVALID, "there is a FOR %s around it already", name);
    if (r < 0)
        return at_unit(p, f, u);
    STRV_FOREACH (word, words) {
        map_put(&p->scope.loops, name, mem_strdup(*word));
        if (count_step(p) < 0)
            r = at_unit(p, f, u);
        else
            r = walk(p, f, at + 1, u->next);
        if (r < 0)
            break;
    }
    map_remove(&p->scope.loops, name);
    return r;
}

static int simple(struct pre *p, struct file *f, const struct unit *u)
{
    return u->word == WORD_INCLUDE  ? include(p, f, u)
           : u->word == WORD_TARGET ? targets__add(&p->scope, u->text, f->name, u->line, p->out, p->err)
                                    : plain(p, f, u);
}

static int walk(struct pre *p, struct file *f, size_t from, size_t to)
{
    int r = 0;
    for (size_t i = from; r == 0 && i < to; i++) {
        const struct unit *u = &f->units[i];
        if (count_step(p) < 0)
            return at_unit(p, f, u);
        if (u->word == WORD_IF)
            r = branches(p, f, i, &i);
        else if (u->word == WORD_FOR) {
            r = loop(p, f, i);
            i = u->next;
        } else if (simple(p, f, u) < 0)
            return at_unit(p, f, u);
    }
    return r;
}

/* What else there is to build, for whoever reads the result. */
static void write_targets(struct df_text *t)
{
    for (size_t i = 0; i < t->group_count; i++) {
        const struct df_group *g = &t->groups[i];
        str_addf(&t->text, "# TARGET %s:", g->name);
        for (size_t j = 0; j < g->member_count; j++)
            str_addf(&t->text, " %s%s%s", g->members[j].name, g->members[j].value ? "=" : "",
                     g->members[j].value ? g->members[j].value : "");
        str_addc(&t->text, '\n');
    }
}

int preprocess(const char *text, size_t n, const struct preprocess_options *o, struct df_text *ret,
               struct err *err)
{
    struct df_text out = {0};
    struct err own;
    struct pre p = {.o = o, .out = &out, .err = err ? err : &own};
    if (n > DOCKERFILE_MAX_BYTES)
        return err_set(err, ERR_LIMIT, "%s: larger than %d bytes", o->name, DOCKERFILE_MAX_BYTES);
    scope__init(&p.scope, o);
    _cleanup_(file_done) struct file f = {.name = keep_name(&p, o->name)};
    str_addn(&f.text, text, n);
    int r = walk_file(&p, &f);
    if (r == 0)
        r = targets__check(&out, p.err);
    scope__done(&p.scope);
    if (r < 0) {
        df_text_done(&out);
        return r;
    }
    write_targets(&out);
    *ret = out;
    return 0;
}
