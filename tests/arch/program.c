/* What a program of another processor gets from libmachine: names by value and by pointer, and an error as a number. */
#include <machine.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

int main(void) {
  char name[MACHINE_NAME_MAX + 1];
  int failed = 0;
  if (machine_name_check("web") != 0 || machine_name_check("foo_bar") != MACHINE_RULE_BYTE) failed = puts("machine_name_check");
  if (machine_name_suggest("foo_bar", name, sizeof name) != 0 || strcmp(name, "foo-bar") != 0) failed = puts("machine_name_suggest");
  if (sd_machine_get_class("no.such.machine", NULL) != -ENXIO) failed = puts("sd_machine_get_class");
  if (sd_pid_get_machine_name(-1, NULL) != -EINVAL) failed = puts("sd_pid_get_machine_name");
  if (sd_pid_get_machine_name(0x7fffffff, NULL) != -ESRCH) failed = puts("of no process");
  if (libmachine_version_number() != LIBMACHINE_VERSION_NUMBER) failed = puts("libmachine_version_number");
  return failed != 0;
}
