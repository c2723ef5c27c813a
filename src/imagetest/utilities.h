/* Programs that an image mostly does not need, and an intruder does. */
#ifndef IMAGETEST_UTILITIES_H
#define IMAGETEST_UTILITIES_H

/* What kind of utility a program of this path is ("shell", "compiler", "package manager", "network tool",
 * "debugger", "privilege tool"); NULL: none of the list, or not in a directory of programs. Versions and
 * target triplets in the name do not matter ("gcc-12", "x86_64-linux-gnu-gcc"). */
const char *utility_kind(const char *path);

#endif
