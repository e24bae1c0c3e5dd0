#!/bin/sh
# Makes a machine whose root is this one's, as deploy/service.md says, and a service that looks at it: service_look.py.
#   service_set_up.sh REPOSITORY PYTHON_PREFIX PYTHON_NAME SITE_PACKAGES BUNDLE
set -e
umask 022
for each in tmpfiles-setup tmpfiles-setup-dev udevd udev-trigger update-utmp sysusers random-seed timesyncd hwdb-update machine-id-commit; do
    ln -s /dev/null /etc/systemd/system/systemd-$each.service
done
mkdir -p /opt/edgecell/bin /opt/edgecell/python /opt/edgecell/site /opt/edgecell/repository /opt/edgecell/bundle /etc/edgecell /etc/sysusers.d
# Where the tests run the interpreter lies in somebody's home, or in /tmp, which the service does not see.
mount -o bind "$2" /opt/edgecell/python
mount -o bind "$4" /opt/edgecell/site
mount -o bind "$1" /opt/edgecell/repository
mount -o bind "$5" /opt/edgecell/bundle
cat > /opt/edgecell/bin/edgecell <<END
#!/bin/sh
export PYTHONPATH=/opt/edgecell/repository:/opt/edgecell/site PYTHONDONTWRITEBYTECODE=1
export LD_LIBRARY_PATH=/opt/edgecell/python/lib  # not the library of another Python that this machine may have
exec /opt/edgecell/python/bin/$3 -m edgecell "\$@"
END
chmod 755 /opt/edgecell/bin/edgecell
cp "$1/deploy/edgecell.service" /etc/systemd/system/
cp "$1/deploy/edgecell-metrics.service" "$1/deploy/edgecell-serve.service" /etc/systemd/system/
cp "$1/deploy/edgecell.sysusers" /etc/sysusers.d/edgecell.conf
systemd-sysusers edgecell.conf
cp "$1/deploy/settings/service.toml" /etc/edgecell/edgecell.toml
sed -i -e 's/^part = "v4l2"/part = "phantom"\nwidth = 320\nheight = 240\nfps = 5.0/' -e '/^device = /d' \
    -e 's|^nucleated = .*|nucleated = "/opt/edgecell/bundle"|' /etc/edgecell/edgecell.toml
printf '\n[segmenter]\npart = "stain"\n' >> /etc/edgecell/edgecell.toml
mkdir -p /etc/systemd/system/edgecell.service.d /etc/systemd/system/edgecell-serve.service.d
cp "$1"/deploy/boards/*.conf /etc/systemd/system/edgecell.service.d/
cp "$1"/deploy/boards/*.conf /etc/systemd/system/edgecell-serve.service.d/
# A socket where a Jetson's camera service has its own
/opt/edgecell/python/bin/$3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("/tmp/argus_socket")'
# An emulated machine is some twenty times slower.
printf '[Service]\nWatchdogSec=60\nRestartSec=3\nTimeoutStartSec=400\nTimeoutStopSec=100\nEnvironment=OMP_NUM_THREADS=1\n' > /etc/systemd/system/edgecell.service.d/quicker.conf
printf '[Service]\nTimeoutStopSec=100\nEnvironment=OMP_NUM_THREADS=1\n' > /etc/systemd/system/edgecell-serve.service.d/quicker.conf
cat > /etc/systemd/system/look.service <<END
[Unit]
DefaultDependencies=no
[Service]
Environment=PYTHONPATH=/opt/edgecell/repository:/opt/edgecell/site
ExecStart=/opt/edgecell/python/bin/$3 -u /opt/edgecell/repository/tests/system/service_look.py
ExecStopPost=/bin/systemctl poweroff --force --force
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
END
printf '[Unit]\nDefaultDependencies=no\nAllowIsolate=yes\nWants=look.service\n' > /etc/systemd/system/look.target
