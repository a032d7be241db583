/* Calls of org.freedesktop.machine1 about images, each told by its time: one line of nanoseconds for each line of input. */
#include <stdio.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <time.h>

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(void) {
    char line[256], word[16], name[128], other[128];
    sd_bus *bus = NULL;
    if (sd_bus_open_system(&bus) < 0) return 2;
    setvbuf(stdin, NULL, _IONBF, 0);
    while (fgets(line, sizeof line, stdin)) {
        sd_bus_message *call = NULL, *reply = NULL;
        sd_bus_error error = SD_BUS_ERROR_NULL;
        int words = sscanf(line, "%15s %127s %127s", word, name, other), count = 0;
        const char *member = !strcmp(word, "list") ? "ListImages" : !strcmp(word, "clone") ? "CloneImage" :
            !strcmp(word, "remove") ? "RemoveImage" : !strcmp(word, "os-release") ? "GetImageOSRelease" : NULL;
        if (!member || sd_bus_message_new_method_call(bus, &call, "org.freedesktop.machine1", "/org/freedesktop/machine1",
                                                      "org.freedesktop.machine1.Manager", member) < 0)
            return 2;
        if (words == 2 && sd_bus_message_append(call, "s", name) < 0) return 2;
        if (words == 3 && sd_bus_message_append(call, "ssb", name, other, 0) < 0) return 2;
        long long began = now();
        int status = sd_bus_call(bus, call, 300 * 1000000ULL, &error, &reply);
        long long took = now() - began;
        if (status >= 0 && words == 1 && sd_bus_message_enter_container(reply, 'a', "(ssbttto)") > 0)
            while (sd_bus_message_skip(reply, "(ssbttto)") > 0) ++count;
        if (status >= 0 && !strcmp(word, "os-release") && sd_bus_message_enter_container(reply, 'a', "{ss}") > 0)
            while (sd_bus_message_skip(reply, "{ss}") > 0) ++count;
        if (status < 0) printf("error %s\n", error.name ? error.name : strerror(-status));
        else printf("%lld %d\n", took, count);
        fflush(stdout);
        sd_bus_error_free(&error);
        sd_bus_message_unref(call);
        sd_bus_message_unref(reply);
    }
    sd_bus_unref(bus);
    return 0;
}
