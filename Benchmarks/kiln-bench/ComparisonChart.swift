import Foundation

/// The comparison as a picture: a panel for each kind of traffic, a line for each observer, cost on a logarithmic axis.
struct ComparisonChart {
    let summary: ComparisonSummary
    let subtitle: [String]

    /// What is less, or nothing, stands at the left edge; the number beside it tells.
    private static let least = 0.5, most = 2000.0
    private static let labels = 250.0, panel = 190.0, gap = 14.0, line = 22.0, top = 92.0

    func svg() -> String {
        let width = Self.labels + Double(summary.traffics.count) * (Self.panel + Self.gap) + 10
        let bottom = Self.top + Double(summary.observers.count) * Self.line, height = bottom + 46
        var text = [
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-20 0 \(number(width + 20)) \(number(height))\" font-family=\"system-ui, sans-serif\" font-size=\"12\">",
            "<title>What watching a Redis server costs</title>",
            "<rect x=\"-20\" width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>",
            element(10, 24, "What watching a Redis server costs: server CPU time a command, more than with nothing", size: 16, weight: "bold"),
        ]
        text += subtitle.enumerated().map { element(10, 42 + Double($0) * 15, $1, size: 11, fill: "#555555") }
        for (index, observer) in summary.observers.enumerated() {
            let y = Self.top + (Double(index) + 0.5) * Self.line
            if index % 2 == 0 {
                text.append("<rect x=\"0\" y=\"\(number(y - Self.line / 2))\" width=\"\(number(width))\" height=\"\(number(Self.line))\" fill=\"#f4f4f4\"/>")
            }
            text.append(element(Self.labels - 10, y + 4, observer, anchor: "end", weight: observer.hasPrefix("kiln") ? "bold" : "normal"))
        }
        for (index, traffic) in summary.traffics.enumerated() { text += panel(traffic, Self.labels + Double(index) * (Self.panel + Self.gap), bottom) }
        text.append(
            element(
                10, height - 8,
                "Median of \(summary.rounds) rounds; the bar spans the quartiles. Logarithmic axis; at its left end: \(number(Self.least)) % or less.",
                size: 11, fill: "#555555"))
        return text.joined(separator: "\n") + "\n</svg>\n"
    }

    private func panel(_ traffic: String, _ left: Double, _ bottom: Double) -> [String] {
        var text = [element(left, Self.top - 8, traffic, weight: "bold")]
        for tick in [1.0, 10, 100, 1000] {
            let x = left + position(tick)
            text.append("<line x1=\"\(number(x))\" y1=\"\(number(Self.top))\" x2=\"\(number(x))\" y2=\"\(number(bottom))\" stroke=\"#cccccc\"/>")
            text.append(element(x, bottom + 14, "\(number(tick))", anchor: "middle", size: 10, fill: "#555555"))
        }
        for (index, observer) in summary.observers.enumerated() {
            guard let cell = summary.cell(observer, traffic) else { continue }
            let y = Self.top + (Double(index) + 0.5) * Self.line, colour = observer.hasPrefix("kiln") ? "#c8501e" : "#3b6ea5"
            let (low, middle, high) = (left + position(cell.costLow * 100), left + position(cell.cost * 100), left + position(cell.costHigh * 100))
            text.append(
                "<line x1=\"\(number(low))\" y1=\"\(number(y))\" x2=\"\(number(high))\" y2=\"\(number(y))\" stroke=\"\(colour)\" stroke-width=\"4\" stroke-opacity=\"0.35\" stroke-linecap=\"round\"/>"
            )
            text.append("<circle cx=\"\(number(middle))\" cy=\"\(number(y))\" r=\"4\" fill=\"\(colour)\"/>")
            // On the side that has room.
            let ahead = max(high, middle) < left + Self.panel - 52
            text.append(element(ahead ? max(high, middle) + 8 : min(low, middle) - 8, y + 4, percent(cell.cost), anchor: ahead ? "start" : "end", size: 11))
        }
        return text
    }

    private func position(_ percent: Double) -> Double {
        let bounded = min(max(percent, Self.least), Self.most)
        return (log10(bounded) - log10(Self.least)) / (log10(Self.most) - log10(Self.least)) * Self.panel
    }

    private func element(
        _ x: Double, _ y: Double, _ text: String, anchor: String = "start", size: Int = 12, weight: String = "normal", fill: String = "#222222"
    ) -> String {
        let escaped = text.replacingOccurrences(of: "&", with: "&amp;").replacingOccurrences(of: "<", with: "&lt;")
        return
            "<text x=\"\(number(x))\" y=\"\(number(y))\" text-anchor=\"\(anchor)\" font-size=\"\(size)\" font-weight=\"\(weight)\" fill=\"\(fill)\">\(escaped)</text>"
    }

    private func number(_ value: Double) -> String {
        let rounded = (value * 10).rounded() / 10
        return rounded == rounded.rounded() ? "\(Int(rounded))" : "\(rounded)"
    }
}
