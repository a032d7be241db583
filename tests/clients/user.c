// Users and groups as a static program asks for them, which loads no module: it knows /etc/passwd, and asks nscd.
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
  const struct passwd *user = NULL;
  const struct group *group = NULL;
  if (argc != 3)
    return 64;
  if (strcmp(argv[1], "uid") == 0)
    user = getpwuid((uid_t)strtoul(argv[2], NULL, 10));
  else if (strcmp(argv[1], "user") == 0)
    user = getpwnam(argv[2]);
  else if (strcmp(argv[1], "gid") == 0)
    group = getgrgid((gid_t)strtoul(argv[2], NULL, 10));
  else
    group = getgrnam(argv[2]);
  if (user)
    printf("%s %u\n", user->pw_name, (unsigned)user->pw_uid);
  else if (group)
    printf("%s %u\n", group->gr_name, (unsigned)group->gr_gid);
  else
    return 2;
  return 0;
}
