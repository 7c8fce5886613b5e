import Foundation

/// A headless Chromium that opens pages and takes real mouse and keyboard events, spoken to over the DevTools pipe.
///
/// Everything a page complains about (exceptions, console messages, violations of a content security policy)
/// is gathered in `complaints`.
public final class Browser {
    public struct Failure: Error, CustomStringConvertible {
        public var description: String
    }

    public static var executable: String? { program("chromium") ?? program("chromium-browser") ?? program("google-chrome") }

    public private(set) var complaints: [String] = []
    /// What pages have asked for, but for the pages themselves.
    public private(set) var requests: [String] = []
    private let process = Process()
    private let commands = Pipe()
    private let replies = Pipe()
    private let profile: TemporaryDirectory
    private var received = Data()
    private var lastID = 0
    private var session: String?
    private var loaded = false

    public init(width: Int = 1200, height: Int = 800) throws {
        signal(SIGPIPE, SIG_IGN)  // a browser that ended is an error to report, not the end of the tests
        profile = try TemporaryDirectory()
        // The browser reads commands from descriptor 3 and writes replies to 4; a shell puts the pipes there.
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = [
            "-c", "exec \"$@\" 3<&0 4>&1 >/dev/null 2>&1", "sh", Self.executable ?? "chromium", "--headless", "--no-sandbox",
            "--disable-gpu", "--remote-debugging-pipe", "--user-data-dir=\(profile.url.path)", "about:blank",
        ]
        process.standardInput = commands
        process.standardOutput = replies
        try process.run()
        let targets = try call("Target.getTargets")["targetInfos"] as? [[String: Any]] ?? []
        guard let page = targets.first(where: { $0["type"] as? String == "page" })?["targetId"] as? String else {
            throw Failure(description: "the browser opened no page")
        }
        session = try call("Target.attachToTarget", ["targetId": page, "flatten": true])["sessionId"] as? String
        for domain in ["Page", "Runtime", "Log", "Network"] { _ = try call("\(domain).enable") }
        try resize(width: width, height: height)
    }

    deinit {
        // Asked to close, the browser is done with its profile directory when it ends; killed, it may still write there.
        session = nil
        if (try? call("Browser.close")) == nil { process.terminate() }
        process.waitUntilExit()
    }

    public func resize(width: Int, height: Int) throws {
        _ = try call(
            "Emulation.setDeviceMetricsOverride",
            ["width": width, "height": height, "deviceScaleFactor": 1, "mobile": false])
    }

    /// What the reader of pages prefers, "light" or "dark", and where they are shown, "screen" or "print".
    public func prefer(_ scheme: String, media: String = "screen") throws {
        _ = try call(
            "Emulation.setEmulatedMedia",
            ["media": media, "features": [["name": "prefers-color-scheme", "value": scheme]]])
    }

    /// On how many sheets of paper the page is printed.
    public func printedPages(landscape: Bool) throws -> Int {
        String(decoding: try pdf(landscape: landscape), as: UTF8.self).components(separatedBy: "/Type /Page\n").count - 1
    }

    /// The page, printed.
    public func pdf(landscape: Bool) throws -> Data {
        let printed = try call("Page.printToPDF", ["landscape": landscape, "printBackground": true])["data"] as? String ?? ""
        return Data(base64Encoded: printed) ?? Data()
    }

    /// What is seen, or the whole page, PNG.
    public func screenshot(whole: Bool = false) throws -> Data {
        let image = try call("Page.captureScreenshot", ["format": "png", "captureBeyondViewport": whole])["data"] as? String ?? ""
        return Data(base64Encoded: image) ?? Data()
    }

    /// Opens a page and waits until it has loaded.
    public func open(_ url: String) throws {
        loaded = false
        // Between two pages, so that a change of nothing but the fragment loads the page anew.
        _ = try call("Page.navigate", ["url": "about:blank"])
        while !loaded { try receive() }
        loaded = false
        _ = try call("Page.navigate", ["url": url])
        while !loaded { try receive() }
    }

    /// The value of a JavaScript expression, as text.
    public func value(_ expression: String) throws -> String {
        let answer = try call("Runtime.evaluate", ["expression": "(async () => String(await \(expression)))()", "awaitPromise": true])
        if answer["exceptionDetails"] != nil { throw Failure(description: "exception in \(expression)") }
        return (answer["result"] as? [String: Any])?["value"] as? String ?? ""
    }

    /// Waits, at most ten seconds, until an expression is true.
    public func wait(for expression: String) throws {
        let deadline = Date().addingTimeInterval(10)
        while try value(expression) != "true" {
            if Date() > deadline { throw Failure(description: "never true: \(expression)") }
            usleep(10_000)
        }
    }

    /// The words of the names in a page's flamegraph, once it is painted.
    public func flamegraphLabels() throws -> [String] {
        try value(
            """
            new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() =>
              done([...document.querySelectorAll('.labels text')].map((text) => text.textContent).join(' ')))))
            """
        ).split(separator: " ").map(String.init)
    }

    public func move(x: Double, y: Double) throws {
        _ = try call("Input.dispatchMouseEvent", ["type": "mouseMoved", "x": x, "y": y])
    }

    public func click(x: Double, y: Double) throws {
        try move(x: x, y: y)
        for type in ["mousePressed", "mouseReleased"] {
            _ = try call(
                "Input.dispatchMouseEvent", ["type": type, "x": x, "y": y, "button": "left", "clickCount": 1])
        }
    }

    /// Presses the mouse at one point, moves it in steps to another one, and lets it go. `control` holds the control key down.
    public func drag(from start: (x: Double, y: Double), to end: (x: Double, y: Double), control: Bool = false) throws {
        let modifiers = control ? 2 : 0
        func send(_ type: String, _ x: Double, _ y: Double, buttons: Int) throws {
            _ = try call(
                "Input.dispatchMouseEvent",
                [
                    "type": type, "x": x, "y": y, "button": type == "mouseMoved" && buttons == 0 ? "none" : "left", "buttons": buttons, "clickCount": 1,
                    "modifiers": modifiers,
                ])
        }
        try send("mouseMoved", start.x, start.y, buttons: 0)
        try send("mousePressed", start.x, start.y, buttons: 1)
        for step in 1...4 {
            let share = Double(step) / 4
            try send("mouseMoved", start.x + (end.x - start.x) * share, start.y + (end.y - start.y) * share, buttons: 1)
        }
        try send("mouseReleased", end.x, end.y, buttons: 0)
    }

    /// Presses keys by their names: "Enter", "ArrowUp", "a". `control` and `shift` hold these keys down.
    public func press(_ keys: String..., control: Bool = false, shift: Bool = false) throws {
        let codes = ["Tab": 9, "Enter": 13, "Escape": 27, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40]
        for key in keys {
            var event: [String: Any] = ["type": "keyDown", "key": key, "modifiers": (control ? 2 : 0) + (shift ? 8 : 0)]
            if let code = codes[key] { event["windowsVirtualKeyCode"] = code } else if !control { event["text"] = key }
            _ = try call("Input.dispatchKeyEvent", event)
            event["type"] = "keyUp"
            event["text"] = nil
            _ = try call("Input.dispatchKeyEvent", event)
        }
    }

    public func type(_ text: String) throws {
        for character in text { try press(String(character)) }
    }

    private func call(_ method: String, _ parameters: [String: Any] = [:]) throws -> [String: Any] {
        lastID += 1
        var message: [String: Any] = ["id": lastID, "method": method, "params": parameters]
        message["sessionId"] = session
        try commands.fileHandleForWriting.write(contentsOf: JSONSerialization.data(withJSONObject: message) + [0])
        while true {
            guard let answer = try receive() else { continue }
            if let error = answer["error"] { throw Failure(description: "\(method): \(error)") }
            return answer["result"] as? [String: Any] ?? [:]
        }
    }

    /// Reads one message. Returns the answer to the last command; events are noted.
    @discardableResult
    private func receive() throws -> [String: Any]? {
        while true {
            if let end = received.firstIndex(of: 0) {
                let message = try JSONSerialization.jsonObject(with: received[..<end]) as? [String: Any] ?? [:]
                received.removeSubrange(...end)
                if message["id"] as? Int == lastID { return message }
                note(message)
                return nil
            }
            let descriptor = replies.fileHandleForReading.fileDescriptor
            var ready = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&ready, 1, 30_000) > 0 else { throw Failure(description: "the browser is silent for 30 s") }
            let more = replies.fileHandleForReading.availableData
            if more.isEmpty { throw Failure(description: "the browser ended") }
            received += more
        }
    }

    private func note(_ message: [String: Any]) {
        switch message["method"] as? String {
        case "Page.loadEventFired": loaded = true
        case "Network.requestWillBeSent":
            let parameters = message["params"] as? [String: Any] ?? [:], request = parameters["request"] as? [String: Any]
            if parameters["type"] as? String != "Document" { requests.append(request?["url"] as? String ?? "") }
        case "Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded":
            complaints.append("\(message["params"] ?? "")")
        default: break
        }
    }
}
