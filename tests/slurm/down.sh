#!/usr/bin/env bash
# Stops the cluster that up.sh brought up, and removes its folder; with --keep, only stops it.
# Nothing is signalled but what the folder's pid files name, and what runs inside the cluster's own jobs.

set -uo pipefail
ROOT=${TUT_SLURM:-/tmp/tut-slurm-$(id -u)}
[ -e "$ROOT/env.sh" ] || exit 0
# shellcheck disable=SC1091
source "$ROOT/env.sh"

runs() { grep -qsz "$2" "/proc/$1/cmdline"; } # and not so for a zombie, whose command line is empty

stop() { # SIGNAL PROGRAM NAME
  local pid
  pid=$(cat "$ROOT/pid/$3" 2>/dev/null)
  if [ -n "$pid" ] && runs "$pid" "$2"; then
    kill -"$1" "$pid"
    for ((tries = 200; tries > 0; tries--)); do
      runs "$pid" "$2" || break
      sleep 0.05
    done
    ! runs "$pid" "$2" || kill -KILL "$pid"
  fi
  rm -f "$ROOT/pid/$3"
}

# The nodes first, and at once: their jobs end with them.
for node in tut1 tut2; do
  if [ "$TUT_SLURM_MODE" = plain ]; then stop TERM slurmd slurmd.$node; else stop KILL unshare $node; fi
done
# Without namespaces jobs outlive their node; they are known by this cluster's name in their environment.
for process in /proc/[0-9]*; do
  if grep -qsxz "SLURM_CONF=$ROOT/etc/slurm.conf" "$process/environ" &&
    { grep -qsx slurmstepd "$process/comm" || grep -qsz '^SLURM_JOB_ID=' "$process/environ"; }; then
    kill -KILL "${process#/proc/}" 2>/dev/null
  fi
done
stop TERM slurmctld slurmctld
stop TERM slurmdbd slurmdbd
stop TERM mariadbd mariadbd
stop TERM munged munged
[ "${1:-}" = --keep ] || rm -rf "$ROOT"
exit 0
