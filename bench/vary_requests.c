/* Preloaded into h2load, which sends the same body with every request: gives each request a key and a value of its own.

   h2load reads a request's body by pread() from the file that it was given by -d. For that file alone the calls are
   answered here, from memory: the template's bytes, the key replaced by the next one, the value by a piece of a pool
   of random bytes. A call at offset 0 begins a request; the calls that follow for its later frames carry only value,
   so they need not know whose they are. It costs less than the system call that it replaces.

   The environment says what to do:
     BENCH_BODY        the path of the template, as given by -d
     BENCH_KEY         offset and length of the key: "7,16". Its length is that of the digits that are written
     BENCH_VALUE       offset and length of the value: "26,64"; "0,0" if the request has none
     BENCH_KEYS        how many different keys
     BENCH_ORDER       "sequence": key 0, 1, 2, ...; "random": uniformly random, from the seed
     BENCH_SEED        an integer */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { POOL_BYTES = 8 << 20, LONGEST_KEY = 64, HIGHEST_BODY = 4 << 20 };

static struct {
    dev_t device;
    ino_t inode;
    unsigned char *template;
    size_t length;
    size_t key_offset, key_length;
    size_t value_offset, value_length;
    uint64_t keys, seed;
    int in_sequence;
    unsigned char *pool;
} plan;

static atomic_uint_fast64_t next_request;
static atomic_uint_fast64_t next_piece;
static ssize_t (*real_pread)(int, void *, size_t, off_t);

/* splitmix64: a different number for each input, in no visible order. */
static uint64_t scatter(uint64_t number) {
    number += 0x9e3779b97f4a7c15u;
    number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9u;
    number = (number ^ (number >> 27)) * 0x94d049bb133111ebu;
    return number ^ (number >> 31);
}

static void fail(const char *what) {
    fprintf(stderr, "vary_requests: %s\n", what);
    _exit(97);
}

static const char *setting(const char *name) {
    const char *text = getenv(name);
    if (text == NULL)
        fail(name);
    return text;
}

static void read_range(const char *name, size_t *offset, size_t *length) {
    if (sscanf(setting(name), "%zu,%zu", offset, length) != 2 || *offset + *length > plan.length)
        fail(name);
}

static void read_template(void) {
    struct stat status;
    int file = open(setting("BENCH_BODY"), O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &status) != 0 || status.st_size <= 0 || status.st_size > HIGHEST_BODY)
        fail("BENCH_BODY");
    plan.device = status.st_dev;
    plan.inode = status.st_ino;
    plan.length = (size_t)status.st_size;
    plan.template = malloc(plan.length);
    if (plan.template == NULL || real_pread(file, plan.template, plan.length, 0) != status.st_size)
        fail("BENCH_BODY");
    close(file);
}

static void fill_pool(void) {
    plan.pool = malloc(POOL_BYTES);
    if (plan.pool == NULL)
        fail("no memory");
    for (size_t at = 0; at < POOL_BYTES; at += sizeof(uint64_t)) {
        uint64_t number = scatter(plan.seed ^ (at << 20));
        memcpy(plan.pool + at, &number, sizeof number);
    }
}

__attribute__((constructor)) static void prepare(void) {
    real_pread = (ssize_t(*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread");
    read_template();
    read_range("BENCH_KEY", &plan.key_offset, &plan.key_length);
    read_range("BENCH_VALUE", &plan.value_offset, &plan.value_length);
    if (plan.key_length == 0 || plan.key_length > LONGEST_KEY || plan.value_length > POOL_BYTES / 2)
        fail("BENCH_KEY or BENCH_VALUE is too long");
    plan.keys = strtoull(setting("BENCH_KEYS"), NULL, 10);
    plan.seed = strtoull(setting("BENCH_SEED"), NULL, 10);
    plan.in_sequence = strcmp(setting("BENCH_ORDER"), "sequence") == 0;
    if (plan.keys == 0)
        fail("BENCH_KEYS");
    fill_pool();
}

/* Copies what of source, which stands at `at` in the body, falls into the part of the body that is asked for. */
static void overlay(unsigned char *part, size_t start, size_t end, const unsigned char *source, size_t at,
                    size_t length) {
    size_t first = at > start ? at : start;
    size_t last = at + length < end ? at + length : end;
    if (first < last)
        memcpy(part + (first - start), source + (first - at), last - first);
}

static void write_key(unsigned char *key) {
    uint64_t request = atomic_fetch_add(&next_request, 1);
    uint64_t number = (plan.in_sequence ? request : scatter(scatter(plan.seed) + request)) % plan.keys;
    for (size_t place = plan.key_length; place-- > 0; number /= 10)
        key[place] = (unsigned char)('0' + number % 10);
}

static ssize_t varied(unsigned char *part, size_t count, size_t start) {
    size_t left = start < plan.length ? plan.length - start : 0;
    size_t end = start + (count < left ? count : left);
    memcpy(part, plan.template + start, end - start);
    if (start == 0) {
        unsigned char key[LONGEST_KEY];
        write_key(key);
        overlay(part, start, end, key, plan.key_offset, plan.key_length);
    }
    uint64_t piece = scatter(plan.seed + atomic_fetch_add(&next_piece, 1)) % (POOL_BYTES / 2);
    overlay(part, start, end, plan.pool + piece, plan.value_offset, plan.value_length);
    return (ssize_t)(end - start);
}

ssize_t pread(int file, void *part, size_t count, off_t start) {
    struct stat status;
    static _Atomic int body_file = -1;
    if (real_pread == NULL)
        real_pread = (ssize_t(*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread");
    if (file != body_file) {
        if (fstat(file, &status) != 0 || status.st_dev != plan.device || status.st_ino != plan.inode)
            return real_pread(file, part, count, start);
        body_file = file;
    }
    return varied(part, count, (size_t)start);
}

/* The other name of the same call: which of them a program uses depends on how it was compiled. */
ssize_t pread64(int file, void *part, size_t count, off64_t start) { return pread(file, part, count, start); }
