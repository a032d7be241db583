# What the booted tests of the tool have in common; they read this. One line per test; `finish` counts.
passed=0 failed=0
# check SENTENCE COMMAND...: a command that fails, and what it said, is told.
check() {
  local sentence=$1
  shift
  if "$@" >/tmp/said 2>&1 </dev/null; then
    passed=$((passed + 1))
    echo "ok $sentence"
  else
    failed=$((failed + 1))
    sed 's/^/    /' /tmp/said
    echo "FAILED $sentence"
  fi
}
# says PATTERN COMMAND...: it prints that, and its exit status does not matter.
says() {
  local pattern=$1 printed
  shift
  printed=$("$@" 2>&1 || true)
  grep -qE -- "$pattern" <<<"$printed" || { printf 'not in it: %s\n%s\n' "$pattern" "$printed"; return 1; }
}
# becomes COMMAND...: within a minute.
becomes() {
  local end=$((SECONDS + 60))
  until "$@" >/tmp/became 2>&1; do
    [ $SECONDS -lt $end ] || { cat /tmp/became; return 1; }
    sleep 0.1
  done
}
exits() { # CODE COMMAND...
  local code=$1 got=0
  shift
  "$@" || got=$?
  [ "$got" = "$code" ] || { echo "exit status $got"; return 1; }
}
not() { ! "$@"; }
finish() {
  echo "$passed passed, $failed failed"
  [ "$failed" = 0 ]
}
