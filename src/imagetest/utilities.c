#include "imagetest/utilities.h"

#include "base/str.h"

#include <ctype.h>

static const struct {
    const char *kind;
    const char *names[40];
} utilities[] = {
    {"shell",
     {"sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "fish", "csh", "tcsh", "rbash", "busybox",
      "toybox"}},
    {"compiler",
     {"gcc",   "cc",    "g++", "c++",   "clang", "clang++", "tcc", "cpp",      "ld",   "as",  "make",
      "cmake", "ninja", "go",  "rustc", "cargo", "javac",   "ghc", "gfortran", "nasm", "yasm"}},
    {"package manager",
     {"apt",    "apt-get", "aptitude", "dpkg",    "rpm",    "yum",      "dnf",   "microdnf", "apk",
      "pacman", "zypper",  "snap",     "flatpak", "opkg",   "pip",      "pip3",  "pipx",     "npm",
      "npx",    "yarn",    "pnpm",     "gem",     "bundle", "composer", "conda", "cpan",     "luarocks"}},
    {"network tool", {"curl",  "wget",   "nc",      "ncat",  "netcat", "nc.openbsd", "nc.traditional",
                      "socat", "telnet", "ftp",     "tftp",  "ssh",    "scp",        "sftp",
                      "sshd",  "nmap",   "tcpdump", "rsync", "dig",    "nslookup"}},
    {"debugger", {"gdb", "gdbserver", "lldb", "strace", "ltrace", "perf", "bpftrace"}},
    {"privilege tool",
     {"su", "sudo", "doas", "pkexec", "runuser", "nsenter", "unshare", "chroot", "mount", "umount", "passwd",
      "chsh", "chfn", "newgrp", "gpasswd"}},
};

static bool in_program_directory(const char *path)
{
    static const char *const directories[] = {"bin/",           "sbin/",           "usr/bin/", "usr/sbin/",
                                              "usr/local/bin/", "usr/local/sbin/", "opt/bin/"};
    for (size_t i = 0; i < ARRAY_SIZE(directories); i++) {
        const char *rest = str_after(path, directories[i]);
        if (rest && *rest && !strchr(rest, '/'))
            return true;
    }
    return false;
}

/* Without "-12" or "-12.3" at the end. */
static size_t without_version(const char *name)
{
    size_t n = strlen(name), m = n;
    while (m && (isdigit((unsigned char)name[m - 1]) || name[m - 1] == '.'))
        m--;
    return m < n && m > 1 && name[m - 1] == '-' ? m - 1 : n;
}

static bool is(const char *program, size_t n, const char *utility)
{
    size_t m = strlen(utility);
    if (n == m)
        return strncmp(program, utility, n) == 0;
    /* Behind a triplet: "x86_64-linux-gnu-gcc". */
    return n > m + 4 && program[n - m - 1] == '-' && strncmp(program + n - m, utility, m) == 0 &&
           memmem(program, n - m, "-linux-", 7);
}

const char *utility_kind(const char *path)
{
    if (!in_program_directory(path))
        return NULL;
    const char *name = strrchr(path, '/') + 1;
    size_t n = without_version(name);
    for (size_t i = 0; i < ARRAY_SIZE(utilities); i++)
        for (const char *const *u = utilities[i].names; *u; u++)
            if (is(name, n, *u))
                return utilities[i].kind;
    return NULL;
}
