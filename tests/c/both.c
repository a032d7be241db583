// A process with both libraries: each part of it gets its functions from the library that it was linked with. Built three
// times: as a shared object against each library (-DPART=NAME), and as the program that is linked with both objects.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifdef PART
#ifdef SYSTEMD
#include <systemd/sd-login.h>
#else
#include <machine.h>
#endif
const char *PART(void);
// The library that this part's sd_get_machine_names() is in.
const char *PART(void) {
    Dl_info info;
    return sd_get_machine_names(NULL) >= 0 && dladdr((void *)sd_get_machine_names, &info) ? info.dli_fname : "none";
}
#else
const char *with_libmachine(void);
const char *with_libsystemd(void);

int main(void) {
    int failed = 0;
    if (!strstr(with_libmachine(), "libmachine.so.0")) {
        printf("FAILED what is linked with libmachine gets %s\n", with_libmachine());
        failed = 1;
    } else
        printf("ok what is linked with libmachine gets it\n");
    if (!strstr(with_libsystemd(), "libsystemd.so.0")) {
        printf("FAILED what is linked with libsystemd gets %s\n", with_libsystemd());
        failed = 1;
    } else
        printf("ok what is linked with libsystemd gets it\n");
    return failed;
}
#endif
