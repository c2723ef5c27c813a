/* How well a node is: from where on it is sick, and when it is well again. */
#include "unit.h"

#include "base/json.h"
#include "cluster/health.h"

static const int64_t gib = INT64_C(1) << 30;

static struct vitals well(void)
{
    return (struct vitals){.is = {[VITAL_DISK_FREE] = 40 * gib,
                                  [VITAL_DISK_SIZE] = 80 * gib,
                                  [VITAL_INODES_FREE] = 900000,
                                  [VITAL_INODES] = 1000000}};
}

/* What a value of one vital comes to, after the others before it. */
static enum sched_health after(struct health *h, enum vital vital, int64_t value)
{
    struct health_limits l = HEALTH_LIMITS;
    struct vitals v = well();
    v.is[vital] = value;
    l.io_percent = 90;
    health_judge(&v, &l, h);
    return h->level;
}

static void each_signal_has_a_bar_and_is_left_at_a_quarter_less(void **unused)
{
    static const struct {
        enum vital vital;
        enum health_signal signal;
        int64_t good, degraded, sick, still_sick, better, still_degraded;
    } cases[] = {
        /* 2 GiB of 80; left above 2.67; behind below 4, until 5.33 */
        {VITAL_DISK_FREE, HEALTH_DISK, 5 << 20, (4 << 20) - 1, (2 << 20) - 1, 2700 << 10, 2800 << 10,
         5 << 20},
        {VITAL_INODES_FREE, HEALTH_INODES, 40001, 39999, 19999, 26000, 27000, 50000},
        {VITAL_MEMORY, HEALTH_MEMORY, 1999, 2000, 4000, 3000, 2999, 1500},
        {VITAL_IO, HEALTH_IO, 4499, 4500, 9000, 6750, 6749, 3375},
        {VITAL_KEEPER_MS, HEALTH_KEEPER, 4999, 5000, 10000, 7500, 7499, 3750},
        {VITAL_CLOCK_MS, HEALTH_CLOCK, -4990, 5000, -10000, 7500, -7490, 3750},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        int64_t unit = cases[i].vital == VITAL_DISK_FREE ? 1024 : 1;
        enum vital vital = cases[i].vital;
        struct health h = {0};
        assert_int_equal(after(&h, vital, cases[i].good * unit), SCHED_HEALTHY);
        assert_int_equal(after(&h, vital, cases[i].degraded * unit), SCHED_DEGRADED);
        assert_int_equal(after(&h, vital, cases[i].sick * unit), SCHED_UNHEALTHY);
        assert_int_equal(h.cause, cases[i].signal);
        assert_int_equal(after(&h, vital, cases[i].still_sick * unit), SCHED_UNHEALTHY);
        assert_int_equal(after(&h, vital, cases[i].better * unit), SCHED_DEGRADED);
        assert_int_equal(after(&h, vital, cases[i].still_sick * unit), SCHED_DEGRADED);
        assert_int_equal(after(&h, vital, cases[i].still_degraded * unit), SCHED_DEGRADED);
        assert_int_equal(after(&h, vital, well().is[vital]), SCHED_HEALTHY);
        assert_int_equal(after(&h, vital, VITAL_UNKNOWN), SCHED_HEALTHY);
    }
}

static void a_small_disk_has_a_small_bar(void **unused)
{
    const struct health_limits l = HEALTH_LIMITS;
    struct vitals v = well();
    struct health h = {0};
    v.is[VITAL_DISK_SIZE] = 10 * gib; /* 5 percent of it are half a GiB */
    v.is[VITAL_DISK_FREE] = gib + (1 << 20);
    health_judge(&v, &l, &h);
    assert_int_equal(h.level, SCHED_HEALTHY);
    v.is[VITAL_DISK_FREE] = gib / 2 - (1 << 20);
    health_judge(&v, &l, &h);
    assert_int_equal(h.level, SCHED_UNHEALTHY);
}

static void assert_text(const struct vitals *v, const struct health *h, const char *wanted)
{
    const struct health_limits l = HEALTH_LIMITS;
    _cleanup_free_ char *text = health_text(v, &l, h);
    assert_string_equal(text ? text : "(none)", wanted);
}

static void what_is_wrong_is_told_by_the_numbers(void **unused)
{
    const struct health_limits l = HEALTH_LIMITS;
    struct vitals v = well();
    struct health h = {0};
    health_judge(&v, &l, &h);
    assert_text(&v, &h, "(none)");
    v.is[VITAL_DISK_FREE] = gib;
    v.is[VITAL_MEMORY] = 2512;
    health_judge(&v, &l, &h);
    assert_text(&v, &h,
                "disk: 1 GiB of 80 GiB free (no new tasks below 2 GiB, until 2.67 GiB); "
                "memory pressure: 25.12% of the last minute (behind other nodes from 20%, until 15%)");
    v = well();
    v.is[VITAL_INODES_FREE] = 17;
    v.is[VITAL_KEEPER_MS] = 12345;
    v.is[VITAL_CLOCK_MS] = -3600000;
    h = (struct health){0};
    health_judge(&v, &l, &h);
    assert_int_equal(h.cause, HEALTH_INODES);
    assert_text(&v, &h,
                "inodes: 17 of 1000000 free (no new tasks below 20000, until 26667); "
                "keeper: no answer for 12.3s (no new tasks from 10s, until 7.5s); "
                "clock: 3600s behind most nodes' (no new tasks from 10s, until 7.5s)");
}

static void limits_are_set_and_what_is_none_is_refused(void **unused)
{
    struct health_limits l;
    struct err err;
    assert_ok(health_limits_parse("", &l, &err), &err);
    assert_int_equal(l.disk_bytes, 2 * gib);
    assert_int_equal(l.io_percent, 0);
    assert_ok(health_limits_parse("disk=10%, io=off clock=1500ms", &l, &err), &err);
    assert_int_equal(l.disk_percent, 10);
    assert_int_equal(l.disk_bytes, INT64_MAX);
    assert_int_equal(l.io_percent, 0);
    assert_int_equal(l.clock_ms, 1500);
    assert_int_equal(l.memory_percent, 40);
    struct vitals v = well();
    struct health h = {0};
    v.is[VITAL_IO] = 10000;
    health_judge(&v, &l, &h);
    assert_int_equal(h.level, SCHED_HEALTHY);
    v.is[VITAL_DISK_FREE] = 7 * gib;
    health_judge(&v, &l, &h);
    assert_int_equal(h.level, SCHED_UNHEALTHY);
    assert_ok(health_limits_parse("off", &l, &err), &err);
    health_judge(&v, &l, &h);
    assert_int_equal(h.level, SCHED_HEALTHY);
    static const char *const bad[] = {"disk",    "disk=",    "disk=-1", "disk=0%",   "io=100%",   "io=5",
                                      "clock=x", "clock=0s", "on",      "disk=1g=2", "keeper=25h"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (health_limits_parse(bad[i], &l, &err) == 0)
            fail_msg("\"%s\" was taken", bad[i]);
        assert_non_null(strstr(err.msg, bad[i]));
    }
}

static void another_nodes_numbers_are_bounded(void **unused)
{
    struct vitals v, again;
    struct err err;
    json_t *list = NULL;
    static const char text[] = "[1, 2, -3, \"x\", 5.5, null, 9223372036854775807, -9, 7]";
    assert_ok(json_parse(text, strlen(text), "vitals", &list, &err), &err);
    vitals_parse(list, &v);
    static const int64_t want[VITAL_COUNT] = {
        1, 2, VITAL_UNKNOWN, VITAL_UNKNOWN, VITAL_UNKNOWN, VITAL_UNKNOWN, VITAL_UNKNOWN, -9};
    for (int i = 0; i < VITAL_COUNT; i++)
        assert_int_equal(v.is[i], want[i]);
    json_t *told = vitals_format(&v);
    vitals_parse(told, &again);
    assert_memory_equal(&v, &again, sizeof(v));
    vitals_parse(NULL, &again);
    assert_int_equal(again.is[VITAL_DISK_FREE], VITAL_UNKNOWN);
    json_decref(list);
    json_decref(told);
}

static void pressure_is_read_as_the_kernel_writes_it(void **unused)
{
    assert_int_equal(vitals_pressure("some avg10=70.37 avg60=78.87 avg300=54.16 total=301489829\n"
                                     "full avg10=0.10 avg60=1.25 avg300=0.00 total=12\n"),
                     125);
    assert_int_equal(vitals_pressure("some avg10=70.37 avg60=78.87 avg300=54.16 total=301489829\n"),
                     VITAL_UNKNOWN);
    assert_int_equal(vitals_pressure("full avg60=soon"), VITAL_UNKNOWN);
    assert_int_equal(vitals_pressure("full avg60=101"), VITAL_UNKNOWN);
    assert_int_equal(vitals_pressure(""), VITAL_UNKNOWN);
}

static void a_way_that_takes_long_is_no_clock_that_is_wrong(void **unused)
{
    assert_int_equal(vitals_clock(1000, 1001, 6001, 6002), 0);
    assert_int_equal(vitals_clock(1000, 31000, 36000, 96000), 0); /* half a minute there, a minute back */
    assert_int_equal(vitals_clock(61000, 1010, 6010, 66020), 59990);
    assert_int_equal(vitals_clock(1000, 61000, 66000, 6020), -59980);
    assert_int_equal(vitals_clock(61000, 1010, 6010, 6020), VITAL_UNKNOWN); /* set back meanwhile */
    int64_t of_three[] = {0, 3600100, 3600000}, of_two[] = {3600000, 0}, of_four[] = {0, 5, 3600000, 7};
    assert_int_equal(vitals_common_clock(of_three, 3), 3600000);
    assert_int_equal(vitals_common_clock(of_two, 2), 0);
    assert_int_equal(vitals_common_clock(of_four, 4), 5);
    assert_int_equal(vitals_common_clock(NULL, 0), 0);
}

static void this_machine_is_measured(void **unused)
{
    struct vitals v;
    vitals_clear(&v);
    vitals_read("/", &v);
    assert_true(v.is[VITAL_DISK_SIZE] > 0 && v.is[VITAL_DISK_FREE] >= 0);
    assert_true(v.is[VITAL_DISK_FREE] < v.is[VITAL_DISK_SIZE]);
    assert_int_equal(v.is[VITAL_CLOCK_MS], VITAL_UNKNOWN);
    vitals_read("/no/such/place", &v);
    assert_int_equal(v.is[VITAL_DISK_SIZE], VITAL_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_signal_has_a_bar_and_is_left_at_a_quarter_less),
        cmocka_unit_test(a_small_disk_has_a_small_bar),
        cmocka_unit_test(what_is_wrong_is_told_by_the_numbers),
        cmocka_unit_test(limits_are_set_and_what_is_none_is_refused),
        cmocka_unit_test(another_nodes_numbers_are_bounded),
        cmocka_unit_test(pressure_is_read_as_the_kernel_writes_it),
        cmocka_unit_test(a_way_that_takes_long_is_no_clock_that_is_wrong),
        cmocka_unit_test(this_machine_is_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
