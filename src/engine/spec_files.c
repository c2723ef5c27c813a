/* /etc/hosts, /etc/hostname and /etc/resolv.conf, made in the container's directory and mounted over its own.
 */
#include "engine/links.h"

#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HOST_FILE_MAX = 1 << 20 };

struct place {
    char *machine; /* this machine's address on the default bridge */
    char *address; /* of the first network, or NULL */
    char *gateway; /* of its bridge: where names are answered; or NULL */
    bool user_network;
};

static void place_done(struct place *p)
{
    free(p->machine);
    free(p->address);
    free(p->gateway);
}

static void find_place(const struct spec_input *in, struct place *ret)
{
    struct engine *e = in->c->engine;
    const char *name;
    json_t *s;
    SCOPED_LOCK(locked, &e->lock);
    const struct network *bridge = network__find(e, "bridge", NULL);
    const struct subnet *first = bridge ? network__subnet(bridge, false) : NULL;
    ret->machine = mem_strdup(first ? first->gateway : NULL);
    json_object_foreach (json_object_get(in->net, "Networks"), name, s) {
        struct err ignored;
        const struct network *n = *json_str(s, "IPAddress") ? network__find(e, name, &ignored) : NULL;
        if (!n || ret->address)
            continue;
        ret->address = mem_strdup(json_str(s, "IPAddress"));
        const struct subnet *v4 = network__subnet(n, false);
        ret->gateway = mem_strdup(n->is_bridge && v4 ? v4->gateway : NULL);
        ret->user_network = !n->predefined;
    }
}

int spec__write_file(const char *dir, const char *name, const char *text, struct err *err)
{
    _cleanup_free_ char *path = str_printf("%s/%s", dir, name);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0 || fchmod(fd, 0644) < 0)
        return err_sys(err, errno, "create %s", path);
    return file_write_all(fd, text, strlen(text), err);
}

static int read_host(const char *path, struct str *ret, struct err *err)
{
    int r = file_read(path, HOST_FILE_MAX, ret, err);
    return r == -ERR_NOT_FOUND ? 0 : r;
}

/* "name:address" or "name=address"; "host-gateway" is this machine as the container sees it. */
static int extra_hosts(const json_t *host, const struct place *p, struct str *out, struct err *err)
{
    size_t i;
    const json_t *v;
    json_array_foreach (json_object_get(host, "ExtraHosts"), i, v) {
        const char *text = json_string_value(v);
        size_t n = strcspn(text, "=:");
        const char *address = text[n] ? text + n + 1 : "";
        if (!n || !*address || strpbrk(text, "\n\r\t ") || strlen(text) > 1000)
            return err_set(err, ERR_INVALID, "bad format for add-host: \"%.200s\"", text);
        if (str_eq(address, "host-gateway"))
            address = p->gateway ? p->gateway : p->machine ? p->machine : "127.0.0.1";
        str_addf(out, "%s\t%.*s\n", address, (int)n, text);
    }
    return 0;
}

static int write_hosts(const struct spec_input *in, const char *dir, const struct place *p, struct err *err)
{
    const json_t *config = json_object_get(in->doc, "Config"), *host = json_object_get(in->doc, "HostConfig");
    const char *hostname = json_str(config, "Hostname"), *domain = json_str(config, "Domainname");
    _cleanup_str_ struct str text = STR_INIT;
    int r = 0;
    if (str_eq(network__mode(host), "host"))
        r = read_host("/etc/hosts", &text, err);
    else
        str_add(&text, "127.0.0.1\tlocalhost\n"
                       "::1\tlocalhost ip6-localhost ip6-loopback\n"
                       "fe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\n"
                       "ff02::2\tip6-allrouters\n");
    if (r == 0)
        r = extra_hosts(host, p, &text, err);
    if (r < 0)
        return r;
    links__hosts(in->c, in->net, &text);
    if (p->address && *domain)
        str_addf(&text, "%s\t%s.%s %s\n", p->address, hostname, domain, hostname);
    else if (p->address)
        str_addf(&text, "%s\t%s\n", p->address, hostname);
    return spec__write_file(dir, "hosts", str_get(&text), err);
}

static int add_words(struct str *out, const json_t *host, const char *field, const char *keyword,
                     bool one_line, struct err *err)
{
    _cleanup_strv_ char **list = NULL;
    int r = json_get_strv(host, "HostConfig", field, &list, err);
    if (r < 0 || !list || !*list)
        return r;
    STRV_FOREACH (v, list)
        if (strpbrk(*v, "\n\r") || strlen(*v) > 1000)
            return err_set(err, ERR_INVALID, "\"HostConfig.%s\": \"%.100s\" is not valid", field, *v);
    if (one_line) {
        _cleanup_free_ char *joined = strv_join(list, " ");
        if (!str_eq(joined, ".")) /* "." asks for no search list */
            str_addf(out, "%s %s\n", keyword, joined);
        return 0;
    }
    STRV_FOREACH (v, list)
        str_addf(out, "%s %s\n", keyword, *v);
    return 0;
}

/* The host's own lines, but those that `without` begins. */
static int host_lines(struct str *out, bool servers, bool search, bool options, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    int r = read_host("/etc/resolv.conf", &text, err);
    if (r < 0)
        return r;
    _cleanup_strv_ char **lines = strv_split(str_get(&text), '\n');
    STRV_FOREACH (line, lines)
        if ((servers && str_after(*line, "nameserver")) || (options && str_after(*line, "options")) ||
            (search && (str_after(*line, "search") || str_after(*line, "domain"))))
            str_addf(out, "%s\n", *line);
    return 0;
}

static int write_resolver(const struct spec_input *in, const char *dir, const struct place *p,
                          struct err *err)
{
    const json_t *host = json_object_get(in->doc, "HostConfig");
    bool servers = json_array_size(json_object_get(host, "Dns")) > 0;
    bool search = json_array_size(json_object_get(host, "DnsSearch")) > 0;
    bool options = json_array_size(json_object_get(host, "DnsOptions")) > 0;
    _cleanup_str_ struct str text = STR_INIT;
    bool ours = p->gateway && (p->user_network || !servers);
    int r = add_words(&text, host, "DnsSearch", "search", true, err);
    if (r == 0 && ours)
        str_addf(&text, "nameserver %s\n", p->gateway);
    if (r == 0)
        r = add_words(&text, host, "Dns", "nameserver", false, err);
    if (r == 0)
        r = add_words(&text, host, "DnsOptions", "options", true, err);
    if (r == 0)
        r = host_lines(&text, !ours && !servers, !search, !options && !ours, err);
    return r < 0 ? r : spec__write_file(dir, "resolv.conf", str_get(&text), err);
}

/* With another container's network come its files. */
static int copy_files(const char *from, const char *to, struct err *err)
{
    static const char *const names[] = {"hosts", "hostname", "resolv.conf"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        _cleanup_str_ struct str text = STR_INIT;
        _cleanup_free_ char *path = str_printf("%s/%s", from, names[i]);
        int r = read_host(path, &text, err);
        if (r == 0)
            r = spec__write_file(to, names[i], str_get(&text), err);
        if (r < 0)
            return r;
    }
    return 0;
}

int spec__network_files(const struct spec_input *in, json_t *spec, struct err *err)
{
    const json_t *host = json_object_get(in->doc, "HostConfig");
    const char *other = str_after(network__mode(host), "container:");
    _cleanup_free_ char *dir = NULL;
    int r = files__make(in->c, &dir, err);
    if (r < 0)
        return r;
    if (other) {
        _cleanup_container_ struct container *c = NULL;
        if ((r = container__find(in->c->engine, other, &c, err)) < 0)
            return r;
        /* Its hosts file has its host name, and this container's would be found nowhere. */
        if (*json_str(spec, "hostname"))
            json_set_str(spec, "hostname", c->hostname);
        _cleanup_free_ char *from = files__dir(c);
        return copy_files(from, dir, err);
    }
    _cleanup_(place_done) struct place p = {0};
    find_place(in, &p);
    const char *name = json_str(spec, "hostname");
    _cleanup_free_ char *line =
        str_printf("%s\n", *name ? name : json_str(json_object_get(in->doc, "Config"), "Hostname"));
    r = write_hosts(in, dir, &p, err);
    if (r == 0)
        r = write_resolver(in, dir, &p, err);
    return r < 0 ? r : spec__write_file(dir, "hostname", line, err);
}
