#include <machine.h>
#include <stdio.h>

/* The containers that run, and what could not be read. */
int main(void) {
  struct machine_list *list;
  const struct machine *m;
  const char *name;
  size_t i;
  int error;
  if (machine_list_new(0, &list) < 0) return 1;
  machine_list_keep_alive(list);
  machine_list_keep_class(list, "container");
  for (i = 0; (m = machine_list_get_machine(list, i)) != NULL; i++) puts(machine_get_name(m));
  for (i = 0; machine_list_get_failure(list, i, &name, &error) == 1; i++)
    fprintf(stderr, "%s: %s\n", name, machine_strerror(error));
  machine_list_free(list);
  return 0;
}
