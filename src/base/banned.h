/* Functions that may not be used, each with the one that serves instead. Included on every compiler's
 * command line, after the system headers that declare them, so that a use fails the build. */
#ifndef BASE_BANNED_H
#define BASE_BANNED_H

/* clang-format off */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#undef strcpy
#undef strcat
#undef strncat
#undef strtok
#undef sprintf
#undef vsprintf
#undef atoi
#undef atol
#undef atoll
#undef gets
#define strcpy(...)    banned_use_str_or_snprintf_for_strcpy
#define strcat(...)    banned_use_str_for_strcat
#define strncat(...)   banned_use_str_for_strncat
#define strtok(...)    banned_use_strv_split_for_strtok
#define sprintf(...)   banned_use_str_addf_or_snprintf_for_sprintf
#define vsprintf(...)  banned_use_str_vaddf_or_vsnprintf_for_vsprintf
#define atoi(...)      banned_use_parse_i64_for_atoi
#define atol(...)      banned_use_parse_i64_for_atol
#define atoll(...)     banned_use_parse_i64_for_atoll
#define gets(...)      banned_use_getline_for_gets
#define localtime(...) banned_use_localtime_r
#define gmtime(...)    banned_use_gmtime_r
#define ctime(...)     banned_use_time_format
#define asctime(...)   banned_use_time_format
/* clang-format on */

#endif
