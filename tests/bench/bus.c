// A client of org.freedesktop.machine1 on a connection that is kept.
//
// usage: bus
//
// Reads a command a line from standard input, and answers each with a line, which begins with the nanoseconds that the
// call took, or with `error` and the name of the error:
//   register NAME PID     RegisterMachine, as a container
//   unregister NAME
//   list                  ListMachines; followed by how many there were
//   get NAME              GetMachine
//   pty NAME              OpenMachinePTY
//   shell NAME            OpenMachineShell of true(1); its end is waited for, and does not count
//   copy NAME FROM TO     CopyToMachine
//   slowest NAME          GetMachine again and again until the next line comes; the slowest, and how many there were

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <time.h>
#include <unistd.h>

static sd_bus *bus;
static char error_name[256];

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static sd_bus_message *message(const char *member) {
    sd_bus_message *call = NULL;
    if (sd_bus_message_new_method_call(bus, &call, "org.freedesktop.machine1", "/org/freedesktop/machine1",
                                       "org.freedesktop.machine1.Manager", member) < 0)
        exit(2);
    return call;
}

// Takes the call; returns the nanoseconds until its answer was there, or -1.
static long long exchange(sd_bus_message *call, sd_bus_message **reply) {
    sd_bus_error error = SD_BUS_ERROR_NULL;
    long long began = now();
    int status = sd_bus_call(bus, call, 300 * 1000000ULL, &error, reply);
    long long took = now() - began;
    sd_bus_message_unref(call);
    if (status < 0) {
        snprintf(error_name, sizeof error_name, "%s", error.name ? error.name : strerror(-status));
        sd_bus_error_free(&error);
        return -1;
    }
    return took;
}

static long long simple(const char *member, const char *name) {
    sd_bus_message *call = message(member), *reply = NULL;
    if (sd_bus_message_append(call, "s", name) < 0) exit(2);
    long long took = exchange(call, &reply);
    sd_bus_message_unref(reply);
    return took;
}

static long long enroll(const char *name, unsigned pid) {
    sd_bus_message *call = message("RegisterMachine"), *reply = NULL;
    if (sd_bus_message_append(call, "s", name) < 0 || sd_bus_message_append_array(call, 'y', NULL, 0) < 0 ||
        sd_bus_message_append(call, "ssus", "bench", "container", pid, "") < 0)
        exit(2);
    long long took = exchange(call, &reply);
    sd_bus_message_unref(reply);
    return took;
}

static long long list(int *count) {
    sd_bus_message *reply = NULL;
    long long took = exchange(message("ListMachines"), &reply);
    *count = 0;
    if (took >= 0 && sd_bus_message_enter_container(reply, 'a', "(ssso)") > 0)
        while (sd_bus_message_skip(reply, "(ssso)") > 0) ++*count;
    sd_bus_message_unref(reply);
    return took;
}

// Waits until nobody has the other end of a terminal any more.
static void wait_for_hangup(int terminal) {
    char bytes[256];
    while (read(terminal, bytes, sizeof bytes) > 0) continue;
}

static long long open_terminal(const char *name, int with_shell) {
    sd_bus_message *call = message(with_shell ? "OpenMachineShell" : "OpenMachinePTY"), *reply = NULL;
    if (sd_bus_message_append(call, "s", name) < 0) exit(2);
    if (with_shell && sd_bus_message_append(call, "ssasas", "root", "/bin/true", 0, 0) < 0) exit(2);
    long long took = exchange(call, &reply);
    int terminal;
    if (took >= 0 && sd_bus_message_read(reply, "hs", &terminal, NULL) < 0) exit(2);
    if (took >= 0 && with_shell) wait_for_hangup(terminal);
    sd_bus_message_unref(reply);
    return took;
}

static long long copy(const char *name, const char *source, const char *destination) {
    sd_bus_message *call = message("CopyToMachine"), *reply = NULL;
    if (sd_bus_message_append(call, "sss", name, source, destination) < 0) exit(2);
    long long took = exchange(call, &reply);
    sd_bus_message_unref(reply);
    return took;
}

static long long slowest(const char *name, int *count) {
    struct pollfd input = {.fd = 0, .events = POLLIN};
    long long most = 0;
    for (*count = 0; poll(&input, 1, 0) == 0; ++*count) {
        long long took = simple("GetMachine", name);
        if (took < 0) return -1;
        if (took > most) most = took;
    }
    return most;
}

int main(void) {
    char line[512];
    if (sd_bus_open_system(&bus) < 0) return 2;
    setvbuf(stdin, NULL, _IONBF, 0);
    while (fgets(line, sizeof line, stdin)) {
        char word[16] = "", name[128] = "", source[128] = "", destination[128] = "";
        unsigned pid = 0;
        int count = -1;
        long long took;
        if (sscanf(line, "%15s %127s %u", word, name, &pid) < 1) continue;
        if (!strcmp(word, "register")) took = enroll(name, pid);
        else if (!strcmp(word, "unregister")) took = simple("UnregisterMachine", name);
        else if (!strcmp(word, "list")) took = list(&count);
        else if (!strcmp(word, "get")) took = simple("GetMachine", name);
        else if (!strcmp(word, "pty")) took = open_terminal(name, 0);
        else if (!strcmp(word, "shell")) took = open_terminal(name, 1);
        else if (!strcmp(word, "copy") && sscanf(line, "%*s %*s %127s %127s", source, destination) == 2)
            took = copy(name, source, destination);
        else if (!strcmp(word, "slowest")) took = slowest(name, &count);
        else return 2;
        if (took < 0) printf("error %s\n", error_name);
        else if (count >= 0) printf("%lld %d\n", took, count);
        else printf("%lld\n", took);
        fflush(stdout);
    }
    sd_bus_unref(bus);
    return 0;
}
