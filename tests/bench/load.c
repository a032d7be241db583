// Times the loading of a module.
//
// usage: load MODULE
//
// Opens MODULE with dlopen(3), as glibc opens its NSS modules, and prints the nanoseconds it took. A process can do
// this once: it is to be started anew for every measurement.

#include <dlfcn.h>
#include <stdio.h>
#include <time.h>

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: load MODULE\n");
        return 2;
    }
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    void *module = dlopen(argv[1], RTLD_NOW);
    clock_gettime(CLOCK_MONOTONIC, &end);
    if (!module) {
        fprintf(stderr, "load: %s\n", dlerror());
        return 1;
    }
    printf("%lld\n", (end.tv_sec - start.tv_sec) * 1000000000LL + end.tv_nsec - start.tv_nsec);
    return 0;
}
