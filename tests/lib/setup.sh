# shellcheck shell=bash
# What Tern needs from Debian 12, and how it gets there. Sourced by tests/run and deploy/quickstart.
#
#   setup_install run         what it takes to build and run Tern
#   setup_install run test    that, and what its tests need
#   setup_npm FOLDER          the node modules of tests/e2e/package.json, into FOLDER
#
# Versions are compared, not presence: a package that is there but too old is upgraded, one that has to
# be of one version is replaced. Nothing is asked of apt when nothing is missing, so a second run needs
# neither root nor a network. Packages whose installation would start a daemon are installed with that
# door shut (policy-rc.d). Two packages are of bookworm-backports: where the machine does not know that
# suite, it is added as the machine knows bookworm itself (setup_backports). apt takes nothing else from
# there by itself.

# package                 oldest version that will do; =: this one, no other
setup_packages_run="
gcc                       4:12
libc6-dev                 2.36
cmake                     3.25
ninja-build               1.10
pkg-config                0
git                       1:2.30
liburing-dev              2.3
libxxhash-dev             0.8
libjansson-dev            2.13
libargon2-dev             0~20171227
android-libboringssl-dev  13
librocksdb-dev            7.8
liblz4-dev                1.9.4
libprotobuf-c-dev         1.4
protobuf-c-compiler       1.4
libraft0                  =0.22.1-1~bpo12+1
libraft-dev               =0.22.1-1~bpo12+1
"
setup_packages_test="
libcmocka-dev             1.1.5
clang                     1:14
libclang-rt-14-dev        1:14
clang-format              1:14
mosquitto                 2.0.11
mosquitto-clients         2.0.11
python3                   3.11
python3-paho-mqtt         1.6
libpaho-mqtt-dev          1.3
openssl                   3.0
gnutls-bin                3.7
sslscan                   2.0
testssl.sh                3.0
tshark                    4.0
iproute2                  5.10
"
# Debian's npm clashes with a nodejs from elsewhere, so they are wanted only where there is no npm.
setup_packages_npm="
ca-certificates           0
nodejs                    18
npm                       9
"

setup_die() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

# Print the packages of the given groups that are missing or too old, one a line, as apt-get takes them.
setup_missing() {
    local group package oldest have
    for group in "$@"; do
        local list="setup_packages_$group"
        while read -r package oldest; do
            [ -n "$package" ] || continue
            # shellcheck disable=SC2016
            have=$(dpkg-query -W -f='${db:Status-Status} ${Version}' "$package" 2>/dev/null) || have=""
            case $oldest in
            =*)
                [ "$have" = "installed ${oldest#=}" ] || printf '%s\n' "$package$oldest"
                continue
                ;;
            esac
            case $have in
            "installed "*)
                dpkg --compare-versions "${have#installed }" ge "$oldest" && continue
                ;;
            esac
            printf '%s\n' "$package"
        done <<<"${!list}"
    done
}

# Run as root: directly, or by sudo.
setup_root() {
    if [ "$(id -u)" -eq 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@"
    else
        sudo env DEBIAN_FRONTEND=noninteractive "$@"
    fi
}

# apt-get, quiet unless it fails.
setup_apt() {
    local log
    log=$(mktemp)
    if ! setup_root apt-get -q -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120 "$@" >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

# Installing must not start services: maintainer scripts ask policy-rc.d, and 101 means no.
# Somebody else's policy-rc.d is left as it is.
setup_policy=/usr/sbin/policy-rc.d
setup_services_shut() {
    setup_policy_ours=""
    [ -e "$setup_policy" ] && return 0
    setup_policy_ours=1
    printf '#!/bin/sh\nexit 101\n' | setup_root tee "$setup_policy" >/dev/null
    setup_root chmod 755 "$setup_policy"
    trap 'setup_services_open' EXIT
}
setup_services_open() {
    [ -n "$setup_policy_ours" ] && setup_root rm -f "$setup_policy"
    setup_policy_ours=""
    trap - EXIT
}

# setup_backports_of NUMBER FILE...: what bookworm-backports is called in a file of apt's, made of
# that entry for bookworm itself among the active ones of those files (*.list, *.sources): same places,
# options and keys. The first line is "list" or "sources". Prints nothing when there are fewer.
setup_backports_of() {
    local number=$1
    shift
    [ $# -gt 0 ] || return 0
    # Two candidates are one when they read alike. A stanza ends at an empty line or with its file.
    awk -v number="$number" '
    function has_word(text, word,    words, count, i) {
        count = split(text, words, /[ \t\n]+/)
        for (i = 1; i <= count; i++) {
            if (words[i] == word) return 1
        }
        return 0
    }
    function is_debian(suites, components) {
        return (has_word(suites, "bookworm") || has_word(suites, "oldstable") || has_word(suites, "stable")) &&
            has_word(components, "main")
    }
    function candidate(text) {
        if (!(text in seen)) {
            seen[text] = 1
            if (++found == number) printf "%s", text
        }
    }
    function end_stanza() {
        if (has_word(field["types"], "deb") && field["uris"] !~ /cdrom:/ &&
            is_debian(field["suites"], field["components"]) &&
            tolower(field["enabled"]) !~ /^[ \t]*(no|false|off|0|without|disable)/) {
            candidate("sources\nTypes: deb\nURIs:" field["uris"] "\nSuites: bookworm-backports\n" \
                "Components: main\n" rest)
        }
        delete field
        rest = name = ""
    }
    FNR == 1 { end_stanza() }
    { sub(/\r$/, "") }
    FILENAME ~ /\.list$/ {
        sub(/#.*/, "")
        if ($1 != "deb") next
        options = ""
        line = $0
        sub(/^[ \t]*deb[ \t]+/, "", line)
        if (line ~ /^\[/) {
            if (!match(line, /^\[[^]]*\][ \t]*/)) next
            options = substr(line, 1, RLENGTH)
            line = substr(line, RLENGTH + 1)
        }
        count = split(line, words, /[ \t]+/)
        components = ""
        for (i = 3; i <= count; i++) components = components " " words[i]
        if (words[1] !~ /^cdrom:/ && is_debian(words[2], components)) {
            candidate("list\ndeb " options words[1] " bookworm-backports main\n")
        }
        next
    }
    /^#/ { next }
    /^[ \t]*$/ { end_stanza(); next }
    /^[ \t]/ { # the field goes on
        if (name ~ /^(types|uris|suites|components|enabled)$/) field[name] = field[name] "\n" $0
        else if (name != "") rest = rest $0 "\n"
        next
    }
    /^[A-Za-z0-9-]+:/ {
        name = tolower(substr($0, 1, index($0, ":") - 1))
        if (name ~ /^(types|uris|suites|components|enabled)$/) {
            field[name] = substr($0, index($0, ":") + 1)
        } else if (name !~ /^x-/) rest = rest $0 "\n"
    }
    END { end_stanza() }
    ' "$@"
}

# Does apt know these packages (name=version)?
setup_is_offered() {
    local package known
    for package in "$@"; do
        known=$(apt-cache madison "${package%%=*}" 2>/dev/null) || return 1
        case $known in
        *"| ${package#*=} |"*) ;;
        *) return 1 ;;
        esac
    done
}

# Make apt know these packages of bookworm-backports: nothing to do where it does already. Of several
# entries for bookworm (somebody else's may be called so, too) the one that has them stays.
setup_backports() {
    local files=() file number=0 entry target
    setup_is_offered "$@" && return 0
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        [ -r "$file" ] && files+=("$file")
    done
    while number=$((number + 1)) && entry=$(setup_backports_of "$number" "${files[@]}") && [ -n "$entry" ]; do
        target=/etc/apt/sources.list.d/tern-backports.${entry%%$'\n'*}
        {
            printf '# For %s; made by tests/lib/setup.sh of Tern.\n' "$*"
            printf '%s\n' "${entry#*$'\n'}"
        } | setup_root tee "$target" >/dev/null
        if setup_apt update -o Dir::Etc::sourcelist="$target" -o Dir::Etc::sourceparts=- \
            -o APT::Get::List-Cleanup=0 2>/dev/null && setup_is_offered "$@"; then
            printf 'setup: added bookworm-backports for %s: %s\n' "$*" "$target"
            return 0
        fi
        setup_root rm -f "$target"
    done
    setup_die "apt does not know $*: add the suite bookworm-backports of your Debian mirror to its sources"
}

setup_install() {
    local groups=("$@") missing exact mosquitto_is_new=""
    command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
        setup_die "this needs Debian 12 (or something with apt); elsewhere install what tests/lib/setup.sh lists and build with cmake"
    case " $* " in
    *" test "*) command -v npm >/dev/null || groups+=(npm) ;;
    esac
    missing=$(setup_missing "${groups[@]}" | tr '\n' ' ')
    [ -n "$missing" ] || return 0
    printf 'setup: installing %s\n' "$missing"
    [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null ||
        setup_die "neither root nor sudo; as root: apt-get install $missing"
    case " $missing" in
    *" mosquitto "*) dpkg-query -W -f='${db:Status-Status}' mosquitto 2>/dev/null | grep -qx installed ||
        mosquitto_is_new=1 ;;
    esac
    setup_services_shut
    setup_apt update || setup_die "apt-get update failed"
    exact=$(tr ' ' '\n' <<<"$missing" | grep '=' || :)
    # shellcheck disable=SC2086
    [ -z "$exact" ] || setup_backports $exact
    # shellcheck disable=SC2086
    setup_apt install --no-install-recommends --allow-downgrades $missing || setup_die "apt-get install failed"
    if [ -n "$mosquitto_is_new" ]; then
        # We want the program for comparison, not the service at the next boot.
        setup_root update-rc.d mosquitto disable >/dev/null 2>&1 || :
        setup_root deb-systemd-helper disable mosquitto.service >/dev/null 2>&1 || :
    fi
    setup_services_open
    missing=$(setup_missing "${groups[@]}" | tr '\n' ' ')
    [ -z "$missing" ] || setup_die "still missing or too old after the installation: $missing"
}

# The manual of mosquitto.conf is read by a test; small images leave manuals out at installation.
# Prints nothing; afterwards it is in its usual place or in FOLDER/mosquitto.conf.5.gz.
setup_manual() {
    local folder=$1 scratch
    [ -e /usr/share/man/man5/mosquitto.conf.5.gz ] && return 0
    [ -e "$folder/mosquitto.conf.5.gz" ] && return 0
    printf 'setup: fetching the manual of mosquitto.conf\n'
    scratch=$(mktemp -d)
    (cd "$scratch" && chmod 755 . && apt-get -q download mosquitto >/dev/null 2>&1 &&
        dpkg-deb -x mosquitto_*.deb .) ||
        setup_die "cannot fetch Debian's mosquitto package for its manual (apt-get download mosquitto)"
    mkdir -p "$folder"
    cp "$scratch/usr/share/man/man5/mosquitto.conf.5.gz" "$folder/" ||
        setup_die "Debian's mosquitto package has no mosquitto.conf.5.gz"
    rm -rf "$scratch"
}

# Done when FOLDER holds what package.json and package-lock.json ask for: npm writes node_modules
# last, and a copy of the lock beside it says for which lock.
setup_npm() {
    local folder=$1 from
    from=$(cd "$(dirname "${BASH_SOURCE[0]}")/../e2e" && pwd)
    cmp -s "$from/package-lock.json" "$folder/installed.json" && return 0
    printf 'setup: installing node modules into %s\n' "$folder"
    mkdir -p "$folder"
    cp "$from/package.json" "$from/package-lock.json" "$folder/"
    (cd "$folder" && npm ci --loglevel=error --no-audit --no-fund --ignore-scripts >/dev/null) ||
        setup_die "npm ci failed in $folder"
    cp "$from/package-lock.json" "$folder/installed.json"
}
