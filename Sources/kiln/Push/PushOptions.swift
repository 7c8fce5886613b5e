import ArgumentParser
import Glibc
import KilnModel
import KilnProfiles
import SystemPackage

/// Where profiles are pushed to. For all subcommands that have any.
struct PushOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Send the stacks to a server: \(PushDestination.all.map(\.title).joined(separator: "; ")).",
            discussion: "The program curl sends them. It honours http_proxy, https_proxy, no_proxy, CURL_CA_BUNDLE and SSL_CERT_FILE.", valueName: "url"))
    var push: String?

    @Option(
        name: .customLong("push-token-file"),
        help: ArgumentHelp("With --push: send the first line of this file as bearer token. By https:// only, or to this host.", valueName: "file"),
        completion: .file())
    var tokenFile: String?

    func validate() throws {
        guard let push else {
            if tokenFile != nil { throw ValidationError("--push-token-file is for a server: give --push.") }
            return
        }
        do {
            let url = try PushURL(push)
            _ = try PushDestination.of(url)
            guard tokenFile == nil || url.isEncrypted || url.isLoopback else {
                throw ValidationError("--push-token-file sends a secret, and others can read what goes to \(url.place): give a URL of https://.")
            }
        } catch let error as PushError {
            throw ValidationError("--push \(error)")
        }
    }

    /// Everything that can be known to fail before a session begins. Nil: nothing is to be pushed.
    func target() throws -> PushTarget? {
        guard let push else { return nil }
        let url = try PushURL(push), (destination, endpoint) = try PushDestination.of(url)
        return PushTarget(destination: destination, endpoint: endpoint, curl: try Curl(token: try tokenFile.map(bearerToken)))
    }
}

/// Pushing of sessions.
struct SessionPushOptions: ParsableArguments {
    @OptionGroup var options: PushOptions

    @Option(
        name: .customLong("push-interval"),
        help: ArgumentHelp("With --push: send every so many seconds what is new, not only at the end.", valueName: "seconds"))
    var interval: Double?

    func validate() throws {
        guard let interval else { return }
        guard options.push != nil else { throw ValidationError("--push-interval is for a server: give --push.") }
        try require("--push-interval", interval, in: 10...86_400)
    }

    /// Nil: nothing is to be pushed.
    func session() throws -> SessionPush? {
        try options.target().map { SessionPush(to: $0, every: interval.map { Nanoseconds(UInt64($0 * 1e9)) }) }
    }
}

/// A server to push to, and the program that sends.
struct PushTarget: Sendable {
    let destination: PushDestination
    let endpoint: PushURL
    let curl: Curl

    func send(_ request: PushRequest, isInterrupted: () -> Bool) -> PushVerdict {
        switch curl.send(request, isInterrupted: isInterrupted) {
        case .answer(let answer): destination.verdict(on: answer, now: WallTime().sinceEpoch)
        case .none(let verdict): verdict
        }
    }
}

/// A token: the first line of a file.
func bearerToken(_ file: String) throws -> String {
    let most = 1 << 13
    var bytes: [UInt8] = []
    try withInput(file, "a token") { input in
        try forEachPiece { memory in
            let count = try input.read(into: memory)
            bytes += memory[..<count].prefix(most - bytes.count)
            return bytes.count < most ? count : 0
        }
    }
    let line = bytes.prefix { $0 != UInt8(ascii: "\n") }
    let token = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
    guard !token.isEmpty, token.count < most, token.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
        throw Failure("cannot use \(file): its first line is no token, which has printable characters of ASCII without blanks.")
    }
    return String(decoding: token, as: UTF8.self)
}
