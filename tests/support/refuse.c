// A system that says no: preloaded, it makes the n-th call of one kind fail with a chosen errno.
//
// refuse_arm(call, n, errno, lasting, under) counts calls of that name whose path (or whose file)
// lies below `under`; calls without a file are all counted. `lasting`: every later one fails, too.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

static char wanted[32], under[4096];
static long at, seen;
static int error_number, lasting;

void refuse_arm(const char* call, long n, int number, int stays, const char* folder) {
  snprintf(wanted, sizeof wanted, "%s", call);
  snprintf(under, sizeof under, "%s", folder);
  at = n, error_number = number, lasting = stays, seen = 0;
}

long refuse_seen(void) { return __atomic_load_n(&seen, __ATOMIC_SEQ_CST); }

// 1, with errno set, if this call is to fail.
static int refused(const char* call, const char* path) {
  if (wanted[0] == 0 || strcmp(call, wanted) != 0) return 0;
  if (path != NULL && strncmp(path, under, strlen(under)) != 0) return 0;
  long now = __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST);
  if (now != at && !(lasting && at > 0 && now > at)) return 0;
  errno = error_number;
  return 1;
}

static int refused_file(const char* call, int file) {
  if (wanted[0] == 0 || strcmp(call, wanted) != 0) return 0;
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  path[length < 0 ? 0 : length] = 0;
  return refused(call, path);
}

#define REAL(name, type) ((type)dlsym(RTLD_NEXT, name))

#define OPEN(name)                                                         \
  int name(const char* path, int flags, ...) {                             \
    va_list rest;                                                          \
    va_start(rest, flags);                                                 \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
    va_end(rest);                                                          \
    if (refused("open", path)) return -1;                                  \
    return REAL(#name, int (*)(const char*, int, ...))(path, flags, mode); \
  }
OPEN(open)
OPEN(open64)

int rename(const char* from, const char* to) {
  if (refused("rename", to)) return -1;
  return REAL("rename", int (*)(const char*, const char*))(from, to);
}

int mkdir(const char* path, mode_t mode) {
  if (refused("mkdir", path)) return -1;
  return REAL("mkdir", int (*)(const char*, mode_t))(path, mode);
}

int unlink(const char* path) {
  if (refused("unlink", path)) return -1;
  return REAL("unlink", int (*)(const char*))(path);
}

int truncate64(const char* path, off64_t size) {
  if (refused("truncate", path)) return -1;
  return REAL("truncate64", int (*)(const char*, off64_t))(path, size);
}

int truncate(const char* path, off_t size) {
  if (refused("truncate", path)) return -1;
  return REAL("truncate", int (*)(const char*, off_t))(path, size);
}

int fsync(int file) {
  if (refused_file("fsync", file)) return -1;
  return REAL("fsync", int (*)(int))(file);
}

int flock(int file, int operation) {
  if (refused_file("flock", file)) return -1;
  return REAL("flock", int (*)(int, int))(file, operation);
}

ssize_t write(int file, const void* data, size_t size) {
  if (refused_file("write", file)) return -1;
  return REAL("write", ssize_t(*)(int, const void*, size_t))(file, data, size);
}

ssize_t read(int file, void* data, size_t size) {
  if (refused_file("read", file)) return -1;
  return REAL("read", ssize_t(*)(int, void*, size_t))(file, data, size);
}

#define MAP(name, offset)                                                              \
  void* name(void* place, size_t size, int how, int flags, int file, offset start) {   \
    int no = file < 0 ? size >= 1 << 20 && refused("map", NULL)                        \
                      : refused_file("mmap", file);                                    \
    if (no) return MAP_FAILED;                                                         \
    return REAL(#name, void* (*)(void*, size_t, int, int, int, offset))(place, size,   \
                                                                        how, flags,    \
                                                                        file, start);  \
  }
MAP(mmap, off_t)
MAP(mmap64, off64_t)

pid_t fork(void) {
  if (refused("fork", NULL)) return -1;
  return REAL("fork", pid_t (*)(void))();
}

pid_t vfork(void) {  // a wrapper may not return twice on one stack, so a plain fork takes its place
  if (refused("fork", NULL)) return -1;
  return REAL("fork", pid_t (*)(void))();
}

int pthread_create(pthread_t* thread, const pthread_attr_t* how, void* (*start)(void*), void* with) {
  if (refused("thread", NULL)) return error_number;
  return REAL("pthread_create", int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*))(
      thread, how, start, with);
}
