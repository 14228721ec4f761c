/* The same serial calls through libvirt's own C client: prints the median in ns and user CPU per call in ns. */
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

static long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static long user(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_utime.tv_sec * 1000000000L + usage.ru_utime.tv_usec * 1000L;
}

static int ascending(const void *a, const void *b)
{
    long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    int calls = atoi(argv[2]);
    long *took = calloc(calls, sizeof *took);
    unsigned long version;
    virConnectPtr conn = argc > 2 ? virConnectOpen(argv[1]) : NULL;
    if (!conn)
        return 1;
    for (int i = 0; i < 200; i++)
        virConnectGetLibVersion(conn, &version);
    long cpu = user();
    for (int i = 0; i < calls; i++) {
        long start = now();
        if (virConnectGetLibVersion(conn, &version) < 0)
            return 1;
        took[i] = now() - start;
    }
    cpu = user() - cpu;
    qsort(took, calls, sizeof *took, ascending);
    printf("%ld %ld\n", took[calls / 2], cpu / calls);
    virConnectClose(conn);
    return 0;
}
