#include <machine.h>
#include <stdio.h>

#if LIBMACHINE_VERSION_NUMBER < 1000
#error "this needs libmachine 0.1.0"
#endif

int main(void) {
  printf("built with %s, runs with %s\n", LIBMACHINE_VERSION, libmachine_version());
  return libmachine_version_number() < LIBMACHINE_VERSION_NUMBER;
}
