#include <errno.h>
#include <machine.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* Whose a file is. */
int main(int argc, char **argv) {
  struct stat file;
  uid_t inside;
  char *name;
  int r;
  if (stat(argc > 1 ? argv[1] : "/", &file) != 0) return 1;
  r = machine_name_by_uid(file.st_uid, 0, &name, &inside);
  if (r == 0) {
    printf("user %lu of %s\n", (unsigned long)inside, name);
    free(name);
  } else {
    puts(r == -ENOTUNIQ ? "more than one machine has that user" : "a user of the host");
  }
  return 0;
}
