#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Removes what a program has left on the machine, once that program has closed this
# script's standard input or is dead. Each line of the input names one thing before
# the program makes it: "process PID START", "cgroup FOLDER" or "folder FOLDER".
#
# It ends with 0 if everything is gone, else it names what is left.
trap '' HUP INT QUIT TERM

# runs tells whether a process with the id PID that began at START still runs. START is
# what field 22 of its stat says (proc_pid_stat(5)). The id alone may be another process's
# by now. A process that has ended and waits for its parent does not count.
runs() {
  [ "$(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" { print $20 }')" = "$2" ]
}

processes='' cgroups='' folders=''
while read -r kind what; do
  case $kind in
    process) processes="$processes $(echo "$what" | tr ' ' ':')" ;;
    cgroup) cgroups="$cgroups $what" ;;
    folder) folders="$folders $what" ;;
  esac
done

# The processes are the first ones of PID namespaces. The kernel ends the others of a
# namespace before its first process is gone. The kernel keeps a cgroup folder busy until
# the last of its processes is gone.
tries=600 # of 0.1 s
while [ "$tries" -gt 0 ]; do
  left=''
  for process in $processes; do
    runs "${process%:*}" "${process#*:}" || continue
    kill -KILL "${process%:*}"
    left="$left process $process"
  done
  for folder in $cgroups; do
    [ ! -d "$folder" ] || find "$folder" -depth -type d -exec rmdir {} + 2>/dev/null
    [ ! -d "$folder" ] || left="$left cgroup $folder"
  done
  # A process may still write into a folder while it ends.
  if [ -z "$left" ]; then
    for folder in $folders; do
      rm -rf --one-file-system "$folder" 2>/dev/null
      [ ! -e "$folder" ] || left="$left folder $folder"
    done
  fi
  [ -n "$left" ] || exit 0
  sleep 0.1
  tries=$((tries - 1))
done
echo "still there:$left" >&2
exit 1
