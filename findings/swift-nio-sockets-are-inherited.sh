#!/bin/sh
# swift-nio 2.101.2 on Linux: its sockets are inherited by programs that the process starts.
#
# Expected: a socket that a library makes is close-on-exec, as those of libuv, Go and Python are (SOCK_CLOEXEC; PEP 446).
# Seen: a listening socket of ServerBootstrap has no O_CLOEXEC in /proc/self/fdinfo (flags: 04002), and a program that is started by posix_spawn
# without file actions holds it.
#
# Why it matters: a server that starts a helper can't be restarted while the helper lives: the address is in use, by a program that doesn't know of it.
# Needs Swift 6.2 or later. Ends with 1 where the behaviour is another one, with 2 where it could not run.
set -eu
command -v swift >/dev/null || { echo "needs swift"; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir -p "$folder/Sources/inherited"
cat >"$folder/Package.swift" <<'EOP'
// swift-tools-version: 6.0
import PackageDescription

let package = Package(
    name: "inherited",
    dependencies: [.package(url: "https://github.com/apple/swift-nio", exact: "2.101.2")],
    targets: [.executableTarget(name: "inherited", dependencies: [.product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOPosix", package: "swift-nio")])]
)
EOP
cat >"$folder/Sources/inherited/main.swift" <<'EOP'
import Glibc
import NIOCore
import NIOPosix

let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
let channel = try ServerBootstrap(group: group).bind(host: "127.0.0.1", port: 0).wait()
guard let port = channel.localAddress?.port else { fatalError("no port") }
print("own port \(port)")
fflush(nil)
// The sockets that a program holds which listen on that port, by inode.
let script = "grep -i ':\(String(port, radix: 16)) ' /proc/net/tcp | while read -r a b c d e f g h i inode rest; do ls -l /proc/self/fd | grep -c \"socket:\\[$inode\\]\"; done"
var child = pid_t(), status = Int32(0)
let words = ["sh", "-c", script].map { strdup($0) }
guard posix_spawn(&child, "/bin/sh", nil, nil, words + [nil], environ) == 0 else { fatalError("no child") }
waitpid(child, &status, 0)
EOP
(cd "$folder" && swift build >build.log 2>&1) || { tail -n 3 "$folder/build.log"; echo "swift-nio 2.101.2 is not to be had"; exit 2; }
seen=$(cd "$folder" && .build/debug/inherited)
echo "$seen"
[ "$(echo "$seen" | tail -n 1)" = 1 ] || { echo "the child does not hold the listening socket"; exit 1; }
echo "swift-nio 2.101.2: a child process holds the listening socket"
