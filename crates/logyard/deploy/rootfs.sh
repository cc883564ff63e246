#!/bin/sh
# Gathers what the image holds: the binaries, the libraries they name, a user, the authorities that are trusted.
#
#   rootfs.sh BINARIES TARGET     BINARIES: the folder with logyard and logq; TARGET: gets root/ and owned/
set -eu
binaries=$1
root=$2/root
owned=$2/owned
mkdir -p "$root/usr/bin" "$root/etc/ssl/certs" "$owned/data"

for name in logyard logq; do
    cp "$binaries/$name" "$root/usr/bin/$name"
    # Lines such as "libm.so.6 => /lib/x/libm.so.6 (0x…)" and "/lib64/ld-linux-x86-64.so.2 (0x…)".
    ldd "$binaries/$name" | sed -n 's|.* => \(/[^ ]*\) .*|\1|p; s|^[[:space:]]*\(/[^ ]*\) .*|\1|p' |
        while read -r library; do
            mkdir -p "$root${library%/*}"
            cp -L "$library" "$root$library"
        done
done

echo 'logyard:x:10001:10001:Logyard:/data:/nonexistent' >"$root/etc/passwd"
echo 'logyard:x:10001:' >"$root/etc/group"
# Without it names of containers would be asked for before /etc/hosts is read.
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
# For targets of alerts and stores behind HTTPS; without it only authorities that settings name are trusted.
if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
    cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
fi
