/* What the program tells its caller: lines in the log file that engines read the reason of a failure from,
 * and the same reason on stderr. */
#ifndef OCI_REPORT_H
#define OCI_REPORT_H

#include "oci/options.h"

/* Opens --log (appending, made when missing). Without it the log is stderr. */
int report_open(const struct oci_args *args, struct err *err);
void report_error(const char *message);
void report_warning(const char *format, ...) _printf_(1, 2);
void report_debug(const char *format, ...) _printf_(1, 2); /* only with --debug */

#endif
