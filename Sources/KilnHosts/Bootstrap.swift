/// The first minute on another host: a POSIX shell script that finds kiln there, or receives it, and then becomes kiln's parent.
///
/// The script is the standard input of `sh`, whatever the user's login shell is. It is one function that is called in the last line, so that
/// the shell has read all of it before it reads what follows. It asks for nothing: each step waits for a line from here.
public struct Bootstrap: Sendable {
    /// A random word that begins each line of the script. Other lines come from the login shell.
    public let mark: String
    public let version: String
    public let usesSudo: Bool

    /// - Parameters:
    ///   - mark: Random letters and digits.
    ///   - version: The first line of `kiln --version` here.
    public init(mark: String, version: String, usesSudo: Bool) {
        self.mark = mark
        self.version = version
        self.usesSudo = usesSudo
    }

    /// The command for the login shell: csh and fish understand it as well.
    public static let command = "exec sh"

    public var script: String {
        """
        kiln_main() {
          mark=\(mark) version='\(version)' sudo=\(usesSudo ? "wanted" : "none") directory=
          mask=$(umask)
          umask 077
          # On a line of its own, whatever a login shell has printed.
          say() { printf '\\n%s %s\\n' "$mark" "$*"; }
          # A kind, and of what a program said the last line.
          fail() { say "failed $1 $(printf '%s\\n' "$2" | tail -n 1)"; exit 1; }
          # Twice: a session that ends may still write.
          remove() { [ -z "$directory" ] || rm -rf "$directory" || { sleep 1; rm -rf "$directory"; }; directory=; }
          trap remove EXIT
          # PIPE: the connection is lost, and whatever is said ends the shell.
          trap 'exit 1' HUP INT TERM PIPE

          # Which kiln is there, and how to become root.
          kiln=$(command -v kiln 2>/dev/null) || kiln=
          case $kiln in /*) [ "$("$kiln" --version 2>/dev/null </dev/null | head -n 1)" = "$version" ] || kiln= ;; *) kiln= ;; esac
          if [ "$sudo" = wanted ]; then
            if [ "$(id -u)" = 0 ]; then sudo=none
            elif ! command -v sudo >/dev/null 2>&1; then sudo=absent
            elif sudo -n true >/dev/null 2>&1 </dev/null; then sudo=free
            else sudo=password; fi
          fi
          say "found $(uname -s) $(uname -m) $sudo ${kiln:-none}"

          IFS= read -r password || exit 1
          if [ "$sudo" = password ]; then
            # The pipe ends after one line, so that sudo doesn't ask again.
            words=$(printf '%s\\n' "$password" | LC_ALL=C sudo -S -p '' true 2>&1) || fail sudo "$words"
          fi
          say ready

          read -r way || exit 1
          for tool in mktemp head gzip sha256sum; do command -v $tool >/dev/null 2>&1 || fail tool $tool; done
          for parent in "${TMPDIR:-/tmp}" /var/tmp "$HOME"; do
            directory=$(mktemp -d "$parent/kiln-host-XXXXXX" 2>/dev/null) || { directory=; continue; }
            # Programs can't be started everywhere (mount option noexec).
            printf '#!/bin/sh\\n' >"$directory/kiln" && chmod 700 "$directory/kiln" && "$directory/kiln" 2>/dev/null && break
            remove
          done
          [ -n "$directory" ] || fail directory "no directory can be made where programs can be started: tried ${TMPDIR:-/tmp}, /var/tmp and $HOME"
          if [ "$way" = sent ]; then
            : >"$directory/kiln"
            # Each piece, a gzip file of its own, is asked for, because head may read more than it passes on.
            limit=$(command -v timeout >/dev/null 2>&1 && echo "timeout 30")
            while say more && read -r size sum && [ "$size" != 0 ]; do
              words=$({ $limit head -c "$size" | gzip -dc >>"$directory/kiln"; } 2>&1) || fail write "$words"
            done
            [ "$(sha256sum <"$directory/kiln")" = "$sum  -" ] || fail hash "the checksum does not match"
            kiln=$directory/kiln
          fi
          umask "$mask"
          say started
          # sudo takes the first line if it has forgotten the password since; kiln skips it otherwise.
          case $sudo in
            none) "$kiln" remote-session "$mark" "$directory" ;;
            free) sudo -n -- "$kiln" remote-session "$mark" "$directory" ;;
            *) { printf '%s\\n' "$password"; password=; exec cat; } | sudo -S -p '' -- "$kiln" remote-session "$mark" "$directory" ;;
          esac
        }
        kiln_main; exit

        """
    }

    /// What the script says.
    public enum Said: Equatable, Sendable {
        case found(Found)
        /// The password is right, or there was none to check.
        case ready
        /// It waits for the length of a piece of the program, and the piece.
        case more
        /// kiln begins: frames follow its own mark.
        case started
        case failed(Failure, words: String)
    }

    public struct Found: Equatable, Sendable {
        /// `uname -s` and `uname -m`.
        public var system: String, machine: String
        public var sudo: Sudo
        /// kiln of the same version.
        public var kiln: String?
    }

    public enum Sudo: String, Equatable, Sendable {
        /// Not asked for, or the user is root.
        case none
        case absent, free, password
    }

    public enum Failure: String, Equatable, Sendable {
        case sudo, tool, directory, write, hash
    }

    /// Nil for a line that is not of the script.
    public func said(_ line: String) -> Said? {
        var words = line.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
        guard words.count >= 2, words.removeFirst() == mark else { return nil }
        let rest = words.count > 1 ? words[1] : ""
        switch words[0] {
        case "ready": return .ready
        case "more": return .more
        case "started": return .started
        case "failed":
            let parts = rest.split(separator: " ", maxSplits: 1)
            guard let kind = parts.first.flatMap({ Failure(rawValue: String($0)) }) else { return nil }
            return .failed(kind, words: parts.count > 1 ? String(parts[1]) : "")
        case "found":
            let parts = rest.split(separator: " ", maxSplits: 3).map(String.init)
            guard parts.count == 4, let sudo = Sudo(rawValue: parts[2]) else { return nil }
            return .found(Found(system: parts[0], machine: parts[1], sudo: sudo, kiln: parts[3] == "none" ? nil : parts[3]))
        default: return nil
        }
    }
}
