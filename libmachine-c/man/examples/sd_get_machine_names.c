#include <machine.h>
#include <stdio.h>
#include <stdlib.h>

/* The machines of the host, as sd-login has them. */
int main(void) {
  char **names, *kind;
  int i, n = sd_get_machine_names(&names);
  for (i = 0; i < n; i++) {
    if (sd_machine_get_class(names[i], &kind) == 0) {
      printf("%s: %s\n", names[i], kind);
      free(kind);
    }
    free(names[i]);
  }
  if (n >= 0) free(names);
  return 0;
}
