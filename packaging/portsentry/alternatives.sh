#!/bin/sh
# For the maintainer scripts of a package: the names of PortSentry, by alternatives.
#
#   postinst configure:   alternatives.sh install
#   prerm remove:         alternatives.sh remove
#
# Where the distribution's own package is installed, the names are its files, and both verbs leave them alone. When that
# package comes later, its files take the place of our links; when it goes, `install` (at our next configuration, or by
# hand) brings the links back.
#
# Only the name matters to the program: called as portsentry, it behaves as that. ROOT is for tests.

set -eu

ROOT=${ROOT:-}
NAME=$ROOT/usr/sbin/portsentry
INIT=$ROOT/etc/init.d/portsentry
PROGRAM=$ROOT/usr/bin/portcullis
OUR_INIT=$ROOT/usr/share/portcullis/portsentry.init
# Below the 100 of whoever packages a PortSentry with alternatives: ours is chosen by itself only where it is alone.
PRIORITY=50

alternatives() {
    if [ -n "$ROOT" ]; then
        update-alternatives --altdir "$ROOT/etc/alternatives" --admindir "$ROOT/var/lib/alternatives" \
            --log /dev/null "$@"
    else
        update-alternatives "$@"
    fi
}

# A name that is there and no link of alternatives belongs to somebody else.
is_taken() {
    [ -e "$1" ] && [ "$(dirname "$(readlink "$1" || echo /)")" != "$ROOT/etc/alternatives" ]
}

case ${1:-} in
    install)
        for name in "$NAME" "$INIT"; do
            if is_taken "$name"; then
                echo "portcullis: $name is another package's, and stays so; portcullis portsentry does the same"
                exit 0
            fi
        done
        # update-alternatives passes over a link whose file is missing, and says that all is well.
        for file in "$PROGRAM" "$OUR_INIT"; do
            if [ ! -f "$file" ] || [ ! -x "$file" ]; then
                echo "portcullis: no names were made: there is no program $file; install it there first:" >&2
                echo "  install -D -m 755 target/release/portcullis /usr/bin/portcullis" >&2
                echo "  install -D -m 755 packaging/portsentry/portsentry.init /usr/share/portcullis/portsentry.init" >&2
                exit 1
            fi
        done
        alternatives --install "$NAME" portsentry "$PROGRAM" "$PRIORITY" \
            --slave "$INIT" portsentry.init "$OUR_INIT"
        ;;
    remove)
        alternatives --remove portsentry "$PROGRAM"
        ;;
    *)
        echo "Usage: $0 install|remove" >&2
        exit 2
        ;;
esac
