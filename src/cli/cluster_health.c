/* drover cluster health: how well the nodes are, and from where on they get no new tasks. */
#include "base/json.h"
#include "cli/call.h"
#include "cli/cluster_verbs.h"
#include "cli/group.h"
#include "cli/options.h"
#include "cli/output.h"

#include <stdio.h>

enum { CELL = 64 };

/* "1.2 GiB of 80 GiB" */
static void disk_cell(const json_t *vitals, char cell[CELL])
{
    char left[32], size[32];
    output_size(json_int(vitals, "DiskFreeBytes"), left);
    output_size(json_int(vitals, "DiskBytes"), size);
    snprintf(cell, CELL, "%s of %s", left, size);
}

static void number_cell(const json_t *vitals, const char *key, double part, const char *unit, char cell[CELL])
{
    const json_t *n = json_object_get(vitals, key);
    if (json_is_number(n))
        snprintf(cell, CELL, "%.12g%s", json_number_value(n) / part, unit);
    else
        snprintf(cell, CELL, "-");
}

static void print_health(const json_t *found)
{
    struct table t = {.columns = 9};
    const json_t *one;
    size_t i;
    const char *limits = json_str(found, "Limits");
    table_row(&t, "NAME", "HEALTH", "DISK FREE", "INODES FREE", "MEMORY", "IO", "KEEPER", "CLOCK", "WHY",
              NULL);
    json_array_foreach (json_object_get(found, "Nodes"), i, one) {
        const json_t *v = json_object_get(one, "Vitals");
        char disk[CELL] = "-", inodes[CELL], memory[CELL], io[CELL], keeper[CELL], clock[CELL];
        if (json_is_integer(json_object_get(v, "DiskBytes")))
            disk_cell(v, disk);
        number_cell(v, "InodesFree", 1, "", inodes);
        number_cell(v, "MemoryPressure", 1, "%", memory);
        number_cell(v, "IOPressure", 1, "%", io);
        number_cell(v, "KeeperSilenceMs", 1000, "s", keeper);
        number_cell(v, "ClockAheadMs", 1000, "s", clock);
        table_row(&t, json_str(one, "Name"), json_str(one, "Health"), disk, inodes, memory, io, keeper, clock,
                  json_str(one, "Message"), NULL);
    }
    table_print(&t);
    if (*limits)
        printf("limits: %s\n", limits);
}

int cluster_health_verb(int argc, char **argv)
{
    bool json = false;
    const struct cli_option options[] = {{0, "json", CLI_FLAG, &json, NULL, "As JSON"}, {0}};
    const struct cli_command command = {"cluster health [OPTIONS] [LIMITS]",
                                        "Says how well the nodes are, or sets from where on one gets no new "
                                        "tasks: LIMITS are any of disk=5%|2g, "
                                        "inodes=2%, memory=40%, io=off, keeper=10s, clock=10s (these are the "
                                        "defaults); off for one of them, or "
                                        "alone for all; \"\" goes back to the defaults.",
                                        options,
                                        false,
                                        0,
                                        -1};
    char **rest;
    struct err err = {0};
    int status = cli_parse(&command, argc, argv, &rest);
    if (status >= 0)
        return status;
    if (!rest[0])
        return cli_show("/drover/health", json, print_health);
    _cleanup_free_ char *limits = strv_join(rest, " ");
    _cleanup_json_ json_t *body = json_pack("{s:s}", "Limits", limits);
    return cli_call("POST", body, NULL, &err, "/drover/health") < 0 ? cli_fail(&err) : 0;
}
