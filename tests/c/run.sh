#!/usr/bin/env bash
# Tests the installed libmachine with programs in C and C++.
set -euo pipefail

usage() {
  cat <<'U'
usage: run.sh [--keep]

Installs what was built (make) below a temporary directory, compiles the tests against it by pkg-config, with gcc and
clang and in all versions of C and C++ that it is for, and runs them: as they are, under valgrind, and with the address and
undefined behaviour sanitizers. They write records of their own, in a private mount namespace with its own /run. Runs as
root, or as a user who may make user namespaces. What cannot run here is told, and counts as skipped.

  --keep  keep the temporary directory, and say where it is
U
}

keep=''
case ${1-} in
  -h | --help) usage; exit 0 ;;
  --keep) keep=yes ;;
  '') ;;
  *) usage >&2; exit 2 ;;
esac

here=$(dirname "$(readlink -f "$0")")
root=$(dirname "$(dirname "$here")")
work=$(mktemp -d "${TMPDIR:-/tmp}/c-tests.XXXXXX")
if [ -n "$keep" ]; then
  trap 'echo "kept: $work"' EXIT
else
  trap 'rm -rf "$work"' EXIT
fi
chmod 755 "$work"
mkdir "$work/bin" "$work/out" "$work/frame"

DESTDIR=$work/root PREFIX=/opt/machine LIBDIR=/opt/machine/lib "$root/scripts/install.sh" install >"$work/installed"
prefix=$work/root/opt/machine
lib=$prefix/lib
export PKG_CONFIG_LIBDIR=$lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$work/root
flags=$(pkg-config --cflags libmachine)
libs=$(pkg-config --libs libmachine)
static=$(pkg-config --static --libs libmachine)
compilers=gcc
if command -v clang >/dev/null; then compilers='gcc clang'; else echo 'SKIPPED: clang is not installed' >"$work/out/clang"; fi

# What the tests run in.
namespace=(unshare --mount --propagation private)
[ "$(id -u)" = 0 ] || namespace=(unshare --user --map-root-user --mount --propagation private)
inside() {
  # shellcheck disable=SC2016
  timeout -k 5 600 "${namespace[@]}" sh -euc '
    mount -t tmpfs tmpfs /run
    # Groups only seem to be: nothing is to be found where they would be.
    mount -t tmpfs tmpfs /sys/fs/cgroup
    export LD_LIBRARY_PATH="$1"
    shift
    exec "$@"' sh "$lib" "$@"
}
# step NAME COMMAND...: runs a step whose lines go to a file of its own; a step that ends badly without a word is told.
step() {
  local name=$1 status=0
  shift
  "$@" >"$work/out/$name" 2>&1 </dev/null || status=$?
  if [ "$status" != 0 ] && ! grep -q '^FAILED' "$work/out/$name"; then
    echo "FAILED $name ended with status $status" >>"$work/out/$name"
  fi
}
# check SENTENCE COMMAND...
check() {
  local sentence=$1
  shift
  if "$@" >"$work/said" 2>&1; then
    echo "ok $sentence"
  else
    sed 's/^/    /' "$work/said"
    echo "FAILED $sentence"
  fi
}
not() { ! "$@"; }
is() { [ "$1" = "$2" ] || { printf '%s\nis not\n%s\n' "$1" "$2"; return 1; }; }

exported() { nm -D --defined-only --with-symbol-versions "$lib/libmachine.so" | sed -n 's/.* T //p' | sort; }
wanted() { sed -n 's/^    \([a-z_]*\);$/\1@@LIBMACHINE_0/p' "$root/libmachine-c/machine.map" | sort; }
# Each function that a page describes has its own prototype there, not that of one whose name ends so.
prototypes() {
  local page name
  for page in "$root"/docs/man/*; do
    for name in $(sed -n 's/^\.SS \([a-z_]*\)()$/\1/p' "$page"); do
      grep -qE "^\\.B \".*[ *]$name\\(" "$page" || { echo "${page##*/} has no $name()"; return 1; }
    done
  done
}
# Nothing of the header is without a page: each function and constant has its place in one, and each error in machine(3).
described() {
  local word
  for word in $(sed -n 's/^    \([a-z_]*\);$/\1/p' "$root/libmachine-c/machine.map"); do
    grep -qE "^\\.SS $word\\(\\)" "$root"/docs/man/*.3* || { echo "no page has $word()"; return 1; }
  done
  for word in $(sed -n 's/^#define \(MACHINE_[A-Z_]*\) .*/\1/p' "$root/include/machine.h"); do
    grep -q "^\\.BR $word " "$root"/docs/man/*.3* || { echo "no page has $word"; return 1; }
  done
  for word in $(grep -oE -- '-E[A-Z0-9]+' "$root/include/machine.h" | sort -u); do
    grep -qE "^\\.B (.*, )?\\\\$word\b" "$root/docs/man/machine.3" || { echo "machine(3) does not explain $word"; return 1; }
  done
}
# Whoever writes a filter for seccomp goes by the page: none of the system calls is missing there.
calls() {
  local call
  for call in $(grep -rhoE 'libc::(SYS_[a-z0-9_]+|getpid|clock_gettime|mmap|munmap|madvise|ioctl)\b' "$root/libmachine/src" "$root/libmachine-c/src" |
    sed 's/.*:://; s/^SYS_//' | sort -u); do
    grep -qw "$call" "$root/docs/man/machine-environment.3" || { echo "machine-environment(3) does not name $call"; return 1; }
  done
}
elf() {
  local library=$lib/libmachine.so dynamic
  dynamic=$(readelf -dW "$library")
  check 'the header and the dump of the interface are what the source says' "$root/libmachine-c/interface.sh" check
  check 'the pages describe each function by its own prototype' prototypes
  check 'the pages leave out no function, constant or error of the header' described
  check 'machine-environment(3) names each system call that is used' calls
  check 'it exports what machine.map lists, under a version of its own, and nothing else' is "$(exported)" "$(wanted)"
  check 'it needs the C library and nothing else' is "$(grep -c NEEDED <<<"$dynamic") $(grep -o 'NEEDED.*\[libc.so.6\]' <<<"$dynamic" | wc -l)" '1 1'
  check 'its soname is libmachine.so.0' grep -q 'SONAME.*\[libmachine.so.0\]' <<<"$dynamic"
  check 'it is smaller than 150 kB' test "$(stat -Lc %s "$library")" -lt 150000
  check 'it is never unloaded, and bound at once' grep -q 'FLAGS_1.*NOW NODELETE' <<<"$dynamic"
  check 'it has neither thread-local storage nor a constructor' not grep -qE 'TLS|INIT_ARRAY' <<<"$(readelf -lW "$library")$dynamic"
  check 'the static library shows the same names and no others' is \
    "$(nm "$lib/libmachine.a" | sed -n 's/^[0-9a-f]* [A-TV-Z] //p' | sort)" "$(wanted | sed 's/@@.*//')"
}

# An index that is not checked must not link. In a copy of the target directory's place: another feature.
proof() {
  (cd "$root/libmachine-c" && ../scripts/cargo.sh build --quiet --release --locked --features may-panic --target-dir "$work/target")
  may_link() { "$root/libmachine-c/link.sh" "$work/target/release/libmachine.a" "$work/lib" 2>&1 | tee "$work/linked"; }
  check 'a library that could panic does not link' not may_link
  check 'because of that' grep -q 'undefined reference to .libmachine_can_panic' "$work/linked"
}

header() {
  local compiler standard name
  {
    [ ! -e /usr/include/systemd/sd-login.h ] || echo '#ifdef BEFORE'
    [ ! -e /usr/include/systemd/sd-login.h ] || printf '#include <systemd/sd-login.h>\n#endif\n'
    printf '#include <machine.h>\n#include <machine.h>\n'
    [ ! -e /usr/include/systemd/sd-login.h ] || printf '#ifdef AFTER\n#include <systemd/sd-login.h>\n#endif\n'
    echo 'typedef void (*function)(void);'
    echo 'static const function functions[] = {'
    sed -n 's/^    \([a-z_]*\);$/  (function)\1,/p' "$root/libmachine-c/machine.map"
    echo '  0 };'
    echo 'int main(void) { sd_login_monitor *monitor = 0; struct machine *machine = 0; char *name = 0;'
    echo '  return functions[0] && sd_login_monitor_unref(monitor) == 0 && machine_free(machine) == 0 &&'
    echo '    sd_pid_get_machine_name(-1, &name) < 0 && machine_name_check("web") == 0 ? 0 : 1; }'
  } >"$work/header.c"
  cp "$work/header.c" "$work/header.cc"
  for compiler in $compilers; do
    for standard in c89 gnu89 c99 gnu99 c11 gnu11 c17 gnu17 c2x gnu2x; do
      # shellcheck disable=SC2086
      check "$compiler takes the header as $standard" "$compiler" -std=$standard -pedantic -Wall -Wextra -Werror $flags \
        -o "$work/bin/header" "$work/header.c" $libs
      check "and the program runs" env LD_LIBRARY_PATH="$lib" "$work/bin/header"
    done
    if [ -e /usr/include/systemd/sd-login.h ]; then
      for order in BEFORE AFTER; do
        # shellcheck disable=SC2086
        check "$compiler takes it beside sd-login.h ($order)" "$compiler" -std=c11 -pedantic -Wall -Wextra -Werror -D$order $flags \
          -o "$work/bin/header" "$work/header.c" $libs
      done
    fi
  done
  for compiler in g++ clang++; do
    command -v "$compiler" >/dev/null || { echo "SKIPPED: $compiler is not installed"; continue; }
    for standard in c++98 c++03 c++11 c++14 c++17 c++20 c++2b; do
      # shellcheck disable=SC2086
      check "$compiler takes the header as $standard" "$compiler" -std=$standard -pedantic -Wall -Wextra -Werror $flags \
        -o "$work/bin/header" "$work/header.cc" $libs
      check "and the program runs" env LD_LIBRARY_PATH="$lib" "$work/bin/header"
    done
  done
  echo '#include <machine.h>
    int get(const struct machine *m); int get(const struct machine *m) { uint8_t id[8]; return machine_get_id(m, id); }' >"$work/small.c"
  # shellcheck disable=SC2086
  check 'gcc says where there is too little room for an id' not gcc -O1 -Wall -Werror $flags -c -o /dev/null "$work/small.c"
  sed -i 's/\[8\]/[16]/' "$work/small.c"
  # shellcheck disable=SC2086
  check 'and takes what has enough' gcc -O1 -Wall -Werror $flags -c -o /dev/null "$work/small.c"
  # shellcheck disable=SC2086
  check 'a program is linked statically with it alone' gcc $flags -o "$work/bin/header" "$work/header.c" "$lib/libmachine.a"
  check 'and runs' "$work/bin/header"
  # shellcheck disable=SC2086
  check 'a program is linked statically as a whole' gcc -static $flags -o "$work/bin/header" "$work/header.c" $static
  check 'and runs' "$work/bin/header"
}

# Two libraries with the same names in one process.
both() {
  if [ ! -e /usr/include/systemd/sd-login.h ]; then
    echo 'SKIPPED: libsystemd-dev is not installed'
    return
  fi
  # shellcheck disable=SC2086
  {
    gcc -shared -fPIC -DPART=with_libmachine $flags -o "$work/libone.so" "$here/both.c" $libs
    gcc -shared -fPIC -DPART=with_libsystemd -DSYSTEMD -o "$work/libother.so" "$here/both.c" -lsystemd
  }
  gcc -o "$work/bin/both" "$here/both.c" -L"$work" -lone -lother -Wl,-rpath,"$work" -Wl,-rpath-link,"$lib" &&
    LD_LIBRARY_PATH=$lib "$work/bin/both" || return
  gcc -o "$work/bin/both" "$here/both.c" -L"$work" -lother -lone -Wl,-rpath,"$work" -Wl,-rpath-link,"$lib" &&
    LD_LIBRARY_PATH=$lib "$work/bin/both"
}

examples() {
  local example compiler
  for example in "$root"/libmachine/examples/*.c; do
    for compiler in $compilers; do
      # shellcheck disable=SC2086
      check "$compiler compiles ${example##*/}" "$compiler" -std=c99 -D_GNU_SOURCE -Wall -Wextra -Werror $flags \
        -o "$work/bin/$(basename "$example" .c)" "$example" $libs
    done
    check "${example##*/} has less than 100 lines" test "$(wc -l <"$example")" -lt 100
  done
  # What the pages show, in the oldest and the newest language.
  for example in "$root"/libmachine-c/man/examples/*.c; do
    compiles() {
      local compiler standard
      for compiler in $compilers; do
        for standard in c89 c2x; do
          # shellcheck disable=SC2086
          "$compiler" -std=$standard -D_GNU_SOURCE -pedantic -Wall -Wextra -Werror $flags -o "$work/bin/example" "$example" $libs || return 1
        done
        for standard in c++98 c++2b; do
          # shellcheck disable=SC2086
          "$compiler" -x c++ -std=$standard -D_GNU_SOURCE -pedantic -Wall -Wextra -Werror $flags -c -o /dev/null "$example" || return 1
        done
      done
    }
    check "the EXAMPLE of ${example##*/} compiles, from C89 to C23 and from C++98 to C++23" compiles
    page=$(basename "$example" .c)
    check 'and is in its page' grep -q '^\.SH EXAMPLE' "$(ls "$root/docs/man/$page".3*)"
  done
  # And in all that are between, which one process does for all of them.
  for standard in c99 c11 c17; do
    # shellcheck disable=SC2086
    check "all of them are good $standard" gcc -std=$standard -D_GNU_SOURCE -pedantic -Wall -Wextra -Werror $flags -fsyntax-only \
      "$root"/libmachine-c/man/examples/*.c
  done
  for standard in c++03 c++11 c++14 c++17 c++20; do
    # shellcheck disable=SC2086
    check "all of them are good $standard" gcc -x c++ -std=$standard -D_GNU_SOURCE -pedantic -Wall -Wextra -Werror $flags \
      -fsyntax-only "$root"/libmachine-c/man/examples/*.c
  done
  "$here/examples.sh" "$work/bin" "$lib"
}

frame='group check world process filter'
for part in $frame; do
  source=$here/../nss/$part.c
  [ -e "$source" ] || source=$here/$part.c
  gcc -std=gnu11 -O2 -g -Wall -Wextra -Werror -c -o "$work/frame/$part.o" "$source"
done
# build COMPILER NAME PROGRAM FLAG...
build() {
  local compiler=$1 name=$2 program=$3
  shift 3
  # shellcheck disable=SC2086
  "$compiler" -std=gnu11 -g -Wall -Wextra -Werror -pthread "$@" $flags -o "$work/bin/$name" "$here/$program.c" "$work"/frame/*.o $libs
}
program() {
  local compiler=$1 program=$2
  build "$compiler" "$program-$compiler" "$program" -O2
  inside "$work/bin/$program-$compiler"
}
under_valgrind() {
  command -v valgrind >/dev/null || { echo 'SKIPPED: valgrind is not installed'; return; }
  SLOW=yes inside valgrind --quiet --trace-children=yes --child-silent-after-fork=no --error-exitcode=99 --leak-check=full \
    --errors-for-leak-kinds=definite --show-leak-kinds=definite "$work/bin/$1-gcc" 2>&1 | grep -vE '^--|WARNING: unhandled|^==[0-9]+== (You may|it.s not|Read the)'
}
sanitized() {
  build gcc "$1-sanitized" "$1" -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
  SLOW=yes ASAN_OPTIONS=detect_leaks=0 inside "$work/bin/$1-sanitized"
}

# The module for Python, as pip installs it, and the code of docs/languages.md.
python() {
  # Debian's: others lack its setuptools.
  local python=/usr/bin/python3 site=$work/site
  if ! "$python" -c 'from importlib.util import find_spec as has; raise SystemExit(not (has("pip") and has("setuptools") and has("wheel")))'; then
    echo 'SKIPPED: python3-pip, python3-setuptools and python3-wheel are not installed'
    return
  fi
  # pip builds in the tree that it is given.
  cp -r "$root/python" "$work/python"
  check 'pip builds a wheel of the module and installs it' "$python" -m pip install --quiet --root-user-action=ignore --no-index \
    --no-build-isolation --no-deps --target "$site" "$work/python"
  export PYTHONPATH=$site PYTHONDONTWRITEBYTECODE=1
  inside "$python" "$root/python/tests/test_libmachine.py" --verbose >"$work/said" 2>&1 || sed 's/^/    /' "$work/said"
  sed -n 's/^test_\(.*\) (.*) \.\.\. ok$/ok Python: \1/p; s/^test_\(.*\) (.*) \.\.\. \(FAIL\|ERROR\)$/FAILED Python: \1/p' "$work/said" | tr _ ' '
  grep -q '^OK$' "$work/said" || echo 'FAILED all tests in Python'
  block python >"$work/example.py"
  check "the Python of docs/languages.md runs" is "$(inside "$python" "$work/example.py")" 'no machines'
}
# block LANGUAGE: the code in a language that docs/languages.md has.
block() { sed -n "/^\`\`\`$1\$/,/^\`\`\`\$/p" "$root/docs/languages.md" | grep -v '^```'; }

step elf elf
step python python
step proof proof
step header header
step both both
step examples examples
for program in same machine own hostile memory; do
  for compiler in $compilers; do step "$program-$compiler" program "$compiler" "$program"; done
done
for program in same machine hostile; do
  step "valgrind-$program" under_valgrind "$program" &
  step "sanitized-$program" sanitized "$program"
  wait
done

for file in "$work"/out/*; do
  echo "== ${file##*/}"
  cat "$file"
done
count() { cat "$work"/out/* | grep -c "^$1" || true; }
echo "$(count 'ok ') passed, $(count FAILED) failed, $(count SKIPPED) skipped"
[ "$(count FAILED)" = 0 ]
