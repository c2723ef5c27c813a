#include "base/name_pattern.h"

#include <stddef.h>
#include <string.h>

/* Row by row over the pattern, fits[j] tells whether what has been seen of it fits the first j characters:
 * stars cost no more than letters, however many a policy's writer puts side by side. */
bool name_pattern_match(const char *pattern, const char *name)
{
    enum { LONGEST = 512 };
    bool fits[LONGEST + 1] = {true};
    size_t n = strlen(name);
    if (n > LONGEST)
        return false;
    for (const char *p = pattern; *p; p++) {
        bool any = p[0] == '*' && p[1] == '*', star = *p == '*';
        bool diagonal = fits[0];
        fits[0] = fits[0] && star;
        for (size_t j = 1; j <= n; j++) {
            bool above = fits[j], within = any || name[j - 1] != '/';
            if (star)
                fits[j] = above || (fits[j - 1] && within);
            else
                fits[j] = diagonal && (*p == '?' ? within : *p == name[j - 1]);
            diagonal = above;
        }
        p += any;
    }
    return fits[n];
}

bool name_patterns_match(char *const *patterns, const char *name)
{
    for (char *const *p = patterns; p && *p; p++)
        if (name_pattern_match(*p, name))
            return true;
    return false;
}
