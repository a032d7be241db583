// Control groups that processes seem to be in: a file of ours over /proc/PID/cgroup, in the private mount namespace that
// the tests run in. So any path can be tried, on any host.
#pragma once

#include <sys/types.h>

// Makes a process seem to be in the group with this path of the unified hierarchy, and of systemd's own.
void seem_in(pid_t pid, const char *path);

// Makes this the text of /proc/PID/cgroup.
void seem_to_have(pid_t pid, const char *text);

// Hides a process from all who look into /proc, as hidepid of proc(5) does; for this test alone.
void hide_process(pid_t pid);
