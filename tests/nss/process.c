#define _GNU_SOURCE
#include "process.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

pid_t start_process(void) {
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        // PID 1 of a namespace sees a parent outside of it as 0.
        if (getppid() != parent)
            _exit(1);
        for (;;)
            pause();
    }
    REQUIRE(pid > 0);
    return pid;
}

void make_zombie(pid_t pid) {
    siginfo_t info;
    REQUIRE(kill(pid, SIGKILL) == 0);
    REQUIRE(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0);
}

void end_process(pid_t pid) {
    make_zombie(pid);
    REQUIRE(waitpid(pid, NULL, 0) == pid);
}

void in_new_pid_namespace(void (*run)(void)) {
    REQUIRE(unshare(CLONE_NEWPID) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        run();
        _exit(failures() != 0);
    }
    int status;
    REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        FAIL("the process in the new PID namespace ended with status 0x%x", status);
}

void mount_own_proc(void) {
    REQUIRE(unshare(CLONE_NEWNS) == 0);
    REQUIRE(mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0);
}

pid_t start_process_as(pid_t pid) {
    // Kept in the namespace of the process that opens it.
    int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
    REQUIRE(fd >= 0 && dprintf(fd, "%d", (int)pid - 1) > 0);
    close(fd);
    pid_t started = start_process();
    CHECK_EQUAL(started, pid);
    return started;
}
