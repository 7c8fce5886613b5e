import KilnModel
import PrintableText

extension Profile {
    /// A profile of no samples, to which others are added.
    ///
    /// - Parameters:
    ///   - name: Of its only series: `on-cpu`.
    ///   - start, duration: Nanoseconds since 1970, and nanoseconds.
    public init(_ name: String, _ unit: Unit, program: String, pid: Int32, start: UInt64, duration: UInt64, version: String) {
        series = [Series(name: name, unit: unit, dropped: 0, samples: [])]
        self.program = program.printable
        (self.pid, self.start, self.duration, self.version) = (pid, start, duration, version)
    }

    /// Adds the samples of another profile whose series has the same name; its times are left out.
    ///
    /// - Parameter instance: The server that all of them are of; nil: its labels stay.
    public mutating func add(_ other: Profile, instance: String?, where isWanted: (Labels) -> Bool = { _ in true }) {
        guard let name = series.first?.name, let added = other.series.first(where: { $0.name == name }) else { return }
        var moduleNumbers = Dictionary(modules.enumerated().map { ($1, Int32($0)) }, uniquingKeysWith: { first, _ in first })
        let places = other.modules.map { module in
            if let known = moduleNumbers[module] { return known }
            let number = Int32(modules.count)
            moduleNumbers[module] = number
            modules.append(module)
            return number
        }
        if program.isEmpty { program = other.program }
        let firstFrame = Int32(frames.count), firstStack = Int32(stacks.count), firstLabels = Int32(labels.count)
        frames += other.frames.map { Frame(function: $0.function, module: $0.module.map { places[Int($0)] }) }
        stacks += other.stacks.map { Stack(caller: $0.caller < 0 ? -1 : $0.caller + firstStack, frame: $0.frame + firstFrame) }
        labels += other.labels.map { labels in
            var labels = labels
            labels.instance = instance ?? labels.instance
            return labels
        }
        series[0].dropped &+= added.dropped
        series[0].samples += added.withoutTime.filter { isWanted(other.labels[Int($0.labels)]) }.map { sample in
            Sample(stack: sample.stack < 0 ? -1 : sample.stack + firstStack, labels: sample.labels + firstLabels, interval: nil, weight: sample.weight)
        }
    }
}
