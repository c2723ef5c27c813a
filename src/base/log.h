/* The log of a long-running process: one line an event on stderr, with time and level. Only edges log. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/mem.h"

#include <stdbool.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };

/* `name` (a literal) tells processes apart: "serve", "keeper". */
void log_init(const char *name, enum log_level least);
bool log_tells(enum log_level level);
void log_at(enum log_level level, const char *format, ...) _printf_(2, 3);

#define log_debug(...)   log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...)    log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warning(...) log_at(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_error(...)   log_at(LOG_LEVEL_ERROR, __VA_ARGS__)

#endif
