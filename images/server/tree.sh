#!/bin/sh
# Runs inside the build of the server's image: lays out the directories and files of an image that has nothing of its own.
set -eu

root=/tree/root
state=/tree/state
certificates=/etc/ssl/certs/ca-certificates.crt
[ -s $certificates ] || { echo "the base image has no $certificates: name one with the package ca-certificates" >&2; exit 1; }

mkdir -p $root/etc/ssl/certs $root/usr/local/bin $root/var/lib $root/workspace/projects $root/workspace/logs
mkdir -m 1777 $root/tmp
install -m 0644 $certificates $root/etc/ssl/certs/ca-certificates.crt
echo 'cofferdam:x:10001:10001:Cofferdam:/var/lib/cofferdam:/sbin/nologin' >$root/etc/passwd
echo 'cofferdam:x:10001:' >$root/etc/group
# Without it, names are asked of a server before /etc/hosts is looked at.
echo 'hosts: files dns' >$root/etc/nsswitch.conf
# One program that goes by two names.
ln -s cofferdam $root/usr/local/bin/cofferdam-mcp

mkdir $state
mkdir -m 0700 $state/cofferdam $state/cofferdam/keys $state/cofferdam/storage $state/cofferdam/telemetry
chown -R 10001:10001 $state $root/workspace/logs
