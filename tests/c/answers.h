// What libmachine answers, in forms that are short to check.
#ifndef C_ANSWERS_H
#define C_ANSWERS_H

#include <machine.h>

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// machine_batch_new() as an array of texts in one piece of memory, with NULL behind them: how many are in a machine.
static inline int paths_of(const pid_t *pids, size_t n, char ***paths) {
    struct machine_batch *batch = NULL;
    int r = machine_batch_new(pids, n, 0, &batch);
    if (r < 0)
        return r;
    size_t size = (n + 1) * sizeof(char *);
    for (size_t i = 0; i < n; i++)
        if (machine_batch_get_path(batch, i))
            size += strlen(machine_batch_get_path(batch, i)) + 1;
    char **list = malloc(size);
    if (!list) {
        machine_batch_free(batch);
        return -ENOMEM;
    }
    char *text = (char *)(list + n + 1);
    for (size_t i = 0; i <= n; i++) {
        const char *path = machine_batch_get_path(batch, i);
        list[i] = path ? text : NULL;
        for (size_t length = 0; path && (length == 0 || path[length - 1]); length++)
            *text++ = path[length];
    }
    r = machine_batch_get_found(batch);
    machine_batch_free(batch);
    *paths = list;
    return r;
}

// An event of a monitor, copied.
struct told {
    int change;
    char name[MACHINE_NAME_MAX + 1];
    // 0 where the event has none.
    uint64_t incarnation;
    bool has_machine;
};

static inline int next_event(struct machine_monitor *monitor, struct told *told) {
    const struct machine_event *event = NULL;
    int r = machine_monitor_next(monitor, &event);
    if (r == 1) {
        const char *name = machine_event_get_name(event);
        memset(told, 0, sizeof *told);
        told->change = machine_event_get_change(event);
        strcpy(told->name, name ? name : "");
        if (machine_event_get_incarnation(event, &told->incarnation) < 0)
            told->incarnation = 0;
        told->has_machine = machine_event_get_machine(event) != NULL;
    }
    return r;
}

#endif
