#include <machine.h>
#include <stdio.h>

/* Whether a text may be the name of a machine, and which name is near. */
int main(int argc, char **argv) {
  const char *text = argc > 1 ? argv[1] : "foo_bar";
  char name[MACHINE_NAME_MAX + 1];
  int rule = machine_name_check(text);
  if (rule <= 0) return rule < 0;
  if (machine_name_suggest(text, name, sizeof name) < 0) return 1;
  printf("%s; try %s\n", machine_name_rule(rule), name);
  return 1;
}
