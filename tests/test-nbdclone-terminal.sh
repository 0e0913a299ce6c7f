#!/usr/bin/env bash
# What nbdclone run and wait show on a terminal of 80 and of 200 columns:
# one line with a bar, drawn again and again, that never wraps; and plain lines
# where the terminal is dumb.

# shellcheck source-path=SCRIPTDIR source=functions.sh
. "${srcdir:-.}/functions.sh"

make_random "$tmp/src" 16777216
start_source file "$tmp/src"

# terminal COLUMNS COMMAND: run it in a new terminal; its status comes last.
tmux () { command tmux -S "$tmp/tmux.$terminals" -f /dev/null "$@"; }
terminal ()
{
    tmux new-session -d -x "$1" -y 20 \
         "export XDG_RUNTIME_DIR='$tmp'; $2; echo status \$?; cat"
    daemons=("$(tmux display-message -p '#{pid}')")
}
screen () { tmux capture-pane -p >"$tmp/screen"; }
shows () { screen && grep -Eq "$1" "$tmp/screen"; }
# The next terminal has a server of its own: tmux takes its time to end.
end_terminal ()
{
    kill -KILL "${daemons[0]}"
    daemons=()
    terminals=$((terminals + 1))
}
terminals=0

# expect_one PATTERN: one line has it, and none is wider than the terminal.
expect_one ()
{
    test "$(grep -Ec "$1" "$tmp/screen")" -eq 1 || {
        cat "$tmp/screen"
        fail "not one line with $1"
    }
}

for columns in 80 200; do
    disk=vm$columns
    terminal $columns "'$NBDCLONE' run --exit-when-complete '$source_uri' \
             '$tmp/$disk' -- clone-rate=2M"
    bar='^hydrating +[0-9.]+ % \[#+\.+\] [0-9.]+ MiB of 16.0 MiB, .*s left$'
    wait_until shows "$bar"
    expect_one '^hydrating'
    # The bar takes what there is, up to 60, and the last column stays free.
    width=$(grep -E "$bar" "$tmp/screen" | wc -L)
    inside=$(sed -n 's/.*\[\([#.]*\)\].*/\1/p' "$tmp/screen" | wc -L)
    case $columns in
        80) test "$width" -eq 79 || fail "80 columns: $width" ;;
        200) test "$inside" -eq 60 || fail "200 columns: a bar of $inside" ;;
    esac
    wait_until test -S "$tmp/nbdclone/$disk.control"
    nbdclone set "$disk" rate=0
    wait_until shows '^status 0'
    test "$(grep -c '^hydrating' "$tmp/screen")" -eq 0 || {
        cat "$tmp/screen"
        fail "the line that was drawn is still there"
    }
    grep -q "complete: $tmp/$disk is a plain copy now" \
         <(tr -d '\n' <"$tmp/screen") || fail "$(cat "$tmp/screen")"
    end_terminal
done

# wait leaves its last line; a dumb terminal gets lines.
start_run "$source_uri" "$tmp/disk"
terminal 80 "'$NBDCLONE' wait disk"
wait_until shows '^status 0'
expect_one '^complete +100.0 % \[#+\] 16.0 MiB of 16.0 MiB, 16.0 MiB fetched$'
end_terminal
terminal 80 "TERM=dumb '$NBDCLONE' wait disk"
wait_until shows '^status 0'
expect_one '^complete: 100.0 %, 16.0 MiB of 16.0 MiB, 16.0 MiB fetched$'
if grep -q '\[' "$tmp/screen"; then fail "$(cat "$tmp/screen")"; fi
end_terminal
stop run
