#include "imagetest/secrets.h"

#include "base/base64.h"
#include "base/digest.h"

#include <ctype.h>
#include <math.h>

/* A rule looks at most so far back and ahead of where its prefix stands; the rest of the window is new. */
enum { BACK = 96, AHEAD = 4096, WINDOW = 128 * 1024 };
enum { GUESS_MIN = 12, GUESS_MAX = 256, URL_MAX = 512, KEY_BASE64_MIN = 64 };
static const double GUESS_BITS = 3.3; /* of entropy a character: words of a language have less */

enum { UPPER = 1, LOWER = 2, DIGIT = 4, HEX = 8, DASH = 16, UNDER = 32, DOT = 64 };

/* A token that begins with `prefix` and goes on with `least` to `most` characters of a class. */
struct token_rule {
    const char *name, *prefix;
    unsigned of;
    size_t least, most;
    double bits;
};
#define WORD (UPPER | LOWER | DIGIT)
static const struct token_rule token_rules[] = {
    {"aws-access-key", "AKIA", UPPER | DIGIT, 16, 16, 2.5},
    {"aws-access-key", "ASIA", UPPER | DIGIT, 16, 16, 2.5},
    {"github-token", "ghp_", WORD, 36, 251, 3},
    {"github-token", "gho_", WORD, 36, 251, 3},
    {"github-token", "ghu_", WORD, 36, 251, 3},
    {"github-token", "ghs_", WORD, 36, 251, 3},
    {"github-token", "ghr_", WORD, 36, 251, 3},
    {"github-token", "github_pat_", WORD | UNDER, 60, 251, 3},
    {"gitlab-token", "glpat-", WORD | DASH | UNDER, 20, 64, 3},
    {"slack-token", "xoxb-", WORD | DASH, 20, 251, 2.5},
    {"slack-token", "xoxp-", WORD | DASH, 20, 251, 2.5},
    {"slack-token", "xoxa-", WORD | DASH, 20, 251, 2.5},
    {"slack-token", "xoxs-", WORD | DASH, 20, 251, 2.5},
    {"stripe-key", "sk_live_", WORD, 24, 251, 3},
    {"stripe-key", "rk_live_", WORD, 24, 251, 3},
    {"google-api-key", "AIza", WORD | DASH | UNDER, 35, 35, 3},
    {"npm-token", "npm_", WORD, 36, 36, 3},
    {"pypi-token", "pypi-AgE", WORD | DASH | UNDER, 50, 251, 3},
    {"sendgrid-key", "SG.", WORD | DASH | UNDER | DOT, 66, 66, 3.5},
    {"digitalocean-token", "dop_v1_", HEX, 64, 64, 3},
    {"hugging-face-token", "hf_", WORD, 34, 34, 3.5},
    {"anthropic-key", "sk-ant-", WORD | DASH | UNDER, 40, 251, 3},
    {"vault-token", "hvs.", WORD | DASH | UNDER, 24, 251, 3},
    {"age-key", "AGE-SECRET-KEY-1", UPPER | DIGIT, 58, 58, 3},
};

static const char *const rule_names[] = {
    "private-key",
    "password-hash",
    "jwt",
    "url-credentials",
    "entropy",
    "environment",
    "credential-file",
    "aws-access-key",
    "github-token",
    "gitlab-token",
    "slack-token",
    "stripe-key",
    "google-api-key",
    "npm-token",
    "pypi-token",
    "sendgrid-key",
    "anthropic-key",
    "digitalocean-token",
    "vault-token",
    "hugging-face-token",
    "age-key",
    NULL,
};

struct secret_scanner {
    void (*hit)(void *context, const struct secret_hit *hit);
    void *context;
    unsigned flags;
    size_t from, len;                /* looked at up to `from`; the window holds `len` bytes */
    unsigned char begins[65536 / 8]; /* pairs of bytes by which some rule begins */
    char window[WINDOW];
};

const char *const *secret_rules(void)
{
    return rule_names;
}

static void mark(struct secret_scanner *s, unsigned first, unsigned second)
{
    unsigned pair = first << 8 | second;
    s->begins[pair >> 3] |= (unsigned char)(1 << (pair & 7));
}

struct secret_scanner *secret_scanner_new(void (*hit)(void *context, const struct secret_hit *hit),
                                          void *context)
{
    struct secret_scanner *s = NEW(struct secret_scanner);
    s->hit = hit;
    s->context = context;
    for (size_t i = 0; i < ARRAY_SIZE(token_rules); i++)
        mark(s, (unsigned char)token_rules[i].prefix[0], (unsigned char)token_rules[i].prefix[1]);
    mark(s, '-', '-');
    mark(s, 'e', 'y');
    for (unsigned c = 0; c < 256; c++) {
        mark(s, '=', c);
        mark(s, ':', c);
        mark(s, '$', c);
    }
    return s;
}

void secret_scanner_free(struct secret_scanner *s)
{
    free(s);
}

/* --- What looks like what --- */

static bool in_class(unsigned char c, unsigned of)
{
    return ((of & UPPER) && c >= 'A' && c <= 'Z') || ((of & LOWER) && c >= 'a' && c <= 'z') ||
           ((of & DIGIT) && c >= '0' && c <= '9') ||
           ((of & HEX) && ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) || ((of & DASH) && c == '-') ||
           ((of & UNDER) && c == '_') || ((of & DOT) && c == '.');
}

static bool word_char(unsigned char c)
{
    return isalnum(c) || c == '_' || c == '-';
}

static bool base64_char(unsigned char c)
{
    return isalnum(c) || c == '+' || c == '/' || c == '=';
}

static bool url_base64_char(unsigned char c)
{
    return isalnum(c) || c == '-' || c == '_';
}

static size_t span(const char *at, const char *end, size_t most, bool (*of)(unsigned char c))
{
    size_t n = 0;
    while (at + n < end && n < most && of((unsigned char)at[n]))
        n++;
    return n;
}

/* Shannon's, in bits a character. */
static double entropy(const char *text, size_t n)
{
    unsigned count[256] = {0};
    double bits = 0;
    for (size_t i = 0; i < n; i++)
        count[(unsigned char)text[i]]++;
    for (size_t i = 0; i < 256; i++)
        if (count[i])
            bits -= (double)count[i] / (double)n * log2((double)count[i] / (double)n);
    return bits;
}

static bool contains(const char *text, size_t n, const char *word)
{
    size_t m = strlen(word);
    for (size_t i = 0; i + m <= n; i++)
        if (strncasecmp(text + i, word, m) == 0)
            return true;
    return false;
}

bool secret_placeholder(const char *value, size_t n)
{
    static const char *const words[] = {"example", "changeme", "change-me", "change_me", "your",
                                        "xxxx",    "****",     "${",        "{{",        "placeholder",
                                        "dummy",   "redacted", "<",         "..."};
    if (n == 0 || *value == '$' || *value == '%')
        return true;
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (contains(value, n, words[i]))
            return true;
    return false;
}

static bool name_ends_with(const char *name, size_t n, const char *word)
{
    size_t m = strlen(word);
    return n >= m && strncasecmp(name + n - m, word, m) == 0;
}

bool secret_name(const char *name, size_t n)
{
    static const char *const words[] = {
        "password",   "passwd",    "passphrase",  "secret",      "token",      "apikey",
        "api_key",    "api-key",   "secret_key",  "secret-key",  "secretkey",  "access_key",
        "access-key", "accesskey", "private_key", "private-key", "privatekey", "credentials"};
    for (size_t i = 0; i < ARRAY_SIZE(words); i++)
        if (name_ends_with(name, n, words[i]))
            return true;
    return false;
}

bool secret_file_name(const char *path)
{
    static const char *const names[] = {".netrc", ".git-credentials", ".pgpass", ".my.cnf"};
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (str_eq(base, names[i]))
            return true;
    return str_ends_with(path, ".aws/credentials");
}

void secret_describe(const char *rule, const char *value, size_t n, struct secret_hit *ret)
{
    char digest[DIGEST_BYTES];
    digest_of(value, n, digest);
    *ret = (struct secret_hit){.rule = rule};
    snprintf(ret->fingerprint, sizeof(ret->fingerprint), "%.16s", digest_hex(digest));
    char first[5] = "";
    for (size_t i = 0; i < 4 && i < n / 4; i++)
        first[i] = isprint((unsigned char)value[i]) ? value[i] : '.';
    snprintf(ret->preview, sizeof(ret->preview), "%s... (%zu characters)", first, n);
}

/* --- The rules: each looks at one place and says how long the secret there is; 0: none --- */

static void report(struct secret_scanner *s, const char *rule, const char *value, size_t n)
{
    struct secret_hit hit;
    secret_describe(rule, value, n, &hit);
    s->hit(s->context, &hit);
}

static size_t token(struct secret_scanner *s, const char *at, const char *end, unsigned char before)
{
    for (size_t i = 0; i < ARRAY_SIZE(token_rules); i++) {
        const struct token_rule *r = &token_rules[i];
        size_t m = strlen(r->prefix), n = 0;
        if ((size_t)(end - at) < m + r->least || memcmp(at, r->prefix, m) != 0 || word_char(before))
            continue;
        while (at + m + n < end && n <= r->most && in_class((unsigned char)at[m + n], r->of))
            n++;
        bool ended = at + m + n >= end || !word_char((unsigned char)at[m + n]);
        if (n >= r->least && n <= r->most && ended && entropy(at + m, n) >= r->bits &&
            !contains(at, m + n, "EXAMPLE")) {
            report(s, r->name, at, m + n);
            return m + n;
        }
    }
    return 0;
}

/* The longest run of base64 of a text that may go over line ends, also those written as backslash and n. */
static size_t base64_run(const char *at, const char *end)
{
    size_t run = 0, best = 0;
    for (; at < end && *at != '-'; at++) {
        if (*at == '\n' || *at == '\r')
            continue;
        if (*at == '\\' && at + 1 < end && (at[1] == 'n' || at[1] == 'r')) {
            at++;
            continue;
        }
        run = base64_char((unsigned char)*at) ? run + 1 : 0;
        best = MAX(best, run);
    }
    return best;
}

/* RFC 7468 and OpenSSH's: the words alone are in many programs; a key has base64 behind them. */
static size_t private_key(struct secret_scanner *s, const char *at, const char *end)
{
    static const char begin[] = "-----BEGIN ";
    if ((size_t)(end - at) < sizeof(begin) - 1 || memcmp(at, begin, sizeof(begin) - 1) != 0)
        return 0;
    const char *label = at + sizeof(begin) - 1, *line = MIN(end, label + 64);
    const char *dashes = memmem(label, (size_t)(line - label), "-----", 5);
    if (!dashes || !contains(label, (size_t)(dashes - label), "PRIVATE KEY"))
        return 0;
    const char *stop = MIN(end, dashes + 2048),
               *closed = memmem(dashes + 5, (size_t)(end - dashes - 5), "-----END", 8);
    if (base64_run(dashes + 5, closed && closed < stop ? closed : stop) < KEY_BASE64_MIN)
        return 0;
    size_t n = (size_t)((closed ? closed : stop) - at);
    report(s, "private-key", at, n);
    return n;
}

/* RFC 7519: two JSON objects and a signature. */
static size_t jwt(struct secret_scanner *s, const char *at, const char *end, unsigned char before)
{
    if ((size_t)(end - at) < 40 || memcmp(at, "eyJ", 3) != 0 || word_char(before) || before == '.')
        return 0;
    size_t head = span(at, end, 1024, url_base64_char);
    const char *body = at + head;
    if (head < 16 || (size_t)(end - body) < 8 || memcmp(body, ".eyJ", 4) != 0)
        return 0;
    size_t claims = span(body + 1, end, 2048, url_base64_char);
    const char *signature = body + 1 + claims;
    if (signature >= end || *signature != '.')
        return 0;
    size_t n = span(signature + 1, end, 1024, url_base64_char);
    if (n < 20)
        return 0;
    report(s, "jwt", at, (size_t)(signature + 1 + n - at));
    return (size_t)(signature + 1 + n - at);
}

/* "://user:password@host": `at` is the colon. */
static size_t url_credentials(struct secret_scanner *s, const char *at, const char *end)
{
    if (end - at < 8 || memcmp(at, "://", 3) != 0)
        return 0;
    const char *user = at + 3, *stop = MIN(end, user + URL_MAX), *c = user, *colon = NULL;
    for (; c < stop && *c != '@'; c++) {
        if (!isgraph((unsigned char)*c) || strchr("/?#\"'`<>(){}[]\\,", *c))
            return 0;
        if (*c == ':' && !colon)
            colon = c;
    }
    if (c >= stop || !colon || colon == user || c - colon < 7 || c + 1 >= end ||
        !isalnum((unsigned char)c[1]))
        return 0;
    size_t n = (size_t)(c - colon - 1);
    if (secret_placeholder(colon + 1, n) || strncasecmp(colon + 1, "password", MIN(n, 8u)) == 0 ||
        entropy(colon + 1, n) < 2)
        return 0;
    report(s, "url-credentials", colon + 1, n);
    return (size_t)(c - at);
}

static bool value_char(unsigned char c)
{
    return isalnum(c) || strchr("+/=_-.~!@#%^&*", c) ? c != '\0' : false;
}

static bool looks_random(const char *value, size_t n)
{
    bool digit = false, letter = false;
    for (size_t i = 0; i < n; i++) {
        digit = digit || isdigit((unsigned char)value[i]);
        letter = letter || isalpha((unsigned char)value[i]);
    }
    return digit && letter && entropy(value, n) >= GUESS_BITS;
}

/* The name that an "=" or ":" at `at` gives a value to. */
static size_t name_before(const char *begin, const char *at, const char **ret)
{
    const char *e = at;
    while (e > begin && (e[-1] == ' ' || e[-1] == '\t' || e[-1] == '"' || e[-1] == '\'' || e[-1] == ']'))
        e--;
    const char *b = e;
    while (b > begin && e - b < 64 && word_char((unsigned char)b[-1]))
        b--;
    *ret = b;
    return (size_t)(e - b);
}

static size_t guess(struct secret_scanner *s, const char *begin, const char *at, const char *end)
{
    const char *name, *v = at + 1;
    size_t m = name_before(begin, at, &name);
    bool auth = m == 4 && strncasecmp(name, "auth", 4) == 0 && name > begin && name[-1] == '"';
    if (m < 4 || (!auth && !secret_name(name, m)))
        return 0;
    while (v < end && v - at < 16 && strchr(" \t=>:\"'", *v) && *v)
        v++;
    size_t n = span(v, end, GUESS_MAX, value_char);
    bool call = v + n < end && strchr("([{", v[n]) && v[n];
    if (n < GUESS_MIN || n >= GUESS_MAX || call || *v == '/' || secret_placeholder(v, n) ||
        !looks_random(v, n))
        return 0;
    if (auth) { /* docker's config.json: base64 of user:password */
        _cleanup_str_ struct str plain = STR_INIT;
        _cleanup_free_ char *text = mem_strndup(v, n);
        if (base64_decode(text, &plain, NULL) < 0 || !strchr(str_get(&plain), ':'))
            return 0;
    }
    report(s, "entropy", v, n);
    return (size_t)(v + n - at);
}

/* crypt(5): "$6$salt$hash" in a field of its own. */
static size_t password_hash(struct secret_scanner *s, const char *begin, const char *at, const char *end)
{
    size_t n = 0, dollars = 0;
    for (; at + n < end && n < 256 && isgraph((unsigned char)at[n]) && at[n] != ':'; n++)
        dollars += at[n] == '$';
    if (at == begin || at[-1] != ':' || dollars < 3 || n < 20)
        return 0;
    report(s, "password-hash", at, n);
    return n;
}

static size_t look(struct secret_scanner *s, const char *at, const char *end)
{
    unsigned char before = at > s->window ? (unsigned char)at[-1] : 0;
    size_t n = token(s, at, end, before);
    if (!n && *at == '-')
        n = private_key(s, at, end);
    if (!n && *at == 'e')
        n = jwt(s, at, end, before);
    if (!n && *at == ':')
        n = url_credentials(s, at, end);
    if (!n && (s->flags & SECRET_GUESS) && (*at == '=' || *at == ':'))
        n = guess(s, s->window, at, end);
    if (!n && (s->flags & SECRET_HASHES) && *at == '$')
        n = password_hash(s, s->window, at, end);
    return n;
}

/* --- The window --- */

static void go_on(struct secret_scanner *s, bool last)
{
    size_t until = last ? s->len : s->len > AHEAD ? s->len - AHEAD : 0;
    const char *end = s->window + s->len;
    while (s->from < until) {
        unsigned char a = (unsigned char)s->window[s->from];
        unsigned char b = s->from + 1 < s->len ? (unsigned char)s->window[s->from + 1] : 0;
        unsigned pair = (unsigned)a << 8 | b;
        size_t n = 0;
        if (s->begins[pair >> 3] & (1 << (pair & 7)))
            n = look(s, s->window + s->from, end);
        s->from += n ? n : 1;
    }
    size_t gone = s->from > BACK ? s->from - BACK : 0;
    gone = MIN(gone, s->len);
    memmove(s->window, s->window + gone, s->len - gone);
    s->len -= gone;
    s->from -= gone;
}

void secret_scanner_begin(struct secret_scanner *s, unsigned flags)
{
    s->flags = flags;
    s->from = s->len = 0;
}

void secret_scanner_feed(struct secret_scanner *s, const void *bytes, size_t n)
{
    const char *at = bytes;
    while (n) {
        size_t room = MIN(n, (size_t)WINDOW - s->len);
        memcpy(s->window + s->len, at, room);
        s->len += room;
        at += room;
        n -= room;
        if (s->len == WINDOW)
            go_on(s, false);
    }
}

void secret_scanner_end(struct secret_scanner *s)
{
    go_on(s, true);
}
