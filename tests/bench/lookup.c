// Times lookups as a program makes them, in a process that reads nsswitch.conf anew.
//
// usage: lookup name|address TEXT COUNT
//
// Looks TEXT up COUNT times after a few times that do not count, and prints the median and the 99th percentile in
// nanoseconds, and what was found.

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int compare(const void *a, const void *b) {
    long long x = *(const long long *)a, y = *(const long long *)b;
    return (x > y) - (x < y);
}

// Returns how many addresses the name has, or the error of getaddrinfo(3), which is negative.
static int look_up_name(const char *name) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
    int error = getaddrinfo(name, NULL, &hints, &list);
    if (error) return error < 0 ? error : -error;
    int count = 0;
    for (struct addrinfo *entry = list; entry; entry = entry->ai_next) count++;
    freeaddrinfo(list);
    return count;
}

// Returns 1, or the error of getnameinfo(3).
static int look_up_address(const char *text) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    char name[NI_MAXHOST];
    if (inet_pton(AF_INET, text, &address.sin_addr) != 1) exit(2);
    int error = getnameinfo((struct sockaddr *)&address, sizeof address, name, sizeof name, NULL, 0, NI_NAMEREQD);
    return error ? error : 1;
}

int main(int argc, char **argv) {
    int count = argc == 4 ? atoi(argv[3]) : 0;
    if (count < 1) {
        fprintf(stderr, "usage: lookup name|address TEXT COUNT\n");
        return 2;
    }
    int (*look_up)(const char *) = strcmp(argv[1], "address") ? look_up_name : look_up_address;
    long long *times = calloc(count, sizeof *times);
    if (!times) return 1;
    int found = 0;
    for (int i = 0; i < count / 20 + 1; i++) found = look_up(argv[2]);
    for (int i = 0; i < count; i++) {
        long long start = now();
        int again = look_up(argv[2]);
        times[i] = now() - start;
        if (again != found) {
            fprintf(stderr, "lookup: %s: first %d, then %d\n", argv[2], found, again);
            return 1;
        }
    }
    qsort(times, count, sizeof *times, compare);
    printf("%lld %lld %d\n", times[count / 2], times[(count - 1) * 99 / 100], found);
    return 0;
}
