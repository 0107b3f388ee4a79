#!/usr/bin/env bash
# Brings up a real SLURM cluster on this one machine, for the tests, or what of it is missing (a killed node, say).
#
#   tests/slurm/up.sh && source /tmp/tut-slurm-$(id -u)/env.sh
#   kill -9 $(cat $TUT_SLURM/pid/tut1)     # node tut1 and everything on it is gone, as in a power cut
#   scontrol update nodename=tut1 state=down reason=killed    # or the controller finds out alone, after 25 seconds
#   tests/slurm/up.sh                      # and it is back
#   tests/slurm/down.sh                    # stops it all and removes the folder
#
# Two nodes, tut1 and tut2, of 4 CPUs, 8 GB and 2 pretended GPUs each. Partition `urgent` preempts `main`, the
# default, by requeue, and `cheap` by ending it; `short` is for a minute. An array has at most 3 jobs; where the folder
# has a file `may_submit`, its number is how many more jobs may be submitted at all. Only loopback is listened on. All
# state is in one folder. From the environment:
#   TUT_SLURM=/tmp/tut-slurm-UID the folder. Short: paths of sockets must stay below 108 characters
#   TUT_SLURM_PORT=27800         the first of four ports: slurmctld, slurmdbd, and one for each node. Each user of this
#                                machine has other ones, unless it is said which
#   TUT_SLURM_MODE=              `namespaces`: a node has its own hostname and processes; needs root.
#                                `plain`: `slurmd -N`; what runs on a node outlives it. Empty: what this machine can do
#   TUT_SLURM_CONF=              more lines for slurm.conf; of a repeated key the last one counts

set -euo pipefail
umask 022
export PATH=$PATH:/usr/sbin:/sbin
ROOT=${TUT_SLURM:-/tmp/tut-slurm-$(id -u)}
PORT=${TUT_SLURM_PORT:-$((27800 + 4 * ($(id -u) % 250)))}
MODE=${TUT_SLURM_MODE:-}
NODES=(tut1 tut2)
USER_NAME=$(id -un)

mkdir -p "$ROOT"/{etc,log,pid,munge,state,gpu,mysql}
# One at a time; --close so that no daemon started here inherits the lock.
[ -n "${TUT_SLURM_LOCKED:-}" ] || TUT_SLURM_LOCKED=1 exec flock --close "$ROOT/lock" bash "$0" "$@"
trap 'echo "tests/slurm/up.sh: failed in line $LINENO; see $ROOT/log" >&2' ERR

runs() { # NAME PROGRAM: is the process in pid/NAME there, and still that program?
  local pid
  pid=$(cat "$ROOT/pid/$1" 2>/dev/null) && [ -n "$pid" ] && grep -qsz "$2" "/proc/$pid/cmdline"
}

wait_for() { # SECONDS COMMAND...
  local tries=$(($1 * 20))
  shift
  until "$@" >/dev/null 2>&1; do
    ((tries-- > 0)) || { echo "tests/slurm/up.sh: waited in vain for: $*" >&2; return 1; }
    sleep 0.05
  done
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

can_unshare() { unshare --uts --pid --fork --mount --mount-proc mount --bind /etc/hostname /etc/hosts 2>/dev/null; }

installed() {
  local program
  for program in slurmctld slurmd slurmdbd sbatch srun munged mariadbd; do command -v $program || return; done
  compgen -G '/usr/lib/*/slurm-wlm/accounting_storage_mysql.so'
}

install_packages() { # without the daemons that the packages would start
  local policy=/usr/sbin/policy-rc.d sudo='' made=''
  [ "$(id -u)" = 0 ] || sudo=sudo
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo install -m 755 /dev/stdin $policy
    made=1
  fi
  $sudo apt-get update -qq
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends \
    slurmctld slurmd slurm-client slurmdbd slurm-wlm-mysql-plugin munge mariadb-server-core >"$ROOT/log/apt.log" 2>&1 ||
    { tail "$ROOT/log/apt.log" >&2; return 1; }
  [ -z "$made" ] || $sudo rm -f $policy
}

installed >/dev/null || install_packages

# Without its database the cluster is dead, however it died: what it left (sockets that nobody listens at, jobs that
# nobody wants) would keep a new one from starting.
if ! runs mariadbd mariadbd; then
  "$(dirname "$0")/down.sh" --keep
  rm -rf "$ROOT"/{etc,munge,mysql,pid,state,spool.*}
  mkdir -p "$ROOT"/{etc,munge,mysql,pid,state}
fi

# A step is called back at the address that its connection came from, on loopback always 127.0.0.1: so that is the
# address of every node, and ports tell them apart. Daemons bind to what their own hostname resolves to.
if [ -z "$MODE" ]; then
  if can_unshare; then MODE=namespaces; else MODE=plain; fi
fi
if [ "$MODE" = namespaces ]; then
  CONTROLLER=tutctl
  loopback='CommunicationParameters=NoInAddrAny,NoCtldInAddrAny'
  dbd_loopback='CommunicationParameters=NoInAddrAny'
  { echo '127.0.0.1 localhost'; printf '127.0.0.1 %s\n' $CONTROLLER "${NODES[@]}"; } >"$ROOT/etc/hosts"
else
  CONTROLLER=$(hostname -s)
  loopback='' dbd_loopback=''
  case $(getent ahostsv4 "$CONTROLLER") in 127.*)
    loopback='CommunicationParameters=NoInAddrAny,NoCtldInAddrAny'
    dbd_loopback='CommunicationParameters=NoInAddrAny' ;;
  esac
fi

# A machine of its own, in name: its hostname and /etc/hosts are changed for itself only.
# shellcheck disable=SC2016
BECOME='hostname "$1" && mount --bind "$2" /etc/hosts && shift 2 &&'
on_controller() {
  if [ "$MODE" = namespaces ]; then
    unshare --uts --mount sh -c "$BECOME exec \"\$@\"" sh "$CONTROLLER" "$ROOT/etc/hosts" "$@"
  else
    "$@"
  fi
}

# submitit's files are named after job ids, so a second cluster must not hand out the first one's again.
[ -s "$ROOT/etc/first_job" ] || echo $(($(date +%s) / 2 % 50000000 + 1000)) >"$ROOT/etc/first_job"

cat >"$ROOT/etc/slurm.conf.new" <<CONF
ClusterName=tut
SlurmctldHost=$CONTROLLER(127.0.0.1)
SlurmctldPort=$PORT
$loopback
SlurmUser=$USER_NAME
SlurmdUser=$USER_NAME
AuthType=auth/munge
AuthInfo=socket=$ROOT/munge/socket,cred_expire=6
CredType=cred/munge
StateSaveLocation=$ROOT/state
SlurmdSpoolDir=$ROOT/spool.%n
SlurmctldPidFile=$ROOT/pid/slurmctld
SlurmdPidFile=$ROOT/pid/slurmd.%n
SlurmctldLogFile=$ROOT/log/slurmctld.log
SlurmdLogFile=$ROOT/log/%n.log
MailProg=/bin/true
# no cgroups: a container seldom has them
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
MpiDefault=none
SwitchType=switch/none
# declared, not found: more CPUs than the machine has, and no GPUs
SlurmdParameters=config_overrides
GresTypes=gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=256
# quick, where a real cluster takes its time: scheduling (s), and noticing that a node is gone (s)
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0
SlurmdTimeout=6
SlurmctldTimeout=10
TCPTimeout=2
KillWait=5
UnkillableStepTimeout=20
InactiveLimit=0
# a node that is back is used again, whatever the reason that it was down
ReturnToService=2
JobRequeue=1
FirstJobId=$(cat "$ROOT/etc/first_job")
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((PORT + 1))
AccountingStoragePass=$ROOT/munge/socket
AccountingStorageTRES=gres/gpu
MaxArraySize=3
JobSubmitPlugins=lua
${TUT_SLURM_CONF:-}
NodeName=DEFAULT Boards=1 Sockets=1 CoresPerSocket=4 ThreadsPerCore=1 RealMemory=8192 Gres=gpu:2 State=UNKNOWN
$(for i in "${!NODES[@]}"; do
  host=${NODES[i]}
  [ "$MODE" = namespaces ] || host=$CONTROLLER
  echo "NodeName=${NODES[i]} NodeHostname=$host NodeAddr=127.0.0.1 Port=$((PORT + 2 + i))"
done)
PartitionName=DEFAULT Nodes=ALL DefaultTime=10 MaxTime=INFINITE State=UP
PartitionName=main Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime=10
PartitionName=urgent PriorityTier=10 PreemptMode=OFF
PartitionName=cheap PriorityTier=1 PreemptMode=CANCEL
PartitionName=short PriorityTier=1 MaxTime=1 DefaultTime=1
CONF
changed=
cmp -s "$ROOT/etc/slurm.conf.new" "$ROOT/etc/slurm.conf" || changed=1
mv "$ROOT/etc/slurm.conf.new" "$ROOT/etc/slurm.conf"

# A GPU is a character device whose name ends in its index, as far as slurmd looks.
for i in 0 1; do
  ln -sfn /dev/null "$ROOT/gpu/nvidia$i"
  echo "Name=gpu File=$ROOT/gpu/nvidia$i Flags=nvidia_gpu_env"
done >"$ROOT/etc/gres.conf"

# What a limit of an association does, which SLURM 22.05 cannot keep in the MariaDB of Debian 12.
cat >"$ROOT/etc/job_submit.lua" <<LUA
function slurm_job_submit(job, partitions, user)
  local file = io.open("$ROOT/may_submit")
  if file == nil then return slurm.SUCCESS end
  local room = file:read("*n")
  file:close()
  local first, last = (job.array_inx or "0-0"):match("(%d+)-(%d+)")
  room = room - (last - first + 1)
  if room < 0 then
    slurm.user_msg("AssocMaxSubmitJobLimit")
    return 2050 -- ESLURM_ACCOUNTING_POLICY
  end
  file = io.open("$ROOT/may_submit", "w")
  file:write(room)
  file:close()
  return slurm.SUCCESS
end

function slurm_job_modify(job, record, partitions, user)
  return slurm.SUCCESS
end
LUA

install -m 600 /dev/stdin "$ROOT/etc/slurmdbd.conf" <<CONF
DbdHost=$CONTROLLER
DbdAddr=127.0.0.1
DbdPort=$((PORT + 1))
$dbd_loopback
SlurmUser=$USER_NAME
AuthType=auth/munge
AuthInfo=socket=$ROOT/munge/socket
PidFile=$ROOT/pid/slurmdbd
LogFile=$ROOT/log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=$USER_NAME
CONF

cat >"$ROOT/env.sh" <<ENV
export TUT_SLURM=$ROOT TUT_SLURM_PORT=$PORT TUT_SLURM_MODE=$MODE
export SLURM_CONF=$ROOT/etc/slurm.conf
ENV
export SLURM_CONF=$ROOT/etc/slurm.conf

chmod 711 "$ROOT/munge"
[ -s "$ROOT/munge/key" ] || head -c 128 /dev/urandom | install -m 600 /dev/stdin "$ROOT/munge/key"
runs munged munged || munged --force --key-file="$ROOT/munge/key" --socket="$ROOT/munge/socket" \
  --pid-file="$ROOT/pid/munged" --seed-file="$ROOT/munge/seed" --log-file="$ROOT/log/munged.log" 2>>"$ROOT/log/munged.log"

# The database needs neither users nor a port: only who may enter its folder can reach its socket.
if ! runs mariadbd mariadbd; then
  chmod 700 "$ROOT/mysql"
  mkdir -p "$ROOT/mysql/data"
  setsid mariadbd --no-defaults --datadir="$ROOT/mysql/data" --user="$USER_NAME" --skip-grant-tables --skip-networking \
    --socket="$ROOT/mysql/socket" --pid-file="$ROOT/pid/mariadbd" --innodb-log-file-size=16M \
    --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 --innodb-flush-log-at-trx-commit=0 \
    </dev/null >>"$ROOT/log/mariadbd.log" 2>&1 &
fi
wait_for 20 test -S "$ROOT/mysql/socket"

runs slurmdbd slurmdbd || MYSQL_UNIX_PORT=$ROOT/mysql/socket on_controller slurmdbd
wait_for 20 listens $((PORT + 1))
[ -n "$(sacctmgr --noheader --parsable2 show cluster tut format=cluster)" ] ||
  sacctmgr --immediate --quiet add cluster tut >/dev/null

if ! runs slurmctld slurmctld; then
  on_controller slurmctld
  wait_for 20 listens "$PORT"
elif [ -n "$changed" ]; then
  scontrol reconfigure
fi

for node in "${NODES[@]}"; do
  if [ "$MODE" = plain ]; then runs "slurmd.$node" slurmd && continue; else runs "$node" unshare && continue; fi
  mkdir -p "$ROOT/spool.$node"
  # A node that is back before it was missed would be thought to run on with the jobs that it had.
  scontrol update nodename="$node" state=down reason=killed
  if [ "$MODE" = plain ]; then
    slurmd -N "$node"
    ln -sfn "slurmd.$node" "$ROOT/pid/$node"
  else
    # bash is the node's init: with unshare dies bash, with bash everything else.
    # shellcheck disable=SC2016
    setsid unshare --uts --pid --mount --fork --kill-child --mount-proc \
      bash -c "$BECOME { slurmd -D & wait; }" bash "$node" "$ROOT/etc/hosts" </dev/null >/dev/null 2>>"$ROOT/log/$node.log" &
    echo $! >"$ROOT/pid/$node"
  fi
done

usable() {
  local states
  states=$(sinfo --noheader --Node --partition=main --format=%t) || return
  [ "$(grep -cxE 'idle|mix|alloc|comp' <<<"$states")" = ${#NODES[@]} ] || resume
}
resume() { # a node that was drained, as SLURM does when a task could not be killed
  local node
  for node in $(sinfo --noheader --Node --partition=main --states=drain --format=%N); do
    scontrol update nodename="$node" state=resume || true
  done
  return 1
}
wait_for 30 usable
echo "SLURM is up ($MODE): source $ROOT/env.sh"
