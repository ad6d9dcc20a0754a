/* Makes the disk fail on demand: loaded into the program under test (LD_PRELOAD), it stands before the calls with which
   files are written.

   SHIM_TRIGGER names a file. While that file is there, its one line says what fails: "ERROR CALL NAME", such as
   "ENOSPC write wellorder.db-wal". ERROR is ENOSPC, EIO or EROFS; CALL is write, torn (half of it is written first), sync,
   truncate, open (for writing; with ENOSPC, to make a file) or room (write and open); NAME is the end of the file's path, or
   any part of it when a star follows. Each failure adds a byte to the file that SHIM_HITS names.

   SHIM_CLOCK names a file. While it is there, the machine's clock is so many seconds ahead as it says.

   SHIM_NAMES names a file. While it is there, the name in its one line stands for the address behind it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stdarg.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pwrite64)(int, const void *, size_t, off64_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_ftruncate)(int, off_t);
static int (*real_ftruncate64)(int, off64_t);
static int (*real_open)(const char *, int, ...);
static int (*real_clock_gettime)(clockid_t, struct timespec *);
static int (*real_getaddrinfo)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

__attribute__((constructor)) static void find_real(void) {
    *(void **)&real_open = dlsym(RTLD_NEXT, "open64");
    *(void **)&real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    *(void **)&real_getaddrinfo = dlsym(RTLD_NEXT, "getaddrinfo");
    *(void **)&real_write = dlsym(RTLD_NEXT, "write");
    *(void **)&real_pwrite = dlsym(RTLD_NEXT, "pwrite");
    *(void **)&real_pwrite64 = dlsym(RTLD_NEXT, "pwrite64");
    *(void **)&real_fsync = dlsym(RTLD_NEXT, "fsync");
    *(void **)&real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    *(void **)&real_ftruncate = dlsym(RTLD_NEXT, "ftruncate");
    *(void **)&real_ftruncate64 = dlsym(RTLD_NEXT, "ftruncate64");
}

static int ends_with(const char *text, const char *end) {
    size_t text_length = strlen(text), end_length = strlen(end);
    return text_length >= end_length && strcmp(text + text_length - end_length, end) == 0;
}

static int is_meant(const char *path, char *name) {
    size_t length = strlen(name);
    if (length == 0 || name[length - 1] != '*')
        return ends_with(path, name);
    name[length - 1] = 0;
    return strstr(path, name) != NULL;
}

/* What the file holds that this variable names; 0 without one. */
static ssize_t told(const char *variable, char *text, size_t size) {
    const char *path = getenv(variable);
    int saved = errno;
    int file = path && real_open ? real_open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t got = 0;
    if (file >= 0) {
        got = read(file, text, size - 1);
        close(file);
    }
    errno = saved;
    text[got > 0 ? got : 0] = 0;
    return got;
}

/* The error with which this call on the file at this path must fail, or 0; *torn says whether half of a write goes through. */
static int failure_at(const char *path, const char *call, int *torn) {
    const char *hits = getenv("SHIM_HITS");
    char order[256] = {0}, error[32], kind[32], name[128];
    if (told("SHIM_TRIGGER", order, sizeof order) <= 0 || sscanf(order, "%31s %31s %127s", error, kind, name) != 3)
        return 0;
    int writes = strcmp(call, "write") == 0;
    *torn = writes && strcmp(kind, "torn") == 0;
    int room = strcmp(kind, "room") == 0 && (writes || strcmp(call, "open") == 0);
    if (!*torn && !room && strcmp(kind, call) != 0)
        return 0;
    if (!is_meant(path, name))
        return 0;
    if (strcmp(call, "open") == 0 && strcmp(error, "ENOSPC") == 0 && access(path, F_OK) == 0)
        return 0;
    int log = hits ? real_open(hits, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (log >= 0) {
        if (real_write(log, ".", 1) < 0) {
            /* Then this failure is not counted. */
        }
        close(log);
    }
    return strcmp(error, "EIO") == 0 ? EIO : strcmp(error, "EROFS") == 0 ? EROFS : ENOSPC;
}

static int failure(int fd, const char *call, int *torn) {
    char link[64], path[4096];
    int saved = errno;
    if (!getenv("SHIM_TRIGGER"))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = saved;
    if (length <= 0)
        return 0;
    path[length] = 0;
    return failure_at(path, call, torn);
}

#define FAIL_WRITE(HALF)                                                                                             \
    int torn = 0, error = failure(fd, "write", &torn);                                                               \
    if (error) {                                                                                                     \
        if (torn && count > 1) {                                                                                     \
            count /= 2;                                                                                              \
            if ((HALF) < 0)                                                                                          \
                return -1;                                                                                           \
        }                                                                                                            \
        errno = error;                                                                                               \
        return -1;                                                                                                   \
    }

ssize_t write(int fd, const void *bytes, size_t count) {
    FAIL_WRITE(real_write(fd, bytes, count))
    return real_write(fd, bytes, count);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) {
    FAIL_WRITE(real_pwrite(fd, bytes, count, at))
    return real_pwrite(fd, bytes, count, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    FAIL_WRITE(real_pwrite64(fd, bytes, count, at))
    return real_pwrite64(fd, bytes, count, at);
}

#define FAIL(CALL)                                                                                                   \
    int torn = 0, error = failure(fd, CALL, &torn);                                                                  \
    if (error) {                                                                                                     \
        errno = error;                                                                                               \
        return -1;                                                                                                   \
    }

int fsync(int fd) {
    FAIL("sync")
    return real_fsync(fd);
}

int fdatasync(int fd) {
    FAIL("sync")
    return real_fdatasync(fd);
}

int ftruncate(int fd, off_t length) {
    FAIL("truncate")
    return real_ftruncate(fd, length);
}

int ftruncate64(int fd, off64_t length) {
    FAIL("truncate")
    return real_ftruncate64(fd, length);
}

static int opened(const char *path, int flags, mode_t mode) {
    int torn = 0, error = 0;
    if (!real_open)
        find_real();
    if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) != 0)
        error = failure_at(path, "open", &torn);
    if (error) {
        errno = error;
        return -1;
    }
    return real_open(path, flags, mode);
}

#define OPENED                                                                                                       \
    va_list rest;                                                                                                    \
    va_start(rest, flags);                                                                                           \
    mode_t mode = (flags & O_CREAT) ? va_arg(rest, mode_t) : 0;                                                      \
    va_end(rest);                                                                                                    \
    return opened(path, flags, mode);

int open(const char *path, int flags, ...) {
    OPENED
}

int open64(const char *path, int flags, ...) {
    OPENED
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    char ahead[32];
    if (!real_clock_gettime)
        find_real();
    int failed = real_clock_gettime(clock, time);
    if (!failed && clock == CLOCK_REALTIME && getenv("SHIM_CLOCK") && told("SHIM_CLOCK", ahead, sizeof ahead) > 0)
        time->tv_sec += atol(ahead);
    return failed;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    char line[256], name[128], address[64];
    if (!real_getaddrinfo)
        find_real();
    if (node && getenv("SHIM_NAMES") && told("SHIM_NAMES", line, sizeof line) > 0 &&
        sscanf(line, "%127s %63s", name, address) == 2 && strcmp(node, name) == 0)
        node = address;
    return real_getaddrinfo(node, service, hints, found);
}
