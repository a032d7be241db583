#!/usr/bin/env bash
# Installs what `make` built, and takes it back. `make install` and `make uninstall` call this.
set -euo pipefail

usage() {
  cat <<'U'
usage: install.sh install|uninstall

Environment, all of them optional:
  PREFIX   /usr/local
  DESTDIR  where packages are built; nothing of the running system is looked at or told then
  NSSDIR   where the NSS module goes: the first directory below PREFIX that glibc searches
  LIBDIR   where libmachine goes: the same, or NSSDIR
  NSS=no   leaves the NSS module out, where the C library has no NSS
  BINDIR, SBINDIR, MANDIR, UNITDIR
           PREFIX/bin, PREFIX/sbin, PREFIX/share/man, PREFIX/lib/systemd/system

Overwrites nothing but what an earlier install left: a file that a package owns, or that comes from somewhere else, is
an error, and then nothing at all is changed. What was installed is recorded in PREFIX/share/mymachines/installed;
uninstall removes exactly that, and leaves alone what was changed since. /etc/nsswitch.conf is never touched.
U
}

root=$(dirname "$(dirname "$(readlink -f "$0")")")
prefix=${PREFIX:-/usr/local} destdir=${DESTDIR:-}
destdir=${destdir%/}
PATH=$PATH:/usr/sbin:/sbin
module=libnss_mymachines.so.2
version=$(sed -n '/^version = /{s/^version = "\(.*\)"/\1/p;q}' "$root/libmachine-c/Cargo.toml")
library=libmachine.so.$version
built=target/capi/lib
activation=org.freedesktop.machine1.service

fail() {
  printf 'install.sh: %s\n' "$@" >&2
  exit 1
}

case "$prefix$destdir" in *[[:space:]]*) fail 'PREFIX and DESTDIR may not contain blanks' ;; esac
case $prefix in /*) prefix=${prefix%/} ;; *) fail "PREFIX must be an absolute path, not '$prefix'" ;; esac
case $destdir in '' | /*) ;; *) destdir=$PWD/$destdir ;; esac
if [ -z "$destdir" ]; then
  case $prefix in
    '' | /usr) fail "PREFIX=${prefix:-/} belongs to the packages of this system" \
      'to build a package, set DESTDIR too, and see packaging/README.md' ;;
  esac
fi

record=$prefix/share/mymachines/installed
docs=$prefix/share/doc/mymachines
bindir=${BINDIR:-$prefix/bin} sbindir=${SBINDIR:-$prefix/sbin}
mandir=${MANDIR:-$prefix/share/man} unitdir=${UNITDIR:-$prefix/lib/systemd/system}
userunitdir=$(dirname "$unitdir")/user
for directory in "$bindir" "$sbindir" "$mandir" "$unitdir" "${NSSDIR:-/}" "${LIBDIR:-/}"; do
  case $directory in *[[:space:]]*) fail "'$directory' has blanks" ;; /*) ;; *) fail "'$directory' is no absolute path" ;; esac
done
# The bus reads who may call in /etc and /usr/share, and not below /usr/local.
busdir=/etc/dbus-1/system.d
[ "$prefix" != /usr ] || busdir=/usr/share/dbus-1/system.d

# The directory below PREFIX that glibc's search order, /etc/ld.so.conf.d, has first.
find_nssdir() {
  local triplet
  triplet=$("${CC:-cc}" -print-multiarch 2>/dev/null || true)
  if [ "$prefix" = /usr ]; then
    echo "/usr/lib${triplet:+/$triplet}"
    return
  fi
  cat /etc/ld.so.conf.d/*.conf /etc/ld.so.conf 2>/dev/null |
    awk -v below="$prefix/" 'index($1, below) == 1 { print $1; found = 1; exit } END { if (!found) print below "lib" }'
}

find_libdir() { echo "${LIBDIR:-${NSSDIR:-$(find_nssdir)}}"; }

# What is installed: mode, file of the build, where to; or `link`, its target, where to.
files() {
  local nssdir libdir page section mode
  nssdir=${NSSDIR:-$(find_nssdir)}
  libdir=$(find_libdir)
  echo "755 target/release/machined $sbindir/machined"
  echo "755 target/release/machined-image-reader $sbindir/machined-image-reader"
  echo "755 target/release/userdb-machined $sbindir/userdb-machined"
  echo "755 target/release/resolve-machined $sbindir/resolve-machined"
  echo "755 target/release/mymachines $bindir/mymachines"
  echo "644 mymachines/completions/mymachines $prefix/share/bash-completion/completions/mymachines"
  echo "644 mymachines/completions/_mymachines $prefix/share/zsh/site-functions/_mymachines"
  echo "644 mymachines/completions/mymachines.fish $prefix/share/fish/vendor_completions.d/mymachines.fish"
  for page in README.md lxc.conf incus.yaml oci.json; do
    echo "644 hooks/$page $prefix/share/mymachines/hooks/$page"
  done
  for page in $(cd services && find . -type f | sort); do
    case $page in *.md | ./dinit/* | */type) mode=644 ;; *) mode=755 ;; esac
    echo "$mode services/${page#./} $prefix/share/mymachines/services/${page#./}"
  done
  for page in README.md publish-dns.service; do
    echo "644 examples/names/$page $prefix/share/mymachines/examples/names/$page"
  done
  for page in to-etcd to-consul; do
    echo "755 examples/names/$page $prefix/share/mymachines/examples/names/$page"
  done
  echo "755 hooks/incus-follow $prefix/share/mymachines/hooks/incus-follow"
  [ "${NSS:-yes}" = no ] || echo "644 target/nss/$module ${nssdir%/}/$module"
  echo "755 $built/$library ${libdir%/}/$library"
  echo "link $library ${libdir%/}/libmachine.so.0"
  echo "link libmachine.so.0 ${libdir%/}/libmachine.so"
  echo "644 $built/libmachine.a ${libdir%/}/libmachine.a"
  echo "644 include/machine.h $prefix/include/machine.h"
  echo "644 pkgconfig/libmachine.pc.in ${libdir%/}/pkgconfig/libmachine.pc"
  echo "644 systemd/machined.service.in $unitdir/machined.service"
  echo "644 systemd/machined.socket.in $unitdir/machined.socket"
  echo "644 systemd/machined-takeover.service.in $unitdir/machined-takeover.service"
  echo "644 systemd/userdb-machined.service.in $unitdir/userdb-machined.service"
  echo "644 systemd/userdb-machined.socket.in $unitdir/userdb-machined.socket"
  echo "644 systemd/userdb-machined.timer.in $unitdir/userdb-machined.timer"
  echo "644 systemd/resolve-machined.service.in $unitdir/resolve-machined.service"
  echo "644 systemd/resolve-machined.socket.in $unitdir/resolve-machined.socket"
  echo "644 systemd/resolve-machined.timer.in $unitdir/resolve-machined.timer"
  echo "644 systemd/bus-name.conf $unitdir/systemd-machined.service.d/bus-name.conf"
  echo "644 systemd/user/machined.service.in $userunitdir/machined.service"
  echo "644 systemd/user/machined.socket.in $userunitdir/machined.socket"
  # Where stock has them, from systemd 258 on, they are its own; below /usr only a package of systemd's may have them. Without
  # a file systemd makes the slice all the same.
  if [ "$prefix" != /usr ]; then
    for page in machine.slice machines.target; do
      [ -z "$destdir" ] && [ -e "/usr/lib/systemd/user/$page" ] || echo "644 systemd/user/$page $userunitdir/$page"
    done
  fi
  # In any directory of a session's bus the name of this file may be any: where stock has one, both say the same.
  echo "644 policy/mymachines-user.service $prefix/share/dbus-1/services/mymachines-user.service"
  echo "644 policy/mymachines.policy $prefix/share/polkit-1/actions/mymachines.policy"
  echo "644 policy/mymachines.conf $busdir/mymachines.conf"
  # Where AppArmor is. A package has its module where the distribution's rule is for.
  if [ -z "$destdir" ] && [ "${NSS:-yes}" != no ] && [ -d /etc/apparmor.d/abstractions ]; then
    echo "644 policy/apparmor.in /etc/apparmor.d/abstractions/nameservice.d/mymachines"
  fi
  for page in mymachines.te mymachines.fc mymachines.if; do
    echo "644 policy/selinux/$page $prefix/share/mymachines/selinux/$page"
  done
  # The bus wants a file of this name; below /usr it is systemd's, and says the same.
  [ "$prefix" = /usr ] ||
    echo "644 policy/$activation $prefix/share/dbus-1/system-services/$activation"
  for page in README.md CHANGELOG.md SECURITY.md LICENSE-MIT LICENSE-APACHE docs/*.md; do
    [ ! -f "$page" ] || echo "644 $page $docs/${page#docs/}"
  done
  for page in docs/man/*.[1-8] docs/man/*.3machine; do
    section=${page##*.}
    [ ! -f "$page" ] || echo "644 $page $mandir/man${section%machine}/${page##*/}"
  done
}

recorded() { # FILE: whether an earlier install put it there
  [ -f "$destdir$record" ] || return 1
  [ "$1" = "$record" ] || awk -v file="$1" '$2 == file { found = 1 } END { exit !found }' "$destdir$record"
}

# find_owners FILE...: which packages own them, however they are spelled: where /lib is a link to usr/lib, dpkg may know either.
# It is asked once about all, since it reads all it knows for each question.
declare -A owners=()
find_owners() {
  local file directory name path line
  local -A parents=() asked=()
  command -v dpkg >/dev/null || return 0
  for file; do
    directory=${file%/*} name=${file##*/}
    [ -n "${parents[$directory]-}" ] || parents[$directory]=$(readlink -m "$directory")
    for path in "$file" "${parents[$directory]}/$name" "${parents[$directory]#/usr}/$name"; do asked[$path]=$file; done
  done
  # It fails if it knows one of them not.
  while read -r line; do
    file=${asked[${line##*: }]-}
    [ -z "$file" ] || owners[$file]=${owners[$file]-$line}
  done < <(dpkg -S "${!asked[@]}" 2>/dev/null || true)
}

check_target() { # FILE: complains about what may not be overwritten
  local file=$1 above=$destdir${1%/*}
  if [ -n "${owners[$file]-}" ]; then
    echo "$file belongs to a package (${owners[$file]})"
  elif { [ -e "$destdir$file" ] || [ -L "$destdir$file" ]; } && ! recorded "$file"; then
    echo "$destdir$file is there already, and no earlier install put it there"
  fi
  while [ ! -e "${above:=/}" ]; do above=${above%/*}; done
  [ -d "$above" ] || echo "$above is not a directory"
  [ -w "$above" ] || echo "$above may not be written to (as root: sudo make install)"
}

# make_directory DIRECTORY: with the missing ones above it, which are noted.
made=()
make_directory() {
  [ ! -d "$1" ] || return 0
  make_directory "$(dirname "$1")"
  mkdir -m755 "$1"
  made+=("$1")
}

staged=()
undo() {
  local directory
  rm -f "${staged[@]}"
  for ((i = ${#made[@]} - 1; i >= 0; i--)); do
    directory=${made[i]}
    rmdir "$directory" 2>/dev/null || true
  done
}

install_all() {
  local list libdir nssdir mode from to complaints='' sums='' sum was=''
  cd "$root"
  for from in target/release/machined target/release/mymachines target/release/machined-image-reader "$built/$library" "$built/libmachine.a" \
    $([ "${NSS:-yes}" = no ] || echo "target/nss/$module"); do
    [ -f "$from" ] || fail "$from is not built: run make first"
  done
  list=$(files)
  libdir=$(find_libdir) nssdir=${NSSDIR:-$(find_nssdir)}
  nssdir=${nssdir%/}
  # shellcheck disable=SC2046
  [ -n "$destdir" ] || find_owners $(awk '{ print $3 }' <<<"$list") "$record"
  complaints=$(
    while read -r mode from to; do check_target "$to"; done <<<"$list"
    check_target "$record"
  )
  # Each once: many files may not be written for the sake of one directory.
  complaints=$(awk '!seen[$0]++' <<<"$complaints")
  [ -z "$complaints" ] || fail "nothing was changed:" "$complaints"
  [ ! -f "$destdir$record" ] || was=$(cat "$destdir$record")

  # Everything is laid beside its place first, and then renamed: a process that has the old file mapped keeps it, no
  # reader sees half of one, and a full disk leaves things as they were.
  trap undo EXIT
  while read -r mode from to; do
    make_directory "$destdir$(dirname "$to")"
    staged+=("$destdir$to.mymachines-new")
    if [ "$mode" = link ]; then
      ln -sfn "$from" "$destdir$to.mymachines-new"
      sum=link:$from
    else
      sed_or_copy "$from" "$destdir$to.mymachines-new"
      chmod "$mode" "$destdir$to.mymachines-new"
      sum=$(sha256sum <"$destdir$to.mymachines-new")
    fi
    sums+="${sum%% *} $to"$'\n'
  done <<<"$list"
  make_directory "$(dirname "$destdir$record")"
  staged+=("$destdir$record.mymachines-new")
  # Files of an earlier install that this one has no more, the directories, and this one's files.
  {
    awk '$1 == "directory"' <<<"$was"
    for directory in ${made[@]+"${made[@]}"}; do echo "directory ${directory#"$destdir"}"; done
    printf '%s' "$sums"
  } >"$destdir$record.mymachines-new"
  for to in "${staged[@]}"; do mv -T "$to" "${to%.mymachines-new}"; done
  trap - EXIT
  while read -r sum to; do
    [ -z "$sum" ] || [ "$sum" = directory ] || recorded "$to" || rm -f "$destdir$to"
  done <<<"$was"
  [ -n "$destdir" ] || tell_system
  awk '$1 != "directory" { print "installed " $2 }' "$destdir$record"
  [ -n "$destdir" ] || say_what_next
}

sed_or_copy() {
  case $1 in
    *.in | hooks/* | services/* | examples/*) sed -e "s|@SBINDIR@|$sbindir|g" -e "s|@DOCDIR@|$docs|g" -e "s|@PREFIX@|$prefix|g" \
      -e "s|@BINDIR@|$bindir|g" -e "s|@HOOKDIR@|$prefix/share/mymachines/hooks|g" -e "s|@LIBDIR@|$libdir|g" -e "s|@NSSDIR@|$nssdir|g" -e "s|@VERSION@|$version|g" "$1" >"$2" ;;
    # Its links lead to where things are once they are installed; those to what is not installed become text.
    *.md) sed -e 's|](docs/|](|g' -e 's#](\.\./\(hooks\|examples\)/#](\1/#g' \
      -e 's#](\(hooks\|services\|examples\)/#](../../mymachines/\1/#g' \
      -e 's#\[\([^]]*\)\](\(CONTRIBUTING\|packaging/README\)\.md)#\1#g' "$1" >"$2" ;;
    *) cp "$1" "$2" ;;
  esac
}

# The caches of the running system.
tell_system() {
  ldconfig
  [ -d /run/systemd/system ] || return 0
  systemctl daemon-reload
  # Who may call, and what a call may start.
  systemctl reload dbus.service 2>/dev/null || true
}

# Daemons that systemd lost track of: before 258 it may take one for stopped whose unit was just given another's name.
end_daemons() {
  local pid
  # Three patterns, of 15 characters at most: pgrep of Debian 12 takes no longer ones, and the kernel keeps no longer names.
  for pid in $(pgrep -x machined || true) $(pgrep -x userdb-machined || true) $(pgrep -x resolve-machine || true); do
    if [ "$(readlink "/proc/$pid/ns/mnt")" = "$(readlink /proc/self/ns/mnt)" ]; then
      case $(readlink "/proc/$pid/exe") in "$sbindir"/*machined) kill "$pid" || true ;; esac
    fi
  done
}

# Nobody else writes there without systemd. Whose supervisor still runs a daemon has more to do.
give_back_without_systemd() {
  local pid
  for pid in $(pgrep -x machined || true) $(pgrep -x userdb-machined || true); do
    if [ "$(readlink "/proc/$pid/ns/mnt")" = "$(readlink /proc/self/ns/mnt)" ]; then
      echo "Process $pid is a daemon that still runs: stop it, and remove /run/systemd/machines and /run/machined."
      return
    fi
  done
  rm -rf /run/machined /run/systemd/machines
  rm -f /run/systemd/machine/io.systemd.Machine{,Image} /run/varlink/registry/io.systemd.Machine{,Image} \
    /run/systemd/userdb/io.systemd.Machine
  rmdir /run/systemd/{machine,userdb} /run/varlink/{registry,} /run/systemd 2>/dev/null || true
}

# What the daemon left in /run, unless it is somebody else's by now; and the original's own socket.
give_back() {
  [ -d /run/systemd/system ] || { give_back_without_systemd; return 0; }
  rm -rf /run/machined
  if ! systemctl --quiet is-active systemd-machined.service systemd-machined.socket; then
    rm -f /run/systemd/machine/io.systemd.Machine{,Image} /run/varlink/registry/io.systemd.Machine{,Image} \
      /run/systemd/userdb/io.systemd.Machine /run/systemd/resolve.hook/io.systemd.Machine
    [ ! -f /usr/lib/systemd/system/systemd-machined.socket ] || systemctl start systemd-machined.socket || true
  fi
}

say_what_next() {
  local nss first polkit
  nss=$(awk -v module="/$module" 'index($2, module) { print $2 }' "$record")
  first=$(ldconfig -p | awk -v module="$module" '$1 == module { print $NF; exit }')
  if [ -n "$nss" ] && [ "$first" != "$nss" ]; then
    echo "WARNING: glibc finds ${first:-no $module}, not $nss;"
    echo "         set NSSDIR to a directory that comes first in /etc/ld.so.conf.d, and install again"
  fi
  if grep -q '^hosts:.*\<mymachines\>' /etc/nsswitch.conf 2>/dev/null; then
    echo "/etc/nsswitch.conf asks mymachines for hosts already."
  else
    echo "To have machines resolved, put mymachines into the line of hosts in /etc/nsswitch.conf, for example:"
    echo "    hosts:          files mymachines dns"
  fi
  if [ -d /run/systemd/system ]; then
    # First, as it is what comes first. Not the directory of the drop-in, which is none of theirs.
    [ "$prefix" = /usr/local ] ||
      echo "systemd does not look into $prefix: systemctl link" $unitdir/*machined*.{service,socket,timer}
    if [ -e /usr/lib/systemd/system/systemd-machined.service ]; then
      echo "Nothing was started or enabled. To put it in the place of systemd-machined, and to give the place back:"
      echo "    systemctl enable --now machined"
      echo "    systemctl disable machined"
    else
      echo "Nothing was started or enabled. To start it, now and with each boot, and to end that:"
      echo "    systemctl enable --now machined"
      echo "    systemctl disable --now machined"
    fi
    polkit=$(pkaction --version 2>/dev/null | sed -n 's/[^0-9]*\([0-9]*\).*/\1/p') || true
    if [ "${polkit:-125}" -lt 125 ] && [ ! -e /usr/share/polkit-1/actions/mymachines.policy ]; then
      echo "polkit $polkit looks for actions in one place only:"
      echo "    ln -s $prefix/share/polkit-1/actions/mymachines.policy /usr/share/polkit-1/actions/"
    fi
    if systemctl --quiet is-active polkit.service; then
      echo "polkit reads the actions that it does not know yet when it is started: systemctl restart polkit"
    fi
  else
    echo "Nothing was started. To start it: $sbindir/machined, from any supervisor."
  fi
}

uninstall_all() {
  local sum file now
  [ -f "$destdir$record" ] || fail "there is no $destdir$record: nothing was installed with this PREFIX and DESTDIR"
  [ -w "$(dirname "$destdir$record")" ] || fail 'may not be removed by you (as root: sudo make uninstall)'
  if [ -z "$destdir" ] && [ -d /run/systemd/system ]; then
    systemctl disable --now --quiet {userdb,resolve}-machined.timer machined.socket machined.service \
      {userdb,resolve}-machined.{socket,service} machined-takeover.service 2>/dev/null || true
    systemctl --global disable --quiet machined.service machined.socket 2>/dev/null || true
    end_daemons
  fi
  while read -r sum file; do
    [ "$sum" != directory ] || continue
    case $sum in
      link:*) now=link:$(readlink "$destdir$file") || continue ;;
      *)
        [ -e "$destdir$file" ] || continue
        now=$(sha256sum <"$destdir$file")
        ;;
    esac
    if [ "${now%% *}" = "$sum" ]; then
      rm "$destdir$file"
      echo "removed $file"
    else
      echo "left alone: $file, which was changed since"
    fi
  done <"$destdir$record"
  local directories
  directories=$(awk '$1 == "directory" { print $2 }' "$destdir$record" | sort -r)
  rm "$destdir$record"
  for file in $directories; do rmdir --ignore-fail-on-non-empty "$destdir$file" 2>/dev/null || true; done
  [ -z "$destdir" ] || return 0
  tell_system
  give_back
  if grep -q '^[a-z]*:.*\<mymachines\>' /etc/nsswitch.conf 2>/dev/null &&
    ! ldconfig -p | awk -v module="$module" '$1 == module { found = 1 } END { exit !found }'; then
    echo "/etc/nsswitch.conf still asks mymachines, which is gone: take the word out of it."
  fi
}

case ${1-} in
  -h | --help) usage ;;
  install) install_all ;;
  uninstall) uninstall_all ;;
  *) usage >&2; exit 2 ;;
esac
