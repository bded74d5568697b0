#!/bin/sh
# The program to name in ACTIONS_RUNNER_CONTAINER_HOOKS: the runner starts only .js, .sh and .ps1 files.
# exec, because the runner sends its signals to this very process.
here=${0%/*}
[ "$here" = "$0" ] && here=.
exec "$here/gantry-agent" hook "$@"
