#!/usr/bin/env bash
# Our files for AppArmor and SELinux, by the tools of Debian 13.
set -euo pipefail

usage() {
  cat <<'U'
usage: mac.sh

Builds the policy module of policy/selinux against Debian 13's policy and asks the result with setools and matchpathcon, and has
AppArmor's parser read a profile with policy/apparmor.in: in a Debian root of the lab to which the tools are added, without a
boot. One line per test; the last line counts. What an enforcing host does is not tried.
U
}
case ${1-} in
  -h | --help) usage; exit 0 ;;
  '') ;;
  *) usage >&2; exit 2 ;;
esac
[ "$(id -u)" = 0 ] || exec sudo --preserve-env=MYMACHINES_LAB "$0" "$@"
top=$(readlink -f "$(dirname "$(readlink -f "$0")")/../..")
# shellcheck source=tests/tool/checks.sh
. "$top/tests/tool/checks.sh"
tools=(selinux-policy-default selinux-policy-dev setools policycoreutils checkpolicy apparmor)
layer=$("$top/tests/lab/layer.sh" trixie "${tools[@]}")
plain=$("$top/tests/lab/root.sh" trixie)
work=$(mktemp -d /var/tmp/mymachines-mac.XXXXXX)
trap 'umount -R "$work/root" 2>/dev/null || true; rm -rf --one-file-system "$work"' EXIT
mkdir "$work"/{root,upper,work}
mount -t overlay overlay -o "lowerdir=$layer:$plain,upperdir=$work/upper,workdir=$work/work" "$work/root"
mount --bind /proc "$work/root/proc"
mkdir "$work/root/policy"
cp -r "$top/policy/selinux/." "$work/root/policy"
inside() { chroot "$work/root" "$@"; }

name=libnss_mymachines.so.2
sed 's|@NSSDIR@|/usr/local/lib/x86_64-linux-gnu|' "$top/policy/apparmor.in" >"$work/rules"
install -Dm644 "$work/rules" "$work/root/etc/apparmor.d/abstractions/nameservice.d/mymachines"
cat >"$work/root/etc/apparmor.d/reader" <<'P'
abi <abi/4.0>,
include <tunables/global>
profile reader /usr/bin/reader {
  include <abstractions/base>
  include <abstractions/nameservice>
}
P
parsed() { inside apparmor_parser --skip-kernel-load --debug --debug /etc/apparmor.d/reader; }
check 'AppArmor takes a profile of the name service with our rules' inside apparmor_parser --skip-kernel-load --skip-cache /etc/apparmor.d/reader
check 'they let the module be loaded' says "Perms:[[:space:]]+rm:rm .*/usr/local/lib/x86_64-linux-gnu/$name" parsed
check 'and the records be read' says '/run/systemd/machines/\*\*' parsed
check "and a user's own" says '/run/user/\*/systemd/machines/\*\*' parsed

modules() { inside make --silent -C /policy -f /usr/share/selinux/devel/Makefile NAME=default mymachines.pp; }
check 'the policy module is built' modules
policy() { ls "$work"/root/etc/selinux/default/policy/policy.* | sed "s|$work/root||" | tail -n1; }
allows() { says "allow $1 .*" inside sesearch --allow "${@:2}" "$(policy)"; }
route=(--source systemd_machined_t --target systemd_machined_t --class netlink_route_socket --perm nlmsg_read)
capability=(--source systemd_machined_t --target systemd_machined_t --class capability --perm net_admin)
lacks() { not says 'allow ' inside sesearch --allow "$@" "$(policy)"; }
# A root of a package's postinst that found no kernel with SELinux has no policy yet.
check 'the policy of Debian is built' inside semodule --noreload --store default --build
check 'which lets machined ask for no routes' lacks "${route[@]}"
check 'nor hear of other namespaces' lacks "${capability[@]}"
check 'our module goes with it' inside semodule --noreload --store default --install /policy/mymachines.pp
check 'and it lets machined ask for routes' allows systemd_machined_t "${route[@]}"
check 'and hear of other namespaces' allows systemd_machined_t "${capability[@]}"
contexts=/etc/selinux/default/contexts/files/file_contexts
labelled() { says ":$2:" inside matchpathcon -n -f "$contexts" "$1"; }
for program in machined userdb-machined resolve-machined; do
  check "$program has the label of systemd-machined" labelled "/usr/local/sbin/$program" systemd_machined_exec_t
done
check 'what is derived from the records has that of the records' labelled /run/machined/uids/0001 systemd_machined_runtime_t
check 'as the records have' labelled /run/systemd/machines/web systemd_machined_runtime_t
check 'a daemon with that label becomes what the policy knows' says systemd_machined_t \
  inside sesearch --type_trans --source init_t --target systemd_machined_exec_t "$(policy)"
check 'programs that look names up may read the records' says 'allow ' \
  inside sesearch --allow --source sshd_t --target systemd_machined_runtime_t --class file --perm read "$(policy)"
finish
