// Processes to be the leaders of machines.
#pragma once

#include <sys/types.h>

// Starts a process that waits to be killed, and dies with its parent.
pid_t start_process(void);

// Kills a process of ours and waits until it is a zombie, or reaps it too.
void make_zombie(pid_t pid);
void end_process(pid_t pid);

// Runs a function as PID 1 of a new PID namespace; the failures it notes are those of the test.
void in_new_pid_namespace(void (*run)(void));

// Shows the processes of the new namespace under /proc, to this process and its children.
void mount_own_proc(void);

// Starts a process with this pid, which must be free. For PID 1 of a PID namespace, where nobody else starts any.
pid_t start_process_as(pid_t pid);
