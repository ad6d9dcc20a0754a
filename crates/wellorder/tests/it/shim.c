/* Makes the disk fail on demand: loaded into the program under test (LD_PRELOAD), it stands before the calls with which
   files are written.

   SHIM_TRIGGER names a file. While that file is there, its one line says what fails: "ERROR CALL NAME", such as
   "ENOSPC write wellorder.db-wal". ERROR is ENOSPC or EIO; CALL is write, torn (half of it is written first), sync or
   truncate; NAME is the end of the file's path. Each failure adds a byte to the file that SHIM_HITS names. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pwrite64)(int, const void *, size_t, off64_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_ftruncate)(int, off_t);
static int (*real_ftruncate64)(int, off64_t);

__attribute__((constructor)) static void find_real(void) {
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

/* The error with which this call on this file must fail, or 0; *torn says whether half of a write goes through. */
static int failure(int fd, const char *call, int *torn) {
    const char *trigger = getenv("SHIM_TRIGGER"), *hits = getenv("SHIM_HITS");
    char order[256] = {0}, error[32], kind[32], name[128], link[64], path[4096];
    int saved = errno;
    int found = trigger ? open(trigger, O_RDONLY | O_CLOEXEC) : -1;
    if (found < 0) {
        errno = saved;
        return 0;
    }
    ssize_t got = read(found, order, sizeof order - 1);
    close(found);
    errno = saved;
    if (got <= 0 || sscanf(order, "%31s %31s %127s", error, kind, name) != 3)
        return 0;
    *torn = strcmp(kind, "torn") == 0 && strcmp(call, "write") == 0;
    if (!*torn && strcmp(kind, call) != 0)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = saved;
    if (length <= 0)
        return 0;
    path[length] = 0;
    if (!ends_with(path, name))
        return 0;
    int log = hits ? open(hits, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (log >= 0) {
        if (real_write(log, ".", 1) < 0) {
            /* Then this failure is not counted. */
        }
        close(log);
    }
    return strcmp(error, "EIO") == 0 ? EIO : ENOSPC;
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
