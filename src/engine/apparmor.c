#include "engine/apparmor.h"

#include "base/file.h"
#include "base/log.h"
#include "base/process.h"
#include "base/str.h"
#include "runtime/labels.h"

#include <pthread.h>

#define NAME "drover-default"

/* Everything is allowed that is not a mount or named by a "deny", which no allowance can take back. Signals
 * come from whoever is not confined, such as the engine; processes see into those of other containers no more
 * than the capabilities let them, and into none outside. */
static const char profile[] =
    "profile " NAME " flags=(attach_disconnected,mediate_deleted) {\n"
    "  file,\n"
    "  network,\n"
    "  capability,\n"
    "  umount,\n"
    "  unix,\n"
    "  signal (receive) peer=unconfined,\n"
    "  signal (send, receive) peer=" NAME ",\n"
    "  ptrace (trace, read, tracedby, readby) peer=" NAME ",\n"
    "  deny mount,\n"
    "  deny pivot_root,\n"
    "  deny /proc/sys/** wl,\n"
    "  deny /proc/{sysrq-trigger,kcore,kmem,mem} rwklx,\n"
    "  deny /proc/{acpi,scsi,bus,irq,fs,asound}/** wl,\n"
    "  deny /sys/{block,bus,class,dev,devices,firmware,hypervisor,kernel,module,power}/** wl,\n"
    "  deny /sys/firmware/** rwklx,\n"
    "  deny /sys/kernel/security/** rwklx,\n"
    "}\n";

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool loaded;

static void load(void)
{
    static const char *const argv[] = {"apparmor_parser", "--replace", "--skip-cache", NULL};
    _cleanup_str_ struct str output = STR_INIT;
    struct err err;
    if (!labels_have_apparmor() || process_in_user_namespace())
        return;
    loaded = process_run(argv, profile, &output, &err) == 0;
    if (!loaded)
        log_warning("this machine has AppArmor, but the profile \"" NAME
                    "\" could not be loaded, and containers "
                    "run without: %s",
                    err.msg);
}

const char *apparmor_default(void)
{
    pthread_once(&once, load);
    return loaded ? NAME : NULL;
}

const char *apparmor_shown(const json_t *host)
{
    size_t i;
    json_t *text;
    json_array_foreach (json_object_get(host, "SecurityOpt"), i, text) {
        const char *word = json_string_value(text);
        const char *name = word ? str_after(word, "apparmor") : NULL;
        if (name && (*name == '=' || *name == ':'))
            return name + 1;
    }
    if (!labels_have_apparmor())
        return "";
    const char *name = json_bool(host, "Privileged") ? NULL : apparmor_default();
    return name ? name : "unconfined";
}
