// Prints the machines that a process is in, or - if there are none: which PID.
#include <machine.h>

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    char *path = NULL;
    int r = argc == 2 ? machine_path_by_pid(atoi(argv[1]), 0, &path) : -1;
    puts(r == 0 ? path : "-");
    free(path);
    return 0;
}
