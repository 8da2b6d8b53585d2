#!/bin/sh
# Installs, tries, updates, removes and purges the package $1 in a clean Debian. Each step prints its
# result; the first one that fails ends the check with status 1.
#
# systemd does not run here: systemd-analyze checks the unit.

package=$1
# Some shells write to their user's home.
export HOME=/tmp

ok() { echo "ok    $*"; }
fail() {
	echo "FAIL  $*"
	exit 1
}

# Every path, except those of dpkg, of the manual's index and of logs, and those that a boot removes.
paths() {
	find / -xdev \( -path /proc -o -path /run -o -path /tmp -o -path /var/log -o -path /var/lib/dpkg -o -path /var/cache/man \) \
		-prune -o -print | sort
}

# contains TEXT COMMAND...: the command succeeds and prints TEXT.
contains() {
	text=$1
	shift
	"$@" >/tmp/out 2>&1 || { cat /tmp/out; fail "$* ended with status $?"; }
	grep -qF -e "$text" /tmp/out || { cat /tmp/out; fail "$* does not print '$text'"; }
}

# silent COMMAND...: the command succeeds and prints nothing.
silent() {
	"$@" >/tmp/out 2>&1 || { cat /tmp/out; fail "$* ended with status $?"; }
	[ ! -s /tmp/out ] || { cat /tmp/out; fail "$* prints something"; }
}

paths >/tmp/before
dpkg -i "$package" >/tmp/out 2>&1 || { cat /tmp/out; fail "dpkg -i"; }
ok "installs: $(dpkg-query -W -f '${Package} ${Version} ${Architecture}, ${Installed-Size} KiB' scx-takt)"

contains "scx_takt " scx_takt --version
ok "$(cat /tmp/out)"
scx_takt check >/tmp/out 2>&1
grep -qE '^scx_takt can(not)? run on kernel' /tmp/out || { cat /tmp/out; fail "check prints no result"; }
ok "scx_takt check prints a result"

for page in scx_takt scx_takt-check scx_takt-bench; do
	contains NAME man "$page"
	silent sh -c 'man --warnings=w -E UTF-8 -l -Tutf8 -Z "$1" >/dev/null' sh "$(man -w "$page")"
done
ok "manual pages"

cat >/tmp/complete.bash <<'END'
. /usr/share/bash-completion/bash_completion
_comp_load scx_takt 2>/dev/null || __load_completion scx_takt
COMP_WORDS=(scx_takt ch) COMP_CWORD=1
$(complete -p scx_takt | sed 's/.*-F \([^ ]*\).*/\1/') scx_takt ch scx_takt
echo "${COMPREPLY[@]}"
END
contains check bash /tmp/complete.bash
contains check fish -c 'complete -C "scx_takt ch"'
contains _scx_takt zsh -fc 'autoload -Uz compinit && compinit -u -D && print -r -- $_comps[scx_takt]'
silent zsh -n /usr/share/zsh/vendor-completions/_scx_takt
ok "completions of bash, fish and zsh"

silent systemd-analyze verify scx_takt.service
ok "systemd-analyze verify prints nothing"
systemd-analyze security --offline=true --no-pager scx_takt.service 2>/tmp/out | grep 'Overall exposure' ||
	{ cat /tmp/out; fail "systemd-analyze security"; }
[ ! -e /etc/systemd/system/multi-user.target.wants/scx_takt.service ] || fail "the unit is enabled by itself"
systemctl enable scx_takt.service >/tmp/out 2>&1 || { cat /tmp/out; fail "systemctl enable"; }
ok "the unit is not enabled by itself, and can be"

for file in /usr/share/scx_takt/rules.d/*.toml; do
	echo "include = [\"$(basename "$file" .toml)\"]" >/tmp/config.toml
	scx_takt config --check /tmp/config.toml >/tmp/out 2>&1 || { cat /tmp/out; fail "$file"; }
done
ok "every file of rules can be included"

echo "# changed here" >>/etc/scx_takt/config.toml
dpkg -i "$package" >/tmp/out 2>&1 || { cat /tmp/out; fail "a second dpkg -i"; }
grep -q "changed here" /etc/scx_takt/config.toml || fail "an update loses changes of the configuration"
dpkg -r scx-takt >/tmp/out 2>&1 || { cat /tmp/out; fail "dpkg -r"; }
grep -q "changed here" /etc/scx_takt/config.toml || fail "removal loses changes of the configuration"
[ ! -e /usr/bin/scx_takt ] || fail "removal leaves the binary"
ok "update and removal keep a changed configuration"

dpkg -P scx-takt >/tmp/out 2>&1 || { cat /tmp/out; fail "dpkg -P"; }
paths >/tmp/after
diff /tmp/before /tmp/after || fail "a purge leaves files, or removes too many (< before, > after)"
ok "a purge leaves no files"
