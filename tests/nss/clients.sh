#!/usr/bin/env bash
# The users of a machine as the programs of a host show them.
set -euo pipefail

usage() {
  cat <<'U'
usage: clients.sh

Runs getent, id, ls, find, chown and Python on the users and groups of a machine that it makes up. For the inside of the
namespace that run.sh makes: writes to /run. Prints a line for each.
U
}
case ${1-} in
  -h | --help) usage; exit 0 ;;
  '') ;;
  *) usage >&2; exit 2 ;;
esac
failed=0

# check SENTENCE ACTUAL EXPECTED
check() {
  if [ "$2" = "$3" ]; then
    echo "ok $1"
  else
    printf '    it is:     %s\n    should be: %s\n' "${2//$'\n'/ }" "${3//$'\n'/ }"
    echo "FAILED $1"
    failed=1
  fi
}

mkdir -p /run/systemd/machines /run/machined/{uids,gids,aliases} /run/files
printf 'NAME=web\nCLASS=container\nLEADER=%s\nUIDMAP=0:100000:65536\nGIDMAP=0:100000:65536\n' $$ >/run/systemd/machines/web
ln -s '100000:65536:0:web;' /run/machined/uids/0001
ln -s '100000:65536:0:web;' /run/machined/gids/0001

user='vu-web-33:x:100033:65534:UID 33 of Container web:/:/usr/sbin/nologin'
check 'getent finds a user by name and by id' "$(getent passwd vu-web-33 100033)" "$user"$'\n'"$user"
check 'getent finds a group by name and by id' "$(getent group vg-web-33 100033)" $'vg-web-33:x:100033:\nvg-web-33:x:100033:'
check 'getent finds nobody else' "$(getent passwd vu-web-65536 200000 vg-web-33 || echo $?)" 2
check 'getent lists the users of the host alone' "$(getent passwd)" "$(cat /etc/passwd)"
check 'getent lists the groups of the host alone' "$(getent group)" "$(cat /etc/group)"
check 'id knows a user' "$(id vu-web-33 | cut -d' ' -f1,3)" 'uid=100033(vu-web-33) groups=65534(nogroup)'
if chown 100033:100034 /run/files 2>/dev/null; then
  check 'ls shows a user and a group' "$(ls -ld /run/files | awk '{print $3, $4}')" 'vu-web-33 vg-web-34'
  check 'chown takes a user and a group' \
    "$(chown vu-web-5:vg-web-6 /run/files && stat -c '%u %g' /run/files)" '100005 100006'
  check 'find counts no file of a machine among those of nobody' "$(find /run/files -nouser -o -nogroup)" ''
  check 'find finds the files of a user' "$(find /run -xdev -user vu-web-5)" /run/files
else
  echo 'SKIPPED: these ids are not mapped here'
fi
if command -v python3 >/dev/null; then
  check 'Python finds users and groups' "$(python3 -c '
import grp, pwd
print(pwd.getpwuid(100033).pw_name, pwd.getpwnam("vu-web-0").pw_uid, grp.getgrgid(100001).gr_name, grp.getgrnam("vg-web-2").gr_gid)
for find, key in (pwd.getpwuid, 99999), (pwd.getpwnam, "vu-gone-0"), (grp.getgrgid, 2**32 - 2), (grp.getgrnam, "vu-web-0"):
    try:
        print(find(key))
    except KeyError:
        pass
')" 'vu-web-33 100000 vg-web-1 100002'
else
  echo 'SKIPPED: python3 is not installed'
fi
exit $failed
