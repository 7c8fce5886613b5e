import Foundation
import TestSupport
import Testing

@testable import kiln

/// `grafana/kiln-redis.json`, read as Grafana reads it.
struct Dashboard {
    struct Query {
        var panel: String
        var expression: String
    }

    let root: [String: Any]

    init() throws {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../../grafana/kiln-redis.json").standardized
        guard let root = try JSONSerialization.jsonObject(with: try Data(contentsOf: file)) as? [String: Any] else { throw TestFailure("no object") }
        self.root = root
    }

    var panels: [[String: Any]] { root["panels"] as? [[String: Any]] ?? [] }

    var variables: [[String: Any]] { (root["templating"] as? [String: Any])?["list"] as? [[String: Any]] ?? [] }

    static func targets(of panel: [String: Any]) -> [[String: Any]] { panel["targets"] as? [[String: Any]] ?? [] }

    /// Of all panels, with the variables replaced.
    var queries: [Query] {
        panels.flatMap { panel in
            Self.targets(of: panel).map { Query(panel: panel["title"] as? String ?? "", expression: Self.replaced($0["expr"] as? String ?? "")) }
        }
    }

    /// Of variables: a series and its label whose values Grafana offers.
    var choices: [(name: String, series: String, label: String)] {
        variables.compactMap { variable in
            guard let text = variable["definition"] as? String, let parts = text.wholeMatch(of: /label_values\((.*), ([a-z]+)\)/) else { return nil }
            return (variable["name"] as? String ?? "", Self.replaced(String(parts.1)), String(parts.2))
        }
    }

    var annotations: [String] {
        let list = (root["annotations"] as? [String: Any])?["list"] as? [[String: Any]] ?? []
        return list.compactMap { $0["expr"] as? String }.map(Self.replaced)
    }

    private static func replaced(_ expression: String) -> String {
        let values = [
            "$__rate_interval": "10s", "$__interval": "10s", "$instance": ".*", "$command": ".*", "$job": ".*", "$one": "GET", "$phase": "service",
        ]
        return values.reduce(expression) { $0.replacing($1.key, with: $1.value) }
    }
}

struct DashboardTests {
    /// The data source is the reader's choice, so that the file can be imported anywhere.
    @Test func everyQueryAsksTheChosenSource() throws {
        let dashboard = try Dashboard()
        var expressions = 0
        for panel in dashboard.panels where panel["type"] as? String != "row" {
            for part in [panel] + Dashboard.targets(of: panel) {
                #expect((part["datasource"] as? [String: Any])?["uid"] as? String == "${datasource}", "\(panel["title"] ?? "")")
            }
            expressions += Dashboard.targets(of: panel).count
        }
        #expect(expressions >= 25 && dashboard.queries.count == expressions)
        #expect(dashboard.variables.first?["type"] as? String == "datasource" && dashboard.choices.count == dashboard.variables.count - 1)
        #expect(dashboard.queries.allSatisfy { !$0.expression.contains("$") } && dashboard.choices.allSatisfy { !$0.series.contains("$") })
    }

    /// Grafana moves panels that overlap, and confuses those with one number.
    @Test func panelsFillTheGrid() throws {
        let panels = try Dashboard().panels
        var taken: Set<[Int]> = []
        for panel in panels {
            let place = try #require(panel["gridPos"] as? [String: Int])
            let (x, y, w, h) = (place["x"] ?? -1, place["y"] ?? -1, place["w"] ?? 0, place["h"] ?? 0)
            #expect(x >= 0 && x + w <= 24 && w > 0 && h > 0)
            for cell in (x..<x + w).flatMap({ x in (y..<y + h).map { [x, $0] } }) { #expect(taken.insert(cell).inserted, "\(panel["title"] ?? "")") }
        }
        #expect(Set(panels.compactMap { $0["id"] as? Int }).count == panels.count)
    }
}
