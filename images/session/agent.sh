#!/bin/sh
# Runs inside the build of the session image: installs the agent, at the version in claude-code.version.
# The package of one platform holds the whole program; the package without a platform is only a wrapper around it.
set -eu

build=/tmp/build
version=$(cat $build/claude-code.version)
case $(uname -m) in
    x86_64) platform=linux-x64 ;;
    aarch64) platform=linux-arm64 ;;
    *) echo "the agent has no build for $(uname -m)" >&2; exit 1 ;;
esac

export NPM_CONFIG_USERCONFIG=$build/host/npmrc NPM_CONFIG_CACHE=$build/cache TMPDIR=$build/tmp
mkdir $TMPDIR
cd $build
npm pack --silent "@anthropic-ai/claude-code-$platform@$version"
tar -xzf anthropic-ai-claude-code-*.tgz
install -D -o root -g root -m 0755 package/claude /opt/cofferdam/bin/claude
ln -sf /opt/cofferdam/bin/claude /usr/local/bin/claude

found=$(HOME=$build claude --version)
case $found in
    "$version "*) echo "agent: $found" ;;
    *) echo "the package says that it is $version, and its program says $found" >&2; exit 1 ;;
esac
rm -rf $build
