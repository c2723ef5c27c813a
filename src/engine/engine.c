/* Opening and closing: the tables, the parts below, the threads. */
#include "engine/build_mounts.h"

#include "base/digest.h"
#include "base/file.h"
#include "engine/userns.h"
#include "rootless/rootless.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const char *const migrations[] = {
    "CREATE TABLE containers (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, created_ns INTEGER NOT NULL,"
    " doc TEXT NOT NULL, net TEXT NOT NULL, state TEXT NOT NULL) STRICT;"
    "CREATE TABLE networks (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, doc TEXT NOT NULL) STRICT;"
    "CREATE TABLE volumes (name TEXT PRIMARY KEY, path TEXT NOT NULL, doc TEXT NOT NULL) STRICT;",
    /* Several networks may have one name. */
    "ALTER TABLE networks RENAME TO networks_unique;"
    "CREATE TABLE networks (id TEXT PRIMARY KEY, name TEXT NOT NULL, doc TEXT NOT NULL) STRICT;"
    "INSERT INTO networks (id, name, doc) SELECT id, name, doc FROM networks_unique ORDER BY rowid;"
    "DROP TABLE networks_unique;",
    /* Of services: see spread.h. */
    "CREATE TABLE spreads (key TEXT PRIMARY KEY, doc TEXT NOT NULL) STRICT;"
    "CREATE TABLE reservations (network TEXT NOT NULL, key TEXT NOT NULL, address TEXT NOT NULL,"
    " address6 TEXT NOT NULL, PRIMARY KEY (network, key)) STRICT;",
    NULL,
};

struct images *engine_images(struct engine *e)
{
    return e->images;
}

const char *engine_root(struct engine *e)
{
    return e->root;
}

int64_t engine_keeper_silence_ns(struct engine *e)
{
    return keeper_silence_ns(e->keeper);
}

static void container_unref_value(void *c)
{
    container__unref(c);
}

static struct engine *engine_new(const char *root)
{
    struct engine *e = NEW(struct engine);
    e->root = mem_strdup(root);
    pthread_mutex_init(&e->lock, NULL);
    pthread_rwlock_init(&e->attacher.lock, NULL);
    pthread_mutex_init(&e->spare_lock, NULL);
    pthread_mutex_init(&e->features_lock, NULL);
    pthread_mutex_init(&e->queue_lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&e->queue_changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    e->exits_end = &e->exits;
    e->containers = MAP_INIT(container_unref_value);
    e->names = MAP_INIT(NULL);
    e->networks = MAP_INIT(network__free);
    e->spreads = MAP_INIT(spread__free);
    e->volumes = MAP_INIT(volume__free);
    e->execs = MAP_INIT(exec__free);
    e->id_ranges = MAP_INIT(free);
    e->events = events__new();
    return e;
}

/* Interfaces of several instances on one machine are told apart by three digits of their roots' digest. */
char *engine__instance_prefix(const char *root)
{
    char digest[DIGEST_BYTES];
    digest_of(root, strlen(root), digest);
    return str_printf("dr%.4s", digest_hex(digest));
}

/* Containers have nothing to do with each other: ext4 then puts each one's directory into a part of the disk
 * of its own, where what overlayfs makes and deletes at each mount does not search past what it made for
 * others. */
static void spread_below(const char *path)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int flags = 0;
    if (fd >= 0 && ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && !(flags & FS_TOPDIR_FL)) {
        flags |= FS_TOPDIR_FL;
        ioctl(fd, FS_IOC_SETFLAGS, &flags);
    }
}

static int make_directories(struct engine *e, struct err *err)
{
    static const char *const names[] = {"", "/containers", "/volumes", "/net", "/trash", "/root"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        _cleanup_free_ char *path = str_printf("%s%s", e->root, names[i]);
        int r = file_mkdirs(path, i == 2 ? 0711 : 0710, err);
        if (r < 0)
            return r;
        if (i == 1)
            spread_below(path);
    }
    return 0;
}

/* The lowest layer of every container: empty files and directories that the runtime mounts over. */
static int make_init_layer(struct engine *e, struct err *err)
{
    static const char *const directories[] = {"dev", "etc", "proc", "sys"};
    static const char *const files[] = {"etc/hosts", "etc/hostname", "etc/resolv.conf"};
    for (size_t i = 0; i < ARRAY_SIZE(directories); i++) {
        _cleanup_free_ char *path = str_printf("%s/init/%s", e->root, directories[i]);
        int r = file_mkdirs(path, 0755, err);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        _cleanup_free_ char *path = str_printf("%s/init/%s", e->root, files[i]);
        int r = file_exists(path) ? 0 : file_replace(path, "", 0, 0644, false, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int forward_port(void *e, const char *protocol, const char *host_ip, uint16_t port, struct err *err)
{
    return rootless_port_add(((struct engine *)e)->root, protocol, host_ip, port, err);
}

static int withdraw_port(void *e, const char *protocol, uint16_t port, struct err *err)
{
    return rootless_port_remove(((struct engine *)e)->root, protocol, port, err);
}

static int open_net(struct engine *e, struct err *err)
{
    _cleanup_free_ char *state = str_printf("%s/net", e->root), *prefix = engine__instance_prefix(e->root);
    struct net_forwarder forwarder = {e, forward_port, withdraw_port};
    int r = net_open(state, prefix, &e->net, err);
    if (r == 0 && rootless_inside(e->root))
        net_set_forwarder(e->net, &forwarder);
    return r < 0 ? err_wrap(err, "open the networks") : 0;
}

static int open_parts(struct engine *e, const struct engine_config *config, struct err *err)
{
    int r = make_directories(e, err);
    if (r == 0)
        r = make_init_layer(e, err);
    if (r == 0)
        r = init_file__write(e, err);
    if (r == 0)
        r = build_caches__open(e, err);
    if (r < 0)
        return r;
    r = images_open(e->root, &e->images, err);
    if (r < 0)
        return err_wrap(err, "open the images");
    images_trust(e->images, config->certs_dir);
    if (config->insecure_registries)
        images_allow_insecure(e->images, config->insecure_registries);
    _cleanup_free_ char *db = str_printf("%s/engine.db", e->root);
    r = store_open(db, migrations, &e->store, err);
    if (r < 0)
        return err_wrap(err, "open %s", db);
    return open_net(e, err);
}

static int open_tables(struct engine *e, struct err *err)
{
    int r = volume__load_all(e, err);
    if (r == 0)
        r = network__load_all(e, err);
    if (r == 0)
        r = spread__load_all(e, err);
    if (r == 0)
        r = network__defaults(e, err);
    if (r == 0)
        r = container__load_all(e, err);
    if (r == 0)
        users__sweep_images(e);
    return r;
}

static int open_keeper(struct engine *e, struct err *err)
{
    struct keeper_callbacks callbacks = {e, supervisor__on_exit, supervisor__on_restart};
    int r = keeper_open(e->root, &callbacks, &e->keeper, err);
    return r < 0 ? err_wrap(err, "reach the keeper") : 0;
}

int engine_open(const struct engine_config *config, struct engine **ret, struct err *err)
{
    struct engine *e = engine_new(config->root);
    e->files = files__root(config->root);
    int r = runtimes__configure(e, config->runtimes, config->default_runtime, err);
    if (r == 0)
        r = pools__configure(e, config->address_pools, err);
    if (r == 0)
        r = userns__configure(e, config->userns_remap, err);
    e->log_driver = mem_strdup(str_empty(config->log_driver) ? LOGDRIVER_DEFAULT : config->log_driver);
    e->log_options = config->log_options ? json_deep_copy(config->log_options) : json_object();
    if (r == 0 && (r = logdriver_check(e->log_driver, e->log_options, err)) < 0)
        err_wrap(err, "the default log driver");
    if (r == 0)
        r = shipping__open(e, err);
    if (r == 0)
        r = open_parts(e, config, err);
    if (r == 0)
        r = open_tables(e, err);
    if (r == 0)
        r = open_keeper(e, err);
    if (r == 0)
        r = health__thread_start(e, err);
    if (r == 0)
        r = recover__run(e, true, err);
    if (r == 0)
        shipping__resume(e);
    if (r == 0)
        r = supervisor__start(e, err);
    if (r < 0) {
        engine_close(e);
        return r;
    }
    *ret = e;
    return 0;
}

void engine_close(struct engine *e)
{
    if (!e)
        return;
    events__close(e->events);
    supervisor__stop(e);
    health__thread_stop(e);
    shippers_close(e->shippers);
    e->shippers = NULL;
    if (e->keeper)
        keeper_close(e->keeper);
    if (e->store) /* what waits in it refers to containers */
        store_close(e->store);
    strv_free(e->forgets);
    map_done(&e->names);
    map_done(&e->containers);
    map_done(&e->execs);
    map_done(&e->id_ranges);
    map_done(&e->networks);
    map_done(&e->spreads);
    map_done(&e->volumes);
    for (struct exit_record *x = e->exits, *next; x; x = next) {
        next = x->next;
        free(x);
    }
    if (e->net)
        net_close(e->net);
    if (e->images)
        images_close(e->images);
    build_caches__free(e->build_caches);
    events__free(e->events);
    pthread_mutex_destroy(&e->lock);
    pthread_rwlock_destroy(&e->attacher.lock);
    pthread_mutex_destroy(&e->queue_lock);
    pthread_mutex_destroy(&e->spare_lock);
    pthread_mutex_destroy(&e->features_lock);
    pthread_cond_destroy(&e->queue_changed);
    json_decref(e->runtimes);
    json_decref(e->features);
    free(e->default_runtime);
    pools__done(e);
    free(e->log_driver);
    json_decref(e->log_options);
    if (e->files)
        rmdir(e->files); /* when no run needs it any more */
    free(e->files);
    free(e->root);
    free(e);
}
